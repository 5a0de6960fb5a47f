"""Files that `export_model` has written, read back as functions from images to logits."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from mixerlib.speed.inference.onnx import onnx_session

Run = Callable[[torch.Tensor], torch.Tensor]


def load_artefact(path: str | Path) -> Run:
    """A file that `export_model` has written, as a function: images (B, C, H, W) in float32 on the
    CPU → logits (B, `num_classes`), with as many threads as PyTorch has.

    ONNX files are data. An exported program holds pickles, and reading a pickle can run code; a
    file "aoti" is machine code, and one of TorchScript is a program: load what you have made, or
    trust.

    Raises `FileNotFoundError` where there is none, `ValueError` for what is none of `ARTEFACTS`,
    and `ModuleNotFoundError` for ONNX without onnxruntime.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    loaders = {"onnx": _onnx, "exported": _exported, "aoti": _aoti, "torchscript": _torchscript}
    return loaders[_kind(path)](path)


def _kind(path: Path) -> str:
    """What a file is, by its content where that tells."""
    if path.suffix == ".onnx":
        return "onnx"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any("/aotinductor/" in name for name in names):
            return "aoti"
        if any("/code/" in name for name in names):
            return "torchscript"
        if any("/models/" in name or "serialized_exported_program" in name for name in names):
            return "exported"
    raise ValueError(f"`path`='{path}' is no file that `export_model` writes")


def _onnx(path: Path) -> Run:
    session = onnx_session(str(path), torch.get_num_threads())

    def run(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {"images": images.detach().numpy()})[0])

    return run


def _exported(path: Path) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        return _without_gradients(torch.export.load(path).module())


def _aoti(path: Path) -> Run:
    from torch._inductor import aoti_load_package

    return _without_gradients(aoti_load_package(str(path)))


def _torchscript(path: Path) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        return _without_gradients(torch.jit.load(path))


def _without_gradients(module: Callable[[torch.Tensor], torch.Tensor]) -> Run:
    def run(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return module(images)

    return run
