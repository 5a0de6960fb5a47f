"""ViP, the Vision Permutator: matrices along the columns, along the rows and on the channels.

Hou et al., "Vision Permutator: A Permutable MLP-Like Architecture for Visual Recognition", arXiv
2106.12368, section 3.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.relatives.maps import ChannelNorm, Halving, MixingBlock, WeighedBranches
from mixerlib.models.relatives.pyramid import Pyramid, stage_ratios


class LineMLP(nn.Module):
    """One h×h matrix on a whole row (axis 3) or column (axis 2): its n places, with h/n channels.

    The channels are cut into n segments. A segment of all n places of a line is one vector of h
    numbers; every line and every segment has the same matrix. Keeps (B, h, H, W).
    """

    def __init__(self, dim: int, places: int, axis: int):
        super().__init__()
        self.places, self.axis = places, axis
        self.mix = nn.Linear(dim, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(self.axis, 3)
        lines = x.unflatten(1, (self.places, -1)).permute(0, 1, 3, 4, 2)  # (B, n, lines, n, h/n)
        mixed = self.mix(lines.flatten(3)).unflatten(3, (self.places, -1))
        return mixed.permute(0, 1, 4, 2, 3).flatten(1, 2).transpose(self.axis, 3)


class PermuteMLP(nn.Module):
    """Three branches, weighed: down the columns, across the rows, and on the channels of a place.

    So a place hears its row and its column, whole, and of the rest the mean of the map. Keeps
    (B, h, H, W).
    """

    def __init__(self, dim: int, rows: int, columns: int, act: type[nn.Module]):
        super().__init__()
        self.down, self.across = LineMLP(dim, rows, 2), LineMLP(dim, columns, 3)
        self.here = nn.Conv2d(dim, dim, 1, bias=False)
        self.branches = WeighedBranches(dim, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.branches(self.down(x), self.across(x), self.here(x))


class ViP(Pyramid):
    """Vision Permutator. The matrix along a line has a part for each place, so it serves images of
    one size; the rows and the columns of each stage's map must divide the stage's width.

    Args:
        stages: blocks x width of each stage, such as "4x192, 14x384"; a width is at least 4.
        image_size: one number or (H, W), of the images.
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
        image_size: int | tuple[int, int] = 224,
        channels_ratio: int = 3,
        patch_size: int = 7,
        num_classes: int = 1000,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        act, ratios = checks.activation(activation), stage_ratios(stages, channels_ratio)
        size, p = (
            checks.image_pair("image_size", image_size),
            checks.positive_int("patch_size", patch_size),
        )
        maps: list[tuple[int, int]] = []  # rows and columns of each stage's
        for number, (_, h, _) in enumerate(checks.stages(stages)):
            maps.append(checks.patches(*size, p * 2**number))
            if h % maps[-1][0] or h % maps[-1][1]:
                rule = "rows and columns must divide the width"
                raise ValueError(f"`stages`={stages!r}: stage {number + 1}, {maps[-1]}: {rule}")
        super().__init__(
            stages,
            lambda c, h, p: nn.Conv2d(c, h, p, stride=p),
            lambda h, i: MixingBlock(ChannelNorm, PermuteMLP(h, *maps[i], act), h, ratios[i], act),
            lambda before, after: Halving(before, after, kernel_size=2),
            ChannelNorm,
            sizes=(p, num_classes, in_channels),
        )
        self.image_size = size

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → the last map, normalised."""
        checks.images(x, self.in_channels, self.patch_size)
        checks.sides(x, self.image_size, "a matrix along a line has a part for each place")
        return super().forward_features(x)


ON_224 = {"image_size": 224, "patch_size": 7, "num_classes": 1000, "channels_ratio": 3}
ON_32 = ON_224 | {"image_size": 32, "patch_size": 4, "num_classes": 10}
PRESETS: dict[str, tuple[dict, str]] = {
    "vip": (ON_32 | {"stages": "8x64"}, "ViP; defaults are 64/8 for 32×32 images"),
    "vip_s14": (ON_224 | {"patch_size": 14, "stages": "18x384"}, "ViP-Small/14 for ImageNet"),
    "vip_s7": (ON_224 | {"stages": "4x192, 14x384"}, "ViP-Small/7 for ImageNet"),
    "vip_m7": (ON_224 | {"stages": "7x256, 17x512"}, "ViP-Medium/7 for ImageNet"),
    "vip_l7": (ON_224 | {"stages": "8x256, 28x512"}, "ViP-Large/7 for ImageNet"),
}
