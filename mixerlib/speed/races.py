"""Races of many models, written down once: in each all of them run in turn.

>>> from mixerlib.speed import read_races
>>> races = read_races("book/sweeps/bench_races.yaml")
>>> list(races), len({case.model for case in races["plain"]})
(['plain', 'forms', 'training', 'relatives'], 10)

The file holds a list `races`. Entries of one name are one race; in it every model runs in every
dtype, implementation, mixing and layout, plainly and compiled in each of the modes `compile`:

races:
- name: forms
  models: [convmixer_256_8, splitmixer_i_256_8]   # or {NAME: ITS OPTIONS, …}
  batch: 64
  image_size: 32
  options: {depth: 2}                   # of all of them; this and what follows may be left out
  task: inference                       # or training
  implementations: [mixerlib, fast]     # listing and timm: where there are such models
  dtypes: [float32, bfloat16]
  mixings: [own, one matrix]            # the second one for SplitMixers alone
  layouts: [contiguous, channels_last]
  compile: [default]

It differs from a matrix of `read_matrix`, which has a race of its own for each model.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from mixerlib import checks
from mixerlib.files import read_yaml
from mixerlib.models import model_entry
from mixerlib.speed.bench import peer_forms
from mixerlib.speed.cases import IMPLEMENTATIONS, LAYOUTS, Case
from mixerlib.speed.form import Form
from mixerlib.speed.training_step import MIXINGS

LISTS = {  # key → what it holds if it is left out
    "implementations": ["mixerlib"],
    "dtypes": ["float32"],
    "mixings": ["own"],
    "layouts": ["contiguous"],
    "compile": [],
}
MAY_BE_MISSING = ("options", "task", *LISTS)
NAME_OF_KEPT = "-kept"  # after a race's name, where glibc was told to keep its memory


def read_races(path: str | Path) -> dict[str, list[Case]]:
    """The races that a file lists, by name, in its order.

    Raises `ValueError` for a file of another form, naming the entry and the rule, and
    `FileNotFoundError` for one that is not there.
    """
    path = Path(path)
    races: dict[str, list[Case]] = {}
    for number, entry in enumerate(read_yaml(path, "races")):
        where = f"{path}: `races[{number}]`"
        checks.table(where, entry, ("name", "models", "batch", "image_size"), MAY_BE_MISSING)
        try:
            cases = races.setdefault(_name(entry), [])
            cases += [case for case in _cases(entry) if case not in cases]
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return races


def _name(entry: dict[str, Any]) -> str:
    name = entry["name"]
    if not isinstance(name, str) or not name.replace("-", "").isalnum() or not name.isascii():
        raise ValueError(f"`name`={name!r} must be of letters, digits and -, for it names a file")
    return name


def _cases(entry: dict[str, Any]) -> list[Case]:
    shared = checks.of_type("options", entry.get("options", {}), dict[str, Any])
    models = entry["models"]
    own = models if isinstance(models, dict) else {}  # a model's name → its options
    models = checks.list_of("models", list(own) or models, str)
    lists = {
        key: checks.list_of(key, entry.get(key, usual), str, empty=key == "compile")
        for key, usual in LISTS.items()
    }
    for key, known in (
        ("implementations", IMPLEMENTATIONS),
        ("mixings", MIXINGS),
        ("layouts", tuple(LAYOUTS)),
    ):
        for value in lists[key]:
            checks.one_of(key.removesuffix("s"), value, known)
    cases = []
    for model, dtype in product(models, lists["dtypes"]):
        options = checks.of_type(f"models.{model}", own.get(model, {}), dict[str, Any])
        first = Case(
            model,
            shared | options,
            task=entry.get("task", "inference"),
            batch=entry["batch"],
            image_size=entry["image_size"],
            dtype=dtype,
        )
        cases += _forms(first, lists)
    return cases


def _forms(first: Case, lists: dict[str, list[str]]) -> list[Case]:
    """A model in one dtype, in all that is asked for and that there is of it."""
    peers = peer_forms(first) if {"listing", "timm"} & set(lists["implementations"]) else []
    is_split = model_entry(first.model).family.startswith("splitmixer")
    mixings = [mixing for mixing in lists["mixings"] if mixing == "own" or is_split]
    forms = [
        (Form(mixing, channels_last=LAYOUTS[layout], compile=mode is not None), mode)
        for mixing in mixings
        for layout in lists["layouts"]
        for mode in (None, *lists["compile"])
    ]
    cases = []
    for implementation in lists["implementations"]:
        if implementation == "fast":
            cases.append(replace(first, implementation="fast"))
        elif implementation == "mixerlib":
            cases += [replace(first, form=form, compile_mode=m or "default") for form, m in forms]
        elif implementation in peers:
            cases.append(replace(first, implementation=implementation))
    return cases
