"""A network as the compiler writes it: whole or block by block, and for batches of one size."""

import torch
from torch import nn

from mixerlib.costs.unwrapping import sharing_copy
from mixerlib.speed.form import Form


def compiled(net: nn.Module, form: Form, mode: str | None = None) -> nn.Module:
    """The network as the compiler writes it, whole or block by block, as the form has it.

    Blocks of one kind are compiled once for all of them. `mode` is `torch.compile`'s. Raises
    `ValueError` for a network that is to be compiled by block and has none.
    """

    def compiler(part: nn.Module) -> nn.Module:
        return torch.compile(part, dynamic=False, mode=mode)

    if not form.by_block:
        return compiler(net)
    if not isinstance(getattr(net, "blocks", None), nn.Sequential):
        raise ValueError(
            "`by_block`=True is for a model with `blocks`, one after the other, and its own "
            f"mixings, not for {type(net).__name__}"
        )
    net = sharing_copy(net)
    net.stem = compiler(net.stem)
    net.blocks = nn.Sequential(*map(compiler, net.blocks))
    return net


class WholeBatches(nn.Module):
    """A network whose whole batches are computed by compiled code, and smaller ones as they are.

    The last batch of an epoch is one step of many: to compile for its size, too, would take longer
    than all its steps.

    Args:
        fast: for batches of `size` images.
        plain: for the others.
        size: images.
    """

    def __init__(self, fast: nn.Module, plain: nn.Module, size: int):
        super().__init__()
        self.nets = (fast, plain)  # in a tuple they are no parts of this one
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fast, plain = self.nets
        return (fast if len(x) == self.size else plain)(x)
