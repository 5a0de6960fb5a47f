"""The quantities of `Counts`, measured on a running module, without the closed forms."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mixerlib.checks import image_pair
from mixerlib.costs.counts import Counts
from mixerlib.costs.unwrapping import copied, unwrapped

aten = torch.ops.aten
CONVOLUTION = aten.convolution
PRODUCTS = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm)  # of their last two arguments
NORMS = (aten.native_batch_norm, aten.native_layer_norm, aten.native_group_norm)

PARTS = (
    *("stem", "spatial mixing", "token mixing", "space and channels", "channel mixing"),
    *("normalisation", "head"),
)

# The first pattern that a module's name begins with decides its part.
PART_OF_NAME = (
    (r"stem\b", "stem"),
    # ConvMixer's blocks.i.0, SplitMixer's, ConvNeXt's
    (r"blocks\.\d+\.(0|spatial|conv_dw)\b", "spatial mixing"),
    (r"blocks\.\d+\.(mlp_tokens|linear_tokens|attn|gate)\b", "token mixing"),
    # a full convolution mixes both at once, and so does a matrix on the whole image
    (r"blocks\.\d+\.(conv\d|dense|merge)\b", "space and channels"),
    (r"(blocks\.\d+\.)?(norm|scale)\d?\b", "normalisation"),  # what stands in place of a norm, too
    (r"blocks\.\d+\.", "channel mixing"),
    # the mean is written in the model's own forward, whose name is empty, or is timm's module
    (r"(head(_\w+)?\b|global_pool\b|$)", "head"),
)


@dataclass(frozen=True)
class Measured(Counts[int]):
    """What a module was measured to cost: the quantities of `Counts`, and their detail.

    Args:
        params: as in `Counts`, as are the six that follow.
        buffers: running statistics.
        macs: multiply-accumulates.
        normalized: elements that pass a norm.
        pooling: operations of the final mean.
        activations: elements kept for the backward pass.
        moved: elements read or written in inference.
        params_by_tensor: by the parameter's name.
        buffers_by_tensor: by the buffer's name, the counters of batches too.
        macs_by_layer: our own count, by the module's name.
        activations_by_layer: by the module that keeps them first.
        moved_by_layer: by the module that runs.
        flop_counter_by_layer: the count of PyTorch's `FlopCounterMode`, halved, which has all in it
            that lies inside the layer.
        flop_counter: that of the whole model.
    """

    params_by_tensor: Mapping[str, int]
    buffers_by_tensor: Mapping[str, int]
    macs_by_layer: Mapping[str, int]
    activations_by_layer: Mapping[str, int]
    moved_by_layer: Mapping[str, int]
    flop_counter_by_layer: Mapping[str, int]
    flop_counter: int


@contextmanager
def _attention_as_products() -> Iterator[None]:
    """Attention is matrix products, which are counted, and no kernel of a device's own."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@_attention_as_products()
