"""Draws the book's logo, favicon, cover figure and card here, and writes the findings into the
README: `python book/assets/draw.py`.

The mark is SplitMixer-I seen from the side: each block mixes two thirds of the channels, the first
and the last ones in turn.
"""

import io
import re
import sys
from pathlib import Path as File

from matplotlib.patches import PathPatch
from matplotlib.path import Path

sys.path.append(str(File(__file__).parents[1]))  # so that this runs from any folder

from assets.front import all_heard, news, readme

from mixerlib import create_model
from mixerlib.costs import mixing_steps
from mixerlib.pages import SHORT_LABELS, plots

HERE = File(__file__).parent
README = HERE.parents[1] / "README.md"
ORANGE, BLUE = plots.COLORS["splitmixer_i"], plots.COLORS["splitmixer_3d"]
# A picture file cannot see the page's theme, only the reader's own setting.
INK_STYLE = (
    "<style>.ink{color:#1f2328;font-family:system-ui,sans-serif}"
    "@media(prefers-color-scheme:dark){.ink{color:#e6edf3}}</style>"
)


def mark(size: int, rows: int) -> str:
    """The logo as a square SVG of `size` units, with that many blocks."""
    unit = size / 64
    bars = []
    pitch = 54 / rows
    for row in range(rows):
        top, left = 5 + pitch * (row + 0.13), 4 if row % 2 == 0 else 4 + 56 / 3
        color = ORANGE if row % 2 == 0 else BLUE
        frame = (4, 56, "none", 'stroke="#808489" stroke-width="1.5"')
        bar = (left, 56 * 2 / 3, color, "")
        for x, width, fill, extra in (frame, bar):
            bars.append(
                f'<rect x="{x * unit:.2f}" y="{top * unit:.2f}" width="{width * unit:.2f}" '
                f'height="{pitch * 0.74 * unit:.2f}" rx="{2.5 * unit:.2f}" fill="{fill}" {extra}/>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{size}" '
        f'height="{size}" role="img" aria-label="The Mixer Book">{"".join(bars)}</svg>\n'
    )


