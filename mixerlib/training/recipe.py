"""What a training run is made of: one frozen dataclass; `recipe_files` reads it from YAML.

Chapters 13 and 13b take the fields one by one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from mixerlib import checks
from mixerlib.checks import shown
from mixerlib.data import INTERPOLATIONS, NORMALIZATIONS, Augmentation, augment
from mixerlib.models import check_options, model_entry


@dataclass(frozen=True)
class Recipe:
    """All that decides the result of a training run, apart from the machine that it runs on.

    Args:
        dataset: a name that `load_dataset` knows; it also gives the model's input and classes.
        model: a name that `create_model` knows.
        model_options: options of the model that differ from the name's.
        weights: a checkpoint to start from (its head may differ), or the name of published weights;
            null: at random.
        frozen: whether the head alone is trained; the body stays as `weights` has it.
        image_size: side in pixels to which images are resized; null: as they are.
        interpolation: "bilinear" or "bicubic", for that resizing.
        crop_pct: test images are resized to side / this, and the centre is kept (files).
        normalization: of each channel, with mean and deviation of the "dataset", with 0.5 ("half"),
            or with none ("unit").
        held_out: training images set aside, which stand in the test images' place; 0: none. For
            choosing between recipes without a look at the test images.
        crop: "none", "pad" then cut, or "resized": a part of the image, brought back to size.
        crop_padding: pixels on each side, for "pad".
        crop_area: the smallest share of the area that "resized" keeps.
        flip: "none"; "random": mirror half of them; "alternating": each in every other epoch.
        policy: "none", "randaugment", "trivialaugment" or "timm_randaugment".
        policy_operations: n, operations an image, of the two randaugments.
        policy_magnitude: m, their strength: of 31 levels, or of timm's 10.
        policy_magnitude_std: with "timm_randaugment", m is drawn with this deviation.
        jitter: brightness, contrast and saturation change by up to this share.
        erase: probability that a rectangle is erased.
        erase_fill: what it is filled with: the "mean" colour, or "noise" for each pixel.
        mixup: alpha of Beta(alpha, alpha), whose draw weighs two blended images; 0: off.
        cutmix: the same for a pasted rectangle; with both, each batch takes one.
        early_size: side in pixels to which augmented images are shrunk at first; null: never. A
            compiled step is compiled for each of the two sizes.
        early_epochs: the epochs from the first on that see them so.
        label_smoothing: share of the target that goes to all classes alike.
        epochs: passes over the training images.
        batch_size: images a step, over all processes; an epoch's last step takes the rest.
        accumulate: parts that a batch is worked through in, to save memory.
        optimizer: "adamw"; or "muon", for the matrices that mix, with AdamW for the rest.
        schedule: of the learning rate: "piecewise", "onecycle" or "cosine".
        max_learning_rate: the top of the schedule.
        warmup_epochs: with "cosine", epochs of linear rise before the fall.
        weight_decay: the optimizer's, which shrinks parameters by learning rate × this a step.
        decay_on: what shrinks: "all" parameters, or "matrices": no biases, no norms.
        adam_epsilon: added to the root of Adam's second moment.
        clip_norm: a gradient longer than this is cut to it; null: never.
        ema: decay of a moving average of the weights, which is then evaluated; null: none.
        precision: "float32", or by autocast "bfloat16" or "float16".
        one_matrix: whether a SplitMixer's segments are mixed as one whole matrix.
        shifted: whether depthwise convolutions are sums of shifted maps, which the compiler fuses.
        channels_last: whether a pixel's channels adjoin in memory, in images and weights.
        compile: whether torch.compile writes the code of a step.
        by_block: whether it is called for each block alone, which takes a fraction of the time.
        graphs: whether a GPU replays a compiled step as CUDA graphs, in place of launching kernels.
        fastest: whether the forms of a step are timed first, to take the fastest.
        evaluate_every: epochs between two looks at the test set; after the last always.
        seed: decides the first weights, the order of the images, their augmentation.
        name: what records call it; a file's is its path, so YAML does not set it.

    Raises `ValueError` naming the field, its value and the rule when a value has the wrong type,
    lies out of range, or would have no effect beside the others: a field that another one switches
    off must be null. A whole number will do where a float is wanted.
    """

    # the data and the model
    dataset: str
    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    frozen: bool = False

    # the images, before they are augmented
    image_size: int | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    normalization: str = "dataset"
    held_out: int = 0

    # augmentation, drawn for each image anew (chapter 12)
    crop: str = "none"
    crop_padding: int | None = None
    crop_area: float | None = None
    flip: str = "none"
    policy: str = "none"
    policy_operations: int | None = None
    policy_magnitude: float | None = None
    policy_magnitude_std: float | None = None
    jitter: float = 0.0
    erase: float = 0.0
    erase_fill: str | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    early_size: int | None = None
    early_epochs: int | None = None
    label_smoothing: float = 0.0

    # the steps
    epochs: int = 100
    batch_size: int = 512
    accumulate: int = 1
    optimizer: str = "adamw"
    schedule: str = "piecewise"
    max_learning_rate: float = 0.05
    warmup_epochs: float | None = None
    weight_decay: float = 0.005
    decay_on: str = "all"
    adam_epsilon: float = 1e-8
    clip_norm: float | None = 1.0
    ema: float | None = None

    # how it is computed
    precision: str = "float32"
    one_matrix: bool = False
    shifted: bool = False
    channels_last: bool = False
    compile: bool = False
    by_block: bool = False
    graphs: bool = False
    fastest: bool = False

    evaluate_every: int = 1
    seed: int = 0
    name: str = "custom"

    def __post_init__(self) -> None:
        checks.settings(self, CHOICES, _RULES, _USED_WITH, may_stay_null=("crop_pct",))
        model_entry(self.model, "model")
        given = self.model_options.items()  # numpy's numbers become Python's, which JSON can hold
        options = {k: v.item() if isinstance(v, np.generic) else v for k, v in given}
        object.__setattr__(self, "model_options", options)
        check_options(self.model, options)
        _ = self.augmentation  # which has rules of its own
        if self.frozen:
            adamw = checks.Rule(lambda name: name == "adamw", "'adamw' with `frozen`=True")
            checks.follows("optimizer", self.optimizer, adamw)
        top = checks.Rule(lambda n: n <= self.batch_size, f"at most `batch_size`={self.batch_size}")
        checks.follows("accumulate", self.accumulate, top)
        if self.graphs:  # a graph writes its gradients where it wrote the last part's
            one = checks.Rule(lambda n: n == 1, "1 with `graphs`=True")
            checks.follows("accumulate", self.accumulate, one)
        below = checks.Rule(lambda n: n < self.epochs, f"below `epochs`={self.epochs}")
        for name in ("warmup_epochs", "early_epochs"):
            if (epochs := getattr(self, name)) is not None:
                checks.follows(name, epochs, below)

    @property
    def augmentation(self) -> Augmentation:
        """What is done to training images; the rules of its fields are `Augmentation`'s."""
        return Augmentation(**{name: getattr(self, name) for name in AUGMENTATION_FIELDS})

    @classmethod
    def from_settings(
        cls, settings: Mapping[str, Any], name: str = "custom", file: str | Path = "settings"
    ) -> "Recipe":
        """The recipe in a record's or a checkpoint's settings, also in one of an older version.

        Raises `ValueError`, naming the `file` that they come from and the key, for settings that a
        newer version has written, lack a key, or break a rule.
        """
        values = {"name": name} | current_settings(settings)
        for key, value in values.items():
            if key not in FIELD_TYPES:
                raise ValueError(
                    f"{file}: `{shown(key)[1:-1]}`={shown(value)} is no setting that this version "
                    f"of mixerlib knows; a newer one may have written it"
                )
        for key in SETTINGS:
            if key not in values:
                raise ValueError(f"{file}: the setting `{key}` is missing")
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None


