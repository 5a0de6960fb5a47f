"""The folded model as an ONNX file, compared with the original by onnxruntime.

`export_onnx(model, images, "model.onnx")` writes it for any number of images of this size.
"""

import errno
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from mixerlib.files import write_atomic
from mixerlib.speed.inference.fast_model import TOLERANCE, plain_form, relative_difference
from mixerlib.speed.inference.folding import fold


def export_onnx(model: nn.Module, example: torch.Tensor, path: str | Path) -> float:
    """Write the model without BatchNorm as one ONNX file; return what onnxruntime differs by.

    `example` is a batch of images (B, in_channels, H, W). The file takes `images` of that size, in
    any number and in float32, and gives `logits` (B, `num_classes`). The difference is the largest
    for the example and for its first image alone, as a share of the logits' scale. The model
    computes in evaluation mode and is not touched. `export_model` writes other kinds of files too.

    Needs the extra `onnx`. Raises `ValueError` for a bad example or a model that cannot compute it,
    `OSError` for a file that cannot be written, and `RuntimeError` when the difference is above
    1e-4; the file is then not written.
    """
    need_onnxruntime("export_onnx")
    path, plain = Path(path), plain_form(model, example)
    check_folder(path)
    images, plain = example.detach().float().cpu(), plain.float().cpu()
    content = onnx_content(fold(plain, images), images)
    session = onnx_session(content)
    with torch.inference_mode():
        differences = [
            relative_difference(
                plain(batch), torch.from_numpy(session.run(None, {"images": batch.numpy()})[0])
            )
            for batch in (images, images[:1])
        ]
    difference = max(differences)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"onnxruntime's logits differ by {difference:.1e} of their scale from the model's, "
            f"more than {TOLERANCE:.0e}; {path} was not written"
        )
    write_atomic(path, content)
    return difference


def need_onnxruntime(what: str) -> ModuleType:
    """The package onnxruntime. Raises `ModuleNotFoundError` that says how `what` comes by it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{error}; {what} needs: pip install 'mixerlib[onnx]'", name="onnxruntime"
        ) from error
    return onnxruntime


def check_folder(path: Path) -> None:
    """Raises `FileNotFoundError` where the folder of a file to be written is not there."""
    if not path.parent.is_dir():  # said now, not after the export
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))


def onnx_content(net: nn.Module, images: torch.Tensor) -> bytes:
    """A network as an ONNX file: `images` like these, in any number, to `logits`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            net,
            (images.repeat(2, 1, 1, 1),),  # at least two, as one would be taken for a constant
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto
    graph = proto.graph  # beside each node stand the lines and folders of the code it came from
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return proto.SerializeToString()


def onnx_session(file: bytes | str, threads: int | None = None) -> Any:
    """An ONNX file or its content, ready to run on the CPU, with so many threads."""
    onnxruntime = need_onnxruntime("an ONNX file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
