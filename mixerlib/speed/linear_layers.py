"""A linear layer as a 1×1 convolution: the same product, by another library.

>>> import torch
>>> from mixerlib.models import create_model
>>> from mixerlib.speed import convolved
>>> model, images = create_model("mixer_s4", depth=1).eval(), torch.randn(2, 3, 32, 32)
>>> torch.allclose(convolved(model)(images), model(images), atol=1e-5)
True

On a CPU of the x86 family PyTorch multiplies matrices with MKL and convolves with oneDNN. Which of
the two is faster depends on the processor: chapter 19 tells what was measured.
"""

import copy
from math import gcd

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.models.wrappers import is_hooked

IMAGES = 16  # with fewer, PyTorch on one thread of a CPU makes a product of matrices of it


def by_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`F.linear`, (…, m) → (…, n), by a 1×1 convolution in NHWC: each row of x is a place."""
    rows = x.numel() // x.shape[-1]
    images = gcd(rows, IMAGES) if rows else 0
    places = rows // images if rows else 1
    maps = x.reshape(images, places, 1, x.shape[-1]).permute(0, 3, 1, 2)
    y = F.conv2d(maps, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


class ConvolvedLinear(nn.Linear):
    """`nn.Linear` that computes by a convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return by_convolution(x, self.weight, self.bias)


def convolved(model: nn.Module) -> nn.Module:
    """A copy of a model whose linear layers compute as 1×1 convolutions: the same outputs, up to
    rounding. Layers of a class of their own, and those with hooks, stay as they are. Chapter 19.
    """
    other = copy.deepcopy(model)
    for layer in other.modules():
        if type(layer) is nn.Linear and not is_hooked(layer):
            layer.__class__ = ConvolvedLinear
    return other
