"""For all tests: timm can be imported whatever torch its torchvision was built for; one thread."""

import pytest
import torch
from helpers import few_digits

from mixerlib._torchvision import import_torchvision
from mixerlib.data import Dataset

import_torchvision()
torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for each other


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """70 training and 30 test images: three batches of 32, the last of them of 6."""
    return few_digits()
