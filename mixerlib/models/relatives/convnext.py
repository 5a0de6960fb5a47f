"""ConvNeXt's block, repeated at one width and one size: a depthwise convolution, then an MLP across
the channels, in one residual.

Liu et al., "A ConvNet for the 2020s", arXiv 2201.03545; the form without stages is its section 3.3.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import Classifier, new_head
from mixerlib.models.mlp_mixer import MLP
from mixerlib.models.relatives.pieces import Scale


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of every place: (B, h, H, W) → (B, h, H, W)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, LayerNorm, MLP across the channels, scale; one residual round all.

    Keeps (B, h, H, W).

    Args:
        dim: the width h.
        kernel_size: side k of the depthwise kernels.
        channels_dim: hidden width of the MLP.
        act: the class of the activation.
    """

    def __init__(self, dim: int, kernel_size: int, channels_dim: int, act: type[nn.Module]):
        super().__init__()
        self.conv_dw = nn.Conv2d(dim, dim, kernel_size, groups=dim, padding="same")
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.mlp_channels = MLP(dim, channels_dim, act)
        self.scale = Scale(dim, start=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv_dw(x).permute(0, 2, 3, 1)  # (B, h, H, W) → (B, H, W, h)
        y = self.scale(self.mlp_channels(self.norm(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(Classifier):
    """ConvNeXt's blocks with h = `dim` channels kept from the first to the last.

    Stem and head are ConvNeXt's: a norm follows the patches' embedding, and one the features' mean.
    Shapes: images (B, `in_channels`, H, W) → features (B, h, H/p, W/p) → logits (B, `num_classes`).

    Args:
        dim: the width h, channels of every map.
        depth: how many blocks.
        channels_dim: hidden width of the channel MLP.
        kernel_size: side k of the depthwise kernels.
        patch_size: side p of the patches; it must divide the images' sides.
        num_classes: how many logits; with 0 there is no head, and the features' mean (B, h) comes
            out.
        in_channels: of the images.
        activation: "gelu" or "relu".

    Raises `ValueError` for an option that breaks its rule, and for images whose sides `patch_size`
    does not divide.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        *,
        channels_dim: int,
        kernel_size: int = 7,
        patch_size: int = 16,
        num_classes: int = 1000,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        super().__init__()
        dim, depth = checks.positive_int("dim", dim), checks.positive_int("depth", depth)
        channels_dim = checks.positive_int("channels_dim", channels_dim)
        k = checks.positive_int("kernel_size", kernel_size)
        p = checks.positive_int("patch_size", patch_size)
        in_channels = checks.positive_int("in_channels", in_channels)
        act = checks.activation(activation)

        self.in_channels, self.patch_size = in_channels, p
        self.num_features, self.num_classes = dim, checks.count("num_classes", num_classes)
        patches = nn.Conv2d(in_channels, dim, p, stride=p)
        self.stem = nn.Sequential(patches, ChannelNorm(dim, eps=1e-6))
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(dim, k, channels_dim, act) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = new_head(dim, self.num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → features before pooling (B, h, H/p, W/p)."""
        checks.images(x, self.in_channels, self.patch_size)
        return self.blocks(self.stem(x))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features → logits (B, num_classes); with `pre_logits` their normalised mean (B, h)."""
        x = self.norm(x.mean(dim=(2, 3)))
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


SMALL = {"dim": 128, "depth": 8, "channels_dim": 512, "patch_size": 4, "num_classes": 10}
S16 = {"dim": 384, "depth": 18, "channels_dim": 1536, "patch_size": 16, "num_classes": 1000}
PRESETS = {
    "convnext": (SMALL | {"kernel_size": 7}, "ConvNeXt's blocks, 128/8 for 32×32 images"),
    "convnext_s16": (S16 | {"kernel_size": 7}, "ConvNeXt's blocks at one size, S/16 for ImageNet"),
}
