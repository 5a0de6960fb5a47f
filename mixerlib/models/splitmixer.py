"""SplitMixer: ConvMixer with the k×k kernel split into 1×k and k×1, and the channels into segments.

Borji & Lin, "SplitMixer: Fat Trimmed From MLP-like Models", arXiv 2207.10255. Chapter 05 derives
the spatial part; the channel mixings are in `mixings.py`.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import Classifier, new_head
from mixerlib.models.mixings import (
    Ratio,
    channel_mixing,
    channel_shuffle,
    equal_width,
    strategy_named,
)


class SplitMixerBlock(nn.Module):
    """Residual[1×k depthwise → act → BN → k×1 depthwise → act → BN], then channel mixing → act → BN
    over all channels.

    One residual goes round both spatial convolutions. (B, h, H, W) → (B, h, H, W).

    Args:
        dim: the width h.
        kernel_size: length k of the depthwise kernels.
        mixing: the channel mixing, a module that keeps (B, h, H, W).
        act: the class of the activation.
        shuffle: of how many equal segments the channels are dealt out in turn right after the
            mixing; 1: they stay.
    """

    def __init__(
        self, dim: int, kernel_size: int, mixing: nn.Module, act: type[nn.Module], shuffle: int = 1
    ):
        super().__init__()
        self.shuffle = shuffle
        self.spatial = nn.Sequential(
            nn.Conv2d(dim, dim, (1, kernel_size), groups=dim, padding="same"),
            act(),
            nn.BatchNorm2d(dim),
            nn.Conv2d(dim, dim, (kernel_size, 1), groups=dim, padding="same"),
            act(),
            nn.BatchNorm2d(dim),
        )
        self.mixing = mixing
        self.act = act()
        self.norm = nn.BatchNorm2d(dim)

    def extra_repr(self) -> str:
        return f"shuffle={self.shuffle}" if self.shuffle > 1 else ""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.spatial(x)
        x = self.mixing(x)
        if self.shuffle > 1:
            x = channel_shuffle(x, self.shuffle)
        return self.norm(self.act(x))


class SplitMixer(Classifier):
    """SplitMixer-`dim`/`depth` with strategy "I", "II", "III", "IV", "V", "3D" or a registered one.

    Shapes: images (B, `in_channels`, H, W) → features (B, h, H/p, W/p) → logits (B, `num_classes`),
    in floating point.

    Args:
        strategy: which channels a block mixes, and how; see `mixings.py` and `register_mixing`.
        dim: the width h, channels of every map.
        depth: how many blocks.
        ratio: α in (1/2, 1] of I and V, exact: text such as "2/3", a fraction or a float. None:
            2/3. The other strategies have none.
        segments: how many, s, of II, III, IV and 3D; it must divide `dim` for III and 3D. None: 2.
            I and V have none.
        shuffle: whether II, III or IV shuffles the channels after each mixing, so that segments
            meet; s must then divide `dim`. That is not in the paper; chapter 11 shows what it does,
            and where II gains little.
        kernel_size: length k of the depthwise kernels; it may be even, as in ConvMixer.
        patch_size: side p of the patches; it must divide the images' sides.
        num_classes: how many logits; with 0 there is no head, and the features' mean (B, h) comes
            out.
        in_channels: of the images.
        activation: "gelu" or "relu".

    Raises `ValueError` for an option that breaks its rule or that the strategy does not have, and
    for images whose sides `patch_size` does not divide.
    """

    def __init__(
        self,
        strategy: str,
        dim: int,
        depth: int,
        *,
        ratio: Ratio | None = None,
        segments: int | None = None,
        shuffle: bool = False,
        kernel_size: int = 5,
        patch_size: int = 2,
        num_classes: int = 10,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        super().__init__()
        chosen = strategy_named(strategy)
        h, d = checks.positive_int("dim", dim), checks.positive_int("depth", depth)
        k, p = (
            checks.positive_int("kernel_size", kernel_size),
            checks.positive_int("patch_size", patch_size),
        )
        in_channels = checks.positive_int("in_channels", in_channels)
        act = checks.activation(activation)
        if chosen.option == "ratio":
            if segments is not None:
                raise ValueError(
                    f"`segments`={checks.shown(segments)} is not an option of strategy {strategy}, "
                    "whose two segments overlap: set `ratio`"
                )
            ratio = "2/3" if ratio is None else ratio
        else:
            if ratio is not None:
                raise ValueError(
                    f"`ratio`={checks.shown(ratio)} is not an option of strategy {strategy}, "
                    "whose segments are disjoint: set `segments`"
                )
            segments = 2 if segments is None else segments

        checks.switch("shuffle", shuffle)
        if shuffle and not chosen.shuffles:
            raise ValueError(f"`shuffle`=True is not an option of strategy {strategy}")
        dealt = h // equal_width(h, segments, f"{strategy} with `shuffle`") if shuffle else 1

        self.strategy, self.shuffle = strategy, shuffle
        self.in_channels, self.patch_size = in_channels, p
        self.num_features, self.num_classes = h, checks.count("num_classes", num_classes)
        self.stem = nn.Sequential(nn.Conv2d(in_channels, h, p, stride=p), act(), nn.BatchNorm2d(h))
        mixings = (channel_mixing(strategy, i, h, ratio, segments) for i in range(d))
        self.blocks = nn.Sequential(
            *(SplitMixerBlock(h, k, mixing, act, dealt) for mixing in mixings)
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
