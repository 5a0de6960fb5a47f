"""The weights that a fine-tuning begins with, and where a recipe's may be fetched."""

import re
from pathlib import Path

from torch import nn

from mixerlib.data import DataNotFound
from mixerlib.models import list_models
from mixerlib.training.recipe import Recipe
from mixerlib.training.recipe_files import RECIPES, list_recipes, with_bases
from mixerlib.weights import load_weights, weights_file, weights_of


def load_first_weights(model: nn.Module, recipe: Recipe) -> None:
    """Fill a new model with the recipe's `weights`, if it has any, but for the classifier: a file,
    or the name of published weights.

    Raises what `load_weights` raises, about the recipe's field, `weights`; for a file that is not
    there it says where there is one, as far as the recipe's head knows.
    """
    if recipe.weights is None:
        return
    try:
        file = Path(recipe.weights).expanduser()
        if is_published(recipe.weights):
            file = weights_file(recipe.weights)
        load_weights(model, file, head=False)
    except DataNotFound:
        raise
    except FileNotFoundError as error:
        hint = where_weights_are(recipe.name)
        reason = f"{error.strerror}; {hint}" if hint else error.strerror
        raise FileNotFoundError(error.errno, reason, recipe.weights) from None
    except (ValueError, RuntimeError) as error:  # RuntimeError: a ~ without a home
        message = str(error).replace("`path`=", "`weights`=", 1)
        named = message if "`weights`" in message else f"`weights`: {message}"
        raise ValueError(named) from None


def is_published(weights: str | None) -> bool:
    """Whether a recipe's `weights` name published ones or a model, and no file that is there."""
    if weights is None or Path(weights).exists():
        return False
    return weights in list_models() or any(weights == known.name for known in weights_of())


def where_weights_are(name: str) -> str | None:
    """What the head of one of mixerlib's recipes says after "Weights:", as advice in a line."""
    if name not in list_recipes():
        return None
    for file, _ in with_bases(RECIPES / f"{name}.yaml"):
        head = file.read_text(encoding="utf-8").partition("# Weights:")[2].partition("# Source:")[0]
        if addresses := re.findall(r"https://\S+", head):
            return f"fetch {addresses[-1]}; the head of {file} says more"
        if head and "the base" not in head:
            return f"the head of {file} says which there are"
    return None
