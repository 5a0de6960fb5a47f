"""What a rerun of SplitMixer's table 3 says: its speeds in ConvMixers, and what the timing did.

>>> from mixerlib.speed import Table3, read_benchmark
>>> rerun = Table3(read_benchmark("book/records/bench/amd-epyc/table3.json"))
>>> rerun.in_turn.shape  # times as fast as ConvMixer, the first of them
(18,)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from mixerlib.pages import machine_name
from mixerlib.speed.bench import model_of
from mixerlib.speed.cases import Benchmark, Case, Result
from mixerlib.speed.environment import keeps_memory
from mixerlib.speed.machine import DataSheet
from mixerlib.speed.published_table3 import TABLE_3
from mixerlib.speed.roofline_report import Bills, bills, roles_of
from mixerlib.speed.timing import Timing, ratios

Reading = Callable[[list[float]], list[float]]  # of the seconds of a model's batches


@dataclass(frozen=True)
class Table3:
    """A report of `published_table`, its two halves beside one another. Chapter 17b.

    All arrays have the 18 rows of `TABLE_3`, ConvMixer first. Raises `ValueError` for a report
    that has not two results for each row, in their order.
    """

    report: Benchmark

    def __post_init__(self):
        if not self.timed_in(self.report):
            raise ValueError(
                f"`report` of {len(self.report.results)} results must have those of the "
                f"{len(TABLE_3)} rows, twice"
            )

    @staticmethod
    def timed_in(report: Benchmark) -> bool:
        """Whether a report has timed the rows of the table, all of them twice."""
        models = [result.case.model for result in report.results]
        return models == 2 * [model for model, _ in TABLE_3]

    @property
    def memory(self) -> str:
        """What glibc did with the memory of a step, "memory kept" or "memory given back"; empty for
        a GPU, whose memory PyTorch keeps by itself."""
        if self.report.provenance.device != "cpu":
            return ""
        return "memory kept" if keeps_memory(self.report.settings) else "memory given back"

    @property
    def where(self) -> str:
        """The machine, and of a CPU its memory, as in "CPU 9 with AVX2 (memory kept)"."""
        name = machine_name(self.report.provenance, self.report.settings)
        return f"{name} ({self.memory})" if self.memory else name

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
    def on_average(self) -> Timing:
        """How many times as fast as ConvMixer the SplitMixers were in turn, their mean, round by
        round."""
        runs = np.array([timing.runs for timing in self.speedups[1:]])
        return Timing.of(runs.mean(axis=0).tolist())

    @cached_property
    def shown(self) -> np.ndarray:
        """The share of the throughput in turn that the published way of timing shows."""
        pairs = zip(self.before, self.after, strict=True)
        return np.array([old.images_per_second / new.images_per_second for old, new in pairs])

    @property
    def bent(self) -> float:
        """How many times as fast, in ConvMixers, the published way shows the SplitMixers as they
        are in turn: the means of both over the models.
        """
        return float(self.as_published[1:].mean() / self.on_average.median)

    @cached_property
    def bent_by_first_call(self) -> float:
        """What the first call alone multiplies the speeds in ConvMixers by.

        From the published means of all batches, beside those of all but the first.
        """
        return self._bends(lambda runs: runs, lambda runs: runs[1:])

    @cached_property
    def bent_by_mean(self) -> float:
        """What means of the later calls multiply them by, in place of their medians."""
        return self._bends(lambda runs: runs[1:], lambda runs: [float(np.median(runs[1:]))])

    def _bends(self, told: Reading, mended: Reading) -> float:
        """How many times as fast, in ConvMixers, the SplitMixers look by one reading of the
        published runs as by the other."""
        runs = [result.seconds.runs for result in self.before]
        slower = np.array([np.mean(told(one)) / np.mean(mended(one)) for one in runs])
        return float(np.mean(slower[0] / slower[1:]))

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


@dataclass(frozen=True)
class RoofReading:
    """How far printed speeds are from a data sheet's roof, in one reading of the roof.

    The arrays have the rows of `TABLE_3`, ConvMixer first.

    Args:
        name: of the reading, such as "float32, operation by operation".
        shares: of the speed at the roof that is printed.
        at_roof: how many times as fast as ConvMixer each model would be, all at their roofs.

    >>> import numpy as np
    >>> from mixerlib.speed import RoofReading
    >>> RoofReading("float32", np.array([0.2, 0.5, 0.6]), np.array([1.0, 0.9, 0.8])).behind
    2.5
    """

    name: str
    shares: np.ndarray
    at_roof: np.ndarray

    @property
    def behind(self) -> float:
        """How many times as near to its roof as ConvMixer the farthest SplitMixer is."""
        return float(self.shares[1:].min() / self.shares[0])


def roof_readings(
    images_per_second: Sequence[float] | np.ndarray, sheet: DataSheet, image_size: int = 224
) -> list[RoofReading]:
    """Speeds of the rows of `TABLE_3` beside the roofs of a data sheet that has float16.

    The first reading is that of the published script: float32, operation by operation, both bills
    of a layer paid at once. The others bound it, one change in each: the norms in training mode,
    which read their map once more; the two bills paid one after the other; each convolution ideally
    fused with what follows; float16 on tensor cores. Chapter 18.

    Args:
        images_per_second: of the 18 rows, as printed or measured.
        sheet: of the device.
        image_size: pixels.

    Raises `ValueError` for another number of rows.
    """
    speeds = np.asarray(images_per_second, dtype=float)
    if speeds.shape != (len(TABLE_3),):
        raise ValueError(f"`images_per_second` must have the {len(TABLE_3)} rows of the table")
    eager = [bills(model, options, image_size) for model, options in TABLE_3]
    fused = [bills(model, options, image_size, fused=True) for model, options in TABLE_3]
    training = [
        _norms_in_training(bill, model) for bill, (model, _) in zip(eager, TABLE_3, strict=True)
    ]
    single, half = sheet.rates("float32"), sheet.rates("float16")
    times = {
        "float32, operation by operation": [bill.seconds(single) for bill in eager],
        "the same, norms in training mode": [bill.seconds(single) for bill in training],
        "the same, bills one after the other": [bill.band(single)[1] for bill in eager],
        "the same, ideally fused": [bill.seconds(single) for bill in fused],
        "float16 on tensor cores, operation by operation": [
            bill.seconds(half, 2) for bill in eager
        ],
    }
    return [
        RoofReading(name, speeds * np.array(least), least[0] / np.array(least))
        for name, least in times.items()
    ]


def _norms_in_training(bill: Bills, model: str) -> Bills:
    """The bills with every BatchNorm reading its map twice: once for the mean and the variance."""
    roles = roles_of(model_of(Case(model), torch.device("meta")))
    norms = [part == "stem.2" or roles.get(part) == "BatchNorm" for part in bill.parts]
    return replace(bill, moved=np.where(norms, bill.moved * 3 / 2, bill.moved))
