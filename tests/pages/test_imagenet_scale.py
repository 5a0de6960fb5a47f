"""What the exercises of chapter 23 take from recipes, and their cluster against the formula."""

import pytest

from mixerlib.pages.exercises import imagenet_scale as scale
from mixerlib.training.recipe_files import RECIPES, load_recipe


@pytest.mark.parametrize("model", scale.EPOCHS)
def test_their_constants_are_those_of_the_recipes(model):
    recipe = load_recipe(f"imagenet/{model}")
    assert recipe.epochs == scale.EPOCHS[model]
    assert (recipe.batch_size, recipe.crop_area) == (scale.BATCH, scale.CROP_AREA)
    text = f"torchrun --nproc_per_node {scale.GPUS} -m mixerlib train {recipe.name}"
    assert text in (RECIPES / f"{recipe.name}.yaml").read_text()


def test_a_ring_of_one_sends_nothing_and_a_large_one_twice_the_gradients():
    assert scale._step(64, 0.01, 1e9, 1, 1e6) == pytest.approx(0.64)
    assert scale._step(1000, 0, 1e9, 1000, 1e9) == pytest.approx(2 * 0.999)


def test_without_wires_the_work_divides_by_the_gpus():
    days, efficiency = scale._cluster(16, 640, 1e9)
    alone, _ = scale._cluster(1, 640, 1e9)
    assert days == pytest.approx(alone / 16, rel=1e-3) and efficiency == pytest.approx(1, rel=1e-3)
