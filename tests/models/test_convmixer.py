"""ConvMixer: held against the equations written out, explicit padding, and the published counts."""

import pytest
import torch
import torch.nn.functional as F
from helpers import trained_look
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mixerlib.models import create_model


def same_padding(x: torch.Tensor, k: int) -> torch.Tensor:
    """Pad k − 1 rows and columns in all: for an even k the odd one at the bottom and the right."""
    before, after = (k - 1) // 2, k - 1 - (k - 1) // 2
    return F.pad(x, (before, after, before, after))


def by_the_equations(weights: dict, x: torch.Tensor, depth: int, p: int, act) -> torch.Tensor:
    """ConvMixer in eval mode, as section 2 of the paper writes it, from nothing but its tensors."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias, mean, variance = (
            weights[f"{name}.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def convolution(x: torch.Tensor, name: str, **how) -> torch.Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **how)

    z = norm(act(convolution(x, "stem.0", stride=p)), "stem.2")
    for b in range(depth):
        k = weights[f"blocks.{b}.0.fn.0.weight"].shape[-1]
        spatial = convolution(same_padding(z, k), f"blocks.{b}.0.fn.0", groups=z.shape[1])
        z = z + norm(act(spatial), f"blocks.{b}.0.fn.2")
        z = norm(act(convolution(z, f"blocks.{b}.1")), f"blocks.{b}.3")
    return z.mean(dim=(2, 3)) @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("k", range(1, 8))
def test_equals_the_equations_for_odd_and_even_kernels(k: int, activation: str):
    torch.manual_seed(k)
    options = {"dim": 10, "depth": 3, "kernel_size": k, "patch_size": 3, "activation": activation}
    model = trained_look(create_model("convmixer", **options)).eval().double()
    x = torch.randn(2, 3, 15, 21, dtype=torch.float64)
    act = {"gelu": F.gelu, "relu": F.relu}[activation]
    torch.testing.assert_close(model(x), by_the_equations(model.state_dict(), x, 3, 3, act))


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6, 9])
def test_every_kernel_size_keeps_height_and_width(k: int):
    model = create_model("convmixer", dim=4, depth=2, kernel_size=k, patch_size=1)
    # patches fewer than the kernel is wide included
    for height, width in ((1, 3), (2, 2), (5, 9), (16, 12)):
        features = model.forward_features(torch.randn(2, 3, height, width))
        assert features.shape == (2, 4, height, width)


def test_padding_by_half_the_kernel_fails_for_an_even_kernel():
    x = torch.randn(1, 4, 8, 8)
    for k in (4, 5):
        half = nn.Conv2d(4, 4, k, groups=4, padding=k // 2)
        if k % 2:
            assert half(x).shape == x.shape
        else:
            with pytest.raises(RuntimeError, match="must match the size"):
                x + half(x)


def test_one_model_takes_every_image_size_that_the_patch_divides():
    model = create_model("convmixer", dim=4, depth=1, patch_size=4).eval()
    for height, width in ((4, 4), (8, 20), (32, 32)):
        assert model(torch.randn(1, 3, height, width)).shape == (1, 10)


def test_the_residual_goes_round_the_spatial_mixing_only():
    block = trained_look(create_model("convmixer", dim=6, depth=1)).eval().blocks[0]
    x = torch.randn(2, 6, 5, 5)
    nn.init.zeros_(block[0].fn[2].weight)  # the last BatchNorm of the branch now gives nothing
    nn.init.zeros_(block[0].fn[2].bias)
    assert torch.equal(block[0](x), x)
    nn.init.zeros_(block[3].weight)
    nn.init.zeros_(block[3].bias)
    assert torch.equal(block(x), torch.zeros_like(x))


def test_a_depthwise_kernel_sees_its_own_channel_and_the_1x1_its_own_place():
    block = trained_look(create_model("convmixer", dim=6, depth=1, kernel_size=3)).eval().blocks[0]
    x = torch.randn(1, 6, 7, 7, requires_grad=True)
    (seen,) = torch.autograd.grad(block[0](x)[0, 2, 3, 3], x)
    assert seen[0, 2, 2:5, 2:5].all()
    assert seen.count_nonzero() == 9
    (seen,) = torch.autograd.grad(block[1](x)[0, 2, 3, 3], x)
    assert seen[0, :, 3, 3].all()
    assert seen.count_nonzero() == 6


def test_relu_weights_load_silently_into_a_gelu_model_with_wrong_results():
    small = {"dim": 8, "depth": 4}
    relu = trained_look(create_model("convmixer_768_32", **small)).eval()
    gelu = create_model("convmixer_768_32", **small, activation="gelu").eval()
    gelu.load_state_dict(relu.state_dict(), strict=True)
    x = torch.randn(2, 3, 14, 14)
    assert (gelu(x) - relu(x)).abs().max() > 1e-2


def parameters(name: str, **options) -> int:
    with torch.device("meta"):
        return sum(t.numel() for t in create_model(name, **options).parameters())


@pytest.mark.parametrize(
    "name, published",
    [
        ("convmixer_1536_20", 51_625_960),
        ("convmixer_768_32", 21_110_248),
        ("convmixer_1024_20", 24_383_464),
        ("convmixer_256_8", 594_186),
        ("convmixer", 594_186),
    ],
)
def test_published_parameter_counts(name: str, published: int):
    assert parameters(name) == published


def test_published_counts_in_millions():
    assert round(parameters("convmixer_256_8", num_classes=100) / 1e6, 2) == 0.62
    assert round(parameters("convmixer_256_8_224") / 1e6, 2) == 0.70


def test_batch_norm_statistics_are_what_makes_602890_of_594186():
    with torch.device("meta"):
        model = create_model("convmixer_256_8")
    statistics = sum(t.numel() for t in model.buffers() if t.ndim)  # the step counters left out
    assert 594_186 + statistics == 602_890


@given(*[st.integers(1, 12)] * 6)
@settings(max_examples=50, deadline=None)
def test_parameters_by_part(h: int, d: int, k: int, p: int, n: int, c: int):
    stem = h * c * p**2 + h + 2 * h
    block = h * k**2 + h + 2 * h + h**2 + h + 2 * h
    options = {"kernel_size": k, "patch_size": p, "num_classes": n, "in_channels": c}
    actual = parameters("convmixer", dim=h, depth=d, **options)
    assert actual == stem + d * block + h * n + n


def test_the_tensors_have_timms_names():
    keys = set(create_model("convmixer", dim=4, depth=1).state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {
        f"{conv}.{part}"
        for conv in ("stem.0", "blocks.0.0.fn.0", "blocks.0.1", "head")
        for part in ("weight", "bias")
    }
    expected |= {
        f"{bn}.{part}" for bn in ("stem.2", "blocks.0.0.fn.2", "blocks.0.3") for part in norm
    }
    assert keys == expected
