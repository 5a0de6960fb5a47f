"""Epochs at the start of a run that see small images."""

import pytest
import torch

from mixerlib.training.batches import batches_left
from mixerlib.training.distributed import ALONE
from mixerlib.training.loop import finish_epoch, training_steps
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


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_test_images_stay_whole(digits, accumulate):
    run = begin(recipe(early_size=4, accumulate=accumulate), digits, CPU, ALONE)
    seen: list[tuple[bool, int]] = []
    run.model.register_forward_pre_hook(
        lambda model, inputs: seen.append((model.training, inputs[0].shape[-1]))
    )
    for epoch in (1, 2, 3):
        for _ in training_steps(run, digits):
            pass
        finish_epoch(run, digits)
        assert set(seen) == {(True, 4 if epoch < 3 else 8), (False, 8)}
        seen.clear()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"early_size": 8}, "`early_size`=8 must be below the images' 8 × 8"),
        ({"early_size": 5}, "`early_size`=5 must be a multiple of `patch_size`=2"),
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
