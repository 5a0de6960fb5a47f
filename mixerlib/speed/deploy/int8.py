"""An ONNX file whose convolutions and matrix products compute in eight bits. Chapter 25."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mixerlib.speed.inference.onnx import need_onnxruntime

QUANTIZED = ("Conv", "Gemm", "MatMul")
AT_ONCE = 64  # images


class _Reader:
    """Gives images to onnxruntime, batch by batch, as its calibration asks for them."""

    def __init__(self, images: torch.Tensor):
        self.batches: Iterator[torch.Tensor] = iter(images.split(AT_ONCE))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch.numpy()}


def quantized(content: bytes, calibration: torch.Tensor, *, per_channel: bool = True) -> bytes:
    """The content of an ONNX file in eight bits.

    Args:
        content: of a file that takes `images` in float32.
        calibration: images (B, C, H, W) whose smallest and largest numbers, layer by layer, set the
            ranges of what the layers read and write.
        per_channel: whether each output channel's weights have a scale of their own.

    Weights have seven of the eight bits: on processors without instructions for such sums, products
    of full range overflow.
    """
    need_onnxruntime("int8")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, prepared, small = (Path(folder) / f"{n}.onnx" for n in ("plain", "prepared", "int8"))
        plain.write_bytes(content)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(small),
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            per_channel=per_channel,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return small.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's advice goes to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
