"""Fast forms: each rewriting is an equality, whole models keep their outputs, the choice is fair.

Equalities are tested in float64, where equal forms agree to the last digits, on BatchNorms far from
their initial values and on maps small enough that the border is most of them.
"""

import copy
import math
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import trained_look
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mixerlib
from mixerlib.models import create_model, list_models
from mixerlib.models.mixings import channel_mixing, channel_shuffle
from mixerlib.speed.form import Form
from mixerlib.speed.inference import check, export_onnx, fold, optimize_for_inference, remembered
from mixerlib.speed.inference import choice as choosing
from mixerlib.speed.inference.choice import Trial
from mixerlib.speed.inference.fast_model import TOLERANCE, FastModel, relative_difference
from mixerlib.speed.inference.folding import (
    MIXINGS,
    Folded,
    FoldedBlock,
    LinearProduct,
    ScaledAdd,
    Spatial,
    affine,
    fast_mixing,
    fold_forward,
    grouped_convolution,
    one_matrix,
    products,
)

close = {"rtol": 1e-10, "atol": 1e-12}  # of float64
every_form = pytest.mark.parametrize("form", MIXINGS)
needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler"
)

# name, options: every family, with the widths that make segments unequal and kernels even
SMALL = {"dim": 12, "depth": 3, "kernel_size": 3}
MODELS = [
    ("convmixer", SMALL),
    ("convmixer", SMALL | {"kernel_size": 4, "activation": "relu", "patch_size": 4}),
    ("splitmixer_i", SMALL),
    ("splitmixer_i", SMALL | {"dim": 13, "ratio": "6/11"}),
    ("splitmixer_i", SMALL | {"ratio": 1}),
    ("splitmixer_ii", SMALL | {"segments": 5}),
    ("splitmixer_ii", SMALL | {"segments": 3, "shuffle": True}),
    ("splitmixer_iii", SMALL | {"kernel_size": 2}),
    ("splitmixer_iii", SMALL | {"segments": 3, "shuffle": True}),
    ("splitmixer_iv", SMALL | {"segments": 5}),
    ("splitmixer_iv", SMALL | {"segments": 4, "shuffle": True}),
    ("splitmixer_v", SMALL),
    ("splitmixer_v", SMALL | {"dim": 11, "ratio": "6/11"}),  # m = 6 and h − m = 5
    ("splitmixer_3d", SMALL | {"segments": 3}),
]
LEFT_ALONE = [
    (
        "mlp_mixer",
        {"dim": 8, "depth": 2, "tokens_dim": 4, "channels_dim": 6, "image_size": (16, 24)},
    ),
    ("splitmixer_i_ablated", SMALL | {"residual": "none"}),
    ("splitmixer_i_ablated", SMALL | {"norm": "layer", "image_size": (16, 24)}),
]


def model_and_images(name: str, options: dict) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = trained_look(create_model(name, **options)).double().eval()
    return model, torch.randn(3, 3, 16, 24, dtype=torch.float64)


def batch_norm(channels: int, affine: bool = True) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, affine=affine).double().eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 2)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


def features(channels: int, height: int = 4, width: int = 5) -> torch.Tensor:
    return torch.randn(2, channels, height, width, dtype=torch.float64)


# Each rewriting


@pytest.mark.parametrize("with_affine", [True, False])
def test_batch_norm_is_an_affine_map(with_affine: bool):
    norm, x = batch_norm(3, with_affine), features(3)
    scale, shift = affine(norm)
    torch.testing.assert_close(scale.view(3, 1, 1) * x + shift.view(3, 1, 1), norm(x), **close)


@pytest.mark.parametrize("bias", [True, False])
def test_an_affine_map_folds_forward_through_the_mean_into_the_head(bias: bool):
    norm, head, x = batch_norm(3), nn.Linear(3, 4, bias=bias).double(), features(3)
    before = copy.deepcopy(head.state_dict())
    folded = fold_forward(head, *affine(norm))
    torch.testing.assert_close(folded(x.mean((2, 3))), head(norm(x).mean((2, 3))), **close)
    assert all(map(torch.equal, before.values(), head.state_dict().values()))