def cover(blocks: int = 8, columns: int = len(SHORT_LABELS)) -> plots.Figure:
    """Every model as strips of channels, and how far news of one channel has come in each block;
    `columns` side by side."""
    rows = -(-len(SHORT_LABELS) // columns)
    share = columns / len(SHORT_LABELS)
    figure, axes = plots.canvas(rows, columns, 2.75 * rows, share * plots.PAGE_WIDTH)
    for place in axes.flat[len(SHORT_LABELS) :]:
        place.set_visible(False)
    for place, (name, title) in zip(axes.flat, SHORT_LABELS.items(), strict=False):
        model = create_model(name)
        width, mixed = model.num_features, [segments for segments, _ in mixing_steps(model)]
        heard = [run for b, row in enumerate(news(name, blocks)) for run in _runs(row, b)]
        strips = [(block, start, wide) for block in range(blocks) for start, wide in mixed[block]]
        whole = [(block, 0, width) for block in range(blocks)]
        for bars, look in (
            (strips, {"facecolor": plots.COLORS[name], "alpha": 0.16, "linewidth": 0}),
            (heard, {"facecolor": plots.COLORS[name], "linewidth": 0}),
            (whole, {"fill": False, "edgecolor": plots.FAINT, "linewidth": 0.9}),
        ):
            place.add_patch(PathPatch(_outline(bars), clip_on=False, **look))
        place.patch.set_visible(False)
        plots.bare(place).set(xlim=(-3, width + 3), ylim=(blocks - 0.2, -0.1))
        place.set_title(title, loc="center", fontsize=11, fontweight="bold")
        parameters = sum(p.numel() for p in model.parameters())
        after = all_heard(name)
        words = "never" if after is None else f"{after} block{'s' if after > 1 else ''}"
        place.set_xlabel(f"{words}\n{parameters / 1000:.0f} k", fontsize=10.5)
    return figure


def _runs(heard: list[bool], block: int) -> list[tuple[int, int, int]]:
    """Each run of channels that have heard: its block, its first channel, how many they are."""
    closed = [False, *heard, False]
    edges = [c for c in range(len(heard) + 1) if closed[c] != closed[c + 1]]
    return [(block, a, b - a) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _outline(bars: list[tuple[int, int, int]]) -> Path:
    """Bars, each given by its block, its first channel and how many they are, as one path: a file
    with one element for each bar would be many times as long."""
    return Path.make_compound_path(
        *(
            Path([(a, b), (a + n, b), (a + n, b + 0.74), (a, b + 0.74), (a, b)], closed=True)
            for b, a, n in bars
        )
    )


# Of a bar in an outline: its left, top, right and lower edge.
BAR = r"M ([\d.]+) ([\d.]+) L ([\d.]+) \2 L \3 ([\d.]+) L \1 \4 (?:L \1 \2 )?z ?"


def compact(drawing: str) -> str:
    """The SVG without groups, to a hundredth of a point, and each bar as a corner and its sides."""

    def bar(match: re.Match) -> str:
        left, top, right, low = (float(edge) for edge in match.groups())
        sides = f"h{right - left:.4g}v{low - top:.4g}h{left - right:.4g}z"
        return f"M{left:g} {top:g}" + re.sub(r"(?<!\d)0\.", ".", sides)

    def outline(match: re.Match) -> str:
        return f'd="{re.sub(BAR, bar, " ".join(match[1].split()))}"'

    drawing = re.sub(r'</?g(?: id="[^"]*")?/?>', "", drawing)
    drawing = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", drawing)
    drawing = re.sub(r'\bd="([^"]*)"', outline, drawing)
    return re.sub(r"\s*\n\s*", "\n", drawing)


def cover_html() -> str:
    """The cover as a figure of the page, and for a phone the same in two rows."""
    shown = plots.show(cover(), COVER_CAPTION)._repr_mimebundle_()["text/html"]
    narrow = plots.svg(cover(columns=4), "The same drawing in two rows, for a narrow page.")
    narrow = narrow.replace("<svg ", '<svg class="narrow" ', 1)
    return shown.replace("<figcaption>", f"{narrow}<figcaption>", 1)


COVER_CAPTION = (
    "Tell one channel something, the last, and follow the news down the blocks. Each strip is a "
    "block and holds its channels; in full colour are those that have heard, in a pale tone what "
    "the block mixes. Below: after how many blocks all channels have heard of all others, and the "
    "trainable parameters at 256 channels and 8 blocks, for CIFAR-10."
)


def card() -> bytes:
    """What a link to the book shows elsewhere: the cover figure under the title, 1200 × 630 PNG."""
    figure = cover()
    figure.set_size_inches(7.6, 7.6 * 630 / 1200)
    figure.get_layout_engine().set(rect=(0.04, 0.07, 0.92, 0.52))
    figure.text(0.046, 0.81, "The Mixer Book", fontsize=27, fontweight="bold")
    figure.text(
        0.046,
        0.71,
        "Derived line by line, counted exactly, trained at a small scale",
        fontsize=13.5,
    )
    faint = tuple(int(plots.FAINT[i : i + 2], 16) / 255 for i in (1, 3, 5))
    for part in figure.findobj(lambda part: hasattr(part, "get_edgecolor")):
        if tuple(part.get_edgecolor())[:3] == faint:  # a page would make this tone of its own ink
            part.set_edgecolor("#a5a8ac")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=1200 / 7.6, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def files() -> dict[str, str]:
    """Name and text of every drawing."""
    picture = compact(plots.svg(cover(), COVER_CAPTION))
    picture = picture.replace("<svg ", '<svg class="ink" ', 1).replace(
        "<defs>", INK_STYLE + "<defs>", 1
    )
    return {"logo.svg": mark(128, rows=4), "favicon.svg": mark(32, rows=3), "cover.svg": picture}


def readme_text() -> str:
    """The README with the findings as they are now between its two marks."""
    text = f"<!-- findings -->\n{readme()}\n<!-- /findings -->"
    old = README.read_text(encoding="utf-8")
    return re.sub(r"<!-- findings -->.*<!-- /findings -->", lambda _: text, old, flags=re.S)


if __name__ == "__main__":
    README.write_text(readme_text(), encoding="utf-8")
    print("wrote the findings into", README)
    for name, text in files().items():
        (HERE / name).write_text(text)
        print("wrote", HERE / name)
    (HERE / "card.png").write_bytes(card())
    print("wrote", HERE / "card.png")
