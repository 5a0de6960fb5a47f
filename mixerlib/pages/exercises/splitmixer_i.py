"""The exercises of chapter 06."""

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import gcd
from typing import Any

import numpy as np

from mixerlib.costs import formulas
from mixerlib.models import model_entry, overlap_width
from mixerlib.pages.exercises.drawing import draw_matrices, who_hears
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called


@exercise("one-1")
def recompute() -> Numbers:
    h, d, ratio = 384, 7, Fraction(4, 7)
    m = overlap_width(h, ratio)
    overlap, even, odd = 2 * m - h, (d + 1) // 2, d // 2
    options = dict(model_entry("splitmixer_i").defaults) | {"dim": h, "depth": d, "ratio": ratio}
    params = formulas("splitmixer_i").counts(options, 32).params["channel mixing"]
    times = {f"{odd} times": h - m, f"{even} times": h - m, f"{d} times": overlap}
    return Numbers(
        {"segment": m, "overlap": overlap, "parameters": params, **times},
        [
            Mistake("The segment is rounded down.", {"segment": m + 1}),
            Mistake(
                "With the segment rounded down, the overlap is narrower.",
                {"overlap": 2 * (m + 1) - h},
            ),
            Mistake(
                "That is the part beyond the middle, on one side: the overlap has two.",
                {"overlap": overlap // 2},
            ),
            Mistake("Each block has m biases too.", {"parameters": d * m * m}),
            Mistake("That is one block; there are d of them.", {"parameters": params // d}),
            Mistake(
                "Strategy I mixes one segment in a block, not both.", {"parameters": 2 * params}
            ),
            Mistake(
                "The overlap is among these m channels, and it is mixed in every block.",
                {f"{even} times": m},
            ),
            Mistake(
                "The overlap is among these m channels: the odd blocks mix it, and the even ones.",
                {f"{odd} times": m},
            ),
        ],
    )


@exercise("one-2")
def a_width_for_the_hardware() -> Numbers:
    options = dict(model_entry("splitmixer_i_256_8").defaults)
    h, third = options["dim"], Fraction(options["ratio"])

    def params(ratio: Fraction) -> int:
        return formulas("splitmixer_i").counts(options | {"ratio": ratio}, 32).total("params")

    def nearest(multiple: int) -> Fraction:
        widths = range(multiple, h + 1, multiple)
        return min((Fraction(m, h) for m in widths), key=lambda ratio: abs(ratio - third))

    eight, sixteen = nearest(8), nearest(16)
    saved, paid = params(eight) - params(third), params(sixteen) - params(third)
    return Numbers(
        {"ratio for 8": eight, "ratio for 16": sixteen, "change at 8": saved, "change at 16": paid},
        [
            Mistake(
                "That is the next multiple of 8 above; the one below is nearer.",
                {"ratio for 8": Fraction(int(eight * h) + 8, h)},
            ),
            Mistake(
                "That is the next multiple of 16 below; the one above is nearer.",
                {"ratio for 16": Fraction(int(sixteen * h) - 16, h)},
            ),
            Mistake("The narrower segment saves: the change is negative.", {"change at 8": -saved}),
            Mistake("The wider segment costs: the change is positive.", {"change at 16": -paid}),
            Mistake(
                "That is one block; the model has several.",
                {"change at 8": saved // options["depth"]},
            ),
        ],
        tolerance=1e-3,
    )


@exercise("one-3")
def do_they_overlap_at_all() -> Function:
    words = ("overlap", "none", "gap")

    def kind(i: int, h: int) -> str:
        width = overlap_width(h, Fraction(i, 2 * i - 1))
        return words[0] if 2 * width > h else words[1] if 2 * width == h else words[2]

    def cases(draw: random.Random) -> Iterator[tuple]:
        for i in range(2, 7):
            border = 2 * (2 * i - 1)
            yield from ((i, h) for h in (border - 2, border, border // 2, border // 2 - 2) if h > 2)
            yield from ((i, draw.randint(4, 60)) for _ in range(8))

    def even_only(limit: Callable) -> Callable:
        return lambda i, h: kind(i, h) if h % 2 else words[0] if h >= limit(i) else words[1]

    return Function(
        'Return "overlap", "none" or "gap".',
        kind,
        cases,
        [
            Mistake("Without the floor they always overlap. Round αh down.", lambda i, h: words[0]),
            Mistake(
                "For an odd h the middle channel can be left out: then there is a gap.",
                lambda i, h: kind(i, h) if kind(i, h) != words[2] else words[1],
            ),
            Mistake(
                "At even h = 2(2i − 1) the floor has just reached 1: there they overlap.",
                even_only(lambda i: 2 * (2 * i - 1) + 2),
            ),
            Mistake(
                "Even widths need h ≥ 2(2i − 1); 2i − 1 is the border of the odd ones.",
                even_only(lambda i: 2 * i - 1),
            ),
        ],
    )


def _ring(i: int, h: int, m: int) -> list[int]:
    return [(i * m + place) % h for place in range(m)]


def _chosen(answer: Any, i: int, h: int, m: int) -> list[int]:
    """The channels that an answer mixes in block i, checked for their form."""
    result = called(answer, i, h, m)
    try:
        return [int(channel) for channel in result]
    except (TypeError, ValueError):
        raise Refused("Return a list of channels, numbers from 0 to h − 1.") from None


def _fair(answer: Any) -> Iterator[Row | tuple[str, str]]:
    """The rows of a mixing that is to be fair: m channels a block, all equally often in the end."""
    for h, m in ((24, 16), (12, 8), (10, 6), (16, 9)):
        least = h // gcd(h, m)  # b blocks mix b·m channels: h must divide that
        blocks = [_chosen(answer, i, h, m) for i in range(4 * least)]
        label = f"h = {h}, m = {m}"
        outside = [c for block in blocks for c in block if not 0 <= c < h]
        yield Row(
            f"{label}: channels outside",
            str(len(outside)),
            "0",
            not outside,
            "A channel has a number from 0 to h − 1: go on at 0 after the last.",
        )
        if outside:
            return
        widths = {len(set(block)) for block in blocks}
        over = "The budget is m channels a block: m² + m parameters."
        yield Row(
            f"{label}: channels a block",
            ", ".join(map(str, sorted(widths))),
            str(m),
            widths == {m},
            over if max(widths) > m else "A block mixes m different channels.",
        )
        times = np.zeros((len(blocks) + 1, h), dtype=int)
        for place, block in enumerate(blocks):
            times[place + 1] = times[place]
            times[place + 1, [*set(block)]] += 1
        fair = [b for b in range(1, len(blocks) + 1) if np.ptp(times[b]) == 0]
        unfair = "Some channels are mixed more often than others, and go on being so."
        never = "Some channels are never mixed."
        yield Row(
            f"{label}: fair after",
            f"{fair[0]} blocks" if fair else "never",
            f"{least} at best",
            bool(fair),
            never if (times[-1] == 0).any() else unfair,
        )
        if h == 24:
            marks = np.array([[c in block for c in range(h)] for block in blocks[:least]])
            hears = who_hears(h, blocks[:least])
            yield draw_matrices(
                [("mixed, block by block", marks), (f"who hears whom after {least}", hears)]
            )


@exercise("one-4")
def a_segment_that_wanders() -> Properties:
    def alternating(i: int, h: int, m: int) -> range:
        return range(m) if i % 2 == 0 else range(h - m, h)

    return Properties(
        "Return the m channels that block i mixes, numbers from 0 to h − 1.",
        _fair,
        lambda: _ring,
        [
            Mistake(
                "Some channels are mixed more often than others, and go on being so.", alternating
            ),
            Mistake("Some channels are never mixed.", lambda i, h, m: range(m)),
            Mistake(
                "The budget is m channels a block: m² + m parameters.", lambda i, h, m: range(h)
            ),
            Mistake(
                "A channel has a number from 0 to h − 1: go on at 0 after the last.",
                lambda i, h, m: range(i * m, i * m + m),
            ),
            Mistake("A block mixes m different channels.", lambda i, h, m: [i % h] * m),
        ],
    )
