"""The folded model as an ONNX file, compared with the original by onnxruntime.

`export_onnx(model, images, "model.onnx")` writes it for any number of images of this size.
"""

import errno
import warnings
from pathlib import Path

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
    computes in evaluation mode and is not touched.

    Needs the extra `onnx`. Raises `ValueError` for a bad example or a model that cannot compute it,
    `OSError` for a file that cannot be written, and `RuntimeError` when the difference is above
    1e-4; the file is then not written.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"{error}; export_onnx needs: pip install 'mixerlib[onnx]'") from error
    path, plain = Path(path), plain_form(model, example)
    if not path.parent.is_dir():  # said now, not after the export
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    images, plain = example.detach().float().cpu(), plain.float().cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            fold(plain, images),
            (images.repeat(2, 1, 1, 1),),  # at least two, as one would be taken for a constant
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
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
