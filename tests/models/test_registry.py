"""Every registered model: whatever `list_models()` lists is tested here, and nothing by hand.

The models are shrunk (few channels, few blocks, two by three patches); the kernel, patch,
activation, ratio and segments of a preset stay as they are.
"""

import copy
import io
import re
import shutil
import warnings
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mixerlib
from mixerlib.models import create_model, list_models, model_entry, registry
from mixerlib.models.mixings import OVERLAPPING, SHUFFLING, STRATEGIES

SPLITMIXERS = [f"splitmixer_{s.lower()}" for s in STRATEGIES]
FAMILIES = ["convmixer", *SPLITMIXERS, "splitmixer_i_ablated", "mlp_mixer"]
MLP_MIXERS = [name for name in list_models() if model_entry(name).family == "mlp_mixer"]
every_model = pytest.mark.parametrize("name", list_models())
every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)


def small(name: str, **options) -> nn.Module:
    """A shrunken model: 12 channels and three blocks, so that I and II take more than one turn."""
    if name in MLP_MIXERS:
        p = model_entry(name).defaults["patch_size"]
        options = {"tokens_dim": 5, "channels_dim": 20, "image_size": (2 * p, 3 * p)} | options
    return create_model(name, **({"dim": 12, "depth": 3} | options))


def batch(name: str, size: int = 4) -> torch.Tensor:
    """Random images of two by three patches, so that height and width cannot be confused."""
    p = model_entry(name).defaults["patch_size"]
    return torch.randn(size, 3, 2 * p, 3 * p)


def unused(parameter: str) -> bool:
    """The output bias of a token MLP adds one number to all channels of a token: LayerNorm's mean
    takes it away again, so no output depends on it and its gradient is zero."""
    return parameter.endswith("mlp_tokens.fc2.bias")


# The registry


def test_the_public_names():
    assert mixerlib.create_model is create_model
    assert mixerlib.list_models is list_models
    assert list_models() == sorted(set(list_models()))
    assert set(FAMILIES) <= set(list_models())
    presets = ["convmixer_256_8", "convmixer_256_8_224", "convmixer_768_32"]
    presets += ["convmixer_1024_20", "convmixer_1536_20", "mixer_s32", "mixer_s16", "mixer_s8"]
    presets += ["mixer_b32", "mixer_b16", "mixer_l16", "mixer_h14", "mixer_s4"]
    presets += ["splitmixer_i_ablated_256_8", "splitmixer_i_768_32", "splitmixer_i_1024_20"]
    presets += ["splitmixer_i_1536_20"]
    for strategy in STRATEGIES:
        name = f"splitmixer_{strategy.lower()}"
        presets += [f"{name}_256_8", f"{name}_256_8_224"]
    assert set(presets) <= set(list_models())


@every_model
def test_a_name_without_options_is_the_published_size(name: str):
    with torch.device("meta"):  # shapes without memory or arithmetic
        model = create_model(name)
    defaults = model_entry(name).defaults
    assert len(model.blocks) == defaults["depth"]
    assert model.head.weight.shape == (defaults["num_classes"], defaults["dim"])
    assert model.training
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    p = defaults["patch_size"]
    assert first.weight.shape == (defaults["dim"], 3, p, p)
    assert first.stride == (p, p)
    assert model_entry(name).about


@every_model
def test_the_models_have_stem_blocks_and_head(name: str):
    tops = {key.split(".")[0] for key in small(name).state_dict()}
    assert tops == {"stem", "blocks", "head"} | ({"norm"} if name in MLP_MIXERS else set())


@every_model
def test_the_activation_is_the_presets(name: str):
    expected = {"gelu": nn.GELU, "relu": nn.ReLU}[model_entry(name).defaults["activation"]]
    actual = {type(m) for m in small(name).modules() if isinstance(m, nn.GELU | nn.ReLU)}
    assert actual == {expected}


def test_only_the_768_32_of_imagenet_have_relu():
    relu = [n for n in list_models() if model_entry(n).defaults["activation"] == "relu"]
    assert relu == ["convmixer_768_32", "splitmixer_i_768_32"]


