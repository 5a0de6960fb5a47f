"""Epochs at the start of a run that see small images."""

import pytest
import torch

from mixerlib.training.batches import batches_left
from mixerlib.training.distributed import ALONE
from mixerlib.training.loop import train
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import begin

CPU = torch.device("cpu")


def recipe(model: str = "splitmixer_i", **settings) -> Recipe:
    options = {"dim": 8, "depth": 1, "patch_size": 2}
    defaults = {"model_options": options, "epochs": 3, "batch_size": 32, "early_epochs": 2}
    return Recipe("digits", model, **(defaults | settings))


def test_the_first_epochs_see_each_image_small_and_the_others_whole(digits):
    run = begin(recipe(early_size=4, flip="random", mixup=0.4), digits, CPU, ALONE)
    whole = begin(recipe(early_epochs=None, flip="random", mixup=0.4), digits, CPU, ALONE)
    for epoch in (1, 2, 3):
        run.epoch = whole.epoch = epoch
        pairs = zip(batches_left(run, digits), batches_left(whole, digits), strict=True)
        for small, usual in pairs:
            assert torch.equal(small.targets, usual.targets)
            if epoch == 3:
                assert torch.equal(small.images, usual.images)
                continue
            assert small.images.shape[-2:] == (4, 4)
            # halved with a triangle of width 4: away from the edge a mean with weights 1 3 3 1
            weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
            inner = usual.images[..., 1:5, 1:5]
            expected = torch.einsum("bchw,h,w->bc", inner, weights, weights)
            torch.testing.assert_close(small.images[..., 1, 1], expected, rtol=1e-5, atol=1e-5)


def test_the_test_images_stay_whole(digits):
    """So a model that has only seen small ones is worse there than one that has seen its own."""
    _, small = train(recipe(epochs=3, early_size=2), digits, "cpu")
    assert [row.test_accuracy is not None for row in small.curve] == [True] * 3
    assert small.settings["early_size"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"early_size": 8}, "`early_size`=8 must be below the images' 8 × 8"),
        ({"early_size": 4, "model": "mlp_mixer"}, "`early_size`=4 must be null: `model`='mlp_mix"),
    ],
)
def test_sizes_that_no_model_can_see_are_refused(digits, settings, message):
    with pytest.raises(ValueError, match=message):
        begin(recipe(**settings), digits, CPU, ALONE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"early_size": 0}, "`early_size`=0"),
        ({"early_size": None}, "`early_epochs`=2 has no effect with `early_size`=None"),
        ({"early_size": 4, "early_epochs": None}, "`early_size`=4 needs `early_epochs`"),
        ({"early_size": 4, "early_epochs": 3}, "`early_epochs`=3 must be below `epochs`=3"),
        ({"early_size": 4, "early_epochs": 0}, "`early_epochs`=0"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        recipe(**settings)
