"""The exercises of chapter 24."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mixerlib.costs import mixing_jacobian, size_formulas, unnoticed
from mixerlib.models import model_entry
from mixerlib.pages.exercises.drawing import draw_matrices
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called

SIZE = {"dim": 32, "depth": 1, "channels_dim": 64, "patch_size": 4, "num_classes": 10}


def _between_places(family: str, image_size: int) -> int:
    """MACs of the part of one block that mixes places, by the formula."""
    own = {"heads": 4, "qkv_bias": True} if family == "vit" else {}
    options = dict(model_entry(family).defaults) | SIZE | own | {"image_size": image_size}
    return size_formulas(family).counts(options).macs["token mixing"]


@exercise("relatives-1")
def three_prices() -> Numbers:
    side, tokens, h = 64, 256, SIZE["dim"]
    right = {family: _between_places(family, side) for family in ("resmlp", "gmlp", "vit")}
    products = 2 * h * (tokens + 1) ** 2
    return Numbers(
        right,
        [
            Mistake(
                "ResMLP has one matrix across the places, not an MLP of two.",
                {"resmlp": 2 * right["resmlp"]},
            ),
            Mistake(
                "The gate sees half of the hidden channels: the other half is what it multiplies.",
                {"gmlp": 2 * right["gmlp"]},
            ),
            Mistake(
                "The token of the class attends too, and is attended to.",
                {"vit": 4 * h**2 * tokens + 2 * h * tokens**2},
            ),
            Mistake(
                "Queries, keys, values and the way out are matrices on every token's channels.",
                {"vit": products},
            ),
            Mistake(
                "Two products of all pairs: the weights QKᵀ, and the mean that is taken with them.",
                {"vit": right["vit"] - products // 2},
            ),
        ],
    )


def _moved(x: torch.Tensor, step: int, wrap: bool = False, axis: int = 3) -> torch.Tensor:
    """What lies `step` places further along an axis; zeros, or the other end, beyond the border."""
    y = x.roll(-step, axis)
    if wrap or step == 0:
        return y
    n = x.shape[axis]
    gone = range(n - step, n) if step > 0 else range(-step)
    return y.index_fill(axis, torch.tensor([*gone]), 0)


def _cycle(x: torch.Tensor, steps: tuple[int, ...] = (0, 1, -1), **how: Any) -> torch.Tensor:
    """Channel c from `steps[c mod 3]` places further along its row."""
    channels = [_moved(x[:, c : c + 1], steps[c % len(steps)], **how) for c in range(x.shape[1])]
    return torch.cat(channels, dim=1)


def _thirds(x: torch.Tensor) -> torch.Tensor:
    """Three groups of neighbouring channels, as AS-MLP has them."""
    parts = x.tensor_split(3, dim=1)
    return torch.cat([_moved(p, s) for p, s in zip(parts, (0, 1, -1), strict=True)], dim=1)


@exercise("relatives-2")
def in_turns() -> Function:
    def cases(draw: random.Random) -> Iterator[tuple[torch.Tensor]]:
        for shape in ((1, 3, 2, 5), (2, 7, 4, 3), (1, 5, 3, 6)):
            generator = torch.Generator().manual_seed(draw.randrange(1000))
            yield (torch.randn(shape, generator=generator),)

    return Function(
        "Return the map that a matrix on the channels then takes, (B, h, H, W).",
        _cycle,
        cases,
        [
            Mistake(
                "Beyond the border are zeros, not the other end of the row.",
                lambda x: _cycle(x, wrap=True),
            ),
            Mistake(
                "The other way round: channel 1 is heard at the next place, so its map moves back.",
                lambda x: _cycle(x, (0, -1, 1)),
            ),
            Mistake("Along the row, not down the column.", lambda x: _cycle(x, axis=2)),
            Mistake("The channels take turns; they do not stand in three groups.", _thirds),
        ],
    )


def _gate(weight: torch.Tensor, bias: torch.Tensor, order: torch.Tensor) -> list[torch.Tensor]:
    return [weight[order][:, order], bias[order]]


@exercise("relatives-3")
def the_gate_moves_along() -> Function:
    def cases(draw: random.Random) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for tokens in (5, 8, 12):
            generator = torch.Generator().manual_seed(draw.randrange(1000))
            weight = torch.randn(tokens, tokens, generator=generator)
            bias = torch.randn(tokens, generator=generator)
            yield weight, bias, torch.randperm(tokens, generator=generator)

    def back(weight: torch.Tensor, bias: torch.Tensor, order: torch.Tensor) -> list[torch.Tensor]:
        return _gate(weight, bias, order.argsort())

    return Function(
        "Return the new weight (T, T) and the new bias (T,), as a list.",
        _gate,
        cases,
        [
            Mistake(
                "Rows are what comes out, columns what goes in; both are places.",
                lambda w, b, order: [w[order], b[order]],
            ),
            Mistake(
                "What comes out is to be moved too, so the rows must be.",
                lambda w, b, order: [w[:, order], b],
            ),
            Mistake(
                "Each place has a bias of its own, which goes with it.",
                lambda w, b, order: [w[order][:, order], b],
            ),
            Mistake("That is the way back: place t is given what was at `order[t]`.", back),
        ],
    )


def _circles(x: torch.Tensor, size: int) -> torch.Tensor:
    """A depthwise convolution of size × size round the ends, all of its weights different."""
    h = x.shape[1]
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(h, 1, size, size, generator=generator, dtype=torch.float64)
    before = (size - 1) // 2
    after = size - 1 - before
    wide = F.pad(x, (before, after, before, after), mode="circular")
    return F.conv2d(wide, weight.to(x), groups=h)


def _with_zeros(x: torch.Tensor) -> torch.Tensor:
    h = x.shape[1]
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(h, 1, 15, 15, generator=generator, dtype=torch.float64)
    return F.conv2d(x, weight.to(x), padding=7, groups=h)


@exercise("relatives-4")
def neighbours_and_the_whole_map() -> Properties:
    form = "Return a map of the same shape, (B, h, 8, 8)."
    shape = "It must keep the shape of the map."
    deaf = "Some places do not hear some others: one block is not enough for that."
    mean = "Most places are heard alike, as by a mean of the map: their order goes unnoticed."
    border = "It notices a step round the circle: some places are treated unlike others."
    blind = "It does not notice a new order of the places, so it knows no neighbours."
    side, h = 8, 3
    places = torch.arange(side * side).view(side, side)
    steps = {"a step along the rows": places.roll(1, 1), "a step down": places.roll(1, 0)}
    order = torch.randperm(side * side, generator=torch.Generator().manual_seed(3))

    class Mixing(torch.nn.Module):
        def __init__(self, answer: Callable):
            super().__init__()
            self.answer = answer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.answer(x)

    def judge(answer: Any) -> Iterator[Row | tuple[str, str]]:
        if not callable(answer):
            raise Refused(form)
        block = Mixing(answer)  # run as it is, for its derivatives
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, h, side, side, generator=generator, dtype=torch.float64)
        made = called(answer, x)
        same = isinstance(made, torch.Tensor) and made.shape == x.shape
        found = str(tuple(made.shape)) if isinstance(made, torch.Tensor) else type(made).__name__
        yield Row("shape", found, str(tuple(x.shape)), same, shape)
        if not same:
            return
        slopes = mixing_jacobian(block, x)
        hears = (slopes != 0).any(axis=(1, 3))
        reach = [(f"place ({a}, {a}) hears", hears[9 * a].reshape(side, side)) for a in (0, 4)]
        yield draw_matrices([*reach, ("the first row of places hears", hears[:side])])
        heard = int(hears.sum(axis=1).min())
        yield Row("places heard", str(heard), f"{side**2}, by each", heard == side**2, deaf)
        for name, moved in steps.items():
            away = unnoticed(block, x, moved.flatten())
            yield Row(f"notices {name}", _yes(away), "no", away < 1e-9, border)
        away = unnoticed(block, x, order)
        yield Row("notices a new order", _yes(away), "yes", away > 1e-3, blind)
        if heard == side**2 and away > 1e-3:
            alike = _alike(slopes[0])
            yield Row(
                "places heard alike", str(alike), f"≤ {side**2 // 2}", alike <= side**2 // 2, mean
            )

    return Properties(
        form,
        judge,
        lambda: lambda x: _circles(x, side),
        [
            Mistake(deaf, lambda x: _circles(x, 3)),
            Mistake(mean, lambda x: _circles(x, 3) + x.mean(dim=(2, 3), keepdim=True)),
            Mistake(border, _with_zeros),
            Mistake(blind, lambda x: x + x.mean(dim=(2, 3), keepdim=True)),
        ],
    )


def _alike(slopes: np.ndarray) -> int:
    """How many places a place hears in one and the same way: (out, places, in) derivatives."""
    ways = slopes.transpose(1, 0, 2).reshape(slopes.shape[1], -1)
    return int(np.isclose(ways, ways[:, None], rtol=1e-6, atol=1e-9).all(2).sum(1).max())


def _yes(away: float) -> str:
    return "yes" if away > 1e-9 else "no"
