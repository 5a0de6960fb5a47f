"""How big a relative is: its parameters and MACs as closed forms, and their numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Generic

import sympy
from sympy import Expr

from mixerlib import checks
from mixerlib.costs import symbols as sym
from mixerlib.costs.counts import Value
from mixerlib.costs.values import number

TWO = ("params", "macs")


@dataclass(frozen=True)
class Size(Generic[Value]):
    """Parameters and MACs of one image, each as a mapping from part to value.

    Args:
        params: trainable parameters.
        macs: multiply-accumulates of convolutions and matrix products.
    """

    params: Mapping[str, Value]
    macs: Mapping[str, Value]

    def total(self, quantity: str) -> Value:
        """The sum of "params" or "macs" over the parts; `ValueError` for another quantity."""
        total: Any = sum(getattr(self, checks.one_of("quantity", quantity, TWO)).values())
        return total


@dataclass(frozen=True)
class SizeFormulas(Size[Expr]):
    """The closed forms of one family of relatives.

    Args:
        params: as in `Size`.
        macs: as in `Size`.
        family: whose they are.
        own: symbols that the mixers' formulas do not have → the option that each is read from; of a
            switch, the symbol is 1 where it is on.
    """

    family: str = ""
    own: Mapping[sympy.Symbol, str] = field(default_factory=dict)

    def counts(
        self, options: Mapping[str, Any], image_size: int | tuple[int, int] | None = None
    ) -> Size[int]:
        """Both in Python integers, for the options of `create_model`; a model that has no
        `image_size` among them needs it here, in pixels: a number or (height, width).

        Raises `ValueError` where an option that a formula needs is missing.
        """
        values = self._values(options, options.get("image_size", image_size))

        def numbers(forms: Mapping[str, Expr]) -> dict[str, Any]:  # a count is whole
            return {part: number(form, values) for part, form in forms.items()}

        return Size(params=numbers(self.params), macs=numbers(self.macs))

    def _values(
        self, options: Mapping[str, Any], image_size: int | tuple[int, int] | None
    ) -> dict[sympy.Symbol, Fraction]:
        option_of = {symbol: option for symbol, (option, _) in sym.SYMBOLS.items()}
        option_of.update(self.own)
        forms = (*self.params.values(), *self.macs.values())
        needed = set().union(*(form.free_symbols for form in forms))
        values = {
            symbol: Fraction(int(options[option]))
            for symbol, option in option_of.items()
            if symbol in needed and symbol not in (sym.H, sym.W, sym.T) and option in options
        }
        if image_size is not None:
            height, width = checks.image_pair("image_size", image_size)
            values |= {sym.H: Fraction(height), sym.W: Fraction(width)}
            if "patch_size" in options and sym.T in needed:
                rows, columns = checks.patches(height, width, options["patch_size"])
                values[sym.T] = Fraction(rows * columns)
        return values
