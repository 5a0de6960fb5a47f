"""The exercises of chapter 10."""

import random
from collections.abc import Iterator

import torch
from torch import nn

from mixerlib.models import channel_shuffle, overlap_width
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers


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


@exercise("five-5")
def a_kernel_longer_than_its_stride() -> Function:
    def measured(h: int, m: int) -> int:
        with torch.device("meta"):
            layer = nn.Conv3d(1, h // 2, (m, 1, 1), stride=(h - m, 1, 1))
            stops = layer(torch.empty(1, 1, h, 1, 1)).shape[2]
        assert stops == 2
        return sum(weights.numel() for weights in layer.parameters())

    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(8):
            half = draw.randint(3, 40)
            yield 2 * half, draw.randint(half, 2 * half - 1)

    return Function(
        "Give the parameters of the mixing, biases included: a formula of h and m.",
        measured,
        cases,
        [
            Mistake("The biases are missing: one for each output map.", lambda h, m: m * h // 2),
            Mistake(
                "That is h maps. Two stops give two channels for each map.",
                lambda h, m: m * h + h,
            ),
            Mistake("A bias belongs to a map, and not to a channel.", lambda h, m: m * h // 2 + h),
            Mistake(
                "That is strategy V, with a full matrix at each stop.", lambda h, m: 2 * (m * m + m)
            ),
            Mistake(
                "That is the 3-D form, whose kernel is as deep as its stride.",
                lambda h, m: (h // 2) ** 2 + h // 2,
            ),
        ],
        symbols=("h", "m"),
    )