@pytest.mark.parametrize("kernel", [1, 3, 4, (1, 5), (5, 1)])
def test_the_shift_becomes_a_bias_map_in_a_padded_depthwise_convolution(kernel):
    conv = nn.Conv2d(3, 3, kernel, groups=3, padding="same").double()
    norm, x = batch_norm(3), features(3)
    folded = Spatial(conv, nn.GELU(), affine(norm), (4, 5))
    torch.testing.assert_close(folded(x), F.gelu(conv(norm(x))), **close)
    torch.testing.assert_close(folded.conv(x) + folded.bias_map, conv(norm(x)), **close)


def test_the_bias_map_is_constant_away_from_the_border_and_not_on_it():
    conv = nn.Conv2d(2, 2, 3, groups=2, padding="same").double()
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.zero_()
    shift = torch.tensor([1.0, 10.0]).double()
    folded = Spatial(conv, nn.ReLU(), (torch.ones(2).double(), shift), (4, 5))
    counts = torch.tensor([[4, 6, 6, 6, 4], [6, 9, 9, 9, 6], [6, 9, 9, 9, 6], [4, 6, 6, 6, 4]])
    assert torch.equal(folded.bias_map[0], torch.stack([counts, 10 * counts]).double())


def test_two_batch_norms_and_their_sum_are_one_scaled_add():
    outer, inner, z, g = batch_norm(3), batch_norm(3), features(3), features(3)
    add = ScaledAdd(affine(outer), affine(inner))
    torch.testing.assert_close(add(z, g), outer(z) + inner(g), **close)
    torch.testing.assert_close(ScaledAdd(affine(outer))(z), outer(z), **close)


@st.composite
def mixings(draw) -> tuple[nn.Module, int, int]:
    """Any channel mixing in float64, a shuffle that fits it, and the channels."""
    torch.manual_seed(draw(st.integers(0, 99)))
    strategy = draw(st.sampled_from(["I", "II", "III", "IV", "V", "3D"]))
    segments = draw(st.integers(1, 4))
    dim = segments * draw(st.integers(1, 4))
    uneven = strategy in ("II", "IV") and draw(st.booleans())
    dim += draw(st.integers(0, 3)) if uneven else 0
    ratio = draw(st.sampled_from(["2/3", "6/11", 1]))
    if strategy in ("I", "V"):
        dim = max(dim, 2)
    mixing = channel_mixing(strategy, draw(st.integers(0, 3)), dim, ratio, segments)
    shuffle = segments if strategy in ("II", "III", "IV") and dim % segments == 0 else 1
    return mixing.double(), draw(st.sampled_from([1, shuffle])), dim


@settings(max_examples=60, deadline=None)
@given(mixings(), st.sampled_from(MIXINGS))
@torch.no_grad()
def test_every_mixing_in_every_form(case: tuple[nn.Module, int, int], form: str):
    mixing, shuffle, dim = case
    x = features(dim, 2, 3)
    expected = channel_shuffle(mixing(x), shuffle)
    fast = fast_mixing(mixing, shuffle, dim, form)
    torch.testing.assert_close(fast(x.clone()), expected, **close)  # one form writes over it
    nhwc = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(nhwc), expected, **close)


@torch.no_grad()
@pytest.mark.parametrize("strategy", ["I", "II", "V"])
def test_in_place_the_channels_that_pass_stay_where_they_are(strategy):
    mixing, x = channel_mixing(strategy, 1, 12, "2/3", 3).double(), features(12)
    expected, copied = mixing(x), fast_mixing(mixing, 1, 12, "convolution")
    assert copied(x).data_ptr() != x.data_ptr()
    fast, written = fast_mixing(mixing, 1, 12, "in place"), x.clone()
    assert fast(written) is written
    torch.testing.assert_close(written, expected, **close)


