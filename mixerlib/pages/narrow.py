"""Drawings for a phone: panels that lie side by side are stacked, so that letters stay readable."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec

COLUMN = 342  # pixels: the text column on a phone that is 390 wide
MOST_PANELS = 6
MOST_PIXELS = 20_000  # of all pictures in a figure: it is stored twice


class Panel(NamedTuple):
    """A panel, its place in the grid, and the label of its height."""

    axes: Axes
    spec: SubplotSpec
    row: int
    column: int
    label: str


def panels_of(figure: Figure) -> list[Panel] | None:
    """The panels, row by row; None where they are not one plain grid, as with a colour bar, a panel
    over several cells, or lines from one panel to another.
    """
    panels = []
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        if spec is None or len(spec.rowspan) > 1 or len(spec.colspan) > 1:
            return None
        place = spec.rowspan.start, spec.colspan.start
        panels.append(Panel(axes, spec, *place, axes.get_ylabel()))
    drawn_over = figure.texts or figure.patches or figure.lines or figure.artists
    grids = {id(panel.spec.get_gridspec()) for panel in panels}
    if len(grids) != 1 or drawn_over or figure.subfigs:
        return None
    return sorted(panels, key=lambda panel: (panel.row, panel.column))


def hides_names(axes: Axes) -> bool:
    """Whether the numbers at the vertical axis are left to another panel that shares it."""
    return not axes.yaxis.get_tick_params().get("labelleft", True)


def names_rows(axes: Axes) -> bool:
    """Whether there are words or numbers for the ticks of the vertical axis, shown or hidden."""
    return hides_names(axes) or any(label.get_text() for label in axes.get_yticklabels())


def can_be_stacked(figure: Figure) -> bool:
    """Whether the panels lie side by side and each says by itself what its height means.

    Small multiples whose first panel alone names the rows are not stacked, nor are many panels or
    large pictures: they scroll.
    """
    panels = panels_of(figure) or []
    if not 2 <= len({(panel.row, panel.column) for panel in panels}) <= MOST_PANELS:
        return False
    if max(panel.column for panel in panels) == 0:
        return False
    sizes = [image.get_size() for panel in panels for image in panel.axes.images]
    if sum(height * width for height, width in sizes) > MOST_PIXELS:
        return False
    named = {p.row: names_rows(p.axes) for p in reversed(panels) if p.column == 0}
    return all(p.axes.images or names_rows(p.axes) or not named.get(p.row) for p in panels)


@contextmanager
def panels_stacked(figure: Figure, width: float) -> Iterator[None]:
    """The figure `width` inches wide, with one panel a row; as it was again at the end.

    A panel without a label at its height takes that of the first panel in its row, and what it left
    to that one's ticks stands at its own.
    """
    panels = panels_of(figure)
    if panels is None:
        raise ValueError(f"`figure`={figure!r} must be one grid of panels")
    wide, tall = map(float, figure.get_size_inches())
    bare = [panel.axes for panel in panels if hides_names(panel.axes)]
    labels = {panel.row: panel.label for panel in reversed(panels) if panel.column == 0}
    places = sorted({(panel.row, panel.column) for panel in panels})
    shares = np.asarray(panels[0].spec.get_gridspec().get_height_ratios(), dtype=float)
    heights = [float(shares[row] / shares.sum() * tall) for row, _ in places]
    grid = GridSpec(len(places), 1, figure=figure, height_ratios=heights)
    try:
        for axes, _, row, column, label in panels:
            axes.set_subplotspec(grid[places.index((row, column)), 0])
            axes.set_ylabel(label or ("" if axes.images else labels.get(row, "")))
        for axes in bare:
            axes.tick_params(labelleft=True)
        figure.set_size_inches(width, sum(heights))
        yield
    finally:
        for panel in panels:
            panel.axes.set_subplotspec(panel.spec)
            panel.axes.set_ylabel(panel.label)
        for axes in bare:
            axes.tick_params(labelleft=False)
        figure.set_size_inches(wide, tall)
