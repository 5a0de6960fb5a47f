"""A trained network in the page: draw a digit and see every channel, block by block.

It runs in plain JavaScript from the steps that `network_script` writes, without a kernel and
without a network. Chapters 02 and 03.

>>> from mixerlib.models import create_model
>>> from mixerlib.pages import block_guess, live_mixer
>>> options = {"dim": 8, "depth": 2, "patch_size": 1, "in_channels": 1}
>>> models = {"A ConvMixer": create_model("convmixer", **options).eval()}
>>> live_mixer(models, block_guess(models["A ConvMixer"])).name
'mixer'
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import torch
from torch import nn

from mixerlib import checks
from mixerlib.data import Dataset, load_dataset
from mixerlib.pages.interactives.base import (
    SAID,
    Interactive,
    buttons,
    choice,
    guess,
    part,
    script,
)
from mixerlib.pages.interactives.network_script import BITS, in_six_bits, network_script

LEVELS = 16  # of ink in a pixel of the digits
RIGHT = 0.5  # share of the digits from which on a network is said to read them


@dataclass(frozen=True)
class Guess:
    """What an interactive asks first: a question, its answers, and which of them is right.

    Args:
        question: in words.
        answers: to choose from.
        right: one of them.
        text: what is said after every answer.
    """

    question: str
    answers: tuple[str, ...]
    right: str
    text: str


def live_mixer(models: Mapping[str, nn.Module], asked: Guess, bits: int = 16) -> Interactive:
    """Trained networks for scikit-learn's digits, alive in the page.

    Args:
        models: title → a network in evaluation mode that takes images (B, 1, 8, 8).
        asked: what the reader guesses first, as `shuffle_guess` and `block_guess` make it.
        bits: of each weight in the page, 16 or 6. With 6 a network takes little more than half the
            room, but its matrices and kernels are rounded, to multiples of a step for each row.

    Raises `ValueError` for no model, for one that takes other images, for other `bits`, and as
    `network_script`.
    """
    if not models:
        raise ValueError(f"`models`={models!r} must hold a network at least")
    digits = _digits()
    side = digits.image_size[0]
    for title, model in models.items():
        if getattr(model, "in_channels", 1) != 1:
            raise ValueError(f"`models`[{checks.shown(title)}] must take images of one channel")
    written = [(title, *network_script(model, side, bits)) for title, model in models.items()]
    data = {
        "side": side,
        "mean": digits.mean.item(),
        "std": digits.std.item(),
        "classes": digits.classes,
        "order": shuffled_order(side**2).tolist(),
        "samples": _samples(digits),
        "guess": {"right": asked.right, "text": asked.text},
        "networks": [{"title": t, "network": n, "weights": w} for t, n, w in written],
    }
    code = script(
        f"const data = {json.dumps(data)};", part("network.js"), part("alive.js"), part("mixer.js")
    )
    return Interactive(
        "mixer",
        "A trained network in the page",
        _body(list(models), asked),
        code,
        still=_still(*next(iter(_in_bits(models, bits).items())), digits),
        style=part("mixer.css"),
    )


def shuffle_guess(models: Mapping[str, nn.Module], bits: int = 16) -> Guess:
    """Asks which networks still read the digits when all pixels are shuffled in one way.

    The answer is measured on the test digits, with the weights that `live_mixer` has of so many
    `bits`.

    Raises `ValueError` for other `bits` than 16 and 6.
    """
    digits, models = _digits(), _in_bits(models, bits)
    inputs = digits.normalize(digits.test_images)
    moved = inputs.flatten(2)[..., shuffled_order(inputs[0].numel())].view_as(inputs)
    shares = {title: _accuracy(model, moved, digits) for title, model in models.items()}
    reading = [title for title, share in shares.items() if share >= RIGHT]
    names = list(models)
    right = reading[0] if len(reading) == 1 else "all of them" if reading else "none of them"
    counts = " and ".join(f"{title} {share:.0%}" for title, share in shares.items())
    return Guess(
        f"All {inputs[0].numel()} pixels change their places, in every digit alike. Which of the "
        "trained networks still reads digits?",
        (*names, "all of them", "none of them"),
        right,
        f"With shuffled pixels {counts} of the {len(moved)} test digits come out right. Now "
        "shuffle a digit below, and move the weights along where there are weights for places.",
    )


def _in_bits(models: Mapping[str, nn.Module], bits: int) -> dict[str, nn.Module]:
    """The networks with the weights that the page has: those of `trained_model` are of 16 bits."""
    checks.one_of("bits", bits, BITS)
    return {t: in_six_bits(model) if bits < 16 else model for t, model in models.items()}


def block_guess(model: nn.Module) -> Guess:
    """Asks in which block it costs most test digits to switch the spatial mixing off.

    The answer is measured. For the models of `mixerlib.models`.
    """
    digits = _digits()
    inputs = digits.normalize(digits.test_images)
    depth = len(model.blocks)
    shares = [_accuracy(_without_space(model, i), inputs, digits) for i in range(depth)]
    least = min(range(depth), key=shares.__getitem__)
    rest = ", ".join(f"{share:.0%} without block {i + 1}'s" for i, share in enumerate(shares))
    return Guess(
        "Of one block the spatial mixing is switched off. In which block does that cost most?",
        tuple(f"block {i + 1}" for i in range(depth)),
        f"block {least + 1}",
        f"Of the {len(inputs)} test digits {_accuracy(model, inputs, digits):.0%} come out right "
        f"with all on, {rest}. Try it below.",
    )


class _Nothing(nn.Module):
    """x ↦ 0: a branch that adds nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def _without_space(model: nn.Module, block: int) -> nn.Module:
    """A copy whose block adds nothing from other places, as the switch in the page has it."""
    changed = copy.deepcopy(model)
    part = changed.blocks[block]
    if isinstance(part, nn.Sequential):  # ConvMixer's
        part[0].fn = _Nothing()
    else:
        setattr(part, "spatial" if hasattr(part, "spatial") else "mlp_tokens", _Nothing())
    return changed