def test_in_place_is_tried_only_where_channels_pass():
    images = torch.randn(1, 3, 8, 8)
    for name in ("convmixer", *(f"splitmixer_{s}" for s in ("i", "ii", "iii", "iv", "v", "3d"))):
        tried = choosing.Trials(trained(name), images, torch.float32).rewritten()
        passes = name in ("splitmixer_i", "splitmixer_ii", "splitmixer_v")
        assert (Form("in place", folded=True) in tried) == passes
        assert all(form.folded for form in tried)


@torch.no_grad()
def test_a_model_in_place_leaves_its_images():
    model, images = model_and_images("splitmixer_i", SMALL)
    before = images.clone()
    fold(model, images, "in place")(images)
    assert torch.equal(images, before)


def test_a_product_is_a_grouped_convolution_and_a_linear_map_over_places():
    mixing = channel_mixing("IV", 0, 12, None, 3).double()
    (product,) = products(mixing)
    conv, linear, x = grouped_convolution(product), LinearProduct(product), features(12)
    assert conv.groups == 3 and conv.weight.shape == (12, 4, 1, 1)
    torch.testing.assert_close(conv(x), mixing(x), **close)
    torch.testing.assert_close(linear(x), mixing(x), **close)


def test_shared_segments_stay_one_matrix_of_c_by_c():
    (product,) = products(channel_mixing("III", 0, 12, None, 3))
    assert product.count == 3 and LinearProduct(product).weight.shape == (1, 4, 4)


def test_one_matrix_is_the_identity_outside_the_segment_and_shuffles_its_rows():
    mixing = channel_mixing("II", 1, 6, None, 3).double()  # mixes channels 2 and 3
    plain = one_matrix(fast_mixing(mixing, 1, 6, "convolution"), 6)
    expected = torch.eye(6).double()
    expected[2:4, 2:4] = mixing.mixer.weight[:, :, 0, 0]
    torch.testing.assert_close(plain.weight[:, :, 0, 0].data, expected, **close)
    shuffled = one_matrix(fast_mixing(mixing, 3, 6, "convolution"), 6)
    rows = [0, 2, 4, 1, 3, 5]  # the first of each segment, then the second
    torch.testing.assert_close(shuffled.weight[:, :, 0, 0].data, expected[rows], **close)
    torch.testing.assert_close(shuffled.bias.data, plain.bias.data[rows], **close)


def test_an_unknown_mixing_has_no_products():
    assert products(nn.Identity()) is None
    assert products(nn.Conv2d(4, 4, 1, groups=2)) is None
    assert fast_mixing(nn.Identity(), 1, 4, "linear") is None


# Whole models


def test_every_family_of_the_registry_is_tested_here():
    families = {name for name in list_models() if not name[-1].isdigit() and name != "mixer"}
    assert families <= {name for name, _ in MODELS + LEFT_ALONE}


@every_form
@pytest.mark.parametrize(("name", "options"), MODELS)
def test_folded_models_keep_their_outputs_and_lose_every_batch_norm(name, options, form):
    model, images = model_and_images(name, options)
    fast = fold(model, images, form)
    torch.testing.assert_close(fast(images), model(images), **close)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fast.modules())
    assert all(type(block) is FoldedBlock for block in fast.blocks)


@pytest.mark.parametrize(("name", "options"), LEFT_ALONE)
def test_other_models_are_left_as_they_are(name, options):
    model, images = model_and_images(name, options)
    fast = fold(model, images)
    assert type(fast) is type(model) and fast is not model
    torch.testing.assert_close(fast(images), model(images), **close)


class Renamed(nn.BatchNorm2d):
    """A norm that is not known, however much it is like one that is."""


