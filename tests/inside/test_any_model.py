"""The room takes any model: here every family of relatives, in a small size, where the other tests
of this folder take the mixers."""

import pytest
import torch
from helpers import SMALL_RELATIVES, Later, small_relative
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mixerlib.inside import (
    class_activation_map,
    deletion_curve,
    feature_maps,
    footprint,
    grad_cam,
    gradients,
    integrated_gradients,
    layer_names,
    layers_from_the_head,
    occlusion,
    pooled_features,
    spatial_kernels,
    with_random_weights,
)
from mixerlib.models import create_model, list_models, model_entry

captum = Later("captum.attr")
CLASSES = torch.tensor([3, 0, 9])
MIXERS = [name for name in list_models() if model_entry(name).family == name]
every_relative = pytest.mark.parametrize("name", list(SMALL_RELATIVES))
# Why a class map is no split of the logit, or no map
REFUSED = {
    "vit": "`forward_features` gives an output of shape",  # a token more than patches
    "deit": "`forward_features` gives an output of shape",
    "convnext": "must take its logits from the features' mean",  # a norm follows the mean
    "mdmlp": "`forward_features` gives an output of shape",  # a table of four axes
    "s_fc": "`forward_features` gives an output of shape",  # a vector
}


def fresh_of(name: str) -> nn.Module:
    """Smooth, and but for a relative's norms as it is made."""
    if name in SMALL_RELATIVES:
        return small_relative(name, activation="gelu")
    sizes = {"image_size": (8, 12)} if name == "mlp_mixer" else {"kernel_size": 3}
    return create_model(name, dim=12, depth=2, patch_size=2, num_classes=10, **sizes)


def model_of(name: str) -> nn.Module:
    """Smooth, in evaluation mode, in float64, and no weight at its first value."""
    torch.manual_seed(0)
    model = fresh_of(name)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.1 * torch.randn_like(weights)
    return model.eval().double()


def images_of(name: str, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    _, size = SMALL_RELATIVES.get(name, ({}, (8, 12)))
    return torch.randn(count, 3, *size, generator=generator, dtype=torch.float64)


def logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images).gather(1, CLASSES[:, None])[:, 0]


@every_relative
def test_maps_are_what_the_parts_give_one_after_another(name):
    model, images = model_of(name), images_of(name)
    maps = feature_maps(model, images)
    assert list(maps) == ["stem", *(f"blocks.{i}" for i in range(len(model.blocks)))]
    with torch.no_grad():
        z = model.stem(images.flatten(1) if name == "s_fc" else images)
        assert torch.equal(maps["stem"], z)
        for i, block in enumerate(model.blocks):
            z = block(z)
            assert torch.equal(maps[f"blocks.{i}"], z)


@every_relative
def test_the_gradients_are_captums_and_the_shares_sum_to_the_gain(name):
    model, images = model_of(name), images_of(name)
    other = captum.Saliency(model).attribute(
        images.clone().requires_grad_(True), CLASSES, abs=False
    )
    assert torch.allclose(gradients(model, images, CLASSES), other, atol=1e-10)
    gain = logits(model, images) - logits(model, images.flip(0))
    shares = integrated_gradients(model, images, CLASSES, images.flip(0), steps=96)
    assert torch.allclose(shares.sum(dim=(1, 2, 3)), gain, rtol=1e-3, atol=1e-4)
    covered = images.clone()
    covered[:, :, :1, :1] = 0
    lost = occlusion(model, images, CLASSES)[:, 0, 0]
    assert torch.allclose(lost, logits(model, images) - logits(model, covered), atol=1e-9)


@every_relative
def test_curves_run(name):
    model, images = model_of(name), images_of(name)
    curve = deletion_curve(model, images, images[:, 0], steps=4)
    with torch.no_grad():
        assert torch.allclose(curve[:, 0], model(images).softmax(dim=1).amax(dim=1))


@every_relative
def test_a_class_map_is_exact_or_refused(name):
    model, images = model_of(name), images_of(name)
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            class_activation_map(model, images, CLASSES)
        return
    maps = class_activation_map(model, images, CLASSES)
    sums = maps.mean(dim=(1, 2)) + model.head.bias[CLASSES]
    assert torch.allclose(sums, logits(model, images), atol=1e-9)
    layer = "norm" if hasattr(model, "norm") else None
    cam = grad_cam(model, images, CLASSES, layer, rectified=False)
    assert torch.allclose(cam * maps[0].numel(), maps, atol=1e-9)


