"""Pictures of arrays as HTML: small PNG files inside the page, their pixels as squares.

They are drawn without matplotlib: a widget redraws often, and also from the thread of a training,
where pyplot must not be used.
"""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image, ImageColor

from mixerlib.pages.colors import ACCENT


def picture(pixels: np.ndarray, says: str, width: int) -> str:
    """An image as `<img>`.

    Args:
        pixels: uint8 (H, W), (H, W, 3) or, with opacity, (H, W, 4).
        says: what a screen reader says of it.
        width: on the screen, in pixels.
    """
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    look = f"width: {width}px; max-width: 100%; image-rendering: pixelated"
    return f'<img src="data:image/png;base64,{data}" alt="{escape(says)}" style="{look}">'


def mosaic(tiles: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Images uint8 (N, H, W), (N, H, W, 3) or (N, H, W, 4) in rows, as one (H', W', 4).

    Between them lies nothing, `gap` pixels wide, through which the page shows.
    """
    if tiles.ndim == 3:
        tiles = np.repeat(tiles[..., None], 3, axis=3)
    count, height, width, channels = tiles.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    whole = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        place = whole[top : top + height, left : left + width]
        place[..., :channels] = tile
        if channels == 3:
            place[..., 3] = 255
    return whole


def stretched(maps: np.ndarray) -> np.ndarray:
    """Maps (N, H, W) as uint8, each from its own least value, black, to its largest, white."""
    low = maps.min(axis=(1, 2), keepdims=True)
    high = maps.max(axis=(1, 2), keepdims=True)
    span = np.where(high > low, high - low, 1)
    return np.round(255 * (maps - low) / span).astype(np.uint8)


def inked(shares: np.ndarray, color: str = ACCENT) -> np.ndarray:
    """Shares in 0 … 1, (H, W), as a colour of that opacity: uint8 (H, W, 4)."""
    whole = np.empty((*shares.shape, 4), np.uint8)
    whole[..., :3] = ImageColor.getrgb(color)
    whole[..., 3] = np.round(255 * np.clip(shares, 0, 1))
    return whole


def framed(inside: str) -> str:
    """The picture with a thin line round it, in the page's ink: it may be empty at its borders."""
    look = "display: inline-block; border: 1px solid; line-height: 0; max-width: 100%"
    return f'<span style="{look}">{inside}</span>'


def figure(parts: Sequence[tuple[str, str]], caption: str) -> str:
    """Parts (title, HTML) one below the other as a figure of the book, with its caption."""
    inside = "".join(f"<p><b>{escape(title)}</b></p>{part}" for title, part in parts)
    return (
        f'<figure class="mixer-figure">{inside}<figcaption>{escape(caption)}</figcaption></figure>'
    )
