"""mixerlib: ConvMixer, SplitMixer and MLP-Mixer, the library of The Mixer Book.

The rooms are `models`, `costs`, `data`, `training`, `inside`, `speed`, `pages` and `widgets`,
beside `weights` and `records`. Each lists its public names; the seven that most users want are
here too.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixerlib.models import create_model, list_models
    from mixerlib.speed import optimize_for_inference
    from mixerlib.weights import get_model, load_weights, save_weights, weights_of

__all__ = [
    "create_model",
    "get_model",
    "list_models",
    "load_weights",
    "optimize_for_inference",
    "save_weights",
    "weights_of",
]
__version__ = "0.1.0"

_ROOMS = (
    *("models", "costs", "data", "training", "inside"),
    *("speed", "pages", "weights", "records", "widgets"),
)
_ROOM_OF = {
    "create_model": "models",
    "get_model": "weights",
    "list_models": "models",
    "load_weights": "weights",
    "optimize_for_inference": "speed",
    "save_weights": "weights",
    "weights_of": "weights",
}


def __getattr__(name: str) -> Any:
    """Fetch a room or a public name when it is first used, so that `import mixerlib` and
    `mixerlib --help` need not load torch.
    """
    if name in _ROOMS:
        return importlib.import_module(f"mixerlib.{name}")
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'mixerlib' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mixerlib.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
