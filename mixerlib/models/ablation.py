"""SplitMixer-I with one piece taken out, moved or replaced: the models of the ablation table.

>>> from mixerlib.models import create_model
>>> model = create_model("splitmixer_i_ablated", residual="none")  # row "– Residual in Eq. 3"

Borji & Lin, arXiv 2207.10255: ablations of SplitMixer-I-256/8, table 2 of their slides. With no
option set this is SplitMixer-I, tensor for tensor. `splitmixer.py` is the file to read beside the
paper; the few lines that are needed of it are repeated here.

Row of the table                    Option
– Residual in Eq. 3                 residual="none"
+ Residual in Eq. 4                 residual="both"
BatchNorm → LayerNorm               norm="layer"
GELU → ReLU                         activation="relu"
SplitMixer-I (Spatial only)         mixes="spatial"
SplitMixer-I (Channel only)         mixes="channels"
One segment with size α × h         segments_mixed="first"

The two rows that are left, without RandAugment and without gradient clipping, change the training
and not the model.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import Classifier, new_head

RESIDUALS = ("spatial", "none", "both", "channel")
NORMS = ("batch", "layer")
MIXES = ("both", "spatial", "channels")
SEGMENTS_MIXED = ("alternating", "first")
CHOICES = {"residual": RESIDUALS, "norm": NORMS, "mixes": MIXES, "segments_mixed": SEGMENTS_MIXED}


class OneSegment(nn.Module):
    """Mix `width` channels from `start` on, pass the others through. (B, h, H, W) → (B, h, H, W).

    m² + m parameters, m = `width`.
    """

    def __init__(self, start: int, width: int):
        super().__init__()
        self.start, self.stop = start, start + width
        self.mixer = nn.Conv2d(width, width, kernel_size=1)

    def extra_repr(self) -> str:
        return f"start={self.start}, width={self.stop - self.start}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self.mixer(x[:, self.start : self.stop])  # (B, width, H, W)
        return torch.cat((x[:, : self.start], mixed, x[:, self.stop :]), dim=1)


class AblatedBlock(nn.Module):
    """S, then M; each may be left out, and round each there may be a residual.

    S is 1×k depthwise → act → norm → k×1 depthwise → act → norm, M is `mixing` → act → norm. A
    residual is added after the last norm of its part, and nothing follows the sum: x ↦ x + S(x).
    (B, h, H, W) → (B, h, H, W).

    Args:
        dim: the width h.
        kernel_size: length k of the depthwise kernels.
        mixing: the channel mixing, a module that keeps (B, h, H, W).
        act: the class of the activation.
        new_norm: makes a norm of h channels.
        residual: as of `AblatedSplitMixer`.
        mixes: as of `AblatedSplitMixer`.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int,
        mixing: nn.Module,
        act: type[nn.Module],
        new_norm: Callable[[], nn.Module],
        residual: str,
        mixes: str,
    ):
        super().__init__()
        self.mixes_space, self.mixes_channels = mixes != "channels", mixes != "spatial"
        self.residual_in_space = residual in ("spatial", "both")
        self.residual_in_channels = residual in ("channel", "both")
        if self.mixes_space:
            self.spatial = nn.Sequential(
                nn.Conv2d(dim, dim, (1, kernel_size), groups=dim, padding="same"),
                act(),
                new_norm(),
                nn.Conv2d(dim, dim, (kernel_size, 1), groups=dim, padding="same"),
                act(),
                new_norm(),
            )
        if self.mixes_channels:
            self.mixing = mixing
            self.act = act()
            self.norm = new_norm()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mixes_space:
            y = self.spatial(x)
            x = x + y if self.residual_in_space else y
        if self.mixes_channels:
            y = self.norm(self.act(self.mixing(x)))
            x = x + y if self.residual_in_channels else y
        return x


