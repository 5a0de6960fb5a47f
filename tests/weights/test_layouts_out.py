"""Weights in other projects' layouts: StrideMixer's, MindCV's and JAX's in, five layouts out."""

import struct

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from commands import refusal, run
from torch import nn

from mixerlib.data import import_torchvision
from mixerlib.models import create_model
from mixerlib.weights import load_weights, save_weights
from mixerlib.weights.mindspore import FIRST_BYTE, read_mindspore, write_mindspore

OPTIONS = {"dim": 12, "depth": 3, "kernel_size": 3, "num_classes": 5}
SPLIT = {
    "splitmixer_i": {"ratio": "3/5"},
    "splitmixer_ii": {"segments": 5},
    "splitmixer_iii": {"segments": 3},
    "splitmixer_iv": {"segments": 5},
    "splitmixer_v": {"ratio": "2/3"},
    "splitmixer_3d": {"segments": 3},
}
MLP = {"image_size": 8, "patch_size": 2, "tokens_dim": 7, "channels_dim": 9}


def new(name: str, seed: int = 0) -> nn.Module:
    """A small model, all of whose tensors are random."""
    torch.manual_seed(seed)
    if name == "mlp_mixer":
        model = create_model(name, dim=12, depth=3, num_classes=5, **MLP)
    else:
        model = create_model(name, **OPTIONS, **SPLIT.get(name, {}))
    return scrambled(model)


def scrambled(model: nn.Module) -> nn.Module:
    """All tensors at random; BatchNorm's means are as after a GELU, its variances above 0."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) - 0.1)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.add_(0.2)
    return model.eval()


def equal(mine: nn.Module, expected: nn.Module, counted: bool = True) -> bool:
    pairs = zip(mine.state_dict().items(), expected.state_dict().values(), strict=True)
    return all(
        torch.equal(tensor, other)
        for (name, tensor), other in pairs
        if counted or not name.endswith("num_batches_tracked")
    )


# --- in -------------------------------------------------------------------------------------------


class Around(nn.Module):
    """x + fn(x), with the name that the notebook has."""

    def __init__(self, fn: nn.Module):
        super().__init__()
        self.fn = fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fn(x)


class StrideMixer(nn.Module):
    """The 3-D form as its authors' notebook nests it, with a convolution over the channels."""

    def __init__(self, dim: int, depth: int, kernel: int, segments: int, classes: int):
        super().__init__()
        c = dim // segments
        self.patch_emb = nn.Sequential(
            nn.Conv2d(3, dim, 2, stride=2), nn.GELU(), nn.BatchNorm2d(dim)
        )
        self.spatial_mixer = nn.ModuleList(
            Around(
                nn.Sequential(
                    nn.Conv2d(dim, dim, (1, kernel), groups=dim, padding="same"),
                    nn.GELU(),
                    nn.BatchNorm2d(dim),
                    nn.Conv2d(dim, dim, (kernel, 1), groups=dim, padding="same"),
                    nn.GELU(),
                    nn.BatchNorm2d(dim),
                )
            )
            for _ in range(depth)
        )
        self.channel_mixer = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(1, c, (c, 1, 1), stride=(c, 1, 1)),
                nn.GELU(),
                nn.Flatten(1, 2),
                nn.BatchNorm2d(dim),
            )
            for _ in range(depth)
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dim, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_emb(x)
        for spatial, channels in zip(self.spatial_mixer, self.channel_mixer, strict=True):
            x = channels(spatial(x).unsqueeze(1))
        return self.head(x)


def test_the_notebooks_own_network_gives_our_logits(tmp_path):
    torch.manual_seed(0)
    theirs = scrambled(StrideMixer(12, 3, 3, 3, 5))
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    ours = new("splitmixer_3d", seed=1)
    assert load_weights(ours, tmp_path / "w.pt") == "aliborji"
    images = torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    save_weights(ours, tmp_path / "back.pth", layout="aliborji")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in theirs.state_dict().items())


