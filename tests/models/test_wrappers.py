"""Models inside what PyTorch puts round them: saved, loaded, folded and exported as themselves."""

import copy

import pytest
import torch
from helpers import trained_look
from safetensors import safe_open
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mixerlib.models import create_model, unwrapped
from mixerlib.speed.inference import check, fold, optimize_for_inference
from mixerlib.weights import load_weights, save_weights

# of torch.compile and of what it imports
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WRAPS = {
    "compiled": torch.compile,
    "DataParallel": nn.DataParallel,
    "AveragedModel": AveragedModel,
    "compiled DataParallel": lambda model: torch.compile(nn.DataParallel(model)),
    "AveragedModel of compiled": lambda model: AveragedModel(torch.compile(model)),
}
every_wrap = pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())


def new(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return trained_look(create_model("splitmixer_i", dim=12, depth=2)).eval()


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(s, t) for (a, s), (b, t) in pairs)


@every_wrap
def test_the_model_comes_out(wrap):
    model = new()
    inner = unwrapped(wrap(model))
    assert type(inner) is type(model) and same(inner, model)
    assert unwrapped(model) is model


@every_wrap
def test_weights_are_saved_and_loaded_as_the_models_own(wrap, tmp_path):
    model, path = new(), tmp_path / "weights.safetensors"
    save_weights(wrap(copy.deepcopy(model)), path)
    save_weights(model, tmp_path / "plain.safetensors")
    files = [safe_open(file, "pt") for file in (path, tmp_path / "plain.safetensors")]
    assert files[0].metadata() == files[1].metadata()
    assert list(files[0].keys()) == list(files[1].keys())
    wrapped = wrap(new(seed=1))
    assert not same(unwrapped(wrapped), model)
    assert load_weights(wrapped, path) == "mixerlib"
    assert same(unwrapped(wrapped), model)


@every_wrap
def test_a_wrapped_model_has_a_fast_form(wrap):
    model, images = new(), torch.randn(2, 3, 8, 8)
    assert type(fold(wrap(model), images)) is type(fold(model, images))
    fast = optimize_for_inference(wrap(model), images, compile=False, remember=False)
    assert check(model, fast, images) < 1e-5
    assert "SplitMixer" in fast.choice.setting
