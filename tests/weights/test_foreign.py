"""Weights as public trainers leave them: wrapped, under some key, beside much else."""

import argparse
import collections
import datetime
import decimal
import fractions
import pathlib
import re
import types
import warnings
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mixerlib.models import create_model
from mixerlib.weights import load_weights


def new(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create_model("convmixer", dim=4, depth=1, kernel_size=3, num_classes=3)


STATE = new().state_dict()
OTHER = new(1).state_dict()


def before(prefix: str, state: dict[str, torch.Tensor] = STATE) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def is_loaded(content: Any, path: pathlib.Path, state: dict = STATE, **arguments: Any) -> bool:
    """Whether a file with this content, its only warnings being errors, gives these weights."""
    torch.save(content, path)
    return is_in(path, state, **arguments)


def is_in(path: pathlib.Path, state: dict = STATE, **arguments: Any) -> bool:
    model = new(2)
    assert load_weights(model, path, **arguments) in ("timm", "mixerlib")
    return all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.module.", "_orig_mod.module.", "module._orig_mod.", "model.", "net."),
        *("backbone.", "model._orig_mod.", "_forward_module.model.", "0.", "a.trunk.module."),
    ],
)
def test_what_stands_before_all_names_is_dropped(prefix, tmp_path):
    assert is_loaded(before(prefix), tmp_path / "w.pt")
    assert is_loaded({"state_dict": before(prefix)}, tmp_path / "w.ckpt")
    tensors = {name: tensor.clone() for name, tensor in before(prefix).items()}
    safetensors.torch.save_file(tensors, tmp_path / "w.safetensors")
    assert is_in(tmp_path / "w.safetensors")


def test_what_stands_before_some_names_is_not(tmp_path):
    content = before("module.") | {"stem.0.bias": STATE["stem.0.bias"]}
    del content["module.stem.0.bias"]
    with pytest.raises(ValueError, match=r"w\.pt' does not fit|w\.pt' holds|w\.pt', in the layout"):
        is_loaded(content, tmp_path / "w.pt")


@pytest.mark.parametrize(
    "key",
    [
        *("state_dict", "model", "net", "network", "model_state_dict", "model_state", "weights"),
        *("params", "state_dict_ema", "ema", "model_ema", "ema_state_dict", "EMA", "student"),
    ],
)
def test_the_one_state_dict_under_whatever_key(key, tmp_path):
    path, beside = tmp_path / "w.pth", {"epoch": 3, "acc": 93.1, "best": True, "log": [1.0, None]}
    assert is_loaded({key: STATE} | beside, path)
    assert is_loaded(beside | {key: before("module.")}, path)
    assert is_loaded({"checkpoint": {key: STATE}, "epoch": 1}, path)  # a table in a table
    assert is_loaded([{key: STATE}, 3], path)
    assert is_loaded({key: STATE, "same": STATE}, path)  # the very same tensors, twice


def test_the_state_of_an_optimizer_is_no_state_dict(tmp_path):
    model = new()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    content = {"net": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 2}
    assert is_loaded(content, tmp_path / "w.pt", model.state_dict())


def test_several_state_dicts_are_told_and_one_can_be_named(tmp_path):
    path = tmp_path / "w.pt"
    content = {"student": STATE, "teacher": OTHER}
    with pytest.raises(ValueError, match=r"several state dicts.*`key`: `student`, `teacher`"):
        is_loaded(content, path)
    assert is_loaded(content, path, key="student")
    assert is_loaded(content, path, OTHER, key="teacher")
    with pytest.raises(ValueError, match=r"`key`='pupil' must be .*`student`, `teacher`"):
        is_loaded(content, path, key="pupil")
    nested = {"runs": [{"net": STATE}, {"net": OTHER}]}
    assert is_loaded(nested, path, OTHER, key="runs.1.net")


AVERAGED = {
    "timm": {"state_dict": STATE, "state_dict_ema": OTHER},
    "under one name": {"model": {"net": STATE}, "ema": {"module": OTHER, "decay": 0.99}},
    "in one table": {"state_dict": before("model.") | before("ema_model.", OTHER)},
    "stochastic": {"model": STATE, "swa_model": before("module.", OTHER)},
}


@pytest.mark.parametrize("content", AVERAGED.values(), ids=AVERAGED.keys())
def test_weights_and_their_average(content, tmp_path):
    path = tmp_path / "w.pt"
    assert is_loaded(content, path, OTHER, average=True)
    assert is_loaded(content, path, STATE, average=False)
    with pytest.warns(UserWarning, match=r"`.+` is taken, the average; `average=False` takes `.+`"):
        assert is_loaded(content, path, OTHER)


