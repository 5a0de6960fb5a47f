"""Which places and channels one block mixes, and which orders of the places it does not notice.

Both are asked of the running block, whatever it is made of. Chapter 24.

>>> import torch
>>> from mixerlib.costs import drawn_anew, mixing_jacobian
>>> from mixerlib.models import create_model
>>> block = drawn_anew(create_model("convmixer", dim=4, depth=1, kernel_size=3).blocks[0])
>>> slopes = mixing_jacobian(block, torch.randn(1, 4, 5, 5, dtype=torch.float64))
>>> heard = (slopes != 0).any(axis=(1, 3))  # (places out, places in)
>>> heard.sum(axis=1).reshape(5, 5)[2].tolist()  # along the middle row
[6, 9, 9, 9, 6]
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from mixerlib.costs.unwrapping import copied

# A map's number of dimensions → its axes of places, and those of channels
LAYOUTS = {2: ((1,), ()), 3: ((1,), (2,)), 4: ((2, 3), (1,)), 5: ((1, 2), (3, 4))}
MOST = 2**26  # numbers of a Jacobian, half a GiB


def mixing_jacobian(block: nn.Module, maps: torch.Tensor) -> np.ndarray:
    """The derivatives of all that a block makes by all that it is given, for one image: (places
    out, channels out, places in, channels in).

    An entry is exactly 0 where a number does not hear another, with these weights and at this map.
    Places are in the order of rows. Chapter 24.

    Args:
        block: a module that takes the maps; it stays as it is, and runs in evaluation mode.
        maps: images (B, h, H, W), tokens (B, T, h), tables (B, H, W, colours, features), or vectors
            (B, n), of which every number is a place; the first of the batch counts.

    Raises `ValueError` for maps or outputs of another shape, and where the derivatives would be
    more than 2²⁶ numbers.

    >>> import torch
    >>> from mixerlib.costs import mixing_jacobian
    >>> mixing_jacobian(torch.nn.Linear(6, 6), torch.randn(1, 3, 6)).shape
    (3, 6, 3, 6)
    """
    _axes(maps)  # or it refuses them
    with torch.inference_mode(False), torch.enable_grad():
        block = copied(block).eval()
        given = maps[:1].detach().clone().requires_grad_(True)
        made = _table(block(given))
        inputs = _table(given)
        if (size := made.numel() * inputs.numel()) > MOST:
            raise ValueError(f"`maps` of {tuple(maps.shape)} give {size:,} derivatives, too many")
        rows = []
        units = torch.eye(made.numel(), dtype=made.dtype, device=made.device)
        for some in units.split(max(1, MOST // (16 * made.numel()))):
            chosen = some.unflatten(1, made.shape)
            slopes = None
            if made.requires_grad:
                (slopes,) = torch.autograd.grad(
                    *(made, given, chosen),
                    retain_graph=True,
                    is_grads_batched=True,
                    allow_unused=True,
                )
            if slopes is None:  # nothing hears anything
                slopes = given.new_zeros(len(some), *given.shape)
            rows += [_table(slope) for slope in slopes]
    return torch.stack(rows).view(*made.shape, *inputs.shape).detach().cpu().numpy()


def unnoticed(
    block: nn.Module,
    maps: torch.Tensor,
    order: torch.Tensor,
    places: Sequence[int] | None = None,
) -> float:
    """How far a block is from not noticing a new order of the places: the largest difference
    between what it makes of the moved maps and what it makes of the maps, moved, as a share of the
    largest number that it makes. 0, up to rounding: it does not notice.

    Args:
        block: as of `mixing_jacobian`; it must keep the number of places.
        maps: as of `mixing_jacobian`.
        order: (places,): place t gets what is now at place `order[t]`.
        places: which of them are looked at, such as those away from the border; None: all.

    Raises `ValueError` for maps of another shape, an order of another length, and a block that
    makes another number of places. Chapter 24.

    >>> import torch
    >>> from mixerlib.costs import unnoticed
    >>> unnoticed(torch.nn.Linear(6, 6), torch.randn(1, 3, 6), torch.tensor([2, 0, 1])) < 1e-6
    True
    """
    block = copied(block).eval()
    with torch.no_grad():
        made = block(maps)
        moved = reordered(made, order)
        away = (block(reordered(maps, order)) - moved).abs()
        seen = _table(away)[list(places)] if places is not None else away
        return float(seen.max() / made.abs().max())


def reordered(maps: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The maps with place `order[t]` moved to place t. Arguments and errors as of `unnoticed`."""
    places, _ = _axes(maps)
    first, last = places[0], places[-1]
    flat = maps.flatten(first, last)
    if sorted(order.tolist()) != list(range(flat.shape[first])):
        raise ValueError(
            f"`order` of {order.numel()} places must hold each of the {flat.shape[first]} places "
            "of the maps once"
        )
    return flat.index_select(first, order).reshape(maps.shape)


def drawn_anew(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy in float64 and in evaluation mode whose every weight is drawn anew, so that none is 0
    or 1 only because training starts there.

    >>> import torch
    >>> from mixerlib.costs import drawn_anew
    >>> bool((drawn_anew(torch.nn.LayerNorm(4)).bias != 0).all())
    True
    """
    model = copied(model).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for weights in model.parameters():
        weights.data = torch.randn(weights.shape, generator=generator, dtype=torch.float64) / 2
    for name, statistics in model.named_buffers():
        if statistics.is_floating_point():
            drawn = torch.rand(statistics.shape, generator=generator, dtype=torch.float64)
            statistics.copy_(drawn + (0.5 if name.endswith("running_var") else -0.25))
    return model


def _axes(maps: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if maps.ndim not in LAYOUTS:
        raise ValueError(
            f"`maps` of {tuple(maps.shape)} must be images (B, h, H, W), tokens (B, T, h), tables "
            "(B, H, W, colours, features) or vectors (B, n)"
        )
    return LAYOUTS[maps.ndim]


def _table(maps: torch.Tensor) -> torch.Tensor:
    """The first of a batch as (places, channels)."""
    places, channels = _axes(maps)
    table = maps[0].permute(*(axis - 1 for axis in (*places, *channels)))
    return table.flatten(0, len(places) - 1).flatten(1) if channels else table[:, None]
