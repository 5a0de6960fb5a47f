"""The registry: every model by name, with the options it has and the presets that the papers use.

create_model("splitmixer_i_256_8")                          # as published for CIFAR-10
create_model("splitmixer_iv", dim=64, depth=4, segments=3)  # your own
"""

import fnmatch
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from mixerlib.checks import did_you_mean
from mixerlib.models.ablation import AblatedSplitMixer
from mixerlib.models.convmixer import ConvMixer
from mixerlib.models.mlp_mixer import MLPMixer
from mixerlib.models.splitmixer import OVERLAPPING, SHUFFLING, STRATEGIES, SplitMixer


@dataclass(frozen=True)
class Entry:
    """A registered name: the class it builds, what the name fixes, and its options' defaults."""

    name: str
    model: type[nn.Module]
    fixed: MappingProxyType[str, Any]
    defaults: MappingProxyType[str, Any]
    about: str
    image_size: int  # the side of the images that it is meant for, in pixels

    @property
    def family(self) -> str:
        """The bare name that this is a preset of, such as "convmixer" or "mlp_mixer"."""
        if self.model is SplitMixer:
            return f"splitmixer_{self.fixed['strategy'].lower()}"
        return {
            ConvMixer: "convmixer",
            AblatedSplitMixer: "splitmixer_i_ablated",
            MLPMixer: "mlp_mixer",
        }[self.model]


# The two settings of the SplitMixer paper: CIFAR (32×32), and Flowers102 or Food101 (224×224).
CIFAR = {"dim": 256, "depth": 8, "kernel_size": 5, "patch_size": 2, "num_classes": 10}
LARGE = {"dim": 256, "depth": 8, "kernel_size": 7, "patch_size": 7, "num_classes": 102}
COMMON = {"in_channels": 3, "activation": "gelu"}

# MLP-Mixer's scales (arXiv 2105.01601, table 1): width C, layers, widths D_S and D_C of the MLPs.
SCALES = {
    "s": {"dim": 512, "depth": 8, "tokens_dim": 256, "channels_dim": 2048},
    "b": {"dim": 768, "depth": 12, "tokens_dim": 384, "channels_dim": 3072},
    "l": {"dim": 1024, "depth": 24, "tokens_dim": 512, "channels_dim": 4096},
    "h": {"dim": 1280, "depth": 32, "tokens_dim": 640, "channels_dim": 5120},
}

# What timm and others call an option → what it is called here, for the refusal's hint
OTHERS_WORDS = {
    "in_chans": "in_channels",
    "act_layer": "activation",
    "img_size": "image_size",
    "n_classes": "num_classes",
}

_registry: dict[str, Entry] = {}


def _register(
    name: str, model: type[nn.Module], defaults: dict[str, Any], about: str, **fixed: Any
) -> None:
    options = MappingProxyType(COMMON | defaults)
    side = options.get("image_size", 32 if options["num_classes"] == 10 else 224)
    _registry[name] = Entry(name, model, MappingProxyType(fixed), options, about, side)


_register("convmixer", ConvMixer, CIFAR, "ConvMixer; defaults are 256/8 for 32×32 images")
_register(
    "convmixer_256_8",
    ConvMixer,
    CIFAR,
    "ConvMixer-256/8 for CIFAR, as the SplitMixer paper trains it",
)
_register("convmixer_256_8_224", ConvMixer, LARGE, "ConvMixer-256/8 for 224×224 images")
for _name, _options, _about in (
    (
        "convmixer_768_32",
        {"dim": 768, "depth": 32, "kernel_size": 7, "patch_size": 7, "activation": "relu"},
        "ReLU",
    ),
    (
        "convmixer_1024_20",
        {"dim": 1024, "depth": 20, "kernel_size": 9, "patch_size": 14},
        "patch 14",
    ),
    (
        "convmixer_1536_20",
        {"dim": 1536, "depth": 20, "kernel_size": 9, "patch_size": 7},
        "the largest",
    ),
):
    _register(
        _name, ConvMixer, {"num_classes": 1000} | _options, f"ConvMixer for ImageNet ({_about})"
    )

