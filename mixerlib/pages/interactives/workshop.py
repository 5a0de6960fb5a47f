"""Kernel workshop: paint a kernel, and see what one row and one column can make of it."""

import base64
import json
from functools import cache

import numpy as np
from PIL import Image

from mixerlib.pages.colors import ACCENT, WARM
from mixerlib.pages.interactives.base import (
    SAID,
    Interactive,
    choice,
    controls,
    guess,
    part,
    script,
    slider,
)
from mixerlib.pages.interactives.pixel import png, temple

SIDE = 48  # pixels of the photograph
BRUSHES = {"-1": "−1", "-0.5": "−½", "0": "0", "0.5": "½", "1": "1"}
_BELL, _STEP = np.array([1, 4, 6, 4, 1]), np.array([-1, -2, 0, 2, 1])
_LINE, _SIGNS = np.eye(5, dtype=int), np.array([1, -1, 1, -1, 1])
_DOWN, _ALONG = np.mgrid[-2:3, -2:3]
KERNELS = {  # name → weights, whole numbers
    "blur": np.outer(_BELL, _BELL),
    "upright edge": np.outer(_BELL, _STEP),
    "cross": _LINE[2] + _LINE[:, 2:3],
    "diagonal line": _LINE,
    "slanted edge": np.sign(_ALONG - _DOWN),
    "ring": np.maximum(abs(_DOWN), abs(_ALONG)) // 2,
    "letter X": np.maximum(_LINE, _LINE[::-1]),
    "checkerboard": np.outer(_SIGNS, _SIGNS),
    "single square": np.outer(_LINE[2], _LINE[2]),
}
ASKED = ("ring", "slanted edge", "checkerboard", "letter X")  # the chapter shows the others


def grey_photograph() -> np.ndarray:
    """The temple of chapter 01 in grey: (SIDE, SIDE), whole numbers from 0 to 255."""
    return np.array(temple(SIDE).convert("L"))


def best_pair(kernel: np.ndarray) -> np.ndarray:
    """What the best row and column make of a kernel: the first term of its singular values."""
    u, sigma, v = np.linalg.svd(kernel)
    return sigma[0] * np.outer(u[:, 0], v[0])


def _filtered(kernel: np.ndarray) -> np.ndarray:
    """The photograph less its mean under a kernel, with zeros around: (SIDE, SIDE)."""
    x = grey_photograph() / 127.5
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x - x.mean(), 2), (5, 5))
    return np.einsum("ijab,ab->ij", windows, kernel)


@cache
def _still() -> str:
    """A kernel, its best pair and what is left, and the photograph under each of them."""
    name = "cross"
    kernel = KERNELS[name] / abs(KERNELS[name]).max()
    pair = best_pair(kernel)
    whole = _filtered(kernel)
    low, high = whole.min(), whole.max()
    drawn = ""
    for place, (title, matrix) in enumerate(
        {f"the {name}": kernel, "= its best pair": pair, "+ what is left": kernel - pair}.items()
    ):
        left = 110 * place
        drawn += f'<text x="{left}" y="10" font-size="10" fill="currentColor">{title}</text>'
        drawn += '<g stroke="currentColor" stroke-width="0.3">'
        for (i, j), weight in np.ndenumerate(matrix):
            drawn += (
                f'<path d="M{left + 20 * j} {16 + 20 * i}h20v20h-20z" '
                f'fill="{WARM if weight < 0 else ACCENT}" fill-opacity="{abs(weight):.2f}"/>'
            )
        drawn += "</g>"
        shift = (low + high) / 2 if place == 2 else 0  # what is left is shown around mid-grey
        shades = (_filtered(matrix) + shift - low) / (high - low)
        levels = np.uint8(np.clip(15 * shades, 0, 15).round() * 17)  # sixteen, for few bytes
        picture = png(Image.fromarray(levels).quantize(16))
        drawn += f'<image href="{picture}" x="{left}" y="122" width="100" height="100"/>'
    kept = (pair**2).sum() / (kernel**2).sum()
    words = (
        f"The best that a row and a column make of a {name} keeps {kept:.0%} of it. Below, a "
        "photograph under the kernel, under the pair, and the difference."
    )
    return f'<svg viewBox="0 0 320 222" role="img" aria-label="{words}">{drawn}</svg><p>{words}</p>'


def kernel_workshop() -> Interactive:
    """Which kernels are a row times a column, and what one pair keeps of the others; chapter 05
    derives it.

    The reader guesses which kernels split, takes one or paints one, and sees its best pairs, what
    is left, and a photograph filtered by each.

    >>> from mixerlib.pages import kernel_workshop
    >>> kernel_workshop().name
    'kernel'
    """
    names = {name: name for name in KERNELS} | {"own": "your own"}
    brushes = "".join(
        f'<button type="button" value="{value}" aria-pressed="false" aria-label="brush {shown}">'
        f"{shown}</button>"
        for value, shown in BRUSHES.items()
    )
    frame = 'viewBox="-1.4 -1.4 6.5 6.5"'
    body = f"""{guess("Which of these kernels is exactly one column times one row?", ASKED)}
<div class="columns">
<p>kernel: paint it</p><p class="many">= its best pair</p><p>+ what is left</p>
<svg class="pad" {frame} tabindex="0" role="application"
 aria-label="The kernel, to be painted"></svg>
<svg class="made" {frame} role="img" aria-label="What the pairs make: the row above it and the
 column beside it"></svg>
<svg class="rest" {frame} role="img" aria-label="What is left of the kernel"></svg>
<canvas role="img" aria-label="The photograph filtered by the kernel"></canvas>
<canvas role="img" aria-label="The photograph filtered by the pairs"></canvas>
<canvas role="img" aria-label="The difference of the two"></canvas>
</div>
<div class="buttons brush" role="group" aria-label="Brush">Brush {brushes}
<button type="button" data-name="clear">Clear</button></div>
{controls(choice("preset", "Kernel", names, "single square"), slider("pairs", "Pairs", 1, 5, 1))}
<svg class="drawing" viewBox="0 0 340 34" role="img" aria-label=""></svg>
{SAID}"""
    photo = base64.b64encode(grey_photograph().tobytes()).decode()
    kernels = {name: kernel.tolist() for name, kernel in KERNELS.items()}
    return Interactive(
        "kernel",
        "Kernel workshop: what a row and a column make of a kernel",
        body,
        script(
            f'const photo = "{photo}", accent = "{ACCENT}", warm = "{WARM}";',
            f"const kernels = {json.dumps(kernels)}, names = {json.dumps(names)};",
            part("workshop.js"),
        ),
        still=_still(),
        style=part("workshop.css"),
    )
