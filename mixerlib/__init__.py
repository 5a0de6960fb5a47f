"""mixerlib: ConvMixer, SplitMixer and MLP-Mixer, the library of The Mixer Book."""

from mixerlib.models import create_model, list_models
from mixerlib.weights import load_weights, save_weights

__all__ = ["create_model", "list_models", "load_weights", "save_weights"]
__version__ = "0.1.0"
