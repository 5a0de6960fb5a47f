"""The exercises of chapters 12 and 12b."""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mixerlib.data import OPERATIONS, torchvision_arguments
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called


@exercise("data-1")
def small_images_large_images() -> Numbers:
    def moved(magnitude: int, side: int) -> int:
        given = (OPERATIONS.index("TranslateX"), magnitude, False)
        numbers = [torch.tensor(value) for value in given]
        return int(
            torchvision_arguments(
                "randaugment", numbers[0], numbers[1], numbers[2], (side, side)
            ).item()
        )

    first = next(magnitude for magnitude in range(31) if moved(magnitude, 8))
    pixels = moved(9, 28)
    return Numbers(
        {"first M": first, "pixels": pixels},
        [
            Mistake(
                "At that M the shift is still less than a pixel, and it is rounded down.",
                {"first M": first - 1},
            ),
            Mistake(
                "That is where it would be rounded up to one.",
                {"first M": next(m for m in range(31) if 150 / 331 * 8 * m / 30 >= 0.5)},
            ),
            Mistake("The pixels are rounded down.", {"pixels": pixels + 1}),
            Mistake("That is the shift of the largest M.", {"pixels": moved(30, 28)}),
        ],
    )


@exercise("data-2")
def the_floor_under_mixup() -> Function:
    def mean_entropy(a: float) -> float:
        """By the trapezoidal rule, λ = sin² of an angle, where the integrand has no poles."""
        steps = 4000
        angles = (torch.arange(1, steps, dtype=torch.float64) / steps) * math.pi / 2
        share = angles.sin() ** 2
        weight = (share * (1 - share)) ** (a - 0.5)
        entropy = torch.special.entr(share) + torch.special.entr(1 - share)
        return float((weight * entropy).sum() / weight.sum())

    def cases(draw: random.Random) -> Iterator[tuple]:
        yield from ((a,) for a in (1.0, 2.0, 3.0))
        yield from ((round(draw.uniform(1.0, 5.0), 2),) for _ in range(4))

    def psi(x: float) -> float:
        return float(torch.digamma(torch.tensor(x, dtype=torch.float64)))

    return Function(
        "Give the floor as a formula of a, with sympy's digamma, or as a function.",
        mean_entropy,
        cases,
        [
            Mistake(
                "That is the mean of one of the entropy's two terms; they are alike.",
                lambda a: (psi(2 * a + 1) - psi(a + 1)) / 2,
            ),
            Mistake("Look at t = 1, not at t = 0.", lambda a: psi(2 * a) - psi(a)),
            Mistake(
                "The entropy has a minus: the floor is positive.",
                lambda a: psi(a + 1) - psi(2 * a + 1),
            ),
            Mistake(
                "That is the entropy of the mean λ, not the mean of the entropy.",
                lambda a: math.log(2),
            ),
        ],
        symbols=("a",),
        tolerance=1e-4,
    )


@exercise("data-3")
def a_draw_for_each_worker() -> Function:
    def parts(B: int, rho: float) -> float:
        """The g at which the variance is twice that of B draws of their own, by bisection."""
        low, high = 0.0, float(B)
        for _ in range(200):
            g = (low + high) / 2
            size = B / g
            variance = ((1 - rho) / size + rho) / g  # of the mean of g parts
            low, high = (g, high) if variance > 2 / B else (low, g)
        return g

    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(6):
            yield draw.choice([64, 128, 512]), round(draw.uniform(0.05, 0.95), 2)

    return Function(
        "Give g as a formula of B and rho, in sympy or as a function.",
        parts,
        cases,
        [
            Mistake(
                "An image shares its draw with B/g − 1 others, not with B/g.",
                lambda B, rho: B * rho,
            ),
            Mistake(
                "That makes the variance that of B draws of their own: no image is lost.",
                lambda B, rho: B,
            ),
            Mistake(
                "Half of the parts is not half of the images' worth: ρ enters.",
                lambda B, rho: B / 2,
            ),
            Mistake(
                "Upside down: more is needed where the draws matter more.",
                lambda B, rho: B / (1 + rho),
            ),
        ],
        symbols=("B", "rho"),
    )


