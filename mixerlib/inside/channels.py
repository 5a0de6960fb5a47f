"""Channels that say nothing, and channels that say what another says. Chapter 20."""

import torch

from mixerlib import checks
from mixerlib.checks import Rule
from mixerlib.inside.maps import by_channel

_BELOW_ONE = Rule(lambda value: 0 <= value < 1, "at least 0 and below 1")


def dead_channels(features: torch.Tensor, tolerance: float = 0.01) -> torch.Tensor:
    """Which channels hardly vary: over all images and places, their standard deviation is at most
    `tolerance` times the median channel's. → (h), True for a dead one.

    Args:
        features: maps (B, h, H, W), tokens (B, T, h) or vectors (B, h), as `feature_maps` gives.
        tolerance: at least 0 and below 1.

    Where the median channel is constant, the constant ones are dead. Raises `ValueError` for other
    shapes, for a single value a channel, and for values that are not finite.

    >>> import torch
    >>> from mixerlib.inside import dead_channels
    >>> maps = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> maps[:, 1] = 7.0
    >>> dead_channels(maps).tolist()
    [False, True, False]
    """
    checks.follows("tolerance", tolerance, _BELOW_ONE)
    spread = _several(features).std(dim=0, correction=0)
    return spread <= tolerance * spread.median()


def duplicate_channels(features: torch.Tensor, threshold: float = 0.95) -> torch.Tensor:
    """Which channels repeat an earlier one: over all images and places, the absolute value of their
    correlation is at least `threshold`. → (h), True for one that repeats.

    Args:
        features: maps (B, h, H, W), tokens (B, T, h) or vectors (B, h).
        threshold: above 0 and at most 1.

    Constant channels correlate with none. The same with its sign changed counts as a repetition,
    since the next layer can undo it. Raises `ValueError` as `dead_channels` does.

    >>> import torch
    >>> from mixerlib.inside import duplicate_channels
    >>> maps = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> maps[:, 2] = 1 - 2 * maps[:, 0]
    >>> duplicate_channels(maps).tolist()
    [False, False, True]
    """
    checks.follows("threshold", threshold, checks.POSITIVE_SHARE)
    table = _several(features)
    varying = table.amax(dim=0) > table.amin(dim=0)  # sums of equal numbers are not quite equal
    centred = (table - table.mean(dim=0)) * varying
    centred = centred / centred.norm(dim=0).clamp_min(torch.finfo(centred.dtype).tiny)
    correlation = (centred.T @ centred).abs()
    # what equal columns give is 1 but for rounding
    return (correlation.triu(diagonal=1) >= threshold - 1e-12).any(dim=0)


def _several(features: torch.Tensor) -> torch.Tensor:
    table = by_channel("features", features)
    if len(table) < 2:
        raise ValueError(
            f"`features` of shape {tuple(features.shape)} must have two values a channel at least"
        )
    return table