class Sine(nn.Module):
    """A part that is no linear map, and takes what a mixing takes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sin()


@pytest.mark.parametrize("name", ["convmixer", "splitmixer_i", "splitmixer_iv"])
@pytest.mark.parametrize("part", ["block", "inner norm", "last norm", "mixing", "statistics"])
@torch.no_grad()
def test_a_block_with_an_unknown_part_is_kept(name, part):
    model, images = model_and_images(name, SMALL)
    middle = model.blocks[1]
    split = name != "convmixer"
    spatial = middle.spatial if split else middle[0].fn
    if part == "block":
        model.blocks[1] = nn.Sequential(nn.Conv2d(12, 12, 1), nn.Tanh()).double()
    elif part == "inner norm":
        spatial[2] = trained_look(Renamed(12)).double().eval()
    elif part == "statistics":  # BatchNorm that normalises by each batch, in evaluation too
        spatial[2] = nn.BatchNorm2d(12, track_running_stats=False).double().eval()
    elif split:
        setattr(middle, "norm" if part == "last norm" else "mixing", Sine())
    else:
        middle[3 if part == "last norm" else 1] = Sine()
    fast = fold(model, images)
    torch.testing.assert_close(fast(images), model(images), **close)
    kinds = [type(block) for block in fast.blocks]
    assert kinds == [FoldedBlock, ScaledAdd, type(model.blocks[1]), FoldedBlock]


OTHER_MIXERS = {
    "3×3": lambda c: nn.Conv2d(c, c, 3, padding=1),
    "no bias": lambda c: nn.Conv2d(c, c, 1, bias=False),
    "groups": lambda c: nn.Conv2d(c, c, 1, groups=2),
    "low rank": lambda c: nn.Sequential(nn.Conv2d(c, 2, 1, bias=False), nn.Conv2d(2, c, 1)),
}


@pytest.mark.parametrize(
    ("name", "mixer"),
    [("convmixer", "1"), ("splitmixer_i", "mixing.mixer"), ("splitmixer_iv", "mixing.mixer.1")],
)
@pytest.mark.parametrize("kind", OTHER_MIXERS)
@torch.no_grad()
def test_a_block_with_another_layer_for_its_channels_is_kept(name, mixer, kind):
    model, images = model_and_images(name, SMALL)
    middle = model.blocks[1]
    channels = middle.get_submodule(mixer).out_channels
    middle.set_submodule(mixer, OTHER_MIXERS[kind](channels).double())
    fast = fold(model, images)
    torch.testing.assert_close(fast(images), model(images), **close)
    kinds = [type(block) for block in fast.blocks]
    assert kinds == [FoldedBlock, ScaledAdd, type(middle), FoldedBlock]


PLACES = ["blocks.1", "blocks.1.1", "stem", "stem.0", "head", "blocks", ""]


@torch.no_grad()
@pytest.mark.parametrize("place", PLACES)
def test_what_a_user_hangs_on_a_model_is_called_in_the_folded_one_too(place):
    model, images = model_and_images("convmixer", SMALL)
    model.get_submodule(place).register_forward_hook(lambda *args: 2 * args[-1])
    inside = place.startswith("blocks.")
    fast = fold(model, images)
    assert isinstance(fast, Folded) == inside
    torch.testing.assert_close(fast(images), model(images), **close)


@torch.no_grad()
def test_a_block_with_a_call_of_its_own_is_kept():
    model, images = model_and_images("splitmixer_i", SMALL)
    model.blocks[1].mixing.forward = lambda x: 3 * x
    torch.testing.assert_close(fold(model, images)(images), model(images), **close)


@torch.no_grad()
def test_an_unknown_head_and_an_unknown_stem():
    model, images = model_and_images("convmixer", SMALL)
    model.head = nn.Tanh()
    torch.testing.assert_close(fold(model, images)(images), model(images), **close)
    model.stem[2] = nn.Tanh()
    assert type(fold(model, images)) is type(model)


@pytest.mark.parametrize(
    "name", [name for name in list_models() if name.endswith("_256_8") and "ablated" not in name]
)
def test_published_sizes_in_float32_are_within_a_ten_thousandth(name):
    torch.manual_seed(1)
    model, images = trained_look(create_model(name)), torch.randn(1, 3, 32, 32)
    fast = fold(model, images)
    assert isinstance(fast, Folded) and fast.head.weight.dtype == torch.float32
    assert check(model, fast, images) < TOLERANCE / 10


# The choice


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    """Choices are kept in a folder of each test's own."""
    monkeypatch.setenv("MIXERLIB_CACHE", str(tmp_path / "kept"))