def test_an_average_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"`average`=True, but .* no moving average: `state_dict`"):
        is_loaded({"state_dict": STATE}, tmp_path / "w.pt", average=True)
    with pytest.raises(ValueError, match=r"`average`=False, but .* only a moving average: `ema`"):
        is_loaded({"ema": STATE}, tmp_path / "w.pt", average=False)


def test_other_tensors_beside_the_model_are_left_out_only_by_name(tmp_path):
    content = {"state_dict": before("model.") | {"loss.weight": torch.ones(3)}}
    with pytest.raises(ValueError, match=r"other tensors beside .* `key`: `state_dict\.model`"):
        is_loaded(content, tmp_path / "w.pt")
    assert is_loaded(content, tmp_path / "w.pt", key="state_dict.model")


def test_the_averaged_model_of_torch(tmp_path):
    assert is_loaded(AveragedModel(new()).state_dict(), tmp_path / "w.pt")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_what_counters_leave(prefix, tmp_path):
    content = before(prefix)
    for name in ("", "stem.", "blocks.0.0.fn.0.", "head."):
        content[f"{prefix}{name}total_ops"] = torch.zeros(1, dtype=torch.float64)
        content[f"{prefix}{name}total_params"] = torch.zeros(1, dtype=torch.float64)
    assert is_loaded(content, tmp_path / "w.pt")


@pytest.mark.parametrize(
    "dtype", [torch.int32, torch.int16, torch.uint8, torch.float32, torch.float64, torch.bfloat16]
)
def test_batches_counted_in_any_dtype(dtype, tmp_path):
    content = {n: t.to(dtype) if n.endswith("tracked") else t for n, t in STATE.items()}
    assert is_loaded(content, tmp_path / "w.pt")


class Easy(dict):
    """Like many a trainer's configuration: a class that mixerlib does not know."""


OBJECTS = {
    "numpy scalars": [np.float64(0.9), np.float32(1), np.int64(3), np.bool_(True), np.str_("a")],
    "arrays": [np.arange(3), np.zeros((2, 2), np.float16), np.array(["a"])],
    "dtypes": [np.dtype("f4"), torch.float16, torch.bfloat16, torch.strided],
    "paths": [pathlib.Path("x"), pathlib.PurePosixPath("/a/b"), pathlib.PureWindowsPath("c:/d")],
    "tables": [collections.defaultdict(list, a=[1]), collections.Counter("ab")],
    "more tables": [collections.OrderedDict(a=1), collections.deque([1, 2], 3)],
    "namespaces": [argparse.Namespace(lr=0.1, to=[1]), types.SimpleNamespace(a=1)],
    "sets": [{1, 2}, frozenset("ab"), set()],
    "times": [datetime.datetime(2020, 1, 2), datetime.timedelta(1), datetime.UTC],
    "numbers": [
        fractions.Fraction(1, 3),
        decimal.Decimal("1.5"),
        2j,
        2**80,
        -(2**40),
        float("inf"),
    ],
    "bytes": [b"abc", bytearray(b"abc"), range(3), slice(1, 2)],
    "torch's": [torch.Size([1, 2]), torch.device("cpu"), torch.__version__, torch.ones(2)],
    "tensors": [
        torch.ones(2).to_sparse(),
        torch.empty(1, device="meta"),
        nn.Parameter(torch.ones(1)),
    ],
    "types": [int, dict, float, None],
    "keys": [{(1, 2): 3, None: 1, 2.5: 0, b"a": 1}],
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("objects", OBJECTS.values(), ids=OBJECTS.keys())
def test_harmless_objects_beside_the_weights(objects, protocol, tmp_path):
    content = {"state_dict": STATE, "more": objects, "table": {"inner": objects}}
    for zipped in (True, False):
        torch.save(
            content,
            tmp_path / "w.pt",
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=zipped,
        )
        assert is_in(tmp_path / "w.pt")


def test_other_objects_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"would run code if unpickled: \S*Easy; nothing was"):
        is_loaded({"state_dict": STATE, "config": Easy(a=1)}, tmp_path / "w.pt")


class Odd:
    """An OrderedDict with attributes in the place of its methods, as only a crafted pickle has."""

    def __init__(self, table: dict[str, Any]):
        self.table = table

    def __reduce__(self):
        attributes = dict.fromkeys(["items", "values", "keys", "get", "_metadata"], 3)
        return collections.OrderedDict, (), attributes, None, iter(self.table.items())


