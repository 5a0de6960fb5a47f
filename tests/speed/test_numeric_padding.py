"""Padding in numbers: the same model, and what reads no "same" then reads it."""

import warnings

import pytest
import torch
from helpers import Later, small_mixer, small_relative, trained_look
from torch import nn

from mixerlib.costs import measure
from mixerlib.models import create_model
from mixerlib.pages import steps
from mixerlib.pages.interactives import network_script
from mixerlib.speed import export_onnx, fold, with_numeric_padding, with_shifted_sums
from mixerlib.weights import load_weights, save_weights

networks = Later("mixerlib.pages.networks")

NAMES = ("convmixer", "splitmixer_i", "splitmixer_iv", "splitmixer_3d", "splitmixer_i_ablated")
KERNELS = (1, 2, 3, 4, 5)
of_an_even_kernel_too = pytest.mark.parametrize("kernel_size", [4, 5])


def images(batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def words(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(getattr(m, "padding", None), str)]


@pytest.mark.parametrize("kernel_size", KERNELS)
@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_stay_and_no_padding_is_a_word(name, kernel_size):
    model = small_mixer(name, kernel_size=kernel_size).double()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    net = with_numeric_padding(model)
    assert words(model) and not words(net)
    for sides in ((16, 16), (2, 6)):  # a map smaller than the kernel, too
        x = torch.randn(2, 3, *sides, dtype=torch.float64)
        torch.testing.assert_close(net(x), model(x), rtol=1e-12, atol=1e-12)
    state = model.state_dict()
    assert list(net.state_dict()) == list(state) == list(before)
    assert all(torch.equal(state[key], tensor) for key, tensor in before.items())
    if kernel_size % 2:
        assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in before.items())


def test_other_models_and_wrapped_ones():
    relative = trained_look(small_relative("convnext")).eval()
    assert words(relative) and not words(with_numeric_padding(relative))
    mixer = create_model("mlp_mixer", dim=8, depth=1, image_size=16, tokens_dim=4, channels_dim=6)
    assert type(with_numeric_padding(mixer)) is type(mixer)
    assert not words(with_numeric_padding(nn.DataParallel(small_mixer())))
    frozen = small_mixer("convmixer", kernel_size=4).requires_grad_(False)
    assert not any(p.requires_grad for p in with_numeric_padding(frozen).parameters())


def test_an_even_kernel_of_another_kind_is_refused():
    for options in ({"dilation": 3}, {"padding_mode": "circular"}):
        net = nn.Sequential(nn.Conv2d(2, 2, 4, padding="same", **options))
        with pytest.raises(ValueError, match="`model` must pad the even kernel of `0` with zeros"):
            with_numeric_padding(net)
        odd = nn.Conv2d(2, 2, 5, padding="same", **options)
        x = torch.randn(1, 2, 16, 16)
        torch.testing.assert_close(with_numeric_padding(odd)(x), odd(x))


@of_an_even_kernel_too
@pytest.mark.parametrize("name", ["convmixer", "splitmixer_i"])
def test_fx_quantization_converts_the_model(name, kernel_size):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated
        from torch.ao.quantization import get_default_qconfig_mapping
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

        model = small_mixer(name, kernel_size=kernel_size)
        kinds = get_default_qconfig_mapping("x86")
        prepared = prepare_fx(with_numeric_padding(model), kinds, (images(),))
        prepared(images())
        quantized = convert_fx(prepared)
    spatial = [m for m in quantized.modules() if "quantized" in type(m).__module__]
    assert sum(getattr(m, "groups", 1) > 1 for m in spatial) == 2 * (1 + (name != "convmixer"))
    expected = model(images())
    assert (quantized(images()) - expected).abs().max() < 0.25 * expected.abs().max()


@of_an_even_kernel_too
def test_what_is_exported_has_the_convolutions_that_quantizers_know(kernel_size):
    """torchao's `prepare_pt2e` looks for `aten.conv2d.default`, and fails at `conv2d.padding`."""

    def kinds(net: nn.Module) -> set[str]:
        return {str(node.target) for node in torch.export.export(net, (images(),)).graph.nodes}

    model = small_mixer("convmixer", kernel_size=kernel_size)
    assert "aten.conv2d.padding" in kinds(model)
    assert "aten.conv2d.padding" not in kinds(with_numeric_padding(model))


@of_an_even_kernel_too
@pytest.mark.parametrize("name", ["convmixer", "splitmixer_ii"])
def test_the_library_asks_for_no_word(name, kernel_size, tmp_path):
    model = small_mixer(name, kernel_size=kernel_size)
    net = with_numeric_padding(model)
    expected = model(images())
    torch.testing.assert_close(fold(net, images())(images()), expected, rtol=1e-4, atol=1e-5)
    assert type(fold(net, images())) is type(fold(model, images()))
    torch.testing.assert_close(with_shifted_sums(net)(images()), expected, rtol=1e-4, atol=1e-5)
    assert networks.draw_network(net, 16)
    assert [step.kind for step in steps(net, 16)] == [step.kind for step in steps(model, 16)]
    network_script(net, 16)
    longer = create_model(name, dim=12, depth=2, kernel_size=kernel_size + 1 - kernel_size % 2)
    assert measure(net, 16) == measure(longer, 16)
    save_weights(net, tmp_path / "w.safetensors")
    load_weights(longer, tmp_path / "w.safetensors")
    torch.testing.assert_close(longer.eval()(images()), expected)


def test_onnx_takes_it(tmp_path):
    pytest.importorskip("onnxruntime")
    net = with_numeric_padding(small_mixer("convmixer", kernel_size=4))
    assert export_onnx(net, images(), tmp_path / "w.onnx") < 1e-5
