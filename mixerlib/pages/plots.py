"""One look for every figure of the book: arrays in, a matplotlib figure out, shown as part of the
page.

`show(figure, caption)` puts the drawing into the page as inline SVG. Lines and letters that have no
colour of their own take the page's text colour, so a figure is right on a light and on a dark page,
and its letters are the page's letters. Nothing here computes: functions draw what they are given.
"""

import html
import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mixerlib.pages.colors import ACCENT, COLORS, FAINT, INK, WARM
from mixerlib.pages.colors import GREY as GREY  # the chapters draw with it
from mixerlib.pages.figure_style import PAGE_WIDTH, STYLE, described
from mixerlib.pages.narrow import COLUMN, can_be_narrow, made_narrow

SEQUENTIAL = "viridis"  # magnitudes
DIVERGING = "PuOr"  # signed weights, white in the middle
READABLE = 9.2  # pixels: no letter is smaller; on a phone a drawing rather scrolls


def style() -> AbstractContextManager[None]:
    """The book's style for the figures made inside: `with plots.style(): …`."""
    return mpl.rc_context(STYLE)


def canvas(
    rows: int = 1,
    columns: int = 1,
    height: float = 2.8,
    width: float = PAGE_WIDTH,
    **ratios: Any,
) -> tuple[Figure, np.ndarray]:
    """A figure as wide as the text, in the book's style, and its axes as an array (rows, columns).

    `height` and `width` are in inches; `width_ratios` and `height_ratios` are matplotlib's.
    """
    mpl.rcParams.update(STYLE)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **ratios)
    plt.close(figure)  # shown by `show`, once, and not by the notebook as well
    return figure, axes


class Shown:
    """A figure with its caption, as the page shows it. Notebooks call `_repr_mimebundle_`."""

    def __init__(self, figure: Figure, caption: str, alt: str | None):
        self.figure, self.caption, self.alt = figure, caption, alt

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        alt = self.alt or described(self.figure)
        drawings, least = drawn_wide(self.figure, alt)
        drawings += narrow_svg(self.figure, alt, least)
        words = self.alt or html.unescape(re.sub(r"<[^>]+>", "", self.caption))
        return {
            "text/html": (
                f'<figure class="mixer-figure">{drawings}'
                f"<figcaption>{self.caption}</figcaption></figure>"
            ),
            "text/plain": f"[Figure: {words}]",
        }


def show(figure: Figure, caption: str, alt: str | None = None) -> Shown:
    """The figure with a caption that states its conclusion, as the last value of a cell.

    `caption` may hold inline HTML such as <em>. A screen reader says it, and before it `alt`: what
    the drawing looks like, by its titles and labels unless it is given. Raises `ValueError` for an
    empty caption.
    """
    if not caption.strip():
        raise ValueError(f"`caption`={caption!r} must say what the figure shows")
    return Shown(figure, caption, alt)


_drawn = 0  # figures drawn so far, so that the ids inside two drawings on one page differ


def drawing(figure: Figure) -> tuple[str, float]:
    """The figure as `<svg>` in the page's colours, and the width that its letters need: pixels."""
    global _drawn
    _drawn += 1
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = text.replace(INK, "currentColor")
    text = re.sub(rf"(stroke|fill): {FAINT}", r"\1: currentColor; \1-opacity: 0.35", text)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="f{_drawn}-\1"', text)
    text = re.sub(r'(href="|url\()#', rf"\1#f{_drawn}-", text)
    letters = [float(size) for size in re.findall(r'<text style="[^"]*?([\d.]+)px', text)]
    return text, READABLE / min(letters) * 72 * figure.get_figwidth() if letters else 0.0


def with_head(text: str, alt: str, head: str) -> str:
    """The drawing with what a screen reader says of it, and with a style in place of its size."""
    head = f'role="img" aria-label="{html.escape(alt, quote=True)}" {head}'
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', lambda _: head, text, count=1)


def drawn_wide(figure: Figure, alt: str) -> tuple[str, float]:
    """What `svg` returns, and the least pixels that it is wide."""
    text, least = drawing(figure)
    share = min(1.0, figure.get_figwidth() / PAGE_WIDTH)
    most = max(760 * share, least)
    size = f"width: {share:.0%}; min-width: {least:.0f}px; max-width: {most:.0f}px; height: auto"
    return with_head(text, alt, f'style="{size}"'), least


def svg(figure: Figure, alt: str) -> str:
    """The figure as an `<svg>` element in the page's colours, as wide as its letters need."""
    return drawn_wide(figure, alt)[0]


