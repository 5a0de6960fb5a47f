"""MLP-Mixer: an MLP across the patches, then an MLP across the channels, and again.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", arXiv 2105.01601. Derived in
chapter 02.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import Classifier, new_head


class PatchEmbedding(nn.Module):
    """Images (B, in_channels, H, W) → tokens (B, T, h): one a patch, row by row over the image."""

    def __init__(self, in_channels: int, dim: int, patch_size: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)  # (B, h, H/p, W/p) → (B, h, T) → (B, T, h)


class MLP(nn.Module):
    """Linear, activation, linear, on the last dimension: (…, width) → (…, hidden) → (…, width)."""

    def __init__(self, width: int, hidden: int, act: type[nn.Module]):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = act()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)))


class MixerBlock(nn.Module):
    """Token mixing, then channel mixing, each after LayerNorm, in a residual; keeps (B, T, h).

    Args:
        tokens: how many, T.
        dim: the width h.
        tokens_dim: hidden width of the token MLP.
        channels_dim: hidden width of the channel MLP.
        act: the class of the activation.
    """

    def __init__(
        self, tokens: int, dim: int, tokens_dim: int, channels_dim: int, act: type[nn.Module]
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp_tokens = MLP(tokens, tokens_dim, act)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp_channels = MLP(dim, channels_dim, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # token mixing works on the columns of the table: transpose, mix, transpose back
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_channels(self.norm2(x))


class MLPMixer(Classifier):
    """MLP-Mixer with T = (H/p)·(W/p) tokens of h = `dim` channels (S and C in the paper).

    Shapes: images (B, `in_channels`, H, W) → features (B, T, h) → logits (B, `num_classes`). The
    weights have timm's names, so timm's MLP-Mixer checkpoints fit as they are.

    Args:
        dim: the width h, numbers of every token.
        depth: how many blocks.
        tokens_dim: hidden width of the token MLP, the paper's D_S.
        channels_dim: hidden width of the channel MLP, D_C.
        image_size: one number or (H, W). Token mixing has one weight a patch, so the model serves
            this size only.
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
        tokens_dim: int,
        channels_dim: int,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        num_classes: int = 1000,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        super().__init__()
        dim, depth = checks.positive_int("dim", dim), checks.positive_int("depth", depth)
        tokens_dim = checks.positive_int("tokens_dim", tokens_dim)
        channels_dim = checks.positive_int("channels_dim", channels_dim)
        patch_size = checks.positive_int("patch_size", patch_size)
        in_channels = checks.positive_int("in_channels", in_channels)
        act = checks.activation(activation)
        self.image_size = checks.image_pair("image_size", image_size)
        rows, columns = checks.patches(*self.image_size, patch_size)

        self.in_channels, self.patch_size = in_channels, patch_size
        self.num_features, self.num_classes = dim, checks.count("num_classes", num_classes)
        self.stem = PatchEmbedding(in_channels, dim, patch_size)
        self.blocks = nn.Sequential(
            *(MixerBlock(rows * columns, dim, tokens_dim, channels_dim, act) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = new_head(dim, self.num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → normalised tokens (B, T, h)."""
        checks.images(x, self.in_channels, self.patch_size)
        checks.sides(x, self.image_size, "token mixing has one weight a patch")
        return self.norm(self.blocks(self.stem(x)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Tokens (B, T, h) → logits (B, num_classes); with `pre_logits` their mean (B, h)."""
        x = x.mean(dim=1)
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))
