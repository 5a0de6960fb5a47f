"""How much of a full mixing several narrow ones make together: their product as a linear map.

Without what stands between them, the channel mixings of d blocks are matrices, and so is their
product. Its h² entries cannot be chosen freely: the weights move it in only so many directions.
Proved for strategy I, and measured for all, in chapter 21.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.costs.unwrapping import unwrapped


def directions(dim: int, width: int, depth: int) -> int:
    """In how many of the h² directions the weights move the product of strategy I's mixings.

    With the overlap o = 2m − h and u(j) = max(0, m − j·o), those missing after d ≥ 2 blocks are
    2·u(⌊d/2⌋)·u(⌈d/2⌉). Chapter 21 proves it.

    Args:
        dim: h, the channels.
        width: m of them are mixed in each block, the first and the last ones in turn.
        depth: d, the blocks.

    Raises `ValueError` unless h/2 ≤ m ≤ h.

    >>> from mixerlib.costs import blocks_to_span, directions
    >>> [directions(dim=15, width=9, depth=depth) for depth in range(1, 6)]
    [81, 153, 189, 207, 225]
    >>> blocks_to_span(dim=15, width=9)
    5
    """
    h, d = checks.positive_int("dim", dim), checks.positive_int("depth", depth)
    m = _at_least_half(width, h)
    if d == 1 or m == h:
        return m * m
    left = [max(0, m - j * (2 * m - h)) for j in (d // 2, (d + 1) // 2)]
    return h * h - 2 * left[0] * left[1]


def blocks_to_span(dim: int, width: int) -> int | None:
    """The fewest blocks of strategy I whose product is any h×h matrix, but for some rare ones.

    1 + 2⌈(h − m)/(2m − h)⌉, which is 2i − 1 for α = i/(2i − 1); None without an overlap, where no
    number is enough. Arguments and errors are those of `directions`.
    """
    h = checks.positive_int("dim", dim)
    m = _at_least_half(width, h)
    if 2 * m == h:
        return None
    return 1 + 2 * -((m - h) // (2 * m - h))


def _at_least_half(width: int, dim: int) -> int:
    m = checks.positive_int("width", width)
    if not dim <= 2 * m <= 2 * dim:
        raise ValueError(f"`width`={width} must lie between half of `dim`={dim} and all of it")
    return m


def measured_directions(model: nn.Module, seed: int = 0) -> int:
    """The directions in which a model's weights move the product of its channel mixings.

    It is the rank of the product's Jacobian with respect to the mixings' weights, in float64, at
    weights drawn by `seed`; almost all weights have the highest rank that there is. Biases, norms,
    activation functions and residuals are left out; a shuffle is part of the product.

    Args:
        model: a ConvMixer or a SplitMixer; it stays as it is. The Jacobian has a row for each of h²
            entries: 16 channels take a tenth of a second, 64 would take a long time.
        seed: of the weights.

    >>> from mixerlib.costs import measured_directions
    >>> from mixerlib.models import create_model
    >>> measured_directions(create_model("splitmixer_i", dim=15, depth=3, ratio="3/5"))
    189
    """
    model = unwrapped(model)
    random = torch.Generator().manual_seed(seed)
    mixings: list[tuple[nn.Module, int]] = []
    weights: dict[str, torch.Tensor] = {}
    for number, block in enumerate(model.blocks):
        mixing = block.mixing if hasattr(block, "mixing") else block[1]
        mixings.append((mixing, getattr(block, "shuffle", 1)))
        for name, parameter in mixing.named_parameters():
            value = torch.zeros(parameter.shape, dtype=torch.float64)
            if parameter.dim() > 1:  # a 1×1 convolution's matrix, well away from singular ones
                nn.init.orthogonal_(value, generator=random)
            weights[f"{number}.{name}"] = value

    def product(matrices: dict[str, torch.Tensor]) -> torch.Tensor:
        x = torch.eye(model.num_features, dtype=torch.float64)[:, :, None, None]
        for number, (mixing, shuffle) in enumerate(mixings):
            start = f"{number}."
            own = {
                name.removeprefix(start): value
                for name, value in (weights | matrices).items()
                if name.startswith(start)
            }
            x = torch.func.functional_call(mixing, own, x)
            x = x.unflatten(1, (shuffle, -1)).transpose(1, 2).flatten(1, 2)
        return x.flatten()

    matrices = {name: value for name, value in weights.items() if value.dim() > 1}
    jacobian = torch.func.jacrev(product)(matrices)
    columns = torch.cat([part.flatten(1) for part in jacobian.values()], dim=1)
    return int(torch.linalg.matrix_rank(columns @ columns.T, hermitian=True, rtol=1e-9))
