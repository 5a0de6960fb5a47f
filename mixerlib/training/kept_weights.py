"""Trained weights that the book keeps: in float16, with a record of what the rounding has cost.

They lie in `book/records/weights`, as RECIPE.safetensors beside RECIPE.json, so a chapter can look
into a trained network without training one.

>>> from mixerlib.training import list_trained, trained_model
>>> list_trained("digits/convmixer*")
['digits/convmixer_64_4']
>>> model = trained_model("digits/convmixer_64_4")
>>> model.training
False
"""

import copy
import fnmatch
import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn

from mixerlib.checks import did_you_mean, shown
from mixerlib.data import ImageSource
from mixerlib.pages import book_folder
from mixerlib.records import (
    Provenance,
    Record,
    parse_record,
    provenance,
    read_record,
    write_record,
)
from mixerlib.training.evaluation import evaluate_on
from mixerlib.training.finished import load_trained, recipe_of
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import dataset_for, model_for
from mixerlib.weights import load_weights, save_weights


@dataclass(frozen=True)
class KeptWeights:
    """What is known of weights that were rounded to float16 and kept.

    Args:
        recipe: its name.
        settings: every field of the recipe, as the run had it.
        seed: of the run.
        classes: the names of the data set's classes.
        in_channels: of its images.
        image_size: their height and width in pixels.
        test_images: how many.
        test_accuracy: in 0..1, of the run's own weights, in float32.
        rounded_accuracy: the same with the rounded weights, which compute in float32 too.
        rounded_loss: their cross-entropy in nats.
        weights_sha256: of the run's own file.
        rounded_sha256: of the file that lies beside this record.
        provenance: where and when the weights were rounded.
        run: its own record; older ones lack it, and theirs is in the book.
        schema: the shape of the record.
    """

    recipe: str
    settings: dict[str, Any]
    seed: int
    classes: list[str]
    in_channels: int
    image_size: list[int]
    test_images: int
    test_accuracy: float
    rounded_accuracy: float
    rounded_loss: float
    weights_sha256: str
    rounded_sha256: str
    provenance: Provenance
    run: Record | None = None
    schema: str = "mixerlib weights 1"


def keep_weights(
    run: str | Path, folder: str | Path, dataset: ImageSource | None = None
) -> KeptWeights:
    """Round the weights of a finished run to float16, validate them, and keep both in a folder.

    Args:
        run: the folder of the run, with its record.json and its model.safetensors.
        folder: the weights are written to RECIPE.safetensors in it, the record to RECIPE.json.
        dataset: the recipe's, already loaded. None: it is loaded.

    Raises `FileNotFoundError` for a run that has not finished, and `ValueError` for one whose
    weights are not those of its record, or lie outside float16.

    >>> from mixerlib.training import keep_weights, load_recipe, train_in_folder
    >>> _ = train_in_folder(load_recipe("digits", {"epochs": 1}), "runs/digits/kept")
    >>> keep_weights("runs/digits/kept", "weights").test_images
    360
    """
    run, folder = Path(run), Path(folder)
    record, recipe = read_record(run / "record.json"), recipe_of(run)
    dataset = dataset_for(recipe) if dataset is None else dataset
    model = load_trained(run, recipe, dataset)
    file = folder / f"{recipe.name}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    save_weights(copy.deepcopy(model).half(), file)
    load_weights(model, file)  # refuses what has become infinite
    rounded = evaluate_on(model, dataset)
    kept = KeptWeights(
        recipe=recipe.name,
        settings=record.settings,
        seed=record.seed,
        classes=list(dataset.classes),
        in_channels=dataset.in_channels,
        image_size=list(dataset.image_size),
        test_images=len(rounded.predictions),
        test_accuracy=record.test_accuracy,
        rounded_accuracy=rounded.top1,
        rounded_loss=rounded.loss,
        weights_sha256=_sha256(run / "model.safetensors"),
        rounded_sha256=_sha256(file),
        provenance=provenance("cpu"),
        run=record,
    )
    write_record(kept, file.with_suffix(".json"))
    return kept


