"""Recipes: the files that come with mixerlib, and every way in which one can be wrong."""

from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest
import yaml

from mixerlib.data import DATASETS
from mixerlib.models import create_model
from mixerlib.recipe import RECIPES, SETTINGS, Recipe, list_recipes, load_recipe, parse_setting


def write(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text("dataset: digits\nmodel: convmixer\n" + text)
    return path


@pytest.mark.parametrize("name", list_recipes())
def test_every_file_is_a_recipe(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.dataset in DATASETS
    create_model(recipe.model, **recipe.model_options)
    text = (RECIPES / f"{name}.yaml").read_text()
    opening = text[: text.index("\n\n")].splitlines()
    assert all(line.startswith("# ") for line in opening)
    for word in ("Expected:", "Source:", "Command:"):
        assert sum(line.startswith(f"# {word}") for line in opening) == 1
    assert opening[-1].split()[-3:] == ["mixerlib", "train", name]
    assert set(yaml.safe_load(text)) == set(SETTINGS)  # a later default changes no old result


def test_the_promised_recipes_are_there():
    names = {"digits", "cifar10/convmixer_256_8", "cifar10/splitmixer_i_256_8"}
    assert names <= set(list_recipes())


def test_a_recipe_is_frozen():
    with pytest.raises(FrozenInstanceError):
        load_recipe("digits").epochs = 3


def test_overrides_replace_values_and_merge_options():
    plain = load_recipe("digits")
    other = load_recipe("digits", {"epochs": 3, "model_options": {"dim": 8}})
    assert other.epochs == 3
    assert other.model_options == plain.model_options | {"dim": 8}
    same = asdict(plain) | {"epochs": 3, "model_options": other.model_options}
    assert asdict(other) == same


def test_a_file_of_ones_own(tmp_path):
    recipe = load_recipe(write(tmp_path, "epochs: 2\nclip_norm: null\nweight_decay: 0\n"))
    assert (recipe.name, recipe.epochs, recipe.clip_norm) == ("own", 2, None)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("digts", "did you mean digits"),
        ("convmixer_256_8", "did you mean cifar10/convmixer_256_8"),
        ("zzz", "there are cifar10/convmixer_256_8, "),
    ],
)
def test_unknown_recipe(asked, hint):
    with pytest.raises(ValueError, match=f"`recipe`='{asked}' is no recipe.*{hint}"):
        load_recipe(asked)


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r"no recipe file nowhere/own\.yaml"):
        load_recipe("nowhere/own.yaml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epoch: 3", "`epoch`=3 is not a field of a recipe; did you mean `epochs`"),
        ("name: mine", "`name`='mine' is not a field"),
        ("max_learning_rate: 1e-2", r"`max_learning_rate`='1e-2' must be a number; .*1\.0e-2"),
        ("max_learning_rate: fast", r"`max_learning_rate`='fast' must be a number$"),
        ("max_learning_rate: .nan", "`max_learning_rate`=nan must be a number"),
        ("max_learning_rate: 0", "`max_learning_rate`=0 must be above 0"),
        ("weight_decay: -0.1", r"`weight_decay`=-0\.1 must be at least 0"),
        ("weight_decay: true", "`weight_decay`=True must be a number"),
        ("clip_norm: 0", "`clip_norm`=0 must be above 0, or null"),
        ("clip_norm: off", "`clip_norm`=False must be a number, or null"),
        ("epochs: 2.0", r"`epochs`=2\.0 must be a whole number"),
        ("epochs: 0", "`epochs`=0 must be at least 1"),
        ("epochs:", "`epochs`=None must be a whole number"),
        ("batch_size: true", "`batch_size`=True must be a whole number"),
        ("evaluate_every: 0", "`evaluate_every`=0 must be at least 1"),
        ("flip: 1", "`flip`=1 must be true or false"),
        ("seed: -1", "`seed`=-1 must be at least 0"),
        ("model_options: 3", "`model_options`=3 must be a table of options"),
        ("model_options:", "`model_options`=None must be a table of options"),
        ("epochs: [", "own.yaml is not YAML"),
    ],
)
def test_bad_files(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(write(tmp_path, line), {"model_options": {"dim": 8}})


@pytest.mark.parametrize("text", ["", "- epochs\n", "epochs: 3\n", "model: convmixer\n"])
def test_incomplete_files(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"own\.yaml.* must "):
        load_recipe(path)


def test_notebooks_meet_the_same_rules():
    with pytest.raises(ValueError, match="`epochs`='3' must be a whole number"):
        Recipe("digits", "convmixer", epochs="3")
    with pytest.raises(ValueError, match="`dataset`=3 must be text"):
        Recipe(3, "convmixer")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_learning_rate", "1e-2", 0.01),
        ("max_learning_rate", "1", 1.0),
        ("epochs", "12", 12),
        ("clip_norm", "none", None),
        ("clip_norm", "0.5", 0.5),
        ("flip", "False", False),
        ("flip", "true", True),
        ("model", "convmixer", "convmixer"),
    ],
)
def test_values_from_a_command_line(name, text, value):
    parsed = parse_setting(name, text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("epochs", "1e2", "a whole number"),
        ("epochs", "none", "a whole number"),
        ("max_learning_rate", "fast", "a number"),
        ("flip", "1", "true or false"),
    ],
)
def test_wrong_values_from_a_command_line(name, text, words):
    with pytest.raises(ValueError, match=f"`{name}`='{text}' must be {words}"):
        parse_setting(name, text)