@torch.inference_mode(False)
@torch.enable_grad()  # what autograd keeps is counted, in whatever mode one asks
def measure(
    model: nn.Module,
    image_size: int | tuple[int, int],
    in_channels: int = 3,
    device: str = "meta",
) -> Measured:
    """Run a copy of a model in float32 on blank images and count. The model itself is left as it
    is; one of another dtype, or frozen, has the same counts.

    A model that is compiled, averaged, or in `DataParallel` or `DistributedDataParallel` is counted
    itself, without what lies round it.

    `image_size` is a number or (height, width), in pixels. On the "meta" device, the default,
    tensors have shapes but no numbers, so that the largest model needs no memory; "cpu" gives the
    same counts. Raises `ValueError` for images that the model does not take, layers whose names say
    no part, a single patch where a BatchNorm cannot train on one number, and what is no
    `nn.Module` or a TorchScript program. Chapter 04.

    >>> from mixerlib.costs import measure
    >>> from mixerlib.models import create_model
    >>> measure(create_model("convmixer_256_8"), image_size=32).total("params")
    594186
    """
    height, width = image_pair("image_size", image_size)
    model = _trainable_copy(_checked(model)).to(device, torch.float32)
    where = LayerTracker(model)

    # Two images, because the channel slices of a single one are contiguous and so never copied.
    images = torch.zeros(2, in_channels, height, width, dtype=torch.float32, device=device)
    flop_counter, tally = FlopCounterMode(display=False), _Tally(model, where)
    with torch.no_grad(), flop_counter, tally:
        model.eval()(images)
    activations = _kept(model.train(), images, where, image_size)
    params = {name: tensor.numel() for name, tensor in model.named_parameters()}
    buffers = {name: tensor.numel() for name, tensor in model.named_buffers()}
    statistics = {x: size for x, size in buffers.items() if not x.endswith("num_batches_tracked")}
    macs, normalized, pooling, moved = (
        {layer: count // len(images) for layer, count in counter.items()}
        for counter in (tally.macs, tally.normalized, tally.pooling, tally.moved)
    )
    flops = flop_counter.get_flop_counts()
    return Measured(
        params=where.by_part(_by_layer(params)),
        buffers=where.by_part(_by_layer(statistics)),
        macs=where.by_part(macs),
        normalized=where.by_part(normalized),
        pooling=where.by_part(pooling),
        activations=where.by_part(activations),
        moved=where.by_part(moved),
        params_by_tensor=params,
        buffers_by_tensor=buffers,
        macs_by_layer=macs,
        activations_by_layer=activations,
        moved_by_layer=moved,
        flop_counter_by_layer={
            layer: sum(flops[f"{type(model).__name__}.{layer}"].values()) // 2 // len(images)
            for layer in macs
        },
        flop_counter=flop_counter.get_total_flops() // 2 // len(images),
    )


def _checked(model: nn.Module) -> nn.Module:
    """The model out of its wrappers. `ValueError` for what cannot be counted layer by layer."""
    kind = type(model).__name__
    if not isinstance(model, nn.Module):
        raise ValueError(f"`model` must be a torch.nn.Module, not a {kind}")
    model = unwrapped(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(f"`model`, a {kind}, is a TorchScript program: give what it was made from")
    return model


def _trainable_copy(model: nn.Module) -> nn.Module:
    model = copied(model)
    for weight in model.parameters():
        weight.requires_grad_(weight.is_floating_point())
    return model


def _by_layer(by_tensor: Mapping[str, int]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, size in by_tensor.items():
        counts[name.rpartition(".")[0]] += size
    return counts


class LayerTracker:
    """Knows, through hooks on every module, which layer is running, and the part of each layer."""

    def __init__(self, model: nn.Module):
        self.part_of = {name: _part(name, module) for name, module in model.named_modules()}
        self.running: list[str] = []
        self.finished = ""
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: self.running.append(name))
            module.register_forward_hook(lambda *_: self._finish())

    def _finish(self) -> None:
        layer = self.running.pop()
        if self.part_of[layer] != "normalisation":  # a sum after a norm belongs to what it normed
            self.finished = layer

    @property
    def layer(self) -> str:
        """The innermost module that runs; for a sum written in a block's own forward, the module
        other than a norm that has finished last, whose output it adds to."""
        return self.running[-1] if self.part_of[self.running[-1]] else self.finished

    def by_part(self, by_layer: Mapping[str, int]) -> dict[str, int]:
        counts = {part: 0 for part in PARTS if part in self.part_of.values()}
        for layer, count in by_layer.items():
            part = self.part_of[layer]
            if part not in counts:
                rule = f"must be named as one of stem, blocks.N.LAYER and head, not {layer!r}"
                inside = re.match(r"(.+?)\.(stem|blocks)\b", layer)
                hint = f": is the model what it holds as `{inside[1]}`? Give that" if inside else ""
                raise ValueError(f"`model`: a layer with costs {rule}{hint}")
            counts[part] += count
        return counts


def _part(name: str, module: nn.Module) -> str | None:
    """The part that a module belongs to; None for the containers of whole blocks."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
        return "normalisation"
    return next((part for start, part in PART_OF_NAME if re.match(start, name)), None)


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata  # an address, so unique as long as the storage lives


def _state(model: nn.Module) -> dict[int, torch.Tensor]:
    return {_storage(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}


def _kept(
    model: nn.Module, images: torch.Tensor, where: LayerTracker, image_size: object
) -> dict[str, int]:
    """What autograd keeps of one image, by layer. A norm over the batch alone, as S-FC has it,
    cannot train on one: then it is half of what it keeps of two."""
    trained = 2 if any(isinstance(module, nn.BatchNorm1d) for module in model.modules()) else 1
    try:
        saved = _saved(model, images[:trained].clone(), where)
    except ValueError as error:  # PyTorch's, from the norm
        rule = "must give at least two patches: BatchNorm cannot train on one image of one patch"
        raise ValueError(f"`image_size`={image_size!r} {rule}") from error
    return {layer: count // trained for layer, count in saved.items()}


def _saved(model: nn.Module, image: torch.Tensor, where: LayerTracker) -> Counter[str]:
    """Elements that autograd saves in one forward pass, by the layer that saves them first."""
    counts: Counter[str] = Counter()
    seen: dict[int, object] = dict(_state(model))

    def pack(tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen[storage._cdata] = storage  # held, so that no other gets its address
            counts[where.layer] += storage.nbytes() // tensor.element_size()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda _: None):
        model(image)
    return counts


class _Tally(TorchDispatchMode):
    """Sees every ATen operation of a forward pass, and counts it for the layer that runs it."""

    def __init__(self, model: nn.Module, where: LayerTracker):
        super().__init__()
        self.where = where
        self.weights = _state(model)  # and, as they come, tensors that are made of weights alone
        self.macs: Counter[str] = Counter()
        self.normalized: Counter[str] = Counter()
        self.pooling: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        outputs = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        if all(_storage(x) in self.weights for x in inputs):
            self.weights.update({_storage(x): x for x in outputs})
        else:
            self._count_arithmetic(func.overloadpacket, args, result)
            self._count_moved(func, inputs, outputs)
            if func._schema.is_mutable:  # what was made of weights alone is now of images, too
                for written in outputs:
                    self.weights.pop(_storage(written), None)
        return result

    def _count_arithmetic(self, operation: Any, args: tuple, result: Any) -> None:
        layer = self.where.layer
        if operation is CONVOLUTION:
            transposed = args[6]
            maps = args[0] if transposed else result
            one_place = args[1][0].numel()  # weights that make an output, or meet an input
            self.macs[layer] += maps.numel() * one_place
        elif operation in PRODUCTS:
            self.macs[layer] += result.numel() * args[-1].shape[-2]
        elif operation in NORMS:
            self.normalized[layer] += args[0].numel()
        elif operation is aten.mean:
            self.pooling[layer] += args[0].numel() + result.numel()

    def _count_moved(
        self, func: Any, inputs: list[torch.Tensor], outputs: list[torch.Tensor]
    ) -> None:
        operation, storages = func.overloadpacket, {_storage(x) for x in inputs}
        in_place = func._schema.is_mutable
        if not in_place and all(_storage(x) in storages for x in outputs):
            return  # a view
        read = inputs[1:] if operation is aten.copy_ else inputs  # its first is written only
        read = [x for x in read if _storage(x) not in self.weights]
        written = outputs[:1]  # a norm's other outputs are its statistics
        elements = sum(x.numel() for x in (*read, *written))
        if operation in (CONVOLUTION, aten.native_layer_norm) and not inputs[0].is_contiguous():
            elements += 2 * inputs[0].numel()
        self.moved[self.where.layer] += elements
