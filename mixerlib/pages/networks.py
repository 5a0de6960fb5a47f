"""Pictures of networks, drawn from the modules themselves: `tracing` says what a network does, and
shapes, segments and parameters in a picture are what it says.

One language for all: channels are a horizontal strip, channel 0 on the left, and depth runs
downward. What a step mixes is filled, what passes it is outlined, and a comb is a mixing of places,
each channel by itself; its teeth stand high or low where channels move. Where the number of
channels changes, the strip widens or narrows. In a circle results meet, and a line beside the strip
brings there, or to a branch, what was made further up.

>>> from mixerlib.models import create_model
>>> from mixerlib.pages import networks, plots
>>> figure = networks.draw_network(create_model("splitmixer_i", dim=48, depth=4), image_size=32)
>>> shown = plots.show(figure, "Each block mixes two thirds of the channels.")
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from mixerlib.pages.colors import COLORS, FAINT, GREY, INK
from mixerlib.pages.marks import (
    ARROW,
    LABELLED,
    ROUND,
    STRIP,
    TEETH,
    THIN,
    arrow,
    circle,
    filled,
    outline,
    row,
    say,
    sheet,
    trim,
)
from mixerlib.pages.rails import MERGES, Rail, draw_rails, enter, lanes, rails_of, rows_of
from mixerlib.pages.step import Step, overlapping
from mixerlib.pages.tracing import steps

__all__ = ["TEETH", "draw_block", "draw_network", "family_color"]

SHOWN = 12  # blocks of a network that are drawn one by one
NETWORK, BLOCK = 160, 386  # widths of the two pictures, in points
WIDE, MIDDLE = 60.0, 67.0  # of the strips of a network: width, and where their middle is
LANE, LETTER = 10, 6  # from one rail to the next; the width of a letter


def draw_network(
    model: nn.Module,
    image_size: int | tuple[int, int],
    block: int = 0,
    color: str | None = None,
) -> Figure:
    """A whole network, and beside it one of its blocks, step by step.

    Args:
        model: with `blocks`, as those of `mixerlib.models` have.
        image_size: a number or (height, width), in pixels.
        block: which block, from 0.
        color: of what is mixed; None: that of the model's family, or the page's ink.

    Raises `ValueError` as `steps` does, for a model without `blocks`, and for a block that it does
    not have. Chapters 02, 03 and 05 to 10.
    """
    parts, mine = _parts(model, image_size, block)
    color = color or family_color(model)
    figure, axes = sheet((NETWORK + BLOCK) / 72)
    first = sum(len(part) for _, part in parts[:-1])  # of the head's steps
    bottoms = _network(axes, parts, first, block, color), _block(axes, NETWORK, mine, block, color)
    return trim(figure, axes, max(bottoms))


def draw_block(
    model: nn.Module,
    image_size: int | tuple[int, int],
    block: int = 0,
    color: str | None = None,
) -> Figure:
    """One block of a network, step by step. Arguments and errors are those of `draw_network`.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.pages import networks
    >>> figure = networks.draw_block(create_model("convmixer", dim=32, depth=1), image_size=32)
    """
    _, mine = _parts(model, image_size, block)
    figure, axes = sheet(BLOCK / 72)
    return trim(figure, axes, _block(axes, 0, mine, block, color or family_color(model)))


def family_color(model: nn.Module) -> str:
    """The colour that the model's family has in the book; the page's ink for a model of none.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.pages import networks, plots
    >>> networks.family_color(create_model("splitmixer_v")) == plots.COLORS["splitmixer_v"]
    True
    """
    name = type(model).__name__
    family = {"ConvMixer": "convmixer", "MLPMixer": "mlp_mixer"}.get(name, "")
    if name == "AblatedSplitMixer":
        family = "splitmixer_i"
    elif hasattr(model, "strategy"):
        family = f"splitmixer_{str(model.strategy).lower()}"
    return COLORS.get(family, INK)


# --- what is drawn --------------------------------------------------------------------------------


def _parts(
    model: nn.Module, image_size: int | tuple[int, int], block: int
) -> tuple[list[tuple[str, list[Step]]], tuple[int, list[Step]]]:
    """The steps as (part, its steps), the parts being "stem", "0", "1" … and "head"; and those of
    one block, with the place of its first step among all."""
    walked = steps(model, image_size)
    numbers = [_block_number(step) for step in walked]
    blocks = sorted({n for n in numbers if n is not None})
    if not blocks:
        raise ValueError(f"`model`, a {type(model).__name__}, must have `blocks` with steps")
    if block not in blocks:
        raise ValueError(f"`block`={block!r} must be the number of a block, 0 to {blocks[-1]}")
    first = numbers.index(blocks[0])
    last = len(numbers) - numbers[::-1].index(blocks[-1])
    parts = [("stem", walked[:first])]
    for number in blocks:
        parts.append(
            (str(number), [s for s, n in zip(walked, numbers, strict=True) if n == number])
        )
    parts.append(("head", walked[last:]))
    return parts, (numbers.index(block), parts[1 + blocks.index(block)][1])


def _block_number(step: Step) -> int | None:
    fits = re.match(r"blocks\.(\d+)\b", step.path)
    return int(fits[1]) if fits else None


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


# --- how ------------------------------------------------------------------------------------------


def _block(axes: Axes, left: float, mine: tuple[int, list[Step]], block: int, color: str) -> float:
    """The steps of a block below one another, from `left` on; returns where they end."""
    first, walked = mine
    rows = rows_of(walked, first)
    rails, flows = rails_of(rows, first)
    inner, outer = (max(0, lanes(rails, right) - 1) * LANE for right in (False, True))
    strip, clear = 142.0 - inner, 0.0
    if lanes(rails, right=True):  # these have the shapes on the arrows between them and the strips
        clear = 11 + max(len(_shape(step.shape)) for step in walked) * LETTER
        strip = min(strip - outer - 10, 2 * (146 - inner - outer - clear))
    center, words, end = left + 22 + inner + strip / 2, left + 22 + 142 + 10, left + BLOCK - 2
    scale = strip / max(max(step.entering, step.leaving) for step in walked)
    say(axes, left + 22, 9, f"block {block}", weight="bold")
    say(axes, end, 9, "parameters", ha="right", color=INK)
    carried = _shape(walked[0].before)
    starts = [24.0]  # of the rails: where the arrow out of each row begins
    y = arrow(axes, center, 20, LABELLED, carried)
    for number, steps_of_row in enumerate(rows):
        step = steps_of_row[0]
        if not flows[number]:
            carried = _shape(step.before)
            y = _entry(axes, rails, number, (center, y), merge=step.kind in MERGES)
        above, y = y, row(axes, center, y, steps_of_row, scale, color)
        middle = (above + y) / 2
        if flows[number] or step.kind in MERGES:
            half = ROUND if step.kind in MERGES else max(step.entering * scale, 2) / 2
            enter(rails, number, (center, middle), half)
        say(axes, words, middle, ", ".join(s.label for s in steps_of_row))
        if params := sum(s.params for s in steps_of_row):
            say(axes, end, middle, f"{params:,}", ha="right")
        starts.append(y + 4)
        last = steps_of_row[-1]
        if number + 1 < len(rows) and not flows[number + 1]:
            axes.plot([center, center], [y + 1, y + 4], color=GREY, linewidth=1)
            y += 6
            continue
        named = last is walked[-1] or _shape(last.shape) != carried
        carried = _shape(last.shape)
        y = arrow(axes, center, y, LABELLED if named else ARROW, carried if named else "")
    draw_rails(
        axes,
        rails,
        starts,
        center,
        lambda rail: _lane(rail, center, strip / 2, 12, max(8, clear - strip / 2)),
    )
    total = sum(step.params for step in walked)
    axes.plot([end - 56, end], [y - 17, y - 17], color=FAINT, linewidth=0.9)
    say(axes, end, y - 6, f"{total:,}", ha="right", weight="bold")
    return y


def _entry(
    axes: Axes, rails: list[Rail], number: int, place: tuple[float, float], merge: bool
) -> float:
    """The arrow into a row that takes nothing from the one above; returns where it ends."""
    center, y = place
    if merge:
        return y
    enter(rails, number, (center, y + 4), 0)
    return arrow(axes, center, y + 3, ARROW)


def _network(
    axes: Axes, parts: list[tuple[str, list[Step]]], first: int, block: int, color: str
) -> float:
    """All parts below one another; returns where they end. `first` is the place of the head's."""
    (_, stem), *blocks, (_, head) = parts
    widths = [width for _, part in blocks for width in (part[0].entering, part[-1].leaving)]
    widths += [step.leaving for step in head] + [step.entering for step in stem[:1]]
    column = _Column(axes, MIDDLE, NETWORK - 7, WIDE / max(widths), color)
    say(axes, 0, 9, "the network", weight="bold")
    y = arrow(axes, MIDDLE, 20, LABELLED, _shape(stem[0].before) if stem else "")
    if stem:
        step = stem[0]
        bottom = column.filled(y, step, STRIP) if step.mixed else y
        column.name(y, STRIP, "stem", stem)
        y = arrow(axes, MIDDLE, bottom, LABELLED, _shape(blocks[0][1][0].before))
    deep = len(blocks) > SHOWN
    for number, (name, part) in enumerate(blocks):
        if deep and 3 <= number < len(blocks) - 1:
            if number == 3:
                say(axes, MIDDLE, y + 8, f"… {len(blocks) - 4} more", ha="center")
                y += STRIP + 2
            continue
        mixes = _strips(part)
        high = 14 / max(1, sum(len(s.mixed) if overlapping(s.mixed) else 1 for s in mixes)) - 1
        below = y
        for step in mixes:
            below = column.filled(below, step, high)
        column.name(y, 14, name, part, bold=name == str(block))  # the one that is drawn beside
        y = max(below, y + 13) + 4
        taken, left = _shape(part[0].before), _shape(part[-1].shape)
        if number < len(blocks) - 1 and not deep and taken != left:
            y = arrow(axes, MIDDLE, y - 2, LABELLED, left) + 2
    y = arrow(axes, MIDDLE, y - 2, LABELLED, _shape(blocks[-1][1][-1].shape))
    y = column.head(y, head, first)
    total = sum(step.params for _, part in parts for step in part)
    axes.plot([column.end - 56, column.end], [y - 4, y - 4], color=FAINT, linewidth=0.9)
    say(axes, column.end, y + 7, f"{total:,}", ha="right", weight="bold")
    return y + 12


