"""The clock, and the race: times that belong to the functions, not to the minute.

What a machine does beside changes from minute to minute, often by more than two models differ. So
candidates run in turn, once each in every round, and are compared round by round. What has to be
paid once (compilation, the choice of algorithms, first touches of memory) is paid before. On a GPU
the clock is the GPU's own. Chapter 17 shows what each of these is worth.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, comb, inf
from typing import TypeVar

import numpy as np
import torch

ROUNDS = 15
FEWEST_ROUNDS = 3  # are run even when the time is up
ROUNDS_OF_ALL = 2  # before a candidate is dropped: one run alone may have been disturbed
SHORTEST_RUN = 0.002  # seconds; quicker functions are called several times in each round
STEADY = 0.95  # a run that takes less than this of the best so far shows that it still warms up
STALE = 2  # so many runs in a row that are no longer faster end the warm-up
LONGEST_WARM_UP = 30  # calls

Name = TypeVar("Name")
Clock = Callable[[], float]  # seconds since some moment, as `time.perf_counter` gives them
Stopwatch = Callable[[Callable[[], object], int], float]


@dataclass(frozen=True)
class Timing:
    """One number from every round, such as seconds: their median, the quartiles, and all of them.

    Between the two quartiles lies the middle half. Chapter 17.

    >>> from mixerlib.speed import Timing
    >>> timing = Timing.of([0.30, 0.20, 0.22, 0.21, 0.25, 0.24, 0.23])
    >>> timing.median, timing.fastest
    (0.23, 0.2)
    >>> timing.interval()  # where the true median lies, of seven runs
    (0.2, 0.3)
    """

    median: float
    quartiles: list[float]
    runs: list[float]  # in the order of the rounds

    @classmethod
    def of(cls, runs: Sequence[float]) -> "Timing":
        """The median and the quartiles of some runs. Raises `ValueError` for none."""
        if not len(runs):
            raise ValueError("`runs` must hold at least one")
        lower, median, upper = np.quantile(runs, (0.25, 0.5, 0.75)).tolist()
        return cls(median, [lower, upper], list(runs))

    @property
    def fastest(self) -> float:
        """The shortest run, which was disturbed least."""
        return min(self.runs)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """An interval that holds the true median with at least this probability, by `coverage`.

        It lies between the l-th smallest and the l-th largest run, with the largest l that will do.
        Where none does, as with fewer than six runs at 95 per cent, between the outermost ones.
        Nothing is assumed of the noise but that the runs do not depend on one another.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"`confidence`={confidence!r} must lie between 0 and 1")
        runs = sorted(self.runs)
        rank = _outermost_rank(len(runs), confidence)
        return runs[rank - 1], runs[-rank]


def coverage(count: int, rank: int) -> float:
    """How probable it is that the true median lies between the `rank`-th smallest and the
    `rank`-th largest of `count` runs.

    Each run lies below the median with probability 1/2, like a coin: 1 − 2·2⁻ⁿ Σ_{i<l} (n over i).

    >>> from mixerlib.speed import coverage
    >>> coverage(count=6, rank=1)  # between the smallest and the largest of six
    0.96875
    """
    return 1 - 2 * sum(comb(count, i) for i in range(rank)) / 2**count


@cache
def _outermost_rank(count: int, confidence: float) -> int:
    """The largest rank whose `coverage` is at least this confidence; 1 where there is none."""
    rank = 1
    while coverage(count, rank + 1) >= confidence:
        rank += 1
    return rank


def ratios(base: Timing, other: Timing) -> Timing:
    """How many times as fast as `base` the other was, round by round.

    The two runs of a round lie close together in time and meet the same noise, so their ratio is
    steadier than the ratio of the medians. Raises `ValueError` unless both ran in the same rounds.
    Chapter 17.

    >>> from mixerlib.speed import Timing, ratios
    >>> ratios(Timing.of([4.0, 6.0, 8.0]), Timing.of([2.0, 3.0, 5.0])).runs
    [2.0, 2.0, 1.6]
    """
    if len(base.runs) != len(other.runs):
        raise ValueError(
            f"`other` of {len(other.runs)} rounds must have as many as `base`: {len(base.runs)}"
        )
    return Timing.of([a / b for a, b in zip(base.runs, other.runs, strict=True)])