def test_attributes_of_a_table_or_a_tensor_change_nothing(tmp_path):
    tensor = STATE["head.bias"].clone()
    for name in ("any", "float", "is_floating_point", "shape_", "layout_"):
        setattr(tensor, name, 3)
    assert is_loaded(Odd(STATE | {"head.bias": tensor}), tmp_path / "w.pt")
    assert is_loaded({"model": Odd(STATE)}, tmp_path / "w.pt")
    parameters = {n: nn.Parameter(t) if t.is_floating_point() else t for n, t in STATE.items()}
    parameters["head.bias"].note = "mine"
    assert is_loaded(parameters, tmp_path / "w.pt")


def strange() -> dict[str, Any]:
    values: dict[str, Any] = {"sparse": torch.ones(3).to_sparse()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values["nested"] = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
        values["compressed"] = torch.ones(3, 3).to_sparse_csr()
        values["quantized"] = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    return values | {
        "on meta": torch.ones(3, device="meta"),
        "a number": 3.0,
        "an array": np.ones(3),
    }


@pytest.mark.parametrize("value", strange().values(), ids=strange().keys())
def test_what_is_no_dense_tensor_is_named(value, tmp_path):
    with pytest.raises(
        ValueError, match=r"must hold a state dict: .*; `head\.bias` is a \S+"
    ) as told:
        is_loaded(STATE | {"head.bias": value}, tmp_path / "w.pt")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "name", ["w.PT", "w.Pth", "w.CKPT", "w.ckpt", "w.bin", "pytorch_model.bin", "w.pth.TAR"]
)
def test_suffixes_in_any_case(name, tmp_path):
    assert is_loaded({"state_dict": STATE}, tmp_path / name)
    safetensors.torch.save_file({**STATE}, tmp_path / "w.SafeTensors")
    assert is_in(tmp_path / "w.SafeTensors")


def test_a_path_that_is_not_utf_8(tmp_path):
    folder = pathlib.Path(bytes(tmp_path).decode() + "/caf\udce9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("names must be UTF-8 here")
    safetensors.torch.save_file({**STATE}, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").rename(folder / "w.safetensors")
    assert is_in(folder / "w.safetensors")
    assert is_loaded(STATE, folder / "w.pt")


def test_expanded_shared_and_shifted_tensors(tmp_path):
    """torch.save keeps views as they are: strides of 0, one storage for two, an offset."""
    row = torch.arange(8.0)
    source = dict(STATE)
    source["head.bias"] = row[5:8]
    source["stem.0.bias"] = row[::2]
    source["blocks.0.1.bias"] = torch.ones(1).expand(4)
    source["head.weight"] = STATE["head.weight"].t().contiguous().t()
    assert is_loaded(source, tmp_path / "w.pt", source)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("stem.0.weight", float("nan"), "holds NaN or infinite numbers"),
        ("head.bias", float("inf"), "holds NaN or infinite numbers"),
        ("stem.2.running_mean", float("-inf"), "holds NaN or infinite numbers"),
        ("blocks.0.3.running_var", -1.0, "is a variance, and holds negative numbers"),
        ("blocks.0.3.num_batches_tracked", float("nan"), "holds NaN or infinite numbers"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_numbers_that_no_trained_model_has(name, value, reason, suffix, tmp_path):
    content = {key: tensor.clone() for key, tensor in STATE.items()}
    content[name] = content[name].float()
    content[name].view(-1)[-1] = value
    path, model = tmp_path / f"w{suffix}", new(2)
    (torch.save if suffix == ".pt" else safetensors.torch.save_file)(content, path)
    kept = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    message = rf"w{re.escape(suffix)}' cannot be computed with: `{re.escape(name)}` {reason}"
    with pytest.raises(ValueError, match=message):
        load_weights(model, path)
    assert all(torch.equal(kept[key], tensor) for key, tensor in model.state_dict().items())
    load_weights(model, path, finite=False)
    if not name.endswith("tracked"):
        assert torch.equal(
            model.state_dict()[name].view(-1)[-1:].nan_to_num(7),
            torch.tensor([value]).nan_to_num(7),
        )


def test_numbers_too_large_for_the_models_dtype(tmp_path):
    torch.save(STATE | {"head.bias": torch.tensor([1.0, 1e6, 0])}, tmp_path / "w.pt")
    load_weights(new(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"`head\.bias` holds .* in the model's torch\.float16"):
        load_weights(new().half(), tmp_path / "w.pt")
