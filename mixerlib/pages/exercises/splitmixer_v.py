"""The exercises of chapter 10."""

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

from mixerlib.models import BothOverlapping, StridedSegments, channel_shuffle, overlap_width
from mixerlib.pages.exercises.drawing import draw_matrices
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called


@exercise("five-1")
def where_v_stops_paying() -> Numbers:
    h = 384
    m = overlap_width(h, "4/7")
    overlap = 2 * m - h
    loses = next(width for width in range(h // 2, h) if 2 * (width**2 + width) > h**2 + h)
    return Numbers(
        {"weights": 2 * m * m, "wasted": overlap**2, "loses from": loses},
        [
            Mistake("Two mixings stand in each block.", {"weights": m * m}),
            Mistake("Weights are asked, without the biases.", {"weights": 2 * (m * m + m)}),
            Mistake("The width is rounded down.", {"weights": 2 * (m + 1) ** 2}),
            Mistake("That is the overlap; a matrix of its size is wasted.", {"wasted": overlap}),
            Mistake("They are wasted once, and not in each mixing.", {"wasted": 2 * overlap**2}),
            Mistake("That is the last m that still saves.", {"loses from": loses - 1}),
        ],
    )


@exercise("five-2")
def undo_it() -> Function:
    def solved(F: torch.Tensor, G: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        identity = torch.eye(len(F), dtype=F.dtype)
        return torch.linalg.solve(G, identity), torch.linalg.solve(F, identity)

    def cases(draw: random.Random) -> Iterator[tuple]:
        generator = torch.Generator().manual_seed(draw.randrange(100))
        for m in (2, 4, 6):
            noise = torch.randn(2, m, m, generator=generator, dtype=torch.float64)
            yield tuple(noise + 3 * torch.eye(m, dtype=torch.float64))

    inv = torch.linalg.inv
    return Function(
        "Return two matrices: that of the last m channels, which acts first, and that of the "
        "first m.",
        solved,
        cases,
        [
            Mistake(
                "These are the inverses in the old order: what was done last is undone first.",
                lambda F, G: (inv(F), inv(G)),
            ),
            Mistake("The order is right, but nothing is inverted.", lambda F, G: (G, F)),
            Mistake(
                "A transpose undoes a rotation only; invert.",
                lambda F, G: (G.T.clone(), F.T.clone()),
            ),
        ],
    )


@exercise("five-3")
def an_activation_between() -> Numbers:
    h = 9
    w = 2 * overlap_width(h, "2/3") - h
    params = 2 * (overlap_width(h, "2/3") ** 2 + overlap_width(h, "2/3"))
    return Numbers(
        {"wasted": w * w + w, "wasted with GELU": 0},
        [
            Mistake(
                "Those are the weights. A bias can be moved to the other mixing too.",
                {"wasted": w * w},
            ),
            Mistake("That is the overlap; a map of its channels is wasted.", {"wasted": w}),
            Mistake("That is how many parameters count.", {"wasted": params - w * w - w}),
            Mistake(
                "A GELU lets no matrix pass: nothing can be moved through it.",
                {"wasted with GELU": w * w + w},
            ),
            Mistake(
                "Nor can a bias be moved through a GELU, or a factor.", {"wasted with GELU": w}
            ),
        ],
    )


@exercise("five-4")
def seats_in_binary() -> Function:
    def seat(channel: int, block: int) -> int:
        """Where the library's shuffle has put the channel."""
        x = torch.arange(8).reshape(1, 8, 1, 1)
        for _ in range(block):
            x = channel_shuffle(x, 2)
        return int((x.flatten() == channel).nonzero())

    return Function(
        "Return the seat, from 0 to 7, on which a channel of the stem sits in a block.",
        seat,
        lambda draw: ((channel, block) for block in range(4) for channel in range(8)),
        [
            Mistake(
                "The digits turn the other way: the first one becomes the last.",
                lambda channel, block: seat(channel, 2 * block),
            ),
            Mistake("Before each block the channels are dealt out anew.", lambda c, block: c),
            Mistake(
                "That is one shuffle too many: block 0 has the seats of the stem.",
                lambda channel, block: seat(channel, block + 1),
            ),
            Mistake(
                "The digits are turned round, and not read backwards.",
                lambda channel, block: int(f"{channel:03b}"[::-1], 2) if block % 2 else channel,
            ),
            Mistake(
                "Modulo 8 the last seat is lost: 7 stays where it is.",
                lambda channel, block: channel * 2**block % 8,
            ),
        ],
    )


class _Deeper(nn.Module):
    """A kernel of some channels that stops twice; each stop has so many maps of its own."""

    def __init__(self, kernel: int, stride: int, maps: int, apart: bool = False):
        super().__init__()
        self.starts, self.kernel = (0, stride), kernel
        self.stops = nn.ModuleList(nn.Conv2d(kernel, maps, 1) for _ in range(1 + apart))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ends = zip(self.starts, (0, -1), strict=True)
        parts = [self.stops[i](x[:, a : a + self.kernel]) for a, i in ends]
        return torch.stack(parts, dim=2).flatten(1, 2)


DEAR = "Over the budget: both stops share their weights, and a stop need not make h maps."
SHORT = "Each channel that comes out must hear m channels: the kernel is deeper than its stride."
ONCE = "Some channels are never heard: the kernel must stop at both ends."
MODULE = "Return a module that takes and returns (B, h, H, W)."


def _overlaps(answer: Any) -> Iterator[Row | tuple[str, str]]:
    """The rows of a mixing by a deep kernel: its parameters, what it hears in one block, in two."""
    for h, m in ((12, 8), (24, 16), (20, 13)):
        torch.manual_seed(0)
        layer = called(answer, h, m)
        if not isinstance(layer, nn.Module):
            raise Refused(MODULE)
        layer, label = layer.double().eval(), f"h = {h}, m = {m}"
        x = torch.randn(2, h, 2, 3, dtype=torch.float64)
        made = called(layer, x)
        if not isinstance(made, torch.Tensor) or made.shape != x.shape:
            raise Refused(MODULE)
        hears = _hears(layer, x[0, :, 0, 0])
        after_two = hears.astype(int) @ hears.astype(int) > 0
        if h == 12:
            yield draw_matrices([("a block", hears), ("heard after 2 blocks", after_two)])
        both = StridedSegments(h, 2), BothOverlapping(h, Fraction(m, h))
        params, plain, five = map(_size, (layer, *both))
        expected = f"≤ {five // 2}, half of V's; the 3-D form {plain}"
        yield Row(f"{label}: parameters", f"{params}", expected, 2 * params <= five, DEAR)
        fewest, most = (int(count(hears.sum(axis=1))) for count in (np.min, np.max))
        found = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        yield Row(f"{label}: channels heard", found, f"{m}", fewest == most == m, SHORT)
        share = float(after_two.mean())
        yield Row(f"{label}: pairs after 2 blocks", f"{share:.0%}", "100%", share == 1, ONCE)


def _hears(layer: nn.Module, u: torch.Tensor) -> np.ndarray:
    matrix = torch.func.jacrev(lambda v: layer(v[None, :, None, None]).flatten())(u)
    return (matrix != 0).numpy()


def _size(layer: nn.Module) -> int:
    return sum(weights.numel() for weights in layer.parameters())


@exercise("five-5")
def a_kernel_longer_than_its_stride() -> Properties:
    return Properties(
        "Return a module for h channels whose kernel is m channels deep.",
        _overlaps,
        lambda: lambda h, m: _Deeper(m, h - m, h // 2),
        [
            Mistake(DEAR, lambda h, m: _Deeper(m, h - m, h // 2, apart=True)),
            Mistake(SHORT, lambda h, m: StridedSegments(h, 2)),
            Mistake(ONCE, lambda h, m: _Deeper(m, 0, h // 2)),
        ],
    )
