"""Deletion, insertion, redrawn weights and rank correlation, against forms written anew."""

import pytest
import scipy
import torch
from helpers import FAMILIES, trained_look
from torch import nn

from mixerlib.inside import (
    deletion_curve,
    footprint,
    insertion_curve,
    layers_from_the_head,
    rank_correlation,
    smooth_gradients,
    with_random_weights,
)
from mixerlib.models import create_model

CURVES = (deletion_curve, insertion_curve)


def model_of(name: str = "convmixer") -> nn.Module:
    torch.manual_seed(0)
    sizes = {"image_size": 8} if name == "mlp_mixer" else {"kernel_size": 3}
    options = {"dim": 12, "depth": 2, "patch_size": 2, "num_classes": 10, **sizes}
    return trained_look(create_model(name, **options)).eval()


def images_of(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("steps", [1, 5, 64])
def test_the_curves_pixel_by_pixel(steps):
    """The same with loops: sort, cover one pixel after the other, ask at each step."""
    model, images = model_of(), images_of()
    scores = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(2))
    expected = {curve: torch.zeros(3, steps + 1) for curve in CURVES}
    for number in range(3):
        order = sorted(
            ((y, x) for y in range(8) for x in range(8)),
            key=lambda at: -float(scores[number, at[0], at[1]]),
        )
        for step in range(steps + 1):
            deleted, inserted = images[number].clone(), torch.full((3, 8, 8), 0.3)
            for y, x in order[: round(step * 64 / steps)]:
                deleted[:, y, x] = 0.3
                inserted[:, y, x] = images[number, :, y, x]
            for curve, image in ((deletion_curve, deleted), (insertion_curve, inserted)):
                with torch.no_grad():
                    expected[curve][number, step] = model(image[None]).softmax(dim=1)[0, 4]
    for curve in CURVES:
        got = curve(model, images, scores, 4, baseline=0.3, steps=steps)
        assert torch.allclose(got, expected[curve], atol=1e-6)


def test_the_ends_are_the_image_and_the_baseline():
    model, images = model_of(), images_of()
    scores = torch.randn(3, 8, 8)
    with torch.no_grad():
        whole, predicted = model(images).softmax(dim=1).max(dim=1)
        nothing = model(images.flip(0)).softmax(dim=1).gather(1, predicted[:, None])[:, 0]
    deleted, inserted = (curve(model, images, scores, baseline=images.flip(0)) for curve in CURVES)
    assert deleted.shape == (3, 17)
    for first, last in ((deleted[:, 0], deleted[:, -1]), (inserted[:, -1], inserted[:, 0])):
        assert torch.allclose(first, whole, atol=1e-6)
        assert torch.allclose(last, nothing, atol=1e-6)


