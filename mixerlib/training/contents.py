"""What a checkpoint must hold, looked at before torch sees any of it.

A checkpoint may come from anywhere, and some of torch's kernels write wherever a tensor's shape
says: so every key, type and range is held against what `state_of` writes, and every tensor against
the run that is to go on.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import torch

from mixerlib.checks import shown
from mixerlib.records import Epoch, Part
from mixerlib.training.recipe import FORMER_NAMES, SETTINGS, current_settings
from mixerlib.training.run import Run
from mixerlib.weights.pickled import StoredTensor

FORM = ("one_matrix", "channels_last", "compile")
LATER_FORM = ("shifted", "by_block")  # fields of it that older versions did not write
PART = get_type_hints(Part)
OPTIONAL = ("form", "parts")  # keys that older versions did not write
ADAMW = ("step", "exp_avg", "exp_avg_sq")  # what an optimizer keeps for a parameter
MUON = ("step", "momentum_buffer")
NEWER = "it is of a newer mixerlib, or of none"


def in_words(value: object) -> str:
    """A value in a message, as `checks.shown` has it; of a table, which may be endless, its type
    alone."""
    plain = isinstance(value, str | int | float | bool | bytes | type(None))
    return shown(value) if plain else f"a {type(value).__name__}"


def demand(condition: bool, key: str, value: object, rule: str) -> None:
    """Raises `ValueError` with the key, its value and the rule, unless the rule is kept."""
    if not condition:
        raise ValueError(f"`{key}`={in_words(value)} must be {rule}")


def same_keys(key: str, actual: object, needed: Any, optional: Any = ()) -> dict[Any, Any]:
    """`actual`, if it is a table with the needed keys, perhaps the optional ones, and no other."""
    if not isinstance(actual, dict):
        raise ValueError(f"`{key}`={in_words(actual)} must be a table")
    dotted = f"{key}." if key else ""
    for name in needed:
        if name not in actual:
            raise ValueError(f"`{dotted}{name}` is missing")
    for name in actual:
        if name not in needed and name not in optional:
            name = name if isinstance(name, str | int) else in_words(name)
            raise ValueError(f"`{dotted}{name}` is not a key of a checkpoint: {NEWER}")
    return actual


@contextmanager
def in_file(path: Path | None) -> Iterator[None]:
    """Put the file's name before the message of what is wrong in it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}" if path else f"the checkpoint: {error}") from None


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)  # type: ignore[arg-type]


def is_seconds(value: object) -> bool:
    return is_number(value) and value >= 0  # type: ignore[operator]


def is_plain(value: object) -> bool:
    """A number, text, a switch or nothing, or a flat list of these."""
    if isinstance(value, list | tuple):
        return all(isinstance(item, int | float | str | type(None)) for item in value)
    return isinstance(value, int | float | str | type(None))


Rule = tuple[Callable[[Any], bool], str]
PLAIN: dict[str, Rule] = {
    "images": (lambda v: is_count(v) and v > 0, "a whole number of at least 1"),
    "epoch": (lambda v: is_count(v) and v > 0, "a whole number of at least 1"),
    "step": (is_count, "a whole number of at least 0"),
    "continued": (is_count, "a whole number of at least 0"),
    "training_seconds": (is_seconds, "a number of at least 0"),
    "total_seconds": (is_seconds, "a number of at least 0"),
    "test": (
        lambda v: v is None or (type(v) is tuple and len(v) == 3 and all(map(is_number, v))),
        "a loss and two accuracies, or none",
    ),
}
TABLES = ("model", "average", "optimizer", "scaler", "sums", "curve")


def settings_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the run that wrote a checkpoint: a recipe's fields, perhaps former names."""
    text = content["settings"]
    try:
        settings = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise ValueError("`settings` must be a recipe as JSON")
    for name in settings:
        if name not in (*SETTINGS, "name", *FORMER_NAMES):
            raise ValueError(f"`settings.{in_words(name)[1:-1]}` is no field of a recipe: {NEWER}")
    for name in SETTINGS:
        if name not in current_settings(settings):
            raise ValueError(f"`settings.{name}` is missing")
    return settings


