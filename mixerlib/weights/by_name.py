"""A model with its published weights in one call, under the names that torchvision gives to it."""

from typing import Any

from torch import nn

from mixerlib.checks import shown
from mixerlib.models import create_model, model_entry
from mixerlib.weights.loading import load_weights
from mixerlib.weights.published import PublishedWeights, published_weights, weights_file

DEFAULT = "DEFAULT"  # torchvision's word for the weights that stand first


def get_weight(name: str) -> PublishedWeights:
    """Published weights by their name: torchvision's word for `published_weights`. Errors as there.

    >>> from mixerlib.weights import get_weight
    >>> get_weight("mixer_b16.miil").top1
    82.314
    """
    return published_weights(name)


def get_model(
    name: str,
    weights: str | PublishedWeights | None = None,
    *,
    download: bool = False,
    resample_stem: bool = False,
    **options: Any,
) -> nn.Module:
    """A model by its name, with published weights if any are named, in training mode.

    Args:
        name: as `create_model` takes it.
        weights: None for fresh random ones; a name, or what `weights_of` and `get_weight` give; or
            "DEFAULT" for the first that are published of this model.
        download: whether they are fetched if they are not on this machine.
        resample_stem: as in `load_weights`: whether another `patch_size` may be given.
        **options: of the model. `num_classes` is that of the weights unless it is given; where it
            is given and another, the model has a fresh classifier, to be trained.

    Raises `ValueError` as `create_model` and `load_weights`, and for weights that are not published
    or are those of another model; `DataNotFound` and `DataDamaged` as `weights_file`.

    >>> from mixerlib.weights import get_model
    >>> get_model("splitmixer_i_256_8", num_classes=100).num_classes
    100
    >>> get_model("convmixer_1536_20", weights="mixer_b16.miil")
    Traceback (most recent call last):
    ValueError: `weights`='mixer_b16.miil' are those of mixer_b16, not of `name`='convmixer_1536_20'
    """
    if weights is None:
        return create_model(name, **options)
    model_entry(name)
    published = _named(name, weights)
    if published.model != name:
        raise ValueError(
            f"`weights`={shown(published.name)} are those of {published.model}, not of "
            f"`name`={shown(name)}"
        )
    model = create_model(name, **({"num_classes": published.classes} | options))
    file = weights_file(published, download=download)
    fits = model.num_classes == published.classes
    load_weights(model, file, head=fits, resample_stem=resample_stem)
    return model


def _named(name: str, weights: str | PublishedWeights) -> PublishedWeights:
    """The published weights that `get_model` is to take."""
    if isinstance(weights, PublishedWeights):
        return weights
    if not isinstance(weights, str):
        raise ValueError(
            f"`weights`={shown(weights)} must be None, a name or one of `PublishedWeights`"
        )
    return published_weights(name if weights == DEFAULT else weights)
