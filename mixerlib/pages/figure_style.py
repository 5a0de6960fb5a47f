"""How the book's figures look, and what they are in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from mixerlib.pages.colors import FAINT, INK

STYLE: dict[Any, Any] = {  # matplotlib lists the keys in its types
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "font.size": 10.5,
    "font.family": ["DejaVu Sans"],
    "svg.fonttype": "none",  # letters stay letters: searchable, and in the page's own typeface
    "svg.hashsalt": "mixerlib",
    "figure.constrained_layout.use": True,
    "image.interpolation": "none",
}
PAGE_WIDTH = 7.6  # inches: the width of the text column at matplotlib's 72 points an inch


MOST = 8  # lines, bars or words of one panel that are read out


def listed_words(axes: Axes) -> str:
    """What stands around one panel, its title and its axes' labels; and what is in it: what the
    panel says of itself by its label, or bars and lines with their values; and words."""
    titles = [axes.get_title(loc) for loc in ("left", "center", "right")]
    x, y = axes.get_xlabel(), axes.get_ylabel()
    over = f"{y} over {x}" if x and y else x or y
    inside = str(axes.get_label()) or bars(axes) or lines(axes)
    words = [text.get_text() for text in axes.texts if text.get_text().strip()]
    words = [*(title for title in titles if title), over, inside, some("the words ", words)]
    return ": ".join(word for word in words if word)


def some(head: str, items: Sequence[str]) -> str:
    """The first of several, and how many more there are; nothing of none."""
    more = f" and {len(items) - MOST} more" if len(items) > MOST else ""
    return head + ", ".join(items[:MOST]) + more if items else ""


def bars(axes: Axes) -> str:
    """The bars of a panel, if each begins at zero and has a name: the name and the length."""
    told = []
    for group in (group for group in axes.containers if isinstance(group, BarContainer)):
        flat = group.orientation == "horizontal"
        axis = axes.yaxis if flat else axes.xaxis
        for bar in group:
            start, end = (bar.get_x(), bar.get_width()) if flat else (bar.get_y(), bar.get_height())
            side, wide = (bar.get_y(), bar.get_height()) if flat else (bar.get_x(), bar.get_width())
            name = name_at(axis, side + wide / 2)
            if start or not name:
                return ""
            told.append(f"{name} {end:.3g}")
    return some("bars ", told)


def name_at(axis: Axis, value: float) -> str:
    """The label of the tick at a value; nothing where there is none."""
    for place, text in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False):
        if abs(place - value) < 1e-6:
            return text.get_text()
    return ""


def lines(axes: Axes) -> str:
    """The lines of a panel that have names, each with its first and last value."""
    legend = axes.get_legend()
    named = {line.get_label(): line for line in axes.get_lines()}
    told = []
    for name in (text.get_text() for text in legend.get_texts()) if legend else ():
        heights = np.asarray(named[name].get_ydata(orig=False) if name in named else [])
        heights = heights[np.isfinite(heights)]
        moves = f" from {heights[0]:.3g} to {heights[-1]:.3g}" if len(heights) > 1 else ""
        told.append(name + moves)
    return some("showing ", told)


def described(figure: Figure) -> str:
    """What a drawing consists of, by its titles, labels, legends, bars and words. What it shows,
    its caption says, and a screen reader reads both.
    """
    panels = [axes for axes in figure.axes if axes.get_visible() and filled(axes)]
    words = [text for axes in panels if (text := listed_words(axes))]
    count = "one panel" if len(panels) == 1 else f"{len(panels)} panels"
    text = f"Drawing of {count}" + (f". {'; '.join(words)}" if words else "")
    return " ".join(text.replace("$", "").replace("\\", "").split())


def filled(axes: Axes) -> bool:
    """Whether there is anything in a panel, or around it."""
    return bool(axes.has_data() or axes.patches or listed_words(axes))
