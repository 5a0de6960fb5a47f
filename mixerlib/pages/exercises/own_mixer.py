"""The exercises of chapter 26."""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from operator import index
from typing import Any

import numpy as np
import torch
from torch import nn

from mixerlib.costs import measured_directions, mixing_steps, reach
from mixerlib.models import BothOverlapping, OneSegment, check_mixing, create_model, overlap_width
from mixerlib.models.custom_mixings import on_trial
from mixerlib.pages.exercises.drawing import draw_matrices, who_hears
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called
from mixerlib.pages.exercises.spans import directions

Segments = Sequence[Sequence[int]]  # the channels that each block mixes


def turned(channels: int, width: int, block: int) -> list[int]:
    """The channels that a block of the carousel mixes."""
    return [(block % 3 * channels // 3 + place) % channels for place in range(width)]


def handed_on(segments: Segments, block: int) -> list[int]:
    """How many channels of a block are mixed next in the block after it, in the one after that …"""
    later = [
        next((j for j in range(block + 1, len(segments)) if channel in segments[j]), None)
        for channel in segments[block]
    ]
    return [later.count(j) for j in range(block + 1, len(segments))]


@exercise("own-1")
def what_a_block_hands_on() -> Numbers:
    h, m = 12, 7
    ours = handed_on([turned(h, m, i) for i in range(4)], 0)
    first, last = [*range(m)], [*range(h - m, h)]
    theirs = handed_on([first, last, first], 0)
    lost = sum(count**2 for count in ours)
    values = dict(zip(("next", "second", "third"), ours, strict=True))
    values |= {"lost": lost, "lost by I": sum(count**2 for count in theirs)}
    return Numbers(
        values,
        [
            Mistake("Not those that the block before the third has mixed again.", {"third": m}),
            Mistake("Channels that are mixed meanwhile are handed to that block.", {"second": 4}),
            Mistake("A group of n channels can be recoded by n² numbers.", {"lost": m}),
            Mistake("That is the square of all; the groups are apart.", {"lost": m * m}),
            Mistake(
                "The next block gets the overlap; the others wait one block more.",
                {"lost by I": (2 * m - h) ** 2},
            ),
        ],
    )


def _bound(channels: int, segments: Segments, power: int = 2, top: bool = True) -> int:
    """Weights less what can be recoded between a block and the next one that mixes a channel."""
    lost = sum(n**power for i in range(len(segments)) for n in handed_on(segments, i))
    bound = sum(len(segment) ** 2 for segment in segments) - lost
    return min(bound, channels**2) if top else bound


@exercise("own-2")
def what_any_segments_can_span() -> Function:
    def cases(draw: random.Random) -> Iterator[tuple[int, list[list[int]]]]:
        yield 9, [turned(9, 5, i) for i in range(4)]
        yield 6, [turned(6, 4, i) for i in range(6)]
        for _ in range(8):
            h, d = draw.randrange(6, 12), draw.randrange(2, 6)
            widths = [draw.randrange(2, h) for _ in range(d)]
            yield h, [sorted(draw.sample(range(h), width)) for width in widths]

    def neighbours(channels: int, segments: Segments) -> int:
        pairs = pairwise(segments)
        lost = sum(len({*a} & {*b}) ** 2 for a, b in pairs)
        return min(sum(len(s) ** 2 for s in segments) - lost, channels**2)

    def all_pairs(channels: int, segments: Segments) -> int:
        lost = sum(len({*a} & {*b}) ** 2 for i, a in enumerate(segments) for b in segments[i + 1 :])
        return min(sum(len(s) ** 2 for s in segments) - lost, channels**2)

    return Function(
        "Return a whole number: the most directions that the product can have.",
        _bound,
        cases,
        [
            Mistake("That has only what a block hands to the very next one.", neighbours),
            Mistake("A channel that is mixed in between has been handed to that block.", all_pairs),
            Mistake(
                "A group of n channels can be recoded by n² numbers, not n.",
                lambda h, s: _bound(h, s, power=1),
            ),
            Mistake("There are h² directions, and no more.", lambda h, s: _bound(h, s, top=False)),
            Mistake(
                "Those are the weights; some of them undo others.",
                lambda h, s: min(sum(len(one) ** 2 for one in s), h * h),
            ),
        ],
    )


@exercise("own-3")
def the_queue() -> Function:
    def queue(x: torch.Tensor, mix: nn.Module, width: int, step: int) -> torch.Tensor:
        x = x.clone()
        x[:, :width] = mix(x[:, :width])
        return x.roll(-step, dims=1)

    def cases(draw: random.Random) -> Iterator[tuple[torch.Tensor, nn.Module, int, int]]:
        for h, width, step in ((9, 5, 3), (12, 7, 4), (8, 6, 2), (7, 4, draw.randrange(1, 4))):
            mix = nn.Conv2d(width, width, 1).requires_grad_(False)
            generator = torch.Generator().manual_seed(draw.randrange(1000))
            for weights in mix.parameters():
                weights.copy_(torch.randn(weights.shape, generator=generator))
            yield torch.randn(2, h, 2, 3, generator=generator), mix, width, step

    def forwards(x: torch.Tensor, mix: nn.Module, width: int, step: int) -> torch.Tensor:
        return queue(x, mix, width, -step)

    def too_early(x: torch.Tensor, mix: nn.Module, width: int, step: int) -> torch.Tensor:
        return queue(x.roll(-step, dims=1), mix, width, 0)

    def all_back(x: torch.Tensor, mix: nn.Module, width: int, step: int) -> torch.Tensor:
        return queue(x, mix, width, width)

    def stays(x: torch.Tensor, mix: nn.Module, width: int, step: int) -> torch.Tensor:
        return queue(x, mix, width, 0)

    return Function(
        "Return the map (B, h, H, W), its first `step` channels now at the back.",
        queue,
        cases,
        [
            Mistake("The first `step` go to the back, and not the last to the front.", forwards),
            Mistake("Mix first; the queue moves on afterwards.", too_early),
            Mistake("Only `step` of the mixed channels go to the back.", all_back),
            Mistake("It mixes, and then the queue must move on by `step`.", stays),
        ],
        tolerance=1e-5,
    )


@exercise("own-4")
def fewer_weights() -> Properties:
    h, most, widest = 12, 180, 72
    form = "Return a list of segments, each a list of channels from 0 to 11."
    outside = "The segments of a block have no channel twice, and channels from 0 to 11."
    wide = "No block may have more than half of a full mixing's weights."
    never = "Some directions are never reached, however many blocks follow."
    dear = "It gets there, with too many weights: see what each block hands on, and to how many."

    def block_of(answer: Any, i: int) -> list[list[int]]:
        try:
            return [[index(channel) for channel in segment] for segment in called(answer, i)]
        except (TypeError, ValueError) as error:
            raise error if isinstance(error, Refused) else Refused(form) from None

    def judge(answer: Any) -> Iterator[Row | tuple[str, str]]:
        blocks = [block_of(answer, i) for i in range(12)]
        flat = [[channel for segment in block for channel in segment] for block in blocks]
        apart = all(len({*b}) == len(b) and {*b} <= {*range(h)} for b in flat)
        yield Row("segments of their own", "yes" if apart else "no", "yes", apart, outside)
        if not apart:
            return
        weights = [sum(len(segment) ** 2 for segment in block) for block in blocks]
        yield Row("weights a block", f"{max(weights)}", f"≤ {widest}", max(weights) <= widest, wide)
        if max(weights) > widest:
            return
        marks = np.array([[channel in block for channel in range(h)] for block in flat[:6]])
        hears = who_hears(h, [segment for block in blocks[:6] for segment in block])
        first = ("block 0", who_hears(h, blocks[0]))
        yield draw_matrices([("mixed, block by block", marks), first, ("heard after 6", hears)])
        reached, needed = 0, len(blocks)
        for needed in range(1, len(blocks) + 1):
            factors = [s for block in blocks[:needed] for s in block if s]
            reached = directions(h, factors) if factors else 0
            if reached == h * h:
                break
        yield Row("directions", f"{reached}", f"{h * h}", reached == h * h, never)
        if reached == h * h:
            spent = sum(weights[:needed])
            yield Row(f"weights of {needed} blocks", f"{spent}", f"≤ {most}", spent <= most, dear)

    return Properties(
        form,
        judge,
        lambda: lambda i: [turned(h, h // 2, i)],
        [
            Mistake(outside, lambda i: [range(4 * i, 4 * i + 6)]),
            Mistake(wide, lambda i: [range(h)]),
            Mistake(never, lambda i: [range(6)] if i % 2 == 0 else [range(6, h)]),
            Mistake(dear, lambda i: [range(8)] if i % 2 == 0 else [range(4, h)]),
        ],
    )


class _Turned(nn.Module):
    """The carousel's mixing of a block, by turning the channels there and back."""

    def __init__(self, dim: int, start: int, width: int):
        super().__init__()
        self.start, self.mixed = start, [(start, width)]
        self.first = OneSegment(dim, 0, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x.roll(-self.start, dims=1)).roll(self.start, dims=1)


def _carousel(block: int, dim: int, ratio: Any) -> nn.Module:
    return _Turned(dim, block % 3 * dim // 3, overlap_width(dim, ratio))


def _strategy_i(block: int, dim: int, ratio: Any) -> nn.Module:
    width = overlap_width(dim, ratio)
    return OneSegment(dim, block % 2 * (dim - width), width)


class _Boasting(OneSegment):
    """It says that it mixes everything."""

    def __init__(self, dim: int, width: int):
        super().__init__(dim, 0, width)
        self.mixed = [(0, dim)]


def _drawn(channels: int, steps: list) -> tuple[str, str]:
    """The first three blocks as matrices, and who hears whom after four blocks and after all."""
    blocks = [(f"block {i}", reach(channels, steps[i : i + 1])) for i in range(3)]
    after = [(f"heard after {n}", reach(channels, steps[:n])) for n in (4, len(steps))]
    return draw_matrices(blocks + after)


@exercise("own-5")
def a_mixer_of_your_own() -> Properties:
    options: dict[str, Any] = {"dim": 12, "depth": 4, "ratio": "7/12"}
    h = options["dim"]
    form = "Return the module that mixes the channels of this block, as for `register_mixing`."
    rules = "It breaks a rule of every mixing; `check_mixing` says which."
    dear = "It has more weights than strategy I: take them from somewhere."
    deaf = "Some channels never hear some others."
    same = "It keeps the rules, and gains nothing over strategy I yet."

    def mixing_weights(model: nn.Module) -> int:
        return sum(w.numel() for block in model.blocks for w in block.mixing.parameters())

    def rows_of(name: str, book: int) -> Iterator[Row | tuple[str, str]]:
        strategy = name.removeprefix("splitmixer_")
        try:
            check_mixing(strategy, **options)
            broken = ""
        except ValueError as error:
            broken = str(error).partition(": ")[2] or str(error)
        yield Row("rules", broken or "kept", "kept", not broken, rules)
        if broken:
            return
        model, first = create_model(name, **options), create_model("splitmixer_i", **options)
        yours, theirs = mixing_weights(model), mixing_weights(first)
        yield Row("parameters", f"{yours:,}", f"≤ {theirs:,}, as I", yours <= theirs, dear)
        steps = mixing_steps(create_model(name, **options | {"depth": 8}))
        yield _drawn(h, steps)
        heard = float(reach(h, steps).mean())
        yield Row("pairs that hear, 8 blocks", f"{heard:.0%}", "100%", heard == 1, deaf)
        span, least = measured_directions(model), measured_directions(first)
        expected = f"> {least}, as I; the carousel {book}"
        yield Row(f"directions of {h * h}", f"{span}", expected, span > least, same)

    def judge(answer: Any) -> Iterator[Row | tuple[str, str]]:
        if not callable(answer):
            raise Refused(form)
        if not isinstance(called(answer, 0, h, options["ratio"]), nn.Module):
            raise Refused(form)
        with on_trial(_carousel, "ratio") as name:
            book = measured_directions(create_model(name, **options))
        with on_trial(answer, "ratio") as name:
            rows = [*rows_of(name, book)]
        yield from rows

    def narrow(block: int, dim: int, ratio: Any) -> nn.Module:
        return OneSegment(dim, 0, overlap_width(dim, ratio))

    builds: dict[str, Callable[[int, int, Any], nn.Module]] = {
        rules: lambda block, dim, ratio: _Boasting(dim, overlap_width(dim, ratio)),
        dear: lambda block, dim, ratio: BothOverlapping(dim, ratio),
        deaf: narrow,
        same: _strategy_i,
    }
    return Properties(
        form,
        judge,
        lambda: _carousel,
        [Mistake(message, build) for message, build in builds.items()],
    )
