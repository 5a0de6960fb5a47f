"""mixerlib.weights: every layout in, our own out and in again, and every refusal.

The foreign layouts are made by nesting our own modules as the other implementation nests them, so
that torch writes the names; the tables in weights/layouts.py have no part in it.
"""

import argparse
import os
import pickle
import tempfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mixerlib import create_model
from mixerlib.models import tweet
from mixerlib.models.convmixer import Residual
from mixerlib.weights import load_weights, save_weights
from mixerlib.weights.loading import activation_seen

FIXTURES = SHARED / "fixtures"
SMALL = {"dim": 12, "depth": 3, "patch_size": 2, "num_classes": 5}
TOKENS = {"image_size": 8, "tokens_dim": 6, "channels_dim": 10}


def small(name: str, **options) -> nn.Module:
    defaults = SMALL | (TOKENS if name == "mlp_mixer" else {"kernel_size": 3})
    return create_model(name, **(defaults | options))


def scrambled(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every number drawn anew, BatchNorm's statistics too: no two tensors can be confused."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(7)
            elif name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
            else:
                tensor.copy_(0.4 * torch.randn(tensor.shape, generator=draw))
    return model.eval()


def images(size: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# ---- the layouts -------------------------------------------------------------------------------


def as_sequential(model: nn.Module) -> nn.Module:
    """locuslab's ConvMixer: stem, blocks, pooling and head in one flat Sequential."""
    return nn.Sequential(
        *model.stem, *model.blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.head
    )


def as_tweet(model: nn.Module) -> nn.Module:
    """The tweet itself, given the model's tensors in order."""
    short = tweet.ConvMixer(12, 3, 3, 2, 5).eval()
    values = model.state_dict().values()
    short.load_state_dict(dict(zip(short.state_dict(), values, strict=True)))
    return short


class Aliborji(nn.Module):
    """The official nesting: a block's two halves are two successive entries of `mixer_blocks`."""

    def __init__(self, model: nn.Module, halves: list[nn.Module]):
        super().__init__()
        self.patch_emb, self.mixer_blocks, self.head = model.stem, nn.ModuleList(halves), model.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_emb(x)
        for half in self.mixer_blocks:
            x = half(x)
        return self.head(x.mean(dim=(2, 3)))


def as_aliborji(model: nn.Module) -> nn.Module:
    halves = []
    for block in model.blocks:
        halves += [Residual(block.spatial), nn.Sequential(block.mixing, block.act, block.norm)]
    return Aliborji(model, halves)


def as_aliborji_convmixer(model: nn.Module) -> nn.Module:
    halves = []
    for spatial, *mixing in model.blocks:
        halves += [spatial, nn.Sequential(*mixing)]
    return Aliborji(model, halves)


def as_slides(model: nn.Module) -> nn.Module:
    blocks = [nn.Sequential(Residual(b.spatial), b.mixing, b.act, b.norm) for b in model.blocks]
    return nn.Sequential(*model.stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.head)


def as_it_is(model: nn.Module) -> nn.Module:
    return model


SPLIT = {
    "splitmixer_i": {"ratio": "3/5"},
    "splitmixer_ii": {"segments": 5},  # ragged, and more segments than blocks
    "splitmixer_iii": {"segments": 3},
    "splitmixer_iv": {"segments": 5},
    "splitmixer_v": {"ratio": "2/3"},
    "splitmixer_3d": {"segments": 3},
}
LAYOUTS = [
    ("convmixer", {}, as_sequential, "locuslab"),
    ("convmixer", {}, as_tweet, "tweet"),
    ("convmixer", {}, as_aliborji_convmixer, "aliborji"),
    ("convmixer", {}, as_it_is, "timm"),
    ("mlp_mixer", {}, as_it_is, "timm"),
    *((name, options, as_aliborji, "aliborji") for name, options in SPLIT.items()),
    *((name, options, as_slides, "aliborji") for name, options in SPLIT.items()),
    *((name, options, as_it_is, "mixerlib") for name, options in SPLIT.items()),
    ("splitmixer_i_ablated", {"residual": "both"}, as_it_is, "mixerlib"),
    ("splitmixer_i_ablated", {"mixes": "spatial"}, as_it_is, "mixerlib"),
    ("splitmixer_i_ablated", {"mixes": "channels"}, as_it_is, "mixerlib"),
    ("splitmixer_i_ablated", {}, as_aliborji, "aliborji"),  # SplitMixer-I, as it was published
]
each_layout = pytest.mark.parametrize(
    ("name", "options", "nest", "layout"),
    LAYOUTS,
    ids=[f"{name}-{nest.__name__}" for name, _, nest, _ in LAYOUTS],
)


def write(state: dict[str, torch.Tensor], folder: Path, form: str) -> Path:
    """A state dict in one of the forms in which checkpoints are found."""
    names = {"bare": "w.pt", "parallel": "w.pth.tar", "legacy": "w.pth"}
    path = folder / names.get(form, "w.pt" if form.startswith("protocol") else form)
    if form == "bare":
        torch.save(state, path)
    elif form.startswith("protocol"):
        torch.save(state, path, pickle_protocol=int(form[-1]))
    elif form == "legacy":
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    elif form == "parallel":
        named = {f"module.{name}": tensor for name, tensor in state.items()}
        torch.save({"epoch": 3, "state_dict": named, "optimizer": {"step": 4}}, path)
    else:
        tensors = {name: tensor.contiguous() for name, tensor in state.items()}
        safetensors.torch.save_file(tensors, path)
    return path


@each_layout
def test_every_layout_gives_the_outputs_of_its_own_network(name, options, nest, layout, tmp_path):
    source = scrambled(small(name, **options))
    foreign = nest(source)
    path = write(foreign.state_dict(), tmp_path, "bare")
    model = small(name, **options).eval()
    assert load_weights(model, path) == layout
    assert equal(model.state_dict(), source.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(model(images()), foreign(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "form",
    ["bare", "legacy", "protocol 3", "protocol 4", "protocol 5", "parallel", "w.safetensors"],
)
@pytest.mark.parametrize("case", [LAYOUTS[0], LAYOUTS[1], LAYOUTS[5]], ids=lambda case: case[3])
def test_every_form_of_file_is_read(case, form, tmp_path):
    name, options, nest, layout = case
    source = scrambled(small(name, **options))
    model = small(name, **options)
    assert load_weights(model, write(nest(source).state_dict(), tmp_path, form)) == layout
    assert equal(model.state_dict(), source.state_dict())


def test_a_path_may_be_text_and_a_compiled_models_prefix_is_dropped(tmp_path):
    source, model = scrambled(small("convmixer")), small("convmixer")
    state = {f"_orig_mod.{name}": tensor for name, tensor in source.state_dict().items()}
    assert load_weights(model, str(write(state, tmp_path, "bare"))) == "timm"
    assert equal(model.state_dict(), source.state_dict())


def test_a_checkpoint_of_timms_trainer_with_its_namespace(tmp_path):
    source, model = scrambled(small("convmixer")), small("convmixer")
    arguments = argparse.Namespace(model="convmixer", lr=0.01, scale=[0.75, 1.0], resume=None)
    torch.save(
        {"epoch": 1, "arch": "x", "args": arguments, "state_dict": source.state_dict()},
        tmp_path / "last.pth.tar",
    )
    allowed = set(torch.serialization.get_safe_globals())
    assert load_weights(model, tmp_path / "last.pth.tar") == "timm"
    assert equal(model.state_dict(), source.state_dict())
    assert set(torch.serialization.get_safe_globals()) == allowed  # for that one file only


@pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"no fixtures of the official code in {FIXTURES}")
@pytest.mark.parametrize(
    "name", ["official_convmixer", "official_splitmixer_i", "official_splitmixer_iv_ragged"]
)
def test_the_official_implementations_logits(name):
    path = FIXTURES / f"{name}.pt"
    fixture = torch.load(path, weights_only=True)
    options = dict(fixture["config"])
    architecture, layout = options.pop("model"), options.pop("layout")
    model = create_model(architecture, **options).eval()
    assert load_weights(model, path) == layout
    with torch.inference_mode():
        torch.testing.assert_close(model(fixture["input"]), fixture["logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs", "size"),
    [("convmixer_768_32", "convmixer_768_32", 56), ("mixer_s16", "mixer_s16_224", 224)],
)
def test_timms_own_models(ours, theirs, size, tmp_path):
    from mixerlib._torchvision import import_torchvision

    import_torchvision()  # timm imports it
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    source = timm.create_model(theirs).eval()
    for name, tensor in source.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.3)
        elif name == "head.weight":  # zero as timm makes it for MLP-Mixer
            tensor.normal_(std=0.05)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    torch.save(source.state_dict(), tmp_path / "timm.pt")
    model = create_model(ours).eval()
    assert load_weights(model, tmp_path / "timm.pt") == "timm"
    with torch.inference_mode():
        logits = source(images(size))
        assert logits.std() > 0.1
        torch.testing.assert_close(model(images(size)), logits, rtol=0, atol=1e-4)


# ---- without the file's classifier: the beginning of a fine-tuning -----------------------------


@each_layout
@pytest.mark.parametrize("has_head", [True, False])
def test_the_body_alone(name, options, nest, layout, has_head, tmp_path):
    """Whatever the layout and the classes of the file, the model keeps its own head."""
    source, model = scrambled(small(name, **options)), small(name, **options, num_classes=9)
    state, before = nest(source).state_dict(), snapshot(model)
    if not has_head:
        state = {key: state[key] for key in list(state)[:-2]}  # its weight and bias come last
    path = write(state, tmp_path, "bare")
    message = "`head.weight`", "wanted (9, 12)"
    refuse(model, path, *(message if layout in ("mixerlib", "timm") else message[1:]))
    assert load_weights(model, path, head=False) == layout
    expected = source.state_dict() | {key: before[key] for key in ("head.weight", "head.bias")}
    assert equal(model.state_dict(), expected)


@pytest.mark.parametrize("name", ["convmixer", "splitmixer_ii", "mlp_mixer"])
def test_the_body_alone_of_our_own_file(name, tmp_path):
    source, model = scrambled(small(name)), small(name, num_classes=2)
    before = snapshot(model)
    save_weights(source, tmp_path / "w.safetensors")
    assert load_weights(model, tmp_path / "w.safetensors", head=False) == "mixerlib"
    for key, tensor in model.state_dict().items():
        expected = before if key.startswith("head.") else source.state_dict()
        assert torch.equal(tensor, expected[key])


def test_a_head_that_would_fit_is_left_out_as_well(tmp_path):
    source, model = scrambled(small("convmixer")), small("convmixer")
    before = snapshot(model)
    load_weights(model, write(source.state_dict(), tmp_path, "bare"), head=False)
    assert torch.equal(model.head.weight, before["head.weight"])
    assert torch.equal(model.stem[0].weight, source.stem[0].weight)


def test_without_the_head_the_body_must_fit_all_the_same(state, tmp_path):
    model = small("convmixer", num_classes=9)
    before = snapshot(model)
    wider = state | {"0.weight": torch.zeros(13, 3, 2, 2)}
    longer = state | {"9.weight": torch.zeros(2, 2)}
    shorter = {key: tensor for key, tensor in state.items() if key != "2.bias"}
    for wrong, message in (
        (wider, r"`stem.0.weight` \(`0.weight` in locuslab\) is \(13, 3, 2, 2\), wanted \(12,"),
        (longer, r"`9.weight` is \(2, 2\), wanted none"),
        (shorter, r"`stem.2.bias` \(`2.bias` in locuslab\) is missing"),
    ):
        path = write(wrong, tmp_path, "bare")
        with pytest.raises(ValueError, match=message) as caught:
            load_weights(model, path, head=False)
        assert "`head." not in str(caught.value)
        assert equal(model.state_dict(), before)


# ---- our own files -----------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    case=st.sampled_from(
        [
            ("convmixer", {}),
            ("mlp_mixer", {}),
            ("splitmixer_i_ablated", {"norm": "layer", "image_size": 8}),
            ("splitmixer_i_ablated", {"mixes": "spatial", "residual": "none"}),
            *SPLIT.items(),
        ]
    ),
    dim=st.sampled_from([15, 30]),
    depth=st.integers(1, 4),
    activation=st.sampled_from(["gelu", "relu"]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_save_and_load_round_trip(case, dim, depth, activation, dtype, channels_last, seed):
    name, options = case
    options = options | {"dim": dim, "depth": depth, "activation": activation}
    source = scrambled(small(name, **options), seed).to(dtype)
    if channels_last:
        source = source.to(memory_format=torch.channels_last)
    model = small(name, **options).to(dtype)
    with tempfile.TemporaryDirectory() as folder:
        save_weights(source, Path(folder) / "w.safetensors")
        assert load_weights(model, Path(folder) / "w.safetensors") == "mixerlib"
    assert equal(model.state_dict(), source.state_dict())


def test_the_models_dtype_and_tensors_are_kept(tmp_path):
    source, model = scrambled(small("convmixer")), small("convmixer").to(torch.bfloat16)
    save_weights(source, tmp_path / "w.safetensors")
    before = dict(model.named_parameters())
    load_weights(model, tmp_path / "w.safetensors")
    after = dict(model.named_parameters())
    assert all(after[key] is before[key] and after[key].requires_grad for key in before)
    assert torch.equal(model.head.weight, source.head.weight.to(torch.bfloat16))


def test_saving_leaves_the_old_file_whole_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(scrambled(small("convmixer")), path)
    old = path.read_bytes()

    def full_disk(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_weights(scrambled(small("convmixer"), seed=1), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_saving_replaces_and_leaves_nothing_beside_it(tmp_path):
    path, model = tmp_path / "w.safetensors", small("convmixer")
    save_weights(scrambled(small("convmixer")), path)
    last = scrambled(small("convmixer"), seed=1)
    save_weights(last, str(path))
    load_weights(model, path)
    assert equal(model.state_dict(), last.state_dict())
    assert list(tmp_path.iterdir()) == [path]


def test_saving_refuses_another_suffix_and_a_missing_folder(tmp_path):
    with pytest.raises(ValueError, match=r"`path`='.*w\.pt' must end in \.safetensors"):
        save_weights(small("convmixer"), tmp_path / "w.pt")
    with pytest.raises(FileNotFoundError, match="absent"):
        save_weights(small("convmixer"), tmp_path / "absent" / "w.safetensors")


# ---- refusals: nothing of the model changes ----------------------------------------------------


def refuse(model: nn.Module, path: Path, *pieces: str) -> None:
    """Loading raises a ValueError with the file and every piece in it; the model is as before."""
    before = snapshot(model)
    with pytest.raises(ValueError) as caught:
        load_weights(model, path)
    assert all(piece in str(caught.value) for piece in (str(path), *pieces)), str(caught.value)
    # torch's own error tells how to unpickle such a file all the same: the user is not shown it
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert equal(model.state_dict(), before)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """A ConvMixer's weights in locuslab's names."""
    return as_sequential(scrambled(small("convmixer"))).state_dict()


def test_missing_tensor(state, tmp_path):
    del state["8.bias"]  # the very last one
    refuse(
        small("convmixer"),
        write(state, tmp_path, "bare"),
        "`head.bias` (`8.bias` in locuslab) is missing, wanted (5,)",
    )


def test_left_over_tensor(state, tmp_path):
    state["5.1.gain"] = torch.ones(12)
    state["11.weight"] = torch.ones(3)
    refuse(
        small("convmixer"),
        write(state, tmp_path, "bare"),
        "`blocks.2.1.gain` (`5.1.gain` in locuslab) is (12,), wanted none",
        "`11.weight` is (3,), wanted none",
    )


def test_a_name_of_ours_beside_theirs_is_left_over_too(state, tmp_path):
    state["head.weight"] = state["8.weight"]
    refuse(small("convmixer"), write(state, tmp_path, "bare"), "`head.weight`")


def test_another_shape(state, tmp_path):
    state["8.weight"] = state["8.weight"].T
    refuse(
        small("convmixer"),
        write(state, tmp_path, "bare"),
        "`head.weight` (`8.weight` in locuslab) is (12, 5), wanted (5, 12)",
    )


def test_another_kind_of_number(state, tmp_path):
    state["8.weight"] = state["8.weight"].to(torch.int8)
    path = write(state, tmp_path, "bare")
    refuse(small("convmixer"), path, "`8.weight` in locuslab", "torch.int8")


@pytest.mark.parametrize("tensor", [torch.ones(5).to_sparse(), torch.empty(5, device="meta"), 3.0])
def test_what_is_no_dense_tensor(tensor, state, tmp_path):
    state["8.bias"] = tensor
    refuse(small("convmixer"), write(state, tmp_path, "bare"), "state dict")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.ones(3)], torch.ones(3), None])
def test_no_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    refuse(small("convmixer"), tmp_path / "w.pt", "state dict")


def test_unknown_layout(tmp_path):
    state = nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 3), "fc": nn.Linear(4, 2)}).state_dict()
    path = write(state, tmp_path, "bare")
    refuse(
        small("convmixer"),
        path,
        "aliborji, jax, locuslab, mindcv, mindspore, mixerlib, timm, tweet",
        "conv1.weight",
    )


