"""What ViT and DeiT are made of: tokens with their places, attention, and a block of both.

Vaswani et al., "Attention Is All You Need", arXiv 1706.03762.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.mlp_mixer import MLP


class PlacedTokens(nn.Module):
    """Images (B, in_channels, H, W) → tokens (B, E + T, h): E learnt ones, then one a patch, row by
    row; and to each a learnt vector for its place is added."""

    def __init__(self, in_channels: int, dim: int, patch_size: int, patches: int, extra: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)
        self.tokens = nn.Parameter(torch.empty(1, extra, dim))
        self.places = nn.Parameter(torch.empty(1, extra + patches, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The first values: learnt tokens of zeros, vectors of the places near zero."""
        nn.init.zeros_(self.tokens)
        nn.init.trunc_normal_(self.places, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.proj(x).flatten(2).transpose(1, 2)  # (B, h, H/p, W/p) → (B, T, h)
        x = torch.cat((self.tokens.expand(x.shape[0], -1, -1), x), dim=1)
        return x + self.places


class Attention(nn.Module):
    """Multi-head self-attention: every token takes a mean of all, with weights that the tokens
    decide themselves. (B, T, h) → (B, T, h). Vaswani et al., arXiv 1706.03762, section 3.2."""

    def __init__(self, dim: int, heads: int, qkv_bias: bool):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # (B, T, 3h) → three of (B, heads, T, h/heads)
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts[0], parts[1], parts[2]
        weights = (queries @ keys.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((weights @ values).transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Attention, then an MLP of each token, each after LayerNorm, in a residual; keeps (B, T, h).

    Args:
        dim: the width h.
        heads: how many attentions side by side, each on h/heads channels.
        channels_dim: hidden width of the MLP.
        qkv_bias: whether queries, keys and values have biases.
        act: the class of the activation.
    """

    def __init__(
        self, dim: int, heads: int, channels_dim: int, qkv_bias: bool, act: type[nn.Module]
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp_channels = MLP(dim, channels_dim, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp_channels(self.norm2(x))


def checked_heads(heads: int, dim: int) -> int:
    """A number of heads that divides the width; `ValueError` for another."""
    heads = checks.positive_int("heads", heads)
    if dim % heads:
        raise ValueError(f"`heads`={heads} must divide `dim`={dim}")
    return heads
