"""Published weights by name: what is said of them, and how a file of them arrives."""

import hashlib
import re
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import refusal, run
from helpers import ROOT, Later, trained_look

import mixerlib
from mixerlib.data import DataDamaged, DataNotFound
from mixerlib.files import read_yaml
from mixerlib.models import create_model, list_models
from mixerlib.training import Recipe, first_weights, list_recipes, load_recipe
from mixerlib.training.recipe_files import RECIPES
from mixerlib.weights import (
    PublishedWeights,
    get_model,
    get_weight,
    layouts,
    published,
    published_weights,
    weights_file,
    weights_of,
)

timm_models = Later("timm.models")


def prepared(recipe: Recipe, weights: PublishedWeights) -> dict[str, Any]:
    """What a recipe does to a test image, by the names in the weights' preprocessing."""
    return {name: getattr(recipe, name) for name in weights.preprocessing.settings()}


def test_every_entry_is_whole_and_has_its_own_name():
    names = [weights.name for weights in weights_of()]
    assert len(set(names)) == len(names) and len({w.url for w in weights_of()}) == len(names)
    for weights in weights_of():
        assert weights.name.startswith(f"{weights.model}.") and weights.model in list_models()
        assert weights.url.startswith("https://") and weights.source
        assert weights.layout in {layout.name for layout in layouts.LAYOUTS}
        assert weights.suffix in (".safetensors", ".pth", ".pth.tar", ".ckpt", ".npz")
        assert weights.preprocessing.image_size == 224
        if weights.recipe is not None:
            recipe = load_recipe(weights.recipe)
            assert (recipe.model, recipe.dataset) == (weights.model, weights.dataset)
            assert prepared(recipe, weights) == weights.preprocessing.settings()
        assert published_weights(weights.name) is weights
        if weights.sha256 is not None:  # it is in the name of the file
            assert weights.sha256 in weights.url and re.fullmatch("[0-9a-f]{8,64}", weights.sha256)


def test_the_accuracies_are_those_that_the_book_holds_against_its_own():
    printed = read_yaml(ROOT / "book" / "published.yaml")["tables"]["mindcv"]["rows"]
    ours = {(w.model, w.top1, w.top5) for w in weights_of() if w.layout == "mindcv"}
    assert ours == {(r["model"], *map(float, r["values"])) for r in printed.values()}
    tables = read_yaml(ROOT / "book" / "published.yaml")["tables"]
    sizes = tables["convmixer-readme-weights"]["rows"].values()
    authors = {w.model: w for w in weights_of() if w.name.endswith(".authors")}
    assert {m: w.megabytes for m, w in authors.items()} == {
        row["model"]: float(row["values"][0]) for row in sizes
    }
    for model, weights in authors.items():
        assert f"Expected: {weights.top1:.2f} %" in (
            ROOT / f"mixerlib/training/recipes/imagenet/{model}.yaml"
        ).read_text(encoding="utf-8")
    course = read_yaml(ROOT / "book" / "published.yaml")["tables"]["mindspore-mixer"]["rows"]
    tuned = {w.model: (w.top1, w.top5) for w in weights_of() if w.layout == "mindspore"}
    assert tuned == {
        row["model"]: tuple(round(100 * float(share), 2) for share in row["values"])
        for row in course.values()
    }


