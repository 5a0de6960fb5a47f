"""The registry: every model by name, with the options it has and the presets that the papers use.

>>> from mixerlib.models import list_models
>>> len(list_models("splitmixer_i_*"))
7
"""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from types import MappingProxyType
from typing import Any

from torch import nn

from mixerlib import checks
from mixerlib.checks import did_you_mean, shown
from mixerlib.models.ablation import CHOICES, AblatedSplitMixer
from mixerlib.models.convmixer import ConvMixer
from mixerlib.models.mlp_mixer import MLPMixer
from mixerlib.models.plugins import import_mixings
from mixerlib.models.relatives import FAMILIES, RELATIVES
from mixerlib.models.splitmixer import SplitMixer


@dataclass(frozen=True)
class Entry:
    """What the registry knows of a name.

    Args:
        name: as `create_model` takes it.
        model: the class that it builds.
        fixed: arguments of the class that the name settles.
        defaults: the options, and what each is if nothing is said.
        about: a line for a list of models.
        image_size: the side of the images that it is meant for, in pixels.
    """

    name: str
    model: type[nn.Module]
    fixed: MappingProxyType[str, Any]
    defaults: MappingProxyType[str, Any]
    about: str
    image_size: int

    @property
    def family(self) -> str:
        """The bare name that this is a preset of, such as "convmixer" or "mlp_mixer"."""
        if self.model is SplitMixer:
            return f"splitmixer_{self.fixed['strategy'].lower()}"
        return {
            ConvMixer: "convmixer",
            AblatedSplitMixer: "splitmixer_i_ablated",
            MLPMixer: "mlp_mixer",
            **FAMILIES,
        }[self.model]


# The two settings of the SplitMixer paper: CIFAR (32×32), and Flowers102 or Food101 (224×224).
CIFAR = {"dim": 256, "depth": 8, "kernel_size": 5, "patch_size": 2, "num_classes": 10}
LARGE = {"dim": 256, "depth": 8, "kernel_size": 7, "patch_size": 7, "num_classes": 102}
COMMON = {"in_channels": 3, "activation": "gelu"}
RATIO, SPLIT = {"ratio": "2/3"}, {"segments": 2}
SHUFFLE = SPLIT | {"shuffle": False}
# SplitMixer-I's options for the ablations, which it is not to have beside the paper
PIECES = RATIO | {"image_size": 32, "residual": "spatial", "norm": "batch", "mixes": "both"}
PIECES |= {"segments_mixed": "alternating"}

# MLP-Mixer's scales (arXiv 2105.01601, table 1): width C, layers, widths D_S and D_C of the MLPs.
S = {"dim": 512, "depth": 8, "tokens_dim": 256, "channels_dim": 2048}
B = {"dim": 768, "depth": 12, "tokens_dim": 384, "channels_dim": 3072}
L = {"dim": 1024, "depth": 24, "tokens_dim": 512, "channels_dim": 4096}
H = {"dim": 1280, "depth": 32, "tokens_dim": 640, "channels_dim": 5120}
ON_32 = {"image_size": 32, "patch_size": 4, "num_classes": 10}
ON_224 = {"image_size": 224, "patch_size": 16, "num_classes": 1000}

# What timm and others call an option → what it is called here, for the refusal's hint
OTHERS_WORDS = {
    "in_chans": "in_channels",
    "act_layer": "activation",
    "img_size": "image_size",
    "n_classes": "num_classes",
}


def of(strategy: str) -> dict[str, Any]:
    return {"strategy": strategy}


# ConvMixer's scales for ImageNet, which SplitMixer's slides take over; the second is with ReLU
X1536 = {"num_classes": 1000, "dim": 1536, "depth": 20, "kernel_size": 9, "patch_size": 7}
X768: dict[str, Any] = {"num_classes": 1000, "dim": 768, "depth": 32, "activation": "relu"}
X768 |= {"kernel_size": 7, "patch_size": 7}
X1024 = {"num_classes": 1000, "dim": 1024, "depth": 20, "kernel_size": 9, "patch_size": 14}
BARE = "; defaults are 256/8 for 32×32 images"
AT_32, AT_224 = " 256/8 for CIFAR", " 256/8 for 224×224 images (Flowers102, Food101)"

