"""CycleMLP: a matrix on the channels of a place, but the channels come from three places in turns.

Chen et al., "CycleMLP: A MLP-like Architecture for Dense Prediction", arXiv 2107.10224, section 3.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib import checks
from mixerlib.models.relatives.maps import ChannelNorm, Halving, MixingBlock, WeighedBranches
from mixerlib.models.relatives.pyramid import Pyramid, stage_ratios

STEPS = (0, 1, -1)  # channels 0, 3, 6 … come from the same place, 1, 4 … the next, 2, 5 … the last


class CycleFC(nn.Module):
    """y_i = b + Σ_c w_c · x_{i + δ(c), c}, δ(c) = ((c + 1) mod 3) − 1, along one axis.

    Equation 4 of the paper with a cycle of 3 places on one axis. Each channel is heard at one place
    only, so it costs what a matrix on one place costs. Beyond the border are zeros. Keeps
    (B, h, H, W).
    """

    def __init__(self, dim: int, axis: int):
        super().__init__()
        self.dim, self.axis, self.more = dim, axis, -dim % len(STEPS)
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        border = (1, 1, 0, 0) if self.axis == 3 else (0, 0, 1, 1)
        wide = F.pad(x, (*border, 0, self.more)).unflatten(1, (-1, len(STEPS)))
        turns = [
            wide[:, :, turn].narrow(self.axis, 1 + step, x.shape[self.axis])
            for turn, step in enumerate(STEPS)
        ]
        return self.mix(torch.stack(turns, dim=2).flatten(1, 2)[:, : self.dim])


class CycleMixing(nn.Module):
    """Three branches, weighed: a cycle along the rows, one along the columns, and the place itself.

    So a place hears its neighbours in four directions, each through a third of the channels, and
    the mean of the map. Keeps (B, h, H, W).
    """

    def __init__(self, dim: int, act: type[nn.Module]):
        super().__init__()
        self.across, self.down = CycleFC(dim, 3), CycleFC(dim, 2)
        self.here = nn.Conv2d(dim, dim, 1, bias=False)
        self.branches = WeighedBranches(dim, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.branches(self.across(x), self.down(x), self.here(x))


class CycleMLP(Pyramid):
    """CycleMLP, for images of every size that p·2^m divides, where m is the number of mergings.

    The stem's patches overlap: they lie p apart and are 2p − 1 wide, 7 for p = 4 as in the paper.
    A merging is a 3×3 convolution that takes every other place.

    Args:
        stages: blocks x width of each stage, such as "2x64, 2x128"; a width is at least 4.
        channels_ratio: the channel MLP's hidden width, in widths; a stage "2x64x8" has 8.
        patch_size: how far the patches lie apart, p.
        num_classes: how many logits; with 0 the features' mean comes out.
        in_channels: of the images.
        activation: "gelu" or "relu".

    Raises `ValueError` for an option that breaks its rule, and for images of another size.
    """

    def __init__(
        self,
        stages: str,
        *,
        channels_ratio: int = 4,
        patch_size: int = 4,
        num_classes: int = 1000,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        act, ratios = checks.activation(activation), stage_ratios(stages, channels_ratio)
        super().__init__(
            stages,
            lambda c, h, p: nn.Conv2d(c, h, 2 * p - 1, stride=p, padding=p // 2),
            lambda h, i: MixingBlock(ChannelNorm, CycleMixing(h, act), h, ratios[i], act),
            lambda before, after: Halving(before, after, kernel_size=3),
            ChannelNorm,
            sizes=(patch_size, num_classes, in_channels),
        )


ON_224 = {"patch_size": 4, "num_classes": 1000, "channels_ratio": 4}
ON_32 = ON_224 | {"patch_size": 2, "num_classes": 10}
PRESETS = {
    "cycle_mlp": (ON_32 | {"stages": "8x64"}, "CycleMLP; defaults are 64/8 for 32×32 images"),
    "cycle_mlp_b1": (ON_224 | {"stages": "2x64, 2x128, 4x320, 2x512"}, "CycleMLP-B1 for ImageNet"),
    "cycle_mlp_b2": (ON_224 | {"stages": "2x64, 3x128, 10x320, 3x512"}, "CycleMLP-B2 for ImageNet"),
    "cycle_mlp_b3": (
        ON_224 | {"stages": "3x64x8, 4x128x8, 18x320, 3x512"},
        "CycleMLP-B3 for ImageNet",
    ),
    "cycle_mlp_b4": (
        ON_224 | {"stages": "3x64x8, 8x128x8, 27x320, 3x512"},
        "CycleMLP-B4 for ImageNet",
    ),
    "cycle_mlp_b5": (ON_224 | {"stages": "3x96, 4x192, 24x384, 3x768"}, "CycleMLP-B5 for ImageNet"),
}
