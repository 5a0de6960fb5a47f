"""The weights that a fine-tuning begins with, and where a recipe's may be fetched."""

import re
from pathlib import Path

from torch import nn

from mixerlib.training.recipe import RECIPES, Recipe, list_recipes, with_bases
from mixerlib.weights import load_weights


def load_first_weights(model: nn.Module, recipe: Recipe) -> None:
    """Fill a new model with the recipe's `weights`, if it has any, but for the classifier.

    Raises what `load_weights` raises, about the recipe's field, `weights`; for a file that is not
    there it says where there is one, as far as the recipe's head knows.
    """
    if recipe.weights is None:
        return
    try:
        load_weights(model, Path(recipe.weights).expanduser(), head=False)
    except FileNotFoundError as error:
        hint = where_weights_are(recipe.name)
        reason = f"{error.strerror}; {hint}" if hint else error.strerror
        raise FileNotFoundError(error.errno, reason, recipe.weights) from None
    except (ValueError, RuntimeError) as error:  # RuntimeError: a ~ without a home
        message = str(error).replace("`path`=", "`weights`=", 1)
        named = message if "`weights`" in message else f"`weights`: {message}"
        raise ValueError(named) from None


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
