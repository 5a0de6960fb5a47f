"""Who hears whom by the derivative, against what the blocks say and against home-made blocks."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from mixerlib.costs import measured_reach, mixing_steps, reach
from mixerlib.models import create_model

CASES = [
    ("convmixer", {}),
    ("splitmixer_i", {"ratio": "2/3"}),
    ("splitmixer_ii", {"segments": 5}),  # ragged
    ("splitmixer_iii", {"segments": 3, "shuffle": True}),
    ("splitmixer_iv", {"segments": 4}),
    ("splitmixer_v", {"ratio": "3/5"}),
    ("splitmixer_3d", {"segments": 2}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_it_is_what_the_mixings_say(name, options):
    torch.manual_seed(0)
    model = create_model(name, dim=12, depth=3, kernel_size=3, patch_size=2, **options)
    before, images = copy.deepcopy(model.state_dict()), torch.randn(1, 3, 8, 8)
    for depth in range(4):
        expected = reach(12, mixing_steps(model)[:depth])
        assert np.array_equal(measured_reach(model, images, depth), expected)
    assert model.training and all(map(torch.equal, before.values(), model.state_dict().values()))


def test_tokens_are_heard_by_all_channels():
    model = create_model("mlp_mixer", dim=6, depth=1, image_size=8, patch_size=4)
    assert measured_reach(model, torch.randn(1, 3, 8, 8), 1).all()


class Home(nn.Module):
    """Blocks in a list, each with two groups of channels, the second with its maps' mean away."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 2, 2)
        self.blocks = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1, groups=2) for _ in range(2))

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
            x = x - x.mean(dim=(2, 3), keepdim=True)
        return x


def test_home_made_blocks_are_asked_too():
    torch.manual_seed(0)
    two = np.kron(np.eye(2, dtype=bool), np.ones((3, 3), dtype=bool))
    with torch.no_grad():  # as in a cell that only looks
        assert np.array_equal(measured_reach(Home(), torch.randn(2, 3, 8, 8), 2), two)


def test_what_it_refuses():
    images, model = torch.randn(1, 3, 8, 8), create_model("convmixer", dim=4, depth=1, patch_size=2)
    with pytest.raises(ValueError, match="a Linear, must have `blocks`"):
        measured_reach(nn.Linear(2, 2), images, 1)
    for depth in (2, -1):
        with pytest.raises(ValueError, match=rf"`depth`={depth} must be 0 … 1, its blocks"):
            measured_reach(model, images, depth)
    flat = nn.Module()
    flat.blocks = nn.Sequential(nn.Flatten())
    flat.forward = flat.blocks.forward
    with pytest.raises(ValueError, match=r"make \(1, 192\); maps are images"):
        measured_reach(flat, images, 1)
    flat.forward = lambda x: x
    with pytest.raises(ValueError, match="must run its `blocks` in order"):
        measured_reach(flat, images, 1)
