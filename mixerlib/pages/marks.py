"""The marks that pictures of networks are made of: strips, combs, arrows, letters."""

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Polygon, Rectangle

from mixerlib.pages import plots
from mixerlib.pages.colors import FAINT, GREY
from mixerlib.pages.naming import LETTERS
from mixerlib.pages.rails import MERGES, SMALL
from mixerlib.pages.step import Step, overlapping, pieces

# All lengths are in points, 72 to an inch.
STRIP, THIN, ARROW, LABELLED = 17, 6, 12, 27  # heights: a strip, a thin one, arrows
ROUND = 6  # radius of a circle
TEETH = 24  # of a comb
DEALT = 12  # runs of channels whose way through a shuffle is drawn
OPACITIES = (1.0, 0.6)  # of segments with weights of their own, in turn


def sheet(width: float) -> tuple[Figure, Axes]:
    """A figure whose axes are measured in points."""
    figure, axes = plots.canvas(width=width)
    figure.set_layout_engine("none")
    axes[0, 0].set_position((0, 0, 1, 1))
    return figure, plots.bare(axes[0, 0])


def trim(figure: Figure, axes: Axes, bottom: float) -> Figure:
    """Cut the sheet off below its last line."""
    figure.set_figheight((bottom + 6) / 72)
    axes.set(xlim=(0, 72 * figure.get_figwidth()), ylim=(bottom + 6, 0))
    return figure


def say(axes: Axes, x: float, y: float, text: str, **options: Any) -> None:
    axes.text(x, y, text, fontsize=LETTERS, **({"va": "center"} | options))


def arrow(axes: Axes, x: float, y: float, length: float, shape: str = "") -> float:
    """An arrow downward, with the shape of what it carries; returns where it ends."""
    style: dict[str, Any] = {
        "arrowstyle": "-|>,head_length=3,head_width=2",
        "shrinkA": 0,
        "shrinkB": 0,
    }
    line = FancyArrowPatch((x, y + 1), (x, y + length - 1), color=GREY, linewidth=1, **style)
    axes.add_patch(line)
    if shape:
        say(axes, x + 7, y + length / 2 - 0.5, shape)
    return y + length


def outline(axes: Axes, center: float, y: float, widths: tuple[float, float], high: float) -> None:
    (top, bottom), middle = widths, center
    corners = [(middle - top / 2, y), (middle + top / 2, y)]
    corners += [(middle + bottom / 2, y + high), (middle - bottom / 2, y + high)]
    axes.add_patch(Polygon(corners, fill=False, edgecolor=FAINT, linewidth=0.9))


def filled(
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
        outline(axes, center, y, widths, high)
        y += high + (3 if segments is not together[-1] else 0)
    return y


def comb(axes: Axes, center: float, y: float, wide: float, color: str) -> None:
    """A strip whose channels are each for itself."""
    tooth = wide / TEETH
    for i in range(TEETH):
        corner = (center - wide / 2 + (i + 0.2) * tooth, y)
        axes.add_patch(
            Rectangle(corner, 0.6 * tooth, STRIP, facecolor=color, alpha=0.6, linewidth=0)
        )
    outline(axes, center, y, (wide, wide), STRIP)


def wires(axes: Axes, center: float, y: float, wide: float, segments: int, color: str) -> None:
    """Where a shuffle deals runs of channels: of segment j, run o goes to place o·s + j."""
    runs = max(1, DEALT // segments)
    total = runs * segments
    for j in range(segments):
        for o in range(runs):
            ends = [(place + 0.5) / total - 0.5 for place in (j * runs + o, o * segments + j)]
            xs = [center + end * wide for end in ends]
            axes.plot(xs, [y, y + STRIP], color=color, alpha=(0.9, 0.55)[j % 2], linewidth=1)


def cells(
    axes: Axes, center: float, y: float, wide: float, parts: Sequence[tuple[int, str]]
) -> None:
    """A strip in parts (width, what stands in it, where there is room for it)."""
    scale, x = wide / sum(width for width, _ in parts), center - wide / 2
    room = all(0.6 * LETTERS * len(name) < width * scale for width, name in parts)
    outline(axes, center, y, (wide, wide), STRIP)
    for number, (width, name) in enumerate(parts):
        if number:
            axes.plot([x, x], [y, y + STRIP], color=FAINT, linewidth=0.9)
        if room:
            say(axes, x + width * scale / 2, y + STRIP / 2, name, ha="center")
        x += width * scale


def moved(
    axes: Axes, center: float, y: float, wide: float, groups: Sequence[tuple[int, int]], color: str
) -> None:
    """A comb whose teeth stand as high or low as they move: groups are (width, places).

    Of more groups than teeth the first are drawn.
    """
    ends = list(accumulate(width for width, _ in groups))
    moves = [places for _, places in groups]
    least, reach = min(moves), max(1, max(moves) - min(moves))
    tooth, high = wide / TEETH, 0.4 * STRIP
    for i in range(TEETH):
        group = bisect(ends, (i + 0.5) * ends[-1] / TEETH) if len(groups) <= TEETH / 2 else i
        place = moves[group % len(moves)]
        corner = (
            center - wide / 2 + (i + 0.2) * tooth,
            y + (STRIP - high) * (place - least) / reach,
        )
        axes.add_patch(
            Rectangle(corner, 0.6 * tooth, high, facecolor=color, alpha=0.6, linewidth=0)
        )
    outline(axes, center, y, (wide, wide), STRIP)


def circle(axes: Axes, center: float, y: float, kind: str) -> None:
    """A circle with a plus for a sum, a cross for a product."""
    axes.add_patch(Circle((center, y + 7), ROUND, fill=False, edgecolor=GREY, linewidth=1))
    lines = ((4, 0), (0, 4)) if kind == "sum" else ((2.8, 2.8), (2.8, -2.8))
    for dx, dy in lines:
        ends = [center - dx, center + dx], [y + 7 - dy, y + 7 + dy]
        axes.plot(*ends, color=GREY, linewidth=1)


def row(axes: Axes, center: float, y: float, steps: list[Step], scale: float, color: str) -> float:
    """One row of a block; returns where it ends."""
    step = steps[0]
    wide, leaves = (max(width * scale, 2) for width in (step.entering, step.leaving))
    if step.kind in ("channels", "both"):
        return filled(axes, center, y, step, scale, STRIP, color)
    if step.kind in MERGES:
        circle(axes, center, y, step.kind)
        return y + 2 * ROUND + 2
    if step.kind in SMALL:
        outline(axes, center, y, (wide, wide), THIN)
        return y + THIN
    if step.kind == "space":
        comb(axes, center, y, wide, color)
    elif step.kind == "shuffle":
        wires(axes, center, y, wide, step.segments, color)
    elif step.kind == "shift":
        moved(axes, center, y, wide, step.groups, color)
    elif step.kind == "split":
        cells(axes, center, y, wide, step.cells)
    else:
        outline(axes, center, y, (wide, leaves), STRIP)
    return y + STRIP
