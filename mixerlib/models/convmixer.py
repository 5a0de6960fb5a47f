"""ConvMixer: a patch embedding, then d blocks that mix space with a depthwise and channels with a
1×1 convolution.

Trockman & Kolter, "Patches Are All You Need?", arXiv 2201.09792. Derived in chapter 03.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import Classifier, new_head


class Residual(nn.Module):
    """x ↦ x + fn(x), for any shape that fn keeps."""

    def __init__(self, fn: nn.Module):
        super().__init__()
        self.fn = fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fn(x)


class ConvMixer(Classifier):
    """ConvMixer-`dim`/`depth` with h = `dim` channels kept from the first layer to the last.

    Shapes: images (B, `in_channels`, H, W) → features (B, h, H/p, W/p) → logits (B, `num_classes`),
    in floating point. The weights have timm's names (`stem`, `blocks`, `head`), so timm's ConvMixer
    checkpoints fit as they are.

    Args:
        dim: the width h, channels of every map.
        depth: how many blocks.
        kernel_size: side k of the depthwise kernels. It may be even: "same" padding then adds the
            odd row and column at the bottom and the right.
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
        kernel_size: int = 9,
        patch_size: int = 7,
        num_classes: int = 1000,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        super().__init__()
        h, d = checks.positive_int("dim", dim), checks.positive_int("depth", depth)
        k, p = (
            checks.positive_int("kernel_size", kernel_size),
            checks.positive_int("patch_size", patch_size),
        )
        in_channels = checks.positive_int("in_channels", in_channels)
        act = checks.activation(activation)

        self.in_channels, self.patch_size = in_channels, p
        self.num_features, self.num_classes = h, checks.count("num_classes", num_classes)
        self.stem = nn.Sequential(nn.Conv2d(in_channels, h, p, stride=p), act(), nn.BatchNorm2d(h))
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    # spatial mixing: every channel convolved with a k×k kernel of its own
                    Residual(
                        nn.Sequential(
                            nn.Conv2d(h, h, k, groups=h, padding="same"), act(), nn.BatchNorm2d(h)
                        )
                    ),
                    # channel mixing: the same h×h matrix at every place
                    nn.Conv2d(h, h, kernel_size=1),
                    act(),
                    nn.BatchNorm2d(h),
                )
                for _ in range(d)
            )
        )
        self.head = new_head(h, self.num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → features before pooling (B, h, H/p, W/p)."""
        checks.images(x, self.in_channels, self.patch_size)
        return self.blocks(self.stem(x))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features (B, h, H/p, W/p) → logits (B, num_classes); `pre_logits`: their mean (B, h)."""
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))
