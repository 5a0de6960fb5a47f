"""The exercises of chapter 14."""

import math
import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy  # loads `scipy.stats`, which takes a second, when it is used
import torch

from mixerlib.models import create_model
from mixerlib.pages.exercises.drawing import draw_matrices
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called


@exercise("results-1")
def recompute_an_interval() -> Numbers:
    runs, printed = np.array([72.1, 72.9, 72.5]), 73.4  # as the exercise gives them
    n, deviation = len(runs), runs.std(ddof=1)
    t = scipy.stats.t.ppf(0.975, n - 1)
    half, one_more = t * deviation / n**0.5, t * deviation * (1 / n + 1) ** 0.5
    return Numbers(
        {
            "mean": float(runs.mean()),
            "deviation": float(deviation),
            "half-width": float(half),
            "contradicts": bool(abs(runs.mean() - printed) > one_more),
        },
        [
            Mistake(
                "Divide by n − 1: the mean is taken from the same runs.",
                {"deviation": float(runs.std())},
            ),
            Mistake("That is the variance; take its root.", {"deviation": float(deviation**2)}),
            Mistake(
                "That is for one run; the mean of n has a deviation smaller by √n.",
                {"half-width": float(t * deviation)},
            ),
            Mistake(
                "With three runs the factor is t with two degrees of freedom, not 1.96.",
                {"half-width": float(scipy.stats.norm.ppf(0.975) * deviation / n**0.5)},
            ),
            Mistake(
                "That is the deviation of the mean; the interval is t times as wide.",
                {"half-width": float(deviation / n**0.5)},
            ),
            Mistake(
                "The printed number is one run: it lies within the interval for one more.",
                {"contradicts": True},
            ),
        ],
        tolerance=0.01,
    )


def seeds_for(difference: float, power: float = 0.8, level: float = 0.05) -> int:
    """The runs of each of two groups that a difference, in deviations of a run, needs to be shown
    with this power by a t-test: by the noncentral t."""
    for n in range(2, 10_000):
        freedom, shift = 2 * n - 2, difference * (n / 2) ** 0.5
        bound = scipy.stats.t.ppf(1 - level / 2, freedom)
        if (
            scipy.stats.nct.sf(bound, freedom, shift) + scipy.stats.nct.cdf(-bound, freedom, shift)
            >= power
        ):
            return n
    raise ValueError(f"`difference`={difference} must be one that 10,000 runs can show")


@exercise("results-2")
def how_many_seeds() -> Numbers:
    large, small, scatter = 0.3, 0.15, 0.25  # as the exercise gives them
    rule = math.floor(2 * (2 + 0.84) ** 2 / (large / scatter) ** 2)
    n, more = seeds_for(large / scatter), seeds_for(small / scatter)
    return Numbers(
        {"0.3 points": n, "0.15 points": more},
        [
            Mistake(
                "By hand it comes to a little more than that: round up.",
                {"0.3 points": rule},
            ),
            Mistake(
                "Both groups scatter: the variances of two means add.",
                {"0.3 points": math.ceil(n / 2)},
            ),
            Mistake("That is in runs of both groups together.", {"0.3 points": 2 * n}),
            Mistake(
                "The number grows with the square: half the difference needs about four times.",
                {"0.15 points": 2 * n},
            ),
            Mistake(
                "About four times, but not exactly: the t-factor gets smaller.",
                {"0.15 points": 4 * n},
            ),
        ],
    )


