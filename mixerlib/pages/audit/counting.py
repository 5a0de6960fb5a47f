"""The ways of counting a model's cost, and how a count becomes the printed digits."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from math import floor

from mixerlib import costs
from mixerlib.pages.audit.entries import Count, Entry, Way

# --- ways of counting -----------------------------------------------------------------------------


def fvcore(count: Count) -> int:
    """What fvcore adds up where it misses no convolution, its count of the mean left out: MACs, and
    for each element that passes a norm with weights 2 (a BatchNorm in eval mode) or 5 (a
    LayerNorm)."""
    of_norm = 5 if "token mixing" in count.macs else 2
    return count.total("macs") + of_norm * count.total("normalized")


def fvcore_training(count: Count) -> int:
    """The same of a model that has not been put into eval mode: there a BatchNorm counts 5, too."""
    return count.total("macs") + 5 * count.total("normalized")


def _body(count: Count) -> int:
    return count.total("params") - count.params["head"]


CONVENTIONS: dict[str, dict[str, Way]] = {
    "parameters": {"trainable parameters": lambda count: count.total("params")},
    "flops": {
        "thop": costs.thop,
        "MACs": costs.macs,
        "2 × MACs": costs.flops,
        "fvcore": fvcore,
        "fvcore, in training mode": fvcore_training,
    },
    "file size": {
        "4 bytes for each parameter and running statistic": lambda count: (
            4 * (count.total("params") + count.total("buffers"))
        )
    },
}
# an entry's `cost`, where its source states a convention → what that convention counts
STATED: dict[str, dict[str, Way]] = {"body": {"parameters without the classifier": _body}}
# faults and habits of tools, tried as alternatives
HABITS: dict[str, dict[str, Way]] = {
    "parameters": {
        "the classifier left out": _body,
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
    "file size": {"the parameters alone": lambda c: 4 * c.total("params")},
}


def ways_of(entry: Entry) -> dict[str, Way]:
    """The ways of counting that an entry's number may have: the one that its source states, or all
    that are in use."""
    return STATED.get(entry.cost, CONVENTIONS[entry.quantity])


PADDED = "with one digit fewer, and a zero added"
TWICE = "rounded twice"

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
    "about" may also be off by one in its last digit ("about"); one printed with "almost" is more
    than the exact one, by less than half a digit; and one that the source copied from elsewhere may
    have been given another zero (`PADDED`)."""
    printed, exact = Fraction(entry.printed), exact / entry.scale
    if entry.below:
        return "almost" if 0 < (printed - exact) * 10**entry.decimals <= Fraction(1, 2) else None
    if how := rounding(exact, printed, entry.decimals):
        return how
    padded = entry.borrowed and entry.decimals > 1 and entry.printed.endswith("0")
    if padded and rounding(exact, printed, entry.decimals - 1) == "to nearest":
        return PADDED
    near = abs(exact - printed) <= Fraction(1, 10**entry.decimals)
    return "about" if entry.about and near else None


def exchanged(printed: str) -> Iterator[str]:
    """A printed number with two neighbouring digits exchanged, each pair in turn: a copyist's slip.

    >>> from mixerlib.pages import audit
    >>> list(audit.exchanged("1.17"))
    ['1.71']
    """
    places = [i for i, character in enumerate(printed) if character != "."]
    for one, other in pairwise(places):
        if printed[one] != printed[other] and other == one + 1:
            yield printed[:one] + printed[other] + printed[one] + printed[other + 1 :]


def rounded_again(finer: str, decimals: int) -> str:
    """A printed number, read by a program and printed once more with fewer digits.

    >>> from mixerlib.pages import audit
    >>> audit.rounded_again("0.175", 2)  # the nearest binary number lies a little below
    '0.17'
    """
    return f"{float(finer):.{decimals}f}"


def shown(exact: Fraction, entry: Entry) -> str:
    """A recomputed number in the unit of the print, with three digits more than are printed."""
    return f"{float(exact / entry.scale):.{entry.decimals + 3}f} {entry.unit}".strip()
