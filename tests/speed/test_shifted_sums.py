"""Depthwise convolutions as sums of shifted maps, and blocks that are compiled alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import FAMILIES, has_compiler, small_mixer
from torch import nn
from torch.nn.utils import prune

from mixerlib.models import create_model
from mixerlib.speed import Form, in_form, with_shifted_sums
from mixerlib.speed.compiling import compiled
from mixerlib.speed.shifted_sums import ShiftedSum
from mixerlib.training import load_recipe, train

DEPTHWISE = [family for family in FAMILIES if family != "mlp_mixer"]


def results(net: nn.Module, model: nn.Module, images: torch.Tensor) -> tuple[object, ...]:
    """Logits, gradients and running statistics of one step."""
    model.zero_grad()
    logits = net(images)
    F.cross_entropy(logits, torch.arange(len(images)) % logits.shape[1]).backward()
    return logits.detach(), [p.grad for p in model.parameters()], [*model.buffers()]


@pytest.mark.parametrize("kernel_size", [1, 2, 5])
@pytest.mark.parametrize("family", DEPTHWISE)
def test_outputs_gradients_and_statistics_are_the_models(family, kernel_size):
    torch.manual_seed(0)
    model = create_model(
        family, dim=12, depth=2, kernel_size=kernel_size, patch_size=2, num_classes=3
    ).double()
    other = copy.deepcopy(model)
    images = torch.randn(4, 3, 12, 10, dtype=torch.float64)
    net = with_shifted_sums(other)
    count = sum(isinstance(layer, ShiftedSum) for layer in net.modules())
    assert count == (2 if family == "convmixer" else 4)
    torch.testing.assert_close(
        results(net, other, images), results(model, model, images), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(("size", "bias"), [((1, 4), True), ((3, 1), False), ((2, 3), True)])
def test_derivatives_are_those_of_the_sum(size, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 2, size, groups=2, padding="same", bias=bias).double()
    images = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    layer = ShiftedSum(conv)
    torch.testing.assert_close(layer(images), conv(images))
    assert torch.autograd.gradcheck(layer, (images,))
    for mine, its in zip(
        torch.autograd.grad(layer(images).square().sum(), [*conv.parameters()]),
        torch.autograd.grad(conv(images).square().sum(), [*conv.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(mine, its)


def test_half_precision_rounds_once():
    """The sum is float32's or float64's, and the result has the type of the maps."""
    conv = nn.Conv2d(4, 4, 5, groups=4, padding="same")
    images = torch.randn(2, 4, 8, 8)
    half = images.bfloat16()
    layer, exact = ShiftedSum(conv), conv.double()(half.double())
    with torch.autocast("cpu", torch.bfloat16):
        result = ShiftedSum(copy.deepcopy(conv).float())(half)
    assert result.dtype == torch.bfloat16
    assert (result.double() - exact).abs().max() <= exact.abs().max() * 2**-8
    assert layer(images.double()).dtype == torch.float64


def test_the_copy_has_the_models_weights_and_the_model_stays():
    model = small_mixer("splitmixer_i")
    text, parameters = str(model), [*model.parameters()]
    net = with_shifted_sums(model)
    assert str(model) == text
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert all(a is b for a, b in zip(net.buffers(), model.buffers(), strict=True))


def test_only_what_has_depthwise_convolutions():
    with pytest.raises(ValueError, match=r"`shifted`=True is for .*, which MLPMixer has not"):
        with_shifted_sums(create_model("mlp_mixer", dim=8, depth=1, image_size=32))


def test_what_a_user_has_hung_on_a_layer_stays():
    """A hook is called and a pruned weight computed anew, in the copy as in the model."""
    model = create_model("splitmixer_i", dim=12, depth=2, patch_size=2)
    images = torch.randn(2, 3, 8, 8)
    prune.l1_unstructured(model.blocks[0].spatial[0], "weight", amount=0.5)
    model.blocks[0].spatial[3].register_forward_hook(lambda layer, inputs, output: 2 * output)
    model(images)  # what pruning computes is no parameter, and cannot be copied
    net = with_shifted_sums(model)
    assert sum(isinstance(layer, ShiftedSum) for layer in net.modules()) == 2
    with torch.no_grad():
        model.blocks[0].spatial[0].weight_orig.mul_(3)
    torch.testing.assert_close(net(images), model(images))


def test_by_block_is_for_blocks_with_their_own_mixings():
    model = small_mixer("splitmixer_i")
    with pytest.raises(ValueError, match=r"`by_block`=True is for .* not for OneMatrix"):
        in_form(model, Form("one matrix", compile=True, by_block=True))


def test_by_block_each_block_and_the_stem_are_compiled(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda part, **_: asked.append(part) or nn.Identity())
    model = small_mixer("splitmixer_i")
    blocks = len(model.blocks)
    net = compiled(model, Form(compile=True, by_block=True))
    assert len(asked) == blocks + 1
    assert not any(isinstance(part, nn.Identity) for part in model.modules())
    assert [type(part) for part in net.blocks] == [nn.Identity] * blocks


@pytest.mark.filterwarnings("ignore")  # torch's own, on its own old parts
def test_compiled_by_block_it_is_the_same_step_and_blocks_of_a_kind_share_code():
    if not has_compiler():
        pytest.skip("torch.compile needs a C++ compiler")
    from torch._dynamo.utils import counters

    torch.compiler.reset()
    model = create_model("splitmixer_i", dim=12, depth=6, kernel_size=3, patch_size=2)
    other, images = copy.deepcopy(model), torch.randn(4, 3, 8, 8)
    net = in_form(other, Form(compile=True, shifted=True, by_block=True))
    counters.clear()
    fast = results(net, other, images)
    assert counters["stats"]["unique_graphs"] == 3  # the stem, and strategy I's two kinds
    torch.testing.assert_close(fast, results(model, model, images), rtol=1e-3, atol=1e-4)


def recipe(**settings):
    options = {"dim": 8, "depth": 2, "patch_size": 2, "kernel_size": 3}
    given = {"model": "splitmixer_i", "model_options": options, "epochs": 2, "batch_size": 20}
    return load_recipe("digits", given | settings)


@pytest.fixture
def uncompiled(monkeypatch):
    """The compiler leaves everything as it is, so that a form is seen without it."""
    monkeypatch.setattr(torch, "compile", lambda net, **_: net)


@pytest.mark.parametrize("by_block", [False, True])
def test_a_run_in_the_form_is_the_plain_run(digits, uncompiled, by_block):
    settings = {"compile": True, "shifted": True, "by_block": by_block}
    plain, record = train(recipe(), digits, "cpu", progress=False)
    model, other = train(recipe(**settings), digits, "cpu", progress=False)
    for mine, its in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-2, atol=1e-3)
    assert other.test_accuracy == pytest.approx(record.test_accuracy, abs=0.02)
    assert {name: other.settings[name] for name in settings} == settings


def test_frozen_statistics_stay_frozen_in_the_form(digits, uncompiled, tmp_path):
    """The step's copy of a model is in the mode that the model is trained in."""
    from mixerlib.weights import save_weights

    model, _ = train(recipe(), digits, "cpu", progress=False)
    save_weights(model, tmp_path / "first.safetensors")
    settings = {"weights": str(tmp_path / "first.safetensors"), "frozen": True}
    settings |= {"compile": True, "shifted": True, "by_block": True}
    tuned, _ = train(recipe(**settings), digits, "cpu", progress=False)
    for name, value in tuned.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]) != name.startswith("head"), name


@pytest.mark.parametrize("name", ["shifted", "by_block"])
def test_the_settings_are_for_what_is_compiled(name):
    with pytest.raises(ValueError, match=f"`{name}`=True has no effect with `compile`=False"):
        recipe(**{name: True})
