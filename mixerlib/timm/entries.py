"""The entries in timm's registry: a function and a default configuration for each name."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from mixerlib.checks import ACTIVATIONS
from mixerlib.models import Entry, MLPMixer, check_options, list_models, model_entry
from mixerlib.models.registry import remember
from mixerlib.timm.importing import import_timm
from mixerlib.timm.networks import FORMS

timm = import_timm()

HALF = (0.5, 0.5, 0.5)  # the mean and the deviation that MLP-Mixer's authors normalise with
LEAST = 4  # patches along a side of the smallest images that make sense to a convolutional model
PAPERS = {"mlp_mixer": "2105.01601", "convmixer": "2201.09792"}  # arXiv
SPLITMIXER = "2207.10255"
default_cfgs: dict[str, Any] = {}  # which timm looks for in a module that registers models


def register_models() -> list[str]:
    """Enter every model of mixerlib in timm's registry whose name is free there; return the names.

    `import mixerlib.timm` does it. Call it again after `register_mixing`.

    >>> from mixerlib.models import OneSegment, register_mixing
    >>> from mixerlib.timm import register_models
    >>> register_mixing("half", lambda block, dim, s: OneSegment(dim, 0, dim // s))
    'splitmixer_half'
    >>> register_models()
    ['splitmixer_half']
    """
    free = [name for name in list_models() if not timm.is_model(name)]
    default_cfgs.update(timm.models.generate_default_cfgs({n: configuration(n) for n in free}))
    for name in free:
        function = _entrypoint(name)
        setattr(sys.modules[__name__], name, function)
        timm.models.register_model(function)
    return free


def configuration(name: str) -> dict[str, Any]:
    """What timm calls the default configuration of a name: sizes, preprocessing, names of layers.

    Nothing is trained with it, so it is that of the paper's ImageNet models. Images of 32×32 pixels
    are evaluated whole.
    """
    entry = model_entry(name)
    side, patch = entry.image_size, entry.defaults["patch_size"]
    channels, tokens = entry.defaults["in_channels"], entry.model is MLPMixer
    imagenet = timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
    mean, deviation = (HALF, HALF) if tokens else imagenet
    return {
        "input_size": (channels, side, side),
        "min_input_size": None if tokens else (channels, LEAST * patch, LEAST * patch),
        "fixed_input_size": tokens,
        "pool_size": None if tokens else (side // patch, side // patch),
        "num_classes": entry.defaults["num_classes"],
        "interpolation": "bicubic",
        "crop_pct": 1.0 if side == 32 else 0.875 if tokens else 0.96,
        "mean": mean,
        "std": deviation,
        "first_conv": "stem.proj" if tokens else "stem.0",
        "classifier": "head",
        "license": "mit",
        "description": entry.about,
        "paper_ids": f"arXiv:{PAPERS.get(entry.family, SPLITMIXER)}",
    }


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    """The function that timm calls for a name."""

    def create(pretrained: bool = False, **arguments: Any) -> nn.Module:
        last = arguments.pop("out_indices", 3)  # blocks, if `features_only` asks for them
        return timm.models.build_model_with_cfg(
            partial(in_timm, name),
            name,
            pretrained,
            feature_cfg={"out_indices": last, "feature_cls": "getter"},
            **arguments,
        )

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"{model_entry(name).about}."
    return create


def in_timm(
    name: str,
    *,
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    act_layer: str | type[nn.Module] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> nn.Module:
    """A model of mixerlib as timm asks for it, with fresh random weights.

    Args:
        name: as `mixerlib.models.create_model` takes it.
        global_pool: as of `InTimm`.
        drop_rate: as of `InTimm`.
        in_chans: timm's word for `in_channels`.
        img_size: timm's word for `image_size`.
        act_layer: the name or the class of the `activation`.
        device: where it is made.
        dtype: of its floating-point tensors.
        **options: those of `create_model`.

    Raises `ValueError` for an unknown option, or a bad value.
    """
    entry: Entry = model_entry(name)
    words = {"in_channels": in_chans, "image_size": img_size, "activation": _named(act_layer)}
    options |= {word: value for word, value in words.items() if value is not None}
    check_options(name, options)
    with nullcontext() if device is None else torch.device(device):
        model = FORMS[entry.model](
            global_pool=global_pool,
            drop_rate=drop_rate,
            **entry.fixed,
            **(entry.defaults | options),
        )
    remember(model, name, options)
    return model.to(dtype=dtype)


def _named(act_layer: str | type[nn.Module] | None) -> str | None:
    """The name of an activation, if its class was given; what no activation is stays as it is."""
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    return names.get(act_layer, act_layer)  # type: ignore[arg-type]
