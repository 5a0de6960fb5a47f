"""Weights out: our own files."""

import hashlib
import io
import os
import re
from inspect import signature
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from mixerlib import checks
from mixerlib.checks import ACTIVATIONS
from mixerlib.costs.unwrapping import unwrapped
from mixerlib.files import write_atomic
from mixerlib.models.wrappers import (
    architecture,
    check_of_mixerlib,
    computed_weights,
    made_permanent,
)
from mixerlib.weights.digests import to_bytes
from mixerlib.weights.layouts import (
    CONVNEXT,
    COURSES,
    DEIT,
    GMLP,
    LOCUSLAB,
    MINDCV,
    MINDCV_MIXER,
    OURS,
    RESMLP,
    SPLIT,
    STRIDED,
    THEIR_CONVMIXER,
    TIMM,
    TWEET,
    VIT,
    their_names,
)
from mixerlib.weights.mindspore import write_mindspore

VERSION = "1"  # of our own files; to be raised when an older mixerlib would misread them
# The layouts that are written, and in each the models that it has
WRITTEN = {
    "timm": {
        "ConvMixer": TIMM,
        "MLPMixer": TIMM,
        "ViT": VIT,
        "DeiT": DEIT,
        "ResMLP": RESMLP,
        "GMLP": GMLP,
        "ConvNeXt": CONVNEXT,
    },
    "locuslab": {"ConvMixer": LOCUSLAB},
    "tweet": {"ConvMixer": TWEET},
    "aliborji": {"ConvMixer": THEIR_CONVMIXER, "SplitMixer": SPLIT, "3-D": STRIDED},
    "mindcv": {"ConvMixer": MINDCV, "MLPMixer": MINDCV_MIXER},
    "mindspore": {"MLPMixer": COURSES},
}
OF_MINDSPORE = (MINDCV.name, COURSES.name)  # written in its own format
CONV3D = re.compile(r"channel_mixer\.\d+\.0\.weight")  # what a Conv3d has, in that notebook
PLAIN_IN_TENSORS = ("num_features", "num_classes")  # attributes that the head's shape says too


def save_weights(
    model: nn.Module, path: str | os.PathLike[str], *, layout: str = OURS.name
) -> None:
    """Write a model's parameters and buffers to a file that `load_weights` reads.

    In the layout "mixerlib" that is a `.safetensors` file. Its metadata hold what the tensors do
    not tell: class, activation, strategy, image size; and a digest of it all, by which
    `load_weights` sees damage. Equal weights give equal files, byte for byte. A file is whole or
    not there at all: it is written under another name in the same folder and then renamed.

    The other layouts are those of the projects that read them: "locuslab" and "tweet" (ConvMixer),
    "timm" (ConvMixer, MLP-Mixer, and of the relatives ViT, DeiT, ResMLP, gMLP and ConvNeXt's
    blocks), "aliborji" (SplitMixer, the 3-D form as in its notebook, and ConvMixer), in
    `.safetensors` or as `torch.save` writes a state dict, in `.pth`, `.pt`, `.ckpt` or `.bin`; and
    "mindcv" (ConvMixer and MLP-Mixer) and "mindspore" (the MLP-Mixer of MindSpore's courses), in
    MindSpore's `.ckpt`. They do not say what activation or strategy the model has. MindSpore's
    BatchNorm counts no batches, so the counters are left out.

    The model may be compiled, as a whole or block by block, in `DataParallel` or averaged. Of a
    pruned, weight-normalised or parametrized one the weights are written that it computes with.

    Raises `ValueError` for another suffix, a layout that does not have this model or all of its
    numbers (MindCV's MLP-Mixer embeds patches without a bias), another model than mixerlib's, or
    one without its numbers (on "meta", sharded, quantized);
    `FileNotFoundError` for a missing folder.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.weights import load_weights, save_weights
    >>> save_weights(create_model("splitmixer_i", dim=64, depth=4), "mine.safetensors")
    >>> load_weights(create_model("splitmixer_i", dim=64, depth=4), "mine.safetensors")
    'mixerlib'
    """
    path, suffix, suffixes = Path(path), Path(path).suffix.lower(), suffixes_of(layout)
    content = file_content(model) if layout == OURS.name else foreign_content(model, layout, suffix)
    if suffix not in suffixes:
        raise ValueError(f"`path`='{path}' must end in {' or '.join(suffixes)}")
    write_atomic(path, content)


