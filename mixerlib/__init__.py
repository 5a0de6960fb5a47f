"""mixerlib: ConvMixer, SplitMixer and MLP-Mixer, the library of The Mixer Book."""

from mixerlib.models import create_model, list_models

__all__ = ["create_model", "list_models"]
__version__ = "0.1.0"
