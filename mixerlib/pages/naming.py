"""Names beside points, where they cover neither a point nor one another."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import matplotlib.axes

LETTERS = 10.5  # points: 9 pixels high on a phone
WIDE, HIGH = 0.56 * LETTERS, 1.05 * LETTERS  # of a letter, and of a line
# Where a name may stand, in order: right, left, above, below, and further away; in points
NEAR = [(6, 0), (-6, 0), (5, 9), (5, -9), (-5, 9), (-5, -9), (0, 11), (0, -11)]
FAR = [(x * 2.2, y * 1.9) for x, y in NEAR[2:]] + [(x * 3.4, y * 2.9) for x, y in NEAR[2:]]


def name_points(
    axes: "matplotlib.axes.Axes", points: Mapping[str, tuple[float, float, str]]
) -> "matplotlib.axes.Axes":
    """Write each point's name beside it, at the first of some places that is still free.

    Args:
        axes: with its points drawn and its limits set; returned.
        points: name → x, y and the colour of the line that leads to a name further away.

    >>> from mixerlib.pages import name_points, plots
    >>> figure, axes = plots.canvas()
    >>> points = {"one": (0.5, 0.5, plots.INK), "other": (0.5, 0.5, plots.INK)}
    >>> placed = [text.xyann for text in name_points(axes[0, 0], points).texts]
    >>> placed[0] != placed[1]
    True
    """
    figure = axes.figure.figure  # of a panel in a part of a figure, the whole
    figure.draw_without_rendering()  # now the layout is settled
    points_of = 72 / figure.dpi
    frame = axes.get_window_extent()
    edges = np.array([frame.x0, frame.y0, frame.x1, frame.y1]) * points_of
    where = {
        name: axes.transData.transform((x, y)) * points_of for name, (x, y, _) in points.items()
    }
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in where.values()]
    for name in sorted(points, key=lambda name: -where[name][1]):
        offset = _free(name, where[name], taken, edges)
        taken.append(_box(name, where[name], offset))
        x, y, color = points[name]
        far = offset not in NEAR
        axes.annotate(
            name,
            (x, y),
            offset,
            textcoords="offset points",
            fontsize=LETTERS,
            ha="left" if offset[0] > 0 else "right" if offset[0] < 0 else "center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6} if far else None,
        )
    return axes


Box = tuple[float, float, float, float]


def _box(name: str, point: np.ndarray, offset: tuple[float, float]) -> Box:
    """What a name covers: left, bottom, right, top."""
    width, (x, y) = WIDE * len(name), point + np.array(offset)
    left = x if offset[0] > 0 else x - width if offset[0] < 0 else x - width / 2
    return left, y - HIGH / 2, left + width, y + HIGH / 2


def _free(name: str, point: np.ndarray, taken: list[Box], edges: np.ndarray) -> tuple[float, float]:
    """The first place that covers nothing and lies inside; else the one that covers least."""

    def covered(offset: tuple[float, float]) -> float:
        left, bottom, right, top = _box(name, point, offset)
        area = sum(
            max(0.0, min(right, r) - max(left, x)) * max(0.0, min(top, t) - max(bottom, b))
            for x, b, r, t in taken
        )
        outside = max(0.0, edges[0] - left) + max(0.0, right - edges[2])
        outside += max(0.0, edges[1] - bottom) + max(0.0, top - edges[3])
        return area + 20 * outside

    return min([*NEAR, *FAR], key=covered)  # the first of several with least
