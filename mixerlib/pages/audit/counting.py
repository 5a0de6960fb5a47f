"""The ways of counting a model's cost, and how a count becomes the printed digits."""

from fractions import Fraction
from math import floor

from mixerlib import costs
from mixerlib.pages.audit.entries import Count, Entry, Way

# --- ways of counting -----------------------------------------------------------------------------


def fvcore(count: Count) -> int:
    """What the tool fvcore adds up: MACs, and for each element that passes a norm with weights 2 (a
    BatchNorm in eval mode) or 5 (a LayerNorm)."""
    of_norm = 5 if "token mixing" in count.macs else 2
    return count.total("macs") + of_norm * count.total("normalized")


CONVENTIONS: dict[str, dict[str, Way]] = {
    "parameters": {"trainable parameters": lambda count: count.total("params")},
    "flops": {"thop": costs.thop, "MACs": costs.macs, "2 × MACs": costs.flops, "fvcore": fvcore},
}
# faults and habits of tools, tried as alternatives
HABITS: dict[str, dict[str, Way]] = {
    "parameters": {
        "the classifier left out": lambda c: c.total("params") - c.params["head"],
        "BatchNorm's running statistics counted in": lambda c: (
            c.total("params") + c.total("buffers")
        ),
    },
    "flops": {
        'fvcore, which misses the convolutions with padding="same"': lambda c: (
            fvcore(c) - c.macs.get("spatial mixing", 0)
        ),
        "thop before version 0.1.1": lambda c: costs.thop(c) - 2 * c.total("normalized"),
    },
}


# --- printed digits -------------------------------------------------------------------------------


def rounding(exact: Fraction, printed: Fraction, decimals: int) -> str | None:
    """How `exact` becomes `printed` at so many decimals, or None when it does not.

    "exact"; "to nearest", halves up; or "cut off", where only dropping the further digits will do.
    Both numbers are in the unit of the print.
    """
    shifted, digits = exact * 10**decimals, printed * 10**decimals
    if printed == exact:
        return "exact"
    if floor(shifted + Fraction(1, 2)) == digits:
        return "to nearest"
    return "cut off" if floor(shifted) == digits else None


def fits(entry: Entry, exact: Fraction) -> str | None:
    """How an exact number, in ones, becomes the printed one: see `rounding`. A number printed with
    "about" may also be off by one in its last digit ("about")."""
    printed, exact = Fraction(entry.printed), exact / entry.scale
    near = abs(exact - printed) <= Fraction(1, 10**entry.decimals)
    return rounding(exact, printed, entry.decimals) or ("about" if entry.about and near else None)


def shown(exact: Fraction, entry: Entry) -> str:
    """A recomputed number in the unit of the print, with three digits more than are printed."""
    return f"{float(exact / entry.scale):.{entry.decimals + 3}f} {entry.unit}".strip()
