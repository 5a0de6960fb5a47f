"""The rules that options must keep, and how a refusal reads.

A check returns the value that it was given, in its usual form, or raises `ValueError` with the
argument's name, its value, which is cut short where it is long, and the rule.
"""

import difflib
import math
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from fractions import Fraction
from numbers import Integral
from typing import Any, NamedTuple, TypeVar, get_type_hints

import numpy as np
import torch
import torch.fx
from torch import nn

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}
Choice = TypeVar("Choice")
Number = TypeVar("Number", int, float)

# The most that a number of this name may be. No network known comes near; with these tops no tensor
# of a model has 2**63 bytes, where torch's own arithmetic ends, and every model is soon built.
TOPS: dict[str, int] = {
    "dim": 2**20,
    "tokens_dim": 2**20,
    "channels_dim": 2**20,
    "num_classes": 2**20,
    "in_channels": 2**16,
    "image_size": 2**16,
    "kernel_size": 2**12,
    "patch_size": 2**12,
    "heads": 2**10,
    "shift_size": 2**12,
    "stride": 2**12,
    "channels_ratio": 2**10,
    "depth": 2**10,
    "segments": 2**10,
    "batch": 2**24,
    "batch_size": 2**24,
    "epochs": 10**6,
    "evaluate_every": 10**6,
    "policy_operations": 100,
    "rounds": 10**6,
    "workers": 2**10,
}
LONGEST = 100  # characters of a value in a refusal


def shown(value: object) -> str:
    """A value as a refusal shows it: in one line, cut short where it is long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a number of many digits, a list in a list in a list …: what it is will do
        text = f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def positive_int(name: str, value: object, top: bool = True) -> int:
    """A whole number from 1 to the name's top among `TOPS`, if that is to hold, as an `int`.
    Booleans and floats such as 8.0 are refused.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"`{name}`={shown(value)} must be a positive whole number")
    return _below_top(name, int(value)) if top else int(value)


def count(name: str, value: object) -> int:
    """A whole number from 0 to the name's top, as an `int`. Booleans and floats such as 8.0 are
    refused.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError(f"`{name}`={shown(value)} must be a whole number of at least 0")
    return _below_top(name, int(value))


def _below_top(name: str, value: Number) -> Number:
    """A number that is at most its name's top, where it has one."""
    if name in TOPS and value > TOPS[name]:
        raise ValueError(f"`{name}`={shown(value)} must be at most {TOPS[name]:,}")
    return value


def one_of(name: str, value: Choice, choices: tuple[Choice, ...]) -> Choice:
    """One of a few fixed values."""
    # no `value in choices`: an array answers == with an array
    if not any(isinstance(value, type(choice)) and value == choice for choice in choices):
        words = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}`={shown(value)} must be one of {words}")
    return value


def did_you_mean(word: str, names: Iterable[str], otherwise: str) -> str:
    """The end of a refusal of an unknown word: the nearest of the names, or `otherwise`."""
    near = difflib.get_close_matches(str(word)[:LONGEST], list(names), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def switch(name: str, value: bool) -> bool:
    """True or False, and not a number that happens to equal one of them."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}`={shown(value)} must be True or False")
    return value


def activation(value: str) -> type[nn.Module]:
    """The module class of an activation: "gelu" (exact, not the tanh approximation) or "relu"."""
    return ACTIVATIONS[one_of("activation", value, tuple(ACTIVATIONS))]


def ratio(value: object) -> Fraction:
    """The overlap ratio α as an exact fraction with 1/2 < α ≤ 1.

    Text ("2/3") and `Fraction` are exact already. A float is read as the fraction with the smallest
    denominator, up to a million, that this float stands for, so that `2/3` typed as a Python
    division means two thirds and not the binary number just below it.
    """
    rule = (
        f"`ratio`={shown(value)} must be a fraction above 1/2 and at most 1, "
        "such as '2/3', Fraction(2, 3) or 2/3"
    )
    if isinstance(value, bool) or not isinstance(value, str | float | int | Fraction):
        raise ValueError(rule)
    if isinstance(value, str) and not _SHORT_NUMBER.fullmatch(value):
        raise ValueError(rule)  # before 10**99999999 is computed for "1e99999999"
    try:
        exact = Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(rule) from None
    if isinstance(value, float) and float(near := exact.limit_denominator(10**6)) == value:
        exact = near
    if not Fraction(1, 2) < exact <= 1 or exact.denominator > 10**50:
        raise ValueError(rule)
    return exact


