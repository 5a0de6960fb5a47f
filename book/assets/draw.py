"""Draws the book's logo, favicon, cover figure and card here: `python book/assets/draw.py`.

The mark is SplitMixer-I seen from the side: each block mixes two thirds of the channels, the first
and the last ones in turn.
"""

import io
from pathlib import Path

from mixerlib import create_model
from mixerlib.costs import mixing_steps
from mixerlib.pages import SHORT_LABELS, plots

HERE = Path(__file__).parent
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


def cover() -> plots.Figure:
    """Every model's channel mixing, with the parameters of its 256/8 version for CIFAR-10."""
    drawings = {}
    for name, title in SHORT_LABELS.items():
        model = create_model(name)
        parameters = sum(p.numel() for p in model.parameters())
        mixed = [segments for segments, _ in mixing_steps(model)[:4]]
        strips = plots.block_strips(name, model.head.in_features, mixed)
        drawings[name] = (title, strips, f"{parameters / 1000:.0f} k")
    return plots.strategies(256, drawings)


COVER_CAPTION = (
    "Four blocks of each model as strips of channels. ConvMixer mixes all channels in every block. "
    "The six SplitMixer strategies, I to V and 3-D, mix segments of them; outlined channels pass "
    "through. Below: trainable parameters at width 256 and 8 blocks, counted by this book's code."
)


def card() -> bytes:
    """What a link to the book shows elsewhere: the cover figure under the title, 1200 × 630 PNG."""
    figure = cover()
    figure.set_size_inches(7.6, 7.6 * 630 / 1200)
    figure.get_layout_engine().set(rect=(0.04, 0.07, 0.92, 0.52))
    figure.text(0.046, 0.81, "The Mixer Book", fontsize=27, fontweight="bold")
    figure.text(0.046, 0.71, "Derived line by line, counted exactly, and trained", fontsize=13.5)
    faint = tuple(int(plots.FAINT[i : i + 2], 16) / 255 for i in (1, 3, 5))
    for part in figure.findobj(lambda part: hasattr(part, "get_edgecolor")):
        if tuple(part.get_edgecolor())[:3] == faint:  # a page would make this tone of its own ink
            part.set_edgecolor("#a5a8ac")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=1200 / 7.6, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def files() -> dict[str, str]:
    """Name and text of every drawing."""
    picture = plots.svg(cover(), COVER_CAPTION)
    picture = picture.replace("<svg ", '<svg class="ink" ', 1).replace(
        "<defs>", INK_STYLE + "<defs>", 1
    )
    return {"logo.svg": mark(128, rows=4), "favicon.svg": mark(32, rows=3), "cover.svg": picture}


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text)
        print("wrote", HERE / name)
    (HERE / "card.png").write_bytes(card())
    print("wrote", HERE / "card.png")
