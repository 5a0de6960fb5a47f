"""What a trained network has learnt, seen from inside: its filters, its maps, its channels, and how
well the classes are told apart at each depth. Chapter 20.

Every function takes any `nn.Module` in evaluation mode, a home-made one too. Maps may be images
(B, h, H, W), tokens (B, T, h) as in an MLP-Mixer, or vectors (B, h).

>>> import torch
>>> from mixerlib.inside import feature_maps
>>> from mixerlib.models import create_model
>>> model = create_model("convmixer", dim=16, depth=2, kernel_size=5, patch_size=2).eval()
>>> maps = feature_maps(model, torch.zeros(4, 3, 32, 32))
>>> {name: tuple(features.shape) for name, features in maps.items()}
{'stem': (4, 16, 16, 16), 'blocks.0': (4, 16, 16, 16), 'blocks.1': (4, 16, 16, 16)}
"""

from mixerlib.inside.channels import dead_channels, duplicate_channels
from mixerlib.inside.choosing import layer_names
from mixerlib.inside.kernels import separable_share, spatial_kernels
from mixerlib.inside.maps import feature_maps, pooled, pooled_features
from mixerlib.inside.probing import linear_probe
from mixerlib.inside.similarity import linear_cka

__all__ = [
    "dead_channels",
    "duplicate_channels",
    "feature_maps",
    "layer_names",
    "linear_cka",
    "linear_probe",
    "pooled",
    "pooled_features",
    "separable_share",
    "spatial_kernels",
]
