"""One operation of a network, as `tracing` tells it and `networks` draws it."""

from dataclasses import dataclass
from itertools import pairwise

Segments = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Step:
    """One operation of a network.

    Args:
        path: the module that it is written in, such as "blocks.0.spatial.0"; "" for the network's
            own forward.
        kind: "space" (each channel by itself, across places), "channels" (across channels, each
            place by itself), "both", "act", "norm" (what normalises, or scales and shifts), "sum",
            "product", "shuffle", "shift" (channels move along the rows or columns), "split",
            "mean" or "other".
        label: what it is, in words.
        before: the shape of what goes in, for one image.
        shape: that of the result.
        entering: how many channels go in.
        leaving: how many come out.
        params: trainable parameters of its own. What is shared is counted where it is used first.
        mixed: the segments (start, width) of the channels that go in which a step of the kinds
            "channels" and "both" mixes; the others pass through.
        shared: whether all segments are mixed by the same weights.
        segments: of a shuffle: how many equal ones it deals out in turn; 1 for the other kinds.
        added: for a sum, the place among the steps whose result the later one is added to; -1 is
            the network's input. None for the other kinds.
        sources: the places among the steps whose results it takes; -1 is the network's input.
        cells: of a split, the parts of the channels (width, what it is called).
        groups: of a shift, the groups of channels (width, by how many places they move).
    """

    path: str
    kind: str
    label: str
    before: tuple[int, ...]
    shape: tuple[int, ...]
    entering: int
    leaving: int
    params: int
    mixed: Segments = ()
    shared: bool = False
    segments: int = 1
    added: int | None = None
    sources: tuple[int, ...] = ()
    cells: tuple[tuple[int, str], ...] = ()
    groups: tuple[tuple[int, int], ...] = ()


def overlapping(mixed: Segments) -> bool:
    """Whether segments that follow one another have channels in common."""
    return any(a + width > b for (a, width), (b, _) in pairwise(mixed))


def pieces(start: int, width: int, channels: int) -> list[tuple[int, int]]:
    """A segment as the parts (start, width) of the strip of channels that it covers: one, or two
    where it goes on at channel 0."""
    over = max(0, start + width - channels)
    return [(start, width - over), (0, over)][: 1 + (over > 0)]
