"""ViT, the vision transformer: attention across the patches, then an MLP across the channels.

Dosovitskiy et al., "An Image is Worth 16×16 Words", arXiv 2010.11929, section 3.1.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import new_head
from mixerlib.models.relatives.pieces import TokenClassifier
from mixerlib.models.relatives.transformer import PlacedTokens, TransformerBlock, checked_heads


class ViT(TokenClassifier):
    """ViT with one token for the class before the T = (H/p)·(W/p) tokens of the patches.

    Shapes: images (B, `in_channels`, H, W) → features (B, 1 + T, h) → logits (B, `num_classes`),
    from the token of the class alone.

    Args:
        dim: the width h, numbers of every token.
        depth: how many blocks.
        heads: attentions side by side; they must divide `dim`.
        channels_dim: hidden width of the channel MLP.
        image_size: one number or (H, W). Every patch has a vector for its place, so the model
            serves this size only.
        patch_size: side p of the patches; it must divide both sides of the images.
        qkv_bias: whether queries, keys and values have biases.
        num_classes: how many logits; with 0 there is no head, and the class's token (B, h) comes
            out.
        in_channels: of the images.
        activation: "gelu" or "relu".

    Raises `ValueError` for an option that breaks its rule, and for images of another size.
    """

    one_size = "every patch has a vector for its place"
    extra = 1  # tokens before those of the patches

    def __init__(
        self,
        dim: int,
        depth: int,
        *,
        heads: int,
        channels_dim: int,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        qkv_bias: bool = True,
        num_classes: int = 1000,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        super().__init__()
        dim, depth = checks.positive_int("dim", dim), checks.positive_int("depth", depth)
        heads = checked_heads(heads, dim)
        channels_dim = checks.positive_int("channels_dim", channels_dim)
        qkv_bias = checks.switch("qkv_bias", qkv_bias)
        act = checks.activation(activation)
        tokens = self._keep(dim, image_size, patch_size, num_classes, in_channels)

        self.stem = PlacedTokens(self.in_channels, dim, self.patch_size, tokens, extra=self.extra)
        self.blocks = nn.Sequential(
            *(TransformerBlock(dim, heads, channels_dim, qkv_bias, act) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = new_head(dim, self.num_classes)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Tokens (B, 1 + T, h) → logits (B, num_classes); with `pre_logits` the first (B, h)."""
        x = x[:, 0]
        return x if pre_logits else self.head(x)


ON_32 = {"image_size": 32, "patch_size": 4, "num_classes": 10}
ON_224 = {"image_size": 224, "patch_size": 16, "num_classes": 1000, "qkv_bias": True}
SMALL = {"dim": 192, "depth": 9, "heads": 3, "channels_dim": 384, "qkv_bias": False}
TI = {"dim": 192, "depth": 12, "heads": 3, "channels_dim": 768}
S = {"dim": 384, "depth": 12, "heads": 6, "channels_dim": 1536}
B = {"dim": 768, "depth": 12, "heads": 12, "channels_dim": 3072}
PRESETS = {
    "vit": (SMALL | ON_32, "ViT; defaults are 192/9 for 32×32 images"),
    "vit_ti16": (TI | ON_224, "ViT-Ti/16 for ImageNet, which is DeiT-Ti without distillation"),
    "vit_s16": (S | ON_224, "ViT-S/16 for ImageNet, which is DeiT-S without distillation"),
    "vit_b16": (B | ON_224, "ViT-B/16 for ImageNet, which is DeiT-B without distillation"),
}
