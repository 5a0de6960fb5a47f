"""A trained model from what a run left: its folder, its weights, or its last checkpoint.

>>> from mixerlib.training import dataset_for, load_recipe, load_trained, recipe_of, train_in_folder
>>> record = train_in_folder(load_recipe("digits", {"epochs": 1}), "runs/digits/seed0")
>>> recipe = recipe_of("runs/digits/seed0")
>>> model = load_trained("runs/digits/seed0", recipe, dataset_for(recipe))
"""

import hashlib
from pathlib import Path

from torch import nn

from mixerlib.data import ImageSource
from mixerlib.records import read_record
from mixerlib.training import checkpoint
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import model_for
from mixerlib.weights import load_weights
from mixerlib.weights.loading import check_finite
from mixerlib.weights.reading import check_regular, is_checkpoint


def recipe_of(path: str | Path) -> Recipe:
    """The recipe of the run that left this folder, checkpoint.pt, or weights beside a record.json.

    Raises `ValueError` when nothing there tells the recipe, as with a published checkpoint.
    """
    folder, path = Path(path), weights_in(path)
    if (folder / "checkpoint.pt").is_file() and not (folder / "record.json").is_file():
        path = folder / "checkpoint.pt"  # killed at the very end: its weights lie there, no record
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    check_regular(path)
    if is_run_state(path):
        settings, _ = checkpoint.read(path)
        return Recipe.from_settings(settings, file=path)
    record_file = path.parent / "record.json"
    if not record_file.is_file():
        raise ValueError(f"no record.json beside {path} tells its recipe; name it with --recipe")
    record = read_record(record_file)
    return Recipe.from_settings(record.settings, name=record.recipe, file=record_file)


def load_trained(
    path: str | Path,
    recipe: Recipe,
    dataset: ImageSource,
    *,
    key: str | None = None,
    average: bool | None = None,
) -> nn.Module:
    """The recipe's model with the weights in `path`, in evaluation mode, on the CPU.

    Args:
        path: a run's folder, a run's checkpoint.pt under any name, or any file that `load_weights`
            reads.
        recipe: which model it is of.
        dataset: that gives the model its channels, classes and image size.
        key: of the state dict to take, where a file holds several.
        average: whether the moving average is taken. None: where there is one.

    Raises what `load_weights` raises, and `ValueError` for weights that are not those that the
    record beside them was made with.

    >>> from mixerlib.training import dataset_for, load_recipe, load_trained, train
    >>> from mixerlib.weights import save_weights
    >>> recipe = load_recipe("digits", {"epochs": 1})
    >>> dataset = dataset_for(recipe)
    >>> model, _ = train(recipe, dataset, progress=False)
    >>> save_weights(model, "digits.safetensors")
    >>> again = load_trained("digits.safetensors", recipe, dataset)
    """
    path = weights_in(path)
    model = model_for(recipe, dataset)
    if path.is_file() and is_run_state(path):
        _, state = checkpoint.read(path)
        taken = "model" if average is False or state["average"] is None else "average"
        if average and taken == "model":
            raise ValueError(f"`average`=True, but {path} is of a run without one")
        tensors = state[taken]
        try:
            model.load_state_dict(tensors)
        except RuntimeError:  # torch tells every tensor, over many lines
            raise ValueError(
                f"`path`='{path}' does not fit `recipe`={recipe.name!r} on this "
                f"{dataset.name}: it is a checkpoint of another model, or of other classes"
            ) from None
        check_finite(path, tensors, model)
    else:
        _check_record_beside(path)
        load_weights(model, path, key=key, average=average)
    return model.eval()


def _check_record_beside(path: Path) -> None:
    """Raises `ValueError` for a run's weights that are not those of the record beside them."""
    if path.name != "model.safetensors" or not path.is_file():
        return
    try:
        record = read_record(path.parent / "record.json")
    except (OSError, ValueError):  # it is asked for no more here
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if record.weights_sha256 not in (None, digest):
        raise ValueError(
            f"`path`='{path}' is not the file that the record.json beside it was made with: its "
            f"SHA-256 begins with {digest[:12]}, that in the record with "
            f"{record.weights_sha256[:12]}"
        )


def is_run_state(path: Path) -> bool:
    """Whether this is the state of an unfinished run, by its name or by what it holds."""
    return path.name == "checkpoint.pt" or is_checkpoint(path)


def weights_in(path: str | Path) -> Path:
    """The file to read: of a run's folder its weights, or its checkpoint while it is unfinished;
    any other path is that file itself.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    candidates = [path / name for name in ("model.safetensors", "checkpoint.pt")]
    for file in candidates:
        if file.is_file():
            return file
    raise FileNotFoundError(f"{path} holds neither model.safetensors nor checkpoint.pt")
