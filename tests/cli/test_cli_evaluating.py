"""`evaluate` of weights that others have published: what it warns of, and what it says of them."""

import json
from dataclasses import replace
from pathlib import Path

import made_up_data
import made_up_imagenet as made
import pytest
import torch
from commands import refusal, run
from helpers import made_record, trained_look

from mixerlib.cli.evaluating import disagreements
from mixerlib.models import create_model
from mixerlib.records import Epoch, write_record
from mixerlib.training import load_recipe, recipe_of
from mixerlib.weights import PublishedWeights, published, published_weights, save_weights

SIZES = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 4}


def test_what_fits_is_not_warned_of():
    for name in ("convmixer_768_32.timm", "convmixer_768_32.authors"):
        recipe = load_recipe("imagenet/convmixer_768_32")
        assert disagreements(recipe, Path("w.pth"), published_weights(name)) == []
    mindcv = published_weights("convmixer_768_32.mindcv_trained")
    assert disagreements(load_recipe("imagenet/mindcv_convmixer_768_32"), Path("w"), mindcv) == []


def test_each_disagreement_with_published_weights_has_a_line():
    recipe = load_recipe("imagenet/convmixer_768_32", {"crop_pct": 0.875, "image_size": 256})
    lines = disagreements(recipe, Path("w.ckpt"), published_weights("convmixer_768_32.mindcv"))
    said = "the weights convmixer_768_32.mindcv were published with"
    assert lines == [
        f"{said} image_size 224, and the images here have 256",
        f"{said} interpolation bilinear, and the images here have bicubic",
        f"{said} crop_pct 0.96, and the images here have 0.875",
    ]
    other = disagreements(recipe, Path("w.pth"), published_weights("convmixer_1536_20"))
    assert other[-1] == (
        "the weights convmixer_1536_20.timm were published for convmixer_1536_20, "
        "and the recipe has convmixer_768_32"
    )


def test_weights_fine_tuned_on_cifar_need_its_images_as_they_were_enlarged():
    theirs = published_weights("mixer_s16.mindspore_cifar10")
    file = Path("gsam_Mixer-S_16.ckpt")
    assert disagreements(load_recipe(theirs.recipe), file, theirs) == []
    said = f"the weights {theirs.name} were published with"
    assert disagreements(load_recipe("cifar10/mixer_s16_224_finetune"), file, theirs) == [
        f"{said} interpolation bilinear, and the images here have bicubic",
        f"{said} normalization dataset, and the images here have half",
    ]
    assert disagreements(load_recipe("digits"), file, theirs) == []  # other images than they need


def test_the_record_beside_weights_tells_what_they_were_trained_with(tmp_path):
    trained = load_recipe("flowers102/convmixer_256_8", {"epochs": 1})
    settings = {k: v for k, v in vars(trained).items() if k != "name"}
    curve = [Epoch(1, 0.1, 1.0, 0.5, 1.0, 0.5, 1.0)]
    write_record(made_record(settings=settings, curve=curve), tmp_path / "record.json")
    (tmp_path / "model.safetensors").touch()
    assert recipe_of(tmp_path) == replace(trained, name="made/up")
    assert disagreements(trained, tmp_path / "model.safetensors", None) == []
    other = replace(trained, crop_pct=0.9)
    (line,) = disagreements(other, tmp_path / "model.safetensors", None)
    assert line.endswith("were trained with crop_pct None, and the images here have 0.9")
    assert disagreements(other, tmp_path / "elsewhere" / "a.pth", None) == []  # nothing tells
    assert disagreements(load_recipe("digits"), tmp_path / "model.safetensors", None) == []


