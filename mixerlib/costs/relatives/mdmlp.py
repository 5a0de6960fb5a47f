"""MDMLP, after Lv et al., arXiv 2205.14477."""

import sympy
from sympy import Expr

from mixerlib.costs.relatives.sizes import SizeFormulas
from mixerlib.costs.symbols import C_in, H, W, d, h, n, p

# the distance of the patches; the hidden width of each MLP, in widths of its axis
t, f = sympy.symbols("t f", integer=True, positive=True)
ROWS, COLUMNS = (H - p) / t + 1, (W - p) / t + 1


def _weights(width: Expr) -> Expr:
    """Of an MLP along an axis of so many."""
    return 2 * f * width**2 + f * width + width


def size() -> SizeFormulas:
    """Four MLPs a block, each with a norm over the h features. Along an axis of n of the N numbers
    of a table, an MLP costs 2f·n² multiplications N/n times, 2f·n·N."""
    table = ROWS * COLUMNS * C_in * h
    return SizeFormulas(
        family="mdmlp",
        own={t: "stride", f: "channels_ratio"},
        params={
            "stem": h * (p**2 + 1),  # one matrix for all colours
            "token mixing": d * (_weights(ROWS) + _weights(COLUMNS)),
            "channel mixing": d * (_weights(C_in) + _weights(h)),
            "normalisation": 8 * d * h,
            "head": h * n + n,
        },
        macs={
            "stem": table * p**2,
            "token mixing": 2 * d * f * table * (ROWS + COLUMNS),
            "channel mixing": 2 * d * f * table * (C_in + h),
            "head": h * n,
        },
    )
