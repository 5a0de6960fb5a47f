"""The six channel mixings of SplitMixer: strategies I to V, and the 3-D form.

Borji & Lin, "SplitMixer: Fat Trimmed From MLP-like Models", arXiv 2207.10255. Chapters 06 to 10
derive each. Block i counts from 0; h is `dim`. A channel mixing takes and returns (B, h, H, W), and
its `mixed` lists the segments that it mixes as (start, width), in order; one that passes the last
channel goes on at channel 0, as none of the six does. None writes into its input.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.plugins import import_mixings

Ratio = str | float | Fraction
STRATEGIES = ("I", "II", "III", "IV", "V", "3D")  # the strategies of SplitMixer's authors
OVERLAPPING = ("I", "V")  # the strategies that take `ratio`; the others take `segments`
SHUFFLING = ("II", "III", "IV")  # the strategies that can shuffle; the 3-D form always does


def overlap_width(dim: int, ratio: Ratio | None) -> int:
    """m = ⌊αh⌋, the width of each of two overlapping segments.

    The arithmetic is exact. With floats, `int(dim * ratio)` is one too small for some h and α.
    Raises `ValueError` for a ratio outside (1/2, 1], or one that leaves no channel.
    """
    exact = checks.ratio(ratio)
    m = exact.numerator * dim // exact.denominator
    if m < 1:
        raise ValueError(f"`ratio`={ratio!r} of `dim`={dim} must leave at least one channel")
    return m


def segment_widths(dim: int, segments: int | None) -> list[int]:
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


def equal_width(dim: int, segments: int | None, strategy: str) -> int:
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
    return x.unflatten(1, (segments, -1)).transpose(1, 2).flatten(1, 2)


class OneSegment(nn.Module):
    """Strategies I and II: mix `width` channels from `start` on, pass the others through.

    I, block i: m = ⌊αh⌋ channels, the first m when i is even, the last m when it is odd.
    m² + m parameters.

    II, block i: segment i mod s of s disjoint ones. c² + c parameters of that segment's width c.
    With s > d some segments are never mixed.

    Equal form of both: one h×h 1×1 convolution whose matrix is the identity outside the segment's
    square. It costs h² multiplications a place instead of m².

    The passed channels are copied, by `cat`. Without autograd the segment could be written over
    itself instead; the fast form of `mixerlib.speed.inference` does that.
    """

    def __init__(self, dim: int, start: int, width: int):
        super().__init__()
        self.start, self.stop = start, start + width
        self.mixed = [(start, width)]
        self.widths = [c for c in (start, width, dim - start - width) if c > 0]
        self.place = 1 if start > 0 else 0  # of the mixed one among the parts of these widths
        self.mixer = nn.Conv2d(width, width, kernel_size=1)

    def extra_repr(self) -> str:
        return f"start={self.start}, width={self.stop - self.start}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.split(self.widths, dim=1)
        mixed = [
            self.mixer(parts[j]) if j == self.place else parts[j] for j in range(len(self.widths))
        ]
        return torch.cat(mixed, dim=1)


class SharedSegments(nn.Module):
    """Strategy III: s equal segments, all mixed by one and the same 1×1 convolution.

    c² + c parameters, c = h/s. Written as one convolution over a reshaped tensor: the s segments of
    an image lie one after the other in memory, so (B, s·c, H, W) is read as (B·s, c, H, W) without
    a copy. Equal form, as the paper draws it: split, convolve each segment with the shared weights,
    concatenate; that copies every channel once more.
    """

    def __init__(self, dim: int, segments: int | None):
        super().__init__()
        self.width = equal_width(dim, segments, "III")
        self.mixed = [(start, self.width) for start in range(0, dim, self.width)]
        self.mixer = nn.Conv2d(self.width, self.width, kernel_size=1)

    def extra_repr(self) -> str:
        return f"segments={len(self.mixed)}, width={self.width}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, h, height, width = x.shape
        x = x.reshape(-1, self.width, height, width)  # (B, s·c, H, W) → (B·s, c, H, W)
        return self.mixer(x).reshape(b, h, height, width)


class SeparateSegments(nn.Module):
    """Strategy IV: s segments, all mixed, each by a 1×1 convolution of its own.

    Σ (c² + c) parameters over the segments' widths c.

    When s divides h this equals a grouped 1×1 convolution with s groups. The segments are convolved
    one by one all the same, as ragged ones must be: tools that look at modules then count what is
    called. Chapter 09 times both.
    """

    def __init__(self, dim: int, segments: int | None):
        super().__init__()
        self.widths = segment_widths(dim, segments)
        self.mixed = [(sum(self.widths[:j]), c) for j, c in enumerate(self.widths)]
        self.mixer = nn.ModuleList(nn.Conv2d(c, c, kernel_size=1) for c in self.widths)

    def extra_repr(self) -> str:
        return f"widths={self.widths}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.split(self.widths, dim=1)
        return torch.cat([conv(parts[j]) for j, conv in enumerate(self.mixer)], dim=1)


class BothOverlapping(nn.Module):
    """Strategy V: two overlapping segments, both mixed in each block, one after the other.

    It is in the authors' code, not in the paper's tables. The first m channels are mixed, then the
    last m of the result, with no activation between: the 2m − h channels of the overlap are mixed
    twice. 2(m² + m) parameters.

    Equal form: `OneSegment(h, 0, m)` and then `OneSegment(h, h − m, m)`, which copies the channels
    outside the overlap once more than this one.
    """

    def __init__(self, dim: int, ratio: Ratio | None):
        super().__init__()
        self.width = m = overlap_width(dim, ratio)
        self.start = dim - m
        self.mixed = [(0, m), (self.start, m)]
        self.mixer1 = nn.Conv2d(m, m, kernel_size=1)
        self.mixer2 = nn.Conv2d(m, m, kernel_size=1)

    def extra_repr(self) -> str:
        return f"starts={[0, self.start]}, width={self.width}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = self.start  # of the second segment
        first = self.mixer1(x[:, : self.width])  # (B, m, H, W)
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

    def __init__(self, dim: int, segments: int | None):
        super().__init__()
        self.width = equal_width(dim, segments, "3D")
        self.segments = dim // self.width
        self.mixed = [(start, self.width) for start in range(0, dim, self.width)]
        self.mixer = nn.Conv2d(self.width, self.width, kernel_size=1)

    def extra_repr(self) -> str:
        return f"segments={self.segments}, width={self.width}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, h, height, width = x.shape
        x = self.mixer(x.reshape(-1, self.width, height, width))  # (B, s·c, H, W) → (B·s, c, H, W)
        return channel_shuffle(x.reshape(b, h, height, width), self.segments)


@dataclass(frozen=True)
class Strategy:
    """How a SplitMixer mixes its channels: what `register_mixing` takes, and `strategy` names.

    Args:
        build: the mixing of one block, of the block's number, the width h, and the value of the
            option.
        option: which one it has: "ratio" (α) or "segments" (s).
        shuffles: whether SplitMixer's `shuffle` may come after it.
    """

    build: Callable[[int, int, Any], nn.Module]
    option: str
    shuffles: bool = False


def _first_or_last(block: int, dim: int, ratio: Ratio | None) -> nn.Module:
    m = overlap_width(dim, ratio)
    return OneSegment(dim, start=0 if block % 2 == 0 else dim - m, width=m)


def _in_turn(block: int, dim: int, segments: int | None) -> nn.Module:
    widths = segment_widths(dim, segments)
    turn = block % len(widths)
    return OneSegment(dim, start=sum(widths[:turn]), width=widths[turn])


# Every strategy that a SplitMixer can be made with; `register_mixing` adds to them.
strategies: dict[str, Strategy] = {
    "I": Strategy(_first_or_last, "ratio"),
    "II": Strategy(_in_turn, "segments", shuffles=True),
    "III": Strategy(lambda block, dim, s: SharedSegments(dim, s), "segments", shuffles=True),
    "IV": Strategy(lambda block, dim, s: SeparateSegments(dim, s), "segments", shuffles=True),
    "V": Strategy(lambda block, dim, ratio: BothOverlapping(dim, ratio), "ratio"),
    "3D": Strategy(lambda block, dim, s: StridedSegments(dim, s), "segments"),
}


def strategy_named(name: str) -> Strategy:
    """The strategy of a name; `ValueError` for one that nobody has registered."""
    if isinstance(name, str) and name not in strategies:
        import_mixings()
    return strategies[checks.one_of("strategy", name, tuple(strategies))]


def channel_mixing(
    strategy: str, block: int, dim: int, ratio: Ratio | None, segments: int | None
) -> nn.Module:
    """The channel mixing of one block of a SplitMixer. (B, h, H, W) → (B, h, H, W).

    Args:
        strategy: one of `STRATEGIES`, or a registered one.
        block: which block, from 0.
        dim: the width h.
        ratio: α, of strategies I and V.
        segments: s, of the others.

    Raises `ValueError` for a value that breaks its rule, or a missing one that is needed.
    """
    chosen = strategy_named(strategy)
    return chosen.build(block, dim, ratio if chosen.option == "ratio" else segments)
