"""One model, many files: each is run and compared with the model before it is kept.

>>> import torch
>>> from mixerlib.models import create_model
>>> from mixerlib.speed import export_model, load_artefact
>>> model, images = create_model("convmixer", dim=16, depth=1).eval(), torch.randn(4, 3, 16, 16)
>>> artefact = export_model(model, images, "model.pt2", "exported")
>>> artefact.difference < 1e-4, artefact.agreement
(True, 1.0)
>>> load_artefact("model.pt2")(images[:1]).shape  # any number of images of that size
torch.Size([1, 10])
"""

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mixerlib.checks import did_you_mean, shown
from mixerlib.files import write_atomic
from mixerlib.speed.deploy.runners import load_artefact
from mixerlib.speed.deploy.writers import WRITERS, need
from mixerlib.speed.inference.fast_model import TOLERANCE, plain_form, relative_difference
from mixerlib.speed.inference.folding import fold
from mixerlib.speed.inference.onnx import check_folder

# the kinds of files that `export_model` writes, each with the suffix of its name
ARTEFACTS = {
    "onnx": ".onnx",
    "onnx-int8": ".int8.onnx",
    "exported": ".pt2",
    "exported-bfloat16": ".bfloat16.pt2",
    "aoti": ".aoti.pt2",
    "torchscript": ".ts",
}
OF_INT8 = 0.25  # of the logits' scale: int8 has no rounding of its own to be compared with


@dataclass(frozen=True)
class Artefact:
    """A file that `export_model` has written, and how it compares with the model.

    Args:
        path: of the file.
        kind: one of `ARTEFACTS`.
        size: in bytes.
        difference: the largest of a logit from the model's, as a share of their scale.
        agreement: the share of the example's images for which both give the same answer, 0..1.
    """

    path: Path
    kind: str
    size: int
    difference: float
    agreement: float


def export_model(
    model: nn.Module,
    example: torch.Tensor,
    path: str | Path,
    to: str = "onnx",
    *,
    folded: bool | None = None,
    calibration: torch.Tensor | None = None,
    tolerance: float | None = None,
) -> Artefact:
    """Write a model as a file for elsewhere, if the file computes what the model does.

    It takes images of the example's size, normalized as for the model, in any number and in
    float32, and gives logits in float32. The model computes in evaluation mode and is not touched.
    The file is run on the example and on its first image alone before it appears under its name.

    Args:
        model: a model of mixerlib, or another one that PyTorch can export.
        example: images (B, in_channels, H, W) on which the file is compared with the model.
        path: of the file, in a folder that is there.
        to: one of `ARTEFACTS`. "onnx" and "onnx-int8" need the extra `onnx`; "aoti", machine code
            for processors like this one, needs a C++ compiler. "torchscript" is for older programs.
        folded: whether BatchNorm is folded into what comes after it. None: it is, but for int8,
            where the maps that folding adds would stay in float32.
        calibration: images like the example's, from which int8 takes the ranges of its numbers.
            None: the example.
        tolerance: how large the difference may be, as a share of the logits' scale. None: 1e-4; for
            bfloat16 as much as twice what the model itself rounds there; for int8 0.25.

    Raises `ValueError` for a bad argument, a model that cannot compute the example, and a file that
    differs by more than `tolerance`, which is then not written; `ModuleNotFoundError` without the
    packages, and `OSError` without the compiler or for a file that cannot be written. Chapter 25.

    >>> import torch
    >>> from mixerlib.models import create_model
    >>> from mixerlib.speed import export_model
    >>> model, images = create_model("splitmixer_i", dim=16, depth=1), torch.randn(4, 3, 16, 16)
    >>> export_model(model, images, "half.pt2", "exported-bfloat16").kind
    'exported-bfloat16'
    """
    _check_request(to, tolerance, calibration)
    path, plain = Path(path), plain_form(model, example).float().cpu()
    check_folder(path)
    images = example.detach().float().cpu()
    calibration = images if calibration is None else _calibration(calibration, images)
    folded = to != "onnx-int8" if folded is None else folded
    net = fold(plain, images) if folded else plain
    with torch.autocast("cpu", enabled=False), torch.device("cpu"):
        content = WRITERS[to](net, images, calibration)
        limit = _limit(to, plain, images) if tolerance is None else tolerance
        difference, agreement = _compared(plain, content, images, ARTEFACTS[to])
    if not difference <= limit:
        raise ValueError(
            f"`to`={to!r} gives logits that differ by {difference:.1e} of their scale from the "
            f"model's, more than `tolerance`={limit:.1e}; {path} was not written"
        )
    write_atomic(path, content)
    return Artefact(path, to, len(content), difference, agreement)


def _check_request(to: str, tolerance: float | None, calibration: torch.Tensor | None) -> None:
    """Raises what `export_model` says of these arguments, and of what the machine lacks."""
    if to not in WRITERS:
        hint = did_you_mean(str(to), list(WRITERS), f"it must be one of {', '.join(WRITERS)}")
        raise ValueError(f"`to`={shown(to)} is no kind of file; {hint}")
    if tolerance is not None and not tolerance > 0:
        raise ValueError(f"`tolerance`={shown(tolerance)} must be above 0")
    if calibration is not None and to != "onnx-int8":
        raise ValueError(f"`calibration` is for `to`='onnx-int8', not for {to!r}")
    need(to)


def _calibration(calibration: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    if not isinstance(calibration, torch.Tensor) or calibration.shape[1:] != images.shape[1:]:
        size = tuple(calibration.shape) if isinstance(calibration, torch.Tensor) else calibration
        raise ValueError(
            f"`calibration` of {shown(size)} must be images (B, "
            f"{', '.join(map(str, images.shape[1:]))}), as the example's"
        )
    calibration = calibration.detach().float().cpu()
    if not len(calibration) or not calibration.isfinite().all():
        raise ValueError("`calibration` must hold an image at least, and finite numbers")
    return calibration


def _limit(to: str, plain: nn.Module, images: torch.Tensor) -> float:
    """How far off a kind of file may be, where nobody has said it."""
    if to == "onnx-int8":
        return OF_INT8
    if to != "exported-bfloat16":
        return TOLERANCE
    with torch.inference_mode():
        rounded = copy.deepcopy(plain).bfloat16()(images.bfloat16())
        return max(TOLERANCE, 2 * relative_difference(plain(images), rounded))


def _compared(
    plain: nn.Module, content: bytes, images: torch.Tensor, suffix: str
) -> tuple[float, float]:
    """The largest difference and the agreement of a file's content, which is run from a file."""
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        file = Path(folder) / f"artefact{suffix}"
        file.write_bytes(content)
        run = load_artefact(file)
        expected, alone = plain(images), plain(images[:1])
        actual = run(images)
        differences = (
            relative_difference(expected, actual),
            relative_difference(alone, run(images[:1])),
        )
    same = expected.argmax(1) == actual.argmax(1)
    return max(differences), same.double().mean().item()
