"""SplitMixer: ConvMixer with the k×k kernel split into 1×k and k×1, and the channels into segments.

Borji & Lin, "SplitMixer: Fat Trimmed From MLP-like Models", arXiv 2207.10255. Chapters 05 to 10
derive each part. Block i counts from 0; h is `dim`. A channel mixing takes and returns
(B, h, H, W), and its `mixed` lists the segments that it mixes as (start, width), in order.
"""

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib import checks

STRATEGIES = ("I", "II", "III", "IV", "V", "3D")
OVERLAPPING = ("I", "V")  # these take `ratio`; the others take `segments`
SHUFFLING = ("II", "III", "IV")  # these can shuffle; the 3-D form always does


def overlap_width(dim: int, ratio: str | float | Fraction) -> int:
    """m = ⌊αh⌋, the width of each of two overlapping segments.

    The arithmetic is exact. With floats, `int(dim * ratio)` is one too small for some h and α.
    Raises `ValueError` for a ratio outside (1/2, 1], or one that leaves no channel.
    """
    exact = checks.ratio(ratio)
    m = exact.numerator * dim // exact.denominator
    if m < 1:
        raise ValueError(f"`ratio`={ratio!r} of `dim`={dim} must leave at least one channel")
    return m


def segment_widths(dim: int, segments: int) -> list[int]:
    """Widths of s disjoint segments: ⌊h/s⌋ each, and the last one takes the remainder as well.

    Raises `ValueError` when there are more segments than channels.
    """
    s = checks.positive_int("segments", segments)
    if s > dim:
        raise ValueError(
            f"`segments`={s} must be at most `dim`={dim}: every segment needs a channel"
        )
    c = dim // s
    return [c] * (s - 1) + [dim - c * (s - 1)]


def equal_width(dim: int, segments: int, strategy: str) -> int:
    """c = h/s where all segments must be equal. Raises `ValueError` when s does not divide h."""
    s = checks.positive_int("segments", segments)
    if dim % s:
        raise ValueError(f"`segments`={s} must divide `dim`={dim} for strategy {strategy}")
    return dim // s


