"""The state of an unfinished run, in a file that is whole or not there.

>>> from contextlib import suppress
>>> from pathlib import Path
>>> from mixerlib.training import Stopped, checkpoint, load_recipe, train
>>> recipe = load_recipe("digits")
>>> with suppress(Stopped):
...     _ = train(recipe, progress=False, folder=Path(), stop=lambda: "after a step")
>>> state = checkpoint.load(Path("checkpoint.pt"), recipe)  # refuses another run's file
>>> state["epoch"], state["step"]
(1, 1)

A checkpoint is data, never code: tensors, numbers and text. Nothing that it names is called, and
all of it is checked before torch sees it (`mixerlib.training.contents`).
"""

import io
import json
import warnings
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from mixerlib.checks import shown
from mixerlib.files import write_atomic
from mixerlib.records import Epoch, Part
from mixerlib.speed.training_step import settings_of_form
from mixerlib.training import contents
from mixerlib.training.recipe import Recipe, current_settings
from mixerlib.training.run import Run, RunWarning
from mixerlib.weights.containers import read_pickled
from mixerlib.weights.reading import check_regular

SCHEMA = "mixerlib checkpoint 1"  # a file of another shape has another name here


def save(path: str | Path, recipe: Recipe, state: dict[str, Any]) -> None:
    """Write the state of a run, replacing the last one only when the new one is on the disk.

    `state` holds tensors, numbers, text, and lists and tables of these. Raises `OSError` with the
    file's name and the reason, such as a full disk; the last checkpoint is then still there.
    """
    content = {"schema": SCHEMA, "settings": _settings(recipe), "state": state}
    file = io.BytesIO()
    torch.save(content, file)
    write_atomic(Path(path), file.getbuffer())


def load(path: str | Path, recipe: Recipe | None = None) -> dict[str, Any]:
    """The state that `save` wrote, with its tensors on the CPU.

    Raises `FileNotFoundError` when there is no such file, and `ValueError` for a file that is cut
    short, damaged or no checkpoint, or that a run with other settings than `recipe` wrote.
    """
    settings, state = read(path)
    if recipe is not None:
        saved, expected = current_settings(settings), json.loads(_settings(recipe))
        names = sorted(saved.keys() | expected.keys())
        differing = [name for name in names if saved.get(name) != expected.get(name)]
        if differing:
            differences = "; ".join(
                f"`{name}`={shown(expected.get(name))} here, {shown(saved.get(name))} there"
                for name in differing[:4]
            )
            raise ValueError(
                f"{path} is the checkpoint of another run: {differences}. Resume with its own "
                f"settings, or begin in another folder"
            )
    return state


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the run that wrote a checkpoint (a recipe's fields), and its state.

    Raises `OSError` for a file that cannot be read, and `ValueError` naming file and key for one
    that is damaged, of a newer version, or holds anything but what `save` writes.
    """
    path = Path(path)
    check_regular(path)
    with path.open("rb") as file:  # raises the plain OSError of a missing or forbidden file
        try:
            if not zipfile.is_zipfile(file):  # whose parts have checksums
                raise zipfile.BadZipFile
            content = read_pickled(file)
        except Exception:  # a damaged file raises nearly anything
            raise _damaged(path) from None
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise ValueError(f"{path}: `schema`={contents.in_words(schema)} must be {SCHEMA!r}")
        with contents.in_file(path):
            contents.same_keys("", content, ("schema", "settings", "state"))
            settings = contents.settings_of(content)
            state = contents.checked_state(content["state"])
        try:
            return settings, contents.with_tensors(state)
        except Exception:
            raise _damaged(path) from None


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{path} is cut short, damaged or no checkpoint of mixerlib; nothing was loaded. "
        f"Delete it to begin anew"
    )


def _settings(recipe: Recipe) -> str:
    """A recipe as JSON text, in which a fraction among a model's options is text too."""
    return json.dumps(asdict(recipe), default=str, sort_keys=True)


def state_of(run: Run) -> dict[str, Any]:
    """What `continue_from` needs, as plain values and tensors; `collect` must have been called."""
    return {
        "model": run.model.state_dict(),
        "average": run.average.state_dict() if run.average is not None else None,
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "form": settings_of_form(run.form),
        "images": run.images,
        "sums": run.loss_and_correct,
        "epoch": run.epoch,
        "step": run.step,
        "test": run.test,
        "curve": [asdict(row) for row in run.curve],
        "training_seconds": run.training_seconds,
        "total_seconds": run.total_seconds,
        "continued": run.continued,
        "parts": [asdict(part) for part in run.parts],
    }


def continue_from(run: Run, state: dict[str, Any], path: Path | None = None) -> None:
    """Bring a run that has just begun to where the state says.

    Random numbers need no state: `stream` knows them by their place. Raises `ValueError` if the
    state is of other data, or of another number of processes, whose batches have other statistics.
    """
    parts = [Part(**part) for part in state.get("parts", ())]  # older versions did not note them
    here = run.parts[-1]
    with contents.in_file(path):
        if state["images"] != run.images:
            raise ValueError(
                f"the checkpoint is of a run on {state['images']} training images, not {run.images}"
            )
        if parts and parts[-1].processes != here.processes:
            count = parts[-1].processes
            how = f"by torchrun --nproc_per_node {count}" if count > 1 else "without torchrun"
            raise ValueError(
                f"`processes`={here.processes} must be {count} for a run that was begun so: go on "
                f"{how}, or begin in another folder"
            )
        contents.check_fits(run, state)
        optimizer = contents.optimizer_state(run, state["optimizer"])
    run.model.load_state_dict(state["model"])
    if run.average is not None:
        run.average.load_state_dict(state["average"])
    run.optimizer.load_state_dict(optimizer)
    run.scaler.load_state_dict(state["scaler"])
    if run.processes.is_first:
        run.loss_and_correct.copy_(state["sums"])
    run.epoch, run.step, run.test = state["epoch"], state["step"], state["test"]
    run.curve = [Epoch(**row) for row in state["curve"]]
    run.training_seconds, run.total_seconds = state["training_seconds"], state["total_seconds"]
    run.continued = state["continued"] + 1
    new = replace(here, first_step=run.steps_done + 1)
    run.parts = _parts_with(parts, new) if run.steps_done < run.all_steps else parts


def _parts_with(parts: list[Part], new: Part) -> list[Part]:
    """The parts of a run that goes on: a new one where it is computed otherwise, which is said."""
    if not parts:
        return [new]
    here, there = asdict(new), asdict(parts[-1])
    differing = [name for name in here if name != "first_step" and here[name] != there[name]]
    if not differing:
        return parts
    differences = "; ".join(
        f"`{name}`={here[name]!r}, before {there[name]!r}" for name in differing
    )
    warnings.warn(
        f"from step {new.first_step} on the run is computed otherwise, and its record says so: "
        f"{differences}",
        RunWarning,
        stacklevel=2,
    )
    return [*parts, new]
