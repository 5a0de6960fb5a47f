"""Weights in and out: the layouts of the public checkpoints are recognised and renamed into ours,
or refused.

A checkpoint is data, never code: safetensors, or a pickle of which only tensors and plain values
are read.

The layouts:

- "locuslab": ConvMixer by its authors, an `nn.Sequential`;
- "tweet": ConvMixer in 280 characters (`mixerlib.models.tweet`);
- "timm": ConvMixer and MLP-Mixer, whose names there are ours; so a pickled file of ours is too;
- "aliborji": SplitMixer by its authors, or as listed on their slides, or as their ConvMixer;
- "mixerlib": what `save_weights` writes, and every file with our names for SplitMixer.
"""

import argparse
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from mixerlib.checks import ACTIVATIONS
from mixerlib.files import write_atomic
from mixerlib.models import unwrapped

__all__ = ["load_weights", "save_weights"]

SUFFIXES = (".safetensors", ".pt", ".pth", ".tar")
VERSION = "1"  # of our own files; to be raised when an older mixerlib would misread them
PLAIN_IN_TENSORS = ("num_features", "num_classes")  # attributes that the head's shape says too
OPTIONAL = ".num_batches_tracked"  # a step counter that no output depends on; old files lack it
LOWEST_GELU = -0.17  # GELU's minimum, rounded down

Rows = tuple[tuple[str, ...], ...]


# The names of one part of the network, a layout a column; b counts the blocks from 0, d is the
# depth. The tensors themselves are the same everywhere, and so is their order.
# fmt: off
def convmixer_rows(b: int, d: int) -> Rows:
    """ConvMixer: ours and timm's | locuslab | tweet | aliborji, whose code has a ConvMixer too."""
    return (
        ("stem.0",             "0",             "0.0",           "patch_emb.0"),
        ("stem.2",             "2",             "0.2",           "patch_emb.2"),
        (f"blocks.{b}.0.fn.0", f"{b+3}.0.fn.0", f"{b+1}.0.0.0",  f"mixer_blocks.{2*b}.fn.0"),
        (f"blocks.{b}.0.fn.2", f"{b+3}.0.fn.2", f"{b+1}.0.0.2",  f"mixer_blocks.{2*b}.fn.2"),
        (f"blocks.{b}.1",      f"{b+3}.1",      f"{b+1}.1.0",    f"mixer_blocks.{2*b+1}.0"),
        (f"blocks.{b}.3",      f"{b+3}.3",      f"{b+1}.1.2",    f"mixer_blocks.{2*b+1}.2"),
        ("head",               f"{d+5}",        f"{d+3}",        "head"),
    )


def splitmixer_rows(b: int, d: int) -> Rows:
    """SplitMixer: ours | aliborji | the flat nn.Sequential on the same authors' slides."""
    return (
        ("stem.0",                "patch_emb.0",              "0"),
        ("stem.2",                "patch_emb.2",              "2"),
        (f"blocks.{b}.spatial.0", f"mixer_blocks.{2*b}.fn.0", f"{b+3}.0.fn.0"),
        (f"blocks.{b}.spatial.2", f"mixer_blocks.{2*b}.fn.2", f"{b+3}.0.fn.2"),
        (f"blocks.{b}.spatial.3", f"mixer_blocks.{2*b}.fn.3", f"{b+3}.0.fn.3"),
        (f"blocks.{b}.spatial.5", f"mixer_blocks.{2*b}.fn.5", f"{b+3}.0.fn.5"),
        (f"blocks.{b}.mixing",    f"mixer_blocks.{2*b+1}.0",  f"{b+3}.1"),
        (f"blocks.{b}.norm",      f"mixer_blocks.{2*b+1}.2",  f"{b+3}.3"),
        ("head",                  "head",                     f"{d+5}"),
    )
# fmt: on


class Layout(NamedTuple):
    """A way to name the tensors: `column` of `table`, or our own names where there is no table."""

    name: str
    sign: str  # regular expression: a file in which any name begins so has this layout
    table: Callable[[int, int], Rows] | None = None
    column: int = 0

    def parts(self, depth: int) -> dict[str, str]:
        """Our name of every part of a network of `depth` blocks → its name in this layout."""
        rows = (row for b in range(depth) for row in self.table(b, depth)) if self.table else ()
        return {row[0]: row[self.column] for row in rows}


# The first sign found wins. Ours and timm's names are equal for ConvMixer and MLP-Mixer: there the
# metadata of our own safetensors decides, and a file without them counts as timm's.
OURS = Layout("mixerlib", r"blocks\.\d+\.(spatial|mixing)\.")
LAYOUTS = (
    OURS,
    Layout("timm", r"(stem|blocks)\."),
    Layout("aliborji", r"mixer_blocks\.\d+\.0\.mixer", splitmixer_rows, 1),
    Layout("aliborji", r"\d+\.1\.mixer", splitmixer_rows, 2),
    Layout("aliborji", r"(patch_emb|mixer_blocks)\.", convmixer_rows, 3),
    Layout("locuslab", r"\d+\.0\.fn\.", convmixer_rows, 1),
    Layout("tweet", r"\d+\.0\.0\.", convmixer_rows, 2),
)


