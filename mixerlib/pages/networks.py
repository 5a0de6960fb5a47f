"""Pictures of networks, drawn from the modules themselves: `tracing` says what a network does, and
shapes, segments and parameters in a picture are what it says.

One language for all: channels are a horizontal strip, channel 0 on the left, and depth runs
downward. What a step mixes is filled, what passes it is outlined, and a comb is a mixing of places,
each channel by itself. Where the number of channels changes, the strip widens or narrows.

>>> from mixerlib.models import create_model
>>> from mixerlib.pages import networks, plots
>>> figure = networks.draw_network(create_model("splitmixer_i", dim=48, depth=4), image_size=32)
>>> shown = plots.show(figure, "Each block mixes two thirds of the channels.")
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Polygon, Rectangle
from torch import nn

from mixerlib.pages import plots
from mixerlib.pages.colors import COLORS, FAINT, GREY, INK
from mixerlib.pages.tracing import Step, overlapping, pieces, steps

# All lengths are in points, 72 to an inch; letters of 10.5 are 9 pixels high on a phone.
LETTERS = 10.5
STRIP, THIN, ARROW, LABELLED = 17, 6, 12, 27  # heights: a strip, a thin one, arrows
TEETH = 24  # of a comb
DEALT = 12  # runs of channels whose way through a shuffle is drawn
SHOWN = 12  # blocks of a network that are drawn one by one
OPACITIES = (1.0, 0.6)  # of segments with weights of their own, in turn
NETWORK, BLOCK = 160, 386  # widths of the two pictures


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
    figure, axes = _sheet((NETWORK + BLOCK) / 72)
    bottoms = _network(axes, parts, block, color), _block(axes, NETWORK, mine, block, color)
    return _trim(figure, axes, max(bottoms))


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
    figure, axes = _sheet(BLOCK / 72)
    return _trim(figure, axes, _block(axes, 0, mine, block, color or family_color(model)))


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


def _rows(walked: Sequence[Step]) -> list[list[Step]]:
    """Steps in rows: each by itself, but activations and norms that follow one another together."""
    rows: list[list[Step]] = []
    for step in walked:
        small = step.kind in ("act", "norm")
        if small and rows and rows[-1][-1].kind in ("act", "norm"):
            rows[-1].append(step)
        else:
            rows.append([step])
    return rows


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


# --- how ------------------------------------------------------------------------------------------


def _sheet(width: float) -> tuple[Figure, Axes]:
    """A figure whose axes are measured in points."""
    figure, axes = plots.canvas(width=width)
    figure.set_layout_engine("none")
    axes[0, 0].set_position((0, 0, 1, 1))
    return figure, plots.bare(axes[0, 0])


def _trim(figure: Figure, axes: Axes, bottom: float) -> Figure:
    """Cut the sheet off below its last line."""
    figure.set_figheight((bottom + 6) / 72)
    axes.set(xlim=(0, 72 * figure.get_figwidth()), ylim=(bottom + 6, 0))
    return figure


def _say(axes: Axes, x: float, y: float, text: str, **options: Any) -> None:
    axes.text(x, y, text, fontsize=LETTERS, **({"va": "center"} | options))


def _arrow(axes: Axes, x: float, y: float, length: float, shape: str = "") -> float:
    """An arrow downward, with the shape of what it carries; returns where it ends."""
    style: dict[str, Any] = {
        "arrowstyle": "-|>,head_length=3,head_width=2",
        "shrinkA": 0,
        "shrinkB": 0,
    }
    line = FancyArrowPatch((x, y + 1), (x, y + length - 1), color=GREY, linewidth=1, **style)
    axes.add_patch(line)
    if shape:
        _say(axes, x + 7, y + length / 2 - 0.5, shape)
    return y + length


def _outline(axes: Axes, center: float, y: float, widths: tuple[float, float], high: float) -> None:
    (top, bottom), middle = widths, center
    corners = [(middle - top / 2, y), (middle + top / 2, y)]
    corners += [(middle + bottom / 2, y + high), (middle - bottom / 2, y + high)]
    axes.add_patch(Polygon(corners, fill=False, edgecolor=FAINT, linewidth=0.9))


def _filled(
    axes: Axes, center: float, y: float, step: Step, scale: float, high: float, color: str
) -> float:
    """The strips of a step that mixes channels; returns where they end. Segments that overlap are
    mixed one after the other, and have a strip each."""
    turns = overlapping(step.mixed)
    together = [[segment] for segment in step.mixed] if turns else [list(step.mixed)]
    number = 0
    for segments in together:
        widths = max(step.entering * scale, 2), max(step.leaving * scale, 2)
        for start, width in segments:
            opacity = OPACITIES[0 if step.shared else number % len(OPACITIES)]
            number += 1
            fill: dict[str, Any] = {"facecolor": color, "alpha": opacity, "linewidth": 0}
            if step.entering == step.leaving:
                gap = 0.6 if len(segments) > 1 else 0  # so that two segments are seen as two
                for first, part in pieces(start, width, step.entering):
                    corner = (center - widths[0] / 2 + first * scale + gap, y)
                    axes.add_patch(Rectangle(corner, part * scale - 2 * gap, high, **fill))
            else:
                (top, bottom), share = widths, step.entering
                ends = [start / share - 0.5, (start + width) / share - 0.5]
                corners = [(center + end * top, y) for end in ends]
                corners += [(center + end * bottom, y + high) for end in reversed(ends)]
                axes.add_patch(Polygon(corners, **fill))
        _outline(axes, center, y, widths, high)
        y += high + (3 if segments is not together[-1] else 0)
    return y


def _comb(axes: Axes, center: float, y: float, wide: float, color: str) -> None:
    """A strip whose channels are each for itself."""
    tooth = wide / TEETH
    for i in range(TEETH):
        corner = (center - wide / 2 + (i + 0.2) * tooth, y)
        axes.add_patch(
            Rectangle(corner, 0.6 * tooth, STRIP, facecolor=color, alpha=0.6, linewidth=0)
        )
    _outline(axes, center, y, (wide, wide), STRIP)


def _wires(axes: Axes, center: float, y: float, wide: float, segments: int, color: str) -> None:
    """Where a shuffle deals runs of channels: of segment j, run o goes to place o·s + j."""
    runs = max(1, DEALT // segments)
    total = runs * segments
    for j in range(segments):
        for o in range(runs):
            ends = [(place + 0.5) / total - 0.5 for place in (j * runs + o, o * segments + j)]
            xs = [center + end * wide for end in ends]
            axes.plot(xs, [y, y + STRIP], color=color, alpha=(0.9, 0.55)[j % 2], linewidth=1)


def _row(axes: Axes, center: float, y: float, row: list[Step], scale: float, color: str) -> float:
    """One row of a block; returns where it ends."""
    step = row[0]
    wide = max(step.entering * scale, 2)
    if step.kind in ("channels", "both"):
        return _filled(axes, center, y, step, scale, STRIP, color)
    if step.kind == "space":
        _comb(axes, center, y, wide, color)
    elif step.kind == "shuffle":
        _wires(axes, center, y, wide, step.segments, color)
    elif step.kind == "sum":
        axes.add_patch(Circle((center, y + 7), 6, fill=False, edgecolor=GREY, linewidth=1))
        for dx, dy in ((4, 0), (0, 4)):
            ends = [center - dx, center + dx], [y + 7 - dy, y + 7 + dy]
            axes.plot(*ends, color=GREY, linewidth=1)
        return y + 14
    else:
        high = THIN if step.kind in ("act", "norm") else STRIP
        _outline(axes, center, y, (wide, wide), high)
        return y + high
    return y + STRIP


def _block(axes: Axes, left: float, mine: tuple[int, list[Step]], block: int, color: str) -> float:
    """The steps of a block below one another, from `left` on; returns where they end."""
    first, walked = mine
    strip, center = 142.0, left + 22 + 71.0
    words, end = left + 22 + strip + 10, left + BLOCK - 2
    scale = strip / max(max(step.entering, step.leaving) for step in walked)
    _say(axes, left + 22, 9, f"block {block}", weight="bold")
    _say(axes, end, 9, "parameters", ha="right", color=INK)
    carried = _shape(walked[0].before)
    tops, place = {-1: 22.0}, first - 1  # where the arrow out of each step begins
    y = _arrow(axes, center, 20, LABELLED, carried)
    tops[place] = 24.0
    for row in _rows(walked):
        above = y
        y = _row(axes, center, y, row, scale, color)
        middle = (above + y) / 2
        _say(axes, words, middle, ", ".join(step.label for step in row))
        if params := sum(step.params for step in row):
            _say(axes, end, middle, f"{params:,}", ha="right")
        for step in row:
            place += 1
            if step.added is not None:
                edge = center - strip / 2 - 12
                start = tops.get(step.added, tops[first - 1])
                xs = [center - 1, edge, edge, center - 6]
                axes.plot(xs, [start, start, middle, middle], color=GREY, linewidth=1)
        tops[place] = y + 4
        named = row[-1] is walked[-1] or _shape(row[-1].shape) != carried
        carried = _shape(row[-1].shape)
        y = _arrow(axes, center, y, LABELLED if named else ARROW, carried if named else "")
    total = sum(step.params for step in walked)
    axes.plot([end - 56, end], [y - 17, y - 17], color=FAINT, linewidth=0.9)
    _say(axes, end, y - 6, f"{total:,}", ha="right", weight="bold")
    return y


def _network(axes: Axes, parts: list[tuple[str, list[Step]]], block: int, color: str) -> float:
    """All parts below one another; returns where they end."""
    (_, stem), *blocks, (_, head) = parts
    wide = blocks[0][1][0].entering
    strip, center, end = 60.0, 37 + 30.0, NETWORK - 7
    scale = strip / max(wide, *(step.leaving for step in head))

    def line(y: float, high: float, name: str, part: Sequence[Step]) -> None:
        weight = "bold" if name == str(block) else "normal"  # the one that is drawn beside
        _say(axes, 33, y + high / 2, name, ha="right", weight=weight)
        if params := sum(step.params for step in part):
            _say(axes, end, y + high / 2, f"{params:,}", ha="right")

    _say(axes, 0, 9, "the network", weight="bold")
    y = _arrow(axes, center, 20, LABELLED, _shape(stem[0].before) if stem else "")
    if stem:
        bottom = _filled(axes, center, y, stem[0], scale, STRIP, color) if stem[0].mixed else y
        line(y, STRIP, "stem", stem)
        y = _arrow(axes, center, bottom, LABELLED, _shape(blocks[0][1][0].before))
    deep = len(blocks) > SHOWN
    for number, (name, part) in enumerate(blocks):
        if deep and 3 <= number < len(blocks) - 1:
            if number == 3:
                _say(axes, center, y + 8, f"… {len(blocks) - 4} more", ha="center")
                y += STRIP + 2
            continue
        mixes = [s for s in part if s.kind == "channels" and s.entering == wide]
        high = 14 / max(1, sum(len(s.mixed) if overlapping(s.mixed) else 1 for s in mixes)) - 1
        below = y
        for step in mixes:
            alike = replace(step, leaving=step.entering)  # what a block does inside is drawn beside
            below = _filled(axes, center, below, alike, scale, high, color)
        line(y, 14, name, part)
        y = max(below, y + 13) + 4
    y = _arrow(axes, center, y - 2, LABELLED, _shape(blocks[-1][1][-1].shape))
    for step in head:
        if step.mixed:
            line(y, STRIP, "head", [step])
            y = _filled(axes, center, y, step, scale, STRIP, color)
            y = _arrow(axes, center, y, LABELLED, _shape(step.shape))
        else:
            line(y, STRIP, {"norm": "norm", "mean": "mean"}.get(step.kind, step.label), [step])
            _outline(axes, center, y + 5, (strip, strip), THIN)
            y = _arrow(axes, center, y + 5 + THIN, ARROW)
    total = sum(step.params for _, part in parts for step in part)
    axes.plot([end - 56, end], [y - 4, y - 4], color=FAINT, linewidth=0.9)
    _say(axes, end, y + 7, f"{total:,}", ha="right", weight="bold")
    return y + 12
