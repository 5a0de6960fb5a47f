"""A model as a folder: written, read, and described by a card."""

import importlib.util
import json
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from helpers import FAMILIES, ROOT, made_record, registrations_undone, small_mixer
from torch import nn

from mixerlib.models import (
    SharedSegments,
    SplitMixer,
    made_of,
    register_mixing,
)
from mixerlib.records import read_record
from mixerlib.training import load_recipe
from mixerlib.weights import from_pretrained, save_pretrained

RECORD = ROOT / "book" / "records" / "cpu" / "splitmixer_i_64_4" / "seed0.json"


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_written_is_read_again(name: str, tmp_path: Path):
    model, images = small_mixer(name, num_classes=7), torch.randn(2, 3, 32, 32)
    save_pretrained(model, tmp_path / "made" / "anew")
    state = torch.random.get_rng_state()
    again = from_pretrained(str(tmp_path / "made" / "anew"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not again.training and torch.equal(again(images), model(images))
    assert made_of(again) == made_of(model)


def test_what_cannot_be_told_from_tensors(tmp_path: Path):
    """ReLU; a ratio given as a fraction; sides of the image; a mixing of the reader's own."""
    save_pretrained(small_mixer(ratio=Fraction(3, 5), activation="relu"), tmp_path)
    again = from_pretrained(tmp_path)
    assert made_of(again)[1]["ratio"] == "3/5" and type(again.stem[1]) is nn.ReLU
    save_pretrained(small_mixer("mlp_mixer", image_size=(32, 16)), tmp_path)
    assert from_pretrained(tmp_path).image_size == (32, 16)
    with registrations_undone():
        name = register_mixing("shared", lambda block, dim, s: SharedSegments(dim, s))
        model, images = small_mixer(name, segments=3), torch.randn(2, 3, 32, 32)
        save_pretrained(model, tmp_path)
        assert torch.equal(from_pretrained(tmp_path)(images), model(images))
    with pytest.raises(ValueError, match="'splitmixer_shared' is no model of mixerlib"):
        from_pretrained(tmp_path)


def test_another_head_and_wrappers(tmp_path: Path):
    model = small_mixer()
    model.reset_classifier(3)
    save_pretrained(nn.DataParallel(model), tmp_path)
    assert from_pretrained(tmp_path).num_classes == 3


def test_a_model_that_computes_its_weights_is_written_as_it_computes(tmp_path: Path):
    model, images = small_mixer(), torch.randn(2, 3, 32, 32)
    nn.utils.prune.l1_unstructured(model.head, "weight", 0.5)
    nn.utils.parametrizations.weight_norm(model.stem[0])
    save_pretrained(model, tmp_path)
    torch.testing.assert_close(from_pretrained(tmp_path)(images), model(images))
    assert nn.utils.prune.is_pruned(model.head)


def test_numbers_of_numpy_and_torch(tmp_path: Path):
    model = small_mixer(dim=np.int64(12), num_classes=np.int32(7))
    save_pretrained(model, tmp_path, mean=np.array([0.5, 0.4, 0.3]), std=torch.tensor([0.25] * 3))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["pretrained_cfg"]["mean"] == [0.5, 0.4, 0.3]
    assert config["pretrained_cfg"]["std"] == [0.25] * 3
    assert "dim=12," in (tmp_path / "README.md").read_text()
    assert made_of(from_pretrained(tmp_path)) == made_of(model)


def test_the_card_and_the_recipe_are_the_records(tmp_path: Path):
    record = read_record(RECORD)
    save_pretrained(small_mixer(), tmp_path, record=record, mean=[0.5] * 3, std=[0.25] * 3)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head)["pipeline_tag"] == "image-classification"
    parameters = sum(p.numel() for p in small_mixer().parameters())
    for part in (
        *("# splitmixer_i\n", "32×32 pixels", "[0.5, 0.5, 0.5]", "[0.25, 0.25, 0.25]"),
        *(f"{record.test_accuracy:.2%} of 10,000 test images of `cifar10`", "seed 0"),
        *(record.provenance.device_name, record.provenance.torch, f"{parameters:,} parameters"),
    ):
        assert part in text, part
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == record.settings
    save_pretrained(small_mixer(), tmp_path / "without")
    assert "is not stated" in (tmp_path / "without" / "README.md").read_text()
    held = made_record(settings=record.settings | {"held_out": 5000})
    save_pretrained(small_mixer(), tmp_path / "held", record=held)
    assert "held-out training images of" in (tmp_path / "held" / "README.md").read_text()
    assert not (tmp_path / "without" / "recipe.yaml").exists()


def test_the_recipe_can_be_trained_again(tmp_path: Path):
    recipe = load_recipe("digits", {"epochs": 3, "seed": 5})
    settings = {key: value for key, value in vars(recipe).items() if key != "name"}
    save_pretrained(small_mixer(), tmp_path, record=made_record(settings=settings, seed=5))
    again = load_recipe(tmp_path / "recipe.yaml")
    assert vars(again) | {"name": "digits"} == vars(recipe)


def test_timm_finds_everything_in_the_folder(tmp_path: Path):
    """Its own `local-dir:`, after `import mixerlib.timm`."""
    pytest.importorskip("mixerlib.timm", reason="needs the extra `timm`")
    timm = importlib.import_module("timm")
    names = [f"digit {i}" for i in range(10)]
    # a preset whose name is also timm's own model's, with other options than there
    for name in ("convmixer_768_32", "mlp_mixer", "splitmixer_iv"):
        shown = {"kernel_size": 3} if name == "convmixer_768_32" else {}
        shown |= {"image_size": 16} if name == "mlp_mixer" else {}
        model = small_mixer(name, in_channels=1, num_classes=10, **shown)
        size = None if name == "mlp_mixer" else 28
        save_pretrained(model, tmp_path, image_size=size, mean=[0.1], std=[0.3], classes=names)
        theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
        cfg = timm.data.resolve_model_data_config(theirs)
        assert cfg["input_size"] == (1, size or 16, size or 16)
        assert (list(cfg["mean"]), list(cfg["std"])) == ([0.1], [0.3])
        images = torch.randn(2, *cfg["input_size"])
        assert torch.equal(theirs(images), model(images))
        assert theirs.pretrained_cfg["label_names"] == names
        again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=3)
        assert again(images).shape == (2, 3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m.__delattr__("_made_of"), "must be one that `create_model` has made"),
        (lambda m: m.blocks.append(nn.Linear(2, 2)), r"changed since: blocks\.2\.bias, blocks"),
        (lambda m: m.__setattr__("head", nn.Linear(12, 4)), r"changed since: head\.bias, head"),
    ],
)
def test_what_create_model_would_not_make_again_is_refused(spoil, message, tmp_path: Path):
    model = small_mixer()
    spoil(model)
    with pytest.raises(ValueError, match=message):
        save_pretrained(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_options_that_do_not_fit_the_model(tmp_path: Path):
    with pytest.raises(ValueError, match="create_model` has made"):
        save_pretrained(SplitMixer("I", 12, 2), tmp_path)
    for options, message in (
        ({"mean": [0.5]}, r"`mean`=\[0.5\] must have 3 numbers"),
        ({"std": [0.5]}, r"`std`=\[0.5\] must have 3 numbers"),
        ({"classes": ["one"]}, "`classes` must be 10 names, not 1"),
        ({"image_size": 0}, "`image_size`=0 must be a positive whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            save_pretrained(small_mixer(), tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixerlib": None}, "`mixerlib`=None must have the keys"),
        ({"mixerlib": {"model": "splitmixer_i", "options": [], "version": "0"}}, "must be a table"),
        (
            {"mixerlib": {"model": "splitmixer_i", "options": {"dim": 16}, "version": "0"}},
            "does not fit `model`",
        ),
        (
            {"mixerlib": {"model": "alexnet", "options": {}, "version": "0"}},
            "`name`='alexnet' is no model of mixerlib",
        ),
    ],
)
def test_a_config_of_something_else_is_refused(change: dict, message: str, tmp_path: Path):
    save_pretrained(small_mixer(), tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)
    file.write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ValueError, match="`save_pretrained` has not written it"):
        from_pretrained(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        from_pretrained(tmp_path)


def test_the_hub_is_asked_only_when_that_is_said(tmp_path: Path, monkeypatch):
    model, images, asked = small_mixer(), torch.randn(2, 3, 32, 32), {}
    save_pretrained(model, tmp_path)

    def snapshot_download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setitem(
        sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download)
    )
    with pytest.raises(FileNotFoundError, match="download=True looks for it"):
        from_pretrained("somebody/mixer")
    assert asked == {}
    again = from_pretrained("somebody/mixer", download=True, revision="v1")
    assert torch.equal(again(images), model(images))
    assert (asked["name"], asked["revision"]) == ("somebody/mixer", "v1")
    assert {"config.json", "model.safetensors"} == set(asked["allow_patterns"])
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'mixerlib\[hub\]'"):
        from_pretrained("somebody/mixer", download=True)


def test_the_hub_packages_function_takes_these_arguments():
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")
    import inspect

    known = inspect.signature(hub.snapshot_download).parameters
    asked = {"repo_id", "revision", "allow_patterns", "library_name", "library_version"}
    assert asked <= set(known) and next(iter(known)) == "repo_id"


def test_a_record_with_other_fields_is_enough(tmp_path: Path):
    """The card asks for a few fields only, which the book's kept weights have too."""
    save_pretrained(
        small_mixer(), tmp_path, record=made_record(settings={"crop_pct": 0.9, "seed": 0})
    )
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["pretrained_cfg"]["crop_pct"] == 0.9
