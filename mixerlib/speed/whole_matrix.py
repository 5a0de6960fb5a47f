"""A SplitMixer whose channel mixings are whole matrices, for training too.

>>> import torch
>>> from mixerlib.models import create_model
>>> from mixerlib.speed import OneMatrix
>>> model, images = create_model("splitmixer_i", dim=32, depth=2), torch.randn(4, 3, 32, 32)
>>> net = OneMatrix(model)  # the same outputs and gradients, the same parameters
>>> torch.allclose(net(images), model(images), atol=1e-5)
True
"""

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.models.mixings import channel_shuffle
from mixerlib.models.splitmixer import SplitMixer


class OneMatrix(nn.Module):
    """A SplitMixer whose every channel mixing, with the shuffle after it, is one h×h product.

    The matrix is made anew in every step, by mixing the unit vectors, so gradients reach the
    segments' own weights. It costs h² multiplications a place instead of the segments' fewer ones,
    and saves their copies: nothing is cut, joined or shuffled but the small matrix.

    Images (B, in_channels, H, W) → logits (B, num_classes). Holds the model; adds no parameter.
    Raises `ValueError` for another model. Chapter 19b.
    """

    def __init__(self, model: SplitMixer):
        super().__init__()
        if type(model) is not SplitMixer:
            raise ValueError(
                "`mixing`='one matrix' (in a recipe `one_matrix: true`) is for a SplitMixer, whose "
                f"mixing has segments, not for {type(model).__name__}"
            )
        self.model = model
        self.training = model.training

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.model.stem(x)
        for block in self.model.blocks:
            weight, bias = self.matrix(block, x.shape[1])
            x = x + block.spatial(x)
            x = block.norm(block.act(F.conv2d(x, weight, bias)))
        return self.model.head(x.mean(dim=(2, 3)))

    @staticmethod
    def matrix(block: nn.Module, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The block's mixing and shuffle as a weight (h, h, 1, 1) and a bias (h,)."""
        weight = next(block.mixing.parameters())
        vectors = torch.eye(dim + 1, dim, dtype=weight.dtype, device=weight.device)  # the last is 0
        with torch.autocast(weight.device.type, enabled=False):  # weight + bias − bias, not rounded
            mixed = block.mixing(vectors[:, :, None, None])
            if block.shuffle > 1:
                mixed = channel_shuffle(mixed, block.shuffle)
            bias = mixed[-1:]  # of no input
            return (mixed[:-1] - bias).transpose(0, 1), bias.flatten()
