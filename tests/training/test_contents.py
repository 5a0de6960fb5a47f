"""Checkpoints that are whole files with wrong contents: told in a line, with file and key."""

import json
import math
import re
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from mixerlib.training import checkpoint
from mixerlib.training.contents import optimizer_state
from mixerlib.training.distributed import ALONE
from mixerlib.training.finished import load_trained, recipe_of
from mixerlib.training.loop import train, training_steps
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import Run, RunWarning, begin, collect
from mixerlib.training.session import Stopped

CPU = torch.device("cpu")
OPTIONS = {"dim": 4, "depth": 1, "kernel_size": 3, "patch_size": 2}
RECIPE = Recipe(
    "digits",
    "splitmixer_i",
    model_options=OPTIONS,
    epochs=3,
    batch_size=32,
    ema=0.8,
    decay_on="matrices",
    precision="float16",
)


@pytest.fixture(scope="module")
def run(digits) -> Run:
    """A run before its first step, which a wrong checkpoint never changes."""
    return begin(RECIPE, digits, CPU, ALONE)


@pytest.fixture(scope="module")
def content(digits, tmp_path_factory) -> dict[str, Any]:
    """What the checkpoint of a run holds in its second epoch."""
    folder = tmp_path_factory.mktemp("run")
    asked = iter(range(10))
    with pytest.raises(Stopped):
        train(RECIPE, digits, "cpu", folder=folder, stop=lambda: next(asked) == 4 or None)
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def places(value: Any, above: tuple = ()) -> Iterator[tuple]:
    """The keys that lead to every part of a content; of many tensors the first and the last."""
    if not isinstance(value, dict | list):
        return
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if len(keys) > 8 and above[-1:] in (("model",), ("average",), ("state",)):
        keys = [keys[0], keys[-1]]
    for key in keys:
        yield (*above, key)
        yield from places(value[key], (*above, key))


def changed(content: Any, place: tuple, value: Any) -> Any:
    """A copy of the content with another value in a place, or without it if the value is `...`."""
    content = deepcopy(content)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return content


VALUES: dict[str, Any] = {
    "missing": ...,
    "none": None,
    "-1": -1,
    "2**70": 2**70,
    "digits": 10**5000,
    "0.5": 0.5,
    "nan": math.nan,
    "inf": math.inf,
    "text": "x",
    "a list": [],
    "a list of lists": [[]],
    "a table": {},
    "a table of numbers": {1: 2},
    "true": True,
    "a tensor": torch.zeros(1),
    "an empty tensor": torch.zeros(0),
    "a scalar": torch.zeros((), dtype=torch.float64),
    "an expanded tensor": torch.zeros(1).expand(10**10),
    "a sparse tensor": torch.zeros(4).to_sparse(),
    "a tensor on meta": torch.zeros(4, device="meta"),
}


def outcome(run: Run, path: Path, content: Any, digits: Any) -> str | None:
    """The line with which a checkpoint is refused; None where it is gone on from."""
    torch.save(content, path)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    try:
        state = checkpoint.load(path, RECIPE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RunWarning)  # of other versions before
            checkpoint.continue_from(deepcopy(run), state, path)
    except ValueError as error:
        message = str(error)
        assert str(path) in message or "another run" in message or "training images" in message
        assert "\n" not in message and len(message) < 400
        assert all(torch.equal(before[n], value) for n, value in run.model.state_dict().items())
        return message
    return None


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_wrong_value_anywhere(value, run, content, digits, tmp_path):
    """Either it is refused in a line, or it is as good as the right one."""
    path, taken = tmp_path / "checkpoint.pt", []
    for place in places(content):
        if outcome(run, path, changed(content, place, value), digits) is None:
            taken.append(".".join(map(str, place[1:])))
        try:  # `evaluate` reads less of it
            load_trained(path, recipe_of(path), digits)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
    fine = (
        r"training_seconds|total_seconds|continued|form|optimizer\.param_groups\.\d\.(?!params)\w+"
    )
    fine += r"|curve\.\d\.\w+|scaler\._growth_tracker|scaler\.scale|parts(\.\d(\.\w+)?)?|step|test"
    assert [key for key in taken if not re.fullmatch(fine, key)] == []
    assert len(taken) < 30


def test_an_unknown_key_is_of_a_newer_version(run, content, digits, tmp_path):
    path = tmp_path / "checkpoint.pt"
    tables = ((), ("state",), ("state", "optimizer"), ("state", "form"), ("state", "curve", 0))
    for place in (*tables, ("state", "scaler"), ("state", "optimizer", "state", 0)):
        message = outcome(run, path, changed(content, (*place, "new"), 1), digits)
        assert message and "new` is not a key of a checkpoint: it is of a newer mixerlib" in message
    settings = json.loads(content["settings"])
    newer = changed(content, ("settings",), json.dumps(settings | {"sharpness": 1}))
    message = outcome(run, path, newer, digits)
    assert message and "`settings.sharpness` is no field of a recipe: it is of a newer" in message
    with pytest.raises(ValueError, match=r"checkpoint\.pt: `settings\.sharpness` is no field"):
        recipe_of(path)
    del settings["seed"]
    message = outcome(run, path, changed(content, ("settings",), json.dumps(settings)), digits)
    assert message and "`settings.seed` is missing" in message


