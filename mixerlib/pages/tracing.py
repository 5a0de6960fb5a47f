"""What a network does to an image, step by step, as its own modules tell it: the drawings of
`networks` are made from this.

>>> from mixerlib.models import create_model
>>> from mixerlib.pages import steps
>>> for step in steps(create_model("splitmixer_i", depth=1), image_size=32)[-5:]:
...     print(step.label, step.shape, step.params)
1×1, channels 0–169 (256, 16, 16) 29070
GELU (256, 16, 16) 0
BatchNorm (256, 16, 16) 512
mean over places (256,) 0
linear (10,) 2570
"""

import copy
import operator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from mixerlib import checks
from mixerlib.models import channel_shuffle, unwrapped
from mixerlib.models.relatives.pieces import Affine, Scale
from mixerlib.pages.composites import COMPOSITES
from mixerlib.pages.step import Segments, Step, overlapping, pieces

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
ACTIVATIONS = (nn.GELU, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Tanh)
NORMS = {
    nn.BatchNorm1d: "BatchNorm",
    nn.BatchNorm2d: "BatchNorm",
    nn.LayerNorm: "LayerNorm",
    nn.GroupNorm: "GroupNorm",
    Affine: "scale and shift",
    Scale: "scale",
}
TRANSPOSES = (
    *("transpose", "swapaxes", "swapdims"),
    *(torch.transpose, torch.swapaxes, torch.swapdims),
)
SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
PRODUCTS = (operator.mul, torch.mul, "mul")
CHUNKS = (torch.chunk, "chunk")
MEANS = (F.adaptive_avg_pool2d, torch.mean, "mean")


def steps(model: nn.Module, image_size: int | tuple[int, int]) -> list[Step]:
    """The steps of a network in their order, with the shapes that an image of this size takes.

    The model is traced by `torch.fx`, and a copy of it without numbers is run on a blank image; the
    model itself is left as it is. A module with an attribute `mixed`, the segments (start, width)
    that it mixes, is one step, as the channel mixings of `mixerlib.models` are; what the relatives
    have of their own, such as attention, is told by `composites`. What only changes the order in
    memory, such as a transpose, is no step.

    Raises `ValueError` for a model that cannot be traced or does not take such an image, and for
    one with parameters that no step has.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.pages import steps
    >>> model = create_model("convmixer_768_32")
    >>> sum(step.params for step in steps(model, 224)) == sum(p.numel() for p in model.parameters())
    True
    """
    height, width = checks.image_pair("image_size", image_size)
    if not isinstance(model, nn.Module):
        raise ValueError(f"`model` must be a torch.nn.Module, not a {type(model).__name__}")
    model = unwrapped(model)
    name = type(model).__name__
    try:
        blank = _blank(model)
        traced = fx.GraphModule(blank, _Tracer().trace(blank))
    except Exception as error:  # whatever the model's own code raises
        raise ValueError(f"`model`, a {name}, cannot be traced by torch.fx: {error}") from error
    image = torch.zeros(2, getattr(model, "in_channels", 3), height, width, device="meta")
    try:
        traced(image)
    except Exception as error:  # the same; what goes wrong in the walk below is no fault of theirs
        raise ValueError(
            f"`model`, a {name}, does not take images of `image_size`={image_size!r}: {error}"
        ) from error
    walk = _Walk(traced, tuple(image.shape[1:]))
    walk.run(image)
    whole = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counted = sum(step.params for step in walk.steps)
    if counted != whole:
        raise ValueError(
            f"`model`, a {name}, has {whole:,} trainable parameters, and its steps {counted:,}: "
            "every one must belong to a module that is called, or be used by name"
        )
    return walk.steps


