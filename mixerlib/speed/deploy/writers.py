"""The content of each kind of file, from a network and images as it will get them.

Nothing of the example is kept in a file, as networks are traced with images of zeros; nor are the
names of the folders that the code lay in, which exporters write beside each operation.
"""

import copy
import importlib.util
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from mixerlib.speed.deploy.int8 import quantized
from mixerlib.speed.inference.onnx import need_onnxruntime, onnx_content

Writer = Callable[[nn.Module, torch.Tensor, torch.Tensor], bytes]  # network, images, calibration
COMPILERS = ("g++", "clang++")
# where in whose files each operation was written: half of a small file, and nobody else's business
TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


class InBfloat16(nn.Module):
    """A network in bfloat16 behind images and logits in float32."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = copy.deepcopy(net).bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.bfloat16()).float()


def compiler() -> str | None:
    """The C++ compiler that AOTInductor would use: $CXX, else one that is found."""
    names = [name] if (name := os.environ.get("CXX")) else COMPILERS
    return next((found for name in names if (found := shutil.which(name))), None)


def need(to: str) -> None:
    """Raises what `export_model` says of this kind of file where the machine cannot write it."""
    if to.startswith("onnx"):
        need_onnxruntime(f"`to`={to!r}")
        for package in ("onnx", "onnxscript"):
            if importlib.util.find_spec(package) is None:
                raise ModuleNotFoundError(
                    f"No module named {package!r}; `to`={to!r} needs: pip install 'mixerlib[onnx]'",
                    name=package,
                )
    if to == "aoti" and compiler() is None:
        raise FileNotFoundError(
            f"`to`='aoti' needs a C++ compiler, and none of $CXX, {', '.join(COMPILERS)} is here"
        )


def _exported(net: nn.Module, images: torch.Tensor) -> torch.export.ExportedProgram:
    """The network's graph for any number of such images."""
    example = images.new_zeros(2, *images.shape[1:])  # two, as one would be taken for a constant
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.export.export(net, (example,), dynamic_shapes=({0: batch},))
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for name in TRACES:
                node.meta.pop(name, None)
    return program


def _exported_content(net: nn.Module, images: torch.Tensor, _: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(_exported(net, images), buffer)
    return buffer.getvalue()


def _bfloat16_content(net: nn.Module, images: torch.Tensor, _: torch.Tensor) -> bytes:
    return _exported_content(InBfloat16(net), images, _)


def _aoti_content(net: nn.Module, images: torch.Tensor, _: torch.Tensor) -> bytes:
    """A library of machine code with the weights, for as many threads as there will be."""
    from torch._inductor import aoti_compile_and_package

    program = _exported(net, images)
    options = {
        "cpp.dynamic_threads": True,
        "cpp.vec_isa_ok": True,  # else a library is built to try the processor's own flags
    }
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.pt2"
        aoti_compile_and_package(program, package_path=str(file), inductor_configs=options)
        return file.read_bytes()


def _torchscript_content(net: nn.Module, images: torch.Tensor, _: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it is deprecated
        torch.jit.save(torch.jit.trace(net, images.new_zeros(2, *images.shape[1:])), buffer)
    return buffer.getvalue()


WRITERS: dict[str, Writer] = {
    "onnx": lambda net, images, _: onnx_content(net, torch.zeros_like(images[:1])),
    "onnx-int8": lambda net, images, calibration: quantized(
        onnx_content(net, torch.zeros_like(images[:1])), calibration
    ),
    "exported": _exported_content,
    "exported-bfloat16": _bfloat16_content,
    "aoti": _aoti_content,
    "torchscript": _torchscript_content,
}