@exercise("data-4")
def does_it_hurt() -> Function:
    def jump(losses: list[float]) -> float:
        late = torch.tensor(losses[len(losses) // 2 :], dtype=torch.float64)
        return float(late.diff().abs().mean())

    def cases(draw: random.Random) -> Iterator[tuple]:
        for count in (6, 10, 40):
            yield ([3 * math.exp(-4 * i / count) + draw.gauss(0, 0.2) for i in range(count)],)

    def as_function(of: Callable) -> Callable:
        return lambda losses: float(of(torch.tensor(losses, dtype=torch.float64)))

    return Function(
        "Return the mean length of the loss's jumps from step to step in the run's second half.",
        jump,
        cases,
        [
            Mistake(
                "That is of the whole run: at its start the loss falls anyway.",
                as_function(lambda x: x.diff().abs().mean()),
            ),
            Mistake(
                "Ups and downs cancel: take the lengths of the jumps.",
                as_function(lambda x: x[len(x) // 2 :].diff().mean()),
            ),
            Mistake(
                "That is the spread of the losses, which also holds their fall.",
                as_function(lambda x: x[len(x) // 2 :].std()),
            ),
            Mistake(
                "That is of the first half.",
                as_function(lambda x: x[: len(x) // 2].diff().abs().mean()),
            ),
        ],
    )


@exercise("data-5")
def a_crop_that_takes_turns() -> Properties:
    repeats = "An image sees some shift twice before it has seen all."
    near = "Neighbouring epochs show neighbouring shifts."
    alike = "All images have the same shift in an epoch: let r say where each begins."
    outside = "A shift has a number from 0 to 80."

    def judge(answer: Any) -> Iterator[Row]:
        table = [[called(answer, r, e) for e in range(81)] for r in range(81)]
        try:
            shifts = torch.tensor(table)
        except (TypeError, ValueError, RuntimeError):
            raise Refused("Return the shift's number, from 0 to 80.") from None
        if shifts.shape != (81, 81) or shifts.is_floating_point():
            raise Refused("Return the shift's number, a whole number from 0 to 80.")
        inside = bool(((shifts >= 0) & (shifts <= 80)).all())
        yield Row("from 0 to 80", "yes" if inside else "no", "yes", inside, outside)
        seen = min(len(row.unique()) for row in shifts)
        yield Row("different crops in 81 epochs", str(seen), "81", seen == 81, repeats)
        within = min(len(column.unique()) for column in shifts.T)
        yield Row("different shifts within an epoch", str(within), "81", within == 81, alike)
        rows, columns = shifts // 9, shifts % 9
        steps = torch.maximum(rows.diff(dim=1).abs(), columns.diff(dim=1).abs())
        yield Row(
            "pixels from epoch to epoch, at least",
            str(int(steps.min())),
            "2 or more",
            bool(steps.min() > 1),
            near,
        )

    return Properties(
        "Return the shift's number, 9 · row + column, from 0 to 80.",
        judge,
        lambda: lambda r, e: (r + 32 * e) % 81,
        [
            Mistake(repeats, lambda r, e: (r + 27 * e) % 81),
            Mistake(near, lambda r, e: (r + e) % 81),
            Mistake(alike, lambda r, e: 32 * e % 81),
            Mistake(outside, lambda r, e: r + 32 * e),
        ],
    )


@exercise("data-6")
def how_many_pictures_from_one() -> Numbers:
    choices, steps = OPERATIONS[:14], 2
    signed = OPERATIONS[1:10]  # with two directions
    chances = [
        1 / len(choices) / (2 if name in signed else 1)
        for name in choices
        for _ in range(2 if name in signed else 1)
    ]
    outcomes = len(chances) ** steps
    worth = math.exp(-steps * sum(p * math.log(p) for p in chances))
    left = (1 / len(choices)) ** steps
    return Numbers(
        {"outcomes": outcomes, "as uncertain as": worth, "Identity twice": left},
        [
            Mistake(
                "Operations with a sign have two directions, each an outcome.",
                {"outcomes": len(choices) ** steps},
            ),
            Mistake(
                "Some operations have one direction only.",
                {"outcomes": (2 * len(choices)) ** steps},
            ),
            Mistake(
                "RandAugment(2, …) takes two steps, and both count.", {"outcomes": len(chances)}
            ),
            Mistake(
                "Two steps in a row: multiply the outcomes.", {"outcomes": steps * len(chances)}
            ),
            Mistake(
                "They are not equally likely: an operation without a sign comes twice as often.",
                {"as uncertain as": outcomes},
            ),
            Mistake("That is one step.", {"as uncertain as": worth**0.5}),
            Mistake(
                "The outcomes are not equally likely: Identity has no direction.",
                {"Identity twice": 1 / outcomes},
            ),
            Mistake("Identity must come twice.", {"Identity twice": 1 / len(choices)}),
        ],
    )


@exercise("data-7")
def what_a_draw_of_its_own_costs() -> Function:
    def batch(once: float, call: float, groups: float, pixels: float) -> float:
        """Where the line of the calls, per image, meets that of the pixels: stepped towards."""
        low, high = 1e-6, 1e9
        for _ in range(200):
            middle = math.sqrt(low * high)
            low, high = (
                (middle, high) if (once + groups * call) / middle > pixels else (low, middle)
            )
        return low

    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(6):
            yield tuple(round(draw.uniform(1, 90), 1) for _ in range(4))

    return Function(
        "Return the batch at which the calls cost as much as the pixels.",
        batch,
        cases,
        [
            Mistake("What is paid once a batch is missing.", lambda o, c, g, p: g * c / p),
            Mistake("Each group has a call of its own.", lambda o, c, g, p: (o + c) / p),
            Mistake(
                "What is paid once is not paid in each group.", lambda o, c, g, p: g * (o + c) / p
            ),
            Mistake("Upside down.", lambda o, c, g, p: p / (o + g * c)),
        ],
        symbols=("once", "call", "groups", "pixels"),
        tolerance=1e-5,
    )
