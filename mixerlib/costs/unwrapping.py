"""What PyTorch puts round a model, and the model out of it: here, as no lower room needs it."""

import copy

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

# Where `torch.compile` and activation checkpointing keep what they wrap; to import their classes
# takes a second
KEPT_AS = ("_orig_mod", "_checkpoint_wrapped_module")


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, out of `torch.compile`, `DataParallel`, `DistributedDataParallel`,
    `AveragedModel` and activation checkpointing, in whatever order they lie round it.

    Where layers inside are wrapped, such as blocks that are compiled one by one, it is a copy with
    the layers themselves, which holds the model's own parameters and buffers. Another module comes
    back as it is, and so does what is none.
    """
    model = _taken_out(model)
    layers = model.modules() if isinstance(model, nn.Module) else ()
    if all(_taken_out(layer) is layer for layer in layers):
        return model
    copied = sharing_copy(model)
    for module in list(copied.modules()):
        for name, layer in module._modules.items():
            module._modules[name] = _taken_out(layer)
    return copied


def sharing_copy(model: nn.Module) -> nn.Module:
    """A copy whose modules are its own, and whose parameters and buffers are the model's: what is
    trained in one is trained in the other.

    It is in the mode, of training or evaluation, that the model is in now, and stays in it.
    """
    own = {
        id(tensor): tensor
        for module in model.modules()  # and what pruning has computed, which cannot be copied
        for tensor in (*module.parameters(False), *module.buffers(False), *vars(module).values())
        if isinstance(tensor, torch.Tensor)
    }
    return copy.deepcopy(model, own)


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model that shares nothing with it, also of one that is pruned or has an older
    weight norm: what these computed in the last call torch refuses to copy.
    """
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and value.grad_fn is not None
    }
    return copy.deepcopy(model, computed)


def _taken_out(model: nn.Module) -> nn.Module:
    """The module in the wrappers round this one; what is in none comes back, None too."""
    while True:
        kept = next((name for name in KEPT_AS if hasattr(model, name)), "")
        if kept:
            model = getattr(model, kept)
        elif isinstance(model, nn.DataParallel | DistributedDataParallel | AveragedModel):
            model = model.module
        else:
            return model