def test_the_heads_of_the_recipes_name_weights_that_are_published():
    named = {}
    for recipe in list_recipes():
        text = (RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8")
        for name in re.findall(r"\b\w+\.(?:timm|authors|mindcv|miil|jax|mindspore)\w*", text):
            assert published_weights(name).model == load_recipe(recipe).model, recipe
            named.setdefault(recipe, set()).add(name)
    for size in ("b32", "s16", "s32", "s8"):  # of which timm has none
        theirs = {f"mixer_{size}.jax_gsam", f"mixer_{size}.mindspore_cifar10"}
        assert named[f"cifar10/mixer_{size}_224_finetune"] == theirs


@pytest.mark.parametrize(
    "weights", [w for w in weights_of() if w.megabytes], ids=lambda weights: weights.name
)
def test_a_file_has_as_many_bytes_as_its_model_has_numbers(weights):
    with torch.device("meta"):
        model = create_model(weights.model, num_classes=weights.classes)
    floats = [t for t in model.state_dict().values() if t.is_floating_point()]
    megabytes = 4e-6 * sum(t.numel() for t in floats)
    assert megabytes == pytest.approx(weights.megabytes, rel=0.01)


def test_the_recipe_on_imagenet_prepares_images_as_the_weights_need_them():
    for model in ("convmixer_1536_20", "convmixer_768_32", "convmixer_1024_20"):
        recipe = load_recipe(f"imagenet/{model}")
        for weights in weights_of(model)[:2]:
            assert prepared(recipe, weights) == weights.preprocessing.settings()
    for weights in (weights for weights in weights_of() if weights.layout == "mindcv"):
        mindcv = load_recipe(f"imagenet/mindcv_{weights.model}")
        assert prepared(mindcv, weights) == weights.preprocessing.settings()


def test_timm_asks_for_the_same_of_its_own():
    theirs = {
        "convmixer_1536_20": "convmixer_1536_20.in1k",
        "convmixer_768_32": "convmixer_768_32.in1k",
        "convmixer_1024_20": "convmixer_1024_20_ks9_p14.in1k",
        "mixer_b16": "mixer_b16_224.goog_in21k_ft_in1k",
        "mixer_b16.timm_in21k": "mixer_b16_224.goog_in21k",
        "mixer_b16.miil": "mixer_b16_224.miil_in21k_ft_in1k",
        "mixer_l16": "mixer_l16_224.goog_in21k_ft_in1k",
        "mixer_l16.timm_in21k": "mixer_l16_224.goog_in21k",
    }
    constants = {"half": (0.5,) * 3, "unit": (0.0,) * 3, "dataset": (0.485, 0.456, 0.406)}
    for ours, name in theirs.items():
        weights, config = published_weights(ours), timm_models.get_pretrained_cfg(name)
        needed = weights.preprocessing
        assert weights.url in (config.url, published.HUB.format(name))
        assert (needed.interpolation, needed.crop_pct) == (config.interpolation, config.crop_pct)
        assert constants[needed.normalization] == config.mean
        assert weights.classes == config.num_classes
        assert str(weights.license).lower() == config.license


def test_of_splitmixer_there_are_none_and_that_is_said():
    assert weights_of("splitmixer_i_256_8") == () == weights_of("mixer_h14")
    with pytest.raises(ValueError, match="no weights of SplitMixer are published; those that are"):
        published_weights("splitmixer_i_256_8")
    with pytest.raises(ValueError, match="no weights of mixer_h14 are published"):
        published_weights("mixer_h14")
    with pytest.raises(ValueError, match=r"did you mean convmixer_1536_20\.timm"):
        published_weights("convmixer_1536_20.tim")
    with pytest.raises(
        ValueError,
        match="`weights`='mixer_b61' are not among those published; did you mean mixer_b16",
    ):
        published_weights("mixer_b61")
    with pytest.raises(ValueError, match="`model`='convmixr' is no model of mixerlib"):
        weights_of("convmixr")


def test_a_file_is_known_by_its_name():
    assert published.published_as("a/convmixer_768_32_ks7_p7_relu.pth.tar").name == (
        "convmixer_768_32.authors"
    )
    assert published.published_as("a/mixer_b16.miil.pth").name == "mixer_b16.miil"
    assert published.published_as("a/mixer_b16.jax.npz").name == "mixer_b16.jax"
    tuned = published.published_as("a/gsam_Mixer-S_16.ckpt")
    assert (tuned.name, tuned.recipe) == (
        "mixer_s16.mindspore_cifar10",
        "cifar10/mixer_s16_224_mindspore",
    )
    # names that several files have
    assert published.published_as("Mixer-B_16.npz") is None
    assert published.published_as("model.safetensors") is None


# A file that arrives, from a folder that stands for the publisher's server

SIZES = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2}


