"""MDMLP: an MLP along each axis of a table that has four: rows, columns, colours and features.

Lv et al., "MDMLP: Image Classification from Scratch on Small Datasets with MLP", arXiv 2205.14477.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import Classifier, new_head
from mixerlib.models.relatives.maps import ColourPatches

FEATURES = 4  # their axis in a table (B, rows, columns, colours, features)


class AxisMLP(nn.Module):
    """X + σ(W₂ σ(W₁ norm(X))), the matrices along one axis, the norm over the features.

    All off the axis share them; the second σ is in the authors' code. Keeps the table's shape.
    """

    def __init__(self, width: int, axis: int, dim: int, ratio: int, act: type[nn.Module]):
        super().__init__()
        self.axis, self.norm = axis, nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(width, ratio * width), nn.Linear(ratio * width, width)
        self.act1, self.act2 = act(), act()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x).transpose(self.axis, FEATURES)
        y = self.act2(self.fc2(self.act1(self.fc1(y))))
        return x + y.transpose(self.axis, FEATURES)


class MDBlock(nn.Module):
    """Down the columns, across the rows, then the colours, then the features, one after the other.

    So a place hears the whole map after one block, by two steps of one dimension each. Keeps
    (B, rows, columns, colours, features); `sizes` are those four.
    """

    def __init__(self, sizes: tuple[int, int, int, int], ratio: int, act: type[nn.Module]):
        super().__init__()
        axes = [AxisMLP(width, 1 + i, sizes[-1], ratio, act) for i, width in enumerate(sizes)]
        self.mlp_tokens, self.mlp_channels = nn.Sequential(*axes[:2]), nn.Sequential(*axes[2:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mlp_channels(self.mlp_tokens(x))


class MDMLP(Classifier):
    """MDMLP: its logits are of the mean over rows, columns and colours.

    Args:
        dim: the width h, features of a patch of one colour.
        depth: how many blocks.
        stride: how far the patches lie apart, in pixels; below p they overlap.
        channels_ratio: hidden width of every MLP, in widths of its axis.
        image_size: one number or (H, W), the only one; the patches must fill it.
        patch_size: side p of the patches.
        num_classes: how many logits; with 0 the features' mean (B, h) comes out.
        in_channels: of the images: the colours.
        activation: "gelu" or "relu".

    Raises `ValueError` for an option that breaks its rule, and for images of another size.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        *,
        stride: int,
        channels_ratio: int = 4,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 14,
        num_classes: int = 1000,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        super().__init__()
        dim, depth = checks.positive_int("dim", dim), checks.positive_int("depth", depth)
        ratio = checks.positive_int("channels_ratio", channels_ratio)
        p = self.patch_size = checks.positive_int("patch_size", patch_size)
        t, act = checks.positive_int("stride", stride), checks.activation(activation)
        self.image_size = checks.image_pair("image_size", image_size)
        if any(side < p or (side - p) % t for side in self.image_size):
            raise ValueError(f"`stride`={t}: patches of {p} must fill {self.image_size}")
        self.in_channels = checks.positive_int("in_channels", in_channels)
        self.num_features, self.num_classes = dim, checks.count("num_classes", num_classes)
        self.stem = ColourPatches(dim, p, t)
        rows, columns = (1 + (side - p) // t for side in self.image_size)
        sizes = (rows, columns, self.in_channels, dim)
        self.blocks = nn.Sequential(*(MDBlock(sizes, ratio, act) for _ in range(depth)))
        self.head = new_head(dim, self.num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → features (B, rows, columns, in_channels, h)."""
        checks.images(x, self.in_channels, 1)
        checks.sides(x, self.image_size, "a matrix along an axis has a row for each place")
        return self.blocks(self.stem(x))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features → logits (B, num_classes); with `pre_logits` their mean (B, h)."""
        x = x.mean(dim=(1, 2, 3))
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


ON_32 = {"dim": 64, "depth": 8, "channels_ratio": 4, "num_classes": 10}
ON_32 |= {"image_size": 32, "patch_size": 4, "stride": 2}
ON_224 = ON_32 | {"image_size": 224, "patch_size": 14, "stride": 7, "num_classes": 102}
PRESETS = {
    "mdmlp": (ON_32, "MDMLP; defaults are 64/8 for 32×32 images"),
    "mdmlp_64_8": (ON_32, "MDMLP-64/8 for CIFAR, as its authors train it"),
    "mdmlp_64_8_224": (ON_224, "MDMLP-64/8 for 224×224 images (Flowers102, Food101)"),
}
