"""What a rerun of SplitMixer's table 3 says: its speeds in ConvMixers, and what the timing did.

>>> from mixerlib.speed import Table3, read_benchmark
>>> rerun = Table3(read_benchmark("book/records/bench/amd-epyc/table3.json"))
>>> rerun.in_turn.shape  # times as fast as ConvMixer, the first of them
(18,)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixerlib.speed.cases import Benchmark, Result
from mixerlib.speed.published_table3 import TABLE_3
from mixerlib.speed.timing import Timing, ratios


@dataclass(frozen=True)
class Table3:
    """A report of `published_table`, its two halves beside one another. Chapter 17.

    All arrays have the 18 rows of `TABLE_3`, ConvMixer first. Raises `ValueError` for a report
    that has not two results for each row.
    """

    report: Benchmark

    def __post_init__(self):
        if len(self.report.results) != 2 * len(TABLE_3):
            raise ValueError(
                f"`report` of {len(self.report.results)} results must have two of each of the "
                f"{len(TABLE_3)} rows"
            )

    @property
    def before(self) -> list[Result]:
        """The results timed as their authors did, one model after the other."""
        return self.report.results[: len(TABLE_3)]

    @property
    def after(self) -> list[Result]:
        """The results timed as it should be, in turn."""
        return self.report.results[len(TABLE_3) :]

    @cached_property
    def as_published(self) -> np.ndarray:
        """Images a second in ConvMixers, timed as published."""
        speeds = np.array([result.images_per_second for result in self.before])
        return speeds / speeds[0]

    @cached_property
    def speedups(self) -> list[Timing]:
        """How many times as fast as ConvMixer each was in turn, round by round."""
        return [ratios(self.after[0].seconds, result.seconds) for result in self.after]

    @cached_property
    def in_turn(self) -> np.ndarray:
        """The medians of `speedups`."""
        return np.array([timing.median for timing in self.speedups])

    @cached_property
    def shown(self) -> np.ndarray:
        """The share of the throughput in turn that the published way of timing shows."""
        pairs = zip(self.before, self.after, strict=True)
        return np.array([old.images_per_second / new.images_per_second for old, new in pairs])

    @property
    def bent(self) -> float:
        """By which factor, at least 1, the published way bends the SplitMixers' mean speed in
        ConvMixers.
        """
        factor = float(self.shown[1:].mean() / self.shown[0])
        return max(factor, 1 / factor)

    @cached_property
    def first_calls(self) -> np.ndarray:
        """How many times as long as the later calls the first took, as published."""
        runs = [result.seconds.runs for result in self.before]
        return np.array([first / np.median(later) for first, *later in runs])


def finer_is_faster(values: Sequence[float] | np.ndarray) -> tuple[int, int]:
    """Of the rows of `TABLE_3` that follow one of the same strategy, with less to mix: how many
    are faster, by these speeds of all rows, and how many there are.
    """
    models = [model for model, _ in TABLE_3]
    pairs = [i for i in range(1, len(models)) if models[i] == models[i - 1]]
    return sum(bool(values[i] > values[i - 1]) for i in pairs), len(pairs)