def stages(value: object) -> tuple[tuple[int, int, int | None], ...]:
    """The blocks and the width of each stage of a network, and where one is given the hidden width
    of its MLPs in widths: "2x64, 3x128x8" is ((2, 64, None), (3, 128, 8))."""
    rule = (
        f"`stages`={shown(value)} must be blocks x width for each stage, such as '2x64, 3x128', "
        "or blocks x width x hidden width in widths; each as wide as no neighbour"
    )
    if not isinstance(value, str) or not _STAGES.fullmatch(value):
        raise ValueError(rule)
    read: list[tuple[int, int, int | None]] = []
    for stage in value.split(","):
        blocks, width, *ratio = (int(number) for number in stage.split("x"))
        own = positive_int("channels_ratio", ratio[0]) if ratio else None
        read.append((positive_int("depth", blocks), positive_int("dim", width), own))
    if any(read[i][1] == read[i + 1][1] for i in range(len(read) - 1)):
        raise ValueError(rule)
    return tuple(read)


_STAGES = re.compile(r"( *[0-9]{1,9}(x[0-9]{1,9}){1,2} *,){0,9} *[0-9]{1,9}(x[0-9]{1,9}){1,2} *")
_SHORT_NUMBER = re.compile(r"[-+0-9_./ ]{1,100}(e[-+]?[0-9]{1,2})? *", re.IGNORECASE)


def image_pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """A height and a width in pixels; one number stands for a square."""
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(
            f"`{name}`={shown(value)} must be one whole number or a pair (height, width)"
        )
    return positive_int(name, pair[0]), positive_int(name, pair[1])


def patches(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """How many patches fit down and across; the patch must divide both sides."""
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"`patch_size`={patch_size} must divide the image's height and width, "
            f"here {height}×{width}"
        )
    return height // patch_size, width // patch_size


def _shape(x: torch.Tensor) -> tuple[int, ...]:
    """A tensor's shape in numbers, also for `torch.jit.trace`, which hands out tensors for them."""
    if not torch.jit.is_tracing():
        return tuple(x.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # that no check is recorded
        return tuple(int(size) for size in x.shape)


# torch.fx knows no sizes while it traces: it records a call of the next two, and looks no further.


@torch.fx.wrap
def images(x: torch.Tensor, in_channels: int, patch_size: int, halvings: int = 0) -> None:
    """A batch of images (B, in_channels, H, W) whose H and W the patch divides, and whose table of
    patches can be halved so often."""
    shape = _shape(x)
    if len(shape) != 4 or shape[1] != in_channels:
        raise ValueError(
            f"`x` of shape {shape} must be a batch of images (B, {in_channels}, H, W): "
            f"`in_channels`={in_channels}"
        )
    rows, columns = patches(shape[2], shape[3], patch_size)
    if rows % 2**halvings or columns % 2**halvings:
        rule = f"must be such that both can be halved {halvings} times"
        raise ValueError(f"`x` of {rows}×{columns} patches {rule}: `patch_size`={patch_size}")


@torch.fx.wrap
def sides(x: torch.Tensor, image_size: tuple[int, int], reason: str) -> None:
    """Images (B, in_channels, H, W) of the one height and width that a model was made for."""
    height_and_width = _shape(x)[2:]
    if height_and_width != image_size:
        raise ValueError(
            f"`x` of height and width {height_and_width} must have `image_size`={image_size}: "
            f"{reason}"
        )


# Numbers, and dataclasses of settings


class Rule(NamedTuple):
    """What a value must keep, and how a refusal says it: `value` must be `words`."""

    kept: Callable[[Any], bool]
    words: str


POSITIVE = Rule(lambda value: value > 0, "above 0")
COUNT = Rule(lambda value: value >= 1, "at least 1")
NOT_NEGATIVE = Rule(lambda value: value >= 0, "at least 0")
SHARE = Rule(lambda value: 0 <= value <= 1, "between 0 and 1")
POSITIVE_SHARE = Rule(lambda value: 0 < value <= 1, "above 0 and at most 1")

_LARGEST = sys.float_info.max
# What may be written for the type of a setting, and in words
TYPES: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    str | None: ((str, type(None)), "text, or null"),
    int: ((int,), "a whole number"),
    int | None: ((int, type(None)), "a whole number, or null"),
    float: ((int, float), "a number"),
    float | None: ((int, float, type(None)), "a number, or null"),
    bool: ((bool,), "true or false"),
    dict[str, Any]: ((dict,), "a table of options"),
}