for _strategy in STRATEGIES:
    _name = f"splitmixer_{_strategy.lower()}"
    _split = {"ratio": "2/3"} if _strategy in OVERLAPPING else {"segments": 2}
    if _strategy in SHUFFLING:
        _split["shuffle"] = False
    _title = "SplitMixer, 3-D form" if _strategy == "3D" else f"SplitMixer-{_strategy}"
    for _suffix, _setting, _about in (
        ("", CIFAR, "; defaults are 256/8 for 32×32 images"),
        ("_256_8", CIFAR, " 256/8 for CIFAR"),
        ("_256_8_224", LARGE, " 256/8 for 224×224 images (Flowers102, Food101)"),
    ):
        _register(
            _name + _suffix, SplitMixer, _setting | _split, _title + _about, strategy=_strategy
        )

# Another name for SplitMixer-I, with options that it is not to have beside the paper.
_pieces = {"residual": "spatial", "norm": "batch", "mixes": "both", "segments_mixed": "alternating"}
for _suffix, _about in (
    ("", "; defaults are 256/8 for 32×32 images"),
    ("_256_8", " 256/8 for CIFAR"),
):
    _register(
        f"splitmixer_i_ablated{_suffix}",
        AblatedSplitMixer,
        CIFAR | {"ratio": "2/3", "image_size": 32} | _pieces,
        f"SplitMixer-I with pieces taken out{_about}",
    )

_small = {"image_size": 32, "patch_size": 4, "num_classes": 10}
_register(
    "mlp_mixer", MLPMixer, SCALES["s"] | _small, "MLP-Mixer; defaults are S/4 for 32×32 images"
)
_register("mixer_s4", MLPMixer, SCALES["s"] | _small, "Mixer-S/4 for 32×32 images")
for _scale, _patch in (("s", 32), ("s", 16), ("s", 8), ("b", 32), ("b", 16), ("l", 16), ("h", 14)):
    _options = SCALES[_scale] | {"image_size": 224, "patch_size": _patch, "num_classes": 1000}
    _register(
        f"mixer_{_scale}{_patch}",
        MLPMixer,
        _options,
        f"Mixer-{_scale.upper()}/{_patch} for ImageNet",
    )


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows, in alphabetical order: all, or those that a pattern
    with shell wildcards fits, such as "split*".
    """
    return sorted(fnmatch.filter(_registry, pattern))


def model_entry(name: str) -> Entry:
    """The registry's entry of a name; `ValueError` for an unknown one, naming the nearest."""
    if name not in _registry:
        plain = str(name).lower().replace("-", "_")
        hint = did_you_mean(plain, _registry, "`mixerlib list` prints every name")
        raise ValueError(f"`name`={name!r} is no model of mixerlib; {hint}")
    return _registry[name]


def create_model(name: str, **options: Any) -> nn.Module:
    """A model by its name, with fresh random weights, in training mode.

    Every option overrides the name's default. There are `dim`, `depth`, `kernel_size`,
    `patch_size`, `num_classes`, `in_channels` and `activation`; SplitMixer I and V also have
    `ratio`, II, III, IV and 3D `segments`, the first three of these also `shuffle`. The ablations
    of SplitMixer-I have `ratio`, `residual`, `norm`, `mixes`, `segments_mixed` and `image_size`.
    MLP-Mixer has `image_size`, `tokens_dim` and `channels_dim`, and no `kernel_size`.

    Raises `ValueError` for an unknown name, an option that the model does not have, or a bad value.
    """
    entry = model_entry(name)
    for option, value in options.items():
        if option not in entry.defaults:
            known = sorted(entry.defaults)
            word = OTHERS_WORDS.get(option, option)
            hint = did_you_mean(word, known, otherwise="")
            has = f"{hint} It has" if hint else "it has"
            raise ValueError(
                f"`{option}`={value!r} is not an option of {name!r}; {has} {', '.join(known)}"
            )
    return entry.model(**entry.fixed, **(entry.defaults | options))
