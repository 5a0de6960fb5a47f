"""Modules of the relatives that are told as several steps, or as one that the layers inside do not
show: attention, branches, shifts, matrices along an axis.

`tracing` asks here first. In a `Step` of this file, `sources` are places in the list that it is in,
and below zero the module's inputs: -1 is the first, -2 the second. `count` says how many parameters
of some modules were not counted before.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from mixerlib.models.relatives.as_mlp import Steps
from mixerlib.models.relatives.cycle_mlp import STEPS, CycleFC
from mixerlib.models.relatives.maps import ColourPatches, WeighedBranches
from mixerlib.models.relatives.mdmlp import AxisMLP
from mixerlib.models.relatives.transformer import Attention, PlacedTokens
from mixerlib.models.relatives.vip import LineMLP
from mixerlib.pages.step import Step

Shape = tuple[int, ...]
Count = Callable[..., int]

LINES = {2: "down the columns", 3: "across the rows"}  # by the axis of a map (B, h, rows, columns)
AXES = {1: LINES[2], 2: LINES[3], 3: "over the colours", 4: "over the features"}  # of a table


def attention(module: Attention, before: Shape, after: Shape, count: Count) -> list[Step]:
    """Queries and keys decide how every token weighs all; each head has weights of its own."""
    tokens, h = before
    wide, maps, heads = (tokens, 3 * h), (module.heads, tokens, tokens), module.heads
    parts = tuple((h, name) for name in "qkv")
    return [
        _linear("qkv", before, wide, (h, 3 * h), count(module.qkv)),
        _step("split", "queries, keys, values", wide, wide, (3 * h, 3 * h), (0,), cells=parts),
        _step("product", f"q · k, {heads} heads", wide, maps, (3 * h, heads), (1,)),
        _step("act", "softmax", maps, maps, (heads, heads), (2,)),
        _step("space", "weighed means of v", before, after, (h, h), (1, 3)),
        _linear("proj", after, after, (h, h), count(module.proj), (4,)),
    ]


def weighed_branches(
    module: WeighedBranches, before: Shape, after: Shape, count: Count
) -> list[Step]:
    """Three branches, each channel of each with a weight; the mean of all three decides them."""
    first, act, second = module.weigh
    assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
    h, hidden, wide = before[0], first.out_features, second.out_features
    weights, branches = (wide // 3, 3), (-1, -2, -3)
    return [
        _step("sum", "sum of the three", before, before, (h, h), branches),
        _step("mean", "mean over places", before, (h,), (h, h), (0,)),
        _linear("weigh.0", (h,), (hidden,), (h, hidden), count(first), (1,)),
        _step("act", type(act).__name__, (hidden,), (hidden,), (hidden, hidden), (2,), "weigh.1"),
        _linear("weigh.2", (hidden,), (wide,), (hidden, wide), count(second), (3,)),
        _step("act", "softmax of each three", (wide,), weights, (wide, wide), (4,)),
        _step("sum", "weighed sum", before, before, (h, h), (5, *branches)),
        _point("after", after, count(module.after), (6,)),
    ]


def steps_along(module: Steps, before: Shape, after: Shape, count: Count) -> list[Step]:
    """AS-MLP's shift: groups of neighbouring channels, each moved as a whole."""
    starts = range(0, module.dim, module.width)
    groups = tuple(
        (min(module.width, module.dim - start), group - module.reach)
        for group, start in enumerate(starts)
    )
    return [_shift(module.axis, groups, after)]


def cycle(module: CycleFC, before: Shape, after: Shape, count: Count) -> list[Step]:
    """CycleMLP's matrix. A channel that is heard at place i + 1 has moved by −1."""
    groups = tuple((1, -STEPS[c % len(STEPS)]) for c in range(module.dim))
    return [_shift(module.axis, groups, after), _point("mix", after, count(module.mix), (0,))]


def line(module: LineMLP, before: Shape, after: Shape, count: Count) -> list[Step]:
    """ViP's matrix on a whole row or column: it mixes its places and, of the channels, segments."""
    h, width = before[0], before[0] // module.places
    mixed = tuple((start, width) for start in range(0, h, width))
    step = _step("both", f"linear {LINES[module.axis]}", before, after, (h, h), (-1,), "mix")
    return [replace(step, params=count(module.mix), mixed=mixed, shared=True)]


