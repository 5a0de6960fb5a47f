"""For all tests: one thread, no haste, and a data set of few images."""

import pytest
import torch
from helpers import few_digits
from hypothesis import HealthCheck, settings

from mixerlib.data import Dataset

torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for each other
# On a busy machine an example may take long for no fault of its own.
settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """70 training and 30 test images: three batches of 32, the last of them of 6."""
    return few_digits()
