"""Linear layers as 1×1 convolutions: the same outputs, and a form among others."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import trained_look
from torch import nn
from torch.nn.utils import prune

from mixerlib.models import create_model
from mixerlib.speed import convolved
from mixerlib.speed.form import Form
from mixerlib.speed.inference import check, optimize_for_inference
from mixerlib.speed.inference import choice as choosing
from mixerlib.speed.linear_layers import ConvolvedLinear, by_convolution
from mixerlib.speed.timing import Timing

MIXER = {"dim": 8, "depth": 2, "tokens_dim": 4, "channels_dim": 6, "image_size": 16}


def timing(seconds: float) -> Timing:
    return Timing.of([seconds])


def mixer() -> nn.Module:
    torch.manual_seed(0)
    return trained_look(create_model("mlp_mixer", patch_size=4, **MIXER)).eval()


@pytest.mark.parametrize(
    "shape", [(5,), (7, 5), (16, 5), (3, 4, 5), (4, 49, 5), (2, 3, 4, 5), (0, 4, 5)]
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)]
)
def test_a_linear_layer_is_a_convolution_over_its_rows(shape, bias, dtype, close):
    x, layer = torch.randn(shape).to(dtype), nn.Linear(5, 6, bias=bias).to(dtype)
    y = by_convolution(x, layer.weight, layer.bias)
    assert y.shape == (*shape[:-1], 6) and y.dtype == dtype
    assert torch.allclose(y, layer(x), rtol=close, atol=close)


@pytest.mark.parametrize(("m", "n"), [(0, 3), (3, 0)])
def test_a_layer_without_features_computes_too(m, n):
    x, weight, bias = torch.randn(2, 4, m), torch.randn(n, m), torch.randn(n)
    assert torch.equal(by_convolution(x, weight, bias), F.linear(x, weight, bias))


def test_rows_may_lie_apart_in_memory():
    x, weight = torch.randn(3, 5, 4).double().transpose(1, 2), torch.randn(6, 5).double()
    assert torch.allclose(by_convolution(x, weight), F.linear(x, weight), atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "images"), [(64, 16), (24, 24), (196, 28), (7, 1), (134, 2), (17 * 31, 17)]
)
def test_rows_are_shared_out_to_sixteen_images_or_some_more(monkeypatch, rows, images):
    """PyTorch on one thread takes its convolution for fewer than sixteen from elsewhere."""
    given, conv = [], F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda x, *a: given.append(x) or conv(x, *a))
    by_convolution(torch.randn(rows, 5), torch.randn(6, 5))
    (x,) = given
    assert x.shape == (images, 5, rows // images, 1)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_a_network_that_is_convolved_can_be_exported_for_any_number_of_images():
    model, images = convolved(mixer()), torch.randn(3, 3, 16, 16)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (images,), dynamic_shapes=({0: batch},)).module()
    for count in (3, 5, 16):
        more = torch.randn(count, 3, 16, 16)
        assert torch.allclose(exported(more), model(more), atol=1e-5)


def test_every_plain_linear_layer_of_a_copy_is_convolved():
    model, images = mixer(), torch.randn(3, 3, 16, 16)
    before = copy.deepcopy(model)
    other = convolved(model)
    kinds = {type(layer) for layer in other.modules() if isinstance(layer, nn.Linear)}
    assert kinds == {ConvolvedLinear}
    assert torch.allclose(other(images), model(images), atol=1e-5)
    assert [type(layer) for layer in model.modules()] == [type(m) for m in before.modules()]
    assert list(other.state_dict()) == list(model.state_dict())


def test_what_a_user_hangs_on_a_layer_is_called_and_layers_of_other_classes_stay():
    class Other(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(2, 2), Other(2, 2), nn.Linear(2, 2)).eval()
    model[2].register_forward_hook(lambda module, x, y: y + 1)
    kinds = [type(layer) for layer in convolved(model)]
    assert kinds == [ConvolvedLinear, Other, ConvolvedLinear]
    x = torch.randn(4, 2)
    assert torch.allclose(convolved(model)(x), model(x), atol=1e-6)


def test_a_pruned_layer_that_has_run_is_convolved():
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), torch.randn(3, 4)
    prune.l1_unstructured(model[0], "weight", amount=3)
    expected = model(x)
    assert torch.allclose(convolved(model)(x), expected, atol=1e-6)
    assert prune.is_pruned(model[0]) and (model[0].weight == 0).sum() == 3


def test_on_a_cpu_a_mixer_of_linear_layers_is_tried_with_convolutions(monkeypatch):
    model, images = mixer(), torch.randn(4, 3, 16, 16)
    trials = choosing.Trials(model, images, torch.float32)
    assert trials.rewritten() == [Form("convolution")]
    classifier = nn.Sequential(nn.Conv2d(3, 2, 16), nn.Flatten(), nn.Linear(2, 2))
    assert choosing.Trials(classifier, images, torch.float32).rewritten() == []  # but a head
    monkeypatch.setattr(trials, "example", images.to("meta"))
    assert trials.rewritten() == []  # on another device
    quicker = {"convolution": 1e-3, "own": 2e-3}

    def race(runs, *_, **__):
        return {form: timing(quicker[form.mixing]) for form in runs}

    monkeypatch.setattr(choosing, "race", race)
    fast = optimize_for_inference(model, images, compile=False, remember=False)
    assert fast.form.mixing == "convolution" and not fast.form.folded
    assert any(isinstance(layer, ConvolvedLinear) for layer in fast.modules())
    assert check(model, fast, images) < 1e-5


@pytest.mark.parametrize(
    ("overhead", "an_image", "largest"),
    [(0.02, 0.001, 64), (0.0, 0.01, 4), (0.02, 0.01, 16)],
)
def test_more_images_at_once_as_long_as_it_pays(monkeypatch, overhead, an_image, largest):
    """Runs whose start costs something gain by more images, others do not, and long ones are
    not tried: here of more than a quarter of a second."""
    trials = choosing.Trials(mixer(), torch.randn(64, 3, 16, 16), torch.float32)
    asked = []

    def measure(forms, count):
        asked.append(count)
        for form in forms:
            seconds = count / form.at_once * overhead + count * an_image
            trials.usable[form] = None
            trials.trials[form] = choosing.Trial(form, 0.0, count / seconds)

    monkeypatch.setattr(trials, "measure", measure)
    best = Form(at_once=4)
    measure([best], 4)
    assert choosing._grown(trials, best).at_once == largest
    assert all(count * an_image <= choosing.LONG for count in asked)


def test_a_smaller_piece_that_has_won_does_not_grow(monkeypatch):
    """It was raced against the larger ones already."""
    grown = []
    monkeypatch.setattr(choosing, "_grown", lambda trials, best: grown.append(best) or best)

    def race(runs, *_, **__):
        return {form: timing(1e-3 if form.at_once == smallest else 2e-3) for form in runs}

    monkeypatch.setattr(choosing, "race", race)
    for smallest in (1, 8):
        grown.clear()
        images = torch.randn(8, 3, 16, 16)
        fast = optimize_for_inference(mixer(), images, compile=False, remember=False)
        assert fast.form.at_once == smallest and bool(grown) == (smallest == 8)