# name, class, what the name fixes, the options' defaults, what it is
# fmt: off
TABLE: tuple[tuple[str, type[nn.Module], dict[str, Any], dict[str, Any], str], ...] = (
    ("convmixer", ConvMixer, {}, CIFAR, "ConvMixer" + BARE),
    ("convmixer_256_8", ConvMixer, {}, CIFAR,
     "ConvMixer-256/8 for CIFAR, as the SplitMixer paper trains it"),
    ("convmixer_256_8_224", ConvMixer, {}, LARGE, "ConvMixer-256/8 for 224×224 images"),
    ("convmixer_768_32", ConvMixer, {}, X768, "ConvMixer for ImageNet (ReLU)"),
    ("convmixer_1024_20", ConvMixer, {}, X1024, "ConvMixer for ImageNet (patch 14)"),
    ("convmixer_1536_20", ConvMixer, {}, X1536, "ConvMixer for ImageNet (the largest)"),
    ("splitmixer_i", SplitMixer, of("I"), CIFAR | RATIO, "SplitMixer-I" + BARE),
    ("splitmixer_i_256_8", SplitMixer, of("I"), CIFAR | RATIO, "SplitMixer-I" + AT_32),
    ("splitmixer_i_256_8_224", SplitMixer, of("I"), LARGE | RATIO, "SplitMixer-I" + AT_224),
    ("splitmixer_i_768_32", SplitMixer, of("I"), X768 | RATIO,
     "SplitMixer-I for ImageNet (ReLU)"),
    ("splitmixer_i_1024_20", SplitMixer, of("I"), X1024 | RATIO,
     "SplitMixer-I for ImageNet (patch 14)"),
    ("splitmixer_i_1536_20", SplitMixer, of("I"), X1536 | RATIO,
     "SplitMixer-I for ImageNet (the largest)"),
    ("splitmixer_ii", SplitMixer, of("II"), CIFAR | SHUFFLE, "SplitMixer-II" + BARE),
    ("splitmixer_ii_256_8", SplitMixer, of("II"), CIFAR | SHUFFLE, "SplitMixer-II" + AT_32),
    ("splitmixer_ii_256_8_224", SplitMixer, of("II"), LARGE | SHUFFLE, "SplitMixer-II" + AT_224),
    ("splitmixer_iii", SplitMixer, of("III"), CIFAR | SHUFFLE, "SplitMixer-III" + BARE),
    ("splitmixer_iii_256_8", SplitMixer, of("III"), CIFAR | SHUFFLE, "SplitMixer-III" + AT_32),
    ("splitmixer_iii_256_8_224", SplitMixer, of("III"), LARGE | SHUFFLE, "SplitMixer-III" + AT_224),
    ("splitmixer_iv", SplitMixer, of("IV"), CIFAR | SHUFFLE, "SplitMixer-IV" + BARE),
    ("splitmixer_iv_256_8", SplitMixer, of("IV"), CIFAR | SHUFFLE, "SplitMixer-IV" + AT_32),
    ("splitmixer_iv_256_8_224", SplitMixer, of("IV"), LARGE | SHUFFLE, "SplitMixer-IV" + AT_224),
    ("splitmixer_v", SplitMixer, of("V"), CIFAR | RATIO, "SplitMixer-V" + BARE),
    ("splitmixer_v_256_8", SplitMixer, of("V"), CIFAR | RATIO, "SplitMixer-V" + AT_32),
    ("splitmixer_v_256_8_224", SplitMixer, of("V"), LARGE | RATIO, "SplitMixer-V" + AT_224),
    ("splitmixer_3d", SplitMixer, of("3D"), CIFAR | SPLIT, "SplitMixer, 3-D form" + BARE),
    ("splitmixer_3d_256_8", SplitMixer, of("3D"), CIFAR | SPLIT, "SplitMixer, 3-D form" + AT_32),
    ("splitmixer_3d_256_8_224", SplitMixer, of("3D"), LARGE | SPLIT,
     "SplitMixer, 3-D form" + AT_224),
    ("splitmixer_i_ablated", AblatedSplitMixer, {}, CIFAR | PIECES,
     "SplitMixer-I with pieces taken out" + BARE),
    ("splitmixer_i_ablated_256_8", AblatedSplitMixer, {}, CIFAR | PIECES,
     "SplitMixer-I with pieces taken out" + AT_32),
    ("mlp_mixer", MLPMixer, {}, S | ON_32, "MLP-Mixer; defaults are S/4 for 32×32 images"),
    ("mixer_s4", MLPMixer, {}, S | ON_32, "Mixer-S/4 for 32×32 images"),
    ("mixer_s32", MLPMixer, {}, S | ON_224 | {"patch_size": 32}, "Mixer-S/32 for ImageNet"),
    ("mixer_s16", MLPMixer, {}, S | ON_224 | {"patch_size": 16}, "Mixer-S/16 for ImageNet"),
    ("mixer_s8", MLPMixer, {}, S | ON_224 | {"patch_size": 8}, "Mixer-S/8 for ImageNet"),
    ("mixer_b32", MLPMixer, {}, B | ON_224 | {"patch_size": 32}, "Mixer-B/32 for ImageNet"),
    ("mixer_b16", MLPMixer, {}, B | ON_224 | {"patch_size": 16}, "Mixer-B/16 for ImageNet"),
    ("mixer_l16", MLPMixer, {}, L | ON_224 | {"patch_size": 16}, "Mixer-L/16 for ImageNet"),
    ("mixer_h14", MLPMixer, {}, H | ON_224 | {"patch_size": 14}, "Mixer-H/14 for ImageNet"),
)
# fmt: on


