"""What records of benchmarks say: device by device, form beside form. Chapters 17 and 19.

>>> from mixerlib.speed import fastest_forms, read_benchmark, read_by_device, speedup
>>> devices = read_by_device("book/records/bench", "forms/*.json", read_benchmark)
>>> forms = fastest_forms(devices["amd-epyc"]["convmixer_256_8"])
>>> speedup(forms["plain"], forms["fast"]).median > 1  # times as fast, round by round
True
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mixerlib.records import Provenance
from mixerlib.speed.cases import Benchmark, Result
from mixerlib.speed.form import Form
from mixerlib.speed.timing import Timing, ratios

# What a case must have to be a model as PyTorch runs it, in whatever layout, compiled or not
STOCK = {"implementation": "mixerlib", "mixing": "own"}
# What a case must have to be a model just as it is made
PLAIN = STOCK | {"dtype": "float32", "channels_last": False, "compile": False}
# The names of forms on the pages → what a case must have to be in one
FORMS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "best": STOCK | {"dtype": "float32"},
    "fast": {"implementation": "fast", "dtype": "float32"},
    "best, bfloat16": STOCK | {"dtype": "bfloat16"},
    "fast, bfloat16": {"implementation": "fast", "dtype": "bfloat16"},
}


class _Stamped(Protocol):
    @property
    def provenance(self) -> Provenance: ...


Kind = TypeVar("Kind", bound=_Stamped)  # of record
Name = TypeVar("Name")


def read_by_device(
    folder: str | Path, pattern: str, read: Callable[[Path], Kind]
) -> dict[str, dict[str, Kind]]:
    """Records in folder/DEVICE/pattern: device → file's name → record, a GPU before a CPU.

    `read` is `read_benchmark` or `read_roofline`, whose errors are passed on. The folder need not
    be there, and nothing need be in it.
    """
    folder = Path(folder)
    devices: dict[str, dict[str, Kind]] = {}
    for path in sorted(folder.glob(f"*/{pattern}")):
        device = path.relative_to(folder).parts[0]
        devices.setdefault(device, {})[path.stem] = read(path)
    return dict(sorted(devices.items(), key=lambda item: _on_cpu(item[1])))


def _on_cpu(reports: Mapping[str, _Stamped]) -> bool:
    return next(iter(reports.values())).provenance.device == "cpu"


def fastest_forms(report: Benchmark) -> dict[str, Result]:
    """The fastest result of a race in each of `FORMS` that it has, in their order."""
    fastest = {name: report.fastest(**values) for name, values in FORMS.items()}
    return {name: result for name, result in fastest.items() if result is not None}


def speedup(base: Result | None, other: Result | None) -> Timing | None:
    """How many times as fast as `base` the other was, round by round, as `ratios` has it; None
    where there is no such result. Raises `ValueError` unless both ran in the same rounds.
    """
    if base is None or other is None:
        return None
    return ratios(base.seconds, other.seconds)


def drift(first: Mapping[str, Benchmark], second: Mapping[str, Benchmark]) -> list[float]:
    """By which share the speeds of one plain model differ between two races.

    One number for each name in both whose plain form is the same case: 0.25 is a quarter more in
    one of them. As nothing differs but the hour, it says what a difference between races is worth.
    """
    shares = []
    for name in [name for name in first if name in second]:
        one, again = (reports[name].fastest(**PLAIN) for reports in (first, second))
        if one is not None and again is not None and one.case == again.case:
            faster = one.images_per_second / again.images_per_second
            shares.append(max(faster, 1 / faster) - 1)
    return shares


def by_form(results: Collection[Result]) -> dict[str, dict[Form, Result]]:
    """Results of several races: model → the form that it was run in → its result."""
    models: dict[str, dict[Form, Result]] = {}
    for result in results:
        models.setdefault(result.case.model, {})[result.case.form] = result
    return models


def fastest(timings: Mapping[Name, Timing]) -> Name:
    """The name of the timing with the smallest median."""
    return min(timings, key=lambda name: timings[name].median)
