"""Exact fast forms: the outputs of a trained model, from fewer passes over memory.

`folding` is the algebra, to be read beside chapter 19; `fast_model` computes in one of the forms;
`choice` measures which is the fastest one here, `remembered` keeps that; `onnx` writes files.
"""

from mixerlib.speed.inference.choice import Choice, optimize_for_inference
from mixerlib.speed.inference.fast_model import FastModel, check, relative_difference
from mixerlib.speed.inference.folding import fold
from mixerlib.speed.inference.onnx import export_onnx

__all__ = [
    "Choice",
    "FastModel",
    "check",
    "export_onnx",
    "fold",
    "optimize_for_inference",
    "relative_difference",
]