def narrow_svg(figure: Figure, alt: str, least: float) -> str:
    """The figure for a phone; empty where it would not be readable, or where it fits as it
    is, with its `least` width in pixels. The page's style sheet shows it in a narrow window.
    """
    if least <= COLUMN or not can_be_narrow(figure):
        return ""
    with made_narrow(figure, figure.get_figwidth() * COLUMN / least) as readable:
        text, least = drawing(figure) if readable else ("", np.inf)
    if least > COLUMN + 0.5:
        return ""
    return with_head(text, alt, 'class="narrow" style="display: none; width: 100%; height: auto"')


def bare(axes: Axes) -> Axes:
    """Axes without ticks and frame, for pictures and diagrams."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def picture(axes: Axes, image: np.ndarray, title: str = "", **options: Any) -> Axes:
    """An image (H, W) or (H, W, 3), its pixels as squares; (H, W) from black to white."""
    if image.ndim == 2:
        options = {"cmap": "gray"} | options
    bare(axes).imshow(image, **options)
    axes.set_title(title)
    return axes


def pictures(
    images: np.ndarray, columns: int, titles: Sequence[str] = (), **options: object
) -> Figure:
    """Images (N, H, W) or (N, H, W, 3) in rows of `columns`, each with its title."""
    rows = -(-len(images) // columns)
    side = PAGE_WIDTH / columns * images.shape[1] / images.shape[2]
    figure, axes = canvas(rows, columns, height=rows * (side + (0.28 if titles else 0.06)))
    for number, place in enumerate(axes.flat):
        bare(place)
        if number < len(images):
            title = titles[number] if number < len(titles) else ""
            picture(place, images[number], title, **options)
            place.title.set_fontsize(9.5)
    return figure


def weights(axes: Axes, matrix: np.ndarray, title: str = "", limit: float | None = None) -> Axes:
    """Signed numbers (rows, columns) as colours, zero in the middle, ±`limit` at the ends."""
    limit = float(np.abs(matrix).max()) if limit is None else limit
    return picture(axes, matrix, title, cmap=DIVERGING, vmin=-limit, vmax=limit)


def patch_grid(axes: Axes, height: int, width: int, patch: int, color: str = "white") -> Axes:
    """Lines between the patches of an image.

    Args:
        axes: with the image drawn; returned.
        height: of the image, in pixels.
        width: of the image, in pixels.
        patch: the side p of a patch, in pixels.
        color: of the lines.
    """
    for y in range(patch, height, patch):
        axes.axhline(y - 0.5, color=color, linewidth=0.8)
    for x in range(patch, width, patch):
        axes.axvline(x - 0.5, color=color, linewidth=0.8)
    return axes


def curves(
    axes: Axes, x: np.ndarray, lines: dict[str, np.ndarray], colors: Sequence[str] = ()
) -> Axes:
    """One labelled line for each entry of `lines` over the same `x`."""
    colors = colors or (INK, ACCENT, COLORS["splitmixer_i"], COLORS["splitmixer_iii"])
    for (label, y), color in zip(lines.items(), colors, strict=False):
        axes.plot(x, y, color=color, label=label)
    axes.grid(True, axis="y")
    if len(lines) > 1:
        axes.legend()
    return axes


def plain_ticks(axis: Axis, steps: Sequence[float] = (1, 2, 5)) -> None:
    """Numbers on a logarithmic axis as they are said: at these multiples of powers of ten."""
    axis.set_major_locator(ticker.LogLocator(subs=steps))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def stacked_bar(
    axes: Axes, y: float, pieces: Sequence[tuple[float, str, float]], height: float = 0.62
) -> float:
    """A horizontal bar at `y` from pieces (length, color, opacity); returns where it ends."""
    left = 0.0
    for length, color, opacity in pieces:
        axes.barh(y, length, height, left, color=color, alpha=opacity, linewidth=0)
        left += length
    return left


def key(place: Axes | Figure, fills: Mapping[str, tuple[str, float]], **options: Any) -> None:
    """A legend of squares: label → (color, opacity). The options are those of `place.legend`."""
    squares = [
        Rectangle((0, 0), 1, 1, facecolor=color, alpha=opacity, linewidth=0)
        for color, opacity in fills.values()
    ]
    place.legend(squares, list(fills), **options)


def confusion(axes: Axes, matrix: np.ndarray, names: Sequence[str]) -> Axes:
    """Counts of (true class, predicted class) as numbers in squares, darker for more mistakes."""
    total = len(matrix)
    worst = max(1, int(matrix[~np.eye(total, dtype=bool)].max()))
    for row in range(total):
        for column in range(total):
            count = int(matrix[row, column])
            right = row == column
            shade = 0.0 if right else 0.65 * count / worst  # letters stay clear in light and dark
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=WARM, alpha=shade, linewidth=0)
            )
            if count:
                weight = "bold" if right else "normal"
                axes.text(
                    column, row, str(count), ha="center", va="center", fontsize=9, weight=weight
                )
    axes.set(xlim=(-0.5, total - 0.5), ylim=(total - 0.5, -0.5), aspect="equal")
    axes.set_xticks(range(total), names)
    axes.set_yticks(range(total), names)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


# One strip of channels: (start, width, opacity) of each segment that is mixed there.
Strip = Sequence[tuple[float, float, float]]


def channel_blocks(
    axes: Axes, channels: int, blocks: Sequence[Sequence[Strip]], color: str
) -> Axes:
    """A model's blocks as strips of its channels: channel 0 on the left, depth downward.

    A block is one strip, or several where it mixes several times. Segments that a block mixes are
    filled, channels that pass through are only outlined. Segments with the same opacity share their
    weights.
    """
    for number, strips in enumerate(blocks):
        height = 0.72 / len(strips)
        for row, segments in enumerate(strips):
            top = number + row * height
            bar = height * (1.0 if len(strips) == 1 else 0.88)
            axes.add_patch(Rectangle((0, top), channels, bar, fill=False, edgecolor=FAINT, lw=0.9))
            for start, width, opacity in segments:
                over = max(0, start + width - channels)  # what goes on at channel 0
                for left, part in ((start, width - over), (0, over))[: 1 + (over > 0)]:
                    filled = Rectangle((left, top), part, bar, facecolor=color, linewidth=0)
                    axes.add_patch(filled).set_alpha(opacity)
    bare(axes).set(xlim=(-0.01 * channels, 1.01 * channels), ylim=(len(blocks) - 0.2, -0.1))
    return axes


def block_strips(
    family: str, channels: int, mixed: Sequence[Sequence[tuple[int, int]]]
) -> list[list[Strip]]:
    """What `channel_blocks` draws for a family, from the segments (start, width) of each block.

    Segments with weights of their own alternate in opacity. What happens one after the other lies
    in strips one below the other: V's two mixings, and the shuffle of the 3-D form.
    """
    if family == "splitmixer_v":
        return [[[(*first, 1.0)], [(*second, 0.6)]] for first, second in mixed]
    if family == "splitmixer_iv":
        return [[[(*pair, (1.0, 0.6)[i % 2]) for i, pair in enumerate(block)]] for block in mixed]
    gap = 0.02 * channels if family in ("splitmixer_iii", "splitmixer_3d") else 0.0
    drawn: list[list[Strip]]
    drawn = [[[(a + gap / 2, width - gap, 1.0) for a, width in block]] for block in mixed]
    if family == "splitmixer_3d":
        dealt = [(i * channels / 12, channels / 24, 0.45) for i in range(12)]
        drawn = [[*strips, dealt] for strips in drawn]
    return drawn


def family_blocks(
    axes: Axes,
    family: str,
    channels: int,
    mixed: Sequence[Sequence[tuple[int, int]]],
    title: str = "",
    numbered: bool = False,
) -> Axes:
    """The blocks of a model of a family, as strips of its channels in the family's colour.

    Args:
        axes: where to draw; returned.
        family: a name in COLORS.
        channels: the width h of the model.
        mixed: the segments (start, width) that each block mixes, as `costs.mixing_steps` tells them
            of a model.
        title: above the strips.
        numbered: whether "block 0", "block 1" … stand to their left.
    """
    channel_blocks(axes, channels, block_strips(family, channels, mixed), COLORS[family])
    axes.set_title(title)
    for block in range(len(mixed) if numbered else 0):
        axes.text(-0.03 * channels, block + 0.36, f"block {block}", ha="right", va="center")
    return axes


def strategies(
    channels: int, drawings: dict[str, tuple[str, Sequence[Sequence[Strip]], str]]
) -> Figure:
    """Models side by side as strips of channels: name → (title, blocks, a line below)."""
    figure, axes = canvas(1, len(drawings), height=2.15)
    for place, (name, (title, blocks, below)) in zip(axes.flat, drawings.items(), strict=True):
        channel_blocks(place, channels, blocks, COLORS[name])
        place.set_title(title, loc="center", fontsize=10.5, fontweight="bold")
        place.set_xlabel(below, fontsize=9.5)
    return figure