def _entry(
    name: str,
    model: type[nn.Module],
    fixed: dict[str, Any],
    defaults: dict[str, Any],
    about: str,
) -> Entry:
    options: MappingProxyType[str, Any] = MappingProxyType(COMMON | defaults)
    side = options.get("image_size", 32 if options["num_classes"] == 10 else 224)
    return Entry(name, model, MappingProxyType(fixed), options, about, side)


_registry = {row[0]: _entry(*row) for row in TABLE}
# Kept apart, so that what goes through all mixers does not meet them
_relatives = {
    name: _entry(name, model, {}, defaults, about)
    for model, presets in RELATIVES.items()
    for name, (defaults, about) in presets.items()
}


def add_family(strategy: str, option: str, shuffles: bool, about: str) -> str:
    """Enter a SplitMixer with a registered strategy; return the name that it goes by."""
    name = f"splitmixer_{strategy.lower()}"
    split = RATIO if option == "ratio" else SHUFFLE if shuffles else SPLIT
    _registry[name] = _entry(name, SplitMixer, of(strategy), CIFAR | split, about)
    return name


def remove_family(strategy: str) -> None:
    """Take back what `add_family` has entered."""
    _registry.pop(f"splitmixer_{strategy.lower()}", None)


def list_models(pattern: str = "*") -> list[str]:
    """The names of mixers that `create_model` knows, in alphabetical order: all, or those that a
    pattern with shell wildcards fits. Those of installed packages that bring mixings are among
    them.

    >>> from mixerlib.models import list_models
    >>> list_models("convmixer_256*")
    ['convmixer_256_8', 'convmixer_256_8_224']
    """
    import_mixings()
    return sorted(fnmatch.filter(_registry, pattern))


def list_relatives(pattern: str = "*") -> list[str]:
    """The names of the networks that mixers are compared with, as `list_models` gives the mixers'.

    >>> from mixerlib.models import create_model, list_relatives
    >>> list_relatives("resmlp*")
    ['resmlp', 'resmlp_b24_8', 'resmlp_s12', 'resmlp_s24', 'resmlp_s36']
    >>> sum(p.numel() for p in create_model("resnet20").parameters())
    269722
    """
    return sorted(fnmatch.filter(_relatives, pattern))


def model_entry(name: str, argument: str = "name") -> Entry:
    """The registry's entry of a name; `ValueError` for an unknown one, naming the nearest.

    `argument` is what the name was given as, for the error.

    >>> from mixerlib.models import model_entry
    >>> entry = model_entry("splitmixer_iv_256_8")
    >>> entry.family, entry.defaults["segments"], entry.image_size
    ('splitmixer_iv', 2, 32)
    """
    if isinstance(name, str) and name not in _registry and name not in _relatives:
        import_mixings()
    known = _registry | _relatives
    if not isinstance(name, str) or name not in known:
        plain = name.lower().replace("-", "_") if isinstance(name, str) else ""
        hint = did_you_mean(plain, known, "`mixerlib list` prints every name")
        raise ValueError(f"`{argument}`={shown(name)} is no model of mixerlib; {hint}")
    return known[name]


