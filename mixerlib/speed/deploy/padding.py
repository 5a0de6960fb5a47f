"""Convolutions that say in numbers what they pad by: PyTorch's quantizers do not read "same"."""

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.costs.unwrapping import unwrapped
from mixerlib.models.wrappers import made_permanent


def with_numeric_padding(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode with the same outputs, in which no convolution has the padding
    "same": to be quantized by PyTorch itself.

    The models have that word from ConvMixer's own code. `convert_fx` of
    `torch.ao.quantization.quantize_fx`, which PyTorch has deprecated, fails at it, and so do the
    quantizers of its successor, torchao's `prepare_pt2e`, on what `torch.export` makes of it.

    An odd kernel gets half its length on every side. Of an even one "same" pads one row and column
    more at the bottom and the right, which no number says: it becomes the next odd kernel, with a
    row and a column of zeros at its top and left, and has that many more MACs. The names of all
    tensors stay. A model without such a convolution comes back as a plain copy.

    Raises `ValueError` for an even kernel that is dilated or pads with anything but zeros.
    `export_model` quantizes for ONNX's runtimes, and needs none of this. Chapter 25.

    >>> import torch
    >>> from mixerlib.models import create_model
    >>> from mixerlib.speed import with_numeric_padding
    >>> model, images = create_model("convmixer", dim=16, kernel_size=4), torch.randn(2, 3, 32, 32)
    >>> net = with_numeric_padding(model.eval())
    >>> net.blocks[0][0].fn[0]
    Conv2d(16, 16, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2), groups=16)
    >>> torch.allclose(net(images), model(images), atol=1e-5)
    True
    """
    net = made_permanent(unwrapped(model))
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.padding == "same":
            rows, columns = (1 - k % 2 for k in layer.kernel_size)  # to be added
            if rows or columns:
                _make_odd(name, layer, rows, columns)
            pairs = zip(layer.kernel_size, layer.dilation, strict=True)
            layer.padding = tuple(d * (k // 2) for k, d in pairs)
    return net


def _make_odd(name: str, layer: nn.Conv2d, rows: int, columns: int) -> None:
    if layer.dilation != (1, 1) or layer.padding_mode != "zeros":
        raise ValueError(
            f"`model` must pad the even kernel of `{name}` with zeros, and not dilate it: {layer}"
        )
    with torch.no_grad():
        longer = F.pad(layer.weight, (columns, 0, rows, 0))
    layer.weight = nn.Parameter(longer, requires_grad=layer.weight.requires_grad)
    layer.kernel_size = tuple(longer.shape[2:])
