"""How busy the machine is with other things while something is timed. Chapter 17.

>>> from mixerlib.speed import Watch
>>> watch = Watch()
>>> total = sum(number * number for number in range(10**6))
>>> load = watch.load()
>>> load.others is None or 0 <= load.others <= 1  # None where the system does not say
True
"""

import contextlib
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

STAT = Path("/proc/stat")  # on Linux alone
BUSY = 0.1  # of all processors' time: what others may take before a race is not recorded
GLANCE = 1.0  # seconds: how long it is looked whether the machine is quiet


@dataclass(frozen=True)
class Load:
    """What else the machine did meanwhile; None for what the system does not say.

    Args:
        average: of the last minute before, of programs that wanted a processor.
        processors: that the machine has.
        others: the share of all processors' time that other programs took.
        forced: whether a record was asked for although the machine was busy.
    """

    average: float | None
    processors: int
    others: float | None
    forced: bool = False

    @property
    def busy(self) -> bool:
        """Whether others took more than a tenth of the time; without their share, whether more
        than a tenth of the processors were wanted before."""
        if self.others is not None:
            return self.others > BUSY
        return self.average is not None and self.average > BUSY * self.processors

    def __str__(self) -> str:
        if self.others is not None:
            return f"other programs took {self.others:.0%} of the processors' time"
        if self.average is not None:
            return f"{self.average:.1f} programs wanted the {self.processors} processors before"
        return "this system does not say what else it does"


class Watch:
    """Notes what all programs and this one have used, until `load` is asked."""

    def __init__(self) -> None:
        self.average = _load_average()
        self.start = _used()

    def used(self) -> tuple[float, float, float]:
        """Seconds since this watch was made: of the clock, of all processors' work, and of this
        program's and its children's."""
        seconds, of_all, own = (b - a for a, b in zip(self.start, _used(), strict=True))
        return seconds, of_all, own

    def load(self) -> Load:
        """The load since this watch was made."""
        return load_of(self.average, *self.used())


def load_of(average: float | None, seconds: float, of_all: float, own: float) -> Load:
    """The load of some seconds, of those that all programs and this one worked in them; NaN where
    the system does not say what all did."""
    processors, others = os.cpu_count() or 1, None
    if of_all == of_all and seconds > 0:  # not NaN
        others = min(1.0, max(0.0, (of_all - own) / (seconds * processors)))
    return Load(average, processors, others)


class _Loaded(Protocol):
    @property
    def load(self) -> Load | None: ...


Report = TypeVar("Report", bound=_Loaded)


def load_now() -> Load:
    """The load of the next moment, in which this program does nothing."""
    watch = Watch()
    time.sleep(GLANCE)
    return watch.load()


def require_quiet(load: Load) -> None:
    """Raises `ValueError` where the machine is too busy for a race that is to be kept."""
    if load.busy:
        raise ValueError(
            f"this machine is busy: {load}, and for a record it may be {BUSY:.0%}. Wait, or use "
            "--force, which the record will say"
        )


def recordable(report: Report, force: bool = False) -> Report:
    """The report as it may be kept. Raises `ValueError` for one of a busy machine; with `force`
    the record says instead that it was forced.

    >>> from mixerlib.speed import Case, benchmark, recordable
    >>> report = benchmark([Case("convmixer", {"dim": 32, "depth": 2}, batch=4)], rounds=3)
    >>> recordable(report, force=True).load.forced == report.load.busy
    True
    """
    if report.load is None or not report.load.busy:
        return report
    if not force:
        require_quiet(report.load)
    return replace(report, load=replace(report.load, forced=True))  # type: ignore[type-var]


def _used() -> tuple[float, float, float]:
    """Seconds: of the clock, of all processors' work, and of this program's and its children's."""
    own = os.times()
    of_all = float("nan")
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):
        words = STAT.read_text(encoding="ascii").split(maxsplit=9)
        # user, nice, system, idle, waiting, interrupts, their second halves, stolen
        user, nice, system, _, _, hard, soft, stolen = (int(word) for word in words[1:9])
        of_all = (user + nice + system + hard + soft + stolen) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), of_all, sum(own[:4])


def _load_average() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not on Windows
        return None
