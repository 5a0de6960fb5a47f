"""Spatial kernels, and how near they are to the product of a column and a row. Chapters 05, 20."""

import torch
from torch import nn

from mixerlib.inside.choosing import check_module


def spatial_kernels(model: nn.Module) -> dict[str, torch.Tensor]:
    """The kernels of a model's depthwise convolutions: name of the layer → (h, height, width).

    A depthwise convolution has as many groups as input channels, and a kernel larger than 1×1. A
    model without one, such as an MLP-Mixer, gives an empty dictionary. Raises `ValueError` for what
    is no `nn.Module`.

    >>> from mixerlib.inside import spatial_kernels
    >>> from mixerlib.models import create_model
    >>> model = create_model("splitmixer_i", dim=8, depth=1, kernel_size=5)
    >>> [tuple(kernels.shape) for kernels in spatial_kernels(model).values()]
    [(8, 1, 5), (8, 5, 1)]
    """
    model = check_module(model)
    return {
        name: module.weight.detach().flatten(0, 1).clone()
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
        and module.groups == module.in_channels
        and max(module.kernel_size) > 1
    }


def separable_share(kernels: torch.Tensor) -> torch.Tensor:
    """The share of each kernel's energy that the best product of a column and a row holds:
    (…, height, width) → (…), between 1/min(height, width) and 1.

    The energy is the sum of the squared weights, which is that of the squared singular values; the
    best product is that of the largest, by Eckart and Young. A kernel of zeros is taken for
    separable. Raises `ValueError` for fewer than two dimensions, and for values that are not
    finite.

    >>> import torch
    >>> from mixerlib.inside import separable_share
    >>> column, row = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])
    >>> round(float(separable_share(torch.outer(column, row))), 6)
    1.0
    >>> round(float(separable_share(torch.eye(5))), 3)
    0.2
    """
    if not isinstance(kernels, torch.Tensor) or kernels.ndim < 2 or 0 in kernels.shape[-2:]:
        what = tuple(kernels.shape) if isinstance(kernels, torch.Tensor) else type(kernels).__name__
        raise ValueError(f"`kernels` of shape {what} must be kernels (…, height, width)")
    if not bool(torch.isfinite(kernels).all()):
        raise ValueError("`kernels` must be finite")
    energies = torch.linalg.svdvals(kernels.detach().double()).square()
    whole = energies.sum(dim=-1)
    return torch.where(whole > 0, energies[..., 0] / whole, torch.ones_like(whole))
