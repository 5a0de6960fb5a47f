"""Class activation maps and Grad-CAM: exactness, captum's numbers, layers and models refused."""

import pytest
import torch
from helpers import FAMILIES, Later, trained_look
from torch import nn
from torch.nn import functional as F

from mixerlib.inside import class_activation_map, enlarged, grad_cam, layer_gradients
from mixerlib.models import create_model

captum = Later("captum.attr")
CLASSES = torch.tensor([3, 0, 9])


def model_of(name: str = "convmixer", **options) -> nn.Module:
    """A small model whose norms are far from fresh, in evaluation mode, in float64."""
    torch.manual_seed(0)
    sizes = {"image_size": (8, 12)} if name == "mlp_mixer" else {"kernel_size": 3}
    options = {"dim": 12, "depth": 2, "patch_size": 2, "num_classes": 10, **sizes, **options}
    return trained_look(create_model(name, **options)).eval().double()


def images_of(count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 8, 12, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_map_s_mean_and_the_bias_are_the_logit(name):
    model, images = model_of(name), images_of()
    maps = class_activation_map(model, images, CLASSES)
    assert maps.shape == (3, 4, 6)
    with torch.no_grad():
        logits = model(images).gather(1, CLASSES[:, None])[:, 0]
        assert torch.allclose(maps.mean(dim=(1, 2)) + model.head.bias[CLASSES], logits, atol=1e-10)
        # what a place adds: the logit falls by it when the place's features are taken out
        features = model.forward_features(images)
        if features.ndim == 3:
            features = features.transpose(1, 2).reshape(3, 12, 4, 6)
        features[:, :, 1, 4] = 0
        without = model.head(features.mean(dim=(2, 3))).gather(1, CLASSES[:, None])[:, 0]
        assert torch.allclose((logits - without) * 24, maps[:, 1, 4], atol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_grad_cam_at_the_last_map_is_the_class_map(name):
    model, images = model_of(name), images_of()
    layer = "norm" if name == "mlp_mixer" else None
    maps = class_activation_map(model, images, CLASSES)
    cam = grad_cam(model, images, CLASSES, layer, rectified=False)
    assert torch.allclose(cam * 24, maps, atol=1e-10)
    assert torch.equal(grad_cam(model, images, CLASSES, layer), cam.relu())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("layer", ["stem", "blocks.0"])
def test_captum_gives_the_same_maps(name, layer):
    model, images = model_of(name), images_of()
    features, slopes = layer_gradients(model, images, CLASSES, layer)
    assert features.shape == slopes.shape == (3, 12, 4, 6)
    module = model.get_submodule(layer)
    other = captum.LayerGradientXActivation(model, module).attribute(
        images.clone().requires_grad_(True), CLASSES
    )
    if name == "mlp_mixer":  # tokens, row by row
        other = other.transpose(1, 2).reshape(3, 12, 4, 6)
    else:
        cam = captum.LayerGradCam(model, module).attribute(
            images.clone().requires_grad_(True), CLASSES, relu_attributions=True
        )
        assert torch.allclose(grad_cam(model, images, CLASSES, layer), cam[:, 0], atol=1e-10)
    assert torch.allclose(features * slopes, other, atol=1e-10)


def test_batchnorm_after_the_block_only_shifts_the_map():
    """Folded into the head, it leaves the logits as they are and moves the map by one number."""
    model, images = model_of(), images_of()
    before = class_activation_map(model, images, CLASSES)
    norm, head = model.blocks[-1][-1], model.head
    with torch.no_grad():
        logits = model(images)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * scale
        head.bias += head.weight @ shift
        head.weight *= scale
        model.blocks[-1][-1] = nn.Identity().eval()
        assert torch.allclose(model(images), logits, atol=1e-10)
    moved = class_activation_map(model, images, CLASSES) - before
    assert torch.allclose(moved, moved[:, :1, :1].expand_as(moved), atol=1e-10)
    assert moved.abs().min() > 1e-3


class HomeMade(nn.Module):
    """Pools by the largest value, works in place, and has a layer that never runs."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True)
        self.head, self.unused = nn.Linear(5, 4), nn.Linear(1, 1)

    def forward_features(self, x):
        return self.act(self.conv(x))

    def forward(self, x):
        return self.head(self.forward_features(x).amax(dim=(2, 3)))


def test_a_home_made_model():
    torch.manual_seed(0)
    model, images = HomeMade().eval(), torch.randn(2, 3, 8, 12)
    features, slopes = layer_gradients(model, images, 1, "conv")
    with torch.no_grad():
        assert torch.equal(features, model.conv(images))  # before the work in place
    best = features.flatten(2).argmax(dim=2)
    expected = torch.zeros_like(features).flatten(2)
    weight = model.head.weight[1].detach()
    expected.scatter_(2, best[..., None], weight.expand(2, 5)[..., None])
    assert torch.allclose(slopes.flatten(2), expected)
    with pytest.raises(ValueError, match=r"HomeMade, must take its logits from the features' mean"):
        class_activation_map(model, images)
    with pytest.raises(ValueError, match="`layer` must be named for a HomeMade"):
        grad_cam(model, images)
    with pytest.raises(ValueError, match="`layer`='unused' must run once"):
        grad_cam(model, images, layer="unused")
    assert not model.unused._forward_hooks and not model.conv._forward_hooks


def test_bad_layers_models_and_images_are_refused():
    model, images = model_of(), images_of()
    for method in (grad_cam, layer_gradients):
        with pytest.raises(ValueError, match=r"'blocks\.7', which is no layer.*blocks\.1"):
            method(model, images, layer="blocks.7")
        with pytest.raises(ValueError, match="`layer`=3 must be the name"):
            method(model, images, layer=3)
        with pytest.raises(ValueError, match="`layer='head'` gives an output of shape"):
            method(model, images, layer="head")
    with pytest.raises(ValueError, match="`rectified`=1 must be True or False"):
        grad_cam(model, images, rectified=1)
    for method in (class_activation_map, grad_cam, layer_gradients):
        with pytest.raises(ValueError, match="in training mode"):
            method(model_of().train(), images)
        with pytest.raises(ValueError, match="`classes`=10 must be a class of the model"):
            method(model, images, 10)
        with pytest.raises(ValueError, match="`patch_size`=2"):
            method(model, images[..., :7])
    with pytest.raises(ValueError, match="a Sequential, must have `forward_features`"):
        class_activation_map(nn.Sequential(nn.Flatten(), nn.Linear(288, 4).double()).eval(), images)


def test_tokens_that_do_not_fill_the_image_are_refused():
    class WithClassToken(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Sequential(nn.Flatten(2), nn.ConstantPad1d((0, 1), 1.0))

        def forward(self, x):
            return self.tokens(x).sum(dim=2)

    model = WithClassToken().eval()
    with pytest.raises(ValueError, match=r"tokens \(B, T, h\) that fill images of 8×12"):
        grad_cam(model, images_of(), layer="tokens")


def test_enlarged_maps_are_bilinear_between_the_middles_of_the_patches():
    maps, images = torch.rand(2, 4, 4), torch.zeros(2, 3, 8, 8)
    big = enlarged(maps, images)
    assert torch.allclose(F.avg_pool2d(big, 2)[:, 1:3, 1:3].mean(), big[:, 2:6, 2:6].mean())
    assert torch.allclose(big[:, 1, 1], (9 * maps[:, 0, 0] + 3 * maps[:, 0, 1] + 3 * maps[:, 1, 0]
                                         + maps[:, 1, 1]) / 16)  # fmt: skip
    with pytest.raises(ValueError, match=r"`maps` of shape \(2, 4\) must be"):
        enlarged(maps[:, 0], images)
    with pytest.raises(ValueError, match="one for each of the images"):
        enlarged(maps, images[:1])


def test_autocast_outside_does_not_reach_the_sum():
    torch.manual_seed(0)
    model = create_model("convmixer", dim=8, depth=2, kernel_size=3, patch_size=2).eval()
    images, classes = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    expected = class_activation_map(model, images, classes)
    with torch.autocast("cpu"):
        assert torch.equal(class_activation_map(model, images, classes), expected)
