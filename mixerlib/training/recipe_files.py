"""The YAML files of recipes, mixerlib's own under `recipes/` and anybody's.

A file may start from another with `base: cifar10/convmixer_256_8`, and then holds what differs.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixerlib import checks
from mixerlib.checks import did_you_mean, shown
from mixerlib.files import read_yaml
from mixerlib.training.recipe import FORMER_NAMES, SETTINGS, Recipe

RECIPES = Path(__file__).parent / "recipes"
MOST_BASES = 20  # files that a recipe may start from, one below the other


def list_recipes() -> list[str]:
    """The names of mixerlib's own recipes, in alphabetical order.

    >>> from mixerlib.training import list_recipes
    >>> [name for name in list_recipes() if name.startswith("cifar10/convmixer")]
    ['cifar10/convmixer_256_8', 'cifar10/convmixer_authors_100', 'cifar10/convmixer_authors_25']
    """
    return sorted(
        path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml")
    )


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by its name (its path under mixerlib/recipes, without .yaml) or from a .yaml file.

    `overrides` replace the file's values; those in `model_options` are merged into the file's. A
    file's values replace those of its `base` in the same way.
    Raises `ValueError` for an unknown name (with the nearest ones suggested), an unknown key, or a
    value of the wrong type, naming the file that has it, and `FileNotFoundError` for a .yaml file
    that is not there.

    >>> from mixerlib.training import load_recipe
    >>> recipe = load_recipe("digits", {"epochs": 5, "seed": 1})  # other values than the file's
    >>> recipe.model, recipe.batch_size, recipe.epochs
    ('convmixer', 64, 5)
    >>> load_recipe("digits", {"epoch": 5})
    Traceback (most recent call last):
    ValueError: `epoch`=5 is not a field of a recipe; did you mean epochs?
    """
    path, name = _find(name_or_path)
    settings: dict[str, Any] = {}
    chain = with_bases(path)
    for file, values in reversed(chain):
        try:
            settings = _merge(settings, values)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
    overrides = overrides or {}
    settings = _merge(settings, overrides)
    for key in ("dataset", "model"):
        if key not in settings:
            raise ValueError(f"{path}: a recipe must set `{key}`")
    try:
        return Recipe(**settings, name=name)
    except ValueError as error:
        named = re.findall(r"`(\w+)`", str(error))
        changed = overrides.keys() | overrides.get("model_options", {}).keys()
        setters = (f for f, v in chain if {*v, *v.get("model_options", {})} & {*named})
        file = next(setters, None) if named else path  # the last to set one of the fields
        if file is None or not changed.isdisjoint(named):
            raise
        raise ValueError(f"{file}: {error}") from None


def is_recipe_file(name: str) -> bool:
    """Whether a recipe is named by a file of its own."""
    return Path(name).suffix.lower() in (".yaml", ".yml")


def _find(name_or_path: str | Path, argument: str = "recipe") -> tuple[Path, str]:
    """The file of a recipe, and the name that records know it by; `argument` is for the error."""
    text = str(name_or_path)
    if is_recipe_file(text):
        path = Path(text)
        if not path.exists() or path.is_dir():  # what it is else, the reader looks at
            raise FileNotFoundError(f"there is no recipe file {path}")
        if not path.stem.strip(".") or not path.stem.isprintable():  # records and runs lie there
            raise ValueError(f"`{argument}`={shown(text)} must have a name that a folder can have")
        return path, path.stem
    names = list_recipes()
    if text not in names:
        hint = did_you_mean(text, names, "`mixerlib train --help` lists them all")
        raise ValueError(f"`{argument}`={shown(text)} is no recipe of mixerlib; {hint}")
    return RECIPES / f"{text}.yaml", text


def with_bases(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """A recipe's file and those that it starts from, one below the other, with what each sets."""
    files: list[tuple[Path, dict[str, Any]]] = []
    seen: set[Path] = set()
    while True:
        settings = read_yaml(path)
        base = settings.pop("base", None)
        files.append((path, settings))
        seen.add(path.resolve())
        if base is None:
            return files
        if not isinstance(base, str):
            raise ValueError(
                f"{path}: `base`={shown(base)} must be the name of a recipe, or a .yaml file"
            )
        try:
            below, _ = _find(path.parent / base if is_recipe_file(base) else base, "base")
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f"{path}: {error}") from None
        if below.resolve() in seen:
            raise ValueError(f"{path}: `base`={shown(base)} must not lead back to this file")
        if len(files) == MOST_BASES:
            raise ValueError(f"{path}: `base`={shown(base)} is one more than {MOST_BASES} bases")
        path = below


def _merge(settings: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with `changes`, whose keys must be fields; tables of options are merged."""
    for key, value in changes.items():
        if key not in SETTINGS:
            hint = did_you_mean(str(key), SETTINGS, f"there are {', '.join(SETTINGS)}")
            if key in FORMER_NAMES:
                hint = f"it is called {FORMER_NAMES[key]} now"
            name = shown(key)[1:-1]
            raise ValueError(f"`{name}`={shown(value)} is not a field of a recipe; {hint}")
    merged = settings | dict(changes)
    if "model_options" in changes:
        checks.of_type("model_options", changes["model_options"], dict[str, Any])
        merged["model_options"] = settings.get("model_options", {}) | changes["model_options"]
    return merged
