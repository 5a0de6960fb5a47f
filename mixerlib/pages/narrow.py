"""Drawings for a phone: panels that lie side by side are stacked, so that letters stay readable."""

from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

COLUMN = 342  # pixels: the text column on a phone that is 390 wide
MOST_PANELS = 6
MOST_PIXELS = 20_000  # of all pictures in a figure: it is stored twice


def panels_of(figure: Figure) -> list[tuple[Axes, int, int]] | None:
    """The panels with their rows and columns, row by row; None where they are not one plain grid,
    as with a colour bar, a panel over several cells, or lines from one panel to another.
    """
    placed, grids = [], set()
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        if spec is None or len(spec.rowspan) > 1 or len(spec.colspan) > 1:
            return None
        grids.add(id(spec.get_gridspec()))
        placed.append((axes, spec.rowspan.start, spec.colspan.start))
    drawn_over = figure.texts or figure.patches or figure.lines or figure.artists
    if len(grids) != 1 or drawn_over or figure.subfigs:
        return None
    return sorted(placed, key=lambda panel: panel[1:])


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
    panels = panels_of(figure)
    if panels is None or not 2 <= len({place[1:] for place in panels}) <= MOST_PANELS:
        return False
    if max(column for *_, column in panels) == 0:
        return False
    sizes = [image.get_size() for axes, *_ in panels for image in axes.images]
    if sum(height * width for height, width in sizes) > MOST_PIXELS:
        return False
    named = {row: names_rows(axes) for axes, row, column in reversed(panels) if column == 0}
    return all(axes.images or names_rows(axes) or not named.get(row) for axes, row, _ in panels)


@contextmanager
def panels_stacked(figure: Figure, width: float) -> Iterator[None]:
    """The figure `width` inches wide, with one panel a row; as it was again at the end.

    A panel without a label at its height takes that of the first panel in its row, and what it left
    to that one's ticks stands at its own.
    """
    panels = panels_of(figure) or []
    before = [(axes, axes.get_subplotspec(), axes.get_ylabel()) for axes, *_ in panels]
    bare = [axes for axes, *_ in panels if hides_names(axes)]
    size = figure.get_size_inches().copy()
    places = sorted({place[1:] for place in panels})
    tall = before[0][1].get_gridspec().get_height_ratios()
    heights = [tall[row] / sum(tall) * size[1] for row, _ in places]
    grid = GridSpec(len(places), 1, figure=figure, height_ratios=heights)
    labels = {row: axes.get_ylabel() for axes, row, column in reversed(panels) if column == 0}
    try:
        for axes, row, column in panels:
            axes.set_subplotspec(grid[places.index((row, column))])
            axes.set_ylabel(axes.get_ylabel() or ("" if axes.images else labels.get(row, "")))
        for axes in bare:
            axes.tick_params(labelleft=True)
        figure.set_size_inches(width, sum(heights))
        yield
    finally:
        for axes, spec, label in before:
            axes.set_subplotspec(spec)
            axes.set_ylabel(label)
        for axes in bare:
            axes.tick_params(labelleft=False)
        figure.set_size_inches(size)
