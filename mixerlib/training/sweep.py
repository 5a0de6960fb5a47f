"""A list of recipes and seeds to train, one run after the other.

>>> from pathlib import Path
>>> from mixerlib.training import Sweep, load_recipe, stop_on_signals
>>> recipes = [load_recipe("digits", {"epochs": 1, "seed": seed}) for seed in (0, 1)]
>>> sweep = Sweep(recipes, records=Path("records"), runs=Path("runs"))
>>> with stop_on_signals(minutes=25) as stop:
...     sweep.train(stop)  # those without a record; what was cut off goes on
digits, seed 0: writing to runs/digits/seed0
digits: ... of 360 test images right after epoch 1
digits, seed 1: writing to runs/digits/seed1
digits: ... of 360 test images right after epoch 1
>>> len(sweep.left())
0

A file may say what to run, in the order in which it is wanted, for `read_sweep`:

runs:
- recipes: [cpu/convmixer_64_4, cpu/splitmixer_i_64_4]
  seeds: [0]
- recipes: [cpu/convmixer_64_4, cpu/splitmixer_i_64_4]
  seeds: [1, 2]
  settings: {compile: true}   # if wanted: fields that replace the recipes' own
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixerlib import checks
from mixerlib.files import check_writable, clear_parts, one_line, read_yaml
from mixerlib.records import Record, read_record, write_record
from mixerlib.training import loop
from mixerlib.training.claims import FolderInUse
from mixerlib.training.distributed import choose_device
from mixerlib.training.folders import (
    RECORD,
    result_line,
    run_folder,
    save_results,
    settings_differences,
)
from mixerlib.training.recipe import Recipe
from mixerlib.training.recipe_files import is_recipe_file, load_recipe
from mixerlib.training.run import dataset_for
from mixerlib.training.session import Stopped, StopRequest, errors_explained

MOST_RUNS = 10_000  # of an entry of a file


def read_sweep(path: str | Path) -> list[Recipe]:
    """The runs that a file lists: for each of its entries every seed, and for each seed every
    recipe. One that is listed again is left out. A .yaml file of your own is looked for beside this
    one.

    Raises `ValueError` for a file that does not list runs, naming the entry and the rule, and
    `FileNotFoundError` for one that is not there.

    >>> from mixerlib.training import read_sweep
    >>> runs = read_sweep("book/sweeps/cpu.yaml")
    >>> runs[0].name, runs[0].seed
    ('cpu/convmixer_64_4', 0)
    """
    path = Path(path)
    runs: dict[tuple[str, int], Recipe] = {}
    for number, entry in enumerate(read_yaml(path, "runs")):
        where = f"{path}: `runs[{number}]`"
        for recipe in _runs(entry, where, path.parent):
            known = runs.setdefault((recipe.name, recipe.seed), recipe)
            if known != recipe:  # their records would lie in the same place
                raise ValueError(f"{where} lists a second recipe of the name {recipe.name!r}")
    return list(runs.values())


def _runs(entry: Any, where: str, folder: Path) -> list[Recipe]:
    checks.table(where, entry, ("recipes", "seeds"), ("settings",))
    try:
        names = checks.list_of("recipes", entry["recipes"], str)
        seeds = checks.list_of("seeds", entry["seeds"], int)
        if len(names) * len(seeds) > MOST_RUNS:
            raise ValueError(f"{len(names)} recipes × {len(seeds)} seeds are above {MOST_RUNS:,}")
        settings = entry.get("settings", {})
        if not isinstance(settings, dict) or "seed" in settings:
            raise ValueError(
                f"`settings`={checks.shown(settings)} must be a table of fields, no seed"
            )
        paths = [folder / n if is_recipe_file(n) else n for n in names]
        recipes = [load_recipe(path, settings) for path in paths]
        return [replace(recipe, seed=seed) for seed in seeds for recipe in recipes]
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{where}: {one_line(error)}") from None


@dataclass
class Sweep:
    """Recipes with their seeds, and where their records and their runs are kept.

    Args:
        recipes: the runs, in the order in which they are wanted.
        records: the folder of records, each at RECIPE/seedN.json.
        runs: the folder of checkpoints and weights, each in RECIPE/seedN.
        data: where data sets lie; None: as `load_dataset` knows.
        download: whether data that are missing are fetched.
        device: one that `choose_device` knows.
        workers: processes that read photographs; None: as `load_dataset` has it.

    Raises `ValueError` for a record that cannot be read: better now than after hours.
    """

    recipes: list[Recipe]
    records: Path
    runs: Path
    data: str | None = None
    download: bool = False
    device: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        self.records, self.runs = Path(self.records), Path(self.runs)
        if self.workers is not None:
            checks.count("workers", self.workers)
        self.endings: dict[Path, str] = {}  # the place of a missing record → how its run ended
        for place in filter(Path.exists, map(self.record_file, self.recipes)):
            read_record(place)

    def record_file(self, recipe: Recipe) -> Path:
        """Where the record of a run lies."""
        return self.records / recipe.name / f"seed{recipe.seed}.json"

    def folder(self, recipe: Recipe) -> Path:
        """Where the checkpoints and the weights of a run lie."""
        return self.runs / recipe.name / f"seed{recipe.seed}"

    def left(self) -> list[Recipe]:
        """The runs without a record."""
        return [recipe for recipe in self.recipes if not self.record_file(recipe).exists()]

    def train(self, stop: StopRequest) -> None:
        """Train the runs that are left, until `stop` gives a reason.

        What goes wrong with one run, such as data that are missing or a loss that is no number, is
        reported and does not keep the others from being done. A run that another process is
        training is left to it, so that two sweeps share the work; when all others are done, it is
        looked at again, in case that process has ended without a record.
        """
        for recipe in self.left():  # better now than after hours
            check_writable(self.record_file(recipe))
            check_writable(self.folder(recipe) / RECORD)
        tried: set[Path] = set()
        while True:
            before = len(tried)
            for recipe in self.left():
                place = self.record_file(recipe)
                if place in tried or place.exists():  # another sweep may have written it by now
                    continue
                if stop():
                    return
                if self._try(recipe, place, stop):
                    tried.add(place)
            if len(tried) == before:
                return

    def _try(self, recipe: Recipe, place: Path, stop: StopRequest) -> bool:
        """Train a run, and note how it ended; whether it was this process's to train."""
        try:
            with self._claim(recipe) as ours:
                record = self._done(recipe) or self._train(recipe, stop)
                if ours:  # so nobody else is writing it
                    clear_parts(place)
                write_record(record, place)
            print(result_line(recipe, record), flush=True)
            self.endings.pop(place, None)
        except FolderInUse:
            self.endings[place] = "in training by another process"
            return False
        except Stopped as stopped:
            self.endings[place] = str(stopped)
        except (ValueError, OSError, ArithmeticError) as error:
            reason = f"failed: {one_line(error)}"
            print(f"{recipe.name}, seed {recipe.seed}: {reason}", file=sys.stderr, flush=True)
            self.endings[place] = reason
        return True

    @contextmanager
    def _claim(self, recipe: Recipe) -> Iterator[bool]:
        """Claim a run's folder, and with it the place of its record; whether that was done.

        A finished run needs no claim where none can be had, on a disk for reading only.
        """
        finished, ours = self._done(recipe), True
        with ExitStack() as stack:
            try:
                stack.enter_context(run_folder(recipe, self.folder(recipe), resume=True))
            except OSError:
                if not finished:
                    raise
                ours = False
            yield ours

    def _train(self, recipe: Recipe, stop: StopRequest) -> Record:
        """The record of a run that is trained now, in its folder, which is claimed."""
        folder = self.folder(recipe)
        dataset = dataset_for(recipe, self.data, self.download, self.workers)
        print(f"{recipe.name}, seed {recipe.seed}: writing to {folder}", flush=True)
        device = str(choose_device(self.device))
        with errors_explained(recipe):
            model, record = loop.train(
                recipe, dataset, device, folder=folder, resume=True, stop=stop
            )
        save_results(model, record, folder)
        return record

    def _done(self, recipe: Recipe) -> Record | None:
        """The record in a run's folder, if there is one: of a run that was done there before, and
        cut off between its two records or started by `mixerlib train`.

        Raises `ValueError` if it is of other settings.
        """
        folder = self.folder(recipe)
        if not (folder / RECORD).exists():
            return None
        record = read_record(folder / RECORD)
        if differences := settings_differences(record, recipe):
            raise ValueError(f"{folder} holds a finished run with other settings: {differences}")
        return record

    def states(self) -> list[tuple[Recipe, str]]:
        """Each run with its accuracy, or with what keeps it from having one, in words."""
        return [(recipe, self._state(recipe)) for recipe in self.recipes]

    def _state(self, recipe: Recipe) -> str:
        if not self.record_file(recipe).exists():
            begun = (self.folder(recipe) / "checkpoint.pt").exists()
            return self.endings.get(self.record_file(recipe), "begun, left" if begun else "left")
        record = read_record(self.record_file(recipe))
        differences = settings_differences(record, recipe)
        note = (
            f", with settings that are no more the recipe's: {differences}" if differences else ""
        )
        return f"{record.test_accuracy:.2%}{note}"

    @property
    def failed(self) -> bool:
        """Whether a run has failed; one that was stopped has not."""
        return any(ending.startswith("failed") for ending in self.endings.values())
