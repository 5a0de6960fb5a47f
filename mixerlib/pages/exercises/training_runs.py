"""The exercises of chapter 13."""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from mixerlib import costs
from mixerlib.models import create_model, model_entry
from mixerlib.pages.exercises.drawing import draw_matrices
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called, described


@exercise("training-1")
def what_is_left_of_the_beginning() -> Function:
    def forgetting(rates: list, decay: float, steps: int) -> tuple[float, float]:
        """Step by step; the half-life by solving (1 − ηλ)ⁿ = 1/2 for n."""
        left = 1.0
        for rate in rates:
            left *= 1 - rate * decay
        return left, math.log(0.5, 1 - max(rates) * decay) / steps

    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(4):
            count = draw.randint(30, 60)
            top = draw.uniform(0.01, 0.1)
            rates = [top * min(1, 5 * t / count, 2 - 2 * t / count) for t in range(1, count)]
            yield rates, draw.uniform(0.05, 2), draw.randint(5, 20)

    def changed(half: Callable, share: Callable | None = None) -> Callable:
        def other(rates: list, decay: float, steps: int) -> tuple[float, float]:
            left = share(rates, decay) if share else forgetting(rates, decay, steps)[0]
            return left, half(max(rates) * decay, steps)

        return other

    def right(product: float, steps: int) -> float:
        return math.log(0.5) / math.log1p(-product) / steps

    return Function(
        "Return the share that is left, and the half-life at the top in epochs.",
        forgetting,
        cases,
        [
            Mistake(
                "The half-life is in steps; divide by the steps of an epoch.",
                changed(lambda product, steps: right(product, 1)),
            ),
            Mistake(
                "That is the time to fall to 1/e, not to one half.",
                changed(lambda product, steps: 1 / product / steps),
            ),
            Mistake(
                "Each step multiplies by 1 − ηλ: the decay without its rate is no share.",
                changed(right, lambda rates, decay: (1 - decay) ** len(rates)),
            ),
            Mistake(
                "The rate is not at its top in all steps.",
                changed(right, lambda rates, decay: (1 - max(rates) * decay) ** len(rates)),
            ),
            Mistake(
                "That is the share that is lost.",
                changed(right, lambda rates, decay: 1 - forgetting(rates, decay, 1)[0]),
            ),
        ],
    )


@exercise("training-2")
def how_far_can_adam_step() -> Function:
    def step(beta1: float, beta2: float) -> float:
        """Adam's own update, after so many steps of nothing that its corrections are 1."""
        weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        adam = torch.optim.Adam([weight], lr=1.0, betas=(beta1, beta2), eps=0.0)
        weight.grad = torch.zeros_like(weight)
        adam.state[weight] = {
            "step": torch.tensor(1e7),
            "exp_avg": torch.zeros_like(weight),
            "exp_avg_sq": torch.zeros_like(weight),
        }
        weight.grad.fill_(3.0)
        adam.step()
        return -float(weight.detach())

    def cases(draw: random.Random) -> Iterator[tuple]:
        yield 0.9, 0.999
        for _ in range(5):
            yield round(draw.uniform(0.5, 0.95), 3), round(draw.uniform(0.9, 0.999), 3)

    return Function(
        "Give the step, in learning rates, as a formula of beta1 and beta2.",
        step,
        cases,
        [
            Mistake(
                "The denominator of Adam's step is the root of ν.",
                lambda b1, b2: (1 - b1) / (1 - b2),
            ),
            Mistake("Upside down.", lambda b1, b2: math.sqrt(1 - b2) / (1 - b1)),
            Mistake("Only ν is under the root.", lambda b1, b2: math.sqrt((1 - b1) / (1 - b2))),
            Mistake(
                "That is the very first step. Later both corrections are 1.", lambda b1, b2: 1.0
            ),
            Mistake(
                "The new gradient has the weight 1 − β; β is that of the past.",
                lambda b1, b2: b1 / math.sqrt(b2),
            ),
        ],
        symbols=("beta1", "beta2"),
    )


@exercise("training-5")
def invent_a_schedule() -> Properties:
    negative = "A learning rate cannot be negative."
    stays = "It does not come down: end at a tenth of its highest or less."
    wild = "It is not finite everywhere between 0 and 1."
    nothing = "It is zero everywhere: nothing would be learned."
    rough = "It jumps by more than half of its height from one percent of the run to the next."

    def judge(answer: Any) -> Iterator[Row | tuple[str, str]]:
        grid = [i / 100 for i in range(101)]
        try:
            heights = np.array([float(called(answer, q)) for q in grid])
        except (TypeError, ValueError) as problem:
            if isinstance(problem, Refused):
                raise
            raise Refused("Return one number for a progress from 0 to 1.") from None
        finite = bool(np.isfinite(heights).all())
        yield Row("finite", "yes" if finite else "no", "yes", finite, wild)
        if not finite:
            return
        low, top = heights.min(), heights.max()
        yield Row("lowest", f"{low:.3g}", "0 or more", bool(low >= 0), negative)
        yield Row("highest", f"{top:.3g}", "more than 0", bool(top > 0), nothing)
        if top <= 0:
            return
        end, jump = heights[-1] / top, np.abs(np.diff(heights)).max() / top
        yield Row(
            "at the end, of the highest", f"{end:.0%}", "10% or less", bool(end <= 0.1), stays
        )
        yield Row(
            "largest jump, of the highest", f"{jump:.0%}", "50% or less", bool(jump <= 0.5), rough
        )
        yield Row("mean, of the highest", f"{heights.mean() / top:.0%}", "any", True)
        levels = np.arange(8, 0, -1)[:, None] / 8
        yield draw_matrices([("the rate over the run", heights[None, ::2] >= top * levels)])

    return Properties(
        "Return the height of the rate, 0 or more, at the progress q from 0 to 1.",
        judge,
        lambda: lambda q: min(q / 0.1, 1.0, (1 - q) / 0.35),
        [
            Mistake(stays, lambda q: 1.0),
            Mistake(negative, lambda q: 1 - 1.2 * q),
            Mistake(wild, lambda q: math.inf if q == 0 else 0.01 / q),
            Mistake(nothing, lambda q: 0.0),
            Mistake(rough, lambda q: float(q < 0.5)),
        ],
    )