def jax_mixer(arrays: dict[str, np.ndarray], images: torch.Tensor, depth: int) -> torch.Tensor:
    """MLP-Mixer from arrays named and ordered as in JAX: (B, 3, H, W) → logits."""

    def of(name: str) -> torch.Tensor:
        return torch.from_numpy(arrays[name])

    def dense(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ of(f"{name}/kernel") + of(f"{name}/bias")

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
        return x * of(f"{name}/scale") + of(f"{name}/bias")

    def mlp(x: torch.Tensor, name: str) -> torch.Tensor:
        return dense(F.gelu(dense(x, f"{name}/Dense_0")), f"{name}/Dense_1")

    kernel = of("stem/kernel")  # (p, p, 3, C)
    p = len(kernel)
    patches = images.unfold(2, p, p).unfold(3, p, p)  # (B, 3, rows, columns, p, p)
    x = torch.einsum("bcijxy,xych->bijh", patches, kernel).flatten(1, 2) + of("stem/bias")
    for i in range(depth):
        block = f"MixerBlock_{i}"
        x = x + mlp(norm(x, f"{block}/LayerNorm_0").mT, f"{block}/token_mixing").mT
        x = x + mlp(norm(x, f"{block}/LayerNorm_1"), f"{block}/channel_mixing")
    return dense(norm(x, "pre_head_layer_norm").mean(1), "head")


def jax_arrays(depth: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"stem/kernel": (2, 2, 3, 12), "stem/bias": (12,)}

    def dense(name: str, first: int, last: int) -> None:
        shapes[f"{name}/kernel"], shapes[f"{name}/bias"] = (first, last), (last,)

    for i in range(depth):
        for norm in (f"MixerBlock_{i}/LayerNorm_0", f"MixerBlock_{i}/LayerNorm_1"):
            shapes[f"{norm}/scale"], shapes[f"{norm}/bias"] = (12,), (12,)
        dense(f"MixerBlock_{i}/token_mixing/Dense_0", 16, 7)
        dense(f"MixerBlock_{i}/token_mixing/Dense_1", 7, 16)
        dense(f"MixerBlock_{i}/channel_mixing/Dense_0", 12, 9)
        dense(f"MixerBlock_{i}/channel_mixing/Dense_1", 9, 12)
    shapes["pre_head_layer_norm/scale"], shapes["pre_head_layer_norm/bias"] = (12,), (12,)
    dense("head", 12, 5)
    return {name: random.normal(size=s).astype(np.float32) for name, s in shapes.items()}


@pytest.mark.parametrize("prefix", ["", "opt/target/"])
def test_the_arrays_of_jax_give_our_logits(prefix, tmp_path):
    arrays = jax_arrays()
    beside = {"opt/state/step": np.zeros((), np.int64)} if prefix else {}
    named = {f"{prefix}{name}": array for name, array in arrays.items()}
    np.savez(tmp_path / "w.npz", **named, **beside)
    model = new("mlp_mixer", seed=1)
    key = {"key": "target"} if prefix else {}  # the file has other tensors beside them
    assert load_weights(model, tmp_path / "w.npz", **key) == "jax"
    images = torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        expected = jax_mixer(arrays, images, 3)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)


def test_arrays_without_a_head_and_in_bfloat16(tmp_path):
    arrays = {name: a for name, a in jax_arrays().items() if not name.startswith("head")}
    halves = {
        name: torch.from_numpy(a).bfloat16().view(torch.int16).numpy().view("V2")
        for name, a in arrays.items()
    }
    np.savez_compressed(tmp_path / "w.npz", **halves)
    model, untouched = new("mlp_mixer", seed=1), new("mlp_mixer", seed=1)
    with pytest.raises(ValueError, match=r"`head\.weight` is missing|`head\.weight`"):
        load_weights(model, tmp_path / "w.npz")
    assert load_weights(model, tmp_path / "w.npz", head=False) == "jax"
    assert torch.equal(model.head.weight, untouched.head.weight)
    kernel = torch.from_numpy(arrays["MixerBlock_1/token_mixing/Dense_0/kernel"]).bfloat16()
    assert torch.equal(model.blocks[1].mlp_tokens.fc1.weight, kernel.T.float())


