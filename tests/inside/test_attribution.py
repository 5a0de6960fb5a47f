"""Scores of pixels: completeness, captum's numbers, forms written anew, and what is refused."""

import numpy as np
import pytest
import torch
from helpers import FAMILIES, Later, trained_look
from torch import nn

from mixerlib.inside import (
    gradient_times_input,
    gradients,
    integrated_gradients,
    occlusion,
    smooth_gradients,
)
from mixerlib.models import create_model

captum = Later("captum.attr")
CLASSES = torch.tensor([3, 0, 9])


def model_of(name: str = "convmixer", **options) -> nn.Module:
    """A small model whose norms are far from fresh, in evaluation mode, in float64."""
    torch.manual_seed(0)
    sizes = {"image_size": 8} if name == "mlp_mixer" else {"kernel_size": 3}
    options = {"dim": 12, "depth": 2, "patch_size": 2, "num_classes": 10, **sizes, **options}
    return trained_look(create_model(name, **options)).eval().double()


def images_of(count: int = 3, side: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, side, side, generator=generator, dtype=torch.float64)


def logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images).gather(1, CLASSES[:, None])[:, 0]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_shares_sum_to_the_gain(name):
    """Completeness, from three baselines: the dark pixel of each channel, a number, an image."""
    model, images = model_of(name), images_of()
    for baseline in (torch.tensor([-1.0, 0.5, 2.0])[:, None, None], 0.7, images.flip(0)):
        shares = integrated_gradients(model, images, CLASSES, baseline, steps=48)
        start = torch.as_tensor(baseline, dtype=images.dtype).expand(images.shape)
        gain = logits(model, images) - logits(model, start)
        assert torch.allclose(shares.sum(dim=(1, 2, 3)), gain, atol=1e-6)
        assert shares.shape == images.shape


def test_a_smooth_model_needs_few_steps_and_a_kinked_one_many():
    images, gaps = images_of(), {}
    for activation in ("gelu", "relu"):
        model = model_of(activation=activation)
        gain = logits(model, images) - logits(model, torch.zeros_like(images))
        for steps in (4, 32):
            shares = integrated_gradients(model, images, CLASSES, steps=steps)
            gap = (shares.sum(dim=(1, 2, 3)) - gain).abs().max() / gain.abs().max()
            gaps[activation, steps] = float(gap)
    assert gaps["gelu", 32] < 1e-4 * gaps["gelu", 4]
    assert gaps["relu", 32] > 1e-2 * gaps["relu", 4]


@pytest.mark.parametrize("name", FAMILIES)
def test_captum_gives_the_same(name):
    model, images = model_of(name), images_of()
    asked = images.clone().requires_grad_(True)
    other = captum.Saliency(model).attribute(asked, CLASSES, abs=False)
    assert torch.allclose(gradients(model, images, CLASSES), other, atol=1e-10)
    other = captum.InputXGradient(model).attribute(asked, CLASSES)
    assert torch.allclose(gradient_times_input(model, images, CLASSES), other, atol=1e-10)
    baseline = torch.full_like(images, -0.4)
    path = captum.IntegratedGradients(model)
    other = path.attribute(images, baseline, CLASSES, n_steps=7, method="gausslegendre")
    ours = integrated_gradients(model, images, CLASSES, -0.4, steps=7)
    assert torch.allclose(ours, other, atol=1e-10)
    for side, stride in ((1, 1), (3, 1), (4, 2)):
        other = captum.Occlusion(model).attribute(
            images, (3, side, side), (3, stride, stride), baseline, CLASSES
        )
        ours = occlusion(model, images, CLASSES, -0.4, side, stride)
        assert torch.allclose(ours, other[:, 0].double(), atol=1e-5)  # captum's are float32


def test_the_gradient_is_what_small_changes_do():
    model, images, small = model_of("splitmixer_i"), images_of(), 1e-5
    slopes = gradients(model, images, CLASSES)
    for place in ((0, 0, 0), (1, 4, 7), (2, 3, 3)):
        change = torch.zeros_like(images)
        change[(slice(None), *place)] = small
        difference = logits(model, images + change) - logits(model, images - change)
        assert torch.allclose(slopes[(slice(None), *place)], difference / (2 * small), atol=1e-6)
    product = gradient_times_input(model, images, CLASSES, baseline=-0.4)
    assert torch.allclose(product, slopes * (images + 0.4), atol=1e-12)
    one_step = integrated_gradients(model, images, CLASSES, 2 * images - images, steps=3)
    assert not one_step.any()  # from an image to itself nothing is gained


def test_smooth_gradients_are_a_mean_over_noise():
    """Of a model whose gradient is known at every point: logit = Σ x³, gradient 3x²."""

    class Cube(nn.Module):
        def forward(self, x):
            return x.pow(3).sum(dim=(1, 2, 3))[:, None].repeat(1, 4)

    images = images_of()
    ends = images.flatten(1).amax(dim=1) - images.flatten(1).amin(dim=1)
    deviation = (0.1 * ends)[:, None, None, None]
    smooth = smooth_gradients(Cube().eval(), images, 2, noise=0.1, samples=1000)
    expected = 3 * (images.square() + deviation.square())
    assert torch.allclose(smooth, expected, rtol=0.15, atol=0.15)
    twice = [smooth_gradients(model_of(), images, seed=seed, samples=2) for seed in (5, 5, 6)]
    assert torch.equal(twice[0], twice[1]) and not torch.equal(twice[0], twice[2])


