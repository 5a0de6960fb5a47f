"""Who talks to whom: which channels a channel can hear after b blocks of channel mixing.

Spatial mixing is depthwise and never leaves a channel, so the segments of the channel mixings
decide it alone. Derived in chapter 11, and confirmed there by the zeros of the Jacobian.
"""

from collections.abc import Sequence

import numpy as np
from torch import nn

from mixerlib.costs.unwrapping import unwrapped

# What one block does to its channels: the segments (start, width) that it mixes, in order, and the
# number s of equal segments whose channels it then deals out in turn (1: it does not). A segment
# that passes the last channel goes on at channel 0.
Step = tuple[Sequence[tuple[int, int]], int]


def mixing_steps(model: nn.Module) -> list[Step]:
    """What each block of a ConvMixer or SplitMixer does to its channels, asked of its modules."""
    model = unwrapped(model)
    width = model.num_features
    steps: list[Step] = []
    for block in model.blocks:
        if hasattr(block, "mixing"):
            # the 3-D form shuffles inside its mixing, the other strategies after it
            steps.append(
                (block.mixing.mixed, max(block.shuffle, getattr(block.mixing, "segments", 1)))
            )
        else:
            steps.append(([(0, width)], 1))
    return steps


def reach(channels: int, steps: Sequence[Step]) -> np.ndarray:
    """Booleans (channels, channels): whether output channel o, after the steps, hears channel i.

    Every channel hears itself at the start. Mixing a segment lets each of its channels hear what
    any of them heard before. Chapter 11.

    >>> from mixerlib.costs import mixing_steps, reach
    >>> from mixerlib.models import create_model
    >>> for shuffle in (False, True):
    ...     model = create_model("splitmixer_iii", dim=64, depth=2, segments=2, shuffle=shuffle)
    ...     print(reach(64, mixing_steps(model)).mean())  # the share of pairs that hear each other
    0.5
    1.0
    """
    hears = np.eye(channels, dtype=bool)
    for mixed, shuffle in steps:
        for start, width in mixed:
            segment = np.arange(start, start + width) % channels
            hears[segment] = hears[segment].any(axis=0)
        if shuffle > 1:
            hears = hears.reshape(shuffle, -1, channels).swapaxes(0, 1).reshape(channels, channels)
    return hears
