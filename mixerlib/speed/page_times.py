"""What a page of the book times: live, or on a published page from a record of a quiet machine.

A page that is built prints what the builder's machine did meanwhile. So the book's own pages read
what they time from records, one a page, and a reader's notebook times it live, by the same cells.
The environment variable `MIXERBOOK_TIMES` says which. Chapter 17.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from mixerlib.checks import one_of, shown
from mixerlib.pages import machine, machine_name
from mixerlib.records import Provenance, parse_record, provenance, write_record
from mixerlib.records.parsing import parse_values
from mixerlib.speed.environment import settings_here
from mixerlib.speed.load import Load, Watch, load_now, load_of, recordable, require_quiet
from mixerlib.speed.machine import Machine
from mixerlib.speed.rooflines import RooflineRace
from mixerlib.speed.timing import Timing

SCHEMA = "mixerbook page times 1"  # a record of another shape has another name here
VARIABLE = "MIXERBOOK_TIMES"
LIVE, READ, RECORD, FORCED = MODES = ("live", "read", "record", "record-forced")

Value = TypeVar("Value")


@dataclass(frozen=True)
class PageRecord:
    """What a page has timed, and where.

    Args:
        page: the stem of the notebook's file.
        taken: name → what was measured, as `encode` writes it.
        settings: what else a speed depends on, from `settings_here`.
        provenance: where and when it was measured.
        load: what else the machine did meanwhile.
        schema: the shape of the record.
    """

    page: str
    taken: dict[str, Any]
    settings: dict[str, Any]
    provenance: Provenance
    load: Load
    schema: str = SCHEMA


def read_page_record(path: str | Path) -> PageRecord:
    """Read a record of what a page timed. Errors as in `records.read_record`."""
    return parse_record(path, PageRecord)


class PageTimes:
    """Times what a page asks for, or reads it from the page's record. Chapter 17.

    `MIXERBOOK_TIMES` says which: not set, or "live", all is measured. With "read", as the book is
    built, the page's record is read where there is one, but on a CPU and in the quick setting only,
    of which records are. With "record" all is measured, and written anew after each measurement;
    not on a busy machine, unless it is "record-forced", which the record says.

    Args:
        page: the stem of the notebook's file.
        folder: of the records, one for each page.
        device: where the page computes.
        full: whether this is the full setting.

    Attributes:
        recorded: whether this page's times come from a record.
        settings: what else a speed depends on, from `settings_here`, where it was measured.

    Raises `ValueError` for another value of the variable, for a record that is damaged or of
    another page, and where a record is asked for on a busy machine, on a GPU or of the full
    setting.

    >>> from mixerlib.speed import PageTimes, race
    >>> live = PageTimes("17-throughput", "records", "cpu")
    >>> timings = live("a sum", lambda: race({"sum": lambda: sum(range(1000))}, rounds=3))
    >>> len(timings["sum"].runs), live.recorded
    (3, False)
    """

    def __init__(
        self, page: str, folder: str | Path, device: torch.device | str, full: bool = False
    ):
        self._path = Path(folder) / f"{page}.json"
        self._mode = one_of(VARIABLE, os.environ.get(VARIABLE, LIVE), MODES)
        self._full, quick_on_cpu = full, torch.device(device).type == "cpu" and not full
        self.recorded = self._mode == READ and quick_on_cpu and self._path.exists()
        if self.recorded:
            self._record = read_page_record(self._path)
            if self._record.page != page:
                raise ValueError(
                    f"{self._path}: `page`={self._record.page!r} must be {page!r}, its name"
                )
        else:
            watch = Watch()
            self._average, self._used = watch.average, np.zeros(3)
            if self._mode in (RECORD, FORCED):
                if not quick_on_cpu:
                    raise ValueError(
                        f"`{VARIABLE}`={self._mode!r} is for the quick setting on a CPU alone, of "
                        "which the pages' records are"
                    )
                now = load_now()
                if self._mode == RECORD:
                    require_quiet(now)
                self._used += watch.used()  # of that moment, in which only others worked
            load = load_of(self._average, *self._used.tolist())
            here = provenance(device)
            self._record = PageRecord(page, {}, settings_here(device), here, load)
        self.settings = self._record.settings

    def __call__(self, name: str, take: Callable[[], Value]) -> Value:
        """What `take` measures, or what the record has under this name.

        What is recorded may consist of numbers, strings, booleans, None, lists, tuples, dicts,
        arrays of numpy, `Timing`, `Machine` and `RooflineRace`. Raises `ValueError` for other
        things, for a name that the record lacks, and where the machine was too busy for a record.
        """
        if self.recorded:
            if name not in self._record.taken:
                raise ValueError(
                    f"`name`={name!r} is not in {self._path}, the record of {self._record.page}: "
                    f"delete it, and `make page-times` on a quiet machine writes it anew"
                )
            try:
                return decode(self._record.taken[name], self._path)
            except TypeError as error:
                raise ValueError(f"{self._path}: `{name}` is not of a page: {error}") from None
        watch = Watch()
        value = take()
        self._used += watch.used()
        load = load_of(self._average, *self._used.tolist())
        self._record = replace(self._record, load=load)
        if self._mode in (RECORD, FORCED):
            taken = self._record.taken | {name: encode(value, name)}
            self._record = recordable(replace(self._record, taken=taken), self._mode == FORCED)
            write_record(self._record, self._path)
        return value

    @property
    def provenance(self) -> Provenance:
        """Where and when it was measured."""
        return self._record.provenance

    @property
    def load(self) -> Load:
        """What else the machine did while something was measured."""
        return self._record.load

    @property
    def where(self) -> str:
        """The name of the machine that was timed, with its processor's instructions."""
        return machine_name(self.provenance, self.settings)

    @property
    def sentence(self) -> str:
        """Where the times of this page are from, in a sentence or two for a reader."""
        quick = "" if self._full else ", in the quick setting"
        there = f"{machine(self.provenance, self.settings)}{quick}"
        if self.recorded:
            return (
                f"What this page times is printed from a record of {self.provenance.date[:10]} on "
                f"{there}; meanwhile {self.load}. In the notebook it is timed live: run it, and "
                "the numbers are yours, for the sentences are written by code that sees them."
            )
        return (
            f"What this page times was timed live on {there}. Run the notebook, and the numbers "
            "are yours: the sentences are written by code that sees them. The machine may have "
            "been busy with other things."
        )


