"""Weights out: our own files."""

import os
from pathlib import Path

import safetensors.torch
from torch import nn

from mixerlib.checks import ACTIVATIONS
from mixerlib.files import write_atomic
from mixerlib.models import unwrapped
from mixerlib.weights.layouts import OURS

VERSION = "1"  # of our own files; to be raised when an older mixerlib would misread them
PLAIN_IN_TENSORS = ("num_features", "num_classes")  # attributes that the head's shape says too


def save_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a model's parameters and buffers to a `.safetensors` file that `load_weights` reads.

    The metadata hold what the tensors do not tell: class, activation, strategy, image size. The
    file is whole or not there at all: it is written under another name in the same folder and then
    renamed. Raises `ValueError` for another suffix, `FileNotFoundError` for a missing folder.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.weights import load_weights, save_weights
    >>> save_weights(create_model("splitmixer_i", dim=64, depth=4), "mine.safetensors")
    >>> load_weights(create_model("splitmixer_i", dim=64, depth=4), "mine.safetensors")
    'mixerlib'
    """
    path, model = Path(path), unwrapped(model)
    if path.suffix != ".safetensors":
        raise ValueError(f"`path`='{path}' must end in .safetensors")
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    metadata = {"format": "pt", "layout": OURS.name} | traits(model)
    data = safetensors.torch.save(tensors, metadata)
    write_atomic(path, data)


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
    fixed = {"layout_version": VERSION, "architecture": type(model).__name__}
    return plain | fixed | {"activation": " and ".join(sorted(acts))}
