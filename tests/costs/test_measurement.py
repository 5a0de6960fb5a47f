"""What `measure` counts, whatever mode it is asked in and whatever the model is made of."""

import contextlib

import pytest
import torch

from mixerlib import costs
from mixerlib.models import create_model

SIZES = {"dim": 8, "depth": 2, "patch_size": 2, "kernel_size": 3}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("made_in", [contextlib.nullcontext, torch.inference_mode])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_counts_are_the_same_in_every_mode(mode, made_in, device):
    expected = costs.measure(create_model("splitmixer_i", **SIZES), 8)
    with made_in():
        model = create_model("splitmixer_i", **SIZES)
    with mode():
        assert costs.measure(model, 8, device=device) == expected
        assert costs.by_scope(model, 8)["the model"][1] == costs.macs(expected)
