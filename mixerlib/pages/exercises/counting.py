"""The exercises of chapter 04."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from mixerlib import costs
from mixerlib.models import create_model, model_entry
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called

KINDS = ("parameters", "MACs", "activations")


def _convmixer(image_size: int = 32, **changes: Any) -> list[int]:
    """Parameters, MACs and activations of ConvMixer-256/8, changed."""
    options = dict(model_entry("convmixer_256_8").defaults) | changes
    counts = costs.formulas("convmixer").counts(options, image_size)
    return [counts.total(kind) for kind in ("params", "macs", "activations")]


@exercise("counting-1")
def what_doubles() -> Numbers:
    changes = {
        "width": {"dim": 512},
        "depth": {"depth": 16},
        "patch": {"patch_size": 4},
        "image": {"image_size": 64},
    }
    values = {
        f"{name}: {kind}": new / old
        for name, change in changes.items()
        for kind, new, old in zip(KINDS, _convmixer(**change), _convmixer(), strict=True)
    }
    return Numbers(
        values,
        [
            Mistake(
                "A pointwise convolution has h inputs and h outputs, and both double.",
                {"width: parameters": 2},
            ),
            Mistake("A map of activations has h channels, not h².", {"width: activations": 4}),
            Mistake(
                "Only the stem's weights grow with the patch, and the stem is small.",
                {"patch: parameters": 4},
            ),
            Mistake(
                "The patch doubles along both sides: T becomes a quarter.", {"patch: MACs": 0.5}
            ),
            Mistake(
                "The image doubles along both sides: T becomes four times as large.",
                {"image: MACs": 2},
            ),
            Mistake(
                "A weight is used at every place: the image changes no parameter.",
                {"image: parameters": 4},
            ),
        ],
        tolerance=0.1,
        columns=KINDS,
    )


@exercise("counting-2")
def multiplying_by_nothing() -> Function:
    def lost(k: int, a: int) -> float:
        """Counted, place by place."""
        half, inside = k // 2, 0
        for place in range(a):
            inside += sum(0 <= place + step < a for step in range(-half, half + 1))
        return 1 - (inside / (k * a)) ** 2

    def cases(draw: random.Random) -> Iterator[tuple]:
        for k in (1, 3, 5, 7, 9, 9, 11):
            yield k, draw.randint(k, 32)

    def row(k: int, a: int) -> float:
        r = (k - 1) // 2
        return r * (r + 1) / (k * a)

    return Function(
        "Give the share as a formula of k and a, in sympy or as a function.",
        lost,
        cases,
        [
            Mistake("That is the share of one row. The kernel leaves the map on four sides.", row),
            Mistake(
                "Rows and columns added: the corners, outside in both, are counted twice.",
                lambda k, a: 2 * row(k, a),
            ),
            Mistake("That is the share which is kept.", lambda k, a: (1 - row(k, a)) ** 2),
            Mistake(
                "A row loses products at both of its ends.",
                lambda k, a: 1 - (1 - row(k, a) / 2) ** 2,
            ),
            Mistake(
                "Both must lie inside: multiply what is kept, not what is lost.",
                lambda k, a: row(k, a) ** 2,
            ),
        ],
        symbols=("k", "a"),
    )


def _padded(padding: Any) -> Any:
    """A function that gives every convolution with a kernel this padding."""

    def change(model: nn.Module) -> nn.Module:
        model = copy.deepcopy(model)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d) and layer.padding == "same":
                layer.padding = padding(layer.kernel_size[0])
        return model

    return change


@exercise("counting-3")
def make_fvcore_see() -> Properties:
    hidden = 'There still is a convolution with padding="same", which fvcore skips.'
    less = "The maps shrink: a kernel needs k // 2 zeros on each side."
    more = "The maps grow: a kernel needs k // 2 zeros on each side, and no more."
    other = "The model gives other logits than before."

    def judge(answer: Any) -> Iterator[Row]:
        for k in (3, 5, 7):
            torch.manual_seed(k)
            model = create_model("convmixer", dim=8, depth=2, kernel_size=k, patch_size=2).eval()
            new = called(answer, model)
            if not isinstance(new, nn.Module):
                raise Refused("Return the changed model, a module.")
            convolutions = [layer for layer in new.modules() if isinstance(layer, nn.Conv2d)]
            same = sum(layer.padding == "same" for layer in convolutions)
            yield Row(f"k = {k}: hidden from fvcore", str(same), "0", not same, hidden)
            if same:
                return
            pads = [layer.padding for layer in convolutions if layer.groups > 1]
            sides = sorted({pad if isinstance(pad, int) else pad[0] for pad in pads})
            shown = ", ".join(map(str, sides))
            right = sides == [k // 2]
            message = less if not sides or sides[0] < k // 2 else more
            yield Row(f"k = {k}: zeros on each side", shown, str(k // 2), right, message)
            if not right:
                return
            x = torch.randn(2, 3, 16, 16)
            with torch.no_grad():
                distance = float((called(new, x) - model(x)).abs().max())
            yield Row(f"k = {k}: logits change by", f"{distance:.1g}", "0", distance < 1e-4, other)

    def restarted(model: nn.Module) -> nn.Module:
        new = _padded(lambda k: (k // 2,) * 2)(model)
        new.head.reset_parameters()
        return new

    return Properties(
        "Return the model with every convolution's padding as a number.",
        judge,
        lambda: _padded(lambda k: (k // 2,) * 2),
        [
            Mistake(hidden, lambda model: model),
            Mistake(less, _padded(lambda k: (1, 1))),
            Mistake(more, _padded(lambda k: (k, k))),
            Mistake(other, restarted),
        ],
    )


@exercise("counting-4")
def the_price_of_a_training_step() -> Numbers:
    counts = costs.formulas("convmixer").counts(
        dict(model_entry("convmixer_256_8").defaults), image_size=32
    )
    forward, stem = counts.total("macs"), counts.macs["stem"]
    step = 3 * forward - stem
    return Numbers(
        {"MACs": step},
        [
            Mistake(
                "Nearly. Nobody needs the gradient of the image, so the stem takes part only "
                "twice.",
                {"MACs": 3 * forward},
            ),
            Mistake(
                "That is the backward pass alone; a step also goes forward.",
                {"MACs": 2 * forward - stem},
            ),
            Mistake(
                "The backward pass has two gradients for each layer: that of the weights and "
                "that of the input.",
                {"MACs": 2 * forward},
            ),
            Mistake("That counts FLOPs: a MAC is two of them.", {"MACs": 2 * step}),
            Mistake(
                "The stem still needs the gradient of its weights.",
                {"MACs": 3 * forward - 2 * stem},
            ),
        ],
    )
