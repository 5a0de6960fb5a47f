"""Matrices of who mixes with whom, drawn as text and as SVG in the page's ink."""

import html
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

CELL = 8  # pixels
GAP = 24


def path_of(filled: np.ndarray, left: int = 0) -> str:
    """The filled cells of a matrix as an SVG path that begins `left` pixels from the left.

    Neighbours in a row are one box, so that a large matrix stays a small picture.
    """
    boxes = []
    for y, row in enumerate(filled):
        x = 0
        for is_filled, cells in groupby(row):
            width = len([*cells])
            if is_filled:
                boxes.append(
                    f"M{left + CELL * x} {20 + CELL * y}h{CELL * width}v{CELL}h-{CELL * width}z"
                )
            x += width
    return "".join(boxes)


def who_hears(channels: int, segments: Iterable[Iterable[int]]) -> np.ndarray:
    """Who hears whom when these segments have been mixed, one after another: booleans (h, h)."""
    hears = np.eye(channels, dtype=bool)
    for segment in segments:
        members = [*segment]
        hears[members] = hears[members].any(axis=0)
    return hears


def draw_matrices(matrices: Sequence[tuple[str, np.ndarray]]) -> tuple[str, str]:
    """Matrices beside one another, each under its title, as text and as SVG.

    What is not zero is filled. Rows are outputs or blocks, columns the channels that they hear.

    >>> import numpy as np
    >>> from mixerlib.pages.exercises.drawing import draw_matrices
    >>> print(draw_matrices([("a block", np.eye(3))])[0])
    a block
    █··
    ·█·
    ··█
    """
    texts, parts, left, height = [], [], 0, 0
    for title, matrix in matrices:
        filled = np.asarray(matrix) != 0
        rows, columns = filled.shape
        lines = ["".join("█" if cell else "·" for cell in row) for row in filled]
        texts.append("\n".join([title, *lines]))
        parts.append(
            f'<text x="{left}" y="12" font-size="12" fill="currentColor">{html.escape(title)}'
            "</text>"
            f'<path d="{path_of(filled, left)}" fill="currentColor"/>'
            f'<rect x="{left + 0.5}" y="20.5" fill="none" '
            f'stroke="currentColor" width="{CELL * columns}" height="{CELL * rows}"/>'
        )
        left += max(CELL * columns, 7 * len(title)) + GAP
        height = max(height, 22 + CELL * rows)
    label = "; ".join(
        f"{title}: {np.count_nonzero(matrix)} of {np.size(matrix)} cells filled"
        for title, matrix in matrices
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{html.escape(label)}" '
        f'width="{left}" height="{height}" viewBox="0 0 {left} {height}" '
        f'style="max-width: 100%; height: auto">{"".join(parts)}</svg>'
    )
    return "\n\n".join(texts), svg
