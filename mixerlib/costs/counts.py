"""One count of a model, and the conventions in which such a count is quoted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

Value = TypeVar("Value", bound=Any)  # int for a count, sympy.Expr for a formula


@dataclass(frozen=True)
class Counts(Generic[Value]):
    """What one image costs: each quantity as a mapping from part to value.

    Args:
        params: trainable parameters.
        buffers: running statistics of BatchNorm.
        macs: multiply-accumulates of convolutions and matrix products.
        normalized: elements that pass a norm.
        pooling: additions and divisions of the final mean.
        activations: elements that autograd keeps for the backward pass.
        moved: elements of activations that inference reads or writes.

    `mixerlib.costs` defines each of them exactly.
    """

    params: Mapping[str, Value]
    buffers: Mapping[str, Value]
    macs: Mapping[str, Value]
    normalized: Mapping[str, Value]
    pooling: Mapping[str, Value]
    activations: Mapping[str, Value]
    moved: Mapping[str, Value]

    def total(self, quantity: str) -> Value:
        """The sum of a quantity ("params", "macs", …) over the parts; `ValueError` for another."""
        if quantity not in QUANTITIES:
            raise ValueError(f"`quantity`={quantity!r} must be one of {', '.join(QUANTITIES)}")
        total: Any = sum(getattr(self, quantity).values())
        return total


# The names of what `Counts` counts, its fields
QUANTITIES = tuple(field.name for field in fields(Counts))


def macs(counts: Counts[Value]) -> Value:
    """Multiply-accumulates of one image: what `FlopCounterMode` counts, halved.

    >>> from mixerlib.costs import flops, macs, measure, thop
    >>> from mixerlib.models import create_model
    >>> counts = measure(create_model("convmixer", dim=64, depth=4), image_size=32)
    >>> macs(counts), flops(counts), thop(counts)
    (6029952, 12059904, 6636224)
    """
    return counts.total("macs")


def flops(counts: Counts[Value]) -> Value:
    """Floating-point operations of one image, a multiplication and an addition for each MAC. What
    `FlopCounterMode` reports.

    >>> from mixerlib.costs import flops, formulas, macs
    >>> forms = formulas("splitmixer_iv")  # of formulas too
    >>> flops(forms) == 2 * macs(forms)
    True
    """
    return counts.total("macs") * 2


def thop(counts: Counts[Value]) -> Value:
    """The "FLOPS" of SplitMixer's tables: MACs, 4 for each element that passes a norm with weights,
    and for the final mean one for each element and one more for each output.

    This is what the tool thop adds up, from its version 0.1.1 on (before, a norm cost 2), whatever
    mode the model is in: it switches to eval itself. It knows modules only. So it gives this number
    for a plain chain of modules, as in the paper's listings, and misses what is written as a
    function: the mean over MLP-Mixer's tokens, `F.adaptive_avg_pool2d`, a grouped `F.conv2d`. GELU
    and ReLU are free in it, and LayerNorm costs what BatchNorm does. Chapter 04.

    >>> from mixerlib.costs import macs, measure, thop
    >>> from mixerlib.models import create_model
    >>> counts = measure(create_model("splitmixer_i_256_8"), image_size=32)
    >>> (thop(counts) - macs(counts)) / macs(counts)  # norms and the mean add a tenth
    0.10...
    """
    return counts.total("macs") + 4 * counts.total("normalized") + counts.total("pooling")


# The names of the counting conventions → the function that counts by each
CONVENTIONS: dict[str, Callable[[Counts], Any]] = {"macs": macs, "flops": flops, "thop": thop}
