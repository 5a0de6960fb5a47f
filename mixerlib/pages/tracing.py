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
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from mixerlib import checks
from mixerlib.models import channel_shuffle

Segments = tuple[tuple[int, int], ...]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
ACTIVATIONS = (nn.GELU, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Tanh)
NORMS = {nn.BatchNorm2d: "BatchNorm", nn.LayerNorm: "LayerNorm", nn.GroupNorm: "GroupNorm"}
TRANSPOSES = (
    *("transpose", "swapaxes", "swapdims"),
    *(torch.transpose, torch.swapaxes, torch.swapdims),
)
SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
MEANS = (F.adaptive_avg_pool2d, torch.mean, "mean")


@dataclass(frozen=True)
class Step:
    """One operation of a network.

    Args:
        path: the module that it is written in, such as "blocks.0.spatial.0"; "" for the network's
            own forward.
        kind: "space" (each channel by itself, across places), "channels" (across channels, each
            place by itself), "both", "act", "norm", "sum", "shuffle", "mean" or "other".
        label: what it is, in words.
        before: the shape of what goes in, for one image.
        shape: that of the result.
        entering: how many channels go in.
        leaving: how many come out.
        params: trainable parameters of its own. What is shared is counted where it is used first.
        mixed: the segments (start, width) of the channels that go in which a step of the kinds
            "channels" and "both" mixes; the others pass through.
        shared: whether all segments are mixed by the same weights.
        segments: of a shuffle: how many equal ones it deals out in turn; 1 for the other kinds.
        added: for a sum, the place among the steps whose result the later one is added to; -1 is
            the network's input. None for the other kinds.
    """

    path: str
    kind: str
    label: str
    before: tuple[int, ...]
    shape: tuple[int, ...]
    entering: int
    leaving: int
    params: int
    mixed: Segments = ()
    shared: bool = False
    segments: int = 1
    added: int | None = None


def steps(model: nn.Module, image_size: int | tuple[int, int]) -> list[Step]:
    """The steps of a network in their order, with the shapes that an image of this size takes.

    The model is traced by `torch.fx`, and a copy of it without numbers is run on a blank image; the
    model itself is left as it is. A module with an attribute `mixed`, the segments (start, width)
    that it mixes, is one step, as the channel mixings of `mixerlib.models` are. What only changes
    the order in memory, such as a transpose, is no step.

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
    walk = _Walk(traced)
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
    blank = copy.deepcopy(model, memo).eval()
    for module in blank.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return blank


class _Tracer(fx.Tracer):
    """Leaves channel mixings and shuffles whole."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(channel_shuffle,))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return hasattr(m, "mixed") or super().is_leaf_module(m, module_qualified_name)


class _Walk(fx.Interpreter):
    """Runs a traced network and writes down its steps.

    For each node it keeps the dimension in which the channels lie, the place of the last step that
    made it, and, for a slice of channels, which these are of how many.
    """

    def __init__(self, traced: fx.GraphModule):
        super().__init__(traced)
        self.steps: list[Step] = []
        self.dimension: dict[fx.Node, int] = {}
        self.place: dict[fx.Node, int] = {}
        self.sliced: dict[fx.Node, tuple[int, int, int]] = {}  # start, width, of how many
        self.counted: set[int] = set()  # parameters, by identity

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

    def _new(self, *parameters: nn.Parameter) -> int:
        """How many numbers of these are trainable and were not counted before."""
        fresh = [p for p in parameters if p.requires_grad and id(p) not in self.counted]
        self.counted |= {id(p) for p in fresh}
        return sum(p.numel() for p in fresh)

    def _follow(self, n: fx.Node, source: fx.Node, result: Any) -> None:
        before: torch.Tensor = self.env[source]
        self.dimension[n], self.place[n] = self.dimension[source], self.place[source]
        if not isinstance(result, torch.Tensor) or not isinstance(before, torch.Tensor):
            return
        self._turn(n, before, result)
        self.dimension[n] = min(self.dimension[n], result.ndim - 1)  # where sides were flattened
        step = self._step(n, source, before, result)
        if step is not None:
            self.steps.append(step)
            segments = getattr(self._module(n), "segments", 1) if step.mixed else 1
            if segments > 1:  # the 3-D form, which shuffles inside its mixing
                self.steps.append(replace(step, **_shuffle(segments)))
            self.place[n] = len(self.steps) - 1

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
        stack = n.meta.get("nn_module_stack") or {"": None}
        path = list(stack)[-1]
        shape = tuple(result.shape[1:])
        entering = before.shape[self.dimension[source]]
        leaving = result.shape[self.dimension[n]]

        def step(kind: str, label: str, params: int = 0, **more: Any) -> Step:
            return Step(
                path, kind, label, tuple(before.shape[1:]), shape, entering, leaving, params, **more
            )

        if n.op == "call_module":
            module = self._module(n)
            kind, label, mixed, shared = _described(module, self.dimension[source], before)
            if source in self.sliced and mixed:
                start, width, entering = self.sliced[source]
                mixed, leaving = ((start, width),), entering
                shape = (entering, *shape[1:]) if self.dimension[n] == 1 else shape
                label = f"{label.removesuffix(' convolution')}, channels {_range(start, width)}"
            params = self._new(*module.parameters())
            return step(kind, label, params, mixed=mixed, shared=shared)
        if n.target in SUMS and len(tensors := [a for a in n.args if a in self.place]) == 2:
            return step("sum", "sum", added=min(self.place[t] for t in tensors))
        if n.target is channel_shuffle:
            return step(**_shuffle(int(str(n.args[1]))))
        if n.target in MEANS:  # some leave two sides of length 1
            return replace(step("mean", "mean over places"), shape=(leaving,))
        return None


def _shuffle(segments: int) -> dict[str, Any]:
    named = {"kind": "shuffle", "label": f"shuffle of {segments} segments", "params": 0}
    return named | {"mixed": (), "shared": False, "segments": segments}


def overlapping(mixed: Segments) -> bool:
    """Whether segments that follow one another have channels in common."""
    return any(a + width > b for (a, width), (b, _) in pairwise(mixed))


def pieces(start: int, width: int, channels: int) -> list[tuple[int, int]]:
    """A segment as the parts (start, width) of the strip of channels that it covers: one, or two
    where it goes on at channel 0."""
    over = max(0, start + width - channels)
    return [(start, width - over), (0, over)][: 1 + (over > 0)]


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
    label = next((name for norm, name in NORMS.items() if isinstance(module, norm)), "")
    return ("norm", label, (), False) if label else ("other", type(module).__name__, (), False)
