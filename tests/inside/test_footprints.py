"""Which pixels a place hears, against what kernels and patches leave no choice in."""

import pytest
import torch
from torch import nn

from mixerlib.inside import footprint
from mixerlib.models import create_model


@pytest.mark.parametrize("kernel, patch", [(3, 1), (5, 2), (3, 4)])
def test_the_square_grows_by_the_kernel(kernel, patch):
    torch.manual_seed(0)
    options = {"dim": 6, "depth": 2, "kernel_size": kernel, "patch_size": patch}
    model = create_model("convmixer", **options).eval()
    side = 16 * patch
    images = torch.randn(2, 3, side, side)
    for layer, blocks in (("stem", 0), ("blocks.0", 1), ("blocks.1", 2)):
        half = blocks * (kernel // 2)
        expected = torch.zeros(side, side, dtype=torch.bool)
        first, last = (8 - half) * patch, (8 + half + 1) * patch
        expected[first:last, first:last] = True
        assert torch.equal(footprint(model, images, layer) > 0, expected)


def test_a_token_in_the_middle_of_an_oblong_image():
    model = create_model("mlp_mixer", dim=4, depth=1, image_size=(8, 16), patch_size=4).eval()
    heard = footprint(model, torch.randn(1, 3, 8, 16), "stem") > 0
    expected = torch.zeros(8, 16, dtype=torch.bool)
    expected[4:8, 8:12] = True  # of 2 × 4 patches that in row 1 and column 2
    assert torch.equal(heard, expected)
    assert (footprint(model, torch.randn(1, 3, 8, 16), "blocks.0") > 0).all()


def test_it_leaves_the_model_as_it_was_and_refuses_vectors():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)).eval()
    images = torch.randn(1, 1, 4, 4)
    with torch.inference_mode():  # as in a cell that only looks
        assert (footprint(model, images, "0") > 0).sum() == 9
    with pytest.raises(ValueError, match="`layer`='2' must run once for a batch and give maps"):
        footprint(model, images, "2")
    with pytest.raises(ValueError, match="do not go through"):
        footprint(model, torch.randn(1, 1, 5, 5), "2")
    assert not model[0]._forward_hooks and not model[2]._forward_hooks
    with pytest.raises(ValueError, match="in training mode"):
        footprint(model.train(), images, "0")
