"""Drawings for a phone: panels that lie side by side are stacked, one alone is made narrower, and
small ones keep their grid, so that letters stay readable.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.legend import Legend
from matplotlib.offsetbox import VPacker
from matplotlib.text import Text

COLUMN = 342  # pixels: the text column on a phone that is 390 wide
MOST_PANELS = 6
MOST_PIXELS = 20_000  # of all pictures in a figure: it is stored twice
TITLE = 0.3  # inches: a row of titles, which does not shrink with its pictures
LEAST = 0.3  # of the drawing's width: what a panel needs beside its names
SIDES: tuple[Literal["left", "center", "right"], ...] = (
    "left",
    "center",
    "right",
)  # where a title may stand


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


def framed(axes: Axes) -> bool:
    """Whether a panel has axes that are drawn, and no picture: it may be of any width."""
    return axes.axison and not axes.images and any(s.get_visible() for s in axes.spines.values())


def are_small_pictures(panels: list[Panel]) -> bool:
    """Whether the panels hold pictures of few pixels, or none of any size."""
    sizes = [image.get_size() for panel in panels for image in panel.axes.images]
    return sum(height * width for height, width in sizes) <= MOST_PIXELS


def can_be_stacked(figure: Figure) -> bool:
    """Whether there is one column of panels with axes, or the panels lie side by side and each says
    by itself what its height means.

    Small multiples whose first panel alone names the rows are not stacked, nor are many panels or
    large pictures.
    """
    panels = panels_of(figure) or []
    if not 1 <= len({(panel.row, panel.column) for panel in panels}) <= MOST_PANELS:
        return False
    if max(panel.column for panel in panels) == 0:
        return all(framed(panel.axes) for panel in panels)
    if not are_small_pictures(panels):
        return False
    named = {p.row: names_rows(p.axes) for p in reversed(panels) if p.column == 0}
    return all(p.axes.images or names_rows(p.axes) or not named.get(p.row) for p in panels)


def has_a_shape(axes: Axes) -> bool:
    """Whether a panel holds a picture, or squares: it is lower where it is narrower."""
    return axes.get_aspect() != "auto"


def can_keep_its_grid(figure: Figure) -> bool:
    """Whether the panels are small pictures or have axes, so that each may be narrower."""
    panels = panels_of(figure) or []
    filled = [panel.axes for panel in panels if panel.axes.has_data() or panel.axes.images]
    fit = bool(filled) and all(axes.images or framed(axes) for axes in filled)
    return fit and are_small_pictures(panels)


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


@contextmanager
def grid_kept(figure: Figure, width: float) -> Iterator[None]:
    """The figure `width` inches wide with its grid as it is, and pictures as much lower; as it was
    again at the end."""
    panels = panels_of(figure) or []
    wide, tall = map(float, figure.get_size_inches())
    titled = {panel.row for panel in panels for side in SIDES if panel.axes.get_title(side)}
    heads = TITLE * len(titled)
    lower = heads + max(0.0, tall - heads) * width / wide
    pictures = all(has_a_shape(panel.axes) for panel in panels if panel.axes.has_data())
    try:
        figure.set_size_inches(width, lower if pictures else tall)
        yield
    finally:
        figure.set_size_inches(wide, tall)


@contextmanager
def words_broken(figure: Figure) -> Iterator[None]:
    """Titles and labels in several lines where one is too long, and legends in fewer columns; as
    they were again at the end."""
    boxes = [legend._legend_handle_box for legend in legends_of(figure)]  # type: ignore[attr-defined]
    columns = [box._children for box in boxes]
    words = [text for axes in figure.axes for text in titles_of(axes) if not text.get_wrap()]
    try:
        for text in words:
            text.set_wrap(True)
        for legend, box in zip(legends_of(figure), boxes, strict=True):
            laid_out(figure)
            while legend.get_window_extent().width > figure.bbox.width and len(box._children) > 1:
                box._children = in_columns(figure, box._children, len(box._children) - 1)
                laid_out(figure)
        yield
    finally:
        for text in words:
            text.set_wrap(False)
        for box, before in zip(boxes, columns, strict=True):
            box._children = before


def in_columns(figure: Figure, columns: list[VPacker], count: int) -> list[VPacker]:
    """The entries of a legend in so many columns, in their order."""
    entries = [entry for column in columns for entry in column.get_children()]
    first, packed = columns[0], []
    for places in np.array_split(np.arange(len(entries)), count):
        children = [entries[place] for place in places]
        packed.append(VPacker(pad=0, sep=first.sep, align=first.align, children=children))
        packed[-1].set_figure(figure)
    return packed


def can_be_narrow(figure: Figure) -> bool:
    """Whether there is a way to draw the figure for a phone; large pictures scroll, for one."""
    return can_be_stacked(figure) or can_keep_its_grid(figure)


@contextmanager
def made_narrow(figure: Figure, width: float) -> Iterator[bool]:
    """The figure `width` inches wide in the way that suits it, and whether it can be read so: its
    words clash no more than before, and its panels have room. As it was again at the end.
    """
    before = clashes(figure)
    way = panels_stacked if can_be_stacked(figure) else grid_kept
    with way(figure, width), words_broken(figure):
        yield laid_out(figure) and clashes(figure) <= before and has_room(figure)


# --- whether it can be read -----------------------------------------------------------------------


def laid_out(figure: Figure) -> bool:
    """Lay the figure out as it would be drawn; whether its panels have any room beside its words.

    Matplotlib warns where they have none, which is an answer here, and leaves them as they were.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.draw_without_rendering()
    collapsed = [w for w in caught if "constrained_layout not applied" in str(w.message)]
    for other in (w for w in caught if w not in collapsed):
        warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return not collapsed


def legends_of(figure: Figure) -> list[Legend]:
    """The legends of the figure and of its panels."""
    inside = [legend for axes in figure.axes if (legend := axes.get_legend())]
    return [*figure.legends, *inside]


def titles_of(axes: Axes) -> list[Text]:
    """What stands around a panel: its titles, and what its axes measure."""
    titles = [child for child in axes.get_children() if isinstance(child, Text)]
    labels = [axes.xaxis.label, axes.yaxis.label] if axes.axison else []
    return [text for text in [*titles, *labels] if text not in axes.texts]


def words_of(figure: Figure) -> list[Text]:
    """All words and numbers that are drawn, but for those of the legends."""
    words = []
    for axes in figure.axes:
        words += [*titles_of(axes), *axes.texts]
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            words += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    return [text for text in words if text.get_visible() and text.get_text().strip()]


def clashes(figure: Figure) -> int:
    """How many pairs of words or legends lie on one another, and how many of them stick out.

    The page's letters are narrower than those that are measured, by 12 per cent at least.
    """
    laid_out(figure)
    boxes = [legend.get_window_extent() for legend in legends_of(figure)]
    for text in words_of(figure):
        box = Text.get_window_extent(text)  # without the arrow of an annotation
        boxes.append(box.padded(-0.06 * box.width, -0.15 * box.height))
    page = figure.bbox
    out = sum(box.x0 < page.x0 - 1 or box.x1 > page.x1 + 1 for box in boxes)
    return out + sum(one.overlaps(other) for one, other in combinations(boxes, 2))


def has_room(figure: Figure) -> bool:
    """Whether the panels of a figure that is drawn are wide enough beside their names."""
    panels = [panel.axes for panel in panels_of(figure) or [] if not has_a_shape(panel.axes)]
    return all(axes.get_position().width >= LEAST for axes in panels)
