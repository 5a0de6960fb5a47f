"""gMLP: an MLP across the channels whose hidden half is multiplied by what a linear layer across
the patches makes of the other half.

Liu et al., "Pay Attention to MLPs", arXiv 2105.08050, section 2.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import new_head
from mixerlib.models.mlp_mixer import PatchEmbedding
from mixerlib.models.relatives.pieces import TokenClassifier


class SpatialGate(nn.Module):
    """(B, T, 2g) → (B, T, g): the first half of the channels, times the second half after a norm
    and a linear layer across the tokens.

    That layer starts near "all ones", so that the block begins as an MLP of each token.
    """

    def __init__(self, tokens: int, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.proj = nn.Linear(tokens, tokens)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The first values: a gate of nearly ones."""
        nn.init.normal_(self.proj.weight, std=1e-6)
        nn.init.ones_(self.proj.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, gate = x.chunk(2, dim=-1)
        return kept * self.proj(self.norm(gate).transpose(1, 2)).transpose(1, 2)


class GMLPBlock(nn.Module):
    """LayerNorm, then widen, activate, gate and narrow, in a residual; keeps (B, T, h).

    Args:
        tokens: how many, T.
        dim: the width h.
        channels_dim: the hidden width, of which the gate keeps a half.
        act: the class of the activation.
    """

    def __init__(self, tokens: int, dim: int, channels_dim: int, act: type[nn.Module]):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.fc1 = nn.Linear(dim, channels_dim)
        self.act = act()
        self.gate = SpatialGate(tokens, channels_dim // 2)
        self.fc2 = nn.Linear(channels_dim // 2, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc2(self.gate(self.act(self.fc1(self.norm(x)))))


class GMLP(TokenClassifier):
    """gMLP with T = (H/p)·(W/p) tokens of h = `dim` channels.

    Shapes: images (B, `in_channels`, H, W) → features (B, T, h) → logits (B, `num_classes`).

    Args:
        dim: the width h, numbers of every token.
        depth: how many blocks.
        channels_dim: hidden width before the gate, an even number; the gate leaves half of it.
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
        if channels_dim % 2:
            raise ValueError(f"`channels_dim`={channels_dim} must be even: the gate takes a half")
        act = checks.activation(activation)
        tokens = self._keep(dim, image_size, patch_size, num_classes, in_channels)

        self.stem = PatchEmbedding(self.in_channels, dim, self.patch_size)
        sizes = (tokens, dim, channels_dim, act)
        self.blocks = nn.Sequential(*(GMLPBlock(*sizes) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = new_head(dim, self.num_classes)


ON_32 = {"image_size": 32, "patch_size": 4, "num_classes": 10, "depth": 30}
ON_224 = {"image_size": 224, "patch_size": 16, "num_classes": 1000, "depth": 30}
PRESETS = {
    "gmlp": ({"dim": 128, "channels_dim": 768} | ON_32, "gMLP; defaults are Ti/4 for 32×32 images"),
    "gmlp_ti16": ({"dim": 128, "channels_dim": 768} | ON_224, "gMLP-Ti/16 for ImageNet"),
    "gmlp_s16": ({"dim": 256, "channels_dim": 1536} | ON_224, "gMLP-S/16 for ImageNet"),
    "gmlp_b16": ({"dim": 512, "channels_dim": 3072} | ON_224, "gMLP-B/16 for ImageNet"),
}
