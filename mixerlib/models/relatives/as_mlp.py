"""AS-MLP: matrices on the channels of each place, and groups of channels step along the axes.

Lian et al., "AS-MLP: An Axial Shifted MLP Architecture for Vision", arXiv 2107.08391, section 3.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib import checks
from mixerlib.models.relatives.maps import MixingBlock, WholeNorm
from mixerlib.models.relatives.pyramid import Pyramid, stage_ratios


class Steps(nn.Module):
    """Moves group g of the channels by g − ⌊s/2⌋ places along an axis; zeros come in at the border.

    There are s groups of ⌈h/s⌉ channels; the last has what is left. Keeps (B, h, H, W).
    """

    def __init__(self, dim: int, shift_size: int, axis: int):
        super().__init__()
        self.dim, self.reach, self.axis = dim, shift_size // 2, axis
        self.width = -(-dim // shift_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        border = (self.reach, self.reach) if self.axis == 3 else (0, 0, self.reach, self.reach)
        wide, length = F.pad(x, border), x.shape[self.axis]
        moved = []
        for group, first in enumerate(range(0, self.dim, self.width)):
            channels = wide[:, first : first + self.width]
            moved.append(channels.narrow(self.axis, 2 * self.reach - group, length))
        return torch.cat(moved, dim=1)


class AxialShift(nn.Module):
    """Z = W₃ · norm(σ(W_h · S_h Y) + σ(W_v · S_v Y)), Y = σ(norm(W₁ X)): (B, h, H, W) → the same.

    The W are matrices on the channels of each place, S_h and S_v the `Steps` along rows and along
    columns. So a place hears s places of its row and s of its column, each through other channels;
    and, through the norms of the authors' code, two statistics of the whole map.
    """

    def __init__(self, dim: int, shift_size: int, act: type[nn.Module]):
        super().__init__()
        self.before, self.norm1 = nn.Conv2d(dim, dim, 1), WholeNorm(dim)
        self.act = act()
        self.steps_across, self.across = Steps(dim, shift_size, 3), nn.Conv2d(dim, dim, 1)
        self.steps_down, self.down = Steps(dim, shift_size, 2), nn.Conv2d(dim, dim, 1)
        self.norm2, self.after = WholeNorm(dim), nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.norm1(self.before(x)))
        across = self.act(self.across(self.steps_across(y)))
        down = self.act(self.down(self.steps_down(y)))
        return self.after(self.norm2(across + down))


class Merging(nn.Module):
    """Four neighbours become one place of four times the channels, and a matrix makes it narrower:
    (B, before, H, W) → (B, after, H/2, W/2)."""

    def __init__(self, before: int, after: int):
        super().__init__()
        narrower = nn.Conv2d(4 * before, after, 1, bias=False)
        self.merge = nn.Sequential(nn.PixelUnshuffle(2), WholeNorm(4 * before), narrower)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.merge(x)


class ASMLP(Pyramid):
    """AS-MLP, for images of every size that p·2^m divides, where m is the number of mergings.

    Args:
        stages: blocks x width of each stage, such as "2x96, 2x192".
        shift_size: s, an odd number: a group of channels for each step from −⌊s/2⌋ to ⌊s/2⌋.
        channels_ratio: the channel MLP's hidden width, in widths; a stage "2x64x8" has 8.
        patch_size: side p of the patches.
        num_classes: how many logits; with 0 the features' mean comes out.
        in_channels: of the images.
        activation: "gelu" or "relu".

    Raises `ValueError` for an option that breaks its rule, and for images of another size.
    """

    def __init__(
        self,
        stages: str,
        *,
        shift_size: int = 5,
        channels_ratio: int = 4,
        patch_size: int = 4,
        num_classes: int = 1000,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        act, ratios = checks.activation(activation), stage_ratios(stages, channels_ratio)
        size = checks.positive_int("shift_size", shift_size)
        if size % 2 == 0:
            raise ValueError(f"`shift_size`={size} must be odd: as many steps back as forth")
        super().__init__(
            stages,
            lambda c, h, p: nn.Sequential(nn.Conv2d(c, h, p, stride=p), WholeNorm(h)),
            lambda h, i: MixingBlock(WholeNorm, AxialShift(h, size, act), h, ratios[i], act),
            Merging,
            WholeNorm,
            sizes=(patch_size, num_classes, in_channels),
        )


ON_224 = {"patch_size": 4, "num_classes": 1000, "shift_size": 5, "channels_ratio": 4}
ON_32 = ON_224 | {"patch_size": 2, "num_classes": 10}
PRESETS = {
    "as_mlp": (ON_32 | {"stages": "8x64"}, "AS-MLP; defaults are 64/8 for 32×32 images"),
    "as_mlp_t": (ON_224 | {"stages": "2x96, 2x192, 6x384, 2x768"}, "AS-MLP-T for ImageNet"),
    "as_mlp_s": (ON_224 | {"stages": "2x96, 2x192, 18x384, 2x768"}, "AS-MLP-S for ImageNet"),
    "as_mlp_b": (ON_224 | {"stages": "2x128, 2x256, 18x512, 2x1024"}, "AS-MLP-B for ImageNet"),
}
