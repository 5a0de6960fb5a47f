"""The exercises of chapter 13b."""

import math
import random
from collections.abc import Callable, Iterator

import torch
from torch import nn

from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers


def _depends_on_the_parts(training: bool) -> bool:
    """Whether a batch that passes a BatchNorm in two parts comes out otherwise than as a whole."""
    maps = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    norm = nn.BatchNorm2d(1).train(training)
    with torch.no_grad():
        parts = torch.cat([norm(part) for part in maps.split(4)])
        return not torch.allclose(parts, norm(maps))


@exercise("training-3")
def ghost_batches() -> Numbers:
    return Numbers(
        {
            "depends in evaluation": _depends_on_the_parts(training=False),
            "depends in training": _depends_on_the_parts(training=True),
            "noise grows by": math.sqrt(4),  # a part with a quarter of the places
        },
        [
            Mistake(
                "In evaluation mode the statistics are constants: no image sees another.",
                {"depends in evaluation": True},
            ),
            Mistake(
                "In training mode each part has means and variances of its own.",
                {"depends in training": False},
            ),
            Mistake("A mean's deviation falls with the root of the number.", {"noise grows by": 4}),
            Mistake("Fewer places make a noisier mean.", {"noise grows by": 0.5}),
        ],
    )


@exercise("training-4")
def choose_the_window() -> Function:
    def average(steps: int, epochs: int) -> tuple[float, float, float]:
        """β by bisection, the window by its sum, the share by the steps that follow the first."""
        low, high = 0.0, 1.0
        for _ in range(80):
            beta = (low + high) / 2
            low, high = (beta, high) if beta**steps < 0.5 else (low, beta)
        return beta, sum(beta**i for i in range(200 * steps)), beta ** (steps * epochs - 1)

    def with_beta(of: Callable) -> Callable:
        def other(steps: int, epochs: int) -> tuple[float, float, float]:
            beta = of(steps, epochs)
            return beta, 1 / (1 - beta), beta ** (steps * epochs - 1)

        return other

    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(5):
            yield draw.randint(8, 60), draw.randint(2, 9)

    return Function(
        "Return β, the window, and the share of the first weights at the end.",
        average,
        cases,
        [
            Mistake(
                "That makes the window one epoch, not the half-life.",
                with_beta(lambda steps, epochs: 1 - 1 / steps),
            ),
            Mistake("That β halves a place in one step.", with_beta(lambda steps, epochs: 0.5)),
            Mistake(
                "Half after one epoch, not after the whole run.",
                with_beta(lambda steps, epochs: 0.5 ** (1 / (steps * epochs))),
            ),
            Mistake(
                "The first weights are in the average from the first step on: one step less.",
                lambda steps, epochs: (*average(steps, epochs)[:2], 0.5**epochs),
            ),
        ],
    )


@exercise("training-7")
def another_batch_another_rate() -> Numbers:
    factor = 256 / 64
    return Numbers(
        {"rate": math.sqrt(factor), "steps": 1 / factor},
        [
            Mistake(
                "That is the linear rule, for SGD. Adam's divides by the gradient's size.",
                {"rate": factor},
            ),
            Mistake(
                "A larger batch has less noise and bears a larger rate.",
                {"rate": 1 / math.sqrt(factor)},
            ),
            Mistake(
                "In as many epochs, four times the batch makes fewer steps.", {"steps": factor}
            ),
            Mistake("The images are as many, and so the steps are fewer.", {"steps": 1}),
        ],
    )