@pytest.mark.parametrize(
    ("other", "pieces"),
    [
        ({"depth": 2}, ["`blocks.2.0.fn.0.weight` (`5.0.fn.0.weight` in locuslab)", "of 2 blocks"]),
        ({"depth": 4}, ["`blocks.3.0.fn.0.weight` (`6.0.fn.0.weight` in locuslab) is missing"]),
        ({"dim": 16}, ["`stem.0.weight` (`0.weight` in locuslab) is (12, 3, 2, 2), wanted (16,"]),
        ({"kernel_size": 5}, ["`3.0.fn.0.weight` in locuslab) is (12, 1, 3, 3), wanted (12, 1, 5"]),
        ({"patch_size": 4}, ["`stem.0.weight`", "wanted (12, 3, 4, 4)"]),
        ({"num_classes": 6}, ["`head.weight` (`8.weight` in locuslab) is (5, 12), wanted (6, 12)"]),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else None,
)
def test_a_model_of_another_size(other, pieces, state, tmp_path):
    refuse(small("convmixer", **other), write(state, tmp_path, "bare"), *pieces)


@pytest.mark.parametrize("expected", ["convmixer", "splitmixer_i", "splitmixer_iv", "mlp_mixer"])
@pytest.mark.parametrize("case", LAYOUTS[:10], ids=lambda case: f"{case[0]}-{case[3]}")
def test_another_architecture(case, expected, tmp_path):
    name, options, nest, layout = case
    if name != expected:
        path = write(nest(scrambled(small(name, **options))).state_dict(), tmp_path, "bare")
        refuse(
            small(expected), path, f"layout {layout}", f"a {type(small(expected)).__name__} of 3"
        )


def test_only_the_counter_of_batches_may_be_absent(state, tmp_path):
    for name in [name for name in state if name.endswith("num_batches_tracked")]:
        del state[name]
    model = small("convmixer")
    load_weights(model, write(state, tmp_path, "bare"))
    source = scrambled(small("convmixer")).state_dict()
    loaded = model.state_dict()
    assert all(torch.equal(loaded[n], source[n]) for n in source if "num_batches" not in n)
    assert loaded["stem.2.num_batches_tracked"] == 0  # as the model had it
    del state["2.running_var"]
    refuse(model, write(state, tmp_path, "bare"), "`stem.2.running_var` (`2.running_var`")


# ---- what names and shapes do not tell ---------------------------------------------------------


@pytest.mark.parametrize("name", ["convmixer", "splitmixer_i", "mlp_mixer"])
def test_our_own_files_know_their_activation(name, tmp_path):
    save_weights(scrambled(small(name, activation="relu")), tmp_path / "w.safetensors")
    refuse(small(name), tmp_path / "w.safetensors", "activation='relu'", "activation='gelu'")


def test_our_own_files_know_their_strategy(tmp_path):
    options = {"segments": 2}  # II, III and 3D have the very same tensors then
    save_weights(scrambled(small("splitmixer_iii", **options)), tmp_path / "w.safetensors")
    for name, strategy in (("splitmixer_ii", "II"), ("splitmixer_3d", "3D")):
        pieces = "strategy='III'", f"strategy='{strategy}'"
        refuse(small(name, **options), tmp_path / "w.safetensors", *pieces)


def test_our_own_files_know_their_image_size(tmp_path):
    save_weights(scrambled(small("mlp_mixer")), tmp_path / "w.safetensors")
    other = small("mlp_mixer", image_size=(4, 16))  # 2×8 patches in place of 4×4
    refuse(other, tmp_path / "w.safetensors", "image_size='(8, 8)'", "image_size='(4, 16)'")


def test_our_own_files_know_the_map_of_a_layernorm(tmp_path):
    options = {"norm": "layer", "mixes": "channels", "patch_size": 2}
    source = small("splitmixer_i_ablated", image_size=8, **options)
    save_weights(scrambled(source), tmp_path / "w.safetensors")
    other = small("splitmixer_i_ablated", image_size=(8, 4), **options)
    refuse(
        other, tmp_path / "w.safetensors", "`blocks.0.norm.weight` is (12, 4, 4), wanted (12, 4, 2)"
    )
    save_weights(small("splitmixer_i_ablated", image_size=8), tmp_path / "batch.safetensors")
    batch = small("splitmixer_i_ablated", image_size=16)  # with BatchNorm any image does
    assert load_weights(batch, tmp_path / "batch.safetensors") == "mixerlib"


def test_a_file_of_a_later_version_is_refused(tmp_path):
    path, model = tmp_path / "w.safetensors", small("convmixer")
    metadata = {"layout": "mixerlib", "layout_version": "2"}
    safetensors.torch.save_file(model.state_dict(), path, metadata)
    refuse(model, path, "layout_version='2'", "layout_version='1'")


def test_a_stated_activation_in_a_pickled_config(state, tmp_path):
    torch.save({"state_dict": state, "config": {"activation": "ReLU"}}, tmp_path / "w.pt")
    refuse(small("convmixer"), tmp_path / "w.pt", "activation='relu'", "activation='gelu'")
    assert load_weights(small("convmixer", activation="relu"), tmp_path / "w.pt") == "locuslab"


def test_metadata_of_other_programs_are_not_ours(tmp_path):
    path, source = tmp_path / "w.safetensors", scrambled(small("convmixer"))
    metadata = {"format": "pt", "architecture": "convmixer_12_3", "patch_size": "two"}
    safetensors.torch.save_file(source.state_dict(), path, metadata)
    assert load_weights(small("convmixer"), path) == "timm"


@pytest.mark.parametrize("name", ["convmixer", "splitmixer_i", "splitmixer_iii"])
@pytest.mark.parametrize(("trained", "other"), [("relu", "gelu"), ("gelu", "relu")])
def test_batchnorm_betrays_the_activation(name, trained, other, tmp_path):
    torch.manual_seed(0)
    source = small(name, activation=trained)
    assert activation_seen(source.state_dict()) is None  # untrained
    for _ in range(2):
        source(torch.randn(8, 3, 8, 8))  # in training mode: moves the running means
    assert activation_seen(source.state_dict()) == trained
    path = write(source.state_dict(), tmp_path, "bare")
    load_weights(small(name, activation=trained), path)  # no warning, which would be an error here
    with pytest.warns(UserWarning, match=f"looks trained with {trained}.*has {other}"):
        load_weights(small(name, activation=other), path)


# ---- damaged files, and files that are code ----------------------------------------------------


class Code:
    """What a malicious checkpoint holds: unpickling it calls a function, here `os.mkdir`."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle", "inside a Namespace"])
def test_code_is_named_and_not_run(form, state, tmp_path):
    path, mark = tmp_path / "w.pth", tmp_path / "ran"
    content = {"state_dict": state, "more": Code(mark)}
    if form == "inside a Namespace":
        content["more"] = argparse.Namespace(inner=Code(mark))
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(content["more"], protocol=2))  # torch's reader knows only 2
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    refuse(small("convmixer"), path, "would run code if unpickled", "mkdir")
    assert not mark.exists()
    if form == "bare pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert mark.exists()  # so the file is as bad as it is meant to be


def test_a_whole_pickled_model_is_code_too(tmp_path):
    torch.save(small("convmixer"), tmp_path / "w.pt")
    refuse(small("convmixer"), tmp_path / "w.pt", "would run code", "ConvMixer")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """The bytes of a good file in each format."""
    folder, source = tmp_path_factory.mktemp("whole"), scrambled(small("convmixer"))
    paths = [write(source.state_dict(), folder, form) for form in ("bare", "legacy")]
    save_weights(source, folder / "w.safetensors")
    return {path.name: path.read_bytes() for path in [*paths, folder / "w.safetensors"]}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["w.pt", "w.pth", "w.safetensors"]),
    share=st.floats(0, 1, exclude_max=True),
)
def test_a_file_cut_anywhere_is_refused(whole, name, share):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(whole[name][: int(share * len(whole[name]))])
        refuse(small("convmixer"), path, "is cut short, damaged or")


def test_a_pickle_cut_anywhere_is_not_taken_for_code(whole, tmp_path):
    """In the midst of the name of one of torch's own functions above all."""
    content = whole["w.pth"]
    start = content.index(b"torch._utils")
    for size in range(start, start + 60):
        (tmp_path / "w.pth").write_bytes(content[:size])
        refuse(small("convmixer"), tmp_path / "w.pth", "is cut short, damaged or")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("cut", [1, 100])
def test_a_file_that_lacks_its_last_bytes_is_refused(whole, name, cut, tmp_path):
    (tmp_path / name).write_bytes(whole[name][:-cut])
    refuse(small("convmixer"), tmp_path / name, "is cut short, damaged or")


@pytest.mark.parametrize("name", ["w.pt", "w.pth.tar", "w.safetensors"])
def test_text_is_no_checkpoint(name, tmp_path):
    (tmp_path / name).write_text("hello, world")
    refuse(small("convmixer"), tmp_path / name, "is cut short, damaged or")


def test_pickle_under_the_name_of_safetensors(whole, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(whole["w.pt"])
    refuse(small("convmixer"), tmp_path / "w.safetensors", "is cut short, damaged or")


def test_missing_file_folder_and_suffix(tmp_path):
    for path in (tmp_path / "absent.pt", tmp_path / "absent.safetensors"):
        with pytest.raises(FileNotFoundError, match=path.name):
            load_weights(small("convmixer"), path)
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.pt"):
        load_weights(small("convmixer"), tmp_path / "folder.pt")
    (tmp_path / "w.onnx").write_bytes(b"")
    refuse(small("convmixer"), tmp_path / "w.onnx", "must end in one of .safetensors, .pt")


@pytest.mark.parametrize(
    ("lowest", "activation"), [(-0.169, "gelu"), (-0.3, None), (0.0, "relu"), (-1e-3, "gelu")]
)
def test_a_mean_below_gelus_minimum_is_of_neither_activation(lowest, activation):
    means = torch.tensor([0.4, lowest])
    assert activation_seen({"stem.2.running_mean": means, "stem.2.weight": -means}) == activation


def test_what_a_user_writes_on_a_model_is_no_trait_of_its_weights(tmp_path):
    model = create_model("splitmixer_i", dim=8, depth=1)
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    save_weights(model, before)
    model.epoch, model.name, model.seen = 3, "best", (1, 2)
    save_weights(model, after)
    assert after.read_bytes() == before.read_bytes()
    model.epoch = 4
    load_weights(model, after)


def test_safetensors_are_read_under_the_name_of_a_pickle_too(tmp_path):
    model, other = (create_model("convmixer", dim=8, depth=1) for _ in range(2))
    save_weights(model, tmp_path / "ours.safetensors")
    file = (tmp_path / "ours.safetensors").rename(tmp_path / "pytorch_model.bin")
    load_weights(other, file)
    assert equal(model.state_dict(), other.state_dict())


def test_a_model_made_in_inference_mode_is_refused_where_it_cannot_be_filled(tmp_path):
    save_weights(create_model("convmixer", dim=4, depth=1), tmp_path / "w.safetensors")
    with torch.inference_mode():
        model = create_model("convmixer", dim=4, depth=1)
        load_weights(model, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"`model` was made under torch\.inference_mode"):
        load_weights(model, tmp_path / "w.safetensors")
