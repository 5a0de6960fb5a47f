"""A trained network for CIFAR-10's classes in the page: give it a picture, or paint one.

It runs in plain JavaScript, as the one for digits in `mixer.py` does. Chapter 20.

>>> from mixerlib.models import create_model
>>> from mixerlib.pages import Guess, live_pictures
>>> model = create_model("convmixer", dim=8, depth=1, patch_size=4).eval()
>>> asked = Guess("Does it know a ship?", ("yes", "no"), "no", "It is not trained.")
>>> live_pictures({"A ConvMixer": model}, asked).name
'pictures'
"""

import base64
import json
from collections.abc import Mapping
from html import escape

import torch
from PIL import Image, ImageDraw
from torch import nn

from mixerlib.checks import shown
from mixerlib.pages.interactives.base import (
    SAID,
    Interactive,
    buttons,
    choice,
    controls,
    guess,
    part,
    script,
)
from mixerlib.pages.interactives.mixer import Guess, shuffled_order
from mixerlib.pages.interactives.network_script import network_script
from mixerlib.pages.interactives.pixel import png, temple

SIDE = 32  # pixels, as in CIFAR-10
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Of CIFAR-10's training images, for values in 0..1; a test compares them with the data.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
COLORS = {
    "black": (20, 20, 20),
    "white": (240, 240, 240),
    "grey": (128, 128, 128),
    "red": (190, 40, 35),
    "orange": (225, 130, 40),
    "yellow": (230, 205, 70),
    "green": (75, 130, 50),
    "sea blue": (40, 80, 130),
    "sky blue": (140, 185, 230),
    "brown": (110, 75, 45),
}


def live_pictures(
    models: Mapping[str, nn.Module],
    asked: Guess,
    pictures: Mapping[str, torch.Tensor] | None = None,
) -> Interactive:
    """Networks trained on CIFAR-10, alive in the page.

    Args:
        models: title → a network in evaluation mode that takes images (B, 3, 32, 32).
        asked: what the reader guesses first.
        pictures: to begin with: what stands on the button → uint8 (3, 32, 32). None: two that are
            drawn with a few shapes, and scikit-learn's temple.

    Raises `ValueError` for no model, for one that takes other images, for other pictures, and as
    `network_script`.
    """
    if not models:
        raise ValueError(f"`models`={models!r} must hold a network at least")
    for title, model in models.items():
        if getattr(model, "in_channels", 3) != 3:
            raise ValueError(f"`models`[{shown(title)}] must take images of three channels")
    pictures = drawn_pictures() if pictures is None else pictures
    for title, picture in pictures.items():
        if picture.dtype != torch.uint8 or tuple(picture.shape) != (3, SIDE, SIDE):
            given = f"{picture.dtype} {tuple(picture.shape)}"
            raise ValueError(f"`pictures`[{shown(title)}], {given}, must be uint8 (3, 32, 32)")
    written = [(title, *network_script(model, SIDE)) for title, model in models.items()]
    data = {
        "side": SIDE,
        "mean": MEAN,
        "std": STD,
        "classes": CLASSES,
        "order": shuffled_order(SIDE**2).tolist(),
        "colors": COLORS,
        "samples": [{"label": t, "pixels": _packed(picture)} for t, picture in pictures.items()],
        "guess": {"right": asked.right, "text": asked.text},
        "networks": [{"title": t, "network": n, "weights": w} for t, n, w in written],
    }
    parts = part("network.js"), part("alive.js"), part("pictures.js")
    return Interactive(
        "pictures",
        "A network for pictures, alive in the page",
        _body(list(models), asked),
        script(f"const data = {json.dumps(data)};", *parts),
        still=_still(next(iter(models)), *next(iter(pictures.items()))),
        style=part("mixer.css") + part("pictures.css"),
    )


def normalized(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 3, H, W) as the network takes them: float32, each channel by `MEAN` and `STD`."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (pictures / 255 - mean) / std


def drawn_pictures() -> dict[str, torch.Tensor]:
    """A ship and an airplane of a few shapes, and scikit-learn's temple: uint8 (3, 32, 32) each."""
    ship, plane = (Image.new("RGB", (128, 128), COLORS["sky blue"]) for _ in range(2))
    pen = ImageDraw.Draw(ship)
    pen.rectangle((0, 80, 128, 128), fill=COLORS["sea blue"])
    pen.polygon(((12, 66), (118, 66), (104, 90), (26, 90)), fill=COLORS["red"])
    pen.rectangle((38, 48, 92, 66), fill=COLORS["white"])
    pen.rectangle((58, 30, 70, 48), fill=COLORS["black"])
    pen = ImageDraw.Draw(plane)
    pen.polygon(((8, 58), (96, 54), (120, 62), (96, 70), (8, 66)), fill=COLORS["white"])
    pen.polygon(((50, 60), (76, 60), (46, 104), (36, 104)), fill=COLORS["grey"])
    pen.polygon(((50, 58), (74, 58), (54, 26), (44, 26)), fill=COLORS["grey"])
    pen.polygon(((8, 60), (22, 60), (10, 38), (2, 38)), fill=COLORS["grey"])
    small = {
        "a drawn ship": ship.resize((SIDE, SIDE), Image.Resampling.BOX),
        "a drawn airplane": plane.resize((SIDE, SIDE), Image.Resampling.BOX),
        "a temple": temple(SIDE),
    }
    return {
        title: torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        .view(SIDE, SIDE, 3)
        .permute(2, 0, 1)
        for title, image in small.items()
    }


def _packed(picture: torch.Tensor) -> str:
    """Pixel after pixel its red, green and blue, in base64."""
    return base64.b64encode(picture.permute(1, 2, 0).contiguous().numpy().tobytes()).decode()


def _body(titles: list[str], asked: Guess) -> str:
    networks = choice("network", "Network", {str(i): t for i, t in enumerate(titles)}, "0")
    color = choice("color", "Colour to paint with", {name: name for name in COLORS}, "sea blue")
    file = (
        '<label>A picture of yours, which stays here <input type="file" accept="image/*" '
        'data-name="file"></label>'
    )
    return f"""{guess(escape(asked.question), asked.answers)}
<div class="samples pictures" role="group" aria-label="Pictures to begin with"></div>
{controls(color, file)}
<div class="top">
<div><p>Paint on it:</p><div class="easel">
<canvas class="pad" width="{SIDE}" height="{SIDE}" tabindex="0" role="application"
 aria-label="The picture"></canvas><i class="cursor"></i></div>{buttons(fill="Fill")}</div>
<div><p>The network sees</p><canvas class="seen" width="{SIDE}" height="{SIDE}" role="img"
 aria-label="The picture as the network sees it"></canvas></div>
<div class="reads">{networks}<div class="logits named" role="img" aria-label="The logits"></div>
</div></div>
{buttons(shuffle="Shuffle the pixels", reset="Reset")}
{SAID}
<div class="blocks"></div>
<p class="small">Each square is a channel. Above zero it is ink, below zero violet; the strongest
hundredth of a row is drawn in full. <span class="time"></span></p>"""


def _still(title: str, name: str, picture: torch.Tensor) -> str:
    """The first picture, as SVG."""
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    words = f"{title} is given {name}, in {SIDE} × {SIDE} pixels; the page computes what it sees."
    return (
        f'<svg viewBox="0 0 160 160" role="img" aria-label="{escape(words)}">'
        f'<image href="{png(image)}" width="160" height="160" '
        f'style="image-rendering: pixelated"/></svg><p>{escape(words)}</p>'
    )
