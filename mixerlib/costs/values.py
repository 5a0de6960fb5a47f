"""From a model's options to the symbols' values, and from an expression to its exact number."""

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from math import floor
from typing import Any

import sympy
from sympy.printing.pycode import PythonCodePrinter

from mixerlib import checks
from mixerlib.costs import symbols as sym

_COMMON = ("dim", "depth", "patch_size", "num_classes", "in_channels", "activation")
_OVERLAPPING = (*_COMMON, "kernel_size", "ratio")
_EQUAL = (*_COMMON, "kernel_size", "segments")
_DISJOINT = (*_EQUAL, "shuffle")

# The families → the options that each has
OPTIONS: dict[str, tuple[str, ...]] = {
    "convmixer": (*_COMMON, "kernel_size"),
    "splitmixer_i": _OVERLAPPING,
    "splitmixer_ii": _DISJOINT,
    "splitmixer_iii": _DISJOINT,
    "splitmixer_iv": _DISJOINT,
    "splitmixer_v": _OVERLAPPING,
    "splitmixer_3d": _EQUAL,
    "mlp_mixer": (*_COMMON, "image_size", "tokens_dim", "channels_dim"),
}
FAMILIES = tuple(OPTIONS)  # the families that have closed forms
# Families that are registered too and have no formula, as pieces of a model need none
MEASURED_ONLY = ("splitmixer_i_ablated",)
EQUAL_SEGMENTS = ("splitmixer_iii", "splitmixer_3d")


def check_family(family: str) -> str:
    """The family, if it has closed forms; `ValueError` with the list of those otherwise."""
    if family in MEASURED_ONLY:
        raise ValueError(
            f"`family`={family!r} has no closed forms: it is counted by measurement only"
        )
    return checks.one_of("family", family, FAMILIES)


def symbol_values(
    family: str, options: Mapping[str, Any], image_size: int | tuple[int, int] | None = None
) -> dict[sympy.Symbol, Fraction]:
    """The value of every symbol that the options settle. Arguments and errors as in `value_of`."""
    known = OPTIONS[check_family(family)]
    for option, value in options.items():
        if option not in known:
            raise ValueError(
                f"`{option}`={checks.shown(value)} is not an option of {family!r}; "
                f"it has {', '.join(known)}"
            )
    values: dict[sympy.Symbol, Any] = {}
    sizes = {
        checks.image_pair("image_size", x)
        for x in (options.get("image_size"), image_size)
        if x is not None
    }
    if len(sizes) > 1:
        raise ValueError(f"`image_size`={image_size!r} must be the model's: it has one of its own")
    for size in sizes:
        values[sym.H], values[sym.W] = size
    if "activation" in options:
        activation = checks.one_of("activation", options["activation"], ("gelu", "relu"))
        values[sym.gelu] = int(activation == "gelu")
    values[sym.shuffle] = int(checks.switch("shuffle", options.get("shuffle", False)))
    if "ratio" in options:
        values[sym.alpha] = checks.ratio(options["ratio"])
    for symbol, (option, _) in sym.SYMBOLS.items():
        if option in options and symbol not in values.keys() | sym.DEFINITIONS.keys():
            values[symbol] = checks.positive_int(
                option, options[option], top=False
            )  # exact for all
    values = {symbol: Fraction(value) for symbol, value in values.items()}
    for symbol, definition in sym.DEFINITIONS.items():
        if definition.free_symbols <= values.keys():
            values[symbol] = Fraction(number(definition, values))
    _check_sizes(family, values)
    return values


def _check_sizes(family: str, values: Mapping[sympy.Symbol, Fraction]) -> None:
    dim, segments, patch = (values.get(symbol) for symbol in (sym.h, sym.s, sym.p))
    height, width = values.get(sym.H), values.get(sym.W)
    if patch and height and width:
        checks.patches(int(height), int(width), int(patch))
    if values.get(sym.m) == 0:
        raise ValueError(f"`ratio`={values[sym.alpha]} of `dim`={dim} must leave a channel")
    if dim and segments and segments > dim:
        raise ValueError(f"`segments`={segments} must be at most `dim`={dim}")
    equal = family in EQUAL_SEGMENTS or values[sym.shuffle]
    if dim and segments and equal and dim % segments:
        reason = family if family in EQUAL_SEGMENTS else "`shuffle`"
        raise ValueError(f"`segments`={segments} must divide `dim`={dim} for {reason}")


def value_of(
    expression: sympy.Expr,
    family: str,
    options: Mapping[str, Any],
    image_size: int | tuple[int, int] | None = None,
) -> int | Fraction:
    """The exact value of an expression for a model's options: an `int`, or a `Fraction` where it is
    not whole.

    `options` are those of `mixerlib.create_model`. `image_size` is in pixels, a number or (height,
    width); MLP-Mixer has it among its options. Only what the expression needs has to be there, and
    a missing `shuffle` means False. Raises `ValueError` for an unknown family or option, for a
    missing one, and for sizes that no model of the family could have.

    >>> from mixerlib.costs import formulas, value_of
    >>> mixing = formulas("splitmixer_i").params["channel mixing"]
    >>> value_of(mixing, "splitmixer_i", {"dim": 256, "depth": 8, "ratio": "2/3"})
    232560
    """
    return number(expression, symbol_values(family, options, image_size))


def number(expression: sympy.Expr, values: Mapping[sympy.Symbol, Fraction]) -> int | Fraction:
    """The exact value of an expression from its symbols' values; `ValueError` if one is missing."""
    arguments, function = _compiled(expression)
    for symbol in arguments:
        if symbol not in values:
            absent = sym.in_full(symbol).free_symbols - values.keys()
            options = sorted({f"`{sym.SYMBOLS[x][0]}`" for x in absent if x in sym.SYMBOLS})
            needed = " and ".join(options) or "its value"
            raise ValueError(f"{needed} must be given: the formula has the symbol {symbol}")
    exact = Fraction(function(*(values[symbol] for symbol in arguments)))
    return exact.numerator if exact.denominator == 1 else exact


class _ExactPrinter(PythonCodePrinter):
    def _print_Rational(self, expr: sympy.Rational) -> str:
        return f"Fraction({expr.p}, {expr.q})"


@cache
def _compiled(expression: sympy.Expr) -> tuple[tuple[sympy.Symbol, ...], Any]:
    # As a Python function of Fractions an expression is as exact as in sympy, and much quicker.
    arguments = tuple(sorted(expression.free_symbols, key=str))
    printer = _ExactPrinter({"fully_qualified_modules": False, "inline": True})
    exact = {"Fraction": Fraction, "floor": lambda x: Fraction(floor(x))}
    return arguments, sympy.lambdify(arguments, expression, modules=[exact], printer=printer)
