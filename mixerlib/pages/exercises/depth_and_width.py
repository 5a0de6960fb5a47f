"""The exercises of chapter 16."""

import math
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from mixerlib import costs
from mixerlib.models import create_model, model_entry
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties, as_number
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused


def _parameters(family: str, **options: Any) -> int:
    """Parameters of a model with ten classes, by the formula."""
    every = dict(model_entry(family).defaults) | {"num_classes": 10} | options
    return costs.formulas(family).counts(every, image_size=32).total("params")


@exercise("depth-1")
def deep_enough() -> Numbers:
    def share(blocks: int) -> Fraction:
        both = (_parameters(family, depth=blocks) for family in ("splitmixer_i", "convmixer"))
        return Fraction(next(both), next(both))

    slopes = [
        _parameters(family, depth=2) - _parameters(family, depth=1)
        for family in ("splitmixer_i", "convmixer")
    ]
    limit = Fraction(*slopes)
    start = _parameters("convmixer", depth=1) - slopes[1]

    def first(near: Fraction, limit: Fraction = limit) -> int:
        return next(blocks for blocks in range(1, 10_000) if share(blocks) < limit + near)

    blocks = first(Fraction(1, 100))
    return Numbers(
        {"blocks": blocks},
        [
            Mistake("With one block fewer the share is not yet so near.", {"blocks": blocks - 1}),
            Mistake(
                "A percentage point is a hundredth of the whole, not of the limit.",
                {"blocks": first(limit / 100)},
            ),
            Mistake("That is half of the way only.", {"blocks": math.ceil(start / slopes[1])}),
        ],
    )


def _width(parameters: int, depth: int, step: int = 8) -> int:
    """The largest width within the parameters, by whole steps."""
    h = step
    while _parameters("convmixer", dim=h + step, depth=depth) <= parameters:
        h += step
    return h


@exercise("depth-2")
def a_width_for_a_depth() -> Function:
    def nearest(parameters: int, depth: int) -> int:
        low = _width(parameters, depth)
        both = (low, low + 8)
        return min(
            both, key=lambda h: abs(_parameters("convmixer", dim=h, depth=depth) - parameters)
        )

    def cases(draw: random.Random) -> Iterator[tuple[int, int]]:
        for depth in (1, 2, 8, 20, draw.randrange(3, 30)):
            h = 8 * draw.randrange(9, 60)
            for above in (0, 7 * h):
                yield _parameters("convmixer", dim=h, depth=depth) - 1 + above, depth

    return Function(
        "Return the width, a multiple of 8.",
        _width,
        cases,
        [
            Mistake("That has too many parameters: at most, not nearest.", nearest),
            Mistake("The width must be a multiple of 8.", lambda p, d: _width(p, d, step=1)),
            Mistake(
                "Stem, head, kernels and norms have parameters too.",
                lambda p, d: math.isqrt(p // d) // 8 * 8,
            ),
            Mistake("The next width would still fit.", lambda p, d: _width(p, d) - 8),
        ],
    )


@exercise("depth-3")
def four_times_as_deep() -> Numbers:
    right = {"width": 0.5, "MACs": 1.0, "moved": 2.0, "time": 2.0}
    return Numbers(
        right,
        [
            Mistake("The square of the width goes down by four, not the width.", {"width": 0.25}),
            Mistake("Each block has fewer MACs, and more of them as many.", {"MACs": 4.0}),
            Mistake("More blocks, but narrower ones too.", {"moved": 4.0}),
            Mistake("It computes no more, but waits for what it carries.", {"time": 1.0}),
        ],
    )


@exercise("depth-4")
def as_wide_as_it_goes() -> Properties:
    budget = _parameters("convmixer", dim=64, depth=4, patch_size=4)
    grid, least = 8, 96
    names = ("dim", "depth", "kernel_size")
    dear = "That has more parameters than the ConvMixer."
    blind = "A corner does not see the opposite one: each block carries news (k − 1)/2 patches."
    deaf = "Some channels have never heard of one another: look at the number of blocks."
    thin = "There is room for more channels."

    def judge(answer: Any) -> Iterator[Row]:
        if not isinstance(answer, dict) or not {*names} <= {*answer}:
            raise Refused("Fill in `dim`, `depth` and `kernel_size`.")
        options = {}
        for name in names:
            value = as_number(name, answer[name])
            if not isinstance(value, int):
                raise Refused(f"`{name}`={value} must be a whole number")
            options[name] = value
        try:
            model = create_model("splitmixer_i", patch_size=4, **options)
        except ValueError as error:
            raise Refused(str(error)) from error
        count = sum(weights.numel() for weights in model.parameters())
        yield Row("parameters", f"{count:,}", f"≤ {budget:,}", count <= budget, dear)
        crossed = options["depth"] * ((options["kernel_size"] - 1) // 2)
        yield Row("patches crossed", str(crossed), f"≥ {grid - 1}", crossed >= grid - 1, blind)
        heard = float(costs.reach(options["dim"], costs.mixing_steps(model)).mean())
        yield Row("channels heard", f"{heard:.0%}", "100%", heard == 1, deaf)
        yield Row("channels", str(options["dim"]), f"≥ {least}", options["dim"] >= least, thin)

    def chosen(dim: int, depth: int, kernel_size: int) -> dict[str, int]:
        return dict(zip(names, (dim, depth, kernel_size), strict=True))

    return Properties(
        "Fill in `dim`, `depth` and `kernel_size`.",
        judge,
        lambda: chosen(96, 3, 7),
        [
            Mistake(dear, chosen(128, 3, 7)),
            Mistake(blind, chosen(96, 3, 5)),
            Mistake(deaf, chosen(96, 2, 9)),
            Mistake(thin, chosen(64, 4, 5)),
        ],
    )
