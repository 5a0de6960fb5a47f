"""What a run leaves, read back: its recipe and its model, from any of its files."""

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from helpers import values_to_change

from mixerlib.data import Dataset
from mixerlib.models import create_model
from mixerlib.records import write_record
from mixerlib.training import checkpoint
from mixerlib.training.finished import load_trained, recipe_of, weights_in
from mixerlib.training.loop import Stopped, train
from mixerlib.training.recipe import Recipe
from mixerlib.weights import save_weights

OPTIONS = {"dim": 6, "depth": 2, "kernel_size": 3, "patch_size": 2, "ratio": Fraction(3, 5)}


def data(classes: int = 3) -> Dataset:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, 1, 8, 8), generator=draw, dtype=torch.uint8)
    labels = torch.arange(40) % classes
    names = tuple("abcdefgh"[:classes])
    half = torch.full((1,), 0.5)
    return Dataset("digits", names, images, labels, images[:9], labels[:9], half, half)


def recipe(**settings) -> Recipe:
    mine = {"model_options": OPTIONS, "epochs": 2, "batch_size": 16, "max_learning_rate": 0.01}
    return Recipe("digits", "splitmixer_i", **(mine | {"name": "mine"} | settings))


def leave(out: Path, mine: Recipe, steps: int | None = None) -> torch.nn.Module | None:
    """Do a run into the folder, or some steps of it; return its model when it is whole."""
    out.mkdir()
    asked = iter(range(1, 100))
    try:
        model, record = train(
            mine, data(), "cpu", folder=out, stop=lambda: "cut" if next(asked) == steps else None
        )
    except Stopped:
        return None
    save_weights(model, out / "model.safetensors")
    write_record(record, out / "record.json")
    return model


def equal(one: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    mine = one.state_dict()
    return mine.keys() == state.keys() and all(torch.equal(mine[key], state[key]) for key in mine)


def as_text(mine: Recipe) -> str:
    """A recipe as records and checkpoints hold it, where a fraction is text."""
    return json.dumps(vars(mine), default=str, sort_keys=True)


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_finished_run(tmp_path, ema):
    mine = recipe(ema=ema)
    model = leave(tmp_path / "run", mine)
    assert weights_in(tmp_path / "run") == tmp_path / "run" / "model.safetensors"
    for path in (tmp_path / "run", str(tmp_path / "run" / "model.safetensors")):
        assert as_text(recipe_of(path)) == as_text(mine)
        actual = load_trained(path, recipe_of(path), data())
        assert equal(actual, model.state_dict()) and not actual.training


@pytest.mark.parametrize("ema", [None, 0.5])
def test_an_unfinished_run(tmp_path, ema):
    mine = recipe(ema=ema)
    assert leave(tmp_path / "run", mine, steps=4) is None
    file = tmp_path / "run" / "checkpoint.pt"
    assert weights_in(tmp_path / "run") == file
    _, state = checkpoint.read(file)
    expected = state["average" if ema else "model"]
    if ema:  # or the test could not tell them apart
        assert not torch.equal(expected["head.weight"], state["model"]["head.weight"])
    for path in (tmp_path / "run", file):
        assert as_text(recipe_of(path)) == as_text(mine)
        actual = load_trained(path, recipe_of(path), data())
        assert equal(actual, expected) and not actual.training


def test_the_weights_come_before_a_checkpoint_that_is_still_there(tmp_path):
    model = leave(tmp_path / "run", recipe())  # `train` itself leaves its last checkpoint
    assert (tmp_path / "run" / "checkpoint.pt").exists()
    assert weights_in(tmp_path / "run").name == "model.safetensors"
    assert equal(load_trained(tmp_path / "run", recipe(), data()), model.state_dict())


def test_a_checkpoint_by_the_recipe_that_is_given(tmp_path):
    leave(tmp_path / "run", recipe(), steps=1)
    shorter = recipe(epochs=1, name="other")  # the same model
    _, state = checkpoint.read(tmp_path / "run" / "checkpoint.pt")
    assert equal(load_trained(tmp_path / "run", shorter, data()), state["model"])
    wider = recipe(model_options=OPTIONS | {"dim": 12}, name="wider")
    for mine, dataset in ((wider, data()), (recipe(), data(classes=4))):
        message = rf"`path`='.*checkpoint\.pt' does not fit `recipe`='{mine.name}' on this digits"
        with pytest.raises(ValueError, match=message):
            load_trained(tmp_path / "run", mine, dataset)


def test_weights_of_anyone(tmp_path):
    model = create_model(
        "splitmixer_i", in_channels=1, num_classes=3, **(OPTIONS | {"ratio": "3/5"})
    )
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    assert equal(load_trained(tmp_path / "theirs.pth", recipe(), data()), model.state_dict())
    with pytest.raises(ValueError, match=r"no record\.json beside .*theirs\.pth tells its recipe"):
        recipe_of(tmp_path / "theirs.pth")


def test_what_is_not_there(tmp_path):
    for look in (weights_in, recipe_of, lambda path: load_trained(path, recipe(), data())):
        with pytest.raises(FileNotFoundError, match=r"holds neither model\.safetensors nor check"):
            look(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.pt"):
        recipe_of(tmp_path / "nowhere.pt")
    with pytest.raises(FileNotFoundError):
        load_trained(tmp_path / "nowhere.pt", recipe(), data())


def test_a_record_that_is_none(tmp_path):
    leave(tmp_path / "run", recipe())
    (tmp_path / "run" / "record.json").write_text("{}")
    with pytest.raises(ValueError, match=r"record\.json: `schema`=None must be"):
        recipe_of(tmp_path / "run")


def test_a_record_knows_its_weights(tmp_path):
    leave(tmp_path / "run", recipe())
    file, record = tmp_path / "run" / "model.safetensors", tmp_path / "run" / "record.json"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert json.loads(record.read_text())["weights_sha256"] == digest
    leave(tmp_path / "other", recipe(seed=1))
    (tmp_path / "other" / "model.safetensors").replace(file)
    with pytest.raises(ValueError, match=rf"is not the file that .* with {digest[:12]}$"):
        load_trained(tmp_path / "run", recipe(), data())
    values = values_to_change(record)
    del values["weights_sha256"]  # as an older version left it
    record.write_text(json.dumps(values))
    load_trained(tmp_path / "run", recipe(), data())
    record.write_text(json.dumps(values | {"weights_sha256": "0" * 63}))
    with pytest.raises(ValueError, match=r"record\.json: `weights_sha256`='0+' must be 64 hex"):
        recipe_of(tmp_path / "run")