def stopwatch(device: torch.device | str, clock: Clock = time.perf_counter) -> Stopwatch:
    """A function that calls another so many times and returns the seconds that it took in all.

    A GPU works through a queue, and Python only fills it. On CUDA the seconds are those between two
    events in that queue; on other devices the `clock` stops when the queue is empty.
    """
    device = torch.device(device)

    def by_events(run: Callable[[], object], calls: int) -> float:
        with torch.cuda.device(device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(calls):
                run()
            end.record()
            end.synchronize()
        return start.elapsed_time(end) / 1000

    def by_clock(run: Callable[[], object], calls: int) -> float:
        synchronize(device)
        start = clock()
        for _ in range(calls):
            run()
        synchronize(device)
        return clock() - start

    return by_events if device.type == "cuda" else by_clock


def synchronize(device: torch.device | str) -> None:
    """Return when the device has done all that is in its queue; a CPU has none."""
    device = torch.device(device)
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def warm_up(
    run: Callable[[], object], seconds_of: Stopwatch, calls: int = LONGEST_WARM_UP
) -> float:
    """Call a function until it no longer gets faster; return the seconds of its fastest call.

    Never more than `calls` times: on a busy machine nothing is ever steady.
    """
    fastest, stale = inf, 0
    for _ in range(calls):
        seconds = seconds_of(run, 1)
        stale = 0 if seconds < STEADY * fastest else stale + 1
        fastest = min(fastest, seconds)
        if stale == STALE:
            break
    return fastest


def race(
    candidates: Mapping[Name, Callable[[], object]],
    rounds: int = ROUNDS,
    device: torch.device | str = "cpu",
    seconds: float | None = None,
    *,
    drop_behind: float | None = None,
    warm_up_calls: int = LONGEST_WARM_UP,
    clock: Clock = time.perf_counter,
) -> dict[Name, Timing]:
    """The seconds that each function takes, from rounds in which every one of them runs once.

    First each is called until it is warm. Then, in every round, each runs in turn, and another one
    is the first. A function that is over in less than `SHORTEST_RUN` is called several times, and
    the run is the mean of these calls.

    Args:
        candidates: the functions by name, at least one.
        rounds: how many there are, at least one.
        device: where the functions compute; its queue is waited for.
        seconds: after which no further round begins, once `FEWEST_ROUNDS` are done. None: no limit.
        drop_behind: after `ROUNDS_OF_ALL` rounds, a candidate whose fastest run takes more than so
            many times the fastest one's is not run again: its `Timing` has fewer runs. None: all
            run to the end.
        warm_up_calls: of each candidate before the rounds, at most, and at least one.
        clock: what is read on devices other than CUDA, whose clock is its own; and for `seconds`.

    Raises `ValueError` for no candidates, for `rounds` or `warm_up_calls` below 1, and for
    `drop_behind` below 1. Chapter 17.

    >>> import torch
    >>> from mixerlib.speed import race, ratios
    >>> x, whole, part = torch.ones(64, 256), torch.ones(256, 256), torch.ones(256, 64)
    >>> timings = race({"whole": lambda: x @ whole, "part": lambda: x @ part}, rounds=5)
    >>> len(timings["whole"].runs)  # seconds, one for each round
    5
    >>> times_as_fast = ratios(timings["whole"], timings["part"]).median
    """
    _check_race(candidates, rounds, drop_behind, warm_up_calls)
    until = inf if seconds is None else clock() + seconds
    seconds_of = stopwatch(device, clock)
    calls = {}
    for name, run in candidates.items():
        fastest = warm_up(run, seconds_of, warm_up_calls)
        calls[name] = max(1, ceil(SHORTEST_RUN / fastest)) if fastest > 0 else 1
    runs: dict[Name, list[float]] = {name: [] for name in candidates}
    running = list(candidates)
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and clock() >= until:
            break
        if drop_behind is not None and number >= ROUNDS_OF_ALL:
            limit = drop_behind * min(map(min, runs.values()))
            running = [name for name in running if min(runs[name]) <= limit]
        first = number % len(running)
        for name in running[first:] + running[:first]:
            runs[name].append(seconds_of(candidates[name], calls[name]) / calls[name])
    return {name: Timing.of(values) for name, values in runs.items()}


def _check_race(
    candidates: Mapping[Name, Callable[[], object]],
    rounds: int,
    drop_behind: float | None,
    warm_up_calls: int,
) -> None:
    if not candidates:
        raise ValueError("`candidates` must hold at least one function")
    for name, value in (("rounds", rounds), ("warm_up_calls", warm_up_calls)):
        if value < 1:
            raise ValueError(f"`{name}`={value} must be at least 1")
    if drop_behind is not None and not drop_behind >= 1:
        raise ValueError(f"`drop_behind`={drop_behind} must be at least 1")
