"""Every layout of weights that mixerlib reads or writes, tried on a small model."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mixerlib.costs import drawn_anew
from mixerlib.models import create_model
from mixerlib.pages.tables import RELATIVE_LABELS, SHORT_LABELS
from mixerlib.weights import load_weights, save_weights
from mixerlib.weights.layouts import FLAT, JAX, MINDCV_NESTED, Layout, their_names
from mixerlib.weights.mindspore import write_mindspore
from mixerlib.weights.saving import WRITTEN, suffixes_of

LABELS = SHORT_LABELS | RELATIVE_LABELS
SMALL: dict[str, Any] = {"dim": 12, "depth": 3, "num_classes": 5}
TOKENS: dict[str, Any] = {"image_size": 8, "patch_size": 2, "channels_dim": 8}
OPTIONS: dict[str, dict[str, Any]] = {
    "convmixer": {"kernel_size": 3},
    "mlp_mixer": TOKENS | {"tokens_dim": 7},
    "splitmixer_i": {"kernel_size": 3, "ratio": "3/5"},
    "splitmixer_iv": {"kernel_size": 3, "segments": 5},
    "splitmixer_3d": {"kernel_size": 3, "segments": 3},
    "vit": TOKENS | {"heads": 2},
    "deit": TOKENS | {"heads": 2},
    "resmlp": TOKENS,
    "gmlp": TOKENS,
    "convnext": {"kernel_size": 3, "patch_size": 2, "channels_dim": 8},
}
# The layouts that are read and not written, by the models that they have → as the table calls them
ONLY_READ: dict[str, dict[str, Layout]] = {
    "SplitMixer": {"aliborji, flat as on the slides": FLAT},
    "MLPMixer": {"jax": JAX, "mindcv, as its code nests it": MINDCV_NESTED},
}


def _new(name: str, seed: int) -> nn.Module:
    """A small model, all of whose tensors are random."""
    return drawn_anew(create_model(name, **SMALL, **OPTIONS[name]), seed).float()


def _write(model: nn.Module, layout: Layout, folder: Path) -> Path:
    """A file with the model's tensors as a layout has them that is read only."""
    ours = {key: value for key, value in model.state_dict().items() if key not in layout.zero}
    names = their_names(ours, layout, len(model.blocks))
    tensors = {str(names[key]): tensor for key, tensor in ours.items()}
    if layout == JAX:
        file = folder / "w.npz"
        np.savez(file, **{_in_jax(key): _of_jax(tensor) for key, tensor in tensors.items()})
    elif layout == MINDCV_NESTED:
        file = folder / "w.ckpt"
        file.write_bytes(write_mindspore(tensors))
    else:
        file = folder / "w.pth"
        torch.save(tensors, file)
    return file


def _in_jax(name: str) -> str:
    return name.replace(".weight", ".kernel").replace(".", "/")


def _of_jax(tensor: torch.Tensor) -> Any:
    """Its numbers in JAX's order, as an array."""
    orders = {2: (1, 0), 4: (2, 3, 1, 0)}
    return (tensor.permute(orders[tensor.ndim]) if tensor.ndim in orders else tensor).numpy()


def _difference(name: str, source: nn.Module, file: Path, layout: str) -> str:
    """The largest difference of a number between a model and its file, read again."""
    model = _new(name, seed=1)
    found = load_weights(model, file)
    if found != layout:
        raise ValueError(f"`layout`={layout!r} was taken for {found!r}")
    pairs = zip(source.state_dict().items(), model.state_dict().values(), strict=True)
    largest = max(
        float((tensor - other).abs().max())
        for (key, tensor), other in pairs
        if not key.endswith("num_batches_tracked")
    )
    return f"{largest:.0e}" if largest else "0"


def layout_rows() -> list[list[str]]:
    """Model, layout, direction and the largest difference, for every layout and its models.

    For each, a small model with random weights goes through a file and back. The page of commands
    shows them.

    >>> from mixerlib.pages import layout_rows
    >>> layout_rows()[0]
    ['ConvMixer', 'mixerlib', 'in and out', '0']
    """
    done = []
    with tempfile.TemporaryDirectory() as folder:
        for name in OPTIONS:
            source = _new(name, seed=0)
            kind = "3-D" if name == "splitmixer_3d" else type(source).__name__
            written = [layout for layout, kinds in WRITTEN.items() if kind in kinds]
            for into in ("mixerlib", *written):
                if name == "mlp_mixer" and into == "mindcv":
                    nn.init.zeros_(source.stem.proj.bias)  # MindCV has none
                file = Path(folder) / f"w{suffixes_of(into)[0]}"
                save_weights(source, file, layout=into)
                found = _difference(name, source, file, into)
                done.append([LABELS[name], into, "in and out", found])
            for label, layout in ONLY_READ.get(kind, {}).items():
                file = _write(source, layout, Path(folder))
                found = _difference(name, source, file, layout.name)
                done.append([LABELS[name], label, "in", found])
    return sorted(done, key=lambda row: (list(LABELS.values()).index(row[0]), row[2] == "in"))
