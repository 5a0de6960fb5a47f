"""DeiT, distilled: ViT with one more token, which learns what a teacher says.

Touvron et al., "Training data-efficient image transformers & distillation through attention",
arXiv 2012.12877, section 4. Without distillation DeiT is ViT: `vit_ti16`, `vit_s16`, `vit_b16`.
"""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import new_head
from mixerlib.models.relatives.pieces import (
    PlacedTokens,
    TokenClassifier,
    TransformerBlock,
    checked_heads,
)


class DeiT(TokenClassifier):
    """DeiT with two tokens, of the class and of the teacher, before the T = (H/p)·(W/p) patches'.

    Shapes: images (B, `in_channels`, H, W) → features (B, 2 + T, h) → logits (B, `num_classes`):
    the mean of what two heads make of the two tokens.

    Args:
        dim: the width h, numbers of every token.
        depth: how many blocks.
        heads: attentions side by side; they must divide `dim`.
        channels_dim: hidden width of the channel MLP.
        image_size: one number or (H, W). Every patch has a vector for its place, so the model
            serves this size only.
        patch_size: side p of the patches; it must divide both sides of the images.
        qkv_bias: whether queries, keys and values have biases.
        num_classes: how many logits; with 0 there are no heads, and the mean of the two tokens
            (B, h) comes out.
        in_channels: of the images.
        activation: "gelu" or "relu".

    Raises `ValueError` for an option that breaks its rule, and for images of another size.
    """

    one_size = "every patch has a vector for its place"

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
        patch_size = checks.positive_int("patch_size", patch_size)
        qkv_bias = checks.switch("qkv_bias", qkv_bias)
        in_channels = checks.positive_int("in_channels", in_channels)
        act = checks.activation(activation)
        self.image_size = checks.image_pair("image_size", image_size)
        rows, columns = checks.patches(*self.image_size, patch_size)

        self.in_channels, self.patch_size = in_channels, patch_size
        self.num_features, self.num_classes = dim, checks.count("num_classes", num_classes)
        self.stem = PlacedTokens(in_channels, dim, patch_size, rows * columns, extra=2)
        self.blocks = nn.Sequential(
            *(TransformerBlock(dim, heads, channels_dim, qkv_bias, act) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = new_head(dim, self.num_classes)
        self.head_teacher = new_head(dim, self.num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Put two fresh heads in place of the old ones, for other classes; 0 leaves them out."""
        super().reset_classifier(num_classes)
        head, weight = new_head(self.num_features, self.num_classes), self.stem.proj.weight
        self.head_teacher = head.to(weight.device, weight.dtype).train(self.training)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Tokens (B, 2 + T, h) → logits; with `pre_logits` the mean of the first two (B, h)."""
        if pre_logits:
            return (x[:, 0] + x[:, 1]) / 2
        return (self.head(x[:, 0]) + self.head_teacher(x[:, 1])) / 2


ON_32 = {"image_size": 32, "patch_size": 4, "num_classes": 10, "qkv_bias": True}
ON_224 = {"image_size": 224, "patch_size": 16, "num_classes": 1000, "qkv_bias": True}
TI = {"dim": 192, "depth": 12, "heads": 3, "channels_dim": 768}
S = {"dim": 384, "depth": 12, "heads": 6, "channels_dim": 1536}
B = {"dim": 768, "depth": 12, "heads": 12, "channels_dim": 3072}
PRESETS = {
    "deit": (TI | ON_32, "DeiT, distilled; defaults are Ti/4 for 32×32 images"),
    "deit_ti16_distilled": (TI | ON_224, "DeiT-Ti/16 for ImageNet, distilled"),
    "deit_s16_distilled": (S | ON_224, "DeiT-S/16 for ImageNet, distilled"),
    "deit_b16_distilled": (B | ON_224, "DeiT-B/16 for ImageNet, distilled"),
}
