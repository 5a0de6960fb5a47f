"""torchvision, imported when it is needed, and even where its compiled operators do not load.

So write `transforms = import_torchvision().transforms`.
"""

import importlib
import sys
from types import ModuleType

import torch

# Operators live as long as the Library object that declared them.
_declared_operators: torch.library.Library | None = None


def import_torchvision() -> ModuleType:
    """torchvision, even where its compiled operators were built for another torch than this one.

    A torchvision built for CUDA beside a torch for the CPU (what a plain `pip install` may leave)
    cannot load its operators, and then cannot even be imported: it describes the operators `nms`
    and `qnms` to torch, which does not know them. mixerlib, and timm, use torchvision's Python
    parts only. So when the import fails for exactly that reason, the two operators are declared,
    without an implementation, and the import is tried once more. Calling them is an error as
    before.
    """
    global _declared_operators
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    _declared_operators = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        _declared_operators.define(
            f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    for module in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        del sys.modules[module]  # the first attempt left its submodules behind, half imported
    return importlib.import_module("torchvision")