def trained(name: str = "splitmixer_i", **options) -> nn.Module:
    """A small float32 model as it is after training: in training mode, with gradients."""
    torch.manual_seed(0)
    model = trained_look(create_model(name, **(SMALL | options)))
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    return model


@pytest.fixture(scope="module")
def fast() -> tuple[nn.Module, FastModel, torch.Tensor]:
    model, images = trained(), torch.randn(8, 3, 16, 24)
    with pytest.MonkeyPatch.context() as patch:  # so that a busy machine races all 8 images too
        patch.setattr(choosing, "PATIENCE", 60.0)
        form = optimize_for_inference(model, images, compile=False, remember=False)
    return model, form, images


def test_the_fast_form_has_the_same_outputs_and_leaves_the_original(fast):
    model, form, images = fast
    assert check(model, form, images) < 1e-5
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())
    assert not any(module.training for module in form.modules())


def test_any_number_of_images_in_any_dtype(fast):
    model, form, images = fast
    for count in (1, 3, 8, 11):
        batch = torch.randn(count, 3, 16, 24)
        assert check(model, form, batch) < 1e-5
    logits = form(images.double())
    assert logits.dtype == torch.float64 and relative_difference(form(images), logits) < 1e-6
    assert form(images[:0]).shape == (0, 10)


def test_the_logits_are_ordinary_tensors_whatever_the_mode(fast):
    _, form, images = fast
    logits = form(images)
    assert not logits.is_inference() and not logits.requires_grad
    with torch.inference_mode():
        assert torch.equal(form(images), logits)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(form(images), logits)


def test_images_of_another_size_are_refused(fast):
    for shape in ((2, 3, 16, 16), (2, 1, 16, 24), (3, 16, 24)):
        with pytest.raises(ValueError, match=r"`x` of shape .* must be images \(B, 3, 16, 24\)"):
            fast[1](torch.zeros(shape))


def test_what_was_measured_can_be_printed(fast):
    choice = fast[1].choice
    forms = [trial.form for trial in choice.trials]
    assert len(forms) == len(set(forms)) and choice.form in forms and fast[1].form == choice.form
    tried = {(f.mixing, f.folded, f.channels_last) for f in forms if f.at_once == 8}
    mixings = ("own", "convolution", "in place", "one matrix")
    expected = {(mixing, mixing != "own", True) for mixing in mixings}
    assert expected | {("own", False, False)} <= tried
    assert any(form.channels_last != choice.form.channels_last for form in forms)
    assert {form.at_once for form in forms} == {1, 2, 4, 8}
    assert not any(form.compile for form in forms)
    assert all(trial.speed > 0 and trial.difference < 1e-5 for trial in choice.trials)
    lines = str(choice).splitlines()
    assert lines[0].startswith("SplitMixer, 8 images of 3×16×24, torch.float32 on cpu, 1 thread")
    assert [line[0] for line in lines[2:]].count("*") == 1 and len(lines) == 2 + len(forms)
    assert lines[-1] in repr(fast[1]) and repr(choice.form) in repr(fast[1])


def test_a_lower_precision_is_no_worse_than_the_plain_models():
    model, images = trained("convmixer"), torch.randn(4, 3, 8, 8)
    fast = optimize_for_inference(model, images, dtype=torch.bfloat16, compile=False)
    plain = copy.deepcopy(model).eval().bfloat16()(images.bfloat16())
    written = relative_difference(copy.deepcopy(model).eval()(images), plain)
    assert {p.dtype for p in fast.net.parameters()} == {torch.bfloat16}
    assert fast(images).dtype == torch.float32
    assert 1e-5 < check(model, fast, images) <= 2 * written + 1e-6