def axis_mlp(module: AxisMLP, before: Shape, after: Shape, count: Count) -> list[Step]:
    """MDMLP's: norm, matrix, activation, matrix, activation along one axis; and the residual."""
    h, at = before[-1], module.axis - 1
    hidden = module.fc1.out_features
    wide = (*before[:at], hidden, *before[at + 1 :])
    features = module.axis == len(before)
    width = hidden if features else h  # of the strip inside

    def matrix(path: str, shapes: tuple[Shape, Shape], widths: Shape, source: int) -> Step:
        mixed = ((0, widths[0]),) if features else ()
        kind, layer = "channels" if features else "space", module.get_submodule(path)
        label = f"linear {AXES[module.axis]}"
        step = _step(kind, label, *shapes, widths, (source,), path)
        return replace(step, params=count(layer), mixed=mixed)

    def act(path: str, shape: Shape, width: int, source: int) -> Step:
        label = type(module.get_submodule(path)).__name__
        return _step("act", label, shape, shape, (width, width), (source,), path)

    norm = count(module.norm)
    return [
        _step("norm", "LayerNorm", before, before, (h, h), (-1,), "norm", params=norm),
        matrix("fc1", (before, wide), (h, width), 0),
        act("act1", wide, width, 1),
        matrix("fc2", (wide, after), (width, h), 2),
        act("act2", after, h, 3),
        _step("sum", "sum", after, after, (h, h), (-1, 4)),
    ]


def colour_patches(module: ColourPatches, before: Shape, after: Shape, count: Count) -> list[Step]:
    """MDMLP's patches: one kernel for every colour, each colour by itself."""
    label, widths = f"{_convolution(module.proj)}, per colour", (1, after[-1])
    step = _step("both", label, before, after, widths, (-1,), "proj")
    return [replace(step, params=count(module.proj), mixed=((0, 1),))]


def placed_tokens(module: PlacedTokens, before: Shape, after: Shape, count: Count) -> list[Step]:
    """ViT's stem: patches, the learnt tokens before them, and a learnt vector for each place."""
    stride, h, extra = module.proj.stride, after[-1], module.tokens.shape[1]
    patches = (h, *(side // s for side, s in zip(before[1:], stride, strict=True)))
    mixed, tokens = ((0, before[0]),), f"{extra} token{'s' if extra > 1 else ''} more"
    label, places = _convolution(module.proj), "a vector for each place"
    first = _step("both", label, before, patches, (before[0], h), (-1,), "proj", count(module.proj))
    return [
        replace(first, mixed=mixed),
        _step("other", tokens, patches, after, (h, h), (0,), params=count(module.tokens)),
        _step("other", places, after, after, (h, h), (1,), params=count(module.places)),
    ]


# The class → what tells it; whether the channels of its result lie last
COMPOSITES: dict[type[nn.Module], tuple[Callable[..., list[Step]], bool]] = {
    Attention: (attention, True),
    AxisMLP: (axis_mlp, True),
    ColourPatches: (colour_patches, True),
    CycleFC: (cycle, False),
    LineMLP: (line, False),
    PlacedTokens: (placed_tokens, True),
    Steps: (steps_along, False),
    WeighedBranches: (weighed_branches, False),
}


def _step(
    kind: str,
    label: str,
    before: Shape,
    shape: Shape,
    widths: Shape,
    sources: tuple[int, ...],
    path: str = "",
    params: int = 0,
    **more: Any,
) -> Step:
    added = min(sources) if kind == "sum" and len(sources) == 2 else None
    entering, leaving = widths
    more |= {"added": added, "sources": sources}
    return Step(path, kind, label, before, shape, entering, leaving, params, **more)


def _linear(
    path: str,
    before: Shape,
    shape: Shape,
    widths: Shape,
    params: int,
    sources: tuple[int, ...] = (-1,),
) -> Step:
    step = _step("channels", "linear", before, shape, widths, sources, path, params)
    return replace(step, mixed=((0, widths[0]),))


def _point(path: str, shape: Shape, params: int, sources: tuple[int, ...]) -> Step:
    """A 1×1 convolution that keeps the width."""
    widths, label = (shape[0], shape[0]), "1×1 convolution"
    step = _step("channels", label, shape, shape, widths, sources, path, params)
    return replace(step, mixed=((0, shape[0]),))


def _shift(axis: int, groups: tuple[tuple[int, int], ...], shape: Shape) -> Step:
    moves = [f"{places:+d}".replace("-", "−") if places else "0" for _, places in groups]
    if len(set(moves)) == len(moves):
        told = f"{moves[0]} … {moves[-1]}" if len(moves) > 3 else ", ".join(moves)
    else:
        told = f"{', '.join(dict.fromkeys(moves))}, …"
    label, widths = f"{LINES[axis]} by {told}", (shape[0], shape[0])
    return _step("shift", label, shape, shape, widths, (-1,), groups=groups)


def _convolution(conv: nn.Conv2d) -> str:
    return f"{'×'.join(map(str, conv.kernel_size))} convolution, stride {conv.stride[0]}"