@exercise("results-3")
def read_a_record() -> Function:
    def record(draw: random.Random) -> SimpleNamespace:
        curve = [
            SimpleNamespace(epoch=epoch, test_accuracy=round(draw.uniform(0.5, 0.9), 4))
            for epoch in range(1, draw.randint(5, 9))
        ]
        training = draw.uniform(50, 90)
        return SimpleNamespace(
            curve=curve,
            test_accuracy=curve[-1].test_accuracy,
            training_seconds=training,
            total_seconds=training + draw.uniform(5, 40),
        )

    def read(record: Any) -> tuple[int, float, float]:
        accuracies = np.array([row.test_accuracy for row in record.curve])
        best = int(accuracies.argmax())
        other = (record.total_seconds - record.training_seconds) / record.total_seconds
        return record.curve[best].epoch, 100 * (accuracies[best] - accuracies[-1]), other

    def with_parts(change: Callable) -> Callable:
        return lambda record: change(record, *read(record))

    return Function(
        "Return the best epoch, its gain over the last in points, the share that was not training.",
        read,
        lambda draw: [(record(draw),) for _ in range(5)],
        [
            Mistake(
                "Epochs are counted from 1: take `row.epoch`.",
                with_parts(lambda record, best, gain, other: (best - 1, gain, other)),
            ),
            Mistake(
                "Give the gain in points: per cent of the images.",
                with_parts(lambda record, best, gain, other: (best, gain / 100, other)),
            ),
            Mistake(
                "That is the share that was training.",
                with_parts(lambda record, best, gain, other: (best, gain, 1 - other)),
            ),
            Mistake(
                "These are seconds; divide by all seconds of the run.",
                with_parts(
                    lambda record, best, gain, other: (best, gain, other * record.total_seconds)
                ),
            ),
            Mistake(
                "That is the last epoch, not the best.",
                with_parts(lambda record, best, gain, other: (record.curve[-1].epoch, 0.0, other)),
            ),
        ],
    )


def _bricks(i: int, h: int, s: int) -> list[int]:
    shift = (i % 2) * h // (2 * s)
    return [(place + shift) % h for place in range(h)]


def _shuffled(i: int, h: int, s: int) -> list[int]:
    return [*np.arange(h).reshape(s, -1).T.flatten()] if i % 2 else [*range(h)]


