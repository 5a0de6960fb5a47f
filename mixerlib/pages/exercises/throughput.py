"""The exercises of chapters 17 and 17b."""

import random
import statistics
from collections.abc import Callable, Iterator
from fractions import Fraction

import scipy  # loads `scipy.stats`, which takes a second, when it is used

from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers


@exercise("throughput-1")
def the_price_of_the_first_call() -> Function:
    def calls(f: Fraction) -> int:
        """The first N that does, one after the other."""
        N = 1
        while (f - 1) / N >= Fraction(1, 100):
            N += 1
        return N

    def cases(draw: random.Random) -> Iterator[tuple]:
        yield from ((Fraction(3),), (Fraction(1),), (Fraction(5, 2),))
        yield from ((Fraction(draw.randint(1010, 9000), 1000),) for _ in range(5))

    return Function(
        "Return the fewest calls N, a whole number of at least 1.",
        calls,
        cases,
        [
            Mistake(
                "At exactly one per cent it is not yet less: take the next whole number.",
                lambda f: max(1, -int(-100 * (f - 1) // 1)),
            ),
            Mistake(
                "The first call is one of the N: what it takes too long is f − 1.",
                lambda f: int(100 * f // 1) + 1,
            ),
            Mistake("That is the number for one tenth.", lambda f: int(10 * (f - 1) // 1) + 1),
            Mistake(
                "Round up: with so few calls the mean is still off by more.",
                lambda f: max(1, int(100 * (f - 1) // 1)),
            ),
        ],
    )


@exercise("throughput-2")
def how_many_rounds() -> Numbers:
    def safe(n: int) -> bool:
        """Whether the best interval of 95 per cent begins at the lower quartile or above."""
        ranks = [
            rank
            for rank in range(1, n // 2 + 1)
            if 1 - 2 * scipy.stats.binom.cdf(rank - 1, n, 0.5) >= 0.95
        ]
        return bool(ranks) and 4 * (ranks[-1] - 1) >= n - 1

    enough = next(n for n in range(3, 200) if all(safe(m) for m in range(n, n + 40)))
    first = next(n for n in range(3, 200) if safe(n))
    any_at_all = next(n for n in range(3, 200) if 1 - 2 / 2**n >= 0.95)
    return Numbers(
        {"rounds": enough},
        [
            Mistake(
                "There it holds for the first time, and then fails once more.", {"rounds": first}
            ),
            Mistake("One too few.", {"rounds": enough - 1}),
            Mistake(
                "So many are needed for any interval of 95 per cent, from the least to the "
                "greatest.",
                {"rounds": any_at_all},
            ),
        ],
    )


@exercise("throughput-3")
def a_second_thread() -> Function:
    def gain(one: float, all_cores: float, cores: int) -> tuple[float, float]:
        faster = one / all_cores
        return faster, faster / cores

    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(5):
            one = draw.uniform(1, 5)
            yield one, one / draw.uniform(1.1, 3), draw.choice([2, 4, 8])

    return Function(
        "Return how many times as fast all cores are, and the share of their work that is useful.",
        gain,
        cases,
        [
            Mistake(
                "Upside down: the ratio of times is the other way round.",
                lambda one, all_cores, cores: (all_cores / one, all_cores / one / cores),
            ),
            Mistake(
                "All cores are paid for: divide the gain by their number.",
                lambda one, all_cores, cores: (one / all_cores, one / all_cores),
            ),
            Mistake(
                "That is the share of the time that is saved.",
                lambda one, all_cores, cores: (one / all_cores, 1 - all_cores / one),
            ),
        ],
    )


@exercise("throughput-4")
def a_race_that_knows_when_to_stop() -> Function:
    def ends(low: float, high: float, median: float, width: float) -> bool:
        return high - low < width * median

    def cases(draw: random.Random) -> Iterator[tuple]:
        yield from ((0.99, 1.04, 1.01, 0.1), (1.2, 1.9, 1.5, 0.1), (2.9, 3.15, 3.0, 0.1))
        yield from ((0.90, 0.99, 0.95, 0.05), (0.28, 0.32, 0.3, 0.1), (0.9, 1.06, 1.0, 0.1))
        for _ in range(6):
            median = draw.uniform(0.5, 3)
            half = draw.uniform(0.01, 0.2) * median
            yield median - half, median + half, median, draw.choice([0.05, 0.1, 0.2])

    return Function(
        "Return True where the race may end: the interval, the median of the ratios, the width.",
        ends,
        cases,
        [
            Mistake(
                "Who stops once 1 is outside finds a difference between equals.",
                lambda low, high, median, width: not low <= 1 <= high,
            ),
            Mistake(
                "The width is relative: compare with width · median.",
                lambda low, high, median, width: high - low < width,
            ),
            Mistake(
                "That is half of the interval.",
                lambda low, high, median, width: high - median < width * median,
            ),
            Mistake(
                "Turned round: the race ends where the interval is narrow.",
                lambda low, high, median, width: high - low > width * median,
            ),
        ],
    )


@exercise("table-1")
def the_unusual_row() -> Function:
    def unusual(speeds: list, moved: list) -> tuple[float, float]:
        rates = [speed * numbers for speed, numbers in zip(speeds, moved, strict=True)]
        usual = statistics.median(rates[1:]) / rates[0]
        return usual, statistics.fmean(speed / speeds[0] for speed in speeds[1:]) / usual

    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(5):
            count = draw.randint(4, 7)
            yield (
                [draw.uniform(300, 900) for _ in range(count)],
                [draw.uniform(1e6, 9e6) for _ in range(count)],
            )

    def changed(first: float, second: float) -> Callable:
        def other(speeds: list, moved: list) -> tuple[float, float]:
            usual, rest = unusual(speeds, moved)
            return usual**first, rest * usual**second

        return other

    return Function(
        "Return how many times as fast ConvMixer would be, and the others' mean speedup then.",
        unusual,
        cases,
        [
            Mistake("Upside down: the usual rate over ConvMixer's.", changed(-1, 0)),
            Mistake("The others' speedup shrinks by as much as ConvMixer gains.", changed(1, 1)),
            Mistake("The speedup is divided by the factor, not multiplied.", changed(1, 2)),
            Mistake(
                "A rate is speed times what an image moves.",
                lambda speeds, moved: (
                    statistics.median(speeds[1:]) / speeds[0],
                    statistics.fmean(s / speeds[0] for s in speeds[1:])
                    / (statistics.median(speeds[1:]) / speeds[0]),
                ),
            ),
        ],
    )