def test_no_class_means_the_predicted_one():
    model, images = model_of(), images_of()
    with torch.no_grad():
        predicted = model(images).argmax(dim=1)
    assert torch.equal(gradients(model, images), gradients(model, images, predicted))
    assert torch.equal(occlusion(model, images), occlusion(model, images, predicted))
    assert torch.equal(gradients(model, images, np.int64(4)), gradients(model, images, 4))


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_also_where_they_are_off_and_nothing_is_left(off):
    model, images = model_of(), images_of()
    before = images.clone()
    model.requires_grad_(False)
    with off():
        inside = integrated_gradients(model, images_of(), CLASSES, steps=3)
    assert torch.equal(inside, integrated_gradients(model, images, CLASSES, steps=3))
    assert torch.equal(images, before) and not images.requires_grad and not inside.requires_grad
    model.requires_grad_(True)
    gradients(model, images.requires_grad_(True), CLASSES)
    assert all(weight.grad is None for weight in model.parameters()) and images.grad is None


def home_made() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 4, 5), nn.Tanh(), nn.Linear(5, 4)).eval()


def test_a_home_made_model_on_images_that_are_not_square():
    model, images = home_made(), torch.randn(2, 3, 6, 4)
    shares = integrated_gradients(model, images, 3, steps=64)
    with torch.no_grad():
        gain = model(images)[:, 3] - model(torch.zeros_like(images))[:, 3]
    assert torch.allclose(shares.sum(dim=(1, 2, 3)), gain, atol=1e-5)
    assert occlusion(model, images, 3, side=2, stride=2).shape == (2, 6, 4)


METHODS = (gradients, gradient_times_input, integrated_gradients, smooth_gradients, occlusion)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("images", "classes", "rule"),
    [
        (torch.zeros(2, 3, 6, 6), 1, "the model: "),
        (torch.zeros(3, 6, 4), 1, r"`images` of shape \(3, 6, 4\) must be a batch"),
        (torch.zeros(2, 3, 6, 4, dtype=torch.uint8), 1, "normalized"),
        (torch.full((2, 3, 6, 4), 255.0), 1, "normalized"),
        (torch.full((2, 3, 6, 4), torch.nan), 1, "finite"),
        (torch.zeros(2, 3, 6, 4), 4, r"`classes`=4 must be a class of the model, from 0 to 3"),
        (torch.zeros(2, 3, 6, 4), -1, "from 0 to 3"),
        (torch.zeros(2, 3, 6, 4), 1.0, "`classes`=1.0 must be"),
        (torch.zeros(2, 3, 6, 4), torch.tensor([1]), "for each of the 2"),
        (torch.zeros(2, 3, 6, 4, dtype=torch.float64), 1, "the model: "),
    ],
)
def test_bad_images_and_classes_are_refused(method, images, classes, rule):
    with pytest.raises(ValueError, match=rule):
        method(home_made(), images, classes)


@pytest.mark.parametrize("method", METHODS)
def test_bad_models_are_refused(method):
    images = torch.zeros(2, 3, 6, 4)
    with pytest.raises(ValueError, match=r"in training mode; call `model.eval\(\)`"):
        method(home_made().train(), images)
    with pytest.raises(ValueError, match=r"it must give logits \(B, classes\)"):
        method(nn.Conv2d(3, 4, 1).eval(), images)
    with pytest.raises(ValueError, match=r"`model` must be a torch.nn.Module"):
        method(lambda x: x, images)


class Stepped(nn.Module):
    """No gradient comes through it."""

    def forward(self, x):
        return x.detach().flatten(1)[:, :4]


@pytest.mark.parametrize("method", METHODS[:-1])
def test_a_model_without_gradients_is_refused_where_they_are_needed(method):
    with pytest.raises(ValueError, match="does not require grad"):
        method(Stepped().eval(), torch.zeros(2, 3, 6, 4))
    assert not occlusion(Stepped().eval(), torch.zeros(2, 3, 6, 4)).any()


@pytest.mark.parametrize(
    ("method", "options", "rule"),
    [
        (integrated_gradients, {"steps": 0}, "`steps`=0 must be"),
        (integrated_gradients, {"baseline": torch.zeros(5)}, r"`baseline` of shape \(5,\) must"),
        (gradient_times_input, {"baseline": "black"}, "`baseline`='black' must"),
        (integrated_gradients, {"baseline": float("nan")}, "`baseline` must be finite"),
        (smooth_gradients, {"noise": 0.0}, "`noise`=0.0 must be above 0"),
        (smooth_gradients, {"noise": "much"}, "`noise`='much' must be a number"),
        (smooth_gradients, {"samples": 1.5}, "`samples`=1.5 must be"),
        (smooth_gradients, {"seed": -1}, "`seed`=-1 must be"),
        (occlusion, {"side": 5}, "`side`=5 must be at most the image's, 6×4"),
        (occlusion, {"side": 1, "stride": 2}, "`stride`=2 must be at most `side`=1"),
        (occlusion, {"side": 3, "stride": 2}, "`stride`=2 must be at most `side`=3 and divide"),
        (occlusion, {"stride": 0}, "`stride`=0 must be"),
        (occlusion, {"baseline": torch.zeros(2, 2, 2)}, "`baseline` of shape"),
    ],
)
def test_bad_options_are_refused(method, options, rule):
    with pytest.raises(ValueError, match=rule):
        method(home_made(), torch.zeros(2, 3, 6, 4), **options)
