"""Copies of a model that hold its own weights: what is trained in one is trained in the other."""

import copy

from torch import nn


def sharing_copy(model: nn.Module) -> nn.Module:
    """A copy whose modules are its own, and whose parameters and buffers are the model's.

    It is in the mode, of training or evaluation, that the model is in now, and stays in it.
    """
    kept = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return copy.deepcopy(model, kept)
