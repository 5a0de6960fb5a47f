"""A trained model from what a run left: its folder, its weights, or its last checkpoint.

>>> from mixerlib.training import dataset_for, load_recipe, load_trained, recipe_of, train_in_folder
>>> record = train_in_folder(load_recipe("digits", {"epochs": 1}), "runs/digits/seed0")
>>> recipe = recipe_of("runs/digits/seed0")
>>> model = load_trained("runs/digits/seed0", recipe, dataset_for(recipe))
"""

from pathlib import Path

from torch import nn

from mixerlib.data import ImageSource
from mixerlib.records import read_record
from mixerlib.training import checkpoint
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import model_for
from mixerlib.weights import load_weights


def recipe_of(path: str | Path) -> Recipe:
    """The recipe of the run that left this folder, checkpoint.pt, or weights beside a record.json.

    Raises `ValueError` when nothing there tells the recipe, as with a published checkpoint.
    """
    path = weights_in(path)
    if path.name == "checkpoint.pt":
        settings, _ = checkpoint.read(path)
        return Recipe.from_settings(settings, file=path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    record_file = path.parent / "record.json"
    if not record_file.is_file():
        raise ValueError(f"no record.json beside {path} tells its recipe; name it with --recipe")
    record = read_record(record_file)
    return Recipe.from_settings(record.settings, name=record.recipe, file=record_file)


def load_trained(path: str | Path, recipe: Recipe, dataset: ImageSource) -> nn.Module:
    """The recipe's model with the weights in `path`, in evaluation mode, on the CPU.

    `path` is a run's folder, a run's checkpoint.pt (of which the moving average is taken where
    there is one), or any file that `load_weights` reads. Raises what `load_weights` raises.

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
    if path.name == "checkpoint.pt":
        _, state = checkpoint.read(path)
        try:
            model.load_state_dict(state["average"] or state["model"])
        except RuntimeError:  # torch tells every tensor, over many lines
            raise ValueError(
                f"`path`='{path}' does not fit `recipe`={recipe.name!r} on this "
                f"{dataset.name}: it is a checkpoint of another model, or of other classes"
            ) from None
    else:
        load_weights(model, path)
    return model.eval()


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
