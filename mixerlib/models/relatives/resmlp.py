"""ResMLP: one linear layer across the patches, an MLP across the channels, and no norm at all.

Touvron et al., "ResMLP: Feedforward networks for image classification with data-efficient
training", arXiv 2105.03404, equations 3 and 4.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import new_head
from mixerlib.models.mlp_mixer import MLP, PatchEmbedding
from mixerlib.models.relatives.pieces import Affine, Scale, TokenClassifier


def first_scale(depth: int) -> float:
    """What a branch is multiplied by before training: the deeper the network, the less. These are
    the three values of the authors' code, for 12, 24 and 36 blocks."""
    return 0.1 if depth <= 18 else 1e-5 if depth <= 24 else 1e-6


class ResMLPBlock(nn.Module):
    """Linear across the tokens, then an MLP across the channels; keeps (B, T, h).

    Each stands in a residual, between an affine map of every channel before it and a scale after
    it, in place of a norm.

    Args:
        tokens: how many, T.
        dim: the width h.
        channels_dim: hidden width of the channel MLP.
        start: what the scales are before training.
        act: the class of the activation.
    """

    def __init__(
        self, tokens: int, dim: int, channels_dim: int, start: float, act: type[nn.Module]
    ):
        super().__init__()
        self.norm1 = Affine(dim)
        self.linear_tokens = nn.Linear(tokens, tokens)
        self.scale1 = Scale(dim, start)
        self.norm2 = Affine(dim)
        self.mlp_channels = MLP(dim, channels_dim, act)
        self.scale2 = Scale(dim, start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.scale1(self.linear_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2))
        return x + self.scale2(self.mlp_channels(self.norm2(x)))


class ResMLP(TokenClassifier):
    """ResMLP with T = (H/p)·(W/p) tokens of h = `dim` channels.

    Shapes: images (B, `in_channels`, H, W) → features (B, T, h) → logits (B, `num_classes`).

    Args:
        dim: the width h, numbers of every token.
        depth: how many blocks.
        channels_dim: hidden width of the channel MLP.
        image_size: one number or (H, W). Token mixing has one weight a pair of patches, so the
            model serves this size only.
        patch_size: side p of the patches; it must divide both sides of the images.
        num_classes: how many logits; with 0 there is no head, and the tokens' mean (B, h) comes
            out.
        in_channels: of the images.
        activation: "gelu" or "relu".

    Raises `ValueError` for an option that breaks its rule, and for images of another size.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        *,
        channels_dim: int,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        num_classes: int = 1000,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        super().__init__()
        dim, depth = checks.positive_int("dim", dim), checks.positive_int("depth", depth)
        channels_dim = checks.positive_int("channels_dim", channels_dim)
        act = checks.activation(activation)
        tokens = self._keep(dim, image_size, patch_size, num_classes, in_channels)

        self.stem = PatchEmbedding(self.in_channels, dim, self.patch_size)
        sizes = (tokens, dim, channels_dim, first_scale(depth), act)
        self.blocks = nn.Sequential(*(ResMLPBlock(*sizes) for _ in range(depth)))
        self.norm = Affine(dim)
        self.head = new_head(dim, self.num_classes)


S = {"dim": 384, "channels_dim": 1536}
ON_32 = {"image_size": 32, "patch_size": 4, "num_classes": 10}
ON_224 = {"image_size": 224, "patch_size": 16, "num_classes": 1000}
B24_8 = {"dim": 768, "depth": 24, "channels_dim": 3072, "image_size": 224, "patch_size": 8}
PRESETS = {
    "resmlp": (S | ON_32 | {"depth": 12}, "ResMLP; defaults are S12/4 for 32×32 images"),
    "resmlp_s12": (S | ON_224 | {"depth": 12}, "ResMLP-S12 for ImageNet"),
    "resmlp_s24": (S | ON_224 | {"depth": 24}, "ResMLP-S24 for ImageNet"),
    "resmlp_s36": (S | ON_224 | {"depth": 36}, "ResMLP-S36 for ImageNet"),
    "resmlp_b24_8": (B24_8 | {"num_classes": 1000}, "ResMLP-B24/8 for ImageNet"),
}
