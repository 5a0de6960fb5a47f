"""The maps that layers give for some images."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from mixerlib import checks
from mixerlib.inside.choosing import check_images, check_ready, chosen_layers


def feature_maps(
    model: nn.Module, images: torch.Tensor, layers: Iterable[str] | None = None
) -> dict[str, torch.Tensor]:
    """What layers of a model give for images: name → map, in the order of `layers`.

    Args:
        model: any module in evaluation mode; it is left as it was, without hooks, also after an
            error.
        images: normalized, (B, C, H, W), such as `dataset.normalize` gives.
        layers: names as in `model.named_modules()`. None: those of `layer_names`, for our models
            the stem and each block.

    The maps are copies without gradients. Raises `ValueError` for a model in training mode, for
    images that do not fit it, and for a layer that it does not have, that does not run, that runs
    more than once or whose output is no tensor.

    >>> import torch
    >>> from mixerlib.inside import feature_maps
    >>> from mixerlib.models import create_model
    >>> model = create_model("mlp_mixer", dim=8, depth=2, image_size=8, patch_size=2).eval()
    >>> maps = feature_maps(model, torch.zeros(5, 3, 8, 8), ["blocks.1", "norm"])
    >>> maps["norm"].shape
    torch.Size([5, 16, 8])
    """
    model = check_ready(model)
    modules = chosen_layers(model, layers)
    check_images(model, images)
    kept: dict[nn.Module, list[Any]] = {module: [] for module in modules.values()}

    def keeper(module: nn.Module) -> Callable:
        return lambda _module, _inputs, output: kept[module].append(
            output.detach().clone() if isinstance(output, torch.Tensor) else output
        )  # a copy, as the next layer may work in place

    hooks = [module.register_forward_hook(keeper(module)) for module in kept]
    try:
        with torch.no_grad():
            model(images)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # as torch refuses shapes, dtypes and devices
        first = str(error).strip().split("\n")[0]
        raise ValueError(
            f"`images` of shape {tuple(images.shape)} and type {images.dtype} do not go through "
            f"the model: {first}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return {name: _only(name, kept[module]) for name, module in modules.items()}


def _only(name: str, outputs: list[Any]) -> torch.Tensor:
    """The one tensor that a layer gave."""
    if len(outputs) != 1:
        ran = f"runs {len(outputs)} times" if outputs else "does not run"
        raise ValueError(f"`layers` has {name!r}, which {ran} for a batch; it must run once")
    if not isinstance(outputs[0], torch.Tensor):
        kind = type(outputs[0]).__name__
        raise ValueError(f"`layers` has {name!r}, whose output is a {kind}; it must be a tensor")
    return outputs[0]


def pooled(features: torch.Tensor) -> torch.Tensor:
    """Maps (B, h, H, W) or tokens (B, T, h) → their mean over the places (B, h), as the heads of
    our mixers take it. Vectors (B, h) stay as they are; `ValueError` for other shapes.

    >>> import torch
    >>> from mixerlib.inside import pooled
    >>> pooled(torch.ones(2, 3, 4, 4)).shape, pooled(torch.ones(2, 16, 3)).shape
    (torch.Size([2, 3]), torch.Size([2, 3]))
    """
    if not isinstance(features, torch.Tensor) or features.ndim not in (2, 3, 4):
        raise ValueError(_shapes(features))
    if features.ndim == 2:
        return features
    return features.mean(dim=1 if features.ndim == 3 else (2, 3))


def by_channel(name: str, features: torch.Tensor) -> torch.Tensor:
    """Maps of any of the three shapes as a table (values, h) in float64, one column a channel."""
    if (
        not isinstance(features, torch.Tensor)
        or features.ndim not in (2, 3, 4)
        or not features.numel()
    ):
        raise ValueError(_shapes(features, name))
    if not bool(torch.isfinite(features).all()):
        raise ValueError(f"`{name}` must be finite")
    table = features.movedim(1, -1) if features.ndim == 4 else features
    return table.detach().reshape(-1, table.shape[-1]).double()


def _shapes(features: object, name: str = "features") -> str:
    what = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
    return f"`{name}` of shape {what} must be maps (B, h, H, W), tokens (B, T, h) or vectors (B, h)"


def pooled_features(
    model: nn.Module,
    images: torch.Tensor,
    layers: Iterable[str] | None = None,
    batch_size: int = 256,
) -> dict[str, torch.Tensor]:
    """`pooled` of `feature_maps`, a few images at a time: layer → (B, h). So the maps of a whole
    data set are never in memory together. Raises `ValueError` as those two do.

    >>> import torch
    >>> from mixerlib.inside import pooled_features
    >>> from mixerlib.models import create_model
    >>> model = create_model("splitmixer_i", dim=8, depth=1, patch_size=2).eval()
    >>> pooled_features(model, torch.zeros(5, 3, 8, 8), batch_size=2)["blocks.0"].shape
    torch.Size([5, 8])
    """
    checks.positive_int("batch_size", batch_size)
    model = check_ready(model)
    names = list(chosen_layers(model, layers))
    check_images(model, images)
    parts = [
        {name: pooled(features) for name, features in feature_maps(model, part, names).items()}
        for part in images.split(batch_size)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
