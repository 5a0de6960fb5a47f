"""The exercises of chapter 02."""

import random
from collections.abc import Callable, Iterator
from math import factorial
from typing import Any

import torch
import torch.nn.functional as F

from mixerlib.models import create_model, model_entry
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties, gap
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called


def _block_parameters(**changes: int) -> dict[str, int]:
    """The parameters of a block of Mixer-B/16, part by part."""
    with torch.device("meta"):
        block = create_model("mixer_b16", depth=1, **changes).blocks[0]
    return {
        name: sum(weights.numel() for weights in part.parameters())
        for name, part in block.named_children()
    }


@exercise("02-1")
def count_before_you_run() -> Numbers:
    options = model_entry("mixer_b16").defaults
    h, across, along = (options[name] for name in ("dim", "tokens_dim", "channels_dim"))
    parts = _block_parameters()
    share, of_macs = parts["mlp_tokens"] / sum(parts.values()), across / (across + along)
    tokens = h * along // across
    side = options["patch_size"] * round(tokens**0.5)
    large = _block_parameters(image_size=side)
    assert abs(large["mlp_tokens"] / large["mlp_channels"] - 1) < 0.02
    return Numbers(
        {
            "share of parameters": share,
            "share of MACs": of_macs,
            "tokens": tokens,
            "share of MACs there": of_macs,
        },
        [
            Mistake(
                "Parameters do depend on T: a matrix of the token MLP has T·D_S weights.",
                {"share of parameters": of_macs},
            ),
            Mistake(
                "Give the parameters' share as a number from 0 to 1.",
                {"share of parameters": 100 * share},
            ),
            Mistake(
                "Each weight of a token MLP is used h times, each of a channel MLP T times.",
                {"share of MACs": share},
            ),
            Mistake(
                "Give the MACs' share as a number from 0 to 1.", {"share of MACs": 100 * of_macs}
            ),
            Mistake("Upside down: T·D_S = h·D_C.", {"tokens": h * across // along}),
            Mistake(
                "D_S is not h, and D_C is not h either: both hidden widths enter.", {"tokens": h}
            ),
            Mistake("The hidden widths differ too: solve T·D_S = h·D_C.", {"tokens": along}),
            Mistake(
                "Equal parameters are not equal MACs: T stands in both MLPs' MACs.",
                {"share of MACs there": 0.5},
            ),
        ],
    )


@exercise("02-2")
def untie_the_channels() -> Function:
    def by_channel(x, w1, b1, w2, b2):
        """One channel after the other."""
        columns = []
        for c in range(x.shape[2]):
            hidden = F.gelu(F.linear(x[:, :, c], w1[c], b1[c]))
            columns.append(F.linear(hidden, w2[c], b2[c]))
        return torch.stack(columns, dim=2)

    def cases(draw: random.Random) -> Iterator[tuple]:
        generator = torch.Generator().manual_seed(draw.randrange(100))
        for images, tokens, hidden, h in ((2, 4, 3, 5), (1, 9, 7, 2), (3, 6, 8, 4)):
            shapes = (
                (images, tokens, h),
                (h, hidden, tokens),
                (h, hidden),
                (h, tokens, hidden),
                (h, tokens),
            )
            yield tuple(
                torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes
            )

    def tied(x, w1, b1, w2, b2):
        first = (part[:1].expand_as(part) for part in (w1, b1, w2, b2))
        return by_channel(x, *first)

    def without(act: Callable, bias: float) -> Callable:
        def other(x, w1, b1, w2, b2):
            hidden = act(torch.einsum("btc,cdt->bcd", x, w1) + bias * b1)
            return (torch.einsum("bcd,ctd->bct", hidden, w2) + bias * b2).transpose(1, 2)

        return other

    return Function(
        "Return the tokens after an MLP of its own for each channel, (B, T, h).",
        by_channel,
        cases,
        [
            Mistake("Every channel goes through the MLP of channel 0.", tied),
            Mistake("The GELU is missing.", without(lambda u: u, 1)),
            Mistake("That is ReLU; a mixer has GELU.", without(F.relu, 1)),
            Mistake("The biases are missing.", without(F.gelu, 0)),
            Mistake(
                "The numbers are right, but channels and tokens have changed places.",
                lambda *a: by_channel(*a).transpose(1, 2),
            ),
        ],
    )


def _quarters(side: int) -> torch.Tensor:
    """For tokens sorted by quarter, their numbers row by row in a map of 2·side × 2·side."""
    return torch.tensor(
        [
            (low * side + y) * 2 * side + right * side + x
            for low in range(2)
            for right in range(2)
            for y in range(side)
            for x in range(side)
        ]
    )


def _enlarged(w1, b1, w2, b2, repeat: bool = False, sort_inputs=True, sort_outputs=True):
    """The weights for an image of twice the side, with the mistakes that one can make."""
    place = _quarters(round(w1.shape[1] ** 0.5)).argsort()
    if repeat:
        large = w1.repeat(4, 4), w2.repeat(4, 4)
    else:
        large = torch.block_diag(*[w1] * 4), torch.block_diag(*[w2] * 4)
    inputs = large[0][:, place] if sort_inputs else large[0]
    outputs = large[1][place] if sort_outputs else large[1]
    return inputs, b1.repeat(4), outputs, b2.repeat(4)[place] if sort_outputs else b2.repeat(4)


UNSORTED = (
    "The tokens of a quarter are not next to each other in the large table: put the columns of W1, "
    "and the rows of W2 and b2, into the order of the rows."
)
MIXED = "Each copy must see its own quarter alone: elsewhere its weights are zero."
HALF = "The order must be changed on both sides: in W1, and in W2 and b2."
SIZES = "D_S and T both become four times as large."
OTHER = "The large image's tokens are not those of its four quarters."
CHANGED = {
    UNSORTED: {"sort_inputs": False, "sort_outputs": False},
    MIXED: {"repeat": True},
    HALF: {"sort_outputs": False},
}


def _mlp(x: torch.Tensor, weights: Any) -> torch.Tensor:
    w1, b1, w2, b2 = weights
    return F.linear(F.gelu(F.linear(x, w1, b1)), w2, b2)


def _as_the_quarters(answer: Any) -> Iterator[Row]:
    """Whether the new weights make of a large image what the old ones make of its quarters."""
    generator = torch.Generator().manual_seed(0)
    for side, hidden in ((2, 3), (3, 5)):
        tokens = side * side
        shapes = (hidden, tokens), (hidden,), (tokens, hidden), (tokens,)
        old = [torch.randn(shape, generator=generator).double() for shape in shapes]
        new = called(answer, *old)
        if not isinstance(new, list | tuple) or len(new) != 4:
            raise Refused("Return the four new tensors W1, b1, W2, b2.")
        for name, weights, shape in zip(("W1", "b1", "W2", "b2"), new, shapes, strict=True):
            expected = tuple(4 * width for width in shape)
            yours = tuple(weights.shape)
            label = f"{tokens} tokens: shape of {name}"
            yield Row(label, str(yours), str(expected), yours == expected, SIZES)
            if yours != expected:
                return
        x = torch.randn(5, 4 * tokens, generator=generator).double()
        result, parts = _mlp(x, new), torch.empty_like(x)
        for quarter in _quarters(side).view(4, tokens):
            parts[:, quarter] = _mlp(x[:, quarter], old)
        different = gap(result, parts, 1e-8)
        known = [
            message
            for message, how in CHANGED.items()
            if not gap(result, _mlp(x, _enlarged(*old, **how)), 1e-8)
        ]
        message = known[0] if known else OTHER
        label = f"{tokens} tokens: as the quarters"
        yield Row(label, different or "equal", "equal", not different, message)


@exercise("02-3")
def larger_images_from_the_same_weights() -> Properties:
    return Properties(
        "Return W1 (4·D_S, 4·T), b1, W2 and b2 for the tokens of the large image, row by row.",
        _as_the_quarters,
        lambda: _enlarged,
        [
            *(
                Mistake(message, lambda *old, how=how: _enlarged(*old, **how))
                for message, how in CHANGED.items()
            ),
            Mistake(SIZES, lambda *old: old),
        ],
    )


def _forgiven() -> list[tuple[int, ...]]:
    """The permutations of 3×3 tokens that another depthwise 3×3 kernel undoes: token by token, as
    long as the renaming of the kernel's weights has no contradiction."""
    places = [(y, x) for y in range(3) for x in range(3)]

    def label(i: int, j: int) -> int:
        (y, x), (v, u) = places[i], places[j]
        near = abs(v - y) <= 1 and abs(u - x) <= 1
        return 1 + 3 * (v - y + 1) + (u - x + 1) if near else 0

    complete = []

    def extend(chosen: tuple[int, ...], names: dict[int, int]) -> None:
        if len(chosen) == 9:
            complete.append(chosen)
            return
        for token in {*range(9)} - {*chosen}:
            new, more = dict(names), (*chosen, token)
            pairs = [(a, len(chosen)) for a in range(len(more))]
            pairs += [(b, a) for a, b in pairs]
            if all(
                new.setdefault(label(a, b), label(more[a], more[b])) == label(more[a], more[b])
                for a, b in pairs
            ) and len({*new.values()}) == len(new):
                extend(more, new)

    extend((), {0: 0})
    return complete


@exercise("02-4")
def what_a_convmixer_forgives() -> Numbers:
    count = len(_forgiven())
    return Numbers(
        {"permutations": count},
        [
            Mistake(
                "The turns alone: mirror images keep neighbours neighbours too.",
                {"permutations": count // 2},
            ),
            Mistake(
                "The one that changes nothing counts too: it needs no other kernel.",
                {"permutations": count - 1},
            ),
            Mistake(
                "It is not enough that the middle stays: try these, one by one.",
                {"permutations": factorial(8)},
            ),
            Mistake("That is all of them, as for an MLP-Mixer.", {"permutations": factorial(9)}),
            Mistake(
                "Others than the one that changes nothing are undone as well: turn the kernel.",
                {"permutations": 1},
            ),
        ],
    )