@pytest.mark.parametrize("size", ["768_32", "1024_20", "1536_20"])
def test_splitmixer_takes_over_the_scales_of_convmixer_on_imagenet(size: str):
    base, split = (model_entry(f"{kind}_{size}") for kind in ("convmixer", "splitmixer_i"))
    assert dict(split.defaults) == dict(base.defaults) | {"ratio": "2/3"}
    assert base.image_size == split.image_size == 224


@every_model
def test_a_search_in_the_source_finds_every_name(name: str):
    assert f'"{name}"' in Path(registry.__file__).read_text(encoding="utf-8")


# Forward, backward, evaluation


@every_model
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_forward(name: str, train: bool):
    model, x = small(name).train(train), batch(name)
    before = x.clone()
    features, logits = model.forward_features(x), model(x)
    assert features.shape == ((4, 6, 12) if name in MLP_MIXERS else (4, 12, 2, 3))
    assert logits.shape == (4, model_entry(name).defaults["num_classes"])
    assert logits.isfinite().all()
    assert logits.std() > 0
    assert torch.equal(x, before)


@every_model
def test_the_logits_are_the_head_of_the_mean_feature(name: str):
    model, x = small(name).eval(), batch(name)
    features = model.forward_features(x)
    mean = features.mean(dim=1) if name in MLP_MIXERS else features.mean(dim=(2, 3))
    torch.testing.assert_close(model(x), model.head(mean))


@every_model
def test_every_parameter_has_a_gradient(name: str):
    model, x = small(name).double(), batch(name).double()
    F.cross_entropy(model(x), torch.arange(4)).backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.isfinite().all(), parameter
        if unused(parameter):
            assert value.grad.abs().max() < 1e-12, parameter
        else:
            assert value.grad.abs().max() > 1e-9, parameter


@every_model
def test_eval_is_deterministic_and_each_image_stands_alone(name: str):
    model, x = small(name).eval(), batch(name)
    state = copy.deepcopy(model.state_dict())
    logits = model(x)
    assert torch.equal(model(x), logits)
    torch.testing.assert_close(model(x[2:3]), logits[2:3], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())


@every_model
def test_training_moves_the_running_statistics_of_every_batch_norm(name: str):
    model = small(name)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(norms) != (name in MLP_MIXERS)
    model(batch(name))
    assert all(norm.num_batches_tracked == 1 for norm in norms)
    # not the means: after a ReLU a channel may be 0 on so few numbers
    assert all((norm.running_var != 1).all() for norm in norms)


@every_model
def test_state_dict_round_trip(name: str):
    model, x = small(name), batch(name)
    model(x)  # so that the running statistics are not the initial ones
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    twin = small(name)
    assert not torch.equal(twin.eval()(x), model.eval()(x))  # other random weights
    twin.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert torch.equal(twin(x), model(x))


@every_model
def test_bfloat16_on_the_cpu(name: str):
    model, x = small(name).eval(), batch(name)
    logits = model(x).detach()
    half = copy.deepcopy(model).bfloat16()(x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(x)
    for actual in (half, mixed):
        assert actual.dtype == torch.bfloat16
        torch.testing.assert_close(actual.float(), logits, rtol=0.1, atol=0.1 * logits.std().item())


@every_model
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_outputs_without_autograd_are_bit_equal(name: str, train: bool, mode: type):
    with_grad, x = small(name).train(train), batch(name)
    without_grad, before = copy.deepcopy(with_grad), x.clone()
    logits = with_grad(x)
    with mode():
        assert torch.equal(without_grad(x), logits)
    assert torch.equal(x, before)
    for one, other in zip(with_grad.buffers(), without_grad.buffers(), strict=True):
        assert torch.equal(one, other)


@every_family
def test_a_block_never_changes_its_input(name: str):
    model = small(name).eval()
    x = model.stem(batch(name)).detach()
    before = x.clone()
    with torch.no_grad():
        for block in model.blocks:
            block(x)
            assert torch.equal(x, before)


@every_family
@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
def test_memory_formats_agree(name: str, grad: bool):
    model, x = small(name).eval(), batch(name)
    logits = model(x)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    with torch.set_grad_enabled(grad):
        actual = last(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, logits, rtol=1e-5, atol=1e-6)


@every_family
def test_an_empty_batch_gives_no_logits(name: str):
    assert small(name).eval()(batch(name, size=0)).shape == (0, 10)


@every_family
def test_one_batch_can_be_learned_by_heart(name: str):
    model, x, y = small(name), batch(name, size=8), torch.arange(8) % 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1  # ten classes by guess: log(10) = 2.3
    assert losses[-1] < 0.02


# torch.compile


def compiled(model: nn.Module, backend: str) -> nn.Module:
    torch._dynamo.reset()
    return torch.compile(model, backend=backend, fullgraph=True)  # a graph break is an error


@every_family
def test_compile_traces_the_whole_training_step(name: str):
    plain, x = small(name), batch(name)
    twin = copy.deepcopy(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations, while it traces
        fast = compiled(twin, "aot_eager")
        for model in (plain, fast):
            F.cross_entropy(model(x), torch.arange(4)).backward()
        for one, other in zip(plain.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6)
        before = x.clone()
        with torch.no_grad():  # traced anew
            torch.testing.assert_close(fast.eval()(x), plain.eval()(x), rtol=1e-5, atol=1e-6)
        assert torch.equal(x, before)


@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))),
    reason="torch.compile writes C++ for a CPU, and there is no C++ compiler here",
)
@pytest.mark.parametrize("name", ["convmixer", "splitmixer_i", "mlp_mixer"])
def test_compile_generates_code_for_inference(name: str):
    model, x = small(name, depth=2).eval(), batch(name)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations, while it traces
        actual = compiled(model, "inductor")(x)
        torch.testing.assert_close(actual, model(x), rtol=1e-4, atol=1e-5)


