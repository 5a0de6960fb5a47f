"""Weights out: our own files."""

import hashlib
import os
from pathlib import Path

import torch
from torch import nn

from mixerlib.checks import ACTIVATIONS
from mixerlib.files import write_atomic
from mixerlib.models.wrappers import (
    architecture,
    check_of_mixerlib,
    computed_weights,
    made_permanent,
    unwrapped,
)
from mixerlib.weights.digests import to_bytes
from mixerlib.weights.layouts import OURS

VERSION = "1"  # of our own files; to be raised when an older mixerlib would misread them
PLAIN_IN_TENSORS = ("num_features", "num_classes")  # attributes that the head's shape says too


def save_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a model's parameters and buffers to a `.safetensors` file that `load_weights` reads.

    The metadata hold what the tensors do not tell: class, activation, strategy, image size; and a
    digest of it all, by which `load_weights` sees damage. Equal weights give equal files, byte for
    byte. A file is whole or not there at all: it is written under another name in the same folder
    and then renamed.

    The model may be compiled, in `DataParallel` or averaged. Of a pruned, weight-normalised or
    parametrized one the weights are written that it computes with.

    Raises `ValueError` for another suffix, another model than mixerlib's, or one without its
    numbers (on "meta", sharded, quantized); `FileNotFoundError` for a missing folder.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.weights import load_weights, save_weights
    >>> save_weights(create_model("splitmixer_i", dim=64, depth=4), "mine.safetensors")
    >>> load_weights(create_model("splitmixer_i", dim=64, depth=4), "mine.safetensors")
    'mixerlib'
    """
    path = Path(path)
    content = file_content(model)
    if path.suffix.lower() != ".safetensors":
        raise ValueError(f"`path`='{path}' must end in .safetensors")
    write_atomic(path, content)


def file_content(model: nn.Module) -> bytes:
    """The file that `save_weights` writes. Errors as there."""
    model = unwrapped(model)
    check_of_mixerlib(model)
    if computed_weights(model):
        model = made_permanent(model)
    # cloned, as safetensors refuses two names for the same numbers
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    return to_bytes(tensors, {"format": "pt", "layout": OURS.name} | traits(model))


def file_sha256(model: nn.Module) -> str:
    """The SHA-256 of that file, as `sha256sum` prints it."""
    return hashlib.sha256(file_content(model)).hexdigest()


def traits(model: nn.Module) -> dict[str, str]:
    """What a model's tensors do not tell: class, activation, and plain attributes (strategy, …)."""
    acts = {name for name, act in ACTIVATIONS.items() for m in model.modules() if type(m) is act}
    plain = {
        name: str(value)
        for name, value in vars(model).items()
        if isinstance(value, str | int | tuple)
        and name != "training"
        and name[0] != "_"
        and name not in PLAIN_IN_TENSORS
    }
    fixed = {"layout_version": VERSION, "architecture": str(architecture(model))}
    return plain | fixed | {"activation": " and ".join(sorted(acts))}
