"""The rules that options must keep, and how a refusal reads.

A check returns the value that it was given, in its usual form, or raises `ValueError` with the
argument's name, its value and the rule.
"""

import difflib
import warnings
from collections.abc import Iterable
from fractions import Fraction
from numbers import Integral
from typing import TypeVar

import torch
import torch.fx
from torch import nn

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}
Choice = TypeVar("Choice")


def positive_int(name: str, value: object) -> int:
    """A whole number of at least 1, as an `int`. Booleans and floats such as 8.0 are refused."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"`{name}`={value!r} must be a positive whole number")
    return int(value)


def count(name: str, value: object) -> int:
    """A whole number of at least 0, as an `int`. Booleans and floats such as 8.0 are refused."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError(f"`{name}`={value!r} must be a whole number of at least 0")
    return int(value)


def one_of(name: str, value: Choice, choices: tuple[Choice, ...]) -> Choice:
    """One of a few fixed values."""
    if value not in choices:
        raise ValueError(f"`{name}`={value!r} must be one of {', '.join(repr(c) for c in choices)}")
    return value


def did_you_mean(word: str, names: Iterable[str], otherwise: str) -> str:
    """The end of a refusal of an unknown word: the nearest of the names, or `otherwise`."""
    near = difflib.get_close_matches(str(word), list(names), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def switch(name: str, value: bool) -> bool:
    """True or False, and not a number that happens to equal one of them."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}`={value!r} must be True or False")
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
        f"`ratio`={value!r} must be a fraction above 1/2 and at most 1, "
        "such as '2/3', Fraction(2, 3) or 2/3"
    )
    if isinstance(value, bool) or not isinstance(value, str | float | int | Fraction):
        raise ValueError(rule)
    try:
        exact = Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(rule) from None
    near = exact.limit_denominator(10**6)
    if isinstance(value, float) and float(near) == value:
        exact = near
    if not Fraction(1, 2) < exact <= 1:
        raise ValueError(rule)
    return exact


def image_pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """A height and a width in pixels; one number stands for a square."""
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"`{name}`={value!r} must be one whole number or a pair (height, width)")
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
def images(x: torch.Tensor, in_channels: int, patch_size: int) -> None:
    """A batch of images (B, in_channels, H, W) whose H and W the patch divides."""
    shape = _shape(x)
    if len(shape) != 4 or shape[1] != in_channels:
        raise ValueError(
            f"`x` of shape {shape} must be a batch of images (B, {in_channels}, H, W): "
            f"`in_channels`={in_channels}"
        )
    patches(shape[2], shape[3], patch_size)


@torch.fx.wrap
def sides(x: torch.Tensor, image_size: tuple[int, int], reason: str) -> None:
    """Images (B, in_channels, H, W) of the one height and width that a model was made for."""
    height_and_width = _shape(x)[2:]
    if height_and_width != image_size:
        raise ValueError(
            f"`x` of height and width {height_and_width} must have `image_size`={image_size}: "
            f"{reason}"
        )