def list_trained(pattern: str = "*", folder: str | Path | None = None) -> list[str]:
    """The names that `trained_model` knows, in alphabetical order: all, or those that a pattern
    with shell wildcards fits. `folder` is that of `keep_weights`; None: the book's.

    >>> from mixerlib.training import list_trained
    >>> list_trained("digits/splitmixer_i_*")
    ['digits/splitmixer_i_64_4']
    """
    folder = _folder(folder)
    files = (path.relative_to(folder) for path in folder.rglob("*.safetensors"))
    return sorted(fnmatch.filter((p.with_suffix("").as_posix() for p in files), pattern))


def largest_trained(folder: str | Path | None = None) -> dict[str, dict[str, str]]:
    """The networks with the most weights that are kept: data set → family → name.

    Of two with as many weights, the last by name is taken. A chapter that asks for these uses
    larger networks as soon as they are kept. `folder` is that of `keep_weights`; None: the book's.

    >>> from mixerlib.training import largest_trained
    >>> largest_trained()["digits"]["mlp_mixer"]
    'digits/mlp_mixer_24_4'
    """
    sizes: dict[str, dict[str, tuple[int, str]]] = {}
    for name in list_trained(folder=folder):
        settings = kept_record(name, folder).settings
        weights = sum(p.numel() for p in trained_model(name, folder).parameters())
        known = sizes.setdefault(settings["dataset"], {})
        family = settings["model"]
        known[family] = max(known.get(family, (0, "")), (weights, name))
    return {
        dataset: {family: name for family, (_, name) in known.items()}
        for dataset, known in sizes.items()
    }


def kept_record(name: str, folder: str | Path | None = None) -> KeptWeights:
    """The record of kept weights. Arguments and errors as in `trained_model`.

    >>> from mixerlib.training import kept_record
    >>> record = kept_record("digits/mlp_mixer_24_4")
    >>> record.image_size, len(record.classes)
    ([8, 8], 10)
    """
    return parse_record(_file(name, folder).with_suffix(".json"), KeptWeights)


def trained_model(name: str, folder: str | Path | None = None) -> nn.Module:
    """A model with kept weights, in evaluation mode, in float32 on the CPU. No data are needed.

    Args:
        name: of the recipe that trained it; `list_trained` lists them.
        folder: that of `keep_weights`. None: the book's, `book/records/weights`.

    Raises `ValueError` for an unknown name, naming the nearest, and for weights that are not those
    of their record; `FileNotFoundError` where mixerlib was installed without the book.

    >>> import torch
    >>> from mixerlib.training import trained_model
    >>> model = trained_model("digits/splitmixer_iii_64_4")
    >>> model(torch.zeros(1, 1, 8, 8)).shape
    torch.Size([1, 10])
    """
    file, record = _file(name, folder), kept_record(name, folder)
    if _sha256(file) != record.rounded_sha256:
        raise ValueError(f"{file} is not the file that {file.with_suffix('.json')} was made with")
    recipe = Recipe.from_settings(record.settings, name=record.recipe, file=file)
    shape = SimpleNamespace(  # all that a model asks of its data set
        name=recipe.dataset,
        in_channels=record.in_channels,
        num_classes=len(record.classes),
        image_size=tuple(record.image_size),
    )
    with torch.random.fork_rng(devices=()):  # the first weights, which are replaced, leave no trace
        model = model_for(recipe, cast(ImageSource, shape))
    load_weights(model, file)
    return model.eval()


def _folder(folder: str | Path | None) -> Path:
    return book_folder() / "records" / "weights" if folder is None else Path(folder)


def _file(name: str, folder: str | Path | None) -> Path:
    known = list_trained(folder=folder)
    if name not in known:
        hint = did_you_mean(str(name), known, "`list_trained` lists them")
        raise ValueError(f"`name`={shown(name)} has no weights that are kept; {hint}")
    return _folder(folder) / f"{name}.safetensors"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