def _strips(part: list[Step]) -> list[Step]:
    """What of a block is drawn in the network: what mixes the channels that it takes, or gives.
    What it does inside is drawn beside."""
    part = [step for step in part if step.entering]  # not a parameter that is used by its name
    taken, left, places = part[0].entering, part[-1].leaving, len(part[0].before)
    mixing = [s for s in part if s.kind in ("channels", "both") and len(s.before) == places]
    if taken == left:
        return [replace(s, leaving=taken) for s in mixing if s.entering == taken]
    wider = [s for s in mixing if s.entering == taken][:1] or mixing[-1:]
    alike = [replace(s, leaving=left) for s in mixing if s.entering == left]
    whole = ((0, taken),)
    return [replace(s, entering=taken, leaving=left, mixed=whole) for s in wider] + alike


class _Column(NamedTuple):
    """Where the network's parts are drawn: strips round `center`, parameters up to `end`."""

    axes: Axes
    center: float
    end: float
    scale: float
    color: str

    def name(
        self, y: float, high: float, name: str, part: Sequence[Step], bold: bool = False
    ) -> None:
        """A part's name to the left of it, and its parameters to the right."""
        left, weight = self.center - WIDE / 2 - 4, "bold" if bold else "normal"
        say(self.axes, left, y + high / 2, name, ha="right", weight=weight)
        if params := sum(step.params for step in part):
            say(self.axes, self.end, y + high / 2, f"{params:,}", ha="right")

    def filled(self, y: float, step: Step, high: float) -> float:
        """A step that mixes channels; returns where it ends."""
        return filled(self.axes, self.center, y, step, self.scale, high, self.color)

    def head(self, y: float, head: list[Step], first: int) -> float:
        """What follows the blocks; returns where it ends."""
        rails, flows = rails_of([[step] for step in head], first)
        starts, axes, center = [y - LABELLED + 4], self.axes, self.center
        for number, step in enumerate(head):
            merge = step.kind in MERGES
            if not flows[number]:
                y = _entry(axes, rails, number, (center, y), merge)
            # the next takes no part of it
            branches = number + 1 < len(head) and not flows[number + 1]
            if step.mixed:
                self.name(y, STRIP, "head", [step])
                y = self.filled(y, step, STRIP)
            elif merge:
                enter(rails, number, (center, y + ROUND + 1), ROUND)
                circle(axes, center, y, step.kind)
                self.name(y, 2 * ROUND + 2, step.label.split()[0], [step])
                y += 2 * ROUND + 2
            else:
                short = (
                    "norm"
                    if step.kind == "norm" and "scale" not in step.label
                    else step.label.split()[0]
                )
                self.name(y, STRIP, short, [step])
                outline(axes, center, y + 5, (WIDE, WIDE), THIN)
                y += 5 + THIN
            starts.append(y + 4)
            named = bool(step.mixed) or merge or number + 1 == len(head)
            if branches:
                axes.plot([center, center], [y + 1, y + 4], color=GREY, linewidth=1)
                y += 6
            else:
                y = arrow(
                    axes,
                    center,
                    y,
                    LABELLED if named else ARROW,
                    _shape(step.shape) if named else "",
                )
        draw_rails(axes, rails, starts, center, lambda rail: _lane(rail, center, WIDE / 2, 2.5, 5))
        return y


def _lane(rail: Rail, center: float, half: float, left: float, right: float) -> float:
    """Where a rail runs beside strips of that half width: so far from them, and a lane further."""
    away = half + LANE * rail.lane
    return center + away + right if rail.right else center - away - left