def test_a_form_that_differs_is_never_chosen(monkeypatch):
    def wrong(model: nn.Module, example: torch.Tensor, form: str = "linear") -> nn.Module:
        folded = fold(model, example, form)
        folded.head.bias += 0.01
        return folded

    monkeypatch.setattr(choosing, "fold", wrong)
    choice = optimize_for_inference(trained(), torch.randn(2, 3, 8, 8), compile=False).choice
    assert not choice.form.folded
    notes = {trial.note for trial in choice.trials if trial.form.folded}
    assert notes == {"differs"} and "differs" in str(choice)


def test_the_limit_is_twice_the_plain_models_rounding(monkeypatch):
    model, images = trained("convmixer"), torch.randn(4, 3, 8, 8)
    plain = copy.deepcopy(model).eval()
    with torch.no_grad():
        expected = copy.deepcopy(plain).double()(images.double())
        rounding = relative_difference(expected, plain.bfloat16()(images.bfloat16()))

    def five_times_off(model: nn.Module, example: torch.Tensor, mixing: str) -> nn.Module:
        folded = fold(model, example, mixing)
        folded.head.bias += 5 * rounding * expected.abs().max().float()
        return folded

    choice = optimize_for_inference(model, images, dtype=torch.bfloat16, compile=False).choice
    assert {trial.note for trial in choice.trials} == {""}
    monkeypatch.setattr(
        choosing, "fold", lambda m, x, mixing="convolution": five_times_off(m, x, mixing)
    )
    trials = choosing.Trials(model, images, torch.bfloat16)
    assert all(trials.prepare(form) is None for form in trials.rewritten())
    assert {trial.note for trial in trials.trials.values()} == {"differs"}


def test_without_a_compiler_it_says_so_once_and_goes_on(monkeypatch):
    def no_compiler(*args, **kwargs):
        raise RuntimeError("No C++ compiler found\nand more")

    monkeypatch.setattr(torch._inductor, "compile", no_compiler, raising=False)
    model, images = trained(dim=4, depth=1), torch.randn(2, 3, 8, 8)
    with pytest.warns(UserWarning, match="not compiled: failed: No C") as warned:
        choice = optimize_for_inference(model, images).choice
    assert len(warned) == 1
    assert not choice.form.compile and "failed: No C++ compiler found" in str(choice)
    with pytest.raises(RuntimeError, match=r"`compile`=True, but .* No C\+\+ compiler found"):
        optimize_for_inference(model, images, compile=True)


