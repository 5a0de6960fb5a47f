"""The carousel, a channel mixing for mixerlib: one segment a block, turned by a third each time.

Chapter 26 of The Mixer Book derives it. Importing this module registers it. Where the package is
installed, mixerlib imports it by itself:

    mixerlib cost splitmixer_carousel --ratio 4/7
"""

import torch
from torch import nn

from mixerlib.costs import T, d, m
from mixerlib.models import overlap_width, register_mixing

__all__ = ["MACS", "NAME", "PARAMS", "TurnedSegment"]

# What all d blocks cost: m channels are mixed in each, with a bias, at each of T places
PARAMS = d * (m**2 + m)
MACS = d * T * m**2


class TurnedSegment(nn.Module):
    """Mixes `width` channels from `start` on, round the end of the strip; the others pass.

    (B, h, H, W) → (B, h, H, W).
    """

    def __init__(self, dim: int, start: int, width: int):
        super().__init__()
        self.mixed = [(start, width)]
        self.start, self.stop = start, min(dim, start + width)
        self.over = start + width - self.stop  # channels past the end: the first ones
        self.mixer = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start, stop, over = self.start, self.stop, self.over
        if not over:
            mixed = self.mixer(x[:, start:stop])
            return torch.cat((x[:, :start], mixed, x[:, stop:]), dim=1)
        mixed = self.mixer(torch.cat((x[:, start:], x[:, :over]), dim=1))
        inside = stop - start
        parts = (mixed[:, inside:], x[:, over:start], mixed[:, :inside])
        return torch.cat(parts, dim=1)


NAME = register_mixing(
    "carousel",
    lambda block, dim, ratio: TurnedSegment(dim, block % 3 * dim // 3, overlap_width(dim, ratio)),
    option="ratio",
    about="SplitMixer with a segment that turns by a third",
)
