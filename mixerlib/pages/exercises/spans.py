"""In how many directions a product of narrow mixings can be moved, for exercises that ask it."""

from collections.abc import Sequence

import torch


def directions(channels: int, segments: Sequence[Sequence[int]], seed: int = 0) -> int:
    """The rank of the product's derivative by the weights of each block's mixing.

    Args:
        channels: h.
        segments: for each block, the channels that it mixes.
        seed: of the weights; almost all have the same rank, the highest.
    """
    random = torch.Generator().manual_seed(seed)
    factors = []
    for segment in segments:
        factor = torch.eye(channels, dtype=torch.float64)
        index = torch.tensor(segment)
        noise = torch.randn(len(segment), len(segment), generator=random, dtype=torch.float64)
        factor[index[:, None], index] = torch.linalg.qr(noise).Q
        factors.append(factor)
    after = [torch.eye(channels, dtype=torch.float64)]
    for factor in reversed(factors[1:]):
        after.insert(0, after[0] @ factor)
    rows, before = [], torch.eye(channels, dtype=torch.float64)
    for segment, factor, left in zip(segments, factors, after, strict=True):
        rows.append(torch.kron(left[:, segment].T.contiguous(), before[segment]))
        before = factor @ before
    return int(torch.linalg.matrix_rank(torch.cat(rows), rtol=1e-9))
