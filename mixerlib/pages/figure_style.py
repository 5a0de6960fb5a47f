"""How the book's figures look, and what they are in words."""

from typing import Any

from matplotlib.axes import Axes
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


def listed_words(axes: Axes) -> str:
    """What stands around one panel: its title, its axes' labels, the names of its lines."""
    titles = [axes.get_title(loc) for loc in ("left", "center", "right")]
    x, y = axes.get_xlabel(), axes.get_ylabel()
    over = f"{y} over {x}" if x and y else x or y
    legend = axes.get_legend()
    names = ", ".join(text.get_text() for text in legend.get_texts()) if legend else ""
    words = [*(title for title in titles if title), over, f"showing {names}" if names else ""]
    return ": ".join(word for word in words if word)


def described(figure: Figure) -> str:
    """What a drawing consists of, by its titles, labels and legends. What it shows, its caption
    says, and a screen reader reads both.
    """
    panels = [axes for axes in figure.axes if axes.get_visible()]
    words = [text for axes in panels if (text := listed_words(axes))]
    count = "one panel" if len(panels) == 1 else f"{len(panels)} panels"
    text = f"Drawing of {count}" + (f". {'; '.join(words)}" if words else "")
    return " ".join(text.replace("$", "").replace("\\", "").split())