AUGMENTATION_FIELDS = tuple(f.name for f in fields(Augmentation))
# How a step is computed, not what
FORM_FIELDS = ("one_matrix", "shifted", "channels_last", "compile", "by_block", "graphs", "fastest")
SETTINGS = tuple(f.name for f in fields(Recipe) if f.name != "name")  # what a YAML file may hold
# Records and checkpoints of older versions have other names for some fields, and lack some.
FORMER_NAMES = {"decay": "decay_on", "eval_crop": "crop_pct", "normalisation": "normalization"}
LATER_FIELDS: dict[str, Any] = {"held_out": 0, "optimizer": "adamw"} | {
    **dict.fromkeys(("early_size", "early_epochs")),
    **dict.fromkeys(("one_matrix", "shifted", "by_block", "graphs", "fastest"), False),
}
CHOICES = augment.CHOICES | {
    "interpolation": INTERPOLATIONS,
    "normalization": NORMALIZATIONS,
    "optimizer": ("adamw", "muon"),
    "schedule": ("piecewise", "onecycle", "cosine"),
    "decay_on": ("all", "matrices"),
    "precision": ("float32", "bfloat16", "float16"),
}
_RULES = {
    "weights": checks.Rule(lambda name: name.strip(), "a file or a name, or null"),
    "image_size": checks.COUNT,
    "early_size": checks.COUNT,
    "early_epochs": checks.COUNT,
    "held_out": checks.NOT_NEGATIVE,
    "crop_pct": checks.POSITIVE_SHARE,
    "label_smoothing": checks.Rule(lambda value: 0 <= value < 1, "at least 0 and below 1"),
    "epochs": checks.COUNT,
    "batch_size": checks.COUNT,
    "accumulate": checks.COUNT,
    "max_learning_rate": checks.POSITIVE,
    "warmup_epochs": checks.NOT_NEGATIVE,
    "weight_decay": checks.NOT_NEGATIVE,
    "adam_epsilon": checks.POSITIVE,
    "clip_norm": checks.Rule(checks.POSITIVE.kept, "above 0, or null"),
    "ema": checks.Rule(lambda value: 0 < value < 1, "above 0 and below 1, or null"),
    "evaluate_every": checks.COUNT,
    "seed": checks.Rule(lambda value: 0 <= value < 2**63, "at least 0 and below 2**63"),
}
# A field → the one that decides whether it has an effect, and with which of its values
_USED_WITH: dict[str, tuple[str, tuple[Any, ...]]] = {
    "frozen": ("weights", ()),
    "interpolation": ("image_size", ()),
    "crop_pct": ("image_size", ()),
    "early_epochs": ("early_size", ()),
    "warmup_epochs": ("schedule", ("cosine",)),
    "one_matrix": ("fastest", (False,)),
    "channels_last": ("fastest", (False,)),
    "compile": ("fastest", (False,)),
    "shifted": ("compile", (True,)),
    "by_block": ("compile", (True,)),
    "graphs": ("compile", (True,)),
}
FIELD_TYPES = get_type_hints(Recipe)


def current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A record's or a checkpoint's settings under today's names, with the fields that it lacks."""
    renamed = {FORMER_NAMES.get(name, name): value for name, value in settings.items()}
    return LATER_FIELDS | renamed
