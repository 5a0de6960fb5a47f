"""What a training run is made of: one frozen dataclass, and its YAML files under `recipes/`.

load_recipe("digits")                            # a recipe of mixerlib
load_recipe("digits", {"epochs": 5, "seed": 1})  # the same with other values
load_recipe("my/own.yaml")                       # one of your own
"""

import difflib
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """All that decides the result of a training run, apart from the machine that it runs on.

    Raises `ValueError` naming the field, its value and the rule when a value has the wrong type or
    lies out of range. A whole number will do where a float is wanted.
    """

    dataset: str  # a name that `load_dataset` knows; it also gives the model's input and classes
    model: str  # a name that `create_model` knows
    model_options: dict[str, Any] = field(default_factory=dict)  # where they differ from the name's
    epochs: int = 100  # passes over the training images
    batch_size: int = 512  # images a step; the last step of an epoch takes what is left
    max_learning_rate: float = 0.05  # the top of the schedule, reached after 40 % of the run
    weight_decay: float = 0.005  # AdamW's: shrinks every parameter by learning rate × this a step
    clip_norm: float | None = 1.0  # a gradient longer than this is cut to it; null: never
    flip: bool = True  # mirror half of the images; wrong for digits and letters
    evaluate_every: int = 1  # epochs between two looks at the test set; after the last always
    seed: int = 0  # decides the first weights, the order of the images, the flips
    name: str = "custom"  # what records call it; a file's is its path, so YAML may not set it

    def __post_init__(self) -> None:
        for name in _FIELD_TYPES:
            _check_type(name, getattr(self, name))
        for name in ("epochs", "batch_size", "evaluate_every"):
            _check_rule(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _check_rule(
            "max_learning_rate", self.max_learning_rate, self.max_learning_rate > 0, "above 0"
        )
        _check_rule("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        if self.clip_norm is not None:
            _check_rule("clip_norm", self.clip_norm, self.clip_norm > 0, "above 0, or null")
        _check_rule("seed", self.seed, 0 <= self.seed < 2**63, "at least 0 and below 2**63")


SETTINGS = tuple(f.name for f in fields(Recipe) if f.name != "name")  # what a YAML file may hold
_FIELD_TYPES = get_type_hints(Recipe)
_TYPES: dict[
    Any, tuple[tuple[type, ...], str]
] = {  # a field's type: what its value may be, in words
    str: ((str,), "text"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    float | None: ((int, float, type(None)), "a number, or null"),
    bool: ((bool,), "true or false"),
    dict[str, Any]: ((dict,), "a table of options"),
}


def list_recipes() -> list[str]:
    """The names of mixerlib's own recipes, in alphabetical order: "cifar10/convmixer_256_8", …"""
    return sorted(
        path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml")
    )


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by its name (its path under mixerlib/recipes, without .yaml) or from a .yaml file.

    `overrides` replace the file's values; those in `model_options` are merged into the file's.
    Raises `ValueError` for an unknown name (with the nearest ones suggested), an unknown key, or a
    value of the wrong type, and `FileNotFoundError` for a .yaml file that is not there.
    """
    path, name = _find(name_or_path)
    settings = _read(path)
    for key, value in (overrides or {}).items():
        if key == "model_options":
            own = settings.get(key, {})
            _check_type(key, own)
            value = own | value
        settings[key] = value
    for key in settings:
        if key not in SETTINGS:
            near = difflib.get_close_matches(str(key), SETTINGS, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(SETTINGS)}"
            raise ValueError(f"`{key}`={settings[key]!r} is not a field of a recipe; {hint}")
    for key in ("dataset", "model"):
        if key not in settings:
            raise ValueError(f"{path}: a recipe must set `{key}`")
    return Recipe(**settings, name=name)


def parse_setting(name: str, text: str) -> Any:
    """The value that `text`, typed on a command line, means for the field `name`.

    Numbers are read as Python reads them (so 1e-2 is one), switches as true or false, and "none" or
    "null" as None where a field may be that. Raises `ValueError` when the text means no such value.
    """
    classes, _ = _TYPES[_FIELD_TYPES[name]]
    if type(None) in classes and text.lower() in ("none", "null"):
        return None
    if bool in classes and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (float, int):
        if number in classes:
            with suppress(ValueError):
                return number(text)
    _check_type(name, text)
    return text


def _find(name_or_path: str | Path) -> tuple[Path, str]:
    """The file of a recipe, and the name that records know it by."""
    if Path(name_or_path).suffix in (".yaml", ".yml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no recipe file {path}")
        return path, path.stem
    names = list_recipes()
    if name_or_path not in names:
        near = difflib.get_close_matches(str(name_or_path), names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
        raise ValueError(f"`recipe`={str(name_or_path)!r} is no recipe of mixerlib; {hint}")
    return RECIPES / f"{name_or_path}.yaml", str(name_or_path)


def _read(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file, not yet checked."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must hold lines of the form `key: value`")
    return settings


def _check_type(name: str, value: Any) -> None:
    """Raise `ValueError` unless `value` is of the field's type; True and False are not numbers."""
    classes, words = _TYPES[_FIELD_TYPES[name]]
    right = isinstance(value, classes) and (bool in classes or not isinstance(value, bool))
    if not right or (isinstance(value, float) and not math.isfinite(value)):
        hint = ""
        if float in classes and isinstance(value, str) and _is_number(value):
            hint = "; YAML reads it as text, so write it with a decimal point, such as 1.0e-2"
        raise ValueError(f"`{name}`={value!r} must be {words}{hint}")


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return math.isfinite(float(text))
    return False


def _check_rule(name: str, value: Any, kept: bool, rule: str) -> None:
    if not kept:
        raise ValueError(f"`{name}`={value!r} must be {rule}")
