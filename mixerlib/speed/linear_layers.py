"""A linear layer as a 1×1 convolution: the same product, by another library.

>>> import torch
>>> from mixerlib.models import create_model
>>> from mixerlib.speed import convolved
>>> model, images = create_model("mixer_s4", depth=1).eval(), torch.randn(2, 3, 32, 32)
>>> torch.allclose(convolved(model)(images), model(images), atol=1e-5)
True

On CPUs of the x86 family PyTorch multiplies matrices with MKL, and convolves in float32 and
bfloat16 with oneDNN. Which is faster depends on the processor: chapter 19 tells what was measured.
"""

from math import gcd

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.models import unwrapped
from mixerlib.models.wrappers import made_permanent

IMAGES = range(16, 65)  # with fewer, PyTorch on one thread of a CPU makes a product of matrices of
# the convolution; with many more, of hardly a place each, it is slow


def by_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`F.linear`, (…, m) → (…, n), by a 1×1 convolution in NHWC: each row of x is a place.

    Args:
        x: (…, m).
        weight: (n, m).
        bias: (n,), or None.

    >>> import torch
    >>> from mixerlib.speed import by_convolution
    >>> by_convolution(torch.ones(2, 7, 3), torch.ones(5, 3)).shape
    torch.Size([2, 7, 5])
    """
    if not isinstance(x.numel(), int):  # a size that is left open, as in an export
        images = x.shape[0]
    elif x.numel() and weight.numel():
        images = _images(x.numel() // x.shape[-1])
    else:
        return F.linear(x, weight, bias)
    maps = x.reshape(images, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    y = F.conv2d(maps, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


def _images(rows: int) -> int:
    """The fewest of `IMAGES` that all have as many rows; else as many as come near."""
    return next((n for n in IMAGES if rows % n == 0), gcd(rows, IMAGES.start))


class ConvolvedLinear(nn.Linear):
    """`nn.Linear` that computes by a convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return by_convolution(x, self.weight, self.bias)


def convolved(model: nn.Module) -> nn.Module:
    """A copy of a model in evaluation mode whose linear layers compute as 1×1 convolutions: the
    same outputs, up to rounding. Layers of a class of their own stay as they are. Chapter 19.
    """
    other = made_permanent(unwrapped(model))
    for layer in other.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = ConvolvedLinear
    return other
