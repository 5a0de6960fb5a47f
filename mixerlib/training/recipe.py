"""What a training run is made of: one frozen dataclass, and its YAML files under `recipes/`.

load_recipe("digits")                            # a recipe of mixerlib
load_recipe("digits", {"epochs": 5, "seed": 1})  # the same with other values
load_recipe("my/own.yaml")                       # one of your own

A file may start from another with `base: cifar10/convmixer_256_8`, and then holds what differs.
Chapter 13 takes the fields one by one.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from mixerlib.checks import did_you_mean
from mixerlib.files import read_yaml

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """All that decides the result of a training run, apart from the machine that it runs on.

    Raises `ValueError` naming the field, its value and the rule when a value has the wrong type,
    lies out of range, or would have no effect beside the others: a field that another one switches
    off must be null. A whole number will do where a float is wanted.
    """

    # the data and the model
    dataset: str  # a name that `load_dataset` knows; it also gives the model's input and classes
    model: str  # a name that `create_model` knows
    model_options: dict[str, Any] = field(default_factory=dict)  # where they differ from the name's
    weights: str | None = None  # a checkpoint to start from (its head may differ); null: at random
    frozen: bool = False  # train the head alone; the body stays as `weights` has it

    # the images, before they are augmented
    image_size: int | None = None  # side in pixels to which images are resized; null: as they are
    interpolation: str | None = None  # "bilinear" or "bicubic", for that resizing
    eval_crop: float | None = None  # test images: resize to side / this, keep the centre (files)
    normalisation: str = "dataset"  # channels by the "dataset"'s mean and deviation, or "half": 0.5

    # augmentation, drawn for each image anew (chapter 12)
    crop: str = "none"  # "pad" then cut, or "resized": a part of the image, brought back to size
    crop_padding: int | None = None  # pixels on each side, for "pad"
    crop_area: float | None = None  # the smallest share of the area that "resized" keeps
    flip: str = "none"  # "random": mirror half of them; "alternating": each in every other epoch
    policy: str = "none"  # "randaugment", "trivialaugment" or "timm_randaugment"
    policy_operations: int | None = None  # n, operations an image, of the two randaugments
    policy_magnitude: float | None = None  # m, their strength: of 31 levels, or of timm's 10
    policy_magnitude_std: float | None = None  # timm_randaugment: m is drawn with this deviation
    jitter: float = 0.0  # brightness, contrast and saturation change by up to this share
    erase: float = 0.0  # probability that a rectangle is erased
    erase_fill: str | None = None  # with the "mean" colour, or with "noise" for each pixel
    mixup: float = 0.0  # alpha of Beta(alpha, alpha), whose draw weighs two blended images; 0: off
    cutmix: float = 0.0  # the same for a pasted rectangle; with both, each batch takes one
    label_smoothing: float = 0.0  # share of the target that goes to all classes alike

    # the steps
    epochs: int = 100  # passes over the training images
    batch_size: int = 512  # images a step, over all processes; an epoch's last step takes the rest
    accumulate: int = 1  # parts that a batch is worked through in, to save memory
    schedule: str = "piecewise"  # of the learning rate: "piecewise", "onecycle" or "cosine"
    max_learning_rate: float = 0.05  # the top of the schedule
    warmup_epochs: float | None = None  # "cosine": epochs of linear rise before the fall
    weight_decay: float = 0.005  # AdamW's: shrinks parameters by learning rate × this a step
    decay: str = "all"  # what is shrunk: "all" parameters, or "matrices": no biases, no norms
    adam_epsilon: float = 1e-8  # added to the root of Adam's second moment
    clip_norm: float | None = 1.0  # a gradient longer than this is cut to it; null: never
    ema: float | None = None  # judge the moving average of the weights with this decay; null: none

    # how it is computed
    precision: str = "float32"  # or "bfloat16" or "float16", by autocast
    one_matrix: bool = False  # mix a SplitMixer's segments as one whole matrix (chapter 19)
    channels_last: bool = False  # memory format of images and weights: a pixel's channels adjoin
    compile: bool = False  # by torch.compile
    fastest: bool = False  # time the forms of a step first, and take the fastest of these three

    evaluate_every: int = 1  # epochs between two looks at the test set; after the last always
    seed: int = 0  # decides the first weights, the order of the images, their augmentation
    name: str = "custom"  # what records call it; a file's is its path, so YAML may not set it

    def __post_init__(self) -> None:
        for name in _FIELD_TYPES:
            _check_type(name, getattr(self, name))
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            words = " or ".join(repr(choice) for choice in choices)
            _check_rule(name, value, value is None or value in choices, words)
        for name, (kept, words) in _RANGES.items():
            value = getattr(self, name)
            _check_rule(name, value, value is None or kept(value), words)
        _check_rule(
            "accumulate",
            self.accumulate,
            self.accumulate <= self.batch_size,
            f"at most `batch_size`={self.batch_size}",
        )
        _check_rule(
            "warmup_epochs",
            self.warmup_epochs,
            self.warmup_epochs is None or self.warmup_epochs < self.epochs,
            f"below `epochs`={self.epochs}",
        )
        for name, (master, uses) in _USED_WITH.items():
            self._check_use(name, master, uses)

    def _check_use(self, name: str, master: str, uses: tuple[Any, ...]) -> None:
        """Raise `ValueError` for a field that the value of `master` switches off, or asks for."""
        value, ruler = getattr(self, name), getattr(self, master)
        used = ruler in uses if uses else bool(ruler)
        if value is not None and value is not False and not used:
            off = "false" if value is True else "null (none on the command line)"
            raise ValueError(
                f"`{name}`={value!r} has no effect with `{master}`={ruler!r}; set it to {off}"
            )
        if value is None and used and name not in _MAY_STAY_NULL:
            raise ValueError(f"`{master}`={ruler!r} needs `{name}`, which is not set")


FORM = ("one_matrix", "channels_last", "compile", "fastest")  # how, not what, a step computes
LATER = {"one_matrix": False, "fastest": False}  # fields that older records and checkpoints lack
SETTINGS = tuple(f.name for f in fields(Recipe) if f.name != "name")  # what a YAML file may hold
CHOICES = {
    "interpolation": ("bilinear", "bicubic"),
    "normalisation": ("dataset", "half"),
    "crop": ("none", "pad", "resized"),
    "flip": ("none", "random", "alternating"),
    "policy": ("none", "randaugment", "trivialaugment", "timm_randaugment"),
    "erase_fill": ("mean", "noise"),
    "schedule": ("piecewise", "onecycle", "cosine"),
    "decay": ("all", "matrices"),
    "precision": ("float32", "bfloat16", "float16"),
}
_POSITIVE = (lambda value: value > 0, "above 0")
_COUNT = (lambda value: value >= 1, "at least 1")
_NOT_NEGATIVE = (lambda value: value >= 0, "at least 0")
_SHARE = (lambda value: 0 <= value <= 1, "between 0 and 1")
_POSITIVE_SHARE = (lambda value: 0 < value <= 1, "above 0 and at most 1")
_RANGES = {
    "image_size": _COUNT,
    "eval_crop": _POSITIVE_SHARE,
    "crop_padding": _COUNT,
    "crop_area": _POSITIVE_SHARE,
    "policy_operations": _COUNT,
    "policy_magnitude": _NOT_NEGATIVE,
    "policy_magnitude_std": _NOT_NEGATIVE,
    "jitter": _SHARE,
    "erase": _SHARE,
    "mixup": _NOT_NEGATIVE,
    "cutmix": _NOT_NEGATIVE,
    "label_smoothing": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
    "epochs": _COUNT,
    "batch_size": _COUNT,
    "accumulate": _COUNT,
    "max_learning_rate": _POSITIVE,
    "warmup_epochs": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "adam_epsilon": _POSITIVE,
    "clip_norm": (_POSITIVE[0], "above 0, or null"),
    "ema": (lambda value: 0 < value < 1, "above 0 and below 1, or null"),
    "evaluate_every": _COUNT,
    "seed": (lambda value: 0 <= value < 2**63, "at least 0 and below 2**63"),
}
# A field → the one that decides whether it has an effect, and with which of its values; () stands
# for any that is neither null nor 0.
_USED_WITH: dict[str, tuple[str, tuple[Any, ...]]] = {
    "frozen": ("weights", ()),
    "interpolation": ("image_size", ()),
    "eval_crop": ("image_size", ()),
    "crop_padding": ("crop", ("pad",)),
    "crop_area": ("crop", ("resized",)),
    "policy_operations": ("policy", ("randaugment", "timm_randaugment")),
    "policy_magnitude": ("policy", ("randaugment", "timm_randaugment")),
    "policy_magnitude_std": ("policy", ("timm_randaugment",)),
    "erase_fill": ("erase", ()),
    "warmup_epochs": ("schedule", ("cosine",)),
    "one_matrix": ("fastest", (False,)),
    "channels_last": ("fastest", (False,)),
    "compile": ("fastest", (False,)),
}
_MAY_STAY_NULL = ("eval_crop",)
_FIELD_TYPES = get_type_hints(Recipe)
_TYPES: dict[
    Any, tuple[tuple[type, ...], str]
] = {  # a field's type: what its value may be, in words
    str: ((str,), "text"),
    str | None: ((str, type(None)), "text, or null"),
    int: ((int,), "a whole number"),
    int | None: ((int, type(None)), "a whole number, or null"),
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

    `overrides` replace the file's values; those in `model_options` are merged into the file's. A
    file's values replace those of its `base` in the same way.
    Raises `ValueError` for an unknown name (with the nearest ones suggested), an unknown key, or a
    value of the wrong type, and `FileNotFoundError` for a .yaml file that is not there.
    """
    path, name = _find(name_or_path)
    settings = _merge(_read(path), overrides or {})
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


