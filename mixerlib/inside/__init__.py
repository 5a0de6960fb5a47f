"""What a trained network has learnt, seen from inside: its filters, its maps, its channels, how
well the classes are told apart at each depth, and which pixels a logit owes its value to.
Chapter 20.

Every function takes any `nn.Module` in evaluation mode, a home-made one too. A model that is
compiled, averaged or in `DataParallel` is looked at itself, and its layers have their own names.
Maps may be images (B, h, H, W), tokens (B, T, h) as in an MLP-Mixer, or vectors (B, h).

>>> import torch
>>> from mixerlib.inside import feature_maps
>>> from mixerlib.models import create_model
>>> model = create_model("convmixer", dim=16, depth=2, kernel_size=5, patch_size=2).eval()
>>> maps = feature_maps(model, torch.zeros(4, 3, 32, 32))
>>> {name: tuple(features.shape) for name, features in maps.items()}
{'stem': (4, 16, 16, 16), 'blocks.0': (4, 16, 16, 16), 'blocks.1': (4, 16, 16, 16)}
"""

from mixerlib.inside.attribution import (
    gradient_times_input,
    gradients,
    integrated_gradients,
    occlusion,
    smooth_gradients,
)
from mixerlib.inside.channels import dead_channels, duplicate_channels
from mixerlib.inside.choosing import layer_names
from mixerlib.inside.class_maps import (
    class_activation_map,
    enlarged,
    grad_cam,
    layer_gradients,
)
from mixerlib.inside.faithfulness import (
    deletion_curve,
    insertion_curve,
    layers_from_the_head,
    rank_correlation,
    with_random_weights,
)
from mixerlib.inside.footprints import footprint
from mixerlib.inside.kernels import separable_share, spatial_kernels
from mixerlib.inside.maps import feature_maps, pooled, pooled_features
from mixerlib.inside.probing import linear_probe, probe_answers
from mixerlib.inside.similarity import linear_cka

__all__ = [
    "class_activation_map",
    "dead_channels",
    "deletion_curve",
    "duplicate_channels",
    "enlarged",
    "feature_maps",
    "footprint",
    "grad_cam",
    "gradient_times_input",
    "gradients",
    "insertion_curve",
    "integrated_gradients",
    "layer_gradients",
    "layer_names",
    "layers_from_the_head",
    "linear_cka",
    "linear_probe",
    "occlusion",
    "pooled",
    "pooled_features",
    "probe_answers",
    "rank_correlation",
    "separable_share",
    "smooth_gradients",
    "spatial_kernels",
    "with_random_weights",
]