def create_model(name: str, **options: Any) -> nn.Module:
    """A model by its name, with fresh random weights, in training mode.

    Every option overrides the name's default. There are `dim`, `depth`, `kernel_size`,
    `patch_size`, `num_classes`, `in_channels` and `activation`; SplitMixer I and V also have
    `ratio`, II, III, IV and 3D `segments`, the first three of these also `shuffle`. The ablations
    of SplitMixer-I have `ratio`, `residual`, `norm`, `mixes`, `segments_mixed` and `image_size`.
    MLP-Mixer has `image_size`, `tokens_dim` and `channels_dim`, and no `kernel_size`. A relative
    has what its class lists.

    Raises `ValueError` for an unknown name, an option that the model does not have, or a bad value.
    Numbers have a top, which no real network reaches: `dim` 2²⁰, `depth` 2¹⁰, and the other ones in
    `mixerlib.checks.TOPS`.

    >>> import torch
    >>> from mixerlib.models import create_model
    >>> model = create_model("splitmixer_i", dim=64, depth=4, ratio="3/5")
    >>> images = torch.randn(8, 3, 32, 32)
    >>> model(images).shape, model.forward_features(images).shape
    (torch.Size([8, 10]), torch.Size([8, 64, 16, 16]))
    >>> create_model("splitmixer_i", segments=2)
    Traceback (most recent call last):
    ValueError: `segments`=2 is not an option of 'splitmixer_i'; it has activation, depth, ...
    """
    entry = model_entry(name)
    check_options(name, options)
    model = entry.model(**entry.fixed, **(entry.defaults | options))
    remember(model, name, options)
    return model


def remember(model: nn.Module, name: str, options: Mapping[str, Any]) -> None:
    """Note in a model what it was made of, for `made_of`."""
    given = {
        k: int(v) if type(v) is not bool and isinstance(v, Integral) else v  # NumPy's too
        for k, v in options.items()
    }
    model._made_of = (name, dict(model_entry(name).defaults | given))


def made_of(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """The name and all the options by which `create_model` makes another of the same shapes.

    `num_classes` is that of the head which the model has now. Raises `ValueError` for a model that
    `create_model` has not made.

    >>> from mixerlib.models import create_model, made_of
    >>> model = create_model("splitmixer_i", dim=64, depth=4)
    >>> model.reset_classifier(100)
    >>> name, options = made_of(model)
    >>> name, options["ratio"], options["num_classes"]
    ('splitmixer_i', '2/3', 100)
    """
    if not hasattr(model, "_made_of"):
        kind = type(model).__name__
        raise ValueError(f"`model`, a {kind}, must be one that `create_model` has made")
    name, options = model._made_of
    return name, options | {"num_classes": model.num_classes}


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Whether a model has these options, and each of them by itself is of the right form.

    Which ones fit together, such as `segments` and `dim`, only the model knows. Raises `ValueError`
    naming the option.

    >>> from mixerlib.models import check_options
    >>> check_options("splitmixer_ii", {"segments": 0})
    Traceback (most recent call last):
    ValueError: `segments`=0 must be a positive whole number
    """
    known = model_entry(name).defaults
    for option, value in options.items():
        if option not in known:
            hint = did_you_mean(OTHERS_WORDS.get(option, option), sorted(known), otherwise="")
            has = f"{hint} It has" if hint else "it has"
            raise ValueError(
                f"`{shown(option)[1:-1]}`={shown(value)} is not an option of {name!r}; "
                f"{has} {', '.join(sorted(known))}"
            )
        if value is None and (option in ("ratio", "segments") or known[option] is None):
            continue  # it stands for the model's own
        if option == "ratio":
            checks.ratio(value)
        elif option == "stages":
            checks.stages(value)
        elif option == "image_size":
            checks.image_pair(option, value)
        elif option == "num_classes":
            checks.count(option, value)
        elif isinstance(known[option], bool):
            checks.switch(option, value)
        elif isinstance(known[option], int):
            checks.positive_int(option, value)
        elif option == "activation":
            checks.activation(value)
        elif option in CHOICES:
            checks.one_of(option, value, CHOICES[option])
