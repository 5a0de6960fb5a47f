"""The rewritings: every BatchNorm into what comes after it, every channel mixing as plain products.

>>> import torch
>>> from mixerlib.models import create_model
>>> from mixerlib.speed import fold
>>> model, images = create_model("splitmixer_i", dim=32, depth=2).eval(), torch.randn(4, 3, 32, 32)
>>> folded = fold(model, images)  # for images of this size: the same outputs, no BatchNorm left
>>> any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
False

Each is an equality, derived in chapter 19. z is what a block hands on before its last BatchNorm,
and a pair (scale, shift), each (h,), the affine map that this is: its output is scale · z + shift.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.models import SplitMixer, SplitMixerBlock, unwrapped
from mixerlib.models.convmixer import ConvMixer, Residual
from mixerlib.models.mixings import (
    BothOverlapping,
    OneSegment,
    SeparateSegments,
    SharedSegments,
    StridedSegments,
    channel_shuffle,
)
from mixerlib.models.wrappers import is_hooked, made_permanent

MIXINGS = ("convolution", "in place", "linear", "one matrix")

Affine = tuple[torch.Tensor, torch.Tensor]  # (scale, shift)


def per_channel(x: torch.Tensor) -> torch.Tensor:
    """(h,) → (1, h, 1, 1), to meet (B, h, H, W)."""
    return x.detach().view(1, -1, 1, 1)


# Where BatchNorm goes


def affine(norm: nn.BatchNorm2d) -> Affine:
    """BatchNorm in evaluation mode is x ↦ scale · x + shift."""
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def fold_forward(linear: nn.Linear, scale: torch.Tensor, shift: torch.Tensor) -> nn.Linear:
    """linear(scale · x + shift) as one linear map: weight W · diag(scale), bias b + W · shift.

    So the last BatchNorm goes into the head. The mean over all places stands between them, and an
    affine map of each channel may as well come after a mean.
    """
    folded = copy.deepcopy(linear)
    bias = linear.weight @ shift
    folded.weight = nn.Parameter(linear.weight * scale)
    folded.bias = nn.Parameter(bias if linear.bias is None else linear.bias + bias)
    return folded


class Spatial(nn.Module):
    """act(conv(scale · z + shift)) of a depthwise convolution. (B, h, H, W) → (B, h, H, W).

    The scale goes into the kernels. The shift does not become a constant: the padding is of zeros,
    not of shifts, so near the border less of the kernel meets it. The convolution of the shift
    alone is therefore computed here, once, for features of one size: a bias for every place.
    """

    def __init__(self, conv: nn.Conv2d, act: nn.Module, incoming: Affine, size: tuple[int, int]):
        super().__init__()
        scale, shift = incoming
        self.register_buffer("bias_map", conv(per_channel(shift).expand(-1, -1, *size)).detach())
        self.conv = copy.deepcopy(conv)
        self.conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1))
        self.conv.bias = None
        self.act = act

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv(z) + self.bias_map)


class ScaledAdd(nn.Module):
    """The residual x + BN(g) of x = scale · z + shift: one pass for two BatchNorms and their sum.

    scale · z + gain · g + (both shifts together). (B, h, H, W) twice → (B, h, H, W). For z alone
    it is the affine map itself.
    """

    def __init__(self, outer: Affine, inner: Affine | None = None):
        super().__init__()
        shift = outer[1] if inner is None else outer[1] + inner[1]
        self.register_buffer("scale", per_channel(outer[0]))
        self.register_buffer("shift", per_channel(shift))
        self.register_buffer("gain", None if inner is None else per_channel(inner[0]))

    def forward(self, z: torch.Tensor, g: torch.Tensor | None = None) -> torch.Tensor:
        x = torch.addcmul(self.shift, self.scale, z)
        return x if g is None else x.addcmul_(self.gain, g)


# Channel mixing as products


@dataclass(frozen=True)
class Product:
    """`count` segments of c channels side by side from `start` on; matrices (count or 1, c, c).

    Segment j is mixed by matrix j and bias j, or all by the only one; other channels are passed on.
    """

    start: int
    count: int
    weight: torch.Tensor  # (count or 1, c, c), rows are outputs
    bias: torch.Tensor  # (count or 1, c)


def products(mixing: nn.Module) -> list[Product] | None:
    """A channel mixing as products, to be done in turn; None for a mixing not known here."""

    def product(start: int, *convs: nn.Conv2d, count: int = 1) -> Product:
        weight = torch.stack([conv.weight.detach()[:, :, 0, 0] for conv in convs])
        return Product(start, count, weight, torch.stack([conv.bias.detach() for conv in convs]))

    def one_by_one(convs: Iterable[nn.Conv2d]) -> list[Product]:
        return [product(s, conv) for (s, _), conv in zip(mixing.mixed, convs, strict=True)]

    if type(mixing) is nn.Conv2d:
        return [product(0, mixing)] if is_matrix(mixing) else None
    if not all(map(is_matrix, mixers(mixing))):  # as where its user has put in others
        return None
    if type(mixing) is OneSegment:
        return [product(mixing.start, mixing.mixer)]
    if type(mixing) in (SharedSegments, StridedSegments):  # the latter's shuffle comes after
        return [product(0, mixing.mixer, count=len(mixing.mixed))]
    if type(mixing) is SeparateSegments and len(set(mixing.widths)) == 1:
        return [product(0, *mixing.mixer, count=len(mixing.mixer))]
    if type(mixing) is SeparateSegments:  # the last one is wider
        return one_by_one(mixing.mixer)
    if type(mixing) is BothOverlapping:
        return one_by_one([mixing.mixer1, mixing.mixer2])
    return None


def is_matrix(layer: nn.Module) -> bool:
    """Whether this is a 1×1 convolution with a bias, which is a matrix at every place."""
    plain = type(layer) is nn.Conv2d and layer.bias is not None and layer.groups == 1
    return plain and layer.kernel_size == (1, 1)


def mixers(mixing: nn.Module) -> Iterable[nn.Module]:
    """The layers of a channel mixing of the book, each of which mixes a segment."""
    for child in mixing.children():
        yield from child if type(child) is nn.ModuleList else [child]


def passes_channels(model: nn.Module) -> bool:
    """Whether some mixing of the model passes channels on unmixed: strategies I, II and V do."""
    return any(type(module) in (OneSegment, BothOverlapping) for module in model.modules())


def grouped_convolution(product: Product) -> nn.Conv2d:
    """All segments of a product as one 1×1 convolution with a group each."""
    count, c = product.count, product.weight.shape[-1]
    conv = nn.Conv2d(count * c, count * c, kernel_size=1, groups=count)
    weight = product.weight.expand(count, c, c).reshape(count * c, c, 1, 1)
    conv.weight = nn.Parameter(weight)
    conv.bias = nn.Parameter(product.bias.expand(count, c).reshape(-1))
    return conv


class LinearProduct(nn.Module):
    """All segments of a product as matrix products over the places. Keeps (B, count·c, H, W).

    With the channels last in memory, (B, H, W, count·c) is (B, H, W, count, c) without a copy. If
    the segments share their matrix, as in strategy III, they are but more places of one product.
    """

    def __init__(self, product: Product):
        super().__init__()
        self.count = product.count
        self.weight, self.bias = nn.Parameter(product.weight), nn.Parameter(product.bias)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        y = y.permute(0, 2, 3, 1).unflatten(3, (self.count, -1))  # (B, H, W, count, c)
        if len(self.weight) == 1:
            y = F.linear(y, self.weight[0], self.bias[0])
        else:
            segments = zip(y.unbind(3), self.weight, self.bias, strict=True)
            y = torch.stack([F.linear(*segment) for segment in segments], dim=3)
        return y.flatten(3).permute(0, 3, 1, 2)


class Mix(nn.Module):
    """A product in its place among the h channels; the others pass. Keeps (B, h, H, W).

    The channels that pass are copied, or, `in_place`, left where they are: the segment is then
    written over itself, so the input must be nobody else's, and no gradient may need it.
    """

    def __init__(self, product: Product, linear: bool = False, in_place: bool = False):
        super().__init__()
        self.in_place = in_place
        self.start = product.start
        self.stop = self.start + product.count * product.weight.shape[-1]
        self.product = LinearProduct(product) if linear else grouped_convolution(product)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        mixed = self.product(y[:, self.start : self.stop])
        parts = [x for x in (y[:, : self.start], mixed, y[:, self.stop :]) if x.shape[1]]
        if len(parts) == 1:
            return mixed
        if self.in_place:
            y[:, self.start : self.stop] = mixed
            return y
        return torch.cat(parts, dim=1)


class Shuffle(nn.Module):
    """`channel_shuffle` as a module. Keeps (B, h, H, W)."""

    def __init__(self, segments: int):
        super().__init__()
        self.segments = segments

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return channel_shuffle(y, self.segments)


def one_matrix(mixing: nn.Module, dim: int) -> nn.Conv2d:
    """Any linear mixing of `dim` channels as one 1×1 convolution, found by mixing unit vectors.

    Its matrix is the identity outside the segments. Two products become one, and a shuffle after
    the mixing becomes the order of the rows.
    """
    unit = torch.eye(dim, dtype=next(mixing.parameters()).dtype).view(dim, dim, 1, 1)
    bias = mixing(torch.zeros_like(unit[:1]))  # (1, h, 1, 1)
    conv = nn.Conv2d(dim, dim, kernel_size=1)
    conv.weight = nn.Parameter((mixing(unit) - bias).transpose(0, 1).contiguous())
    conv.bias = nn.Parameter(bias.flatten())
    return conv


def fast_mixing(mixing: nn.Module, shuffle: int, dim: int, form: str) -> nn.Module | None:
    """A channel mixing, and the shuffle after it, in a form of `MIXINGS`; None if not known."""
    steps = products(mixing)
    if steps is None:
        return None
    fast = nn.Sequential(*(Mix(step, form == "linear", form == "in place") for step in steps))
    dealt = mixing.segments if type(mixing) is StridedSegments else shuffle
    if dealt > 1:
        fast.append(Shuffle(dealt))
    return one_matrix(fast, dim) if form == "one matrix" else fast


# Whole models


class FoldedBlock(nn.Module):
    """A block from z to the next z: no BatchNorm, three passes. (B, h, H, W) → (B, h, H, W)."""

    def __init__(self, spatial: nn.Module, add: ScaledAdd, mixing: nn.Module, act: nn.Module):
        super().__init__()
        self.spatial, self.add, self.mixing, self.act = spatial, add, mixing, act

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.act(self.mixing(self.add(z, self.spatial(z))))


class Folded(nn.Module):
    """ConvMixer or SplitMixer without BatchNorm: (B, in_channels, H, W) → (B, num_classes)."""

    def __init__(self, stem: nn.Module, blocks: nn.Sequential, head: nn.Module):
        super().__init__()
        self.stem, self.blocks, self.head = stem, blocks, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


def is_foldable(norm: nn.Module) -> bool:
    """Whether this is a BatchNorm, and a fixed affine map in evaluation mode."""
    return type(norm) is nn.BatchNorm2d and norm.running_mean is not None


def fold_block(
    block: nn.Module, incoming: Affine, size: tuple[int, int], form: str
) -> tuple[FoldedBlock, Affine] | None:
    """A block folded, and the map that its last BatchNorm leaves; None if a part is not known."""
    if any(map(is_hooked, block.modules())):
        return None
    if type(block) is SplitMixerBlock:
        spatial, mixing, act, norm = block.spatial, block.mixing, block.act, block.norm
    elif type(block) is nn.Sequential and len(block) == 4 and type(block[0]) is Residual:
        spatial, mixing, act, norm = block[0].fn, block[1], block[2], block[3]
    else:
        return None
    dim, convs, acts, norms = len(incoming[0]), spatial[0::3], spatial[1::3], spatial[2::3]
    fast = fast_mixing(mixing, getattr(block, "shuffle", 1), dim, form)
    if fast is None or len(spatial) % 3 or not all(map(is_foldable, (norm, *norms))):
        return None
    if not all(type(conv) is nn.Conv2d and conv.groups == dim for conv in convs):
        return None
    folded, pending = nn.Sequential(), incoming
    for conv, spatial_act, inner in zip(convs, acts, norms, strict=True):
        folded.append(Spatial(conv, spatial_act, pending, size))
        pending = affine(inner)
    return FoldedBlock(folded, ScaledAdd(incoming, pending), fast, act), affine(norm)


@torch.no_grad()
def fold(model: nn.Module, example: torch.Tensor, mixing: str = "convolution") -> nn.Module:
    """The model in evaluation mode, rewritten for images of the example's size, its mixing in a
    form of `MIXINGS`.

    The folding is done in float64 and rounded once, to the model's dtype. A block with a hook or an
    unknown part is kept, behind an explicit affine map. Another model than ConvMixer or SplitMixer,
    or one with a hook outside its blocks, comes back as a copy. The original is not touched.
    """
    plain = made_permanent(unwrapped(model)).requires_grad_(False)
    if type(plain) not in (ConvMixer, SplitMixer) or not is_foldable(plain.stem[-1]):
        return plain
    if any(map(is_hooked, (plain, plain.blocks, *plain.stem.modules(), *plain.head.modules()))):
        return plain
    weight = plain.stem[0].weight
    exact = copy.deepcopy(plain).cpu().double()
    stem, pending = exact.stem[:-1], affine(exact.stem[-1])
    size = tuple(stem(example[:1].cpu().double()).shape[2:])
    blocks = nn.Sequential()
    for block in exact.blocks:
        folded = fold_block(block, pending, size, mixing)
        if folded is None:
            blocks.extend([ScaledAdd(pending), block])
            pending = torch.ones_like(pending[0]), torch.zeros_like(pending[1])
        else:
            blocks.append(folded[0])
            pending = folded[1]
    if type(exact.head) is nn.Linear:
        head = fold_forward(exact.head, *pending)
    else:
        head = exact.head
        blocks.append(ScaledAdd(pending))
    return Folded(stem, blocks, head).to(weight.device, weight.dtype).eval().requires_grad_(False)