def channel_shuffle(x: torch.Tensor, segments: int) -> torch.Tensor:
    """The channels of s equal segments dealt out in turn: channel j·c + o goes to o·s + j.

    (B, h, H, W) → (B, h, H, W): the channels seen as (s, c) and transposed to (c, s). One copy, no
    parameters.
    """
    b, h, height, width = x.shape
    x = x.reshape(b, segments, h // segments, height, width)
    return x.transpose(1, 2).reshape(b, h, height, width)


class OneSegment(nn.Module):
    """Strategies I and II: mix `width` channels from `start` on, pass the others through.

    I, block i: m = ⌊αh⌋ channels, the first m when i is even, the last m when it is odd.
    m² + m parameters.

    II, block i: segment i mod s of s disjoint ones. c² + c parameters of that segment's width c.
    With s > d some segments are never mixed.

    Equal form of both: one h×h 1×1 convolution whose matrix is the identity outside the segment's
    square. It costs h² multiplications a place instead of m².

    With `inplace` the segment of `x` is overwritten and `x` returned, so the passed channels are
    not copied. Autograd forbids that (the weight's gradient needs the old segment), hence the copy
    of the others by `cat` in training.
    """

    def __init__(self, start: int, width: int):
        super().__init__()
        self.start, self.stop = start, start + width
        self.mixed = [(start, width)]
        self.mixer = nn.Conv2d(width, width, kernel_size=1)

    def extra_repr(self) -> str:
        return f"start={self.start}, width={self.stop - self.start}"

    def forward(self, x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        mixed = self.mixer(x[:, self.start : self.stop])  # (B, width, H, W)
        if inplace:
            x[:, self.start : self.stop] = mixed
            return x
        parts = (x[:, : self.start], mixed, x[:, self.stop :])
        return torch.cat([part for part in parts if part.shape[1]], dim=1)


class SharedSegments(nn.Module):
    """Strategy III: s equal segments, all mixed by one and the same 1×1 convolution.

    c² + c parameters, c = h/s. Written as one convolution over a reshaped tensor: the s segments of
    an image lie one after the other in memory, so (B, s·c, H, W) is read as (B·s, c, H, W) without
    a copy. Equal form, as the paper draws it: split, convolve each segment with the shared weights,
    concatenate; that copies every channel once more.
    """

    def __init__(self, dim: int, segments: int):
        super().__init__()
        self.width = equal_width(dim, segments, "III")
        self.mixed = [(start, self.width) for start in range(0, dim, self.width)]
        self.mixer = nn.Conv2d(self.width, self.width, kernel_size=1)

    def extra_repr(self) -> str:
        return f"segments={len(self.mixed)}, width={self.width}"

    def forward(self, x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        b, h, height, width = x.shape
        x = x.reshape(-1, self.width, height, width)  # (B, s·c, H, W) → (B·s, c, H, W)
        return self.mixer(x).reshape(b, h, height, width)


class SeparateSegments(nn.Module):
    """Strategy IV: s segments, all mixed, each by a 1×1 convolution of its own.

    Σ (c² + c) parameters over the segments' widths c.

    When s divides h this equals a grouped 1×1 convolution with s groups, and is computed as one:
    nothing is split or concatenated. Otherwise the last segment is wider, which no grouped
    convolution can express, and the segments are convolved one by one.
    """

    def __init__(self, dim: int, segments: int):
        super().__init__()
        self.widths = segment_widths(dim, segments)
        self.mixed = [(sum(self.widths[:j]), c) for j, c in enumerate(self.widths)]
        self.mixer = nn.ModuleList(nn.Conv2d(c, c, kernel_size=1) for c in self.widths)

    def extra_repr(self) -> str:
        return f"widths={self.widths}"

    def forward(self, x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        if len(set(self.widths)) == 1:
            weight = torch.cat([conv.weight for conv in self.mixer])  # (h, c, 1, 1)
            bias = torch.cat([conv.bias for conv in self.mixer])  # (h,)
            return F.conv2d(x, weight, bias, groups=len(self.widths))
        parts = x.split(self.widths, dim=1)
        return torch.cat([conv(part) for conv, part in zip(self.mixer, parts, strict=True)], dim=1)


class BothOverlapping(nn.Module):
    """Strategy V: two overlapping segments, both mixed in each block, one after the other.

    It is in the authors' code, not in the paper's tables. The first m channels are mixed, then the
    last m of the result, with no activation between: the 2m − h channels of the overlap are mixed
    twice. 2(m² + m) parameters.

    Equal form: `OneSegment(0, m)` and then `OneSegment(h − m, m)`, which copies the channels
    outside the overlap once more than this one.
    """

    def __init__(self, dim: int, ratio: str | float | Fraction):
        super().__init__()
        self.width = m = overlap_width(dim, ratio)
        self.mixed = [(0, m), (dim - m, m)]
        self.mixer1 = nn.Conv2d(m, m, kernel_size=1)
        self.mixer2 = nn.Conv2d(m, m, kernel_size=1)

    def extra_repr(self) -> str:
        return f"starts={[start for start, _ in self.mixed]}, width={self.width}"

    def forward(self, x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        first = self.mixer1(x[:, : self.width])  # (B, m, H, W)
        start = x.shape[1] - self.width  # where the second segment begins
        if start > self.width:  # only when rounding m down has left channels between the two
            return torch.cat((first, x[:, self.width : start], self.mixer2(x[:, start:])), dim=1)
        second = self.mixer2(torch.cat((first[:, start:], x[:, self.width :]), dim=1))
        return torch.cat((first[:, :start], second), dim=1)


class StridedSegments(nn.Module):
    """The 3-D form: a convolution of depth c and stride c over the channels as a third dimension.

    With c = h/s output maps it visits the s segments in turn and puts map o of segment j at channel
    o·s + j. So it equals strategy III followed by a channel shuffle, and is computed as that.
    c² + c parameters.

    Equal form, as its authors write it: `nn.Conv3d(1, c, (c, 1, 1), stride=(c, 1, 1))`, whose
    backward pass is slower on a CPU.
    """

    def __init__(self, dim: int, segments: int):
        super().__init__()
        self.segments, self.width = segments, equal_width(dim, segments, "3D")
        self.mixed = [(start, self.width) for start in range(0, dim, self.width)]
        self.mixer = nn.Conv2d(self.width, self.width, kernel_size=1)

    def extra_repr(self) -> str:
        return f"segments={self.segments}, width={self.width}"

    def forward(self, x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        b, h, height, width = x.shape
        x = self.mixer(x.reshape(-1, self.width, height, width))  # (B, s·c, H, W) → (B·s, c, H, W)
        return channel_shuffle(x.reshape(b, h, height, width), self.segments)


def channel_mixing(
    strategy: str, block: int, dim: int, ratio: str | float | Fraction | None, segments: int | None
) -> nn.Module:
    """The channel mixing of block `block` (from 0) of a SplitMixer. (B, h, H, W) → (B, h, H, W)."""
    if strategy == "I":
        m = overlap_width(dim, ratio)
        return OneSegment(start=0 if block % 2 == 0 else dim - m, width=m)
    if strategy == "II":
        widths = segment_widths(dim, segments)
        turn = block % len(widths)
        return OneSegment(start=sum(widths[:turn]), width=widths[turn])
    if strategy == "III":
        return SharedSegments(dim, segments)
    if strategy == "IV":
        return SeparateSegments(dim, segments)
    if strategy == "V":
        return BothOverlapping(dim, ratio)
    return StridedSegments(dim, segments)


class SplitMixerBlock(nn.Module):
    """Residual[1×k depthwise → act → BN → k×1 depthwise → act → BN], then channel mixing → act → BN
    over all channels.

    One residual goes round both spatial convolutions. (B, h, H, W) → (B, h, H, W). With
    `shuffle` s the channels of s equal segments are dealt out in turn right after the mixing.
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
        # the sum is this block's own, so the mixing may overwrite it where no gradient needs it
        x = self.mixing(x, inplace=not torch.is_grad_enabled())
        if self.shuffle > 1:
            x = channel_shuffle(x, self.shuffle)
        return self.norm(self.act(x))


class SplitMixer(nn.Module):
    """SplitMixer-`dim`/`depth` with strategy "I", "II", "III", "IV", "V" or "3D".

    Shapes: images (B, `in_channels`, H, W) → features (B, h, H/p, W/p) → logits (B, `num_classes`),
    in floating point. I and V take `ratio` α in (1/2, 1], exact (default 2/3), the others
    `segments` s (default 2), which must divide `dim` for III and 3D. II, III and IV can `shuffle`
    the channels after each mixing, so that segments meet; s must then divide `dim`. That is not in
    the paper; chapter 11 shows what it does, and where II gains little. `kernel_size` may be even,
    as in ConvMixer.

    Raises `ValueError` for an option that breaks its rule or that the strategy does not have, and
    for images whose sides `patch_size` does not divide.
    """

    def __init__(
        self,
        strategy: str,
        dim: int,
        depth: int,
        *,
        ratio: str | float | Fraction | None = None,
        segments: int | None = None,
        shuffle: bool = False,
        kernel_size: int = 5,
        patch_size: int = 2,
        num_classes: int = 10,
        in_channels: int = 3,
        activation: str = "gelu",
    ):
        super().__init__()
        checks.one_of("strategy", strategy, STRATEGIES)
        h, d = checks.positive_int("dim", dim), checks.positive_int("depth", depth)
        k, p = (
            checks.positive_int("kernel_size", kernel_size),
            checks.positive_int("patch_size", patch_size),
        )
        checks.positive_int("in_channels", in_channels)
        checks.positive_int("num_classes", num_classes)
        act = checks.activation(activation)
        if strategy in OVERLAPPING:
            if segments is not None:
                raise ValueError(
                    f"`segments`={segments!r} is not an option of strategy {strategy}, "
                    "whose two segments overlap: set `ratio`"
                )
            ratio = "2/3" if ratio is None else ratio
        else:
            if ratio is not None:
                raise ValueError(
                    f"`ratio`={ratio!r} is not an option of strategy {strategy}, "
                    "whose segments are disjoint: set `segments`"
                )
            segments = 2 if segments is None else segments

        checks.switch("shuffle", shuffle)
        if shuffle and strategy not in SHUFFLING:
            raise ValueError(f"`shuffle`=True is not an option of strategy {strategy}")
        if shuffle:
            equal_width(h, segments, f"{strategy} with `shuffle`")

        self.strategy, self.shuffle = strategy, shuffle
        self.in_channels, self.patch_size = in_channels, p
        self.stem = nn.Sequential(nn.Conv2d(in_channels, h, p, stride=p), act(), nn.BatchNorm2d(h))
        mixings = (channel_mixing(strategy, i, h, ratio, segments) for i in range(d))
        self.blocks = nn.Sequential(
            *(SplitMixerBlock(h, k, mixing, act, segments if shuffle else 1) for mixing in mixings)
        )
        self.head = nn.Linear(h, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → features before pooling (B, h, H/p, W/p)."""
        checks.images(x, self.in_channels, self.patch_size)
        return self.blocks(self.stem(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes)."""
        x = self.forward_features(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))  # the mean over all places: (B, h)
