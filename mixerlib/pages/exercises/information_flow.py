"""The exercises of chapter 21."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mixerlib.costs import blocks_to_span
from mixerlib.pages.exercises.drawing import draw_matrices, who_hears
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called
from mixerlib.pages.exercises.spans import directions


@exercise("flow-1")
def the_narrowest_overlap() -> Numbers:
    h, d = 256, 8

    def spans(m: int) -> bool:
        blocks = blocks_to_span(h, m)
        return blocks is not None and blocks <= d

    m = next(width for width in range(h // 2, h + 1) if spans(width))
    share = m * m / (h * h)
    return Numbers(
        {"m": m, "share": share},
        [
            Mistake("That is one too narrow: it needs two blocks more.", {"m": m - 1}),
            Mistake("That is the paper's 2/3; a narrower one is enough.", {"m": 2 * h // 3}),
            Mistake(
                "Any overlap joins the channels, but not in all directions.", {"m": h // 2 + 1}
            ),
            Mistake("A mixing has m² weights of h².", {"share": m / h}),
            Mistake("That is what is saved.", {"share": 1 - share}),
            Mistake("Give the share as a number from 0 to 1.", {"share": 100 * share}),
        ],
    )


@exercise("flow-2")
def turn_the_segments() -> Properties:
    h, m, most = 9, 5, 5
    alone = blocks_to_span(h, m)
    form = "Return the 5 of 9 channels that block i mixes, numbers from 0 to 8."
    cost = "A block mixes five different channels: that is the cost of strategy I."
    outside = "A channel has a number from 0 to 8: go on at 0 after the last."
    never = "Some directions are never reached: these blocks leave some channels alone."
    late = "It gets there, but not in five blocks: the narrow place is the same again and again."

    def judge(answer: Any) -> Iterator[Row | tuple[str, str]]:
        blocks: list[list[int]] = []
        for i in range(2 * h):
            try:
                blocks.append([int(channel) for channel in called(answer, i)])
            except (TypeError, ValueError) as error:
                raise error if isinstance(error, Refused) else Refused(form) from None
        odd = [channel for block in blocks for channel in block if not 0 <= channel < h]
        yield Row("channels outside", f"{len(odd)}", "0", not odd, outside)
        if odd:
            return
        widths = sorted({len({*block}) if len({*block}) == len(block) else 0 for block in blocks})
        yield Row("channels a block", f"{widths[-1]}", f"{m}", widths == [m], cost)
        if widths != [m]:
            return
        marks = np.array([[channel in block for channel in range(h)] for block in blocks[:most]])
        hears = who_hears(h, blocks[:most])
        drawn = [("mixed, block by block", marks), (f"who hears whom after {most}", hears)]
        yield draw_matrices(drawn)
        rank = directions(h, blocks[:most])
        ever = rank == h * h or directions(h, blocks) == h * h
        label = f"directions after {most} blocks"
        yield Row(label, f"{rank}", f"{h * h}", rank == h * h, late if ever else never)
        if rank == h * h:
            needed = next(d for d in range(1, most + 1) if directions(h, blocks[:d]) == h * h)
            yield Row("blocks needed", f"{needed}", f"strategy I: {alone}", True)

    def turned(step: int) -> Callable[[int], list[int]]:
        return lambda i: [(i * step + place) % h for place in range(m)]

    return Properties(
        form,
        judge,
        lambda: turned(h // 3),
        [
            Mistake(late, lambda i: range(m) if i % 2 == 0 else range(h - m, h)),
            Mistake(never, lambda i: range(m)),
            Mistake(cost, lambda i: range(h)),
            Mistake(outside, lambda i: range(3 * i, 3 * i + m)),
        ],
    )
