"""Files that are made to do harm: nothing in them is called, and none costs much time or memory."""

import contextlib
import io
import os
import pickle
import resource
import socket
import struct
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mixerlib.models import create_model
from mixerlib.weights import load_weights, pickled
from mixerlib.weights.containers import read_pickled
from mixerlib.weights.pickled import Forbidden, Inert, Name, StoredTensor, is_harmless


def new() -> nn.Module:
    return create_model("convmixer", dim=4, depth=1, kernel_size=3, num_classes=3)


STATE = new().state_dict()


@pytest.fixture
def quick() -> Iterator[None]:
    """What takes more than 30 seconds of this process, or another 300 MB, fails.

    What does harm takes hours; one second here is five on a machine that others share.
    """
    start, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - start < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300_000


def zipped(path: Path, index: bytes, method: int = zipfile.ZIP_STORED, **parts: bytes) -> Path:
    """A file like torch.save's with this pickle, and these bytes as its storages."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", index)
        for key, content in parts.items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def refused(path: Path, *pieces: str) -> str:
    """The one line with which a file is refused, the model as it was."""
    model = new()
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises((ValueError, OSError)) as caught:
        load_weights(model, path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000
    assert all(piece in message for piece in (path.name, *pieces)), message
    assert all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())
    return message


# Nothing is called


class Call:
    """Unpickled as code, a call of any function that a name leads to."""

    def __init__(self, maker: Any, arguments: tuple, state: Any = None):
        self.parts = (maker, arguments) if state is None else (maker, arguments, state)

    def __reduce__(self):
        return self.parts


CODE = [os.mkdir, os.system, eval, exec, getattr, setattr, __import__, open, map, type]
CODE += [io.open_code, torch.load, torch.hub.load, torch.save, nn.Linear, pickle.loads]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("code", CODE, ids=lambda code: code.__name__)
def test_code_is_named_and_not_run(code, protocol, tmp_path):
    content = pickle.dumps({"state_dict": [], "more": Call(code, ("ran",))}, protocol)
    for path in (zipped(tmp_path / "zip.pt", content), tmp_path / "bare.pt"):
        if path.name == "bare.pt":
            path.write_bytes(content)
        refused(path, "would run code if unpickled: ", code.__name__.rpartition(".")[2])


ALLOWED = {
    "builtins": "dict bytearray set slice complex",
    "collections": "OrderedDict defaultdict Counter deque",
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "copyreg": "_reconstructor",
    "pathlib": "PosixPath Path",
    "pathlib._local": "PosixPath",
    "datetime": "datetime timedelta",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "_codecs": "encode",
    "numpy": "dtype ndarray float64",
    "numpy._core.multiarray": "scalar",
    "numpy.dtypes": "Int8DType",
    "numpy.core.multiarray": "_reconstruct",
    "numpy._core.numeric": "_frombuffer",
    "torch": "Size device Tensor float32 FloatStorage",
    "torch.nn.parameter": "Parameter",
    "torch.torch_version": "TorchVersion",
    "torch.serialization": "_get_layout",
    "torch.storage": "UntypedStorage",
    "torch.cuda": "FloatTensor",
    "torch._tensor": "_rebuild_from_type_v2",
    "torch._utils": "_rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter "
    "_rebuild_qtensor _rebuild_sparse_tensor _rebuild_wrapper_subclass",
}


@pytest.mark.parametrize("name", [f"{m}.{n}" for m in ALLOWED for n in ALLOWED[m].split()])
def test_an_allowed_class_carries_no_code(name, tmp_path):
    """As an argument, as a state, among its keys; and what is called on it is not called."""
    assert is_harmless(name)
    module, _, attribute = name.rpartition(".")
    harmless = b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"
    payload = b"cposix\nmkdir\n(V" + str(tmp_path / "ran").encode() + b"\ntR"
    for content in (
        harmless + b"(" + payload + b"tR.",
        harmless + b")R}V__setstate__\n" + payload + b"sb.",
        harmless + b")\x81" + payload + b"b.",
        b"}" + harmless + payload + b"s.",
        b"(" + payload + b"i" + module.encode() + b"\n" + attribute.encode() + b"\n.",
    ):
        refused(zipped(tmp_path / "w.pt", content))
        refused(zipped(tmp_path / "w.ckpt", b"}Vstate_dict\n" + content[:-1] + b"s."))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(
        (ValueError, IndexError)
    ):  # none is a function that the file may call later on
        read_pickled(io.BytesIO(harmless + b")R)R."))


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "posix.system", "builtins.eval", "__builtin__.eval", "builtins.getattr"),
        *("?", "numpy.load", "numpy.frombuffer", "numpy._core.multiarray.fromstring"),
        *("torch.load", "x.dict", "torch._utils._rebuild_evil"),
        *("torch._utils._rebuild_tensor_v2.x", "functools.partial", "torch.serialization.load"),
        *("torch.storage._load_from_bytes", "collections.namedtuple"),
        *("argparse.ArgumentParser", "pathlib.Path.unlink", "torch.jit.load"),
        *("numpy.dtypes.os", "torch.hub.load", "types.CodeType", "types.FunctionType"),
        *("builtins.dict\n", "torch.ops.x"),
    ],
)
def test_names_that_are_not_harmless(name):
    assert not is_harmless(name)


def test_a_program_of_torchscript_is_told(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(new().eval(), torch.randn(1, 3, 8, 8)).save(tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "a TorchScript program; save its state_dict()")


# Time and memory


def nested(depth: int, join: bytes = b"\x86") -> bytes:
    """A tuple of a tuple twice, and so on: 2 ** depth of them for whoever walks through it."""
    return b")" + b"".join(b"q\x00h\x00" + join for _ in range(depth))


@pytest.mark.parametrize("depth", [60, 2000])
def test_keys_that_take_for_ever_to_hash(depth, quick, tmp_path):
    key = nested(depth)
    for content in (
        b"}" + key + b"Ns.",
        b"}(" + key + b"Nu.",
        b"(" + key + b"Nd.",
        b"\x8f(" + key + b"\x90.",
        b"(" + key + b"\x91.",
        b"}Vstate_dict\n}" + key + b"Nss.",
        b"ccollections\nCounter\n}" + key + b"Ns\x85R.",
        b"cbuiltins\nset\n(" + key + b"l\x85R.",
        key + b".",
    ):
        refused(zipped(tmp_path / "w.pt", content), "must hold a state dict")


def test_lists_and_tables_that_hold_themselves(quick, tmp_path):
    loop = b"]q\x00h\x00ah\x00a"  # a list of itself, twice
    table = b"}q\x01Va\nh\x01sVb\nh\x01s"
    many = b"(" + b"]" * 1_000_000 + b"l"
    for content in (loop, table, nested(60, b"h\x00\x87"), b"]" * 100_000, many):
        refused(zipped(tmp_path / "w.pt", content + b"."))


def test_a_pickle_of_more_opcodes_than_any_checkpoint(tmp_path, monkeypatch):
    torch.save(STATE, tmp_path / "w.pt")
    monkeypatch.setattr(pickled, "OPCODES", 1000)
    load_weights(new(), tmp_path / "w.pt")
    refused(zipped(tmp_path / "w.pt", b"N0" * 500 + b"N."), "cannot be read as plain data")


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def tensor(size: str, stride: str, offset: int = 0, count: int = 4, key: str = "0") -> bytes:
    """A pickled tensor, in text opcodes; sizes and strides as in "(L4L\\nt"."""
    place = f"((Vstorage\nctorch\nFloatStorage\nV{key}\nVcpu\nL{count}L\nt".encode()
    return TENSOR + place + b"Q" + f"L{offset}L\n{size}{stride}I00\n}}tR".encode()


@pytest.mark.parametrize(
    ("pickled", "inside"),
    [
        (tensor("(L4L\nt", "(L1L\nt"), True),
        (tensor("(L2L\nt", "(L1L\nt", offset=2), True),
        (tensor("(L2L\nL2L\nt", "(L1L\nL2L\nt"), True),
        (tensor("(L0L\nL9L\nt", "(L1L\nL1L\nt"), True),
        (tensor("t", "(t").replace(b"t(t", b"(t(t"), True),
        (tensor("(L5L\nt", "(L1L\nt"), False),
        (tensor("(L4L\nt", "(L1L\nt", offset=1), False),
        (tensor("(L4L\nt", "(L2L\nt"), False),
        (tensor("(L4L\nt", "(L-1L\nt"), False),
        (tensor("(L4L\nt", "(L1L\nt", offset=-1), False),
        (tensor("(L-4L\nt", "(L1L\nt"), False),
        (tensor("(L4L\nt", "(L1L\nL1L\nt"), False),
        (tensor(f"(L{2**62}L\nL{2**62}L\nt", "(L0L\nL0L\nt"), False),
        (tensor(f"(L{2**63}L\nt", "(L0L\nt"), False),
        (tensor("(L4L\nt", "(L1L\nt", count=5), False),  # more than its part holds
        (tensor(f"(L{10**12}L\nt", "(L1L\nt", count=10**12), False),
        (tensor("(L4L\nt", "(L1L\nt", key="1"), False),  # a part that is not there
        (tensor("(L4L\nt", "(L1L\nt", key="../data.pkl"), False),
    ],
)
def test_tensors_inside_and_outside_of_their_storage(pickled, inside, quick, tmp_path):
    numbers = struct.pack("<4f", 1, 2, 3, 4)
    path = zipped(tmp_path / "w.pt", b"}Va\n" + pickled + b"s.", **{"0": numbers})
    with path.open("rb") as file:
        outcome: Any = contextlib.nullcontext() if inside else pytest.raises(Exception)
        with outcome:
            value = read_pickled(file)["a"]
            assert isinstance(value, StoredTensor)
            assert value.tensor().sum() <= 10
    if not inside:
        refused(path, "cannot be read as plain data")


def test_a_tensor_that_is_expanded_to_any_size_is_never_written_out(quick, tmp_path):
    """Of 4 numbers, 10 ** 12 in all: its shape is looked at before its numbers."""
    state = dict(STATE)
    del state["head.bias"]
    torch.save(state | {"head.bias": torch.ones(1).expand(10**12)}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "`head.bias` is (1000000000000,), wanted (3,)")


def test_what_inflates_to_many_times_its_size(quick, tmp_path):
    content = b"}Va\n" + tensor("(L4L\nt", "(L1L\nt", count=2**26) + b"s."
    path = zipped(tmp_path / "w.pt", content, zipfile.ZIP_DEFLATED, **{"0": bytes(2**28)})
    assert path.stat().st_size < 2**20
    refused(path, "cannot be read as plain data")


def test_a_part_that_is_longer_than_it_says(quick, tmp_path):
    content = b"}Va\n" + tensor("(L4L\nt", "(L1L\nt") + b"s."
    path = zipped(tmp_path / "w.pt", content, zipfile.ZIP_DEFLATED, **{"0": bytes(2**28)})
    whole = path.read_bytes().replace(struct.pack("<L", 2**28), struct.pack("<L", 16))
    path.write_bytes(whole)
    refused(path)


def test_a_file_that_was_unpacked_and_zipped_again(tmp_path):
    """As after a browser that unpacks what it fetches."""
    torch.save(STATE, tmp_path / "torch.pt")
    with (
        zipfile.ZipFile(tmp_path / "torch.pt") as old,
        zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in old.namelist():
            archive.writestr(name, old.read(name))
        archive.writestr("__MACOSX/._data.pkl", b"")
    model = new()
    load_weights(model, tmp_path / "w.pt")
    assert all(torch.equal(STATE[name], value) for name, value in model.state_dict().items())


# Damage


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_bit_of_a_zip_is_seen_or_does_no_harm(protocol, tmp_path):
    path, seen = tmp_path / "w.pt", 0
    torch.save(STATE, path, pickle_protocol=protocol)
    whole, model = path.read_bytes(), new()
    for place in range(0, len(whole), len(whole) // 300):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        )
        try:
            load_weights(model, path)
        except ValueError:
            seen += 1
        else:
            assert all(torch.equal(STATE[n], value) for n, value in model.state_dict().items())
    assert seen > 50


@pytest.mark.parametrize(
    "content", [b"", b".", b"N", b"0.", b"(", b"\x80\x02", b"h\x00.", b"\x85."]
)
@pytest.mark.parametrize("end", [b"", b"R.", b"b.", b"a.", b"u.", b"s.", b"Q.", b"\x93.", b"\x97."])
def test_odd_pickles(content, end, tmp_path):
    refused(zipped(tmp_path / "w.pt", content + end))
    (tmp_path / "bare.pt").write_bytes(content + end)
    refused(tmp_path / "bare.pt")


def test_two_indices_and_none(tmp_path):
    for names in ([], ["a/data.pkl", "b/data.pkl"]):
        with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
            archive.writestr("c/version", b"3")
            for name in names:
                archive.writestr(name, b"}.")
        refused(tmp_path / "w.pt", "cannot be read as plain data")


def test_the_other_byte_order(tmp_path):
    torch.save(STATE, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, b"big" if name.endswith("byteorder") else content)
    refused(tmp_path / "w.pt", "cannot be read as plain data")


# What is no file


def test_pipes_devices_and_sockets_are_not_opened(quick, tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "zero.pt").symlink_to("/dev/zero")
    (tmp_path / "null.safetensors").symlink_to("/dev/null")
    (tmp_path / "link.ckpt").symlink_to(tmp_path / "pipe.pt")
    for name in ("pipe.pt", "zero.pt", "null.safetensors", "link.ckpt"):
        refused(tmp_path / name, "must be a file, not a device, a pipe or a socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.pt"))
        refused(tmp_path / "s.pt", "must be a file, not a device")
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    refused(tmp_path / "loop.pt")


def test_a_set_and_an_unknown_object_are_known_by_name_only():
    content = pickle.dumps({"a": {1, 2}, "b": Path("x")}, 4)
    values = read_pickled(io.BytesIO(content))
    assert all(isinstance(value, Inert) for value in values.values())
    with pytest.raises(Forbidden, match=r"^os\.getcwd|^posix\.getcwd"):
        read_pickled(io.BytesIO(pickle.dumps(os.getcwd, 4)))


@pytest.mark.parametrize("model", [create_model("convmixer", dim=4, depth=1), nn.Linear(2, 2)])
def test_who_saved_a_whole_model_is_told_to_save_its_state_dict(model, tmp_path):
    torch.save(model, tmp_path / "model.pt")
    refused(tmp_path / "model.pt", "holds a whole model; save its state_dict() with torch.save")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "value",
    [
        *(..., NotImplemented, np.ma.array([1, 2], mask=[0, 1]), np.ma.masked),
        *(np.random.default_rng(0), np.random.RandomState(0), np.random.SeedSequence(0)),
        *(np.random.MT19937(0), np.random.PCG64(0), np.random.PCG64DXSM(0), np.random.Philox(0)),
        np.random.SFC64(0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_trainers_leave_beside_the_weights_is_no_code(value, protocol):
    read = read_pickled(io.BytesIO(pickle.dumps({"beside": value}, protocol)))
    assert type(read["beside"]) in (Inert, Name)


def test_negated_weights_are_read_as_torch_reads_them(tmp_path):
    negated = {k: torch._neg_view(-v) if v.ndim else v for k, v in STATE.items()}
    assert any(v.is_neg() for v in negated.values())
    torch.save(negated, tmp_path / "w.pt")
    model = new()
    load_weights(model, tmp_path / "w.pt")
    assert all(map(torch.equal, model.state_dict().values(), STATE.values()))
    marked = [{"neg": True, "conj": True}]
    storage = pickled.Storage(torch.float32, 4)
    assert isinstance(
        pickled._tensor("tensor_v2", (storage, 0, (4,), (1,), False, {}, *marked)), Inert
    )
