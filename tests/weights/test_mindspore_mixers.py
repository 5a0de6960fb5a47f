"""MLP-Mixers of MindSpore's: MindCV's and its courses', by exactly the names that it saves."""

import pytest
import torch
from commands import run
from torch import nn

from mixerlib.models import create_model
from mixerlib.pages import layout_rows, weight_layouts
from mixerlib.weights import load_weights, save_weights
from mixerlib.weights.layouts import LAYOUTS
from mixerlib.weights.mindspore import read_mindspore, write_mindspore
from mixerlib.weights.saving import WRITTEN

SIZE = {"image_size": 8, "patch_size": 2, "tokens_dim": 7, "channels_dim": 9}
# What MindSpore 2.10 saves of MindCV's `MLPMixer` of two blocks, and of the courses' `Mixer`
MINDCV = (
    "to_patch_embedding.0.weight",
    "0.token_mix.0.gamma",
    "0.token_mix.0.beta",
    "0.token_mix.2.net.0.weight",
    "0.token_mix.2.net.0.bias",
    "0.token_mix.2.net.3.weight",
    "0.token_mix.2.net.3.bias",
    "0.channel_mix.0.gamma",
    "0.channel_mix.0.beta",
    "0.channel_mix.1.net.0.weight",
    "0.channel_mix.1.net.0.bias",
    "0.channel_mix.1.net.3.weight",
    "0.channel_mix.1.net.3.bias",
    "0.token_mix.1.token_mix.0.gamma",
    "0.token_mix.1.token_mix.0.beta",
    "0.token_mix.1.token_mix.2.net.0.weight",
    "0.token_mix.1.token_mix.2.net.0.bias",
    "0.token_mix.1.token_mix.2.net.3.weight",
    "0.token_mix.1.token_mix.2.net.3.bias",
    "0.token_mix.1.channel_mix.0.gamma",
    "0.token_mix.1.channel_mix.0.beta",
    "0.token_mix.1.channel_mix.1.net.0.weight",
    "0.token_mix.1.channel_mix.1.net.0.bias",
    "0.token_mix.1.channel_mix.1.net.3.weight",
    "0.token_mix.1.channel_mix.1.net.3.bias",
    "layer_norm.gamma",
    "layer_norm.beta",
    "mlp_head.weight",
    "mlp_head.bias",
)
LAYERS = (
    "token_mixer.norm.gamma",
    "token_mixer.norm.beta",
    "token_mixer.token_mixing_mlp.dense1.weight",
    "token_mixer.token_mixing_mlp.dense1.bias",
    "token_mixer.token_mixing_mlp.dense2.weight",
    "token_mixer.token_mixing_mlp.dense2.bias",
    "channel_mixer.norm.gamma",
    "channel_mixer.norm.beta",
    "channel_mixer.channel_mixing_mlp.dense1.weight",
    "channel_mixer.channel_mixing_mlp.dense1.bias",
    "channel_mixer.channel_mixing_mlp.dense2.weight",
    "channel_mixer.channel_mixing_mlp.dense2.bias",
)
COURSES = (
    "backbone.patch_embedding.conv.weight",
    "backbone.patch_embedding.conv.bias",
    *(f"backbone.mixer_blocks.layers.{b}.{name}" for b in range(2) for name in LAYERS),
    "backbone.norm.gamma",
    "backbone.norm.beta",
    "head.dense.weight",
    "head.dense.bias",
)
NESTED = (  # by the attributes of MindCV's code
    MINDCV[0],
    *(f"mixer_blocks.{name}" for name in MINDCV[1:13]),
    *(name.replace("0.token_mix.1.", "mixer_blocks.1.", 1) for name in MINDCV[13:25]),
    *MINDCV[25:],
)
FILES = {"mindcv": MINDCV, "nested": NESTED, "mindspore": COURSES}


