"""A run's folder: made, written to, and found again.

>>> from pathlib import Path
>>> from mixerlib.training import load_recipe, train_in_folder
>>> record = train_in_folder(load_recipe("digits", {"epochs": 1}), "runs/digits/first")
>>> sorted(path.name for path in Path("runs/digits/first").iterdir())
['metrics.jsonl', 'model.safetensors', 'record.json']
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from torch import nn

from mixerlib.data import ImageSource
from mixerlib.records import Record, read_record, write_record
from mixerlib.training.loop import train
from mixerlib.training.recipe import FORM_FIELDS, Recipe, current_settings
from mixerlib.training.session import errors_explained, stop_on_signals
from mixerlib.weights import save_weights

RECORD, WEIGHTS, CHECKPOINT = "record.json", "model.safetensors", "checkpoint.pt"  # of a run


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

    Raises `Stopped`, `ValueError` for a folder that holds another run, and what `train` raises.
    """
    folder = Path(folder)
    if resume and (record := finished_record(recipe, folder)):
        return record
    with run_folder(folder, resume), stop_on_signals(minutes) as stop:
        with errors_explained(recipe):
            model, record = train(recipe, dataset, device, folder=folder, resume=resume, stop=stop)
        save_results(model, record, folder)
    return record


def new_folder(recipe: Recipe) -> Path:
    """The path of a folder for a run that begins now: runs/RECIPE/DATE-seedN. It is not made."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("runs") / recipe.name / f"{now}-seed{recipe.seed}"


@contextmanager
def run_folder(folder: Path, resume: bool = False, writes: bool = True) -> Iterator[None]:
    """A folder for a run, its own or a new one; a new one is taken away if nothing comes into it.

    Raises `ValueError` when an earlier run has written to it that is not to be resumed. Of several
    processes only the one that `writes` does any of this.
    """
    if not writes:
        yield
        return
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for name in () if resume else (CHECKPOINT, RECORD, WEIGHTS):
        if (folder / name).exists():
            hint = "go on with it by --resume, or " if name == CHECKPOINT else ""
            raise ValueError(
                f"`out`='{folder}' holds the {name} of an earlier run; {hint}name another folder"
            )
    try:
        tempfile.TemporaryFile(dir=folder).close()  # can it be written to? better asked now
        yield
    except BaseException:
        with suppress(OSError):  # what is not empty stays
            for path in new:
                path.rmdir()
        raise


def save_results(model: nn.Module, record: Record, folder: Path) -> None:
    """Write a finished run's weights and then its record; its checkpoint is not needed any more."""
    save_weights(model, folder / WEIGHTS)
    write_record(record, folder / RECORD)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def finished_record(recipe: Recipe, folder: Path) -> Record | None:
    """The record of the recipe's run in a folder, None where no run has finished.

    Raises `ValueError` when the run had other settings.
    """
    if not (folder / RECORD).exists():
        return None
    record = read_record(folder / RECORD)
    if differences := settings_differences(record, recipe):
        raise ValueError(
            f"`out`='{folder}' holds a finished run with other settings: {differences}; "
            "name another folder"
        )
    (folder / CHECKPOINT).unlink(missing_ok=True)  # of a run that was killed at the very end
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
        f"`{name}`={expected.get(name)!r} here, {recorded.get(name)!r} there" for name in names
    )


def result_line(recipe: Recipe, record: Record) -> str:
    """What a finished run has reached, in a line."""
    return (
        f"{recipe.name}: {record.test_accuracy:.2%} of {record.test_images:,} test images right "
        f"after epoch {recipe.epochs}"
    )
