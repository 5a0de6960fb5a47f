"""A list of recipes and seeds to train, one run after the other.

read_sweep("sweeps/cpu.yaml")  # [Recipe(seed=0), Recipe(seed=0), …, Recipe(seed=1), …]

The file says what to run, in the order in which it is wanted:

runs:
- recipes: [cpu/convmixer_64_4, cpu/splitmixer_i_64_4]
  seeds: [0]
- recipes: [cpu/convmixer_64_4, cpu/splitmixer_i_64_4]
  seeds: [1, 2]
  settings: {compile: true}   # if wanted: fields that replace the recipes' own
"""

from pathlib import Path
from typing import Any

import yaml

from mixerlib.training.recipe import Recipe, load_recipe


def read_sweep(path: str | Path) -> list[Recipe]:
    """The runs that a file lists: for each of its entries every seed, and for each seed every
    recipe. One that is listed again is left out. A .yaml file of your own is looked for beside this
    one.

    Raises `ValueError` for a file that does not list runs, naming the entry and the rule, and
    `FileNotFoundError` for one that is not there.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or set(content) != {"runs"}:
        raise ValueError(f"{path} must hold the key `runs` and no other")
    entries = content["runs"]
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: `runs`={entries!r} must be a list of entries")
    found: dict[tuple[str, int], Recipe] = {}
    for number, entry in enumerate(entries):
        where = f"{path}: `runs[{number}]`"
        for recipe in _runs(entry, where, path.parent):
            known = found.setdefault((recipe.name, recipe.seed), recipe)
            if known != recipe:  # their records would lie in the same place
                raise ValueError(f"{where} lists a second recipe of the name {recipe.name!r}")
    return list(found.values())


def _runs(entry: Any, where: str, folder: Path) -> list[Recipe]:
    keys = set(entry) if isinstance(entry, dict) else set()
    if not {"recipes", "seeds"} <= keys <= {"recipes", "seeds", "settings"}:
        raise ValueError(
            f"{where}={entry!r} must have the keys `recipes` and `seeds`, and may have `settings`"
        )
    for key, kind, words in (("recipes", str, "names of recipes"), ("seeds", int, "whole numbers")):
        values = entry[key]
        right = isinstance(values, list) and values and all(type(v) is kind for v in values)
        if not right:
            raise ValueError(f"{where}: `{key}`={values!r} must be a list of {words}")
    settings = entry.get("settings", {})
    if not isinstance(settings, dict) or "seed" in settings:
        raise ValueError(f"{where}: `settings`={settings!r} must be a table of fields, no seed")
    names = [folder / n if n.endswith((".yaml", ".yml")) else n for n in entry["recipes"]]
    return [load_recipe(n, settings | {"seed": seed}) for seed in entry["seeds"] for n in names]