def _blank(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose tensors have shapes and no numbers, and without hooks."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    memo |= {id(b): torch.empty_like(b, device="meta") for b in model.buffers()}
    blank = copy.deepcopy(model, memo).eval().float()
    for module in blank.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return blank


class _Tracer(fx.Tracer):
    """Leaves channel mixings, shuffles, norms and what `composites` tells whole."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(channel_shuffle,))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = hasattr(m, "mixed") or isinstance(m, (*NORMS, *COMPOSITES))
        return whole or super().is_leaf_module(m, module_qualified_name)


class _Walk(fx.Interpreter):
    """Runs a traced network and writes down its steps.

    For each node it keeps the dimension in which the channels lie, the place of the last step that
    made it, and, for a slice of channels, which these are of how many.
    """

    def __init__(self, traced: fx.GraphModule, image: tuple[int, ...]):
        super().__init__(traced)
        self.steps: list[Step] = []
        self.dimension: dict[fx.Node, int] = {}
        self.place: dict[fx.Node, int] = {}
        self.sliced: dict[fx.Node, tuple[int, int, int]] = {}  # start, width, of how many
        self.counted: set[int] = set()  # parameters, by identity
        self.image = image

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "get_attr":
            self._count_attribute(n, result)
        sources = [node for node in n.all_input_nodes if node in self.dimension]
        if n.op == "placeholder":
            self.dimension[n], self.place[n] = 1, -1
        elif sources and isinstance(result, torch.Tensor | tuple | list) and n.op != "output":
            self._follow(n, sources[0], result)
        return result

    def _count_attribute(self, n: fx.Node, value: Any) -> None:
        """A parameter that a forward uses by its name is a step of its own."""
        if isinstance(value, nn.Parameter):
            path, _, label = str(n.target).rpartition(".")
            params = self._new(value)
            if params:
                shape = tuple(value.shape)
                self.steps.append(Step(path, "other", label, shape, shape, 0, 0, params))

    def _new(self, *owners: nn.Parameter | nn.Module) -> int:
        """How many numbers of these are trainable and were not counted before."""
        parameters: list[nn.Parameter] = []
        for owner in owners:
            parameters += owner.parameters() if isinstance(owner, nn.Module) else [owner]
        fresh = [p for p in parameters if p.requires_grad and id(p) not in self.counted]
        self.counted |= {id(p) for p in fresh}
        return sum(p.numel() for p in fresh)

    def _follow(self, n: fx.Node, source: fx.Node, result: Any) -> None:
        before: torch.Tensor = self.env[source]
        self.dimension[n] = self.dimension[source]
        self.place[n] = max(self.place[node] for node in n.all_input_nodes if node in self.place)
        if isinstance(result, tuple | list) and n.target in CHUNKS:
            self._split(n, source, before, result)
        if not isinstance(result, torch.Tensor) or not isinstance(before, torch.Tensor):
            return
        if type(self._module(n)) in COMPOSITES:
            self._tell(n, before, result)
            return
        self._turn(n, before, result)
        self.dimension[n] = min(self.dimension[n], result.ndim - 1)  # where sides were flattened
        step = self._step(n, source, before, result)
        if step is not None:
            self.steps.append(replace(step, sources=self._sources(n)))
            segments = getattr(self._module(n), "segments", 1) if step.mixed else 1
            if segments > 1:  # the 3-D form, which shuffles inside its mixing
                after = (len(self.steps) - 1,)
                self.steps.append(replace(step, sources=after, **_shuffle(segments)))
            self.place[n] = len(self.steps) - 1

    def _last(self, n: fx.Node) -> Step:
        """The step that made it, where that is the last one; else the first of the network's."""
        return self.steps[-1 if self.place[n] == len(self.steps) - 1 else 0]

    def _sources(self, n: fx.Node) -> tuple[int, ...]:
        """The places of the steps whose results it takes."""
        return tuple(sorted({self.place[m] for m in n.all_input_nodes if m in self.place}))

    def _tell(self, n: fx.Node, before: torch.Tensor, result: torch.Tensor) -> None:
        """The steps that a module of the relatives is told as."""
        module, path, base = self._module(n), str(n.target), len(self.steps)
        tells, last = COMPOSITES[type(module)]
        shapes = self._shape(n, before), tuple(result.shape[1:])
        entered = [self.place[m] for m in n.all_input_nodes]
        for step in tells(module, *shapes, self._new):
            sources = tuple(sorted(base + s if s >= 0 else entered[-1 - s] for s in step.sources))
            added = None if step.added is None else sources[0]
            inner = f"{path}.{step.path}" if step.path else path
            self.steps.append(replace(step, path=inner, sources=sources, added=added))
        self.place[n] = len(self.steps) - 1
        self.dimension[n] = result.ndim - 1 if last else 1

    def _split(self, n: fx.Node, source: fx.Node, before: torch.Tensor, result: Any) -> None:
        """A tensor cut into parts of its channels."""
        at, start, cells = self.dimension[source], 0, []
        for part in result:
            cells.append((part.shape[at], _range(start, part.shape[at])))
            start += part.shape[at]
        path, shape = _path(n), tuple(before.shape[1:])
        if start == before.shape[at] and len(cells) > 1:
            label, widths = f"split in {len(cells)}", (start, start)
            step = Step(path, "split", label, shape, shape, *widths, 0, cells=tuple(cells))
            self.steps.append(replace(step, sources=self._sources(n)))
            self.place[n] = len(self.steps) - 1

    def _shape(self, n: fx.Node, before: torch.Tensor) -> tuple[int, ...]:
        """Of what goes in, for one image; the network's input is told as it is."""
        from_input = {self.place.get(node, 0) for node in n.all_input_nodes} == {-1}
        return self.image if from_input else tuple(before.shape[1:])

    def _module(self, n: fx.Node) -> Any:
        return self.fetch_attr(str(n.target)) if n.op == "call_module" else None

    def _turn(self, n: fx.Node, before: torch.Tensor, result: torch.Tensor) -> None:
        """Where the channels lie after a change of order, and which a slice takes."""
        at, arguments = self.dimension[n], (*n.args, *n.kwargs.values())[1:]
        if n.target in TRANSPOSES:
            one, other = (int(str(a)) % before.ndim for a in arguments)
            self.dimension[n] = {one: other, other: one}.get(at, at)
        elif n.target in ("permute", torch.permute):
            order = arguments[0] if isinstance(arguments[0], tuple | list) else arguments
            self.dimension[n] = [int(str(a)) % before.ndim for a in order].index(at)
        elif n.target in ("mean", torch.mean) and result.ndim < before.ndim:
            gone = arguments[0] if arguments else ()
            places = gone if isinstance(gone, tuple | list) else (gone,)
            self.dimension[n] -= sum(int(str(a)) % before.ndim < at for a in places)
        elif n.target is operator.getitem and isinstance(arguments[0], tuple):
            index = arguments[0][at] if len(arguments[0]) > at else slice(None)
            if isinstance(index, slice) and isinstance(index.start or 0, int):
                start, stop, _ = index.indices(before.shape[at])
                if stop - start < before.shape[at]:
                    self.sliced[n] = (start, max(0, stop - start), before.shape[at])

    def _step(
        self, n: fx.Node, source: fx.Node, before: torch.Tensor, result: torch.Tensor
    ) -> Step | None:
        path, shape, took = _path(n), tuple(result.shape[1:]), self._shape(n, before)
        entering = before.shape[self.dimension[source]]
        leaving = result.shape[self.dimension[n]]

        def step(kind: str, label: str, params: int = 0, **more: Any) -> Step:
            return Step(path, kind, label, took, shape, entering, leaving, params, **more)

        if n.op == "call_module":
            module = self._module(n)
            kind, label, mixed, shared = _described(module, self.dimension[source], before)
            if source in self.sliced and mixed:
                start, width, entering = self.sliced[source]
                mixed, leaving = ((start, width),), entering
                shape = (entering, *shape[1:]) if self.dimension[n] == 1 else shape
                label = f"{label.removesuffix(' convolution')}, channels {_range(start, width)}"
            params = self._new(module)
            return step(kind, label, params, mixed=mixed, shared=shared)
        if n.target in SUMS and len(tensors := [a for a in n.args if a in self.place]) == 2:
            return step("sum", "sum", added=min(self.place[t] for t in tensors))
        if n.target in PRODUCTS and sum(a in self.place for a in n.all_input_nodes) == 2:
            return step("product", "product")
        if n.target is operator.truediv and n.args[1] == 2 and self._last(source).kind == "sum":
            self.steps[-1] = replace(self.steps[-1], label="mean of two")
        if n.target is F.pad and leaving > entering:
            return step("other", f"zeros for {leaving - entering} new channels")
        if n.target is operator.getitem and isinstance(n.args[1], tuple):
            label = _picked(n.args[1], before.ndim)
            return step("other", label) if label else None
        if n.target is channel_shuffle:
            return step(**_shuffle(int(str(n.args[1]))))
        if n.target in MEANS:  # some leave two sides of length 1
            return replace(step("mean", "mean over places"), shape=(leaving,))
        return None


def _path(n: fx.Node) -> str:
    return list(n.meta.get("nn_module_stack") or {"": None})[-1]


def _picked(index: tuple[Any, ...], dimensions: int) -> str:
    """Which places an index takes, in words; empty where it takes all, or some channels."""
    if dimensions == 3 and len(index) == 2 and isinstance(index[1], int):
        return f"token {index[1]}"
    strides = {i.step for i in index if isinstance(i, slice) and isinstance(i.step, int)} - {1}
    return "every other place" if strides == {2} else "some places" if strides else ""


def _shuffle(segments: int) -> dict[str, Any]:
    named = {"kind": "shuffle", "label": f"shuffle of {segments} segments", "params": 0}
    return named | {"mixed": (), "shared": False, "segments": segments}


def _range(start: int, width: int) -> str:
    return f"{start}–{start + width - 1}"


def _described(
    module: nn.Module, channels_at: int, before: torch.Tensor
) -> tuple[str, str, Segments, bool]:
    """Kind, label, mixed segments, and whether these share their weights."""
    channels = before.shape[channels_at]
    mixed: Segments = tuple(tuple(segment) for segment in getattr(module, "mixed", ()))
    if mixed:
        own = sum(isinstance(m, (*CONVOLUTIONS, nn.Linear)) for m in module.modules())
        shared = own < len(mixed)
        if len(mixed) == 1:
            covered = pieces(*mixed[0], channels)
            label = f"1×1, channels {', '.join(_range(*piece) for piece in covered)}"
        elif shared:
            label = f"1×1, shared by {len(mixed)} segments"
        elif overlapping(mixed):
            label = "1×1, then 1×1 on the result"
        else:
            label = "1×1, one for each segment"
        return "channels", label, mixed, shared
    whole: Segments = ((0, channels),)
    if isinstance(module, nn.Linear):
        if channels_at == before.ndim - 1:
            return "channels", "linear", whole, False
        return "space", "linear, across places", (), False
    if isinstance(module, CONVOLUTIONS):
        size, point = "×".join(map(str, module.kernel_size)), set(module.kernel_size) == {1}
        if module.groups == channels > 1:
            return "space", f"{size} depthwise", (), False
        width = channels // module.groups
        segments = tuple((start, width) for start in range(0, channels, width))
        stride = "" if set(module.stride) == {1} else f", stride {module.stride[0]}"
        return "channels" if point else "both", f"{size} convolution{stride}", segments, False
    if isinstance(module, ACTIVATIONS):
        return "act", type(module).__name__, (), False
    if isinstance(module, nn.PixelUnshuffle):
        return "other", f"{'×'.join([str(module.downscale_factor)] * 2)} places to one", (), False
    label = next((name for norm, name in NORMS.items() if isinstance(module, norm)), "")
    if isinstance(module, nn.GroupNorm) and module.num_groups == 1:
        label = "norm of the whole map"
    return ("norm", label, (), False) if label else ("other", type(module).__name__, (), False)
