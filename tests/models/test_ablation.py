"""The ablations of SplitMixer-I: the plain model when nothing is set, and each option's own claim.

The blocks are held against the equations of the docstring, written out with functions of torch.
What any ablation costs is counted by hand in test_costs.py.
"""

import itertools
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mixerlib import create_model
from mixerlib.costs import formulas, measure
from mixerlib.models import model_entry
from mixerlib.models.ablation import (
    CHOICES,
    NORMS,
    RESIDUALS,
    SEGMENTS_MIXED,
    AblatedSplitMixer,
)
from mixerlib.weights import load_weights, save_weights

EVERY = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]
every_ablation = pytest.mark.parametrize(
    "choice", EVERY, ids=lambda choice: "-".join(choice.values())
)
close = {"rtol": 1e-9, "atol": 1e-10}

# The rows of the slides' table 2 that change the model, and what they then cost at 256/8
ROWS = {
    "baseline": ({}, 275_834, 65_219_072),
    "– Residual in Eq. 3": ({"residual": "none"}, 275_834, 65_219_072),
    "+ Residual in Eq. 4": ({"residual": "both"}, 275_834, 65_219_072),
    "BatchNorm → LayerNorm": ({"norm": "layer"}, 3_539_834, 65_219_072),
    "GELU → ReLU": ({"activation": "relu"}, 275_834, 65_219_072),
    "Spatial only": ({"mixes": "spatial"}, 39_178, 6_031_872),
    "Channel only": ({"mixes": "channels"}, 243_066, 59_976_192),
    "One segment": ({"segments_mixed": "first"}, 275_834, 65_219_072),
}


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)


def ablated(**options) -> AblatedSplitMixer:
    """Nine channels, of which a segment has six; three blocks; images of 8×6, maps of 4×3."""
    small = {"dim": 9, "depth": 3, "kernel_size": 3, "image_size": (8, 6), "num_classes": 5}
    return create_model("splitmixer_i_ablated", **(small | options)).double()


def images(size: int = 4) -> torch.Tensor:
    return torch.randn(size, 3, 8, 6, dtype=torch.float64)


def lived_in(model: nn.Module) -> nn.Module:
    """Norms as training leaves them: no gain of one, no shift and no mean of zero."""
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d | nn.LayerNorm):
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_()
        model.train()(images(8))
    return model


# Nothing set


