"""The same models as others write them, with the same weights: what ours is timed against.

>>> from mixerlib.models import create_model
>>> from mixerlib.speed import listing_form, timm_form
>>> split = create_model("splitmixer_i", dim=32, depth=2)
>>> chain = listing_form(split)  # as the paper's listing writes it: split, convolve, concatenate
>>> timm_form(split) is None  # timm has ConvMixer and MLP-Mixer only
True

Both give the model's own outputs, up to rounding. Chapter 17b times them beside it.
"""

import copy
import importlib.util
from fractions import Fraction

import torch
from torch import nn

from mixerlib._torchvision import import_torchvision
from mixerlib.models import tweet
from mixerlib.models.convmixer import ConvMixer, Residual
from mixerlib.models.mixings import (
    BothOverlapping,
    OneSegment,
    SeparateSegments,
    SharedSegments,
    StridedSegments,
)
from mixerlib.models.mlp_mixer import MLPMixer
from mixerlib.models.splitmixer import SplitMixer


class InParts(nn.Module):
    """Split the channels into parts, give each to its layer, join them. Keeps (B, h, H, W)."""

    def __init__(self, widths: list[int], layers: list[nn.Module]):
        super().__init__()
        self.widths, self.layers = widths, nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.split(self.widths, dim=1)
        mixed = [layer(part) for layer, part in zip(self.layers, parts, strict=True)]
        return torch.cat(mixed, dim=1)


def one_part(conv: nn.Conv2d, start: int, dim: int) -> InParts:
    """Convolve the channels from `start` on, as many as the convolution has; pass the others."""
    widths = [start, conv.in_channels, dim - start - conv.in_channels]
    layers = [nn.Identity(), conv, nn.Identity()]
    filled = [i for i, width in enumerate(widths) if width]
    return InParts([widths[i] for i in filled], [layers[i] for i in filled])


def strided_convolution(conv: nn.Conv2d) -> nn.Sequential:
    """The 3-D form as its authors write it: the channels are a third dimension that is walked."""
    c = conv.out_channels
    device = conv.weight.device
    layer = nn.Conv3d(1, c, kernel_size=(c, 1, 1), stride=(c, 1, 1), device=device)
    layer.weight.data, layer.bias.data = conv.weight.data.view(c, 1, c, 1, 1), conv.bias.data
    return nn.Sequential(nn.Unflatten(1, (1, -1)), layer, nn.Flatten(1, 2))


def listed_mixing(mixing: nn.Module, dim: int) -> nn.Module:
    """A channel mixing of SplitMixer with nothing spared: its parts split, convolved, joined."""
    if type(mixing) is OneSegment:
        return one_part(mixing.mixer, mixing.start, dim)
    if type(mixing) is BothOverlapping:
        second = one_part(mixing.mixer2, dim - mixing.width, dim)
        return nn.Sequential(one_part(mixing.mixer1, 0, dim), second)
    if type(mixing) is SharedSegments:
        widths = [width for _, width in mixing.mixed]
        return InParts(widths, [mixing.mixer] * len(widths))
    if type(mixing) is SeparateSegments:
        return InParts(mixing.widths, list(mixing.mixer))
    if type(mixing) is StridedSegments:
        return strided_convolution(mixing.mixer)
    raise ValueError(f"`mixing` of type {type(mixing).__name__} must be one of SplitMixer's six")


def listing_form(model: nn.Module) -> nn.Module | None:
    """A copy of a ConvMixer or SplitMixer as one chain of modules, like its paper's listing.

    ConvMixer is the tweet's. None for what no listing has: ReLU, other than three channels or no
    classes in ConvMixer, a shuffle in SplitMixer, and MLP-Mixer, whose paper lists it in JAX.
    """
    model = copy.deepcopy(model)
    if type(model) is SplitMixer and not model.shuffle:
        dim = model.num_features
        blocks = (
            nn.Sequential(
                Residual(block.spatial), listed_mixing(block.mixing, dim), block.act, block.norm
            )
            for block in model.blocks
        )
        pool = nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()
        return nn.Sequential(*model.stem, *blocks, *pool, model.head).train(model.training)
    as_tweeted = type(model) is ConvMixer and model.in_channels == 3 and model.num_classes > 0
    if as_tweeted and type(model.stem[1]) is nn.GELU:
        h, k = model.num_features, model.blocks[0][0].fn[0].kernel_size[0]
        form = tweet.ConvMixer(h, len(model.blocks), k, model.patch_size, model.num_classes)
        weights = zip(form.state_dict(), model.state_dict().values(), strict=True)
        form.load_state_dict(dict(weights), assign=True)  # the tensors stand in the same order
        return form.train(model.training)
    return None


def timm_is_installed() -> bool:
    """Whether timm can be imported here; it is not among what mixerlib needs."""
    return importlib.util.find_spec("timm") is not None


def timm_form(model: nn.Module) -> nn.Module | None:
    """timm's ConvMixer or MLP-Mixer with the weights of this one; None for another model.

    Raises `ImportError` where timm is not installed.
    """
    if type(model) not in (ConvMixer, MLPMixer):
        return None
    import_torchvision()  # timm needs it, and cannot always import it by itself
    shared = {"num_classes": model.num_classes, "in_chans": model.in_channels}
    shared |= {"patch_size": model.patch_size}
    h, d = model.num_features, len(model.blocks)
    if type(model) is ConvMixer:
        from timm.models.convmixer import ConvMixer as TimmConvMixer

        k, act = model.blocks[0][0].fn[0].kernel_size[0], type(model.stem[1])
        form = TimmConvMixer(h, d, kernel_size=k, act_layer=act, **shared)
    else:
        from timm.models.mlp_mixer import MlpMixer

        mlps = model.blocks[0].mlp_tokens, model.blocks[0].mlp_channels
        form = MlpMixer(
            embed_dim=h,
            num_blocks=d,
            img_size=model.image_size,
            mlp_ratio=tuple(Fraction(mlp.fc1.out_features, h) for mlp in mlps),  # exact, times h
            act_layer=type(mlps[0].act),
            **shared,
        )
    form.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    return form.train(model.training)