def checked_state(state: object) -> dict[str, Any]:
    """A checkpoint's state, its keys and types as `state_of` writes them, its tensors unread."""
    state = same_keys("state", state, (*PLAIN, *TABLES), OPTIONAL)
    for key, (kept, rule) in PLAIN.items():
        demand(kept(state[key]), f"state.{key}", state[key], rule)
    _check_named("model", state["model"])
    if state["average"] is not None:
        _check_named("average", state["average"])
    optimizer = same_keys("state.optimizer", state["optimizer"], ("state", "param_groups"))
    groups = optimizer["param_groups"]
    demand(_is_list_of_tables(groups), "state.optimizer.param_groups", groups, "a list of tables")
    by_muon = [index for group in groups if group.get("muon") is True for index in _params(group)]
    moments = optimizer["state"]
    demand(isinstance(moments, dict), "state.optimizer.state", moments, "a table")
    for index, values in moments.items():
        key = f"state.optimizer.state.{in_words(index)}"
        demand(is_count(index), key, index, "of a parameter's number")
        for name, value in same_keys(key, values, MUON if index in by_muon else ADAMW).items():
            demand(isinstance(value, StoredTensor), f"{key}.{name}", value, "a dense tensor")
    demand(
        isinstance(state["scaler"], dict) and all(map(is_plain, state["scaler"].values())),
        "state.scaler",
        state["scaler"],
        "a table of numbers",
    )
    demand(isinstance(state["sums"], StoredTensor), "state.sums", state["sums"], "a dense tensor")
    _check_curve(state)
    if "form" in state:
        for name, value in same_keys("state.form", state["form"], FORM, LATER_FORM).items():
            demand(type(value) is bool, f"state.form.{name}", value, "true or false")
    parts = state.get("parts", [])
    demand(_is_list_of_tables(parts), "state.parts", parts, "a list of tables")
    for number, part in enumerate(parts):
        key = f"state.parts.{number}"
        for name, value in same_keys(key, part, PART).items():
            fits = is_count(value) and value > 0 if PART[name] is int else isinstance(value, str)
            demand(fits, f"{key}.{name}", value, "above 0" if PART[name] is int else "text")
    return state


def _params(group: Mapping[str, Any]) -> list[Any]:
    """The numbers of a group's parameters; none where they are no list, which is told later."""
    params = group.get("params")
    return params if isinstance(params, list) else []


def _is_list_of_tables(value: object) -> bool:
    """Whether this is a list of tables of plain values with text as keys."""
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and all(isinstance(key, str) and is_plain(inner) for key, inner in item.items())
        for item in value
    )


def _check_named(key: str, tensors: object) -> None:
    demand(isinstance(tensors, dict), f"state.{key}", tensors, "a table of tensors")
    assert isinstance(tensors, dict)
    for name, value in tensors.items():
        demand(isinstance(name, str), f"state.{key}", name, "tensors by their names")
        demand(isinstance(value, StoredTensor), f"state.{key}.{name}", value, "a dense tensor")


def _check_curve(state: Mapping[str, Any]) -> None:
    """The rows of the epochs that are done: one for each, and a test where one was looked at."""
    curve = state["curve"]
    demand(isinstance(curve, list), "state.curve", curve, "a list")
    demand(len(curve) == state["epoch"] - 1, "state.curve", curve, "a row for each epoch before")
    names = [field.name for field in fields(Epoch)]
    for number, row in enumerate(curve, start=1):
        key = f"state.curve.{number}"
        for name, value in same_keys(key, row, names).items():
            fits = is_number(value) or (value is None and name in ("test_loss", "test_accuracy"))
            demand(fits, f"{key}.{name}", value, "a finite number")
        demand(
            type(row["epoch"]) is int and row["epoch"] == number,
            f"{key}.epoch",
            row["epoch"],
            f"{number}",
        )
    tested = any(row["test_loss"] is not None for row in curve)
    demand((state["test"] is not None) == tested, "state.test", state["test"], "as in the curve")


def with_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """A checked state with its tensors read, on the CPU. They are views of the file's content."""

    def read(tensors: Mapping[Any, StoredTensor]) -> dict[Any, torch.Tensor]:
        return {name: value.tensor() for name, value in tensors.items()}

    moments = {i: read(values) for i, values in state["optimizer"]["state"].items()}
    return state | {
        "model": read(state["model"]),
        "average": None if state["average"] is None else read(state["average"]),
        "optimizer": state["optimizer"] | {"state": moments},
        "sums": state["sums"].tensor(),
    }


