"""Where a pixel goes: drag the patch over a photograph, and see a pixel find its row and column."""

import base64
import io
from functools import cache

from PIL import Image

from mixerlib.pages.colors import ACCENT, WARM
from mixerlib.pages.interactives.base import (
    Interactive,
    choice,
    controls,
    formulas_script,
    guess,
    part,
    script,
    slider,
)

SIDE = 32  # pixels: small enough to see one, and as in CIFAR-10
PATCHES = (1, 2, 4, 8, 16, 32)
ANSWERS = {"0.25": "a quarter", "0.5": "half", "1": "the same", "2": "twice", "4": "four times"}


def temple(side: int) -> Image.Image:
    """The middle of scikit-learn's temple, shrunk to `side` pixels."""
    from sklearn.datasets import load_sample_image  # takes a second, and few pages need it

    whole = Image.fromarray(load_sample_image("china.jpg"))
    left = (whole.width - whole.height) // 2
    square = whole.crop((left, 0, left + whole.height, whole.height))
    return square.resize((side, side), Image.Resampling.BOX)


def png(image: Image.Image) -> str:
    """An image as an address of data."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@cache
def photograph() -> str:
    """The temple in SIDE pixels, as an address of data."""
    return png(temple(SIDE))


def _still() -> str:
    """The photograph, cut into patches of four pixels."""
    cuts = "".join(f"M{x} 0V160M0 {x}H160" for x in range(0, 161, 20))
    words = (
        f"A photograph of {SIDE} × {SIDE} pixels, cut into patches of 4 × 4. Each patch becomes "
        "one row of a table."
    )
    return (
        f'<svg viewBox="0 0 160 160" role="img" aria-label="{words}"><image href="{photograph()}" '
        f'width="160" height="160" style="image-rendering: pixelated"/>'
        f'<path d="{cuts}" stroke="currentColor" stroke-width="0.7"/></svg><p>{words}</p>'
    )


def where_a_pixel_goes() -> Interactive:
    """How patches lay an image out as a table, and what that costs; chapter 01 derives it.

    The reader guesses what a larger patch costs, drags the patch and touches a pixel; its row and
    its column light up, with the numbers in the chapter's equations.

    >>> from mixerlib.pages import where_a_pixel_goes
    >>> where_a_pixel_goes().name
    'pixel'
    """
    body = (
        guess(
            "Make the patches twice as wide: p goes from 2 to 4. How many multiplications does it "
            "then take to turn the patches into tokens, compared with before?",
            ANSWERS,
        )
        + controls(
            slider("step", "Patch p", 0, len(PATCHES) - 1, 2),
            slider("u", "Pixel's row u", 0, SIDE - 1, 13),
            slider("v", "Pixel's column v", 0, SIDE - 1, 21),
            choice("q", "Channel q", {"0": "0, red", "1": "1, green", "2": "2, blue"}, "0"),
        )
        + '<svg class="drawing" viewBox="0 0 340 250" role="img" aria-label=""></svg>'
    )
    return Interactive(
        "pixel",
        "Where a pixel goes: patches as the rows of a table",
        body,
        script(
            f'const photo = "{photograph()}", accent = "{ACCENT}", warm = "{WARM}";',
            formulas_script(("convmixer",), ("macs",), by_layer=True),
            part("pixel.js"),
        ),
        still=_still(),
        style=part("pixel.css"),
    )
