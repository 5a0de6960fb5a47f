"""A trained model as a file for elsewhere: written, checked against the model, and read back.

`artefacts` is the front: `export_model` and `load_artefact`. `writers` make the content of each
kind of file, `runners` run it, `int8` quantizes, `padding` prepares a model for PyTorch's own
quantizers; `runtimes` knows what ONNX's runtimes lack. Chapter 25.
"""

from mixerlib.speed.deploy.artefacts import ARTEFACTS, Artefact, export_model
from mixerlib.speed.deploy.padding import with_numeric_padding
from mixerlib.speed.deploy.runners import load_artefact
from mixerlib.speed.deploy.runtimes import RUNTIMES, Runtime, missing_operators, onnx_operators

__all__ = [
    "ARTEFACTS",
    "RUNTIMES",
    "Artefact",
    "Runtime",
    "export_model",
    "load_artefact",
    "missing_operators",
    "onnx_operators",
    "with_numeric_padding",
]
