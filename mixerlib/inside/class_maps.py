"""Maps of a class over the places of a layer: class activation maps and Grad-CAM. Chapter 22."""

import torch
from torch import nn
from torch.nn import functional as F

from mixerlib import checks
from mixerlib.inside.choosing import chosen_layers, layer_names
from mixerlib.inside.logits import (
    asked,
    chosen_logits,
    gradients_on,
    logits_of,
    refusals_explained,
)


def class_activation_map(
    model: nn.Module, images: torch.Tensor, classes: int | torch.Tensor | None = None
) -> torch.Tensor:
    """What each place of the last map adds to the logit: (B, rows, columns).

    Where the head is a mean over the places and a linear layer, as in every mixer of the book, the
    mean of the map and the head's bias are the logit: exactly, whatever norm lies before the mean.
    Zhou et al., "Learning Deep Features for Discriminative Localization", arXiv 1512.04150,
    equation 2. Chapter 22.

    Args:
        model: a classifier in evaluation mode with `forward_features`, which gives maps (B, h, H,
            W) or tokens (B, T, h), and a linear `head`.
        images: normalized, (B, C, H, W).
        classes: one for all images, or (B,). None: those that the model predicts.

    Raises `ValueError` for a model in training mode or with another head, images of a wrong size or
    range, and a class that is not there.

    >>> import torch
    >>> from mixerlib.inside import class_activation_map
    >>> from mixerlib.models import create_model
    >>> model = create_model("mlp_mixer", dim=8, depth=2, image_size=8, patch_size=2).eval()
    >>> images = torch.randn(4, 3, 8, 8)
    >>> maps = class_activation_map(model, images, classes=3)
    >>> maps.shape
    torch.Size([4, 4, 4])
    >>> logits = maps.mean(dim=(1, 2)) + model.head.bias[3]
    >>> torch.allclose(logits, model(images)[:, 3], atol=1e-5)
    True
    """
    model, images, chosen = asked(model, images, classes)
    head = getattr(model, "head", None)
    if not (isinstance(head, nn.Linear) and hasattr(model, "forward_features")):
        raise ValueError(
            f"`model`, a {type(model).__name__}, must have `forward_features` and a linear `head`; "
            "`grad_cam` does without"
        )
    # the gap is told apart from rounding by the images' own dtype
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        features = by_place("forward_features", model.forward_features(images), images)
        maps = torch.einsum("bhij,bh->bij", features, head.weight[chosen])
        bias = 0 if head.bias is None else head.bias[chosen]
        gap = maps.mean(dim=(1, 2)) + bias - chosen_logits(model, images, chosen)
        scale = maps.abs().mean() + gap.new_ones(())
        if gap.abs().max() > scale * torch.finfo(gap.dtype).eps ** 0.5:
            raise ValueError(
                f"`model`, a {type(model).__name__}, must take its logits from the features' mean "
                f"and `head`; they are off by up to {float(gap.abs().max()):.3g}. "
                "`grad_cam` does without"
            )
    return maps


def grad_cam(
    model: nn.Module,
    images: torch.Tensor,
    classes: int | torch.Tensor | None = None,
    layer: str | None = None,
    rectified: bool = True,
) -> torch.Tensor:
    """A layer's channels, weighted by their mean gradients and summed: (B, rows, columns).

    After the last block of our mixers and before rectification it is `class_activation_map` over
    the number of places, but for a norm between that block and the head. Selvaraju et al.,
    "Grad-CAM", arXiv 1610.02391, equations 1 and 2. Chapter 22.

    Args:
        model: any classifier in evaluation mode.
        images: normalized, (B, C, H, W).
        classes: one for all images, or (B,). None: those that the model predicts.
        layer: its name in `model.named_modules()`; its output are maps (B, h, rows, columns) or
            tokens (B, T, h), one a patch, row by row. None: the last block.
        rectified: whether what speaks against the class is set to 0, as in the paper.

    Raises `ValueError` for a model in training mode, images of a wrong size or range, a class that
    is not there, and a layer that is not there or gives something else.

    >>> import torch
    >>> from mixerlib.inside import class_activation_map, grad_cam
    >>> from mixerlib.models import create_model
    >>> model = create_model("convmixer", dim=8, depth=2, patch_size=2, kernel_size=3).eval()
    >>> images = torch.randn(4, 3, 8, 8)
    >>> maps = grad_cam(model, images, classes=3, rectified=False)
    >>> torch.allclose(maps * 16, class_activation_map(model, images, classes=3), atol=1e-5)
    True
    """
    checks.switch("rectified", rectified)
    features, slopes = layer_gradients(model, images, classes, layer)
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    maps = (weights * features).sum(dim=1)
    return maps.relu() if rectified else maps