def follows(name: str, value: Choice, rule: Rule) -> Choice:
    """A value that keeps a rule; one that cannot be compared, such as a text, does not."""
    try:
        kept = bool(rule.kept(value))
    except (TypeError, ValueError, RuntimeError):  # as arrays and tensors
        kept = False
    if not kept:
        raise ValueError(f"`{name}`={shown(value)} must be {rule.words}")
    return value


def of_type(name: str, value: Choice, kind: Any) -> Choice:
    """A value of one of the `TYPES`, numpy's as Python's own. True and False are no numbers, NaN,
    infinity and whole numbers beyond all floats no number for a float, control characters no text.
    """
    value = value.item() if isinstance(value, np.generic) else value
    classes, words = TYPES[kind]
    right = isinstance(value, classes) and (bool in classes or not isinstance(value, bool))
    if isinstance(value, float) or (float in classes and isinstance(value, int)):
        right = right and -_LARGEST <= value <= _LARGEST  # which NaN is not
    if isinstance(value, str):
        right = right and min(value, default=" ") >= " "
    if not right:
        hint = ""
        if float in classes and isinstance(value, str) and _is_number(value):
            hint = "; YAML reads it as text, so write it with a decimal point, such as 1.0e-2"
        raise ValueError(f"`{name}`={shown(value)} must be {words}{hint}")
    return value


def settings(
    instance: Any,
    choices: Mapping[str, tuple[str, ...]],
    rules: Mapping[str, Rule],
    used_with: Mapping[str, tuple[str, tuple[Any, ...]]],
    may_stay_null: tuple[str, ...] = (),
) -> None:
    """The fields of a dataclass of settings: their types, their rules, and that each has an effect.

    Args:
        instance: the dataclass, whose annotations are among the `TYPES`.
        choices: field → the words that it may be.
        rules: field → the rule that its number keeps.
        used_with: field → the one that decides whether it has an effect, and with which of its
            values; () stands for any that is neither null nor 0. With others it must be null.
        may_stay_null: fields that may be null also where they have an effect.
    """
    for name, kind in get_type_hints(type(instance)).items():
        object.__setattr__(instance, name, of_type(name, getattr(instance, name), kind))
    for name, words in choices.items():
        if (word := getattr(instance, name)) is not None:
            one_of(name, word, words)
    for name, rule in rules.items():
        if (value := getattr(instance, name)) is not None:
            follows(name, value, rule)
            _below_top(name, value)
    for name, (ruler, uses) in used_with.items():
        value, ruling = getattr(instance, name), getattr(instance, ruler)
        used = ruling in uses if uses else bool(ruling)
        if value is not None and value is not False and not used:
            off = "false" if value is True else "null (None in Python, none on the command line)"
            raise ValueError(
                f"`{name}`={shown(value)} has no effect with `{ruler}`={shown(ruling)}; "
                f"set it to {off}"
            )
        if value is None and used and name not in may_stay_null:
            raise ValueError(f"`{ruler}`={ruling!r} needs `{name}`, which is not set")


def table(
    where: str, value: Any, required: Collection[str], optional: Collection[str] = ()
) -> dict[str, Any]:
    """The table at a place of a file, with its required keys and at most the optional ones."""
    keys = set(value) if isinstance(value, dict) else set()
    if not set(required) <= keys <= {*required, *optional}:
        may = f", and may have {_quoted(optional)}" if optional else ""
        raise ValueError(f"{where}={shown(value)} must have the keys {_quoted(required)}{may}")
    return value


def list_of(name: str, values: Any, kind: type, empty: bool = False) -> list:
    """A list of texts or of whole numbers, which may be `empty` if that is said."""
    right = isinstance(values, list) and all(type(value) is kind for value in values)
    if not right or not (values or empty):
        words = {int: "whole numbers", str: "texts"}[kind]
        raise ValueError(f"`{name}`={shown(values)} must be a list of {words}")
    return values


def _quoted(names: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return math.isfinite(float(text))
    return False
