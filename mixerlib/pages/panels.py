"""Panels that several chapters share: who hears whom, how well models learn, what changes do.

Each draws into matplotlib axes that it is given, as the functions of `mixerlib.pages.plots` do.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mixerlib.pages.colors import COLORS, FAINT, GREY
from mixerlib.pages.tables import SHORT_LABELS

if TYPE_CHECKING:
    import matplotlib.axes


def rectangles(heard: np.ndarray) -> list[tuple[int, int, int, int]]:
    """The filled squares of a table of yes and no as few rectangles (row, column, rows, columns).

    Rows that follow one another and are equal are taken together, and in them the squares that
    stand side by side.
    """
    drawn, top = [], 0
    for row in range(1, len(heard) + 1):
        if row < len(heard) and np.array_equal(heard[row], heard[top]):
            continue
        edges = np.flatnonzero(np.diff(np.concatenate(([0], heard[top].astype(int), [0]))))
        drawn += [(top, int(a), row - top, int(b - a)) for a, b in edges.reshape(-1, 2)]
        top = row
    return drawn


def reach_panel(
    axes: "matplotlib.axes.Axes", heard: np.ndarray, family: str, title: str = ""
) -> "matplotlib.axes.Axes":
    """Who hears whom: a square in row o and column i where channel o hears channel i.

    Args:
        axes: where to draw; returned.
        heard: yes and no, (channels, channels), as `mixerlib.costs.reach` returns it.
        family: a name in `plots.COLORS`: the squares have its colour.
        title: above the panel.
    """
    channels = len(heard)
    for row, column, rows, columns in rectangles(heard):
        axes.barh(row, columns, rows, column, align="edge", color=COLORS[family], linewidth=0)
    axes.set(xlim=(0, channels), ylim=(channels, 0), xticks=[], yticks=[], aspect="equal")
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.set_title(title, loc="center", fontsize=10)
    return axes


def accuracy_rows(
    axes: "matplotlib.axes.Axes",
    accuracies: Mapping[str, np.ndarray],
    half_width: Callable[[int], float],
    labels: Mapping[str, str] = SHORT_LABELS,
) -> "matplotlib.axes.Axes":
    """Models one below the other: a dot for each run, a line for the mean, a band for its interval.

    Args:
        axes: where to draw; returned.
        accuracies: name → test accuracies of its runs, in per cent. A name is a family's, with
            "_shuffle" behind it where the channels are shuffled (hollow dots), or one of `labels`,
            which is then drawn in grey.
        half_width: the number of runs → half the interval of their mean, in points.
        labels: name → what stands to the left of its row.
    """
    axes.use_sticky_edges = False
    written = []
    for row, (name, values) in enumerate(accuracies.items()):
        family = name.removesuffix("_shuffle")
        color, half = COLORS.get(family, GREY), half_width(len(values))
        axes.barh(row, 2 * half, 0.62, values.mean() - half, color=color, alpha=0.25, linewidth=0)
        axes.vlines(values.mean(), row - 0.31, row + 0.31, color=color, linewidth=1.6)
        fill = "none" if name != family else "full"
        axes.plot(values, np.full(len(values), row), "o", color=color, fillstyle=fill, markersize=5)
        written.append(labels[name] if name in labels else f"{labels[family]}, shuffled")
    means = [f"{values.mean():.1f}" for values in accuracies.values()]
    axes.set_label(", ".join(map(" ".join, zip(written, means, strict=True))))  # for described
    axes.set_yticks(range(len(written)), written)
    axes.set(xlabel="test accuracy, per cent", ylim=(len(written) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    return axes


def change_rows(
    axes: "matplotlib.axes.Axes", changes: Mapping[str, tuple[float, float | None]]
) -> "matplotlib.axes.Axes":
    """Changes one below the other: a dot for the difference from a base, a line for its interval.

    Args:
        axes: where to draw; returned.
        changes: what stands to the left of a row → its difference in points, and half its interval;
            None where that is not known.
    """
    for y, (points, half) in enumerate(changes.values()):
        axes.errorbar(points, y, xerr=half, fmt="o", color=COLORS["splitmixer_i"], capsize=3)
    axes.set_label(", ".join(f"{name} {points:+.2f}" for name, (points, _) in changes.items()))
    axes.axvline(0, color=FAINT, linewidth=1)
    axes.set_yticks(range(len(changes)), list(changes))
    axes.set_ylim(len(changes) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    return axes