@exercise("training-6")
def when_epsilon_rules() -> Numbers:
    clip, epsilon = 1.0, 1e-3  # as the exercise gives them
    options = dict(model_entry("convmixer_1536_20").defaults)
    entries = costs.formulas("convmixer").counts(options, 224).total("params")
    typical = clip / entries**0.5
    return Numbers(
        {"typical entry": typical, "share of ε": typical / epsilon, "half a gradient moves": 0.5},
        [
            Mistake(
                "The squares of the entries add up to the squared length.",
                {"typical entry": clip / entries},
            ),
            Mistake(
                "That is the root of the number of entries; divide the length by it.",
                {"typical entry": entries**0.5},
            ),
            Mistake(
                "Give the share as a number from 0 to 1.", {"share of ε": 100 * typical / epsilon}
            ),
            Mistake("Upside down: divide the entry by ε.", {"share of ε": epsilon / typical}),
            Mistake(
                "That is Adam where √ν rules. Here the denominator is ε, whatever the gradient.",
                {"half a gradient moves": 1},
            ),
            Mistake(
                "The step is linear in the gradient, not quadratic.",
                {"half a gradient moves": 0.25},
            ),
        ],
        tolerance=0.03,
    )


@exercise("training-8")
def which_parameters_decay() -> Properties:
    every = "These are all parameters: biases and the norms' scales are no matrices."
    norms = "The norms' scales are called weight too, and are no matrices."
    head = "The head's weight is a matrix as well."
    other = "Compare with the parameters that have two dimensions or more."
    form = "Return the names of the parameters that decay."

    def named(model: nn.Module, choose: Callable) -> set[str]:
        return {name for name, p in model.named_parameters() if choose(name, p)}

    ways = {
        every: lambda name, p: True,
        norms: lambda name, p: name.endswith("weight"),
        head: lambda name, p: p.ndim == 4,
    }

    def judge(answer: Any) -> Iterator[Row]:
        for model_name in ("convmixer", "splitmixer_i"):
            model = create_model(model_name, dim=8, depth=2)
            result = called(answer, model)
            if isinstance(result, str) or not isinstance(result, Iterable):
                raise Refused(f"{described(result)} holds no names. {form}")
            yours = {*map(str, result)}
            expected = named(model, lambda name, p: p.ndim > 1)
            known = [text for text, choose in ways.items() if yours == named(model, choose)]
            yield Row(
                model_name,
                f"{len(yours)} names",
                f"{len(expected)} names",
                yours == expected,
                known[0] if known else other,
            )

    return Properties(
        form,
        judge,
        lambda: lambda model: named(model, lambda name, p: p.ndim > 1),
        [
            Mistake(message, lambda model, choose=choose: named(model, choose))
            for message, choose in ways.items()
        ],
    )


@exercise("training-9")
def what_half_precision_saves() -> Numbers:
    options = dict(model_entry("splitmixer_i_256_8").defaults)
    counts = costs.formulas("splitmixer_i").counts(options, image_size=32)
    tensors = ("weight", "gradient", "first average", "second average")
    held, kept = 4 * len(tensors), counts.total("activations")
    return Numbers(
        {
            "a parameter, float32": held,
            "a parameter, autocast": held,
            "an image, float32": 4 * kept,
            "an image, half": 2 * kept,
        },
        [
            Mistake("That is the weight alone.", {"a parameter, float32": 4}),
            Mistake(
                "Weight and gradient; Adam holds two averages as well.", {"a parameter, float32": 8}
            ),
            Mistake(
                "Adam holds two averages, and the gradient is there too.",
                {"a parameter, float32": 12},
            ),
            Mistake(
                "Autocast keeps weights, gradients and averages in float32.",
                {"a parameter, autocast": held // 2},
            ),
            Mistake(
                "Autocast casts for the computation alone: the weight is kept in float32.",
                {"a parameter, autocast": held - 2},
            ),
            Mistake("These are numbers; each has four bytes.", {"an image, float32": kept}),
            Mistake("In half precision a number has two bytes.", {"an image, half": kept}),
            Mistake("Here the activations do shrink.", {"an image, half": 4 * kept}),
        ],
    )
