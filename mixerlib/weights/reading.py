"""The tensors in a file, and what it states about their model. Nothing in it is run."""

import json
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch

from mixerlib.models import model_entry
from mixerlib.weights.arrays import read_arrays
from mixerlib.weights.choosing import choose, kind_of
from mixerlib.weights.containers import read_pickled
from mixerlib.weights.digests import Altered, check_digest
from mixerlib.weights.layouts import OURS
from mixerlib.weights.mindspore import FIRST_BYTE, of_the_model, read_mindspore
from mixerlib.weights.pickled import Forbidden, StoredTensor

SAFETENSORS = ".safetensors"
PICKLED = (".pt", ".pth", ".tar", ".ckpt", ".bin")
ARRAYS = ".npz"
CHECKPOINT = "mixerlib checkpoint"  # what the schema of an unfinished run's state begins with


class Weights(NamedTuple):
    """What a file holds of a model, and a note on which of several state dicts that is."""

    tensors: dict[str, torch.Tensor]
    stated: dict[str, str]
    note: str = ""


def check_regular(path: Path, argument: str = "path") -> None:
    """Raises `OSError` for a path that leads to nothing or to a folder, and `ValueError` for a
    device, a pipe or a socket: such may never end.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # to open a folder is an error already
        raise ValueError(f"`{argument}`='{path}' must be a file, not a device, a pipe or a socket")


def is_checkpoint(path: Path) -> bool:
    """Whether a file is the state of an unfinished run of mixerlib, whatever it is called."""
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return False
        with path.open("rb") as file:
            return is_state_of_a_run(read_pickled(file))
    except Exception:  # a damaged file is none
        return False


def is_state_of_a_run(content: Any) -> bool:
    """Whether this is the content of such a file."""
    schema = content.get("schema") if isinstance(content, dict) else None
    return isinstance(schema, str) and schema.startswith(CHECKPOINT)


def read(path: Path, key: str | None = None, average: bool | None = None) -> Weights:
    """The one state dict of a file, or the one that `key` or `average` name, without its prefix.

    Raises `OSError` for a file that cannot be read, and `ValueError` as `load_weights` says.
    """
    check_regular(path)
    suffix = path.suffix.lower()
    readable = (SAFETENSORS, *PICKLED, ARRAYS)
    if suffix not in readable and not path.is_dir() and not is_checkpoint(path):
        known = ", ".join(readable)
        raise ValueError(f"`path`='{path}' must end in one of {known}")
    with path.open("rb") as file:  # raises the plain OSError of a missing or forbidden file
        content, stated = _content(path, file, suffix)
        table, note = choose(path, content, key, average)
        for name, value in table.items():
            if not isinstance(value, StoredTensor | torch.Tensor):
                raise ValueError(
                    f"`path`='{path}' must hold a state dict: names, each with a dense tensor; "
                    f"`{name}` is a {kind_of(value)}"
                )
        with _damage_told(path):
            return Weights({name: _read(value) for name, value in table.items()}, stated, note)


def _content(path: Path, file: BufferedReader, suffix: str) -> tuple[Any, dict[str, str]]:
    """What is in a file, and what it states about the model that its tensors belong to."""
    with _damage_told(path):
        if suffix == ARRAYS:
            return read_arrays(file), {}
        if _holds_safetensors(file, suffix):
            whole = file.read()
            tensors = dict(sorted(safetensors.torch.load(whole).items()))  # else in any order
            size = int.from_bytes(whole[:8], "little")  # of the header, which was checked above
            stated = json.loads(whole[8 : 8 + size]).get("__metadata__") or {}
            check_digest(tensors, stated)
            # safetensors' `save_model` keeps one name of each tensor, and says which others it had
            tied = {n: kept for n, kept in stated.items() if n not in tensors and kept in tensors}
            return tensors | {name: tensors[kept] for name, kept in tied.items()}, stated
        if file.peek(1)[:1] == bytes([FIRST_BYTE]):
            return of_the_model(read_mindspore(file.read())), {}
        content = read_pickled(file)
    if is_state_of_a_run(content):
        state = content.get("state")
        weights = state if isinstance(state, dict) else {}
        return {name: weights.get(name) for name in ("model", "average")}, _settings(content)
    config = content.get("config") if isinstance(content, dict) else None
    activation = config.get("activation") if isinstance(config, dict) else None
    return content, {"activation": activation.lower()} if isinstance(activation, str) else {}


def _holds_safetensors(file: BufferedReader, suffix: str) -> bool:
    """By its name, or by its first bytes where it is named as a pickle: none begins so.

    What is named .safetensors is held to it: who reads that name expects that nothing can be run.
    """
    head = file.peek(9)[:9]  # eight bytes of the header's size, and the header
    return suffix == SAFETENSORS or head[4:] == bytes(4) + b"{"


def _settings(content: dict[str, Any]) -> dict[str, str]:
    """What the state of an unfinished run states about its model."""
    stated = {"layout": OURS.name}
    try:
        settings = json.loads(content["settings"])
        entry = model_entry(settings["model"])
        options = dict(entry.defaults) | settings["model_options"] | dict(entry.fixed)
    except Exception:  # wrong settings say nothing; that the tensors fit is looked at all the same
        return stated
    of_data = ("image_size", "in_channels", "num_classes")
    return stated | {name: str(v) for name, v in options.items() if name not in of_data}


def _read(value: StoredTensor | torch.Tensor) -> torch.Tensor:
    return value.tensor() if isinstance(value, StoredTensor) else value


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Turn what a damaged file, or one that is code, raises into a `ValueError` with its name."""
    try:
        yield
    except Forbidden as error:
        why = f"would run code if unpickled: {error}"
    except Altered as error:
        why = str(error)
    except Exception:  # a damaged file raises nearly anything, even KeyError
        why = "is cut short, damaged or of a kind that cannot be read as plain data"
    else:
        return
    raise ValueError(f"`path`='{path}' {why}; nothing was loaded") from None
