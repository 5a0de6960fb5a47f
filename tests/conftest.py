"""For all tests: timm can be imported whatever torch its torchvision was built for; one thread."""

import torch

from mixerlib.data.datasets import import_torchvision

import_torchvision()
torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for each other
