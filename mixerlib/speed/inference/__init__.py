"""Exact fast forms: the outputs of a trained model, from fewer passes over memory.

    fast = optimize_for_inference(model, images)  # images (B, C, H, W), as it will be given them
    logits = fast(images)
    print(fast.choice)                            # what was measured, and what was chosen
    check(model, fast, images)                    # 3e-07: the largest difference, of the scale
    export_onnx(model, images, "model.onnx")      # the folded model, for other runtimes

`rewritings` is the algebra, to be read beside chapter 19; `choice` measures which of the equal
forms is the fastest one here; `onnx` writes files.
"""

from mixerlib.speed.inference.choice import Choice, FastModel, check, optimize_for_inference
from mixerlib.speed.inference.onnx import export_onnx
from mixerlib.speed.inference.rewritings import fold

__all__ = ["Choice", "FastModel", "check", "export_onnx", "fold", "optimize_for_inference"]