def _digits() -> Dataset:
    digits = load_dataset("digits")
    assert isinstance(digits, Dataset)  # they are in memory
    return digits


def shuffled_order(count: int) -> torch.Tensor:
    """Where each place of the shuffled image comes from: always the same order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def _accuracy(model: nn.Module, inputs: torch.Tensor, digits: Dataset) -> float:
    with torch.inference_mode():
        return (model(inputs).argmax(1) == digits.test_labels).double().mean().item()


def _ink(image: torch.Tensor) -> list[int]:
    """An image (1, H, W) in 0..255 as levels of ink."""
    return (image.flatten() * (LEVELS / 255)).round().int().tolist()


def _samples(digits: Dataset) -> list[dict]:
    """The first test image of every class."""
    firsts = [int((digits.test_labels == c).nonzero()[0]) for c in range(digits.num_classes)]
    return [
        {"label": name, "pixels": _ink(digits.test_images[i])}
        for name, i in zip(digits.classes, firsts, strict=True)
    ]


def _body(titles: list[str], asked: Guess) -> str:
    networks = choice("network", "Network", {str(i): t for i, t in enumerate(titles)}, "0")
    orders = buttons(shuffle="Shuffle the pixels", along="Move its weights along", reset="Reset")
    return f"""{guess(escape(asked.question), asked.answers)}
<div class="top">
<div><p>Draw a digit, or take one:</p>
<svg class="pad" viewBox="0 0 8 8" tabindex="0" role="application"
 aria-label="Your drawing of a digit"></svg>
<div class="samples" role="group" aria-label="Digits of the test set"></div>{buttons(clear="Clear")}
</div>
<div><p>The network sees</p>
<svg class="seen" viewBox="0 0 8 8" role="img" aria-label="The digit as the network sees it"></svg>
</div>
<div class="reads">{networks}<div class="logits" role="img" aria-label="The logits"></div></div>
</div>
{orders}
{SAID}
<div class="blocks"></div>
<p class="small">Each square is a channel. Above zero it is ink, below zero violet; the strongest
hundredth of a row is drawn in full. <span class="time"></span></p>"""


def _still(title: str, model: nn.Module, digits: Dataset) -> str:
    """One digit and the network's logits, as PyTorch computes them: SVG in the page's ink."""
    image, label = digits.test_images[:1], digits.classes[int(digits.test_labels[0])]
    with torch.inference_mode():
        logits = model(digits.normalize(image))[0]
    side, top = digits.image_size[1], float(logits.abs().max())
    parts = [
        f'<rect x="{8 + 14 * (i % side)}" y="{24 + 14 * (i // side)}" width="14" height="14" '
        f'fill="currentColor" fill-opacity="{ink / LEVELS:.2f}"/>'
        for i, ink in enumerate(_ink(image[0]))
    ]
    for row, (name, value) in enumerate(zip(digits.classes, logits.tolist(), strict=True)):
        y, length = 10 + 14 * row, 60 * abs(value) / top
        x = 240 if value >= 0 else 240 - length
        parts.append(
            f'<text x="160" y="{y + 9}" font-size="11">{name}</text><rect x="{x:.1f}" y="{y}" '
            f'width="{length:.1f}" height="10"/>'
        )
    drawn = "".join(parts)
    words = f"{escape(title)} gives a digit {label} its ten logits; the page computes them itself."
    return (
        f'<svg viewBox="0 0 310 156" role="img" aria-label="{words}"><g fill="currentColor">'
        f"{drawn}</g></svg><p>{words}</p>"
    )