@pytest.fixture
def imagenet(tmp_path, monkeypatch) -> PublishedWeights:
    """Weights published for a made-up ImageNet, whose folder is the folder of work."""
    made.write_validation(tmp_path)
    torch.manual_seed(1)
    net = trained_look(create_model("convmixer", **SIZES, num_classes=len(made.CLASSES)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXERLIB_DATA", str(tmp_path))
    Path("weights").mkdir()
    save_weights(net, "weights/convmixer.tiny.pth", layout="timm")
    url = "https://example.org/tiny.pth"
    tiny = PublishedWeights(
        "convmixer.tiny", "convmixer", url, "this test", "timm", "mindcv", top1=12.345
    )
    monkeypatch.setattr(published, "TABLE", (tiny,))
    monkeypatch.setattr(published, "_BY_NAME", {tiny.name: tiny})
    return tiny


def test_published_weights_are_evaluated_as_they_ask_for(capsys, imagenet, monkeypatch):
    defaults = {"in_channels": 3, **SIZES, "activation": "gelu", "num_classes": 10}
    entry = replace(published.model_entry("convmixer"), defaults=defaults)
    monkeypatch.setattr("mixerlib.models.registry._registry", {"convmixer": entry})
    flags = ("--workers", 0, "--device", "cpu")
    status, out, err = run(capsys, "evaluate", "--weights", "convmixer.tiny", *flags)
    assert (status, err) == (0, "")
    head, second, *_ = out.splitlines()
    assert head.endswith(f"convmixer on the {made.IMAGES} test images of imagenet")
    assert second == f"each {imagenet.preprocessing}"
    assert out.splitlines()[-1] == "published: top-1 12.35%, by this test"
    status, out, err = run(capsys, "evaluate", "--weights", "convmixer", *flags, "--json")
    assert json.loads(out)["preprocessing"] == imagenet.preprocessing.settings()
    arguments = ("evaluate", "--weights", "convmixer", *flags, "--preprocessing", "torchvision")
    status, _, err = run(capsys, *arguments)
    assert status == 0 and err.count("\n") == 1
    assert "were published with crop_pct 0.96, and the images here have 0.875" in err
    # the file is known by its name where it is given as such
    settings = {"dataset": "imagenet", "model": "convmixer", "model_options": SIZES}
    settings |= imagenet.preprocessing.settings() | {"interpolation": "bicubic"}
    Path("r.yaml").write_text(json.dumps(settings))
    arguments = ("evaluate", "weights/convmixer.tiny.pth", "--recipe", "r.yaml", *flags)
    status, _, err = run(capsys, *arguments)
    assert status == 0 and "published with interpolation bilinear" in err


def test_what_cannot_be_evaluated_is_said_in_a_line(capsys, imagenet, monkeypatch):
    many = replace(imagenet, classes=21843)
    monkeypatch.setattr(published, "_BY_NAME", {many.name: many})
    err = refusal(capsys, "evaluate", "--weights", "convmixer.tiny")
    assert "a classifier of 21,843 classes, not ImageNet's 1,000: fine-tune them" in err
    digits = ("evaluate", "weights/convmixer.tiny.pth", "--recipe", "digits")
    err = refusal(capsys, *digits, "--preprocessing", "mindcv")
    assert "`preprocessing`='mindcv' is for photographs (flowers102, food101, imagenet)" in err
    assert "`resume`=True needs `out`" in refusal(capsys, *digits, "--resume")


def test_weights_for_cifar_are_evaluated_by_their_own_recipe(capsys, tmp_path, monkeypatch):
    made_up_data.write_cifar(tmp_path, "CIFAR10", monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXERLIB_DATA", str(tmp_path))
    sizes = "model_options: {dim: 8, depth: 1, tokens_dim: 4, channels_dim: 8}\n"
    for way in ("mindspore", "finetune"):
        Path(f"{way}.yaml").write_text(f"base: cifar10/mixer_s16_224_{way}\n{sizes}")
    theirs = published_weights("mixer_s16.mindspore_cifar10")
    small = replace(theirs, recipe="mindspore.yaml")
    monkeypatch.setattr(published, "TABLE", (small,))
    monkeypatch.setattr(published, "_BY_NAME", {small.name: small})
    torch.manual_seed(2)
    options = load_recipe("mindspore.yaml").model_options
    net = trained_look(create_model("mixer_s16", num_classes=10, **options))
    Path("weights").mkdir()
    file = f"weights/{small.name}.ckpt"
    save_weights(net, file, layout="mindspore")
    flags = ("--workers", 0, "--device", "cpu")
    status, out, err = run(capsys, "evaluate", "--weights", small.name, *flags)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].endswith("mixer_s16 on the 4 test images of cifar10")
    assert out.splitlines()[-1] == f"published: top-1 96.06%, by {theirs.source}"
    status, _, err = run(capsys, "evaluate", file, "--recipe", "finetune.yaml", *flags)
    assert status == 0 and err.count("\n") == 2
    assert "published with interpolation bilinear, and the images here have bicubic" in err