def _find(name_or_path: str | Path, argument: str = "recipe") -> tuple[Path, str]:
    """The file of a recipe, and the name that records know it by; `argument` is for the error."""
    if Path(name_or_path).suffix in (".yaml", ".yml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no recipe file {path}")
        return path, path.stem
    names = list_recipes()
    if name_or_path not in names:
        hint = did_you_mean(str(name_or_path), names, "`mixerlib train --help` lists them all")
        raise ValueError(f"`{argument}`={str(name_or_path)!r} is no recipe of mixerlib; {hint}")
    return RECIPES / f"{name_or_path}.yaml", str(name_or_path)


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The fields that a YAML file and its bases set; `above` are the files that it is a base of."""
    settings = read_yaml(path)
    base = settings.pop("base", None)
    if base is None:
        return _merge({}, settings)
    if not isinstance(base, str):
        raise ValueError(f"{path}: `base`={base!r} must be the name of a recipe, or a .yaml file")
    is_file = Path(base).suffix in (".yaml", ".yml")  # beside this one
    below, _ = _find(path.parent / base if is_file else base, "base")
    above = (*above, path.resolve())
    if below.resolve() in above:
        raise ValueError(f"{path}: `base`={base!r} must not lead back to this file")
    return _merge(_read(below, above), settings)


def _merge(settings: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with `changes`, whose keys must be fields; tables of options are merged."""
    for key, value in changes.items():
        if key not in SETTINGS:
            hint = did_you_mean(str(key), SETTINGS, f"there are {', '.join(SETTINGS)}")
            raise ValueError(f"`{key}`={value!r} is not a field of a recipe; {hint}")
    merged = settings | dict(changes)
    if "model_options" in settings and "model_options" in changes:
        for options in (settings["model_options"], changes["model_options"]):
            _check_type("model_options", options)
        merged["model_options"] = settings["model_options"] | changes["model_options"]
    return merged


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