@pytest.fixture
def server(tmp_path, monkeypatch) -> Path:
    """The file that the publisher of `tiny.timm` offers; it is not fetched yet. This is also the
    folder of work.
    """
    torch.manual_seed(0)
    model = trained_look(create_model("convmixer", in_channels=1, **SIZES))
    file = tmp_path / "server" / "tiny.pth"
    file.parent.mkdir()
    torch.save(model.state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    tiny = PublishedWeights(
        name="convmixer.tiny",
        model="convmixer",
        url="https://example.org/tiny.pth",
        source="this test",
        layout="timm",
        prepared_by="convmixer",
        sha256=digest[:8],
        classes=10,
    )
    monkeypatch.setattr(published, "TABLE", (tiny,))
    monkeypatch.setattr(published, "_BY_NAME", {tiny.name: tiny})
    monkeypatch.setattr(first_weights, "weights_of", lambda: (tiny,))
    urlopen = urllib.request.urlopen

    def answer(request: urllib.request.Request, timeout: float):
        if not file.exists():
            raise urllib.error.URLError("Name or service not known")
        return urlopen(file.as_uri(), timeout=timeout)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIXERLIB_DATA", raising=False)
    return file


def test_weights_are_fetched_once_and_checked_each_time(server):
    place = Path("data/weights/convmixer.tiny.pth").resolve()
    with pytest.raises(DataNotFound) as error:
        weights_file("convmixer.tiny")
    assert f"--download (download=True), or put https://example.org/tiny.pth to {place}" in str(
        error.value
    )
    assert weights_file("convmixer.tiny", download=True) == place
    assert place.read_bytes() == server.read_bytes()
    server.unlink()
    assert weights_file("convmixer", download=True) == weights_file("convmixer.tiny") == place
    place.write_bytes(b"other")
    with pytest.raises(DataDamaged, match="does not have the SHA-256 that begins with"):
        weights_file("convmixer.tiny")
    with pytest.raises(
        DataNotFound, match=r"could not be downloaded \(.*not known.*where there is"
    ):
        weights_file("convmixer.tiny", download=True)


def test_weights_that_arrive_damaged_are_refused(server, monkeypatch):
    tiny = replace(published_weights("convmixer"), sha256="0" * 8)
    monkeypatch.setattr(published, "_BY_NAME", {tiny.name: tiny})
    with pytest.raises(
        DataDamaged, match=r"arrive damaged: .* the SHA-256 that begins with 00000000"
    ):
        weights_file("convmixer.tiny", download=True)
    assert not list(Path("data").rglob("*.pth"))


def test_weights_without_a_checksum_are_taken_as_they_come(server, monkeypatch):
    tiny = replace(published_weights("convmixer"), sha256=None, megabytes=0.1)
    monkeypatch.setattr(published, "_BY_NAME", {tiny.name: tiny})
    assert weights_file("convmixer.tiny", download=True).is_file()
    tiny = replace(tiny, name="convmixer.less", megabytes=0.001)
    monkeypatch.setattr(published, "_BY_NAME", {tiny.name: tiny})
    with pytest.raises(DataNotFound, match=r"the server offers .* bytes, and .* are the most"):
        weights_file("convmixer.less", download=True)


def test_the_commands_take_a_name(server, capsys):
    err = refusal(capsys, "import", "--weights", "convmixer.tiny")
    assert "are not on this machine: fetch them with --download" in err
    options = ("--in-channels", 1, "--dim", 8, "--depth", 1, "--kernel-size", 3)
    arguments = ("--weights", "convmixer.tiny", "--download", *options, "--out", "t.safetensors")
    status, out, _ = run(capsys, "import", *arguments)
    assert status == 0 and "layout timm" in out and Path("t.safetensors").is_file()
    small = ("--dim", 8, "--depth", 1, "--kernel-size", 3, "--patch-size", 2, "--epochs", 1)
    tuned = ("train", "digits", *small, "--weights", "convmixer.tiny", "--out", "tuned")
    status, _, _ = run(capsys, *tuned)
    assert status == 0
    Path("data/weights/convmixer.tiny.pth").unlink()
    assert "are not on this machine" in refusal(capsys, *tuned[:-1], "again", "--quiet")
    status, _, err = run(capsys, *tuned[:-1], "again", "--download", "--quiet")
    assert (status, err) == (0, "")
    err = refusal(capsys, *tuned[:2], "--weights", "splitmixer_i", "--out", "no", "--quiet")
    assert "no weights of SplitMixer are published" in err
    for command in ("import", "evaluate"):
        assert "give either CHECKPOINT or --weights" in refusal(capsys, command)
        assert "give either CHECKPOINT" in refusal(
            capsys, command, "a.pth", "--weights", "convmixer"
        )
    assert "name the model that CHECKPOINT is of" in refusal(capsys, "import", "a.pth")


def test_the_list_of_them(capsys):
    status, out, err = run(capsys, "list", "--weights")
    assert (status, err) == (0, "") and "Of SplitMixer none is published." in out
    for weights in weights_of():
        name, number = re.escape(weights.name), f"{weights.top1:.3f}" if weights.top1 else "–"
        row = rf"^{name} +{number}  {weights.dataset} .*  {weights.preprocessing}$"
        assert re.search(row, out, re.M), weights.name
    status, out, err = run(capsys, "list", "--weights", "--json")
    assert out.count('"url": "https://') == len(weights_of())


# A model with its weights in one call

TINY = {"in_channels": 1, **SIZES}


def same(one: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


def test_a_model_comes_with_its_weights(server):
    theirs = torch.load(server)
    with pytest.raises(DataNotFound, match="are not on this machine"):
        get_model("convmixer", weights="convmixer.tiny", **TINY)
    model = get_model("convmixer", weights="convmixer.tiny", download=True, **TINY)
    assert same(model, theirs) and model.training and model.num_classes == 10
    tiny = get_weight("convmixer.tiny")
    assert tiny is published_weights("convmixer")
    for weights in ("convmixer", "DEFAULT", tiny, replace(tiny)):
        assert same(get_model("convmixer", weights, **TINY), theirs)
    assert mixerlib.get_model is get_model
    fresh = get_model("convmixer", **TINY)
    assert fresh.state_dict().keys() == theirs.keys() and not same(fresh, theirs)


def test_its_classes_are_those_of_the_weights_unless_given(server):
    theirs = torch.load(server)
    weights_file("convmixer", download=True)
    for classes in (3, 0):
        model = get_model("convmixer", "DEFAULT", num_classes=classes, **TINY)
        assert model.num_classes == classes
        assert torch.equal(model.stem[0].weight, theirs["stem.0.weight"])
    assert same(get_model("convmixer", "DEFAULT", num_classes=10, **TINY), theirs)
    other = replace(get_weight("convmixer"), classes=1000)
    with pytest.raises(ValueError, match=r"`head.weight` is \(10, 8\), wanted \(1000, 8\)"):
        get_model("convmixer", other, **TINY)


def test_its_patches_may_be_larger(server):
    weights_file("convmixer", download=True)
    options = TINY | {"patch_size": 4}
    with pytest.raises(ValueError, match=r"resample_stem=True .* to another patch size"):
        get_model("convmixer", "DEFAULT", **options)
    model = get_model("convmixer", "DEFAULT", resample_stem=True, **options)
    assert model.stem[0].weight.shape == (8, 1, 4, 4)


def test_weights_that_a_model_cannot_have_are_refused(server):
    for weights, message in (
        ("convmixer.tinny", r"did you mean convmixer\.tiny"),
        (True, "`weights`=True must be None, a name or one of `PublishedWeights`"),
    ):
        with pytest.raises(ValueError, match=message):
            get_model("convmixer", weights, **TINY)
    with pytest.raises(ValueError, match="those of convmixer, not of `name`='convmixer_256_8'"):
        get_model("convmixer_256_8", "convmixer.tiny")
    with pytest.raises(ValueError, match="no weights of SplitMixer are published"):
        get_model("splitmixer_i", "DEFAULT")
    with pytest.raises(ValueError, match="`name`='convmixr' is no model of mixerlib"):
        get_model("convmixr", "convmixer.tiny")
    with pytest.raises(ValueError, match="`blocks`=3 is not an option of 'convmixer'"):
        get_model("convmixer", "convmixer.tiny", blocks=3)
