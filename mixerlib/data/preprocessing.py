"""What is done to an image before a model sees it, for the accuracy that was published."""

from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from mixerlib import checks
from mixerlib.checks import did_you_mean, shown
from mixerlib.data.source import INTERPOLATIONS, NORMALIZATIONS


@dataclass(frozen=True)
class Preprocessing:
    """How a test image becomes a model's input; the fields of a `Recipe` of the same names.

    Args:
        image_size: side of the input in pixels.
        interpolation: of the resizing, "bilinear" or "bicubic", antialiased as Pillow does it.
        crop_pct: the shorter side becomes ⌊image_size / this⌋, and the centre is cut out. None: the
            whole image is squashed.
        normalization: "dataset", for photographs ImageNet's mean and deviation, "half", 0.5 each,
            or "unit": pixels stay between 0 and 1.

    Raises `ValueError` for a value that breaks its rule.

    >>> from mixerlib.data import PREPROCESSINGS
    >>> PREPROCESSINGS["mindcv"].differences(PREPROCESSINGS["convmixer"])
    {'interpolation': ('bilinear', 'bicubic')}
    """

    image_size: int = 224
    interpolation: str = "bicubic"
    crop_pct: float | None = 0.96
    normalization: str = "dataset"

    def __post_init__(self) -> None:
        checks.positive_int("image_size", self.image_size)
        checks.one_of("interpolation", self.interpolation, INTERPOLATIONS)
        if self.crop_pct is not None:
            checks.follows("crop_pct", self.crop_pct, checks.POSITIVE_SHARE)
        checks.one_of("normalization", self.normalization, NORMALIZATIONS)

    def settings(self) -> dict[str, Any]:
        """The fields and their values, as a recipe takes them."""
        return asdict(self)

    def differences(self, other: "Preprocessing") -> dict[str, tuple[Any, Any]]:
        """Each field in which the two differ → the value here, and there."""
        pairs = {name: (value, getattr(other, name)) for name, value in asdict(self).items()}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def __str__(self) -> str:
        crop = "whole" if self.crop_pct is None else f"crop {self.crop_pct:g}"
        return (
            f"{self.image_size}×{self.image_size}, {self.interpolation}, {crop}, "
            f"normalization {self.normalization}"
        )


# What is known by name. The model files of ConvMixer's authors and of timm ask for bicubic at 0.96,
# MindCV's configuration files for bilinear, which here is Pillow's and not MindSpore's. "mlp_mixer"
# and "miil" are what timm's model file has for MLP-Mixer's weights, those of its authors and those
# of MIIL. "torchvision" is what most networks are evaluated by.
PREPROCESSINGS = MappingProxyType(
    {
        "convmixer": Preprocessing(),
        "mindcv": Preprocessing(interpolation="bilinear"),
        "mlp_mixer": Preprocessing(crop_pct=0.875, normalization="half"),
        "miil": Preprocessing(interpolation="bilinear", crop_pct=0.875, normalization="unit"),
        "torchvision": Preprocessing(interpolation="bilinear", crop_pct=0.875),
    }
)


def preprocessing_named(name: str) -> Preprocessing:
    """One of `PREPROCESSINGS` by its name; `ValueError` with the nearest for an unknown one.

    >>> from mixerlib.data import preprocessing_named
    >>> print(preprocessing_named("torchvision"))
    224×224, bilinear, crop 0.875, normalization dataset
    """
    if not isinstance(name, str) or name not in PREPROCESSINGS:
        hint = did_you_mean(str(name), PREPROCESSINGS, f"there are {', '.join(PREPROCESSINGS)}")
        raise ValueError(f"`preprocessing`={shown(name)} is no preset of mixerlib; {hint}")
    return PREPROCESSINGS[name]