def test_another_image_size_is_refused_by_the_token_weights(tmp_path):
    np.savez(tmp_path / "w.npz", **jax_arrays())
    model = create_model("mlp_mixer", dim=12, depth=3, num_classes=5, **MLP | {"image_size": 12})
    message = r"token_mixing\.Dense_0\.kernel` in jax\) is \(7, 16\), wanted \(7, 36\)"
    with pytest.raises(ValueError, match=message):
        load_weights(model, tmp_path / "w.npz")


OBJECTS = {"objects": np.array([None, {}]), "text": np.array(["text"])}


@pytest.mark.parametrize("array", OBJECTS.values(), ids=OBJECTS)
def test_arrays_of_objects_are_not_unpickled(array, tmp_path):
    np.savez(tmp_path / "w.npz", **{"stem/kernel": array})
    with pytest.raises(ValueError, match="cannot be read as plain data; nothing was loaded"):
        load_weights(new("mlp_mixer"), tmp_path / "w.npz")


# --- MindSpore ------------------------------------------------------------------------------------


def test_the_file_of_mindspore_is_protobuf(tmp_path):
    """Against bytes written out by hand from MindSpore's `checkpoint.proto`."""
    numbers = struct.pack("<2f", 1.5, -2.0)
    tensor = b"\x08\x02" + b"\x12\x07Float32" + b"\x1a\x08" + numbers
    value = b"\x0a\x04bias" + b"\x12" + bytes([len(tensor)]) + tensor
    file = b"\x0a" + bytes([len(value)]) + value
    assert write_mindspore({"bias": torch.tensor([1.5, -2.0])}) == file
    assert torch.equal(read_mindspore(file)["bias"], torch.tensor([1.5, -2.0]))
    packed = b"\x0a\x02\x01\x02" + tensor[2:]  # its sides in a row: 1 × 2
    value = b"\x0a\x04bias" + b"\x12" + bytes([len(packed)]) + packed
    again = read_mindspore(b"\x0a" + bytes([len(value)]) + value)
    assert torch.equal(again["bias"], torch.tensor([[1.5, -2.0]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (3,), (130, 2, 1)])
def test_every_dtype_and_shape_comes_back(dtype, shape):
    tensor = torch.rand(shape).mul(9).to(dtype)
    (back,) = read_mindspore(write_mindspore({"a": tensor})).values()
    assert back.dtype == dtype and torch.equal(back, tensor)


def test_pieces_of_a_large_tensor_are_joined():
    whole = torch.arange(6.0).reshape(2, 3)
    sides = b"\x08\x02\x08\x03\x12\x07Float32"
    content = b""
    for part in (whole.flatten()[:4], whole.flatten()[4:]):
        numbers = part.numpy().tobytes()
        tensor = sides + b"\x1a" + bytes([len(numbers)]) + numbers
        value = b"\x0a\x01w\x12" + bytes([len(tensor)]) + tensor
        content += b"\x0a" + bytes([len(value)]) + value
    assert torch.equal(read_mindspore(content)["w"], whole)


def test_mindspores_names_are_those_of_its_batchnorm(tmp_path):
    source, model = new("convmixer"), new("convmixer", seed=1)
    save_weights(source, tmp_path / "w.ckpt", layout="mindcv")
    names = set(read_mindspore((tmp_path / "w.ckpt").read_bytes()))
    assert {"network.0.weight", "network.2.gamma", "network.3.0.fn.0.bias"} <= names
    assert {"network.3.0.fn.2.moving_variance", "network.5.3.moving_mean"} <= names
    assert {"network.8.weight", "network.8.bias"} <= names
    assert len(names) == sum(not n.endswith("num_batches_tracked") for n in source.state_dict())
    assert load_weights(model, tmp_path / "w.ckpt") == "mindcv"
    assert equal(model, source, counted=False)
    with pytest.raises(ValueError, match=r"`stem\.2\.weight` \(`2\.gamma` in mindcv\)"):
        load_weights(create_model("convmixer", **OPTIONS | {"dim": 8}), tmp_path / "w.ckpt")


def test_a_file_of_mindspore_cut_anywhere_is_refused(tmp_path):
    save_weights(new("convmixer"), tmp_path / "w.ckpt", layout="mindcv")
    whole = (tmp_path / "w.ckpt").read_bytes()
    model, untouched = new("convmixer", seed=1), new("convmixer", seed=1)
    for share in range(1, 40):
        (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) * share // 40 + share % 3])
        with pytest.raises(ValueError, match=r"nothing was loaded|does not fit"):
            load_weights(model, tmp_path / "cut.ckpt")
    assert equal(model, untouched)


# --- out ------------------------------------------------------------------------------------------

WRITTEN = [
    *(("convmixer", layout) for layout in ("timm", "locuslab", "tweet", "aliborji", "mindcv")),
    *(("mlp_mixer", layout) for layout in ("timm", "mindspore")),
    *((name, "aliborji") for name in SPLIT),
]


@pytest.mark.parametrize(("name", "layout"), WRITTEN, ids=lambda word: word)
def test_what_is_written_is_read_again(name, layout, tmp_path):
    source = new(name)
    suffixes = [".ckpt"] if layout in ("mindcv", "mindspore") else [".pth", ".safetensors", ".bin"]
    for suffix in suffixes:
        model = new(name, seed=1)
        save_weights(source, tmp_path / f"w{suffix}", layout=layout)
        assert load_weights(model, tmp_path / f"w{suffix}") == layout
        assert equal(model, source, counted=layout != "mindcv")


def test_timm_reads_what_is_written_for_it(tmp_path):
    import_torchvision()  # which timm needs
    from timm.models.convmixer import ConvMixer

    source = new("convmixer")
    save_weights(source, tmp_path / "w.safetensors", layout="timm")
    theirs = ConvMixer(12, 3, kernel_size=3, patch_size=2, num_classes=5).eval()
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "w.safetensors"))
    images = torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(images), source(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layout", "file", "message"),
    [
        ("splitmixer_i", "timm", "w.pth", "`layout`='timm' must be one that has such a model"),
        ("splitmixer_i", "mindcv", "w.ckpt", "`layout`='mindcv' must be one that has such a model"),
        ("convmixer", "jax", "w.pth", "`layout`='jax' must be one of 'mixerlib', 'timm'"),
        ("convmixer", "mindcv", "w.pth", r"`path`='\S*w.pth' must end in \.ckpt"),
        ("convmixer", "timm", "w.npz", r"must end in \.safetensors or \.pth or"),
        ("convmixer", "mixerlib", "w.pth", r"must end in \.safetensors$"),
    ],
)
def test_what_cannot_be_written_is_refused(name, layout, file, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_weights(new(name), tmp_path / file, layout=layout)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_other_layouts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = new("convmixer")
    save_weights(source, "mine.safetensors")
    shape = ["--model", "convmixer", "--dim", 12, "--depth", 3, "--kernel-size", 3]
    shape += ["--num-classes", 5]
    for layout, file in (("mindcv", "mine.ckpt"), ("locuslab", "mine.pth")):
        status, out, _ = run(capsys, "import", "mine.safetensors", *shape, "--to", layout)
        assert status == 0 and f"weights:  {file}" in out
        model = new("convmixer", seed=1)
        assert load_weights(model, file) == layout
        assert equal(model, source, counted=layout != "mindcv")
    line = refusal(capsys, "import", "mine.safetensors", *shape, "--to", "keras")
    assert "`layout`='keras' must be one of 'mixerlib', 'timm'" in line


def test_what_begins_like_mindspores_is_looked_at_as_safetensors_first(tmp_path):
    model = create_model("convmixer", dim=4, depth=1, kernel_size=3)
    save_weights(model, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    size = int.from_bytes(whole[:8], "little")
    more = (FIRST_BYTE - size) % 256  # spaces after the header, which the format allows
    begins = (size + more).to_bytes(8, "little") + whole[8 : 8 + size] + b" " * more
    (tmp_path / "w.bin").write_bytes(begins + whole[8 + size :])
    assert begins[0] == FIRST_BYTE
    assert load_weights(model, tmp_path / "w.bin") == "mixerlib"
