"""What AS-MLP, CycleMLP and ViP share: stages of blocks, each half as wide and high as the last."""

from collections.abc import Callable

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import Classifier, new_head


class Pyramid(Classifier):
    """Stem, stages of blocks with a merging of 2×2 places between them, norm, mean, head.

    Shapes: images (B, `in_channels`, H, W) → features (B, h, H/(p·2^m), W/(p·2^m)), h the last
    width and m the mergings → logits (B, `num_classes`). `blocks` holds blocks and mergings in
    their order; each takes and gives a map (B, channels, rows, columns).

    Args:
        stages: blocks x width of each stage, as text: `checks.stages` reads it.
        stem: (channels of the images, width, p) → what makes the first map, H/p × W/p.
        block: (width, stage's number from 0) → one block.
        merging: (width before, width after) → what halves the map.
        norm: width → the norm after the last block.
        sizes: side p of the patches; how many logits, or 0, with which the features' mean (B, h)
            comes out; channels of the images.
    """

    def __init__(
        self,
        stages: str,
        stem: Callable[[int, int, int], nn.Module],
        block: Callable[[int, int], nn.Module],
        merging: Callable[[int, int], nn.Module],
        norm: Callable[[int], nn.Module],
        *,
        sizes: tuple[int, int, int],
    ):
        super().__init__()
        pairs = [(depth, width) for depth, width, _ in checks.stages(stages)]
        self.patch_size = checks.positive_int("patch_size", sizes[0])
        self.num_classes = checks.count("num_classes", sizes[1])
        self.in_channels = checks.positive_int("in_channels", sizes[2])
        self.mergings, self.num_features = len(pairs) - 1, pairs[-1][1]
        self.stem = stem(self.in_channels, pairs[0][1], self.patch_size)
        blocks: list[nn.Module] = []
        for number, (depth, width) in enumerate(pairs):
            if number:
                blocks.append(merging(pairs[number - 1][1], width))
            blocks += [block(width, number) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm(self.num_features)
        self.head = new_head(self.num_features, self.num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → the last map, normalised."""
        checks.images(x, self.in_channels, self.patch_size, self.mergings)
        return self.norm(self.blocks(self.stem(x)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features → logits (B, num_classes); with `pre_logits` their mean (B, h)."""
        x = x.mean(dim=(2, 3))
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


def stage_ratios(stages: str, channels_ratio: int) -> tuple[int, ...]:
    """The hidden width of each stage's channel MLP, in widths: the third number of a stage where it
    has one, else `channels_ratio`. "2x64x8, 3x128" with 4: (8, 4)."""
    usual = checks.positive_int("channels_ratio", channels_ratio)
    return tuple(own or usual for _, _, own in checks.stages(stages))