@pytest.mark.parametrize("text", ["", "[]", "5", "{", "[" * 100_000, '{"a": ' * 50_000, "9" * 9000])
def test_settings_that_are_no_recipe(text, run, content, digits, tmp_path):
    path = tmp_path / "checkpoint.pt"
    message = outcome(run, path, changed(content, ("settings",), text), digits)
    assert message and "`settings` must be a recipe as JSON" in message


DIGITS = '{"dim": 1' + "0" * 5000 + "}"


@pytest.mark.parametrize(
    "options",
    ['{"dim": "x"}', '{"new": 1}', '{"dim": null}', "[]", "null", '{"depth": -1}', DIGITS],
    ids=lambda options: options[:20],
)
def test_settings_of_an_impossible_model(options, content, digits, tmp_path):
    path = tmp_path / "checkpoint.pt"
    settings = json.loads(content["settings"])
    text = json.dumps(settings | {"model_options": "here"}).replace('"here"', options)
    torch.save(changed(content, ("settings",), text), path)
    with pytest.raises(ValueError):
        load_trained(path, recipe_of(path), digits)


MOMENTS = ("state", "optimizer", "state", 0)


@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq"])
def test_moments_of_another_shape_or_dtype_never_reach_torch(name, run, content, digits, tmp_path):
    right, path = content["state"]["optimizer"]["state"][0][name], tmp_path / "checkpoint.pt"
    wrong = [torch.zeros(1), right[:1].clone(), right.double(), right.to(torch.complex64)]
    wrong += [right.bfloat16(), right.flatten(), right.new_zeros(1).expand(7, *right.shape)]
    for value in wrong:
        message = outcome(run, path, changed(content, (*MOMENTS, name), value), digits)
        assert message and f"`state.optimizer.state.0.{name}` is " in message


def test_moments_get_memory_of_their_own(run, content, digits, tmp_path):
    """Expanded, shared and transposed ones of the right shape are copied into their own."""
    state = deepcopy(content["state"]["optimizer"])
    right = state["state"][0]["exp_avg"]
    state["state"][0]["exp_avg"] = torch.ones(1).expand(right.shape)
    state["state"][0]["exp_avg_sq"] = state["state"][0]["exp_avg"]
    copies = optimizer_state(run, state)["state"][0]
    parameter = run.optimizer.param_groups[0]["params"][0]
    first, second = copies["exp_avg"], copies["exp_avg_sq"]
    assert first.data_ptr() != second.data_ptr() and bool((first == 1).all())
    for value in (first, second):
        assert value.stride() == parameter.stride() and value.shape == parameter.shape
        assert value.untyped_storage().nbytes() == 4 * parameter.numel()


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_step_that_is_none(value, run, content, digits, tmp_path):
    wrong = changed(content, (*MOMENTS, "step"), torch.tensor(value))
    message = outcome(run, tmp_path / "checkpoint.pt", wrong, digits)
    assert message and f"`state.optimizer.state.0.step`={value} must be finite" in message


@pytest.mark.parametrize("place", ["model", "average"])
def test_weights_that_are_no_numbers(place, run, content, digits, tmp_path):
    path, wrong = tmp_path / "checkpoint.pt", deepcopy(content)
    wrong["state"][place]["head.bias"][1] = math.nan
    message = outcome(run, path, wrong, digits)
    assert message and f"`state.{place}.head.bias`" in message and "diverged" in message
    with pytest.raises(ValueError, match=r"`head\.bias` holds NaN or infinite numbers"):
        load_trained(path, RECIPE, digits, average=place == "average")


def test_the_weights_or_their_average_of_a_checkpoint(content, digits, tmp_path):
    path = tmp_path / "kept as.backup"  # under any name
    torch.save(content, path)
    assert recipe_of(path).model == "splitmixer_i"
    for average, key in ((None, "average"), (True, "average"), (False, "model")):
        model = load_trained(path, RECIPE, digits, average=average)
        assert torch.equal(model.head.weight, content["state"][key]["head.weight"])
    torch.save(changed(content, ("state", "average"), None), path)
    with pytest.raises(ValueError, match=r"`average`=True, but .*backup is of a run without one"):
        load_trained(path, RECIPE, digits, average=True)


def test_an_empty_state_does_not_begin_anew(run, content, digits, tmp_path):
    message = outcome(run, tmp_path / "checkpoint.pt", changed(content, ("state",), {}), digits)
    assert message and "`state.images` is missing" in message


def test_a_state_goes_on_as_it_was(run, content, digits, tmp_path):
    """So that the refusals above are of what was changed."""
    assert outcome(run, tmp_path / "checkpoint.pt", content, digits) is None
    steps = training_steps(again := deepcopy(run), digits)
    next(steps)
    collect(again)
    torch.save(content | {"state": checkpoint.state_of(again)}, tmp_path / "checkpoint.pt")
    state = checkpoint.load(tmp_path / "checkpoint.pt", RECIPE)
    checkpoint.continue_from(other := deepcopy(run), state)
    assert other.steps_done == 1
    mine, theirs = (r.optimizer.state_dict()["state"] for r in (other, again))
    assert all(torch.equal(mine[i][k], theirs[i][k]) for i in theirs for k in theirs[i])