def check_fits(run: Run, state: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless a checked state is one of this very run."""
    recipe = run.recipe
    demand(
        state["epoch"] <= recipe.epochs + 1,
        "state.epoch",
        state["epoch"],
        f"at most `epochs`={recipe.epochs} and 1",
    )
    most = run.steps if state["epoch"] <= recipe.epochs else 0
    demand(state["step"] <= most, "state.step", state["step"], f"at most {most}")
    _check_same("model", state["model"], run.model)
    demand(
        (state["average"] is None) == (run.average is None),
        "state.average",
        state["average"],
        f"as `ema`={recipe.ema} says",
    )
    if run.average is not None:
        _check_same("average", state["average"], run.average)
    sums, expected = state["sums"], run.loss_and_correct
    _check_like("sums", sums, expected)
    demand(bool(sums.isfinite().all()), "state.sums", sums, "finite")
    scaler = run.scaler.state_dict()
    for name, value in same_keys("state.scaler", state["scaler"], scaler).items():
        key = f"state.scaler.{name}"
        demand(type(value) is type(scaler[name]), key, value, f"like {in_words(scaler[name])}")
        if name == "scale":
            demand(is_number(value) and value > 0, key, value, "a number above 0")
        elif name == "_growth_tracker":
            demand(is_count(value), key, value, "a whole number of at least 0")
        else:
            demand(value == scaler[name], key, value, f"the run's own, {scaler[name]}")


def _check_same(key: str, tensors: Mapping[str, torch.Tensor], model: torch.nn.Module) -> None:
    """The tensors have the names, shapes and dtypes of the model's, and finite parameters."""
    expected, parameters = model.state_dict(), dict(model.named_parameters())
    for name, tensor in same_keys(f"state.{key}", tensors, expected).items():
        _check_like(f"{key}.{name}", tensor, expected[name])
        if name in parameters:
            finite = bool(tensor.isfinite().all())
            demand(finite, f"state.{key}.{name}", tensor, "finite, and is not: the run diverged")


def _check_like(key: str, tensor: torch.Tensor, expected: torch.Tensor) -> None:
    if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
        raise ValueError(
            f"`state.{key}` is {tuple(tensor.shape)} of {tensor.dtype}, wanted "
            f"{tuple(expected.shape)} of {expected.dtype}"
        )


def optimizer_state(run: Run, saved: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's state, as torch may have it: every tensor a copy of its own, in the shape,
    dtype and layout of its parameter, and the groups the run's own. `ValueError` for another's.
    """
    groups = run.optimizer.state_dict()["param_groups"]
    demand(
        len(saved["param_groups"]) == len(groups),
        "state.optimizer.param_groups",
        saved["param_groups"],
        f"{len(groups)} groups",
    )
    for number, (theirs, ours) in enumerate(zip(saved["param_groups"], groups, strict=True)):
        for name in ours.keys() & (theirs.keys() | {"params"}) - {"lr"}:  # set anew at each step
            key = f"state.optimizer.param_groups.{number}.{name}"
            demand(
                name in theirs and theirs[name] == ours[name],
                key,
                theirs.get(name),
                f"the run's own, {in_words(ours[name])}",
            )
    parameters = [
        (parameter, MUON if group.get("muon") else ADAMW)
        for group in run.optimizer.param_groups
        for parameter in group["params"]
    ]
    moments = saved["state"]
    if moments:
        same_keys("state.optimizer.state", moments, range(len(parameters)))
    copies: dict[int, dict[str, torch.Tensor]] = {}
    for index, values in sorted(moments.items()):
        key, (parameter, kept) = f"optimizer.state.{index}", parameters[index]
        copies[index] = {}
        for name in kept:
            value = same_keys(f"state.{key}", values, kept)[name]
            if name == "step":
                _check_like(f"{key}.step", value, torch.zeros(()))
                demand(0 <= value.item() < math.inf, f"state.{key}.step", value.item(), "finite")
                copies[index][name] = value.clone()
            else:
                _check_like(f"{key}.{name}", value, parameter)
                copy = torch.empty_like(parameter, device="cpu", requires_grad=False)
                copies[index][name] = copy.copy_(value)
    return {"state": copies, "param_groups": groups}
