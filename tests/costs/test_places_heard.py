"""What a block mixes, by its derivatives, and the orders of the places that it does not notice."""

import numpy as np
import pytest
import torch
from torch import nn

from mixerlib.costs import (
    drawn_anew,
    measured_reach,
    mixing_jacobian,
    reordered,
    unnoticed,
)
from mixerlib.models import create_model

WIDE = {"dim": 6, "depth": 1, "patch_size": 4, "image_size": 16}


def test_a_linear_map_is_its_own_jacobian():
    layer, x = nn.Conv2d(3, 4, (1, 3), padding=(0, 1)).double(), torch.randn(1, 3, 2, 5).double()
    slopes = mixing_jacobian(layer, x)
    assert slopes.shape == (10, 4, 10, 3)
    middle, weight = slopes[7], layer.weight.detach()[:, :, 0].numpy()  # row 1, column 2
    for place in range(10):
        expected = weight[:, :, place - 6] if 6 <= place <= 8 else np.zeros((4, 3))
        assert np.array_equal(middle[:, place], expected)


@pytest.mark.parametrize(
    "shape", [(2, 7), (2, 5, 7), (2, 7, 3, 4), (2, 3, 4, 2, 7)], ids=lambda shape: len(shape)
)
def test_every_layout_has_its_places_and_channels(shape):
    x = torch.randn(shape)
    slopes = mixing_jacobian(nn.Tanh(), x)
    places, channels = slopes.shape[:2]
    assert slopes.shape[2:] == (places, channels) and places * channels == x[0].numel()
    own = slopes.reshape(places * channels, -1)
    assert np.array_equal(own != 0, np.eye(len(own), dtype=bool))


def test_channels_are_those_that_measured_reach_finds():
    model = drawn_anew(create_model("splitmixer_i", dim=9, depth=2, kernel_size=3, patch_size=4))
    images = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        maps = model.stem(images)
    heard = (mixing_jacobian(model.blocks[0], maps) != 0).any(axis=(0, 2))
    assert np.array_equal(heard, measured_reach(model, images, 1)) and not heard.all()


class Deaf(nn.Module):
    """Makes numbers of its weights, and of what it is given only where it is told so."""

    def __init__(self, learnt: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1), requires_grad=learnt)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * torch.ones(x.shape)


@pytest.mark.parametrize("learnt", [True, False])
def test_who_hears_nothing_has_derivatives_of_zero(learnt):
    slopes = mixing_jacobian(Deaf(learnt), torch.randn(1, 4, 3))
    assert slopes.shape == (4, 3, 4, 3) and not slopes.any()


def test_a_block_in_training_mode_stays_as_it_is():
    block = create_model("convmixer", dim=4, depth=1, patch_size=4).blocks[0]
    before = {name: value.clone() for name, value in block.state_dict().items()}
    with torch.inference_mode():
        mixing_jacobian(block, torch.randn(2, 4, 4, 4))
    assert block.training and all(p.grad is None for p in block.parameters())
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())


def test_who_notices_a_new_order():
    x, order = torch.randn(1, 16, 6, dtype=torch.float64), torch.randperm(16)
    vit = drawn_anew(create_model("vit", **WIDE, heads=2, channels_dim=8))
    resmlp = drawn_anew(create_model("resmlp", **WIDE, channels_dim=8))
    assert unnoticed(vit.blocks[0], x, order) < 1e-12
    assert unnoticed(resmlp.blocks[0], x, order) > 0.01
    assert unnoticed(resmlp.blocks[0], x, torch.arange(16)) == 0


def test_a_step_is_unnoticed_away_from_the_border():
    conv = nn.Conv2d(2, 2, 3, padding=1).double()
    x, order = torch.randn(1, 2, 6, 6).double(), torch.arange(36).view(6, 6).roll(1, 1).flatten()
    inner = [6 * row + column for row in range(6) for column in (2, 3, 4)]
    assert unnoticed(conv, x, order) > 1e-3
    assert unnoticed(conv, x, order, inner) < 1e-12


def test_a_new_order_moves_places_and_nothing_else():
    x, order = torch.arange(24.0).view(1, 2, 3, 4), torch.randperm(12)
    moved = reordered(x, order)
    assert torch.equal(moved.flatten(2), x.flatten(2)[:, :, order])
    assert torch.equal(reordered(moved, order.argsort()), x)


def test_nothing_trivial_is_left():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    drawn = drawn_anew(model, seed=1)
    assert not drawn.training and model.training and model[1].weight.eq(1).all()
    assert all(w.dtype == torch.float64 and w.ne(0).all() for w in drawn.parameters())
    assert drawn[1].running_var.min() >= 0.5 and drawn[1].running_mean.ne(0).all()
    assert all(
        torch.equal(one, other)
        for one, other in zip(drawn.parameters(), drawn_anew(model, 1).parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: mixing_jacobian(nn.Identity(), torch.zeros(3)),
            r"`maps` of \(3,\) must be images",
        ),
        (lambda: mixing_jacobian(nn.Flatten(0), torch.zeros(1, 2, 3)), "must be images"),
        (lambda: mixing_jacobian(nn.Identity(), torch.zeros(1, 10_000)), "too many"),
        (lambda: reordered(torch.zeros(1, 2, 3), torch.arange(3)), "each of the 2 places"),
        (lambda: reordered(torch.zeros(1, 2, 3), torch.tensor([1, 1])), "each of the 2 places"),
        (
            lambda: unnoticed(nn.MaxPool2d(2), torch.zeros(1, 1, 4, 4), torch.arange(16)),
            "each of the 4 places",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
