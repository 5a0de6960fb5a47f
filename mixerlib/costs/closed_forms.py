"""The closed forms: what each family costs, as sympy expressions, part by part.

They are written down from the architecture alone; that the modules agree is for the tests to show.
Chapters 04 to 10 derive them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy

from mixerlib.costs.counts import QUANTITIES, Counts
from mixerlib.costs.symbols import C, C_in, D_C, D_S, DEFINITIONS, H, S, W
from mixerlib.costs.symbols import alpha as alpha
from mixerlib.costs.symbols import c, d, e, gelu, h, iverson, k, m, n, p, r, s
from mixerlib.costs.values import _number, check_family, symbol_values

N = H * W / p**2  # places of a map, one for each patch; MLP-Mixer's tokens S


@dataclass(frozen=True)
class Formulas(Counts[sympy.Expr]):
    """The closed forms of one family.

    Beside the quantities of `Counts`: `moved_fused` is `moved` for ideally fused kernels, and
    `passes_eager` and `passes_fused` are a block's share of the two in units of the activation map
    (averaged over the d blocks, where they differ).
    """

    family: str
    moved_fused: Mapping[str, sympy.Expr]
    passes_eager: sympy.Expr
    passes_fused: sympy.Expr

    def definitions(self, expression: sympy.Expr) -> dict[sympy.Symbol, sympy.Expr]:
        """What the derived symbols in an expression stand for: m, c, r, e, S."""
        return {x: made_of for x, made_of in DEFINITIONS.items() if x in expression.free_symbols}

    def evaluate(
        self, options: Mapping[str, Any], image_size: int | tuple[int, int] | None = None
    ) -> Counts[int]:
        """All quantities in Python integers. Arguments and errors as in `costs.evaluate`."""
        values = symbol_values(self.family, options, image_size)
        return Counts(
            **{
                quantity: {
                    part: _number(expression, values)
                    for part, expression in getattr(self, quantity).items()
                }
                for quantity in QUANTITIES
            }
        )