@exercise("results-4")
def a_strategy_of_your_own() -> Properties:
    once = "Each channel must be in one segment, once."
    never = "However many blocks there are, some channels never hear of each other."
    taken = "That deals the channels out in turn: it is the shuffle."

    def judge(answer: Any) -> Iterator[Row | tuple[str, str]]:
        for h, s in ((16, 4), (12, 3), (24, 2)):
            orders = []
            for i in range(4 * s):
                try:
                    orders.append([int(c) for c in called(answer, i, h, s)])
                except (TypeError, ValueError) as problem:
                    if isinstance(problem, Refused):
                        raise
                    raise Refused("Return a list of all channels.") from None
            label = f"h = {h}, s = {s}"
            whole = all(sorted(order) == [*range(h)] for order in orders)
            yield Row(f"{label}: each channel once", "yes" if whole else "no", "yes", whole, once)
            if not whole:
                return
            hears, after, drawn = np.eye(h, dtype=bool), 0, []
            for number, order in enumerate(orders, 1):
                for segment in np.array(order).reshape(s, -1):
                    hears[segment] = hears[segment].any(axis=0)
                drawn.append((f"after {number}", hears.copy()))
                if hears.all():
                    after = number
                    break
            yield Row(
                f"{label}: all have met after",
                f"{after} blocks" if after else "never",
                "some blocks",
                bool(after),
                never,
            )
            deals = [
                segments_of(order, s) == segments_of(_shuffled(1, h, s), s) for order in orders
            ]
            yield Row(
                f"{label}: a shuffle", "yes" if any(deals) else "no", "no", not any(deals), taken
            )
            if h == 16:
                yield draw_matrices(drawn[:4])

    def segments_of(order: list[int], s: int) -> set[frozenset]:
        return {frozenset(map(int, segment)) for segment in np.array(order).reshape(s, -1)}

    return Properties(
        "Return all channels in the order in which block i cuts them into segments.",
        judge,
        lambda: _bricks,
        [
            Mistake(never, lambda i, h, s: range(h)),
            Mistake(once, lambda i, h, s: [c // 2 for c in range(h)]),
            Mistake(taken, _shuffled),
        ],
    )


@exercise("results-5")
def what_a_point_of_accuracy_costs() -> Function:
    def price(saved: float, lost: float, half_width: float) -> Any:
        ends = lost - half_width, lost + half_width
        return (
            "none"
            if min(ends) <= 0 <= max(ends) or lost < 0
            else (saved / ends[1], saved / ends[0])
        )

    def cases(draw: random.Random) -> Iterator[tuple]:
        yield from ((100.0, 2.0, 0.5), (80.0, 0.3, 0.6), (50.0, -1.0, 0.4))
        for _ in range(4):
            yield draw.uniform(10, 90), draw.uniform(0.2, 3), draw.uniform(0.1, 1)

    return Function(
        'Return the lower and the upper price, or "none" where no loss is shown.',
        price,
        cases,
        [
            Mistake(
                "A loss that could be zero has no price.",
                lambda saved, lost, half: (
                    "none" if lost < 0 else (saved / (lost + half), saved / (lost - half))
                ),
            ),
            Mistake(
                "The larger the loss, the lower the price: the ends change places.",
                lambda saved, lost, half: (
                    price(saved, lost, half)
                    if price(saved, lost, half) == "none"
                    else price(saved, lost, half)[::-1]
                ),
            ),
            Mistake(
                "A price without its interval says nothing.", lambda saved, lost, half: saved / lost
            ),
            Mistake(
                "A gain has no price.",
                lambda saved, lost, half: (
                    (saved / (lost + half), saved / (lost - half))
                    if lost < 0
                    else price(saved, lost, half)
                ),
            ),
        ],
    )


@exercise("results-6")
def the_same_seed_another_strategy() -> Function:
    def beside(values: Any) -> float:
        """By least squares on indicators of strategies and seeds."""
        groups, seeds = values.shape
        design = np.hstack(
            [np.repeat(np.eye(groups), seeds, axis=0), np.tile(np.eye(seeds), (groups, 1))]
        )
        flat = values.flatten()
        rest = flat - design @ np.linalg.lstsq(design, flat, rcond=None)[0]
        return float((rest @ rest / (groups - 1) / (seeds - 1)) ** 0.5)

    def cases(draw: random.Random) -> Iterator[tuple]:
        for shape in ((3, 4), (5, 3), (2, 6)):
            make = np.random.default_rng(draw.randrange(1000))
            yield (make.normal(70, 1, shape) + make.normal(0, 2, shape[1]),)

    def left(values: Any) -> Any:
        return values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()

    def pooled(values: Any) -> float:
        return float(values.var(axis=1, ddof=1).mean() ** 0.5)

    return Function(
        "Return the deviation that is left beside a level for each strategy and each seed.",
        beside,
        cases,
        [
            Mistake("That is the pooled deviation: the seeds' levels are still in it.", pooled),
            Mistake(
                "The levels of the seeds cost degrees of freedom too.",
                lambda v: float(((left(v) ** 2).sum() / len(v) / (v.shape[1] - 1)) ** 0.5),
            ),
            Mistake(
                "Levels that are estimated leave (g − 1)(n − 1) degrees of freedom.",
                lambda v: float(left(v).std()),
            ),
            Mistake("That is the variance; take its root.", lambda v: beside(v) ** 2),
        ],
    )


@exercise("results-7")
def a_check_on_the_method() -> Numbers:
    models = []
    for name, options in (("splitmixer_3d", {}), ("splitmixer_iii", {"shuffle": True})):
        torch.manual_seed(0)
        models.append(create_model(name, dim=16, depth=2, **options).eval())
    pairs = zip(*(model.state_dict().values() for model in models), strict=True)
    weights = all(torch.equal(one, other) for one, other in pairs)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        logits = torch.equal(models[0](x), models[1](x))
    large, small = torch.tensor([1e8, 1.0])  # float32 has no 1e8 + 1: the order of a sum shows
    alike = bool((large - large) + small == (small - large) + large)
    return Numbers(
        {"same weights": weights, "same logits": logits, "must end alike on a GPU": alike},
        [
            Mistake("One model: the same seed draws the same weights.", {"same weights": False}),
            Mistake("The two compute the same thing in the same order.", {"same logits": False}),
            Mistake(
                "On a GPU some sums change their order, and training magnifies the rounding.",
                {"must end alike on a GPU": True},
            ),
        ],
    )
