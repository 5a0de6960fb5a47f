"""S-FC: three matrices, the first two as large as a convolution's output asks; no idea of space.

Neyshabur, "Towards Learning Convolutions from Scratch", arXiv 2007.13657, section 2.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import Classifier, new_head

HIDDEN = 24  # widths of the second layer


class Dense(nn.Module):
    """σ(norm(W x)): (B, before) → (B, after). The norm's shift stands for a bias."""

    def __init__(self, before: int, after: int, act: type[nn.Module]):
        super().__init__()
        self.dense = nn.Linear(before, after, bias=False)
        self.norm, self.act = nn.BatchNorm1d(after), act()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.dense(x)))


class SFC(Classifier):
    """S-FC: y = W₃ σ(norm(W₂ σ(norm(W₁ x)))), x all numbers of an image in one vector.

    The paper's S-CONV has α kernels of 9×9 at every other place, then a layer of 24α. Here a matrix
    takes the place of the kernels, and every number of its output, α for each of H/2 × W/2 places,
    has a weight for every number of the image. Nothing of the network says which pixels are
    neighbours. Shapes: images (B, `in_channels`, H, W) → features (B, 24α) → logits.

    Args:
        dim: the paper's α, channels of the convolution that the first matrix stands for.
        image_size: one number or (H, W), even.
        num_classes: how many logits; with 0 the features come out.
        in_channels: of the images.
        activation: "relu", as in the paper, or "gelu".

    Raises `ValueError` for an option that breaks its rule, and for images of another size.
    """

    def __init__(
        self,
        dim: int,
        *,
        image_size: int | tuple[int, int] = 32,
        num_classes: int = 10,
        in_channels: int = 3,
        activation: str = "relu",
    ):
        super().__init__()
        dim, act = checks.positive_int("dim", dim), checks.activation(activation)
        self.in_channels = checks.positive_int("in_channels", in_channels)
        self.image_size = checks.image_pair("image_size", image_size)
        height, width = self.image_size
        if height % 2 or width % 2:
            raise ValueError(f"`image_size`={image_size!r} must be even: S-CONV halves the image")

        self.num_features, self.num_classes = HIDDEN * dim, checks.count("num_classes", num_classes)
        places = height // 2 * (width // 2)
        self.stem = Dense(self.in_channels * height * width, places * dim, act)
        self.blocks = nn.Sequential(Dense(places * dim, HIDDEN * dim, act))
        self.head = new_head(self.num_features, self.num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → features (B, 24α)."""
        checks.images(x, self.in_channels, 1)
        checks.sides(x, self.image_size, "every pixel has weights for its place")
        return self.blocks(self.stem(x.flatten(1)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features (B, 24α) → logits (B, num_classes); with `pre_logits` the features."""
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


COMMON = {"image_size": 32, "num_classes": 10, "activation": "relu"}
PRESETS = {
    "s_fc": (COMMON | {"dim": 4}, "S-FC; defaults are α = 4 for 32×32 images"),
    "s_fc_150": (COMMON | {"dim": 150}, "S-FC with α = 150 for CIFAR"),
}
