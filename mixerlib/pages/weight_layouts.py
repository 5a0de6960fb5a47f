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
from mixerlib.weights.layouts import LAYOUTS, Layout, their_names
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


def _new(name: str, seed: int) -> nn.Module:
    """A small model, all of whose tensors are random."""
    return drawn_anew(create_model(name, **SMALL, **OPTIONS[name]), seed).float()


def _read_only(model: nn.Module, layout: Layout) -> dict[str, torch.Tensor]:
    """The model's tensors as a layout names them that is read only."""
    names = their_names(model.state_dict(), layout, len(model.blocks))
    tensors = {str(names[key]): tensor for key, tensor in model.state_dict().items()}
    if layout.name != "jax":
        return {key: tensor for key, tensor in tensors.items() if key != "None"}
    orders = {2: (1, 0), 4: (2, 3, 1, 0)}
    return {
        key.replace(".weight", ".kernel").replace(".", "/"): tensor.permute(orders[tensor.ndim])
        if tensor.ndim in orders
        else tensor
        for key, tensor in tensors.items()
    }


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
            for layout in LAYOUTS:
                if layout.table and _fits(layout, name) and layout.name not in written:
                    file = Path(folder) / "w.npz"
                    np.savez(file, **{k: t.numpy() for k, t in _read_only(source, layout).items()})
                    found = _difference(name, source, file, layout.name)
                    done.append([LABELS[name], layout.name, "in", found])
    return sorted(done, key=lambda row: (list(LABELS.values()).index(row[0]), row[2] == "in"))


def _fits(layout: Layout, name: str) -> bool:
    """Whether a layout has models of that name."""
    model = _new(name, seed=0)
    return None not in their_names(model.state_dict(), layout, len(model.blocks)).values()