class Waits(nn.Module):
    """Does nothing for a while."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return x


class SlowConv(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return super().forward(x)


@pytest.mark.parametrize("conv, low, high", [(nn.Conv2d, 0, 0.2), (SlowConv, 0.3, 0.7)])
def test_the_time_in_products_is_told_from_the_rest(conv, low, high):
    model = nn.Sequential(conv(3, 2, 8), Waits(), nn.Flatten())
    trials = choosing.Trials(model, torch.randn(2, 3, 8, 8), torch.float32)
    trials.measure([Form()], 2)
    products, whole = trials.product_seconds(Form(), 2)
    assert low < products / whole < high and whole > 0.02
    layers = trials.usable[Form()].modules()
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)


def test_the_form_with_the_fastest_products_is_compiled(monkeypatch):
    """Whatever it does between them; and the share that this may save decides whether it is."""
    compiled = []
    monkeypatch.setattr(
        FastModel, "compiled", lambda self, x: compiled.append(self.form) or self.net
    )

    for shortest, asked in ((0.91, False), (0.89, True)):

        def seconds(self, form: Form, count: int, least=shortest) -> tuple[float, float]:
            return (least if form.mixing == "one matrix" else 0.99), 1.0

        monkeypatch.setattr(choosing.Trials, "product_seconds", seconds)
        compiled.clear()
        images = torch.randn(4, 3, 8, 8)
        choice = optimize_for_inference(trained(), images, remember=False).choice
        assert [(f.mixing, f.at_once) for f in compiled] == [("one matrix", 4)] * asked
        assert ("not tried: 9% to gain at most" in str(choice)) == (not asked)
        assert not any(trial.form.mixing == "in place" for trial in choice.trials)


def test_compiled_pieces_fill_the_caches():
    """Features of 12 × 4 × 4 numbers of 4 bytes, of 2 in half precision."""
    images = torch.randn(3000, 3, 8, 8)
    for dtype, count in ((torch.float32, 2**21 // 768), (torch.bfloat16, 3000)):
        assert choosing.Trials(trained(), images, dtype).piece() == count
    assert choosing.Trials(trained(), images[:5], torch.float32).piece() == 5
    other = nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten())
    assert choosing.Trials(other, images[:7], torch.float32).piece() == 7


@pytest.mark.parametrize("speed, count", [(1e9, 16), (170, 8), (1, 1), (math.nan, 1)])
def test_a_slow_form_is_raced_on_fewer_images(monkeypatch, speed, count):
    trials = choosing.Trials(trained(), torch.randn(20, 3, 8, 8), torch.float32)

    def measured(forms: list[Form], images: int) -> None:
        trials.trials[forms[0]] = choosing.Trial(forms[0], 0.0, speed)

    monkeypatch.setattr(trials, "measure", measured)
    assert choosing._probed(trials) == count


def test_only_one_form_is_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(
        FastModel, "compiled", lambda self, x: compiled.append(self.form) or self.net
    )
    fast = optimize_for_inference(trained(), torch.randn(4, 3, 8, 8), compile=True)
    assert compiled == [fast.form] and fast.form.compile


def test_a_choice_is_remembered_and_checked_again(monkeypatch, tmp_path):
    model, images = trained(), torch.randn(4, 3, 8, 8)
    first = optimize_for_inference(model, images, compile=False)
    (file,) = tmp_path.glob("kept/*.json")
    content = file.read_text()
    races = []
    monkeypatch.setattr(
        choosing, "race", lambda *a, race=choosing.race, **k: races.append(a) or race(*a, **k)
    )
    with torch.no_grad():
        model.head.weight += 1  # other weights, the same question
    again = optimize_for_inference(model, images, compile=False)
    assert again.form == first.form and not races and check(model, again, images) < 1e-5
    assert again.choice.trials[0].difference < 1e-5
    optimize_for_inference(model, images[:2], compile=False)  # another question
    assert races and len(list(tmp_path.glob("kept/*.json"))) == 2
    races.clear()
    optimize_for_inference(model, images, compile=False, remember=False)
    assert races and file.read_text() == content
    for damaged in ("", "[]", "{}", content.replace('"mixing"', '"mixings"'), content[:-9]):
        races.clear()
        file.write_text(damaged)
        optimize_for_inference(model, images, compile=False)
        assert races and remembered.recall(remembered.question(model, images, torch.float32, False))


def test_a_choice_is_that_of_the_code_that_made_it(monkeypatch, tmp_path):
    """Two checkouts that share a folder of choices, and one before and after a change."""
    model, images = trained(), torch.randn(4, 3, 8, 8)

    def asked() -> str:
        remembered.code_digest.cache_clear()
        return remembered.question(model, images, torch.float32, None)

    original, package = asked(), Path(mixerlib.__file__).parent
    checkout = tmp_path / "mixerlib"
    for room in ("models", "speed"):
        shutil.copytree(package / room, checkout / room, ignore=lambda *_: ["__pycache__"])
    (checkout / "notes.txt").touch()
    monkeypatch.setattr(mixerlib, "__file__", str(checkout / "__init__.py"))
    assert asked() == original
    for file in ("models/mixings.py", "speed/inference/folding.py"):
        before = asked()
        with (checkout / file).open("a") as source:
            source.write("# changed\n")
        assert asked() != before
    before = asked()
    monkeypatch.setattr(mixerlib, "__version__", "0.0.1")
    assert asked() != before
    remembered.code_digest.cache_clear()


def test_a_folder_that_cannot_be_written_is_a_warning(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MIXERLIB_CACHE", str(tmp_path / "file" / "folder"))
    with pytest.warns(UserWarning, match="was not kept"):
        optimize_for_inference(trained(depth=1), torch.randn(1, 3, 8, 8), compile=False)


def test_where_choices_are_kept(monkeypatch, tmp_path):
    assert remembered.cache_folder() == tmp_path / "kept"
    monkeypatch.delenv("MIXERLIB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert remembered.cache_folder() == tmp_path / "mixerlib"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_images_of_whole_numbers_are_refused(fast, dtype):
    with pytest.raises(ValueError, match=f"`x` of {dtype} must be in floating point"):
        fast[1](fast[2].to(dtype))


def test_bad_examples_are_refused():
    model = trained()
    for bad in (
        torch.zeros(3, 8, 8),
        torch.zeros(0, 3, 8, 8),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
    ):
        with pytest.raises(ValueError, match="`example` of shape"):
            optimize_for_inference(model, bad)
    with pytest.raises(ValueError, match="`example` on meta must be on cpu"):
        optimize_for_inference(model, torch.zeros(1, 3, 8, 8, device="meta"))


def test_the_choice_prints_what_failed():
    form = Form("linear", True, True, True, 4)
    printed = str(choosing.Choice(form, (Trial(form, note="failed: no memory"),), "setting"))
    assert printed.splitlines()[2].startswith("* linear") and printed.endswith("failed: no memory")


@needs_compiler
def test_compiled_code_has_the_same_outputs_and_serves_any_number():
    model, images = trained("splitmixer_iii", depth=1), torch.randn(4, 3, 8, 8)
    form, calls = Form("convolution", True, True, True, 4), []
    fast = FastModel(fold(model, images), form, images, torch.float32)
    code, fast.code = fast.code, lambda part: (calls.append(len(part)), code(part))[1]
    for count in (4, 11):
        assert check(model, fast, torch.randn(count, 3, 8, 8)) < 1e-5
    assert calls == [4, 4, 4]  # the three images that are left over are not compiled for


def test_the_public_name():
    assert mixerlib.optimize_for_inference is optimize_for_inference
    assert "optimize_for_inference" in mixerlib.__all__


# ONNX


def test_an_onnx_file_serves_any_number_and_a_wrong_one_is_not_written(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    pytest.importorskip("onnxscript", reason="needs the extra `onnx`")
    onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
    model, path = trained("splitmixer_iii", shuffle=True, depth=2), tmp_path / "model.onnx"
    programs = []
    export = torch.onnx.export
    monkeypatch.setattr(
        torch.onnx, "export", lambda *a, **k: programs.append(export(*a, **k)) or programs[-1]
    )
    assert export_onnx(model, torch.randn(2, 3, 8, 12), path) < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]

    graph = onnx.load(path).graph
    assert not any(node.op_type == "BatchNormalization" for node in graph.node)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        batch = torch.randn(count, 3, 8, 12)
        (logits,) = session.run(["logits"], {"images": batch.numpy()})
        expected = copy.deepcopy(model).eval()(batch)
        assert relative_difference(expected.detach(), torch.from_numpy(logits)) < 1e-5

    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: programs[0])  # of other weights
    other = tmp_path / "other.onnx"
    torch.manual_seed(5)
    with pytest.raises(RuntimeError, match=r"differ by .*other\.onnx was not written"):
        export_onnx(create_model("splitmixer_iii", **SMALL), torch.randn(1, 3, 8, 12), other)
    assert not other.exists()


def test_without_onnxruntime_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"mixerlib\[onnx\]"):
        export_onnx(trained(), torch.randn(1, 3, 8, 8), tmp_path / "model.onnx")


def test_a_fast_form_that_is_cast_computes_in_its_new_dtype():
    model, images = create_model("convmixer", dim=8, depth=1).eval(), torch.randn(2, 3, 8, 8)
    fast = FastModel(fold(model, images), Form("convolution", folded=True), images, torch.float32)
    assert relative_difference(model(images), fast.bfloat16()(images)) < 0.1
    assert fast.dtype == torch.bfloat16
    assert relative_difference(model(images), fast.double()(images)) < 0.1
    fast.code = lambda x: 1 / 0  # as if compiled for another dtype
    assert fast.double().code is not None
    assert fast.float()(images).dtype == torch.float32
