"""Our own files: equal weights give equal bytes, and no bit of them changes unseen."""

import hashlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from mixerlib.models import create_model
from mixerlib.weights import load_weights, save_weights
from mixerlib.weights.reading import read


def new(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return create_model("splitmixer_iv", dim=3, depth=1, kernel_size=1, patch_size=1, segments=3)


def loads(path: Path) -> bool:
    """Whether a file is taken; if so, its weights must be those of seed 0."""
    model = new(1)
    try:
        load_weights(model, path)
    except ValueError:
        return False
    assert all(torch.equal(new().state_dict()[n], value) for n, value in model.state_dict().items())
    return True


def parts(path: Path) -> tuple[dict, bytes]:
    """A file's header, and its numbers."""
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    return json.loads(whole[8 : 8 + size]), whole[8 + size :]


def write(path: Path, header: dict, numbers: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    return path


def test_equal_weights_give_equal_files(tmp_path):
    digests = set()
    for number in range(8):  # metadata of nine keys in safetensors' order: 1 in 9! are equal
        save_weights(new(), tmp_path / f"{number}.safetensors")
        digests.add(hashlib.sha256((tmp_path / f"{number}.safetensors").read_bytes()).hexdigest())
    assert len(digests) == 1
    save_weights(new(1), tmp_path / "other.safetensors")
    assert hashlib.sha256((tmp_path / "other.safetensors").read_bytes()).hexdigest() not in digests


def test_others_read_the_file(tmp_path):
    save_weights(new(), tmp_path / "w.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(new().state_dict()[name], value) for name, value in tensors.items())
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt" and len(file.metadata()["sha256"]) == 64
    assert all(
        entry["data_offsets"][0] % 4 == 0
        for name, entry in parts(tmp_path / "w.safetensors")[0].items()
        if name != "__metadata__"
    )


def test_no_bit_changes_unseen(tmp_path):
    """A bit of every byte, of the header and of the numbers."""
    path = tmp_path / "w.safetensors"
    save_weights(new(), path)
    whole = path.read_bytes()
    assert loads(path) and len(whole) < 4000
    for place in range(len(whole)):
        changed = whole[place] ^ 1 << place * 5 % 8
        path.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"damaged"):
            read(path)


CHANGES = {
    "a number": lambda header, numbers: (header, bytes([numbers[0] ^ 1]) + numbers[1:]),
    "the statement of the activation": lambda header, numbers: (
        header | {"__metadata__": header["__metadata__"] | {"activation": "relu"}},
        numbers,
    ),
    "two names": lambda header, numbers: (
        header | {"stem.2.weight": header["stem.2.bias"], "stem.2.bias": header["stem.2.weight"]},
        numbers,
    ),
    "no digest": lambda header, numbers: (
        header
        | {"__metadata__": {k: v for k, v in header["__metadata__"].items() if k != "sha256"}},
        numbers,
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_told(change, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(new(), path)
    write(path, *change(*parts(path)))
    safetensors.torch.load_file(path)  # which sees nothing
    with pytest.raises(ValueError, match=r"w\.safetensors' is damaged or was changed: its digest"):
        load_weights(new(), path)


def test_the_same_weights_in_another_order_are_the_same(tmp_path):
    """Another program may write them with their metadata: the digest is of what the file says."""
    save_weights(new(), tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(tmp_path / "w.safetensors")
    safetensors.torch.save_file(tensors, tmp_path / "again.safetensors", metadata)
    assert loads(tmp_path / "again.safetensors")


def test_files_of_before_the_digest_are_read(tmp_path):
    tensors = new().state_dict()
    metadata = {"format": "pt", "layout": "mixerlib", "layout_version": "1", "activation": "gelu"}
    safetensors.torch.save_file(tensors, tmp_path / "w.safetensors", metadata)
    assert loads(tmp_path / "w.safetensors")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_digest_of_every_dtype(dtype, tmp_path):
    save_weights(new().to(dtype), tmp_path / "w.safetensors")
    model = new(1).to(dtype)
    load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.head.weight, new().to(dtype).head.weight)
