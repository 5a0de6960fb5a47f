"""DeiT, distilled: ViT with one more token, which learns what a teacher says.

Touvron et al., "Training data-efficient image transformers & distillation through attention",
arXiv 2012.12877, section 4. Without distillation DeiT is ViT: `vit_ti16`, `vit_s16`, `vit_b16`.
"""

from typing import Any

import torch

from mixerlib.models.heads import new_head
from mixerlib.models.relatives.vit import ON_224, TI, B, S, ViT


class DeiT(ViT):
    """DeiT with two tokens, of the class and of the teacher, before the T = (H/p)·(W/p) patches'.

    Shapes: images (B, `in_channels`, H, W) → features (B, 2 + T, h) → logits (B, `num_classes`):
    the mean of what two heads make of the two tokens. With `num_classes` 0 there are no heads, and
    the mean of the two tokens (B, h) comes out.

    The arguments are those of `ViT`. Raises `ValueError` for an option that breaks its rule, and
    for images of another size.
    """

    extra = 2

    def __init__(self, dim: int, depth: int, **options: Any):
        super().__init__(dim, depth, **options)
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
PRESETS = {
    "deit": (TI | ON_32, "DeiT, distilled; defaults are Ti/4 for 32×32 images"),
    "deit_ti16_distilled": (TI | ON_224, "DeiT-Ti/16 for ImageNet, distilled"),
    "deit_s16_distilled": (S | ON_224, "DeiT-S/16 for ImageNet, distilled"),
    "deit_b16_distilled": (B | ON_224, "DeiT-B/16 for ImageNet, distilled"),
}
