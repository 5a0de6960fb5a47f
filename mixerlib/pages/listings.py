"""Code as a figure: its parts in colours, in lines that are never broken."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixerlib.pages.colors import INK

# About 120 characters fit beside one another where a page is widest; narrower pages scroll.
LINES = "margin: 0; padding: 0.6em 0; border: 0; background: none; color: inherit; "
LINES += "font-size: 0.66rem; line-height: 1.9; overflow: visible; width: max-content"


@dataclass(frozen=True)
class Listing:
    """Coloured code with its caption, as the page shows it: notebooks ask for its HTML."""

    code: str
    caption: str
    lines: str

    def _repr_html_(self) -> str:
        return (
            f'<figure class="mixer-figure"><pre style="{LINES}">{self.lines}</pre>'
            f"<figcaption>{self.caption}</figcaption></figure>"
        )

    def __repr__(self) -> str:
        return self.code


def _marked(piece: str, color: str) -> str:
    ink = "currentColor" if color == INK else color
    look = f"background: color-mix(in srgb, {ink} 22%, transparent); border-bottom: 2px solid {ink}"
    return f'<span style="{look}; color: inherit">{html.escape(piece)}</span>'


def colored_code(
    code: str, pieces: Sequence[tuple[str, str]], colors: Mapping[str, str], caption: str
) -> Listing:
    """Code in which each piece has the colour of its part, and a key to the colours. Chapter 03.

    Args:
        code: as it is typed; its lines stay whole.
        pieces: (a piece of the code, its part), in the order in which they stand there.
        colors: the parts → their colours; the key has them in this order.
        caption: what the figure shows, as a sentence that states its conclusion.

    Raises `ValueError` for a piece that does not follow the one before it or whose part has no
    colour, and for an empty caption.

    >>> from mixerlib.pages import colored_code
    >>> colored_code("y = a*x + b", [("a", "weight")], {"weight": "#D55E00"}, "One weight.")
    y = a*x + b
    """
    if not caption.strip():
        raise ValueError(f"`caption`={caption!r} must say what the figure shows")
    rest, lines = code, ""
    for piece, part in pieces:
        if part not in colors:
            raise ValueError(f"`pieces`: {part!r}, the part of {piece!r}, must be in `colors`")
        before, match, rest = rest.partition(piece)
        if not match:
            raise ValueError(f"`pieces`: {piece!r} must stand in the code, after the one before it")
        lines += html.escape(before) + _marked(piece, colors[part])
    key = " · ".join(_marked(part, color) for part, color in colors.items())
    return Listing(code, f"{key}<br>{html.escape(caption)}", lines + html.escape(rest))
