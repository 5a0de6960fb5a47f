"""PyTorch Hub: every model of mixerlib by its name, and those that the book has trained.

    import torch

    model = torch.hub.load("OWNER/REPOSITORY", "splitmixer_i_256_8", num_classes=100)
    digits = torch.hub.load("FOLDER", "trained", "digits/splitmixer_iii_64_4", source="local")

Whatever can be called here and has no underscore before its name is an entry of the hub.
"""

import collections.abc as _types

from torch import nn

import mixerlib as _mixerlib

dependencies = [
    *("numpy", "PIL", "safetensors", "scipy", "sklearn", "sympy"),
    *("torch", "torchvision", "tqdm", "yaml"),
]


def trained(name: str) -> nn.Module:
    """A model with weights that the book keeps, in evaluation mode.

    `name` is that of a recipe; `mixerlib.training.list_trained` lists them.
    """
    return _mixerlib.training.trained_model(name)


def _entrypoint(name: str) -> _types.Callable[..., nn.Module]:
    def create(**options: object) -> nn.Module:
        return _mixerlib.create_model(name, **options)

    entry = _mixerlib.models.model_entry(name)
    create.__name__ = create.__qualname__ = name
    listed = ", ".join(f"{option}={value!r}" for option, value in sorted(entry.defaults.items()))
    create.__doc__ = f"{entry.about}, with fresh random weights.\n\nOptions: {listed}."
    return create


globals().update({name: _entrypoint(name) for name in _mixerlib.list_models()})