def file_content(model: nn.Module) -> bytes:
    """The file that `save_weights` writes. Errors as there."""
    model, tensors = _plain(model)
    return to_bytes(tensors, {"format": "pt", "layout": OURS.name} | traits(model))


def _plain(model: nn.Module) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The model out of its wrappers, and its tensors, each with numbers of its own on the CPU."""
    model = unwrapped(model)
    check_of_mixerlib(model)
    if computed_weights(model):
        model = made_permanent(model)
    # cloned, as safetensors refuses two names for the same numbers
    return model, {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }


def suffixes_of(layout: str) -> tuple[str, ...]:
    """How a file of that layout may end. `ValueError` for a layout that is not written."""
    if layout == OURS.name:
        return (".safetensors",)
    checks.one_of("layout", layout, (OURS.name, *WRITTEN))
    if layout in OF_MINDSPORE:
        return (".ckpt",)
    return (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


def foreign_content(model: nn.Module, layout: str, suffix: str) -> bytes:
    """The file that `save_weights` writes in another layout than ours. Errors as there."""
    suffixes_of(layout)
    model, tensors = _plain(model)
    kind = "3-D" if getattr(model, "strategy", None) == "3D" else str(architecture(model))
    known = WRITTEN[layout].get(kind)
    names = their_names(tensors, known, len(model.blocks)) if known else {}
    if not known or None in names.values():
        raise ValueError(f"`layout`={layout!r} must be one that has such a model, a {kind}")
    for name in known.zero:
        if tensors.pop(name).any():
            raise ValueError(f"`layout`={layout!r} has no `{name}`, and that of `model` is not 0")
    renamed = {str(names[name]): tensor for name, tensor in tensors.items()}
    if known.parted:
        renamed = known.parted(renamed)
    if known is STRIDED:
        renamed = {
            name: tensor.unsqueeze(1) if CONV3D.fullmatch(name) else tensor
            for name, tensor in renamed.items()
        }
    if layout in OF_MINDSPORE:
        counted = (name for name in renamed if name.endswith(".num_batches_tracked"))
        before = "network." if known is MINDCV else ""  # in MindCV's ConvMixer alone
        renamed = {f"{before}{n}": renamed[n] for n in renamed.keys() - {*counted}}
        return write_mindspore(dict(sorted(renamed.items())))
    if suffix == ".safetensors":
        return safetensors.torch.save(renamed, {"format": "pt"})
    buffer = io.BytesIO()
    torch.save(renamed, buffer)
    return buffer.getvalue()


def file_sha256(model: nn.Module) -> str:
    """The SHA-256 of that file, as `sha256sum` prints it."""
    return hashlib.sha256(file_content(model)).hexdigest()


def traits(model: nn.Module) -> dict[str, str]:
    """What a model's tensors do not tell: class, activation, and plain attributes (strategy, …).

    Attributes that its class was not asked for are its user's: `model.epoch = 3` changes no output.
    """
    asked = {name for kind in type(model).__mro__ for name in signature(kind).parameters}
    acts = {name for name, act in ACTIVATIONS.items() for m in model.modules() if type(m) is act}
    plain = {
        name: str(value)
        for name, value in vars(model).items()
        if isinstance(value, str | int | tuple) and name in asked and name not in PLAIN_IN_TENSORS
    }
    fixed = {"layout_version": VERSION, "architecture": str(architecture(model))}
    return plain | fixed | {"activation": " and ".join(sorted(acts))}
