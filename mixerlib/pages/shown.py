"""A matplotlib figure as a part of the page: inline SVG in the page's ink, with its caption."""

import html
import io
import re
from typing import Any

import matplotlib as mpl
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
READABLE = 9.2  # pixels: no letter is smaller; on a phone a drawing rather scrolls


class Shown:
    """A figure with its caption, as the page shows it. Notebooks call `_repr_mimebundle_`."""

    def __init__(self, figure: Figure, caption: str, alt: str | None):
        self.figure, self.caption, self.alt = figure, caption, alt

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        drawing = svg(self.figure, self.alt or described(self.figure))
        words = self.alt or html.unescape(re.sub(r"<[^>]+>", "", self.caption))
        return {
            "text/html": (
                f'<figure class="mixer-figure">{drawing}'
                f"<figcaption>{self.caption}</figcaption></figure>"
            ),
            "text/plain": f"[Figure: {words}]",
        }


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


_drawn = 0  # figures drawn so far, so that the ids inside two drawings on one page differ


def svg(figure: Figure, alt: str) -> str:
    """The figure as an `<svg>` element that takes its colours from the page and scales with it, as
    far as its smallest letters stay readable.
    """
    global _drawn
    _drawn += 1
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = text.replace(INK, "currentColor")
    text = re.sub(rf"(stroke|fill): {FAINT}", r"\1: currentColor; \1-opacity: 0.35", text)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="f{_drawn}-\1"', text)
    text = re.sub(r'(href="|url\()#', rf"\1#f{_drawn}-", text)
    width = figure.get_figwidth()
    share = min(1.0, width / PAGE_WIDTH)
    letters = [float(size) for size in re.findall(r'<text style="[^"]*?([\d.]+)px', text)]
    least = READABLE / min(letters) * 72 * width if letters else 0.0
    head = (
        f'role="img" aria-label="{html.escape(alt, quote=True)}" '
        f'style="width: {share:.0%}; min-width: {least:.0f}px; '
        f'max-width: {max(760 * share, least):.0f}px; height: auto"'
    )
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', lambda _: head, text, count=1)