def new(seed: int = 0, num_classes: int = 5) -> nn.Module:
    torch.manual_seed(seed)
    model = create_model("mlp_mixer", dim=12, depth=2, num_classes=num_classes, **SIZE).eval()
    for tensor in model.state_dict().values():
        tensor.copy_(torch.rand_like(tensor) - 0.3)
    return model


def in_order(model: nn.Module, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The model's tensors in the order in which MindSpore saves them, under its names."""
    ours = dict(model.state_dict())
    first = ["stem.proj.weight"] + ["stem.proj.bias"] * (names is COURSES)
    last = [name for name in ours if name.startswith(("norm.", "head."))]
    blocks = [name for name in ours if name.startswith("blocks.")]
    return dict(zip(names, (ours[name] for name in (*first, *blocks, *last)), strict=True))


@pytest.mark.parametrize("kind", FILES)
def test_their_names_are_read(kind, tmp_path):
    source, model = new(), new(seed=1)
    file = tmp_path / "w.ckpt"
    file.write_bytes(write_mindspore(in_order(source, FILES[kind])))
    assert load_weights(model, file) == ("mindcv" if kind == "nested" else kind)
    if kind != "mindspore":  # MindCV embeds its patches without a bias
        assert not model.stem.proj.bias.any()
        source.stem.proj.bias.data.zero_()
    for (name, tensor), other in zip(
        model.state_dict().items(), source.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, other), name


@pytest.mark.parametrize("layout", ["mindcv", "mindspore"])
def test_what_is_written_has_exactly_their_names(layout, tmp_path):
    source = new()
    source.stem.proj.bias.data.zero_()
    save_weights(source, tmp_path / "w.ckpt", layout=layout)
    written = read_mindspore((tmp_path / "w.ckpt").read_bytes())
    expected = in_order(source, FILES[layout])
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("kind", FILES)
def test_the_body_alone_of_a_file_with_a_head(kind, tmp_path):
    source, model = new(), new(seed=1, num_classes=0)
    file = tmp_path / "w.ckpt"
    file.write_bytes(write_mindspore(in_order(source, FILES[kind])))
    with pytest.raises(ValueError, match=r"wanted none.*; `head=False` leaves"):
        load_weights(model, file)
    load_weights(model, file, head=False)
    assert torch.equal(model.blocks[1].norm2.weight, source.blocks[1].norm2.weight)


@pytest.mark.parametrize("layout", ["mindcv", "mindspore"])
@pytest.mark.parametrize("num_classes", [0, 5])
def test_a_model_without_a_head_goes_out_and_in_again(layout, num_classes, tmp_path):
    """All of its names begin with `backbone.` in the courses, as if a wrapper had put it there."""
    source, model = new(num_classes=0), new(seed=1, num_classes=num_classes)
    source.stem.proj.bias.data.zero_()
    save_weights(source, tmp_path / "w.ckpt", layout=layout)
    written = read_mindspore((tmp_path / "w.ckpt").read_bytes())
    assert written.keys() == {n for n in FILES[layout] if not n.startswith(("head", "mlp_head"))}
    assert load_weights(model, tmp_path / "w.ckpt", head=num_classes == 0) == layout
    state = model.state_dict()
    assert all(torch.equal(state[name], t) for name, t in source.state_dict().items())


def test_the_courses_backbone_saved_by_itself_is_read(tmp_path):
    source, model = new(num_classes=0), new(seed=1, num_classes=0)
    names = [name for name in COURSES if not name.startswith("head")]
    tensors = dict(zip(names, source.state_dict().values(), strict=True))
    bare = {name.removeprefix("backbone."): tensor for name, tensor in tensors.items()}
    (tmp_path / "w.ckpt").write_bytes(write_mindspore(bare))
    assert load_weights(model, tmp_path / "w.ckpt") == "mindspore"
    assert torch.equal(model.stem.proj.bias, source.stem.proj.bias)
    assert torch.equal(model.norm.weight, source.norm.weight)


def test_a_bias_that_mindcv_lacks_is_not_dropped_in_silence(tmp_path):
    message = r"`layout`='mindcv' has no `stem\.proj\.bias`, and that of `model` is not 0"
    with pytest.raises(ValueError, match=message):
        save_weights(new(), tmp_path / "w.ckpt", layout="mindcv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FILES)
def test_the_optimizer_of_a_training_is_left_unread(kind, tmp_path):
    """`ModelCheckpoint` saves Adam's moments and its counters with the network."""
    source, model = new(), new(seed=1)
    tensors = in_order(source, FILES[kind])
    beside = {f"{m}.{name}": t + 1 for m in ("moment1", "moment2") for name, t in tensors.items()}
    scalars = {name: torch.ones(()) for name in ("global_step", "learning_rate", "beta1_power")}
    (tmp_path / "w.ckpt").write_bytes(write_mindspore(tensors | beside | scalars))
    load_weights(model, tmp_path / "w.ckpt")
    assert torch.equal(model.blocks[1].norm2.weight, source.blocks[1].norm2.weight)


def test_a_missing_or_foreign_tensor_is_named_in_both_namings(tmp_path):
    tensors = in_order(new(), COURSES)
    del tensors["backbone.mixer_blocks.layers.1.channel_mixer.norm.gamma"]
    tensors["backbone.mixer_blocks.layers.1.extra.weight"] = torch.ones(3)
    (tmp_path / "w.ckpt").write_bytes(write_mindspore(tensors))
    with pytest.raises(ValueError, match="does not fit") as error:
        load_weights(new(seed=1), tmp_path / "w.ckpt")
    assert "`blocks.1.norm2.weight` (`backbone.mixer_blocks.layers.1" in str(error.value)
    assert "`backbone.mixer_blocks.layers.1.extra.weight` is (3,), wanted none" in str(error.value)


def test_the_command_reads_and_writes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = new()
    (tmp_path / "theirs.ckpt").write_bytes(write_mindspore(in_order(source, COURSES)))
    shape = ["--model", "mlp_mixer", "--dim", 12, "--depth", 2, "--num-classes", 5]
    shape += ["--image-size", 8, "--patch-size", 2, "--tokens-dim", 7, "--channels-dim", 9]
    status, out, _ = run(capsys, "import", "theirs.ckpt", *shape, "--out", "ours.safetensors")
    assert status == 0 and "layout mindspore" in out
    status, out, _ = run(capsys, "import", "ours.safetensors", *shape, "--to", "mindspore")
    assert status == 0 and "ours.ckpt" in out
    theirs = read_mindspore((tmp_path / "theirs.ckpt").read_bytes())
    back = read_mindspore((tmp_path / "ours.ckpt").read_bytes())
    assert theirs.keys() == back.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in theirs.items())


def test_the_table_of_layouts_has_every_layout_and_no_difference(tmp_path):
    rows = layout_rows()
    assert {row[1].partition(",")[0] for row in rows} == {layout.name for layout in LAYOUTS}
    assert {row[3] for row in rows} == {"0"}
    tables = [*WRITTEN.values(), *weight_layouts.ONLY_READ.values()]
    shown = [layout for table in tables for layout in table.values()]
    assert [layout for layout in LAYOUTS if layout.table and layout not in shown] == []
    for row in (
        ["MLP-Mixer", "jax"],
        ["MLP-Mixer", "mindcv, as its code nests it"],
        ["IV", "aliborji, flat as on the slides"],
    ):
        assert [*row, "in", "0"] in rows
    source = weight_layouts._new("convmixer", seed=0)
    save_weights(source, tmp_path / "w.pth", layout="locuslab")
    with pytest.raises(ValueError, match="was taken for 'locuslab'"):
        weight_layouts._difference("convmixer", source, tmp_path / "w.pth", "tweet")
    source.head.bias.data += 0.2
    assert (
        weight_layouts._difference("convmixer", source, tmp_path / "w.pth", "locuslab") == "2e-01"
    )