def layer_gradients(
    model: nn.Module,
    images: torch.Tensor,
    classes: int | torch.Tensor | None = None,
    layer: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a layer gives, and the gradient of the logit by it: both (B, h, rows, columns).

    Tokens (B, T, h) are laid out as the patches lie in the image. Their product, summed over h, is
    what each place adds to the logit if what follows is taken to be linear. Errors are those of
    `grad_cam`. Chapter 22.

    Args:
        model: any classifier in evaluation mode.
        images: normalized, (B, C, H, W).
        classes: one for all images, or (B,). None: those that the model predicts.
        layer: its name in `model.named_modules()`. None: the last block.

    >>> import torch
    >>> from mixerlib.inside import layer_gradients
    >>> from mixerlib.models import create_model
    >>> model = create_model("mlp_mixer", dim=6, depth=2, image_size=8, patch_size=2).eval()
    >>> tokens, slopes = layer_gradients(model, torch.randn(5, 3, 8, 8), layer="stem")
    >>> tokens.shape, slopes.shape
    (torch.Size([5, 6, 4, 4]), torch.Size([5, 6, 4, 4]))
    """
    if layer is not None and not isinstance(layer, str):
        raise ValueError(f"`layer`={checks.shown(layer)} must be the name of a layer")
    with gradients_on():
        model, images, chosen = asked(model, images, classes)
        name = _last_block(model) if layer is None else layer
        (module,) = chosen_layers(model, [name]).values()
        outputs: list[torch.Tensor] = []

        def keep(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> torch.Tensor | None:
            outputs.append(output)
            # a copy goes on, as the next layer may work in place
            return output.clone() if isinstance(output, torch.Tensor) else None

        hook = module.register_forward_hook(keep)
        try:
            logits = logits_of(model, images.requires_grad_(True)).gather(1, chosen[:, None])
        finally:
            hook.remove()
        if len(outputs) != 1 or not isinstance(outputs[0], torch.Tensor):
            raise ValueError(f"`layer`={name!r} must run once for a batch and give a tensor")
        with refusals_explained(images):
            (slopes,) = torch.autograd.grad(logits.sum(), outputs[0], materialize_grads=True)
    features = by_place(f"layer={name!r}", outputs[0].detach(), images)
    return features, by_place(f"layer={name!r}", slopes, images)


def _last_block(model: nn.Module) -> str:
    names = layer_names(model)
    if not names or not names[-1].startswith("blocks."):
        raise ValueError(
            f"`layer` must be named for a {type(model).__name__}, which has no `stem` and `blocks`"
        )
    return names[-1]


def by_place(name: str, features: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Maps (B, h, rows, columns) as they are, tokens (B, T, h) as such maps: row by row, in the
    proportions of the images (B, C, H, W)."""
    if features.ndim == 4:
        return features
    height, width = images.shape[2:]
    if features.ndim == 3:
        tokens = features.shape[1]
        rows = round((tokens * height / width) ** 0.5)
        if rows * rows * width == tokens * height:
            return features.transpose(1, 2).unflatten(2, (rows, tokens // rows))
    raise ValueError(
        f"`{name}` gives an output of shape {tuple(features.shape)}; it must be maps (B, h, rows, "
        f"columns), or tokens (B, T, h) that fill images of {height}×{width}"
    )


def enlarged(maps: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Maps (B, rows, columns) in the size of the images (B, C, H, W): (B, H, W), bilinear.

    Raises `ValueError` for other shapes, or another number of images.

    >>> import torch
    >>> from mixerlib.inside import enlarged
    >>> enlarged(torch.rand(5, 4, 4), torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 8, 8])
    """
    _check_axes("maps", maps, 3, "(B, rows, columns)")
    _check_axes("images", images, 4, "(B, C, H, W)")
    if len(maps) != len(images):
        raise ValueError(
            f"`maps` of shape {tuple(maps.shape)} must have one for each of the images, "
            f"{len(images)}"
        )
    size = list(images.shape[2:])
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _check_axes(name: str, value: torch.Tensor, axes: int, shape: str) -> None:
    if not isinstance(value, torch.Tensor) or value.ndim != axes or not value.numel():
        what = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"`{name}` of shape {what} must be a tensor {shape}")