def encode(value: Any, name: str) -> Any:
    """A value as JSON can hold it: what JSON has not is a table with one key, its kind.

    `name` is that under which it was taken. Raises `ValueError` for a value of another kind.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"`{name}` holds {value}, and what is recorded must be finite")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [encode(one, name) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(one, name) for one in value]}
    if isinstance(value, Mapping):
        return {"dict": [[encode(one, name) for one in pair] for pair in value.items()]}
    if isinstance(value, np.ndarray):
        return {"array": encode(value.tolist(), name)}
    if isinstance(value, Timing):
        return {"Timing": encode(value.runs, name)}
    if isinstance(value, Machine | RooflineRace):
        return {type(value).__name__: asdict(value)}
    raise ValueError(
        f"`{name}` holds {shown(value)}: numbers, strings, lists, tuples, dicts, arrays, `Timing`, "
        "`Machine` and `RooflineRace` can be recorded"
    )


def decode(value: Any, path: Path) -> Any:
    """The value that `encode` has written; `path` is that of the record, for what is wrong."""
    if isinstance(value, list):
        return [decode(one, path) for one in value]
    if not isinstance(value, dict):
        return value
    kinds: list[tuple[str, Any]] = [*value.items()]
    match kinds:
        case [("tuple", [*items])]:
            return tuple(decode(items, path))
        case [("dict", [*pairs])]:
            return dict(decode(pairs, path))
        case [("array", [*items])]:
            return np.array(items)
        case [("Timing", [*runs])]:
            return Timing.of(runs)
        case [("Machine", rates)]:
            return Machine(**rates)
        case [("RooflineRace", race)]:
            return parse_values(path, race, RooflineRace)
    raise ValueError(f"{path}: {shown(value)} is nothing that a page has taken")
