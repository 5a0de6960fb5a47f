"""What a split saves against ConvMixer: exactly, as the paper states it, and for wide models.
Chapters 05 to 10."""

import sympy
from sympy import Expr

from mixerlib.costs.closed_forms import formulas
from mixerlib.costs.counts import QUANTITIES
from mixerlib.costs.symbols import alpha, c, h, k, m, r, s
from mixerlib.costs.values import check_family

# The paper's savings (arXiv 2207.10255), by part and family: in parameters, and in what it calls
# FLOPS. The spatial one is the same for every strategy. V and the 3-D form have no number there.
_SPATIAL = {"params": 1 - 2 / k, "macs": 1 - 2 / k}
_CHANNEL = {
    "splitmixer_i": {"params": 1 - alpha**2, "macs": 1 - alpha**2},
    "splitmixer_ii": {"params": 1 - 1 / s**2, "macs": 1 - 1 / s**2},
    "splitmixer_iii": {"params": 1 - 1 / s**2},
    "splitmixer_iv": {"params": 1 - 1 / s, "macs": 1 - 1 / s},
}


def saving(family: str, part: str | None = "channel mixing", quantity: str = "params") -> Expr:
    """The share of ConvMixer's cost that a SplitMixer saves in one part, as an exact expression.

    `part` None means the whole model. Where the blocks differ, it is the share over all d of them.
    Raises `ValueError` for MLP-Mixer, which is no split of ConvMixer, for an unknown part or
    quantity, and for a part that costs ConvMixer nothing. Chapters 05 and 06.

    >>> from mixerlib.costs import saving, value_of, wide_saving
    >>> share = saving("splitmixer_i", "channel mixing", "macs")
    >>> share
    1 - m**2/h**2
    >>> value_of(share, "splitmixer_i", {"dim": 256, "ratio": "2/3"})  # m = 170 of h = 256
    Fraction(9159, 16384)
    >>> wide_saving("splitmixer_i")  # in parameters, biases included
    1 - alpha**2
    """
    if check_family(family) == "mlp_mixer":
        raise ValueError(f"`family`={family!r} must be ConvMixer or a SplitMixer")
    split, whole = formulas(family), formulas("convmixer")
    if part is None:
        return 1 - split.total(quantity) / whole.total(quantity)
    if quantity not in QUANTITIES:
        raise ValueError(f"`quantity`={quantity!r} must be one of {', '.join(QUANTITIES)}")
    costs = getattr(whole, quantity)
    if costs.get(part, 0) == 0:
        costly = ", ".join(name for name, cost in costs.items() if cost != 0)
        raise ValueError(f"`part`={part!r} must be a part with {quantity}: {costly}")
    return 1 - getattr(split, quantity)[part] / costs[part]


def paper_saving(family: str, part: str = "channel mixing", quantity: str = "params") -> Expr:
    """The same share as the SplitMixer paper states it; its FLOPS are the quantity "macs".

    Raises `ValueError` where the paper gives none.

    >>> from mixerlib.costs import paper_saving
    >>> paper_saving("splitmixer_ii")
    1 - 1/s**2
    """
    if check_family(family).startswith("splitmixer"):
        stated = _SPATIAL if part == "spatial mixing" else {}
        stated = _CHANNEL.get(family, {}) if part == "channel mixing" else stated
        if quantity in stated:
            return stated[quantity]
    raise ValueError(f"the paper states no saving of {family!r} in {quantity} of {part!r}")


def wide_saving(family: str, part: str | None = "channel mixing", quantity: str = "params") -> Expr:
    """What the exact saving tends to as h grows and all else is held.

    The widths are written without their floors, as m = αh − ε with 0 ≤ ε < 1, and c = (h − ρ)/s and
    r = c + ρ with 0 ≤ ρ < s. The limit has neither ε nor ρ, so it holds however the rounding falls.
    Arguments and errors as in `saving`.
    """
    epsilon, rho = sympy.symbols("epsilon rho", nonnegative=True)
    narrow = (h - rho) / s
    kept = 1 - saving(family, part, quantity)
    unrounded = kept.subs({r: narrow + rho}).subs({m: alpha * h - epsilon, c: narrow})
    return 1 - sympy.factor(sympy.limit(unrounded, h, sympy.oo))