def recognize(names: Iterable[str]) -> Layout | None:
    """The layout that the tensor names of a checkpoint show, or None."""
    names = list(names)
    signs = (layout for layout in LAYOUTS if any(re.match(layout.sign, name) for name in names))
    return next(signs, None)


def translate(name: str, parts: dict[str, str]) -> str | None:
    """A tensor's name with the part of the network it belongs to renamed; None for no such part."""
    part = name
    while part and part not in parts:
        part = part.rpartition(".")[0]
    return parts[part] + name[len(part) :] if part else None


def our_names(names: Iterable[str], layout: Layout) -> dict[str, str | None]:
    """Each name of a checkpoint in that layout → ours, or None for one that the layout lacks.

    The depth is read off the names too, so the result is right for any model.
    """
    names = list(names)
    if layout.table is None:
        return {name: name for name in names}
    modules = {name.rpartition(".")[0] for name in names}
    depth = 0
    while any(row[layout.column] in modules for row in layout.table(depth, depth)[2:-1]):
        depth += 1
    back = {theirs: ours for ours, theirs in layout.parts(depth).items()}
    return {name: translate(name, back) for name in names}


def load_weights(model: nn.Module, path: str | os.PathLike[str], *, head: bool = True) -> str:
    """Fill a model of mixerlib with the weights in a file; return the name of the file's layout.

    Files: `.safetensors`, or `.pt`, `.pth`, `.pth.tar` with a state dict, or with a dictionary that
    has one under "state_dict"; DataParallel's `module.` before every name is dropped. Layouts:
    "locuslab", "tweet", "timm", "aliborji" and "mixerlib"; `mixerlib.weights` says whose they are.

    Every tensor must be there, none may be left over, and every shape must fit; BatchNorm's
    `num_batches_tracked` alone may be absent. Until all of it fits, nothing in the model changes.
    The model keeps its dtype and device; it may be compiled, in `DataParallel` or averaged. Without
    `head` the file's classifier is left out, whatever its classes, and the model keeps its own: the
    beginning of a fine-tuning.

    Names and shapes do not tell GELU from ReLU, nor SplitMixer II, III and 3D from one another when
    the segments are equal. What the file states (the metadata of `save_weights`, or `activation` in
    a pickled `config`) is held against the model. Where the activation is not stated, the signs of
    BatchNorm's running means are looked at, and a `UserWarning` says when they speak against it.

    Raises `FileNotFoundError` for a path with no file, and `ValueError` for a file that has another
    suffix or layout, is damaged or cut short, would run code if unpickled, or does not fit.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.weights import load_weights, save_weights
    >>> save_weights(create_model("splitmixer_iii", dim=64, segments=2), "mine.safetensors")
    >>> load_weights(create_model("splitmixer_iii", dim=64, segments=4), "mine.safetensors")
    Traceback (most recent call last):
    ValueError: `path`='mine.safetensors', in the layout mixerlib, does not fit `model`, ...
    """
    path, model = Path(path), unwrapped(model)
    tensors, stated = _read(path)
    layout = OURS if stated.get("layout") == OURS.name else recognize(tensors)
    if layout is None:
        raise ValueError(
            f"`path`='{path}' has none of the layouts that mixerlib reads "
            f"({', '.join(sorted({known.name for known in LAYOUTS}))}); "
            f"its tensors are named {', '.join(list(tensors)[:3])} …"
        )
    names = our_names(tensors, layout)
    if not head:
        classifier = {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
        tensors = {k: v for k, v in tensors.items() if not (names[k] or "").startswith("head.")}
        tensors, names = tensors | classifier, names | {name: name for name in classifier}
    faults = _faults(tensors, names, model, layout)
    if faults:
        more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise ValueError(
            f"`path`='{path}', in the layout {layout.name}, does not fit `model`, "
            f"a {type(model).__name__} of {len(model.blocks)} blocks: {'; '.join(faults[:4])}{more}"
        )
    given = {names[name] or name: tensor for name, tensor in tensors.items()}
    _check_stated(path, stated, layout, model, given)
    model.load_state_dict(given, strict=False)  # only OPTIONAL tensors can be absent here
    return layout.name


def _check_stated(
    path: Path,
    stated: Mapping[str, str],
    layout: Layout,
    model: nn.Module,
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Hold what a file states against the model, and what its statistics betray; both may be wrong
    where every tensor fits.
    """
    traits = _traits(model)
    for trait in traits if layout is OURS else ("activation",):
        if stated.get(trait, traits[trait]) != traits[trait]:
            raise ValueError(
                f"`path`='{path}' states {trait}={stated[trait]!r}, and `model` has "
                f"{trait}={traits[trait]!r}: the tensors fit, but the outputs would be wrong"
            )
    seen = None if "activation" in stated else activation_seen(tensors)
    if seen not in (None, traits["activation"]):
        warnings.warn(
            f"`path`='{path}' looks trained with {seen}, by the signs of BatchNorm's running "
            f"means, and `model` has {traits['activation']}: the outputs may be wrong",
            stacklevel=3,
        )


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
    metadata = {"format": "pt", "layout": OURS.name} | _traits(model)
    data = safetensors.torch.save(tensors, metadata)
    write_atomic(path, data)


def activation_seen(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The activation that BatchNorm's running means show in a ConvMixer or SplitMixer, or None.

    Every BatchNorm there follows an activation. After a ReLU no mean is negative; after a GELU none
    is below its minimum, -0.17, and in a trained network some are negative. None stands for
    untrained (all zero), for neither of the two, and for a model without BatchNorm.
    """
    means = [t.float() for name, t in tensors.items() if name.endswith(".running_mean")]
    if not any(mean.any() for mean in means):
        return None
    lowest = min(float(mean.min()) for mean in means)
    return "relu" if lowest >= 0 else "gelu" if lowest >= LOWEST_GELU else None


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors in a file, and what it states about their model. Runs nothing that is in it."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"`path`='{path}' must end in one of {', '.join(SUFFIXES)}")
    with path.open("rb") as file:  # raises the plain OSError of a missing or forbidden file
        try:
            tensors, stated = _unpickle(file) if path.suffix != SUFFIXES[0] else _safetensors(path)
        except Exception as error:  # of a damaged file torch raises nearly anything, even KeyError
            code = re.search(r"GLOBAL (\S+)", str(error))
            why = "is cut short, damaged or of a kind that cannot be read as plain data"
            if code and (file.read(1) or zipfile.is_zipfile(file)):  # or the name itself is cut
                why = f"would run code if unpickled: {code[1]}"
            # not chained: torch's own text tells how to unpickle the file all the same
            raise ValueError(f"`path`='{path}' {why}; nothing was loaded") from None
    if not (isinstance(tensors, dict) and tensors and all(map(_is_entry, tensors.items()))):
        raise ValueError(f"`path`='{path}' must hold a state dict: names, each with a dense tensor")
    for prefix in ("module.", "_orig_mod."):  # of DataParallel and of torch.compile
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors, stated


def _safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def _unpickle(file: BinaryIO) -> tuple[object, dict[str, str]]:
    # timm's trainer keeps its command line in a Namespace, a class that only holds values
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
        warnings.filterwarnings("ignore", "Detected pickle protocol")  # 3 is read well; 4 raises
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    content = checkpoint if isinstance(checkpoint, dict) else {}
    config = content.get("config")
    activation = config.get("activation") if isinstance(config, dict) else None
    stated = {"activation": activation.lower()} if isinstance(activation, str) else {}
    return content.get("state_dict", content), stated


def _is_entry(item: tuple[object, object]) -> bool:
    name, tensor = item
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        return False
    return tensor.layout == torch.strided and tensor.device.type == "cpu"  # "meta" has no numbers


def _faults(
    tensors: dict[str, torch.Tensor],
    names: dict[str, str | None],
    model: nn.Module,
    layout: Layout,
) -> list[str]:
    """Each tensor that is missing, left over, or of another shape or kind, in both namings."""

    def both(ours: str | None, theirs: str | None) -> str:
        if ours == theirs or ours is None or theirs is None:
            return f"`{ours or theirs}`"
        return f"`{ours}` (`{theirs}` in {layout.name})"

    def form(tensor: torch.Tensor) -> str:
        kind = "" if tensor.is_floating_point() else f" of {tensor.dtype}"
        return f"{tuple(tensor.shape)}{kind}"

    expected, parts, translated = (
        model.state_dict(),
        layout.parts(len(model.blocks)),
        set(names.values()),
    )
    faults = [
        f"{both(name, translate(name, parts))} is missing, wanted {form(tensor)}"
        for name, tensor in expected.items()
        if name not in translated and not name.endswith(OPTIONAL)
    ]
    for theirs, tensor in tensors.items():
        ours = names[theirs]
        if ours not in expected:
            faults.append(f"{both(ours, theirs)} is {form(tensor)}, wanted none")
        elif form(tensor) != form(expected[ours]):
            faults.append(f"{both(ours, theirs)} is {form(tensor)}, wanted {form(expected[ours])}")
    return faults


def _traits(model: nn.Module) -> dict[str, str]:
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
