"""What `measure` counts, whatever mode it is asked in and whatever the model is made of."""

import contextlib

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from mixerlib import costs
from mixerlib.inside import with_random_weights
from mixerlib.models import create_model

SIZES = {"dim": 8, "depth": 2, "patch_size": 2, "kernel_size": 3}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("made_in", [contextlib.nullcontext, torch.inference_mode])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_counts_are_the_same_in_every_mode(mode, made_in, device):
    expected = costs.measure(create_model("splitmixer_i", **SIZES), 8)
    with made_in():
        model = create_model("splitmixer_i", **SIZES)
    with mode():
        assert costs.measure(model, 8, device=device) == expected
        assert costs.by_scope(model, 8)["the model"][1] == costs.macs(expected)


class Made(nn.Module):
    """A model whose one block is what a test is about."""

    def __init__(self, stem: nn.Module, block: nn.Module, head: nn.Module):
        super().__init__()
        self.stem, self.blocks, self.head = stem, nn.ModuleList([block]), head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks[0](self.stem(x)))


class FilledInPlace(nn.Module):
    """Mixes the first half of the channels into a map of zeros, and then all of them."""

    def __init__(self, dim: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(dim // 2, dim // 2, 1), nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[1] // 2
        mixed = torch.zeros(x.shape, device=x.device)
        mixed[:, :half] = self.first(x[:, :half])
        mixed[:, half:] = x[:, half:]
        return self.second(mixed)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_is_made_of_a_map_that_was_filled_in_place_is_counted(device):
    model = Made(nn.Conv2d(3, 8, 2, 2), FilledInPlace(8), nn.Conv2d(8, 10, 4))
    measured = costs.measure(model, 8, device=device)
    assert measured.macs["channel mixing"] == 16 * (4 * 4 + 8 * 8)
    assert costs.macs(measured) == measured.flop_counter


class Batched(nn.Module):
    """Mixes the places by a matrix, and adds it to what was there, at once."""

    def __init__(self, places: int):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(places, places))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2)
        return torch.baddbmm(tokens, tokens, self.matrix.expand(len(x), -1, -1)).view_as(x)


class Flat(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1))


@pytest.mark.parametrize(
    ("block", "macs"),
    [
        (nn.ConvTranspose2d(8, 8, 3, padding=1), 16 * 9 * 8 * 8),
        (nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1, groups=4), 16 * 9 * 8 * 2),
        (
            nn.Sequential(nn.Conv2d(8, 12, 2, 2), nn.ConvTranspose2d(12, 8, 2, 2)),
            2 * 4 * 4 * 12 * 8,
        ),
        (Batched(16), 16 * 16 * 8),
    ],
)
def test_every_product_is_counted_as_by_the_counter_of_flops(block, macs):
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), Flat(8, 10))
    model = Made(nn.Conv2d(3, 8, 2, 2), nn.Sequential(block), head)
    measured = costs.measure(model, 8)
    assert costs.macs(measured) == measured.flop_counter == 16 * 3 * 4 * 8 + macs + 8 * 10


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_pruned_and_normalised_model_is_counted_as_it_runs():
    model = create_model("convmixer", **SIZES)
    expected = costs.measure(model, 8)
    prune.l1_unstructured(model.blocks[0][0].fn[0], "weight", 0.5)
    nn.utils.weight_norm(model.stem[0])
    images = torch.randn(2, 3, 8, 8)
    model(images)  # leaves weights that autograd has made
    measured = costs.measure(model, 8)
    assert measured.macs_by_layer == expected.macs_by_layer
    assert measured.total("params") == expected.total("params") + 8  # the norms of the stem's
    assert costs.by_scope(model, 8)["the model"] == (measured.total("params"), costs.macs(measured))
    assert costs.measured_reach(model, images[:1], 1).all()
    redrawn = with_random_weights(model.eval(), images, ["head"])
    assert torch.equal(redrawn.stem(images), model.stem(images))
    before = model.stem[0].weight
    assert costs.mixing_jacobian(model.blocks[0], torch.randn(1, 8, 3, 3)).any()
    assert model.stem[0].weight is before


class Attention(nn.MultiheadAttention):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).mT
        return super().forward(tokens, tokens, tokens, need_weights=False)[0].mT.reshape(x.shape)


class Heads(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).mT[:, None]
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mT.view_as(x)


@pytest.mark.parametrize("block", [Attention(8, 2, batch_first=True), Heads()])
def test_attention_is_counted_on_the_cpu_as_without_numbers(block):
    model = Made(nn.Conv2d(3, 8, 2, 2), nn.Sequential(block), nn.Conv2d(8, 10, 4)).eval()
    fast = torch.backends.mha.get_fastpath_enabled()
    measured = costs.measure(model, 8, device="cpu")
    assert measured == costs.measure(model, 8)
    assert costs.macs(measured) == measured.flop_counter
    attention = 2 * 16 * 16 * 8
    assert measured.macs["spatial mixing"] >= attention
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_a_frozen_model_has_the_counts_of_one_that_is_trained():
    model = create_model("convmixer", **SIZES)
    expected = costs.measure(model, 8)
    assert costs.measure(model.requires_grad_(False), 8) == expected
    assert not any(weight.requires_grad for weight in model.parameters())


def test_the_counts_do_not_depend_on_torchs_defaults():
    model = create_model("convmixer", **SIZES)
    expected, images = costs.measure(model, 8), torch.randn(1, 3, 8, 8)
    heard = costs.measured_reach(model, images, 1)
    torch.set_default_dtype(torch.float64)
    try:
        assert costs.measure(model, 8, device="cpu") == expected
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert costs.measure(model, 8, device="cpu") == expected
        assert (costs.measured_reach(model, images, 1) == heard).all()
