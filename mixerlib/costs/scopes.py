"""What a split saves in the part that it is about, in a block, and in the model: three numbers that
a claim about "the saving" may mean."""

from collections.abc import Mapping

from torch import nn

from mixerlib.costs.counts import macs
from mixerlib.costs.measurement import measure
from mixerlib.costs.unwrapping import unwrapped


def by_scope(
    model: nn.Module, image_size: int | tuple[int, int] = 32
) -> dict[str, tuple[int, int]]:
    """Parameters and MACs of the channel mixing of all blocks, of the first block, and of the
    whole model, for one image of `image_size` pixels. Errors as in `measure`.

    A model without `in_channels` is given images of three.

    >>> from mixerlib.costs import by_scope
    >>> from mixerlib.models import create_model
    >>> by_scope(create_model("splitmixer_iv", dim=64, depth=4))["channel mixing"]
    (8448, 2097152)
    """
    measured = measure(model, image_size, getattr(unwrapped(model), "in_channels", 3))

    def first_block(sizes: Mapping[str, int]) -> int:
        return sum(size for name, size in sizes.items() if name.startswith("blocks.0."))

    return {
        "channel mixing": (measured.params["channel mixing"], measured.macs["channel mixing"]),
        "a block": (first_block(measured.params_by_tensor), first_block(measured.macs_by_layer)),
        "the model": (measured.total("params"), macs(measured)),
    }


def saved_by_scope(
    whole: nn.Module, split: nn.Module, image_size: int | tuple[int, int] = 32
) -> dict[str, tuple[float, float]]:
    """The shares of parameters and MACs that `split` saves against `whole`, in every scope.

    Arguments and errors as in `by_scope`. Chapters 06 to 09.
    """
    before, after = by_scope(whole, image_size), by_scope(split, image_size)
    return {
        scope: (1 - after[scope][0] / params, 1 - after[scope][1] / work)
        for scope, (params, work) in before.items()
    }
