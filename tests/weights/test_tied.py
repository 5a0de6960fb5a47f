"""Tensors under several names: what safetensors' own `save_model` and `load_model` make of ours."""

from collections.abc import Iterator

import pytest
import safetensors.torch
import torch
from helpers import FAMILIES, SMALL_RELATIVES, small_mixer, small_relative, trained_look
from torch import nn

from mixerlib.models import create_model
from mixerlib.speed import fold
from mixerlib.weights import from_pretrained, load_weights, save_pretrained, save_weights

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ABLATED = (
    *({"residual": word} for word in ("none", "both", "channel")),
    *({"mixes": word} for word in ("spatial", "channels")),
    {"norm": "layer", "image_size": 8},
    {"segments_mixed": "first"},
)


def new(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create_model("splitmixer_iii", dim=12, depth=3).eval()


def whole_block(model: nn.Module) -> nn.Module:
    model.blocks[2] = model.blocks[1] = model.blocks[0]
    return model


def mixing(model: nn.Module) -> nn.Module:
    model.blocks[2].mixing = model.blocks[0].mixing
    return model


def one_parameter(model: nn.Module) -> nn.Module:
    model.blocks[1].spatial[0].weight = model.blocks[0].spatial[0].weight
    return model


def one_storage(model: nn.Module) -> nn.Module:
    kept = model.blocks[0].spatial[0].weight.detach()
    model.blocks[1].spatial[0].weight = nn.Parameter(kept)
    return model


TIES = (whole_block, mixing, one_parameter, one_storage)
every_tie = pytest.mark.parametrize("tie", TIES, ids=lambda tie: tie.__name__)


def models() -> Iterator[nn.Module]:
    yield from (small_mixer(name) for name in FAMILIES if name != "mlp_mixer")
    yield from (small_mixer("splitmixer_i_ablated", **options) for options in ABLATED)
    yield small_mixer("mlp_mixer", image_size=8, patch_size=2)
    yield from (small_relative(name) for name in SMALL_RELATIVES)
    for mixing in ("convolution", "in place", "linear", "one matrix"):
        yield fold(trained_look(new()).double(), IMAGES.double(), mixing)


def test_no_model_of_the_library_has_a_tensor_of_two_names(tmp_path):
    for model in models():
        safetensors.torch.save_model(model, tmp_path / "w.safetensors")
        kept = safetensors.torch.load_file(tmp_path / "w.safetensors")
        assert kept.keys() == model.state_dict().keys()
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.zero_()
        assert safetensors.torch.load_model(model, tmp_path / "w.safetensors") == (set(), [])
        state = model.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in kept.items())


@every_tie
@pytest.mark.parametrize("tied_again", [False, True])
def test_what_save_model_writes_of_tied_layers_is_read(tie, tied_again, tmp_path):
    source, model = tie(new()), new(seed=1)
    model = tie(model) if tied_again else model
    safetensors.torch.save_model(source, tmp_path / "w.safetensors")
    names = safetensors.torch.load_file(tmp_path / "w.safetensors").keys()
    assert names < source.state_dict().keys()
    assert load_weights(model, tmp_path / "w.safetensors") == "mixerlib"
    assert torch.equal(model(IMAGES), source(IMAGES))


@every_tie
def test_what_save_weights_writes_of_tied_layers_is_read(tie, tmp_path):
    source = tie(new())
    save_weights(source, tmp_path / "w.safetensors")
    for model in (new(seed=1), tie(new(seed=1))):
        load_weights(model, tmp_path / "w.safetensors")
        assert torch.equal(model(IMAGES), source(IMAGES))
    untied, tied = new(seed=1), tie(new(seed=1))
    assert safetensors.torch.load_model(untied, tmp_path / "w.safetensors") == (set(), [])
    safetensors.torch.load_model(tied, tmp_path / "w.safetensors", strict=False)
    assert torch.equal(untied(IMAGES), source(IMAGES))
    assert torch.equal(tied(IMAGES), source(IMAGES))


@every_tie
def test_two_answers_for_one_tensor_are_refused(tie, tmp_path):
    save_weights(new(), tmp_path / "w.safetensors")
    model = tie(new(seed=1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"different numbers for `(blocks\.\S+)` and `blocks\S+`, which are one"
    ):
        load_weights(model, tmp_path / "w.safetensors")
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_a_folder_for_the_hub_keeps_what_tied_layers_compute(tmp_path):
    source = whole_block(new())
    save_pretrained(source, tmp_path / "folder")
    assert torch.equal(from_pretrained(tmp_path / "folder")(IMAGES), source(IMAGES))
