"""What PyTorch puts round a model, and how to get the model out again."""

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, out of `torch.compile`, `DataParallel`, `DistributedDataParallel` and
    `AveragedModel`, in whatever order they lie round it. Another module comes back as it is.
    """
    while True:
        if hasattr(model, "_orig_mod"):  # compiled; to import its class takes a second
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | DistributedDataParallel | AveragedModel):
            model = model.module
        else:
            return model