# Options: random valid ones, and random broken ones

SIZES = ("dim", "depth", "kernel_size", "patch_size", "num_classes", "in_channels")
MIXER_SIZES = ("tokens_dim", "channels_dim")
NOT_A_SIZE = st.one_of(
    st.integers(max_value=0), st.floats(), st.booleans(), st.text(max_size=3), st.binary(max_size=2)
)
OVERLAPS = [f"splitmixer_{s.lower()}" for s in OVERLAPPING]
SPLITS = [f for f in SPLITMIXERS if f not in OVERLAPS]
SHUFFLES = [f"splitmixer_{s.lower()}" for s in SHUFFLING]
DIVIDING = ["splitmixer_iii", "splitmixer_3d"]
ABLATED = ["splitmixer_i_ablated"]
ABLATIONS = {
    "residual": ("spatial", "none", "both", "channel"),
    "norm": ("batch", "layer"),
    "mixes": ("both", "spatial", "channels"),
    "segments_mixed": ("alternating", "first"),
}


@st.composite
def ratios(draw: st.DrawFn) -> Fraction:
    """α in (1/2, 1] with a small denominator."""
    denominator = draw(st.integers(1, 12))
    return Fraction(draw(st.integers(denominator // 2 + 1, denominator)), denominator)


@st.composite
def valid(draw: st.DrawFn) -> tuple[str, dict, tuple[int, int]]:
    """A model's name, options that it must take, and a height and width in patches."""
    name = draw(st.sampled_from(FAMILIES))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    options = {
        "dim": draw(st.integers(2, 16)),
        "depth": draw(st.integers(1, 4)),
        "patch_size": draw(st.integers(1, 4)),
        "num_classes": draw(st.integers(1, 5)),
        "in_channels": draw(st.integers(1, 4)),
        "activation": draw(st.sampled_from(["gelu", "relu"])),
    }
    if name == "mlp_mixer":
        p = options["patch_size"]
        options |= {"tokens_dim": draw(st.integers(1, 9)), "channels_dim": draw(st.integers(1, 9))}
        options["image_size"] = (rows * p, columns * p)
        if rows == columns and draw(st.booleans()):
            options["image_size"] = rows * p
        return name, options, (rows, columns)
    options["kernel_size"] = draw(st.integers(1, 6))
    if name in ABLATED:
        options |= {option: draw(st.sampled_from(values)) for option, values in ABLATIONS.items()}
        options["image_size"] = (rows * options["patch_size"], columns * options["patch_size"])
    if name in OVERLAPS + ABLATED:
        ratio = draw(ratios())
        options["ratio"] = draw(st.sampled_from([ratio, str(ratio), float(ratio)]))
    elif name in DIVIDING:
        divisors = [s for s in range(1, options["dim"] + 1) if options["dim"] % s == 0]
        options["segments"] = draw(st.sampled_from(divisors))
    elif name in SPLITS:
        options["segments"] = draw(st.integers(1, options["dim"]))
    if name in SHUFFLES and options["dim"] % options["segments"] == 0:
        options["shuffle"] = draw(st.booleans())
    return name, options, (rows, columns)


@settings(max_examples=150, deadline=None)
@given(valid())
def test_valid_options_give_the_right_shapes(drawn):
    name, options, (rows, columns) = drawn
    model = create_model(name, **options)
    p, h = options["patch_size"], options["dim"]
    x = torch.randn(2, options["in_channels"], rows * p, columns * p)
    for train in (False, True):
        if train and rows * columns == 1:
            x = torch.cat((x, x))  # a mean over two numbers at least
        features = model.train(train).forward_features(x)
        tokens = (rows * columns, h) if name == "mlp_mixer" else (h, rows, columns)
        assert features.shape == (len(x), *tokens)
        assert features.isfinite().all()
        assert model(x).shape == (len(x), options["num_classes"])
    assert len(model.blocks) == options["depth"]


def refused(name: str, options: dict, *parts: str) -> None:
    """The options are refused with a ValueError whose message holds every part."""
    with pytest.raises(ValueError) as caught:
        create_model(name, **options)
    for part in parts:
        assert part in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(valid(), st.data())
def test_a_size_that_is_no_positive_whole_number_is_refused(drawn, data):
    name, options, _ = drawn
    sizes = [o for o in (*SIZES, *MIXER_SIZES, "segments", "image_size") if o in options]
    option, value = data.draw(st.sampled_from(sizes)), data.draw(NOT_A_SIZE)
    rule = "must be a positive whole number"
    if option == "num_classes" and value == 0 and not isinstance(value, float | bool):
        return  # no classes: the features come out
    if option == "num_classes":
        rule = "must be a whole number of at least 0"
    refused(name, options | {option: value}, f"`{option}`={value!r}", rule)


@given(valid(), st.sampled_from(["tanh", "GELU", "", None, nn.GELU, 1]))
@settings(max_examples=40, deadline=None)
def test_an_unknown_activation_is_refused(drawn, value):
    name, options, _ = drawn
    rule = "must be one of 'gelu', 'relu'"
    refused(name, options | {"activation": value}, f"`activation`={value!r}", rule)


@given(
    st.sampled_from(OVERLAPS + ABLATED),
    st.one_of(
        st.fractions(max_value=Fraction(1, 2)),
        st.fractions(min_value=1).filter(lambda a: a != 1),
        st.floats(max_value=0.5),
        st.floats(min_value=1, exclude_min=True),
        st.sampled_from([float("nan"), "nan", "1/2", "4/3", "2/0", "two thirds", "", True, 2j]),
        st.sampled_from([1.0001, 1.0004, 1.000001]),
    ),
)
@settings(max_examples=100, deadline=None)
def test_a_ratio_outside_its_range_is_refused(name, value):
    rule = "above 1/2 and at most 1"
    refused(name, {"dim": 8, "depth": 1, "ratio": value}, f"`ratio`={value!r}", rule)


def test_a_ratio_that_leaves_no_channel_is_refused():
    for name in OVERLAPS + ABLATED:
        options = {"dim": 1, "depth": 1, "ratio": "2/3"}
        refused(name, options, "`ratio`='2/3'", "`dim`=1", "at least one channel")


@given(st.sampled_from(SPLITS), st.integers(1, 64), st.integers(1, 70))
@settings(max_examples=60, deadline=None)
def test_segments_that_the_width_cannot_hold_are_refused(name, dim, segments):
    options = {"dim": dim, "depth": 1, "segments": segments}
    message = (f"`segments`={segments}", f"`dim`={dim}")
    with torch.device("meta"):
        if name in DIVIDING and dim % segments:
            strategy = name.removeprefix("splitmixer_").upper()
            refused(name, options, *message, "must divide", f"strategy {strategy}")
        elif segments > dim:
            refused(name, options, *message, "must be at most")
        else:
            create_model(name, **options)


@given(valid(), st.data())
@settings(max_examples=60, deadline=None)
def test_an_option_that_the_model_does_not_have_is_refused(drawn, data):
    name, options, _ = drawn
    known = {o for n in FAMILIES for o in model_entry(n).defaults} | {"strategy", "dims", "Dim"}
    option = data.draw(st.sampled_from(sorted(known - set(model_entry(name).defaults))))
    message = (f"`{option}`=7", f"is not an option of {name!r}", *options)
    refused(name, options | {option: 7}, *message)


@given(st.sampled_from(list_models()), st.data())
@settings(max_examples=60, deadline=None)
def test_a_misspelt_name_is_refused_and_near_names_are_suggested(name, data):
    at = data.draw(st.integers(0, len(name) - 1))
    wrong = name[:at] + name[at + 1 :]
    if wrong not in list_models():
        refused(wrong, {}, f"`name`={wrong!r}", "did you mean")
    with pytest.raises(ValueError, match="did you mean"):
        create_model(name + "x")


def test_the_nearest_name_comes_first():
    for wrong, right in (
        ("convmixr", "convmixer"),
        ("ConvMixer-256-8", "convmixer_256_8"),
        ("mixer_b_16", "mixer_b16"),
        ("splitmixer_vi_256_8", "splitmixer_iv_256_8"),
    ):
        refused(wrong, {}, f"`name`={wrong!r}", right)
    refused("alexnet", {}, "`name`='alexnet'", "is no model of mixerlib", "mixerlib list")


@every_model
def test_images_that_the_model_cannot_take_are_refused(name: str):
    model, x = small(name).eval(), batch(name)
    p = model_entry(name).defaults["patch_size"]
    for wrong, message in (
        (x[0], ("`x`", "(3, ", "must be a batch of images (B, 3, H, W)")),
        (x[:, :1], ("`x`", "(4, 1, ", "`in_channels`=3")),
        (
            x[:, :, 1:],
            (f"`patch_size`={p}", f"must divide the image's height and width, here {2 * p - 1}×"),
        ),
        (x[:, :, :, 1:], (f"`patch_size`={p}", f"×{3 * p - 1}")),
    ):
        with pytest.raises(ValueError) as caught:
            model(wrong)
        assert all(part in str(caught.value) for part in message)


def test_names_are_listed_by_a_pattern():
    assert list_models("split*") == [n for n in list_models() if n.startswith("split")]
    assert list_models("convmixer_???_*") == [
        "convmixer_256_8",
        "convmixer_256_8_224",
        "convmixer_768_32",
    ]
    assert list_models("no such") == []


@pytest.mark.parametrize(
    ("name", "option", "nearest"),
    [
        ("convmixer", "num_clases", "num_classes"),
        ("convmixer", "in_chans", "in_channels"),
        ("splitmixer_i", "act_layer", "activation"),
        ("splitmixer_iv", "segment", "segments"),
        ("mlp_mixer", "img_size", "image_size"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_nearest(name, option, nearest):
    with pytest.raises(
        ValueError,
        match=rf"`{option}`=3 is not an option of .*mean {nearest}",
    ):
        create_model(name, **{option: 3})


def test_a_word_far_from_all_is_answered_with_all():
    with pytest.raises(ValueError, match=r"`q`=3 is not .*; it has activation, depth, dim,"):
        create_model("convmixer", q=3)


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("splitmixer_i", {}, r"\(mixing\): OneSegment\(\s+start=4, width=8\n"),
        ("splitmixer_ii", {"segments": 3}, r"start=8, width=4\n"),
        ("splitmixer_iii", {"segments": 3}, r"SharedSegments\(\s+segments=3, width=4\n"),
        ("splitmixer_iv", {"segments": 5}, r"widths=\[2, 2, 2, 2, 4\]"),
        ("splitmixer_v", {}, r"starts=\[0, 4\], width=8"),
        ("splitmixer_3d", {}, r"StridedSegments\(\s+segments=2, width=6\n"),
        ("splitmixer_iv", {"shuffle": True}, r"SplitMixerBlock\(\s+shuffle=2\n"),
        ("splitmixer_i_ablated", {}, r"OneSegment\(\s+start=4, width=8\n"),
    ],
)
def test_a_printed_model_shows_its_segments(name, options, line):
    model = create_model(name, dim=12, depth=3, **options)
    assert re.search(line, str(model))
