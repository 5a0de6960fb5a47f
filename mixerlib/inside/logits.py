"""The logits that are asked about, and the errors of asking. Chapter 22."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mixerlib.inside.choosing import check_classes, check_images, check_ready


def asked(
    model: nn.Module, images: torch.Tensor, classes: int | torch.Tensor | None
) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The model out of its wrappers, the images (B, C, H, W), copied, and the classes (B,) whose
    logits are asked about.

    `classes` is one for all images or one each; None stands for those that the model predicts.
    Raises `ValueError` for a model in training mode, images that do not fit it, and a class that is
    not there.
    """
    model = check_ready(model)
    check_images(model, images)
    images = images.detach().clone()
    with torch.no_grad():
        logits = logits_of(model, images)
    if classes is None:
        return model, images, logits.argmax(dim=1)
    checked = check_classes("classes", classes, logits.shape[1], len(images))
    return model, images, checked.to(images.device)


def logits_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What the model gives for the images, if these are logits (B, classes)."""
    with refusals_explained(images):
        logits = model(images)
    if not isinstance(logits, torch.Tensor):
        raise ValueError(f"`model` must give a tensor of logits, not a {type(logits).__name__}")
    if logits.ndim != 2 or len(logits) != len(images) or not logits.shape[1]:
        raise ValueError(
            f"`model` gives an output of shape {tuple(logits.shape)} for {len(images)} images; "
            "it must give logits (B, classes)"
        )
    return logits


def chosen_logits(model: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The logit of each image's class, (B,)."""
    return logits_of(model, images).gather(1, classes[:, None])[:, 0]


@contextmanager
def refusals_explained(images: torch.Tensor) -> Iterator[None]:
    """What torch refuses inside, as `ValueError`: shapes, dtypes, devices, no gradient."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(
            f"`images` of shape {tuple(images.shape)} and type {images.dtype} do not go through "
            f"the model: {first}"
        ) from error


@contextmanager
def gradients_on() -> Iterator[None]:
    """Gradients are recorded inside, also where the caller has turned them off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def filled(baseline: float | torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """A baseline, one number or anything that can be broadcast, in the images' shape."""
    try:
        # what is no number, and of a type or a shape that does not fit, torch refuses
        value = torch.as_tensor(baseline, dtype=images.dtype, device=images.device).detach()
        whole = value.broadcast_to(images.shape)
    except (TypeError, ValueError, RuntimeError):
        shape = getattr(baseline, "shape", None)
        what = f" of shape {tuple(shape)}" if shape is not None else f"={baseline!r}"
        raise ValueError(
            f"`baseline`{what} must be a number, or a tensor that fits images of shape "
            f"{tuple(images.shape)}"
        ) from None
    if not bool(torch.isfinite(whole).all()):
        raise ValueError("`baseline` must be finite")
    return whole
