"""A run's folder: made, written to, and found again.

>>> from pathlib import Path
>>> from mixerlib.training import load_recipe, train_in_folder
>>> record = train_in_folder(load_recipe("digits", {"epochs": 1}), "runs/digits/first")
>>> sorted(path.name for path in Path("runs/digits/first").iterdir())
['metrics.jsonl', 'model.safetensors', 'record.json']
"""

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from torch import nn

from mixerlib.checks import shown
from mixerlib.data import ImageSource
from mixerlib.files import clear_parts
from mixerlib.records import Record, judged_on, read_record, write_record
from mixerlib.training.claims import check_claim, claimed, still_claimed
from mixerlib.training.loop import train
from mixerlib.training.metrics import METRICS
from mixerlib.training.recipe import FORM_FIELDS, Recipe, current_settings
from mixerlib.training.session import errors_explained, stop_on_signals
from mixerlib.weights import save_weights

RECORD, WEIGHTS, CHECKPOINT = "record.json", "model.safetensors", "checkpoint.pt"  # of a run
LEFT = (CHECKPOINT, RECORD, WEIGHTS, METRICS)  # what an earlier run may have left


def train_in_folder(
    recipe: Recipe,
    folder: str | Path,
    dataset: ImageSource | None = None,
    device: str | None = None,
    *,
    resume: bool = False,
    minutes: float | None = None,
) -> Record:
    """Train by a recipe and keep the weights and the record in a folder, as `mixerlib train` does.

    Args:
        recipe: what is trained, and how.
        folder: a new one, or one to go on in.
        dataset: the recipe's, already loaded. None: it is loaded.
        device: one that `choose_device` knows.
        resume: go on from the folder's checkpoint; a finished run's record is returned as it is.
        minutes: after which the run stops, with a checkpoint. Ctrl-C and SIGTERM stop it, too.

    The folder is this process's while it trains: another one is refused by `FolderInUse`. Raises
    `Stopped`, `ValueError` for a folder that holds another run, and what `train` raises.
    """
    if not str(folder):
        raise ValueError("`folder`='' must name a folder")
    folder = Path(folder)
    if resume and (record := finished_record(recipe, folder)):
        return record
    with run_folder(recipe, folder, resume), stop_on_signals(minutes) as stop:
        if resume and (record := finished_record(recipe, folder)):  # by another process meanwhile
            return record
        with errors_explained(recipe):
            model, record = train(recipe, dataset, device, folder=folder, resume=resume, stop=stop)
        save_results(model, record, folder)
    return record


def new_folder(recipe: Recipe) -> Path:
    """Make a folder for a run that begins now: runs/RECIPE/DATE-seedN, with -2, -3, … at its end
    where another run has just made it.
    """
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    first = Path("runs") / recipe.name / f"{now}-seed{recipe.seed}"
    for count in itertools.count(1):
        folder = first if count == 1 else first.with_name(f"{first.name}-{count}")
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError  # there is always a next number


@contextmanager
def run_folder(
    recipe: Recipe, folder: str | Path | None = None, resume: bool = False, writes: bool = True
) -> Iterator[Path]:
    """A folder for a run, claimed while this lasts; None: a new one. If it has been made for the
    run and nothing comes into it, it is taken away again.

    Raises `ValueError` when an earlier run has left something there that is not to be resumed,
    `FolderInUse` when another process is training there, and `OSError` when it cannot be written
    to. Of several processes only the one that `writes` does any of this.
    """
    folder = None if folder is None else Path(folder)
    if not writes:
        yield folder or Path("runs")
        return
    asked = folder or Path("runs") / recipe.name / "new"
    new = [path for path in (asked, *asked.parents) if not path.exists()]
    ours = True
    try:
        if folder is None:
            new[:1] = [folder := new_folder(recipe)]
        else:
            _make(folder)
        with claimed(folder):
            _check_left(folder, resume)
            for name in LEFT:
                clear_parts(folder / name)
            try:
                yield folder
            except BaseException:
                ours = still_claimed(folder)
                raise
    except BaseException:
        for path in new if ours else ():
            with suppress(OSError):  # what is not empty stays
                path.rmdir()
        raise


def _make(folder: Path) -> None:
    """Make a folder and those above it, where they are missing. `OSError` with its own name."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        dangling = (p for p in (folder, *folder.parents) if p.is_symlink() and not p.exists())
        link = next(dangling, None)
        reason = f"{link} is a link that leads nowhere" if link else error.strerror
        raise OSError(error.errno, reason, str(folder)) from None


def _check_left(folder: Path, resume: bool) -> None:
    """Refuse a folder with what an earlier run has left, or with what is of no run."""
    left = [name for name in LEFT if os.path.lexists(folder / name)]
    if not resume and left:
        hint = "go on with it by --resume, or " if CHECKPOINT in left else ""
        raise ValueError(
            f"`out`='{folder}' holds the {left[0]} of an earlier run; {hint}name another folder"
        )
    if resume and WEIGHTS in left and RECORD not in left and CHECKPOINT not in left:
        raise ValueError(
            f"`out`='{folder}' holds a {WEIGHTS} that no run can go on from, and none would "
            "replace; name another folder"
        )


def save_results(model: nn.Module, record: Record, folder: str | Path) -> None:
    """Write a finished run's weights and then its record; its checkpoint is not needed any more."""
    folder = Path(folder)
    check_claim(folder)
    save_weights(model, folder / WEIGHTS)
    check_claim(folder)
    write_record(record, folder / RECORD)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def finished_record(recipe: Recipe, folder: str | Path) -> Record | None:
    """The record of the recipe's run in a folder, None where no run has finished.

    Raises `ValueError` when the run had other settings.
    """
    folder = Path(folder)
    if not (folder / RECORD).exists():
        return None
    record = read_record(folder / RECORD)
    if differences := settings_differences(record, recipe):
        raise ValueError(
            f"`out`='{folder}' holds a finished run with other settings: {differences}; "
            "name another folder"
        )
    with suppress(OSError):  # one killed at the very end leaves it, and some disks are read-only
        (folder / CHECKPOINT).unlink()
    return record


def settings_differences(record: Record, recipe: Recipe) -> str:
    """Where a record's settings are not the recipe's, in words; nothing where they are the same."""
    expected = json.loads(json.dumps(asdict(recipe), default=str))  # in the form that records have
    recorded = current_settings(record.settings) | {"name": record.recipe}
    measured = FORM_FIELDS if recipe.fastest else ()  # the record has what the measurement chose
    names = [
        name
        for name in expected | recorded
        if name not in measured and expected.get(name) != recorded.get(name)
    ]
    return "; ".join(
        f"`{name}`={shown(expected.get(name))} here, {shown(recorded.get(name))} there"
        for name in names
    )


def result_line(recipe: Recipe, record: Record) -> str:
    """What a finished run has reached, in a line."""
    return (
        f"{recipe.name}: {record.test_accuracy:.2%} of {record.test_images:,} "
        f"{judged_on(record.settings)} right "
        f"after epoch {recipe.epochs}"
    )
