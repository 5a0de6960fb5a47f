"""timm, imported when it is needed, and an error that says how it is installed."""

import importlib
from types import ModuleType

from mixerlib._torchvision import import_torchvision


def import_timm() -> ModuleType:
    """timm. Raises `ModuleNotFoundError` where it is not installed."""
    import_torchvision()  # timm needs it, and cannot always import it by itself
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        message = "mixerlib.timm needs timm: pip install 'mixerlib[timm]'"
        raise ModuleNotFoundError(message, name="timm") from None