@settings(max_examples=30, deadline=None)
@given(
    dim=st.integers(2, 20),
    depth=st.integers(1, 5),
    kernel_size=st.integers(1, 5),
    parts=st.integers(1, 6),
    activation=st.sampled_from(["gelu", "relu"]),
)
def test_with_no_option_set_it_is_splitmixer_i(dim, depth, kernel_size, parts, activation):
    options = {"dim": dim, "depth": depth, "kernel_size": kernel_size, "activation": activation}
    options["ratio"] = Fraction(parts, 2 * parts - 1)
    torch.manual_seed(1)
    published = create_model("splitmixer_i", **options)
    torch.manual_seed(1)
    ours = create_model("splitmixer_i_ablated", **options)
    theirs, mine = published.state_dict(), ours.state_dict()
    assert list(theirs) == list(mine)  # the same names in the same order, so weights can be copied
    assert all(torch.equal(theirs[name], mine[name]) for name in theirs)  # one seed, one model

    x, y = torch.randn(3, 3, 10, 12), torch.arange(3)  # of another size than `image_size`
    for model in (published, ours):
        F.cross_entropy(model(x), y).backward()
    for one, other in zip(published.parameters(), ours.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    for train in (True, False):  # the running statistics have moved by now
        assert torch.equal(published.train(train)(x), ours.train(train)(x))
        with torch.no_grad():
            assert torch.equal(published(x), ours(x))


# Every block, by its equation


def normed(z: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    """A norm in eval mode, by its definition."""
    if isinstance(norm, nn.BatchNorm2d):
        mean, variance, gain, shift = (
            numbers.reshape(1, -1, 1, 1)
            for numbers in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
    else:  # one image at a time: one mean and one variance of its whole map
        mean = z.mean(dim=(1, 2, 3), keepdim=True)
        variance = z.var(dim=(1, 2, 3), keepdim=True, correction=0)
        gain, shift = norm.weight, norm.bias
    return (z - mean) / (variance + norm.eps).sqrt() * gain + shift


@every_ablation
def test_a_block_is_the_equation_of_its_options(choice: dict[str, str]):
    model = lived_in(ablated(**choice)).eval()
    residual, mixes = choice["residual"], choice["mixes"]
    for index, block in enumerate(model.blocks):
        x = torch.randn(2, 9, 4, 3, dtype=torch.float64)
        z = x
        if mixes != "channels":
            row, _, norm1, column, _, norm2 = block.spatial
            y = F.conv2d(F.pad(x, (1, 1, 0, 0)), row.weight, row.bias, groups=9)
            y = normed(F.gelu(y), norm1)
            y = F.conv2d(F.pad(y, (0, 0, 1, 1)), column.weight, column.bias, groups=9)
            y = normed(F.gelu(y), norm2)
            z = x + y if residual in ("spatial", "both") else y
        if mixes != "spatial":
            start = 3 if index % 2 and choice["segments_mixed"] == "alternating" else 0
            matrix, bias = torch.eye(9, dtype=torch.float64), torch.zeros(9, dtype=torch.float64)
            matrix[start : start + 6, start : start + 6] = block.mixing.mixer.weight[:, :, 0, 0]
            bias[start : start + 6] = block.mixing.mixer.bias
            y = torch.einsum("oi,bihw->bohw", matrix, z) + bias.reshape(1, 9, 1, 1)
            y = normed(F.gelu(y), block.norm)
            z = z + y if residual in ("channel", "both") else y
        torch.testing.assert_close(block(x), z, **close)


@every_ablation
def test_every_ablation_trains_every_parameter_and_leaves_its_input_alone(choice):
    model, x = ablated(**choice), images()
    before = x.clone()
    F.cross_entropy(model(x), torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-9, name
    z = model.eval().stem(x).detach()
    kept = z.clone()
    with torch.no_grad():
        for block in model.blocks:
            block(z)
            assert torch.equal(z, kept)
    assert torch.equal(x, before)


@every_ablation
def test_a_part_that_is_left_out_leaves_no_tensor_behind(choice):
    names = {name.split(".")[2] for name in ablated(**choice).state_dict() if "blocks" in name}
    parts = {"spatial": {"spatial"}, "channels": {"mixing", "norm"}}
    assert names == parts.get(choice["mixes"], parts["spatial"] | parts["channels"])


# What the rows say in words


def hears(model: nn.Module) -> torch.Tensor:
    """Booleans (9, 4·3, 9, 4·3): whether a feature changes with a number of the stem's map."""
    z = torch.randn(1, 9, 4, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(model.eval().blocks, z)
    return (jacobian != 0).reshape(9, 12, 9, 12)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_with_channel_mixing_only_nothing_leaves_its_place(residual):
    actual = hears(ablated(mixes="channels", residual=residual)).any(dim=2).any(dim=0)
    assert torch.equal(actual, torch.eye(12, dtype=torch.bool))


@pytest.mark.parametrize("residual", RESIDUALS)
def test_with_spatial_mixing_only_nothing_leaves_its_channel(residual):
    actual = hears(ablated(mixes="spatial", residual=residual)).any(dim=3).any(dim=1)
    assert torch.equal(actual, torch.eye(9, dtype=torch.bool))


@pytest.mark.parametrize("segments_mixed", SEGMENTS_MIXED)
def test_with_one_segment_the_other_channels_stay_alone(segments_mixed):
    actual = hears(ablated(segments_mixed=segments_mixed)).any(dim=3).any(dim=1)
    if segments_mixed == "alternating":
        assert actual.all()
    else:
        assert torch.equal(actual, torch.block_diag(torch.ones(6, 6), torch.eye(3)).bool())


@pytest.mark.parametrize("train", [True, False])
def test_one_segment_holds_the_narrower_network(train):
    """Its first m features are those of a SplitMixer-I with m channels and one whole segment."""
    wide = lived_in(ablated(segments_mixed="first"))
    narrow = create_model("splitmixer_i", dim=6, depth=3, kernel_size=3, ratio=1, num_classes=5)
    cut = {
        name: tensor[:6] if tensor.ndim and not name.startswith("head") else tensor
        for name, tensor in wide.state_dict().items()
    }
    cut["head.weight"] = cut["head.weight"][:, :6]
    narrow = narrow.double().train(train)
    narrow.load_state_dict(cut)
    x = images()
    actual = wide.train(train).forward_features(x)[:, :6]
    torch.testing.assert_close(actual, narrow.forward_features(x), **close)


def test_a_residual_goes_with_the_part_that_it_goes_round():
    for mixes, same in (("spatial", ("none", "channel")), ("channels", ("none", "spatial"))):
        models = [ablated(mixes=mixes, residual=residual).eval() for residual in same]
        models[1].load_state_dict(models[0].state_dict())
        x = images()
        assert torch.equal(models[0](x), models[1](x))


# LayerNorm


def test_layernorm_stands_for_every_batchnorm_and_sees_one_image():
    model = lived_in(ablated(norm="layer")).train()
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert len(norms) == 1 + 3 * 3 and not list(model.buffers())
    assert all(norm.weight.shape == norm.bias.shape == (9, 4, 3) for norm in norms)
    x = images()
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]), **close)  # in training, too
    assert torch.equal(model(x), model.eval()(x))


def test_layernorm_begins_as_group_norm_of_one_group():
    model = ablated(norm="layer")
    x = torch.randn(2, 9, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(model.blocks[0].norm(x), F.group_norm(x, 1), **close)


@pytest.mark.parametrize("norm", NORMS)
def test_only_layernorm_is_bound_to_an_image_size(norm):
    model, turned = ablated(norm=norm).eval(), images().transpose(2, 3)
    if norm == "batch":
        assert model(turned).shape == (4, 5)
    else:
        with pytest.raises(ValueError) as caught:
            model(turned)
        message = "`x` of height and width (6, 8) must have `image_size`=(8, 6)"
        assert message in str(caught.value)


# The table


@pytest.mark.parametrize("row", ROWS)
def test_what_the_rows_of_the_table_cost(row):
    options, parameters, macs = ROWS[row]
    with torch.device("meta"):
        model = create_model("splitmixer_i_ablated_256_8", **options)
    measured = measure(model, 32)
    assert (measured.total("params"), measured.total("macs")) == (parameters, macs)


def test_the_rows_are_splitmixer_i_less_what_they_take_out():
    """The numbers above, from the closed forms of SplitMixer-I and its 25 norms."""
    plain = formulas("splitmixer_i").counts(model_entry("splitmixer_i_256_8").defaults, 32)
    params, macs = plain.params, plain.macs
    one_norm = params["normalisation"] // 25
    assert one_norm == 2 * 256
    less = {
        "Spatial only": (params["channel mixing"] + 8 * one_norm, macs["channel mixing"]),
        "Channel only": (params["spatial mixing"] + 16 * one_norm, macs["spatial mixing"]),
        "BatchNorm → LayerNorm": (25 * (one_norm - 2 * 256 * 16 * 16), 0),
    }
    for row, (_, parameters, work) in ROWS.items():
        fewer, saved = less.get(row, (0, 0))
        assert plain.total("params") - fewer == parameters
        assert plain.total("macs") - saved == work


# Errors, and files


@pytest.mark.parametrize("option", CHOICES)
@pytest.mark.parametrize("wrong", ["", "Spatial", None, True, 1, ["both"]])
def test_an_unknown_choice_is_refused(option, wrong):
    with pytest.raises(ValueError) as caught:
        ablated(**{option: wrong})
    rule = ", ".join(map(repr, CHOICES[option]))
    assert str(caught.value) == f"`{option}`={wrong!r} must be one of {rule}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "layer", "image_size": 9}, "`patch_size`=2 must divide"),
        ({"norm": "layer", "patch_size": 3}, "`patch_size`=3 must divide"),
        ({"image_size": 0}, "`image_size`=0 must be a positive whole number"),
        ({"ratio": "1/2"}, "`ratio`='1/2' must be a fraction above 1/2"),
        ({"segments": 2}, "`segments`=2 is not an option of 'splitmixer_i_ablated'"),
    ],
)
def test_a_mistake_is_told(options, message):
    with pytest.raises(ValueError) as caught:
        ablated(**options)
    assert message in str(caught.value)


def test_the_patch_need_not_divide_an_image_size_that_nothing_looks_at():
    assert ablated(patch_size=7).eval()(torch.zeros(1, 3, 14, 7).double()).shape == (1, 5)


@every_ablation
def test_a_file_goes_back_into_its_own_ablation_and_no_other(choice, tmp_path):
    model, path = lived_in(ablated(**choice)).float().eval(), tmp_path / "w.safetensors"
    save_weights(model, path)
    twin = ablated(**choice).float().eval()
    assert load_weights(twin, path) == "mixerlib"
    x = images().float()
    assert torch.equal(twin(x), model(x))
    # residual and segments leave the shapes as they are: only what the file states tells them apart
    for option in ("residual", "segments_mixed"):
        other = next(value for value in CHOICES[option] if value != choice[option])
        with pytest.raises(ValueError, match=f"states {option}='{choice[option]}'"):
            load_weights(ablated(**(choice | {option: other})).float(), path)