class AblatedSplitMixer(Classifier):
    """SplitMixer-I-`dim`/`depth` of which a piece can be taken out, moved or replaced.

    Shapes: images (B, `in_channels`, H, W) → features (B, h, H/p, W/p) → logits (B, `num_classes`),
    in floating point. S and M are the two parts of a block as `AblatedBlock` writes them, and what
    we take the table's Eq. 3 and Eq. 4 to be.

    Args:
        dim: the width h, channels of every map.
        depth: how many blocks.
        residual: where a block with the input x adds an earlier map. "spatial", as published:
            z = x + S(x), then M(z). "none", the row "– Residual in Eq. 3": M(S(x)). "both", the row
            "+ Residual in Eq. 4", read to the letter: z = x + S(x), then z + M(z). "channel", for
            the sentence that moving the residual to after the channel mixing hurts: z = S(x), then
            z + M(z). The sentence could also mean x + M(S(x)); that is not here.
        norm: "batch" or "layer". "layer" puts `nn.LayerNorm((h, H/p, W/p))` in place of every
            BatchNorm, the stem's too, as lines do that are commented out in the authors' CIFAR
            notebook. Mean and variance are then those of one image's whole map, and each channel at
            each place has a gain and a shift of its own: 2hHW/p² parameters a norm, where BatchNorm
            has 2h. ConvNeXt's LayerNorm, over the channels of each place, would be another network.
        mixes: "both", "spatial" (the row "Spatial only": every block is S) or "channels" ("Channel
            only": every block is M, so nothing leaves its patch before the final mean). A part that
            is left out takes its residual with it. In the authors' notebook a function with
            "channel_only" in its name keeps the spatial mixing, as a k×k convolution. That is not
            what the slides describe.
        segments_mixed: "alternating", as published, or "first", the row "One segment": every block
            mixes the first m = ⌊αh⌋ channels, and the other h − m meet them in the head alone. The
            slides can also be read as a narrower network. That one is splitmixer_i with `dim` m and
            `ratio` 1, and with BatchNorm its features are the first m of this one's.
        ratio: α in (1/2, 1], as in `SplitMixer`.
        image_size: a number or (H, W), the one size that a model with `norm` "layer" serves. With
            "batch" it is not looked at.
        kernel_size: length k of the depthwise kernels; it may be even, as in ConvMixer.
        patch_size: side p of the patches; it must divide the images' sides.
        num_classes: how many logits; with 0 there is no head, and the features' mean (B, h) comes
            out.
        in_channels: of the images.
        activation: "gelu" or "relu".

    Args:
        dim: the width h, channels of every map.
        depth: how many blocks.
        residual: "spatial", "none", "both" or "channel".
        norm: "batch" or "layer".
        mixes: "both", "spatial" or "channels".
        segments_mixed: "alternating" or "first".
        ratio: α in (1/2, 1], exact.
        image_size: one number or (H, W), in pixels; looked at with `norm` "layer".
        kernel_size: length k of the depthwise kernels.
        patch_size: side p of the patches; it must divide the images' sides.
        num_classes: how many logits; with 0 the features' mean (B, h) comes out.
        in_channels: of the images.
        activation: "gelu" or "relu".

    Raises `ValueError` for an option that breaks its rule, and for images whose sides `patch_size`
    does not divide or that `norm` "layer" was not made for.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        *,
        residual: str = "spatial",
        norm: str = "batch",
        mixes: str = "both",
        segments_mixed: str = "alternating",
        ratio: str | float | Fraction = "2/3",
        image_size: int | tuple[int, int] = 32,
        kernel_size: int = 5,
        patch_size: int = 2,
        num_classes: int = 10,
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
        alpha = checks.ratio(ratio)
        m = alpha.numerator * h // alpha.denominator
        if m < 1:
            raise ValueError(f"`ratio`={ratio!r} of `dim`={h} must leave at least one channel")
        self.residual = checks.one_of("residual", residual, RESIDUALS)
        self.norm = checks.one_of("norm", norm, NORMS)
        self.mixes = checks.one_of("mixes", mixes, MIXES)
        self.segments_mixed = checks.one_of("segments_mixed", segments_mixed, SEGMENTS_MIXED)
        self.in_channels, self.patch_size = in_channels, p
        self.num_features, self.num_classes = h, checks.count("num_classes", num_classes)
        size = checks.image_pair("image_size", image_size)
        self.image_size = size if norm == "layer" else None
        if norm == "layer":
            new_norm = partial(nn.LayerNorm, (h, *checks.patches(*size, p)))
        else:
            new_norm = partial(nn.BatchNorm2d, h)

        self.stem = nn.Sequential(nn.Conv2d(in_channels, h, p, stride=p), act(), new_norm())
        first = [segments_mixed == "first" or i % 2 == 0 for i in range(d)]
        mixings = (OneSegment(start=0 if left else h - m, width=m) for left in first)
        self.blocks = nn.Sequential(
            *(AblatedBlock(h, k, mixing, act, new_norm, residual, mixes) for mixing in mixings)
        )
        self.head = new_head(h, self.num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → features before pooling (B, h, H/p, W/p)."""
        checks.images(x, self.in_channels, self.patch_size)
        if self.image_size is not None:
            checks.sides(x, self.image_size, "`norm`='layer' has a gain for every place")
        return self.blocks(self.stem(x))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features (B, h, H/p, W/p) → logits (B, num_classes); `pre_logits`: their mean (B, h)."""
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))
