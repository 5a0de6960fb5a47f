"""What records of benchmarks say: device by device, form beside form. Chapters 17b and 19.

>>> from mixerlib.speed import fastest_forms, model_races
>>> race = model_races("book/records/bench", "forms")["amd-epyc"]["convmixer_256_8"]
>>> forms = fastest_forms(race, "convmixer_256_8")
>>> race.speedup(forms["plain"], forms["fast"]).median > 1  # times as fast, round by round
True
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mixerlib.records import Provenance
from mixerlib.speed.cases import Benchmark, Result, read_benchmark
from mixerlib.speed.form import Form
from mixerlib.speed.timing import Timing

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

    `read` is `read_benchmark` or `read_roofline_race`, whose errors are passed on. The folder need
    not be there, and nothing need be in it.
    """
    folder = Path(folder)
    devices: dict[str, dict[str, Kind]] = {}
    for path in sorted(folder.glob(f"*/{pattern}")):
        device = path.relative_to(folder).parts[0]
        devices.setdefault(device, {})[path.stem] = read(path)
    return dict(sorted(devices.items(), key=lambda item: _on_cpu(item[1])))


def _on_cpu(reports: Mapping[str, _Stamped]) -> bool:
    return next(iter(reports.values())).provenance.device == "cpu"


def model_races(folder: str | Path, name: str) -> dict[str, dict[str, Benchmark]]:
    """Races of models by device, a GPU before a CPU: device → model → the race that it ran in.

    It is that of folder/DEVICE/races/NAME.json, in which all models ran in turn. Errors as in
    `read_benchmark`. Chapter 17b.

    >>> from mixerlib.speed import model_races
    >>> races = model_races("book/records/bench", "forms")["amd-epyc"]
    >>> "convmixer_256_8" in races["convmixer_256_8"].models
    True
    """
    return {
        device: dict.fromkeys(report.models, report)
        for device, reports in read_by_device(folder, f"races/{name}.json", read_benchmark).items()
        for report in reports.values()
    }


def fastest_forms(report: Benchmark, model: str | None = None, **values: Any) -> dict[str, Result]:
    """The fastest result of a race in each of `FORMS` that it has, in their order: of one `model`,
    or of all, and with these `values` of a case's fields."""
    values |= {} if model is None else {"model": model}
    fastest = {name: report.fastest(**form, **values) for name, form in FORMS.items()}
    return {name: result for name, result in fastest.items() if result is not None}


def speedups_over(races: Mapping[str, Benchmark], base: str, **values: Any) -> dict[str, Timing]:
    """How many times as fast as the model `base` the others were, round by round, by model: each
    in its fastest result with these `values`. Only of models that ran in the same race as `base`.
    """
    race = races.get(base)
    if race is None:
        return {}
    first = race.fastest(model=base, **values)
    found = {
        model: race.speedup(first, race.fastest(model=model, **values))
        for model, report in races.items()
        if report is race and model != base
    }
    return {model: timing for model, timing in found.items() if timing is not None}


def by_form(results: Collection[Result]) -> dict[str, dict[Form, Result]]:
    """Results of several races: model → the form that it was run in → its result."""
    models: dict[str, dict[Form, Result]] = {}
    for result in results:
        models.setdefault(result.case.model, {})[result.case.form] = result
    return models


def fastest(timings: Mapping[Name, Timing]) -> Name:
    """The name of the timing with the smallest median."""
    return min(timings, key=lambda name: timings[name].median)
