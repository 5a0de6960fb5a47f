"""What two runtimes of ONNX files on phones and in browsers lack, by their own lists.

The lists are cut to the operators that networks of this book's kinds can need: products, sums,
activations, norms, and what moves numbers about.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mixerlib.speed.inference.onnx import need_onnxruntime


@dataclass(frozen=True)
class Runtime:
    """What a runtime of ONNX files computes itself; the rest falls back to the CPU.

    Args:
        name: in words.
        source: the address of its list.
        operators: of the default domain, those that it has of the ones asked about here.
        dimensions: of convolutions, the most that it has.
    """

    name: str
    source: str
    operators: frozenset[str]
    dimensions: int


_BOTH = (
    *("Add", "Cast", "Clip", "Concat", "Conv", "Cos", "Div", "Erf", "Exp", "Gemm"),
    *("GlobalAveragePool", "LayerNormalization", "MatMul", "Mul", "Pow", "ReduceMean"),
    *("ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt"),
    *("Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze"),
)
_LISTS = "https://github.com/microsoft/onnxruntime/blob"
# runtimes of ONNX files by a short name, as onnxruntime's own lists of them stood at a commit
RUNTIMES = {
    "WebGPU": Runtime(
        "ONNX Runtime Web on WebGPU",
        f"{_LISTS}/51f617724148aafddb281c75f6740c72534d1f6f/js/web/docs/webgpu-operators.md",
        frozenset((*_BOTH, "BatchNormalization", "Expand", "Gather", "Pad", "Where")),
        dimensions=2,
    ),
    "Core ML": Runtime(
        "ONNX Runtime on Core ML, ML programs",
        f"{_LISTS}/04f568d869ec533a48f29f67f9842ddf694d7ab1/tools/ci_build/github/apple/"
        "coreml_supported_mlprogram_ops.md",
        frozenset((*_BOTH, "Gelu", "Identity")),
        dimensions=2,
    ),
}


def onnx_operators(path: str | Path) -> dict[str, int]:
    """The operators of an ONNX file, most frequent first; a convolution of three dimensions is
    "Conv3d". Needs the extra `onnx`.
    """
    need_onnxruntime("onnx_operators")
    import onnx

    counted: Counter[str] = Counter()
    for node in onnx.load(str(path)).graph.node:
        name = str(node.op_type)
        if name == "Constant":  # a number of the file, and no operation
            continue
        shapes = [a.ints for a in node.attribute if a.name == "kernel_shape"]
        if name == "Conv" and shapes and len(shapes[0]) != 2:
            name = f"Conv{len(shapes[0])}d"
        counted[name] += 1
    return dict(counted.most_common())


def missing_operators(operators: dict[str, int], runtime: str) -> list[str]:
    """Those of some operators that a runtime of `RUNTIMES` leaves to the CPU.

    >>> from mixerlib.speed import missing_operators
    >>> missing_operators({"Conv": 9, "BatchNormalization": 9}, "Core ML")
    ['BatchNormalization']

    Raises `ValueError` for a runtime that is none of them.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"`runtime`={runtime!r} must be one of {', '.join(RUNTIMES)}")
    known = RUNTIMES[runtime]
    flat = {f"Conv{n}d" for n in range(1, known.dimensions)}
    return sorted(set(operators) - known.operators - flat)
