"""mixerlib: ConvMixer, SplitMixer and MLP-Mixer, the library of The Mixer Book."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixerlib.models import create_model, list_models
    from mixerlib.speed.inference import optimize_for_inference
    from mixerlib.weights import load_weights, save_weights

__all__ = [
    "create_model",
    "list_models",
    "load_weights",
    "optimize_for_inference",
    "save_weights",
]
__version__ = "0.1.0"

_HOMES = {
    "create_model": "mixerlib.models",
    "list_models": "mixerlib.models",
    "load_weights": "mixerlib.weights",
    "optimize_for_inference": "mixerlib.speed.inference",
    "save_weights": "mixerlib.weights",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name when it is first used, so that `mixerlib --help` need not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mixerlib' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
