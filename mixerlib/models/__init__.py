"""The networks of the book, one architecture a file, and the registry that builds them by name.

>>> import torch
>>> from mixerlib.models import create_model
>>> model = create_model("splitmixer_i_256_8")  # as published for CIFAR-10
>>> model(torch.zeros(2, 3, 32, 32)).shape
torch.Size([2, 10])
>>> model = create_model("splitmixer_iv", dim=64, depth=4, segments=3)  # your own
>>> model = create_model("convmixer", dim=64, num_classes=0)  # features (B, h), not logits
>>> model(torch.zeros(2, 3, 32, 32)).shape
torch.Size([2, 64])

Every model can be traced: by `torch.fx`, torchvision's `create_feature_extractor`, `torch.export`,
`torch.jit.trace` and TensorBoard's `add_graph`. `torch.jit.script`, which PyTorch has given up, is
not supported: the checks of the images are ordinary Python. To be quantized by PyTorch itself, a
model needs its padding in numbers: `mixerlib.speed.with_numeric_padding`.
"""

from mixerlib.costs.unwrapping import unwrapped
from mixerlib.models import relatives, tweet
from mixerlib.models.ablation import AblatedSplitMixer
from mixerlib.models.convmixer import ConvMixer
from mixerlib.models.custom_mixings import check_mixing, register_mixing
from mixerlib.models.mixings import (
    OVERLAPPING,
    SHUFFLING,
    STRATEGIES,
    BothOverlapping,
    OneSegment,
    SeparateSegments,
    SharedSegments,
    StridedSegments,
    channel_mixing,
    channel_shuffle,
    overlap_width,
    segment_widths,
)
from mixerlib.models.mlp_mixer import MixerBlock, MLPMixer, PatchEmbedding
from mixerlib.models.registry import (
    Entry,
    check_options,
    create_model,
    list_models,
    list_relatives,
    made_of,
    model_entry,
)
from mixerlib.models.splitmixer import SplitMixer, SplitMixerBlock

__all__ = [
    "OVERLAPPING",
    "SHUFFLING",
    "STRATEGIES",
    "AblatedSplitMixer",
    "BothOverlapping",
    "ConvMixer",
    "Entry",
    "MLPMixer",
    "MixerBlock",
    "OneSegment",
    "PatchEmbedding",
    "SeparateSegments",
    "SharedSegments",
    "SplitMixer",
    "SplitMixerBlock",
    "StridedSegments",
    "channel_mixing",
    "channel_shuffle",
    "check_mixing",
    "check_options",
    "create_model",
    "list_models",
    "list_relatives",
    "made_of",
    "model_entry",
    "overlap_width",
    "register_mixing",
    "relatives",
    "segment_widths",
    "tweet",
    "unwrapped",
]
