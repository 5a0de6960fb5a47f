"""What the relatives of the mixers cost, one family a file: parameters and MACs, as closed forms.

A file's `size()` gives the family's `SizeFormulas`, part by part in the parts that `measure` finds;
it has a line in `FORMULAS` below. `mixerlib.models.relatives` says how a relative is made.
"""

from collections.abc import Callable
from functools import cache

from mixerlib import checks
from mixerlib.costs.relatives import (
    convnext,
    gmlp,
    mdmlp,
    pyramids,
    resmlp,
    resnet,
    s_fc,
    transformers,
)
from mixerlib.costs.relatives.sizes import Size, SizeFormulas

# The family of each relative → what gives its closed forms
FORMULAS: dict[str, Callable[[], SizeFormulas]] = {
    "resnet_cifar": resnet.size,
    "vit": transformers.vit,
    "deit": transformers.deit,
    "resmlp": resmlp.size,
    "gmlp": gmlp.size,
    "convnext": convnext.size,
    "as_mlp": pyramids.as_mlp,
    "cycle_mlp": pyramids.cycle_mlp,
    "vip": pyramids.vip,
    "mdmlp": mdmlp.size,
    "s_fc": s_fc.size,
}
SIZED = tuple(FORMULAS)  # the families of relatives


@cache
def size_formulas(family: str) -> SizeFormulas:
    """The parameters and MACs of a family of relatives as closed forms.

    Raises `ValueError` for a family that has none; the mixers' are those of `formulas`.

    >>> from mixerlib.costs import size_formulas
    >>> size_formulas("resmlp").params["token mixing"]
    d*(T**2 + T)
    >>> size_formulas("vit").macs["token mixing"]
    d*(4*h**2*(T + 1) + 2*h*(T + 1)**2)
    """
    return FORMULAS[checks.one_of("family", family, SIZED)]()


__all__ = ["SIZED", "Size", "SizeFormulas", "size_formulas"]