# Redrawn weights


@every_relative
def test_only_the_named_layers_are_redrawn_and_the_model_stays(name):
    model, images = model_of(name), images_of(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    order, blocks = layers_from_the_head(model), layer_names(model)[1:]
    assert order[0].startswith("head") and order[-1 - len(blocks) :] == [*blocks[::-1], "stem"]
    for count in range(1, len(order) + 1):
        other = with_random_weights(model, images, order[:count])
        same = {key for key, value in other.state_dict().items() if torch.equal(value, before[key])}
        kept = tuple(f"{layer}." for layer in order[count:])
        assert same == {key for key in before if key.startswith(kept)}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", [*MIXERS, *SMALL_RELATIVES])
def test_all_that_is_redrawn_is_as_before_any_training(name):
    """What is drawn has the deviation of fresh weights, what is set has their value: in every
    parameter, from a model whose parameters are all 7."""
    model, images = model_of(name), images_of(name)
    torch.manual_seed(1)
    first = fresh_of(name).double()
    with torch.no_grad():
        for weights in model.parameters():
            weights.fill_(7)
    redrawn = with_random_weights(model, images)
    norms = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)  # `trained_look` has moved some
    for path, module in first.named_modules():
        for key, weights in module.named_parameters(recurse=False):
            drawn = redrawn.get_submodule(path).get_parameter(key).detach()
            weights = weights.detach()
            if isinstance(module, norms):
                assert torch.equal(drawn, torch.full_like(drawn, float(key == "weight")))
            elif weights.std(correction=0) == 0:
                assert torch.allclose(drawn, weights, rtol=1e-6, atol=0)
            elif weights.numel() > 20:
                ratio = float(drawn.std() / weights.std())
                assert 0.6 < ratio < 1.6, f"{path}.{key}"
                assert abs(float(drawn.mean() - weights.mean())) < float(weights.std())


# What PyTorch puts round a model


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")


def compiled_blocks(model: nn.Module) -> nn.Module:
    for i, block in enumerate(model.blocks):
        model.blocks[i] = compiled(block)
    return model


WRAPS = {
    "DataParallel": nn.DataParallel,  # which is in training mode, whatever it holds
    "AveragedModel": lambda model: AveragedModel(model).eval(),
    "compiled": compiled,
    "compiled blocks": compiled_blocks,
}
LOOKS = {
    "spatial_kernels": lambda model, x: spatial_kernels(model),
    "feature_maps": feature_maps,
    "pooled_features": lambda model, x: pooled_features(model, x, ["stem", "blocks.1.0.fn"]),
    "footprint": lambda model, x: footprint(model, x, "blocks.0"),
    "gradients": gradients,
    "class_activation_map": class_activation_map,
    "grad_cam": grad_cam,
    "occlusion": lambda model, x: occlusion(model, x, side=4, stride=4),
    "with_random_weights": lambda model, x: with_random_weights(model, x, ["head"])(x),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch.compile imports
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())
def test_a_wrapped_model_is_looked_at_itself(wrap):
    model, images = model_of("convmixer"), images_of("convmixer")
    expected = {name: look(model, images) for name, look in LOOKS.items()}
    wrapped = wrap(model_of("convmixer"))
    with torch.no_grad():
        wrapped(images)  # a compiled one has its code now, which later hooks are not in
    assert layer_names(wrapped) == layer_names(model)
    assert layers_from_the_head(wrapped) == layers_from_the_head(model)
    for name, look in LOOKS.items():
        torch.testing.assert_close(look(wrapped, images), expected[name], msg=name)


# Images that do not fit


def test_patches_that_overlap_need_not_divide_the_image():
    """MDMLP asks that they fill it, which it has checked when it was made."""
    sizes = {"dim": 4, "depth": 1, "image_size": 32, "patch_size": 5, "stride": 3}
    model = create_model("mdmlp", **sizes).eval()
    images = torch.randn(2, 3, 32, 32)
    assert feature_maps(model, images)["stem"].shape == (2, 10, 10, 3, 4)
    assert gradients(model, images, 1).shape == images.shape
    with pytest.raises(ValueError, match=r"^`images` of shape .* `image_size`=\(32, 32\)"):
        feature_maps(model, images[..., :29])


def test_a_table_of_places_has_no_middle_place():
    model, images = model_of("mdmlp"), images_of("mdmlp")
    with pytest.raises(ValueError, match=r"give maps \(B, h, H, W\) or tokens"):
        footprint(model, images, "blocks.0")
