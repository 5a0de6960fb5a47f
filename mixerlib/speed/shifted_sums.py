"""Depthwise convolutions as sums of shifted maps, which a compiler can fuse with what is around.

>>> import torch
>>> from mixerlib.models import create_model
>>> from mixerlib.speed import with_shifted_sums
>>> model, images = create_model("splitmixer_i", dim=32, depth=2), torch.randn(4, 3, 32, 32)
>>> net = with_shifted_sums(model)  # the same outputs and gradients, the same parameters
>>> torch.allclose(net(images), model(images), atol=1e-5)
True

To `torch.compile` a convolution is a closed box: its input is written to memory before it and its
output after it. A sum of shifted maps is arithmetic like an activation, so that the norm before it,
the sum itself and the activation after it can become one kernel. Run as it is, uncompiled, it is
slow.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.costs.unwrapping import sharing_copy
from mixerlib.models.wrappers import is_hooked

Context = Any  # torch's, which has no type of its own


def with_shifted_sums(model: nn.Module) -> nn.Module:
    """The same model, with every depthwise convolution of stride 1 as a sum of shifted maps.

    It holds the model's own parameters and buffers: what is trained in one is trained in the other.
    The model stays as it was, and the copy stays in the mode that the model is in now. Raises
    `ValueError` for a model without such a convolution. One that a user has hung something on, or
    pruned, stays as it is.
    """
    net = sharing_copy(model)
    found = [
        (parent, name, layer)
        for parent in net.modules()
        for name, layer in parent.named_children()
        if _is_depthwise(layer)
    ]
    if not found:
        raise ValueError(
            "`shifted`=True is for a model with depthwise convolutions, which "
            f"{type(model).__name__} has not"
        )
    for parent, name, layer in found:
        setattr(parent, name, ShiftedSum(layer))
    return net


def _is_depthwise(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.Conv2d
        and layer.groups == layer.in_channels == layer.out_channels > 1
        and layer.padding in ("same", tuple((k - 1) / 2 for k in layer.kernel_size))
        and layer.stride == layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not is_hooked(layer)
    )


class ShiftedSum(nn.Module):
    """What a depthwise convolution that keeps the map's sides computes, with its weight and bias.

    (B, h, H, W) → (B, h, H, W). Sums are taken in float32, or float64, and rounded once; the result
    has the type of the input.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Shifted.apply(x, self.weight, self.bias)


class _Shifted(torch.autograd.Function):
    """Forward and backward pass; autograd's own would keep a map for every shift."""

    @staticmethod
    def forward(
        ctx: Context, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        total = _correlated(x, weight, _before(weight))
        return (total if bias is None else total + bias[:, None, None]).to(x.dtype)

    @staticmethod
    def backward(ctx: Context, gradient: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        rows, columns = weight.shape[2:]
        top, left = _before(weight)
        after = rows - 1 - top, columns - 1 - left
        of_x = _correlated(gradient, weight.flip(2, 3), after).to(x.dtype)
        wide = gradient.to(_wide(gradient))
        products = [
            (wide * shifted).sum(dim=(0, 2, 3)) for shifted in _shifts(x, weight, (top, left))
        ]
        of_weight = torch.stack(products, dim=1).view(weight.shape).to(weight.dtype)
        of_bias = wide.sum(dim=(0, 2, 3)).to(weight.dtype) if ctx.has_bias else None
        return of_x, of_weight, of_bias


def _before(weight: torch.Tensor) -> tuple[int, int]:
    """Rows above and columns left of a map that "same" padding adds: the odd one comes after."""
    return (weight.shape[2] - 1) // 2, (weight.shape[3] - 1) // 2


def _wide(x: torch.Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _shifts(
    x: torch.Tensor, weight: torch.Tensor, before: tuple[int, int]
) -> Iterator[torch.Tensor]:
    """The map as each place of the kernel meets it, row by row, zeros beyond the edges."""
    (rows, columns), (height, width) = weight.shape[2:], x.shape[2:]
    top, left = before
    padded = F.pad(x, (left, columns - 1 - left, top, rows - 1 - top))
    for i in range(rows):
        for j in range(columns):
            yield padded[:, :, i : i + height, j : j + width].to(_wide(x))


def _correlated(x: torch.Tensor, weight: torch.Tensor, before: tuple[int, int]) -> torch.Tensor:
    """Σ over the kernel's places of its weight there times the map as it meets it."""
    weights = weight.to(_wide(x)).flatten(1).unbind(1)
    terms = zip(weights, _shifts(x, weight, before), strict=True)
    first, *others = (w[:, None, None] * shifted for w, shifted in terms)
    return sum(others, start=first)
