"""ResNet for small images: three stages of 3×3 convolutions, each with half the side and twice the
width of the one before.

He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import Classifier, new_head

STAGES = 3


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, each with a BatchNorm, in a residual.

    (B, channels, H, W) → (B, width, ⌈H/stride⌉, ⌈W/stride⌉). Where the map shrinks, the skip takes
    every other row and column and fills the new channels with zeros, half of them before the old
    ones: the paper's option A, which has no weights.
    """

    def __init__(self, channels: int, width: int, stride: int, act: type[nn.Module]):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.act1 = act()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.act2 = act()
        self.stride, self.new_channels = stride, width - channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        if self.stride > 1:
            before = self.new_channels // 2
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, before, self.new_channels - before))
        return self.act2(y + x)


class CifarResNet(Classifier):
    """ResNet with 2·`depth` + 2 layers that have weights: `depth`/3 blocks in each of three stages.

    Shapes: images (B, `in_channels`, H, W) → features (B, 4·`dim`, ⌈H/4⌉, ⌈W/4⌉) → logits
    (B, `num_classes`). Images may have any size.

    Args:
        dim: the width of the first stage; the others have twice and four times as many channels.
        depth: how many blocks, a multiple of three.
        num_classes: how many logits; with 0 there is no head, and the features' mean comes out.
        in_channels: of the images.
        activation: "relu", as in the paper, or "gelu".

    Raises `ValueError` for an option that breaks its rule.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        activation: str = "relu",
    ):
        super().__init__()
        dim, depth = checks.positive_int("dim", dim), checks.positive_int("depth", depth)
        if depth % STAGES:
            raise ValueError(f"`depth`={depth} must be a multiple of {STAGES}, the stages")
        in_channels = checks.positive_int("in_channels", in_channels)
        act = checks.activation(activation)

        self.in_channels = in_channels
        self.num_features = dim * 2 ** (STAGES - 1)
        self.num_classes = checks.count("num_classes", num_classes)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, dim, 3, padding=1, bias=False), nn.BatchNorm2d(dim), act()
        )
        blocks, channels = [], dim
        for stage in range(STAGES):
            width = dim * 2**stage
            for _ in range(depth // STAGES):
                blocks.append(ResidualBlock(channels, width, 1 if channels == width else 2, act))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = new_head(self.num_features, self.num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → features (B, 4·dim, ⌈H/4⌉, ⌈W/4⌉)."""
        checks.images(x, self.in_channels, 1)
        return self.blocks(self.stem(x))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features → logits (B, num_classes); with `pre_logits` their mean (B, 4·dim)."""
        x = x.mean(dim=(2, 3))
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


COMMON = {"dim": 16, "num_classes": 10, "activation": "relu"}
PRESETS = {
    "resnet_cifar": (COMMON | {"depth": 9}, "ResNet for 32×32 images; defaults are ResNet-20"),
    "resnet20": (COMMON | {"depth": 9}, "ResNet-20 for CIFAR"),
    "resnet32": (COMMON | {"depth": 15}, "ResNet-32 for CIFAR"),
    "resnet44": (COMMON | {"depth": 21}, "ResNet-44 for CIFAR"),
    "resnet56": (COMMON | {"depth": 27}, "ResNet-56 for CIFAR"),
    "resnet110": (COMMON | {"depth": 54}, "ResNet-110 for CIFAR"),
}
