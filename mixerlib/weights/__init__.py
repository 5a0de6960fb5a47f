"""Weights in and out: the layouts of the public checkpoints are recognised and renamed into ours,
or refused.

A checkpoint is data, never code: safetensors, or a pickle whose opcodes are followed one by one, so
that nothing it names is ever called. The layouts:

- "locuslab": ConvMixer by its authors, an `nn.Sequential`;
- "tweet": ConvMixer in 280 characters (`mixerlib.models.tweet`);
- "timm": ConvMixer and MLP-Mixer, whose names there are ours; so a pickled file of ours is too;
  and ViT, DeiT with distillation, ResMLP, gMLP, and ConvNeXt's blocks as its first stage;
- "aliborji": SplitMixer by its authors, or as listed on their slides, or the 3-D form of their
  notebook, or their ConvMixer;
- "mindcv": ConvMixer and MLP-Mixer in MindCV, whose files are MindSpore's;
- "mindspore": MLP-Mixer in MindSpore's courses, where its fine-tuned files are;
- "jax": MLP-Mixer by its authors, in `.npz`; read only;
- "mixerlib": what `save_weights` writes, and every file with our names for SplitMixer.

No tensor of a model made by `create_model` has two names, so `save_model` and `load_model` of
`safetensors.torch` take them as they are. Where you tie layers, as by `model.blocks[1] =
model.blocks[0]`, `save_weights` writes each tensor under all of its names: any such model reads the
file, tied or not, but safetensors' `load_model` wants `strict=False` for a tied one. `load_weights`
reads what their `save_model` writes, which has each tensor once. It refuses a file that has two
answers for one tensor of the model.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mixerlib.weights.by_name import get_model, get_weight
from mixerlib.weights.loading import load_weights
from mixerlib.weights.pretrained import from_pretrained, save_pretrained
from mixerlib.weights.published import (
    PublishedWeights,
    published_weights,
    weights_file,
    weights_of,
)
from mixerlib.weights.saving import save_weights

if TYPE_CHECKING:
    from mixerlib.weights.hub import HubModel

__all__ = [
    "PublishedWeights",
    "from_pretrained",
    "get_model",
    "get_weight",
    "load_weights",
    "published_weights",
    "save_pretrained",
    "save_weights",
    "weights_file",
    "weights_of",
]
if find_spec("huggingface_hub"):  # so that `import *` asks for no extra
    __all__ += ["HubModel"]


def __getattr__(name: str) -> Any:
    """Fetch `HubModel` when it is first used: what it is built on is an extra."""
    if name != "HubModel":
        raise AttributeError(f"module 'mixerlib.weights' has no attribute {name!r}")
    try:
        from mixerlib.weights.hub import HubModel
    except ImportError as error:
        raise ImportError(f"{error}; HubModel needs: pip install 'mixerlib[hub]'") from error
    return HubModel
