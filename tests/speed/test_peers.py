"""Other people's forms of the models: the same outputs and gradients from the same weights."""

import copy
from collections import Counter

import pytest
import torch
from helpers import trained_look
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mixerlib import create_model
from mixerlib.speed import peers
from mixerlib.speed.peers import listing_form, timm_form

STRATEGIES = ("i", "ii", "iii", "iv", "v", "3d")
has_timm = pytest.mark.skipif(not peers.timm_is_installed(), reason="timm is not installed")


def assert_same(form: nn.Module, model: nn.Module, images: torch.Tensor) -> None:
    """In evaluation mode and in training, forward and backward; and the model is left alone."""
    before = copy.deepcopy(model.state_dict())
    for training in (False, True):
        form.train(training), model.train(training)
        x, y = (images.clone().requires_grad_() for _ in range(2))
        ours, theirs = model(x), form(y)
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            torch.autograd.grad(theirs.square().sum(), y),
            torch.autograd.grad(ours.square().sum(), x),
            rtol=1e-3,
            atol=1e-4,
        )
        model.load_state_dict(before)  # training has moved its running statistics
    originals, other = ({t.data_ptr() for t in m.parameters()} for m in (model, form))
    assert not originals & other
    counts = [sum(p.numel() for p in m.parameters()) for m in (model, form)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(
    width=st.integers(2, 5),
    segments=st.integers(1, 4),
    remainder=st.integers(0, 3),
    depth=st.integers(1, 3),
    k=st.integers(1, 4),
    ratio=st.sampled_from(["2/3", "6/11", "9/10", "1"]),
    act=st.sampled_from(["gelu", "relu"]),
)
@settings(max_examples=8, deadline=None)
def test_the_listing_of_every_strategy(strategy, width, segments, remainder, depth, k, ratio, act):
    if strategy in ("iii", "3d"):
        remainder = 0
    options = {"ratio": ratio} if strategy in ("i", "v") else {"segments": segments}
    options |= {"dim": width * segments + remainder, "depth": depth, "kernel_size": k}
    model = trained_look(create_model(f"splitmixer_{strategy}", activation=act, **options))
    assert_same(listing_form(model), model, torch.randn(2, 3, 8, 6))


@pytest.mark.parametrize("k", [3, 4])
def test_the_listing_of_convmixer_is_the_tweet(k):
    model = trained_look(create_model("convmixer", dim=6, depth=2, kernel_size=k))
    form = listing_form(model)
    assert len(form) == 6  # stem, blocks, pool, flatten, head
    assert_same(form, model, torch.randn(2, 3, 8, 8))


@has_timm
@pytest.mark.parametrize("options", [{}, {"activation": "relu", "kernel_size": 4}])
def test_timms_convmixer(options):
    model = trained_look(create_model("convmixer", dim=6, depth=2, **options))
    form = timm_form(model)
    assert type(form).__module__ == "timm.models.convmixer"
    assert_same(form, model, torch.randn(2, 3, 8, 8))


@has_timm
@pytest.mark.parametrize(
    "options",
    [
        {"dim": 7, "tokens_dim": 11, "channels_dim": 5},  # widths that no float ratio hits
        {"dim": 49, "tokens_dim": 29, "channels_dim": 3, "activation": "relu", "in_channels": 1},
    ],
)
def test_timms_mlp_mixer(options):
    model = create_model("mlp_mixer", depth=2, image_size=(8, 16), **options)
    form = timm_form(model)
    assert type(form).__module__ == "timm.models.mlp_mixer"
    assert_same(form, model, torch.randn(2, model.in_channels, 8, 16))


def test_what_nobody_else_has():
    small = {"dim": 4, "depth": 1}
    for model in (
        create_model("splitmixer_iv", shuffle=True, **small),
        create_model("convmixer", activation="relu", **small),
        create_model("convmixer", in_channels=1, **small),
        create_model("mlp_mixer", **small),
        create_model("splitmixer_i_ablated", **small),
    ):
        assert listing_form(model) is None
    assert timm_form(create_model("splitmixer_i", **small)) is None
    with pytest.raises(ValueError, match="`mixing` of type Conv2d"):
        peers.listed_mixing(nn.Conv2d(4, 4, 1), 4)


class Operations(TorchDispatchMode):
    """Counts the operations of a forward pass by name."""

    def __init__(self):
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name == "convolution":
            name += f" of {args[1].ndim - 2}-D kernels"
        self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "strategy, joins, convolutions",
    [("i", 2, 2), ("ii", 2, 2), ("iii", 2, 8), ("iv", 2, 8), ("v", 4, 4)],
)
def test_a_listing_splits_and_joins(strategy, joins, convolutions):
    """Two blocks, s = 4 or α = 2/3: nothing of what our modules spare is spared."""
    options = {} if strategy in ("i", "v") else {"segments": 4}
    form = listing_form(create_model(f"splitmixer_{strategy}", dim=12, depth=2, **options).eval())
    with torch.no_grad(), Operations() as operations:
        form(torch.zeros(1, 3, 4, 4))
    others = 1 + 2 * 2  # the stem's and the depthwise convolutions
    assert operations.counts["cat"] == operations.counts["split_with_sizes"] == joins
    assert operations.counts["convolution of 2-D kernels"] == convolutions + others


def test_the_listed_3d_form_convolves_in_three_dimensions():
    form = listing_form(create_model("splitmixer_3d", dim=12, depth=2).eval())
    with torch.no_grad(), Operations() as operations:
        form(torch.zeros(1, 3, 4, 4))
    assert operations.counts["convolution of 3-D kernels"] == 2


def test_a_form_is_in_the_models_mode():
    for name in ("convmixer", "splitmixer_i"):
        model = create_model(name, dim=4, depth=1).eval()
        assert not any(module.training for module in listing_form(model).modules())
        assert listing_form(model.train()).training
