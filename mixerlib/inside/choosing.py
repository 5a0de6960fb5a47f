"""What may be looked at: a model that is ready, images that fit it, layers and classes it has."""

from collections.abc import Iterable
from numbers import Integral

import torch
from torch import nn

from mixerlib.checks import did_you_mean, shown
from mixerlib.costs.unwrapping import unwrapped

# The most that a value of a normalized image may be: above it they are pixels of 0 to 255
LARGEST = 32.0


def check_module(model: nn.Module) -> nn.Module:
    """The model, out of what PyTorch puts round it: hooks on the layers of a compiled one would not
    run. Raises `ValueError` for what is no `nn.Module`.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"`model` must be a torch.nn.Module, not a {type(model).__name__}")
    return unwrapped(model)


def check_ready(model: nn.Module) -> nn.Module:
    """As `check_module`, and raises `ValueError` unless all of the model is in evaluation mode.

    In training mode BatchNorm takes the statistics of the batch, so what one image gives depends on
    the others, and looking would change the model.

    >>> from mixerlib.inside.choosing import check_ready
    >>> from mixerlib.models import create_model
    >>> check_ready(create_model("convmixer", dim=8, depth=1))
    Traceback (most recent call last):
    ValueError: `model`, a ConvMixer, is in training mode; call `model.eval()` first
    """
    model = check_module(model)
    for name, module in model.named_modules():
        if module.training:
            part = f": its part `{name}` is" if name else ", is"
            raise ValueError(
                f"`model`, a {type(model).__name__}{part} in training mode; "
                "call `model.eval()` first"
            )
    return model


def check_images(model: nn.Module, images: torch.Tensor, name: str = "images") -> None:
    """Raises `ValueError` unless `images` are a batch (B, C, H, W) that `model` can have been
    trained on: normalized floating-point numbers, of the size and channels that it says it takes.

    Read from the model are `in_channels`, `patch_size` and `image_size`, where it has them. What a
    home-made model cannot say shows when it runs. `name` is what an error calls the images.

    >>> import torch
    >>> from mixerlib.inside.choosing import check_images
    >>> from mixerlib.models import create_model
    >>> model = create_model("convmixer", dim=8, depth=1, patch_size=2)
    >>> check_images(model, torch.zeros(1, 3, 31, 31))
    Traceback (most recent call last):
    ValueError: `images` of shape (1, 3, 31, 31) must have sides that `patch_size`=2 divides
    """
    if not isinstance(images, torch.Tensor):
        raise ValueError(f"`{name}` must be a torch.Tensor, not a {type(images).__name__}")
    shape = tuple(images.shape)
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"`{name}` of shape {shape} must be a batch of images (B, C, H, W)")
    if not images.is_floating_point():
        raise ValueError(
            f"`{name}` of type {images.dtype} must be normalized floating-point numbers, "
            "such as `dataset.normalize` gives"
        )
    least, most = (float(end) for end in torch.aminmax(images.detach()))
    if not (least >= -LARGEST and most <= LARGEST):  # NaN is not either
        raise ValueError(
            f"`{name}` with values from {least:.4g} to {most:.4g} must be finite and normalized, "
            f"within ±{LARGEST:g}, such as `dataset.normalize` gives"
        )
    _check_fit(model, shape, name)


def _check_fit(model: nn.Module, shape: tuple[int, ...], name: str) -> None:
    """What our models say of the images that they take; home-made ones may say it too."""
    channels, patch, sides = (
        getattr(model, option, None) for option in ("in_channels", "patch_size", "image_size")
    )
    if isinstance(channels, int) and shape[1] != channels:
        raise ValueError(
            f"`{name}` of shape {shape} must have `in_channels`={channels}: (B, {channels}, H, W)"
        )
    if isinstance(sides, tuple):  # what its patches make of that size, the model has checked
        if shape[2:] != sides:
            raise ValueError(f"`{name}` of shape {shape} must have `image_size`={sides}")
    elif isinstance(patch, int) and (shape[2] % patch or shape[3] % patch):
        raise ValueError(
            f"`{name}` of shape {shape} must have sides that `patch_size`={patch} divides"
        )


def layer_names(model: nn.Module) -> list[str]:
    """The layers that are looked at where none are named: the stem and each block of a model that
    has `stem` and `blocks`, the children of another. `ValueError` for what is no `nn.Module`.

    >>> from torch import nn
    >>> from mixerlib.inside import layer_names
    >>> layer_names(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    ['0', '1']
    """
    model = check_module(model)
    blocks = getattr(model, "blocks", None)
    if isinstance(getattr(model, "stem", None), nn.Module) and isinstance(
        blocks, nn.Sequential | nn.ModuleList
    ):
        return ["stem", *(f"blocks.{i}" for i in range(len(blocks)))]
    return [name for name, _ in model.named_children()]


def chosen_layers(model: nn.Module, layers: Iterable[str] | None) -> dict[str, nn.Module]:
    """The modules of these names, in the order given; those of `layer_names` for None. A name that
    the model has not is refused, with near ones.
    """
    such = f"[{layers!r}]" if isinstance(layers, str) else layer_names(model)[:2]
    if isinstance(layers, str) or not (layers is None or isinstance(layers, Iterable)):
        raise ValueError(f"`layers`={shown(layers)} must be a list of names, such as {such}")
    names = layer_names(model) if layers is None else list(layers)
    if not names:
        raise ValueError(f"`layers`={shown(names)} must name a layer at least")
    # a module that is there twice has two names
    modules = dict(model.named_modules(remove_duplicate=False))
    del modules[""]
    for name in names:
        if name not in modules:
            few = ", ".join(list(modules)[:8])
            hint = did_you_mean(str(name), modules, f"there are {few} …")
            hint = did_you_mean(str(name), layer_names(model), hint)  # those first
            raise ValueError(f"`layers` has {shown(name)}, which is no layer of the model; {hint}")
    return {name: modules[name] for name in names}


def check_classes(
    name: str, value: int | torch.Tensor, num_classes: int, batch: int
) -> torch.Tensor:
    """Classes as a tensor (B,), one an image; a whole number stands for the same one throughout.

    Args:
        name: of the argument, for the error.
        value: whole numbers from 0 to `num_classes` − 1.
        num_classes: how many classes the model has.
        batch: how many images, B.

    Raises `ValueError` for a class that is not there, and for another number of them than B.

    >>> from mixerlib.inside.choosing import check_classes
    >>> check_classes("target", 3, num_classes=10, batch=2)
    tensor([3, 3])
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    classes = torch.full((batch,), int(value)) if whole else value
    if (
        not isinstance(classes, torch.Tensor)
        or classes.dtype in (torch.bool, torch.complex64)
        or classes.is_floating_point()
    ):
        raise ValueError(f"`{name}`={shown(value)} must be a class or a tensor of classes")
    if classes.shape != (batch,):
        raise ValueError(
            f"`{name}` of shape {tuple(classes.shape)} must have a class for each of the {batch}"
            " images"
        )
    wrong = classes[(classes < 0) | (classes >= num_classes)]
    if len(wrong):
        raise ValueError(
            f"`{name}`={int(wrong[0])} must be a class of the model, from 0 to {num_classes - 1}"
        )
    return classes.long()
