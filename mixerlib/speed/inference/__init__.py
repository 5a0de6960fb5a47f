"""Exact fast forms: the outputs of a trained model, from fewer passes over memory.

    fast = optimize_for_inference(model, images)  # images (B, C, H, W), as it will be given them
    logits = fast(images)
    print(fast.choice)                            # what was measured, and what was chosen
    check(model, fast, images)                    # 3e-07: the largest difference, of the scale
    export_onnx(model, images, "model.onnx")      # the folded model, for other runtimes

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