def test_scores_of_a_linear_model_rank_its_pixels_best():
    """No order deletes faster than that of what each pixel adds."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).eval()
    images = torch.rand(6, 1, 3, 3)
    adds = images[:, 0] * (model[1].weight[1] - model[1].weight[0]).detach().view(3, 3)
    best = deletion_curve(model, images, adds, 1, steps=9)
    for seed in range(20):
        other = torch.rand(6, 3, 3, generator=torch.Generator().manual_seed(seed))
        assert (best <= deletion_curve(model, images, other, 1, steps=9) + 1e-6).all()


def test_equal_scores_come_in_an_order_of_the_seed():
    model, images, flat = model_of(), images_of(), torch.zeros(3, 8, 8)
    curves = [deletion_curve(model, images, flat, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(curves[0], curves[1]) and not torch.equal(curves[0], curves[2])


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"scores": torch.zeros(3, 8, 7)}, r"`scores` of shape \(3, 8, 7\) must be \(3, 8, 8\)"),
        ({"scores": torch.zeros(3, 3, 8, 8)}, "one number a pixel"),
        ({"scores": [1.0]}, "`scores` of shape list must be"),
        ({"scores": torch.full((3, 8, 8), torch.nan)}, "`scores` must be finite"),
        ({"steps": 65}, "`steps`=65 must be at most the number of pixels, 64"),
        ({"steps": 0}, "`steps`=0 must be"),
        ({"seed": 0.5}, "`seed`=0.5 must be"),
        ({"classes": 10}, "`classes`=10 must be a class of the model"),
        ({"baseline": torch.zeros(7)}, r"`baseline` of shape \(7,\) must be"),
        ({"model": create_model("convmixer", dim=4, depth=1)}, "in training mode"),
        ({"images": torch.zeros(3, 3, 8, 7)}, "`patch_size`=2"),
    ],
)
def test_bad_input_of_the_curves_is_refused(curve, options, rule):
    given = {"model": model_of(), "images": images_of(), "scores": torch.zeros(3, 8, 8)} | options
    with pytest.raises(ValueError, match=rule):
        curve(**given)


# Redrawn weights


@pytest.mark.parametrize("name", FAMILIES)
def test_only_the_named_layers_are_redrawn_and_the_model_stays(name):
    model, images = model_of(name), images_of()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    order = layers_from_the_head(model)
    assert order[0] == "head" and order[-3:] == ["blocks.1", "blocks.0", "stem"]
    for count in range(1, len(order) + 1):
        other = with_random_weights(model, images, order[:count])
        same = [key for key, value in other.state_dict().items() if torch.equal(value, before[key])]
        kept = tuple(f"{layer}." for layer in order[count:])
        assert set(same) == {key for key in before if key.startswith(kept)}
        assert not any(module.training for module in other.modules())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    again = with_random_weights(model, images, order)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in other.state_dict().items())
    fresh = with_random_weights(model, images, seed=1)
    assert not torch.equal(fresh.head.weight, other.head.weight)


def test_redrawn_norms_have_measured_the_images():
    """After each of them the maps have mean 0 and variance 1, as in training."""
    model, images = model_of(), images_of(16)
    other = with_random_weights(model, images, ["blocks"])
    with torch.no_grad():
        z = model.stem(images)
        for block in other.blocks:
            z = block(z)
            assert torch.allclose(z.mean(dim=(0, 2, 3)), torch.zeros(12), atol=0.01)
            variance = z.var(dim=(0, 2, 3), correction=0)
            assert torch.allclose(variance, torch.ones(12), rtol=0.03)
    assert {norm.momentum for norm in other.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}


def test_what_cannot_be_redrawn_is_refused():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.scale * x

    model = nn.Sequential(nn.Flatten(), Scaled(), nn.Linear(192, 3)).eval()
    assert with_random_weights(model, images_of(), ["2"])[1].scale == 1
    with pytest.raises(ValueError, match="a Scaled with weights and no `reset_parameters`"):
        with_random_weights(model, images_of())
    with pytest.raises(ValueError, match=r"'blok\.1', which is no layer"):
        with_random_weights(model_of(), images_of(), ["blok.1"])
    with pytest.raises(ValueError, match="in training mode"):
        with_random_weights(model_of().train(), images_of())
    with pytest.raises(ValueError, match="`seed`=-1 must be"):
        with_random_weights(model_of(), images_of(), seed=-1)


# Ranks


def test_rank_correlation_is_spearmans():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 6, (5, 4, 4), generator=generator).float()  # many ties
    y = x + torch.randn(5, 4, 4, generator=generator)
    got = rank_correlation(x, y)
    for number in range(5):
        expected = scipy.stats.spearmanr(x[number].flatten(), y[number].flatten()).statistic
        assert abs(got[number] - expected) < 1e-12
    assert torch.allclose(rank_correlation(x.exp(), y), got)
    assert rank_correlation(torch.zeros(2, 4), torch.rand(2, 4)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("x", "y", "rule"),
    [
        (torch.zeros(2, 4), torch.zeros(2, 5), r"`x` of shape \(2, 4\) and `y` of \(2, 5\) must"),
        (torch.zeros(4), torch.zeros(4), r"`x` of shape \(4,\) must be maps"),
        (torch.zeros(2, 1), torch.zeros(2, 1), "two pixels at least"),
        (torch.zeros(2, 4), torch.full((2, 4), torch.inf), "`y` must be finite"),
        (torch.zeros(2, 4), [0], "`y` of shape list must be"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(x, y, rule):
    with pytest.raises(ValueError, match=rule):
        rank_correlation(x, y)


def test_what_is_drawn_does_not_depend_on_the_default_device():
    """As after `torch.set_default_device("cuda")`."""
    torch.manual_seed(0)
    model = create_model("convmixer", dim=8, depth=1, kernel_size=3, patch_size=2).eval()
    images, classes = torch.randn(2, 3, 8, 8), torch.tensor([1, 2])
    scores = torch.zeros(2, 8, 8)  # equal ones come in random order
    asked = (
        lambda: deletion_curve(model, images, scores, classes, steps=4),
        lambda: footprint(model, images, "blocks.0"),
        lambda: smooth_gradients(model, images, classes, samples=2),
    )
    expected = [ask() for ask in asked]
    with torch.device("meta"):
        found = [ask() for ask in asked]
    assert all(map(torch.equal, expected, found))
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(asked[2](), expected[2])
    finally:
        torch.set_default_dtype(torch.float32)
