"""The roofline: the time that each layer needs at best, predicted, and the time that it takes.

A layer can be no faster than its MACs at the rate of a large matrix product, and no faster than
its reads and writes at the speed of a plain copy. The greater of the two times is the prediction.
MACs and numbers moved are those of `mixerlib.costs`; rate and speed are measured in the same run,
on the same device. Chapter 18.
"""

import copy
import re
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixerlib import checks, costs
from mixerlib.costs.measurement import LayerTracker
from mixerlib.models import model_entry
from mixerlib.records import Provenance, parse_record, provenance
from mixerlib.speed.bench import model_of
from mixerlib.speed.cases import DTYPES, Case
from mixerlib.speed.environment import settings_here
from mixerlib.speed.machine import ROUNDS, Machine, measure_machine
from mixerlib.speed.timing import Clock, Timing, stopwatch, synchronize, warm_up

SCHEMA = "mixerlib roofline 1"  # a record of another shape has another name here

# What the layers of a ConvMixer or a SplitMixer are
ROLES = ("channel mixing", "depthwise", "BatchNorm", "GELU", "residual sum", "stem and head")


@dataclass(frozen=True)
class Layer:
    """A layer, for a whole batch.

    Args:
        name: the module's, such as "blocks.3.spatial.0".
        kind: its class.
        part: of the model, as `mixerlib.costs` divides it.
        macs: multiply-accumulates.
        moved_bytes: read and written: activations and weights.
        by_macs: the seconds that the MACs need at best.
        by_bytes: the seconds that the bytes need at best.
        predicted: the greater of the two.
        seconds: what was measured.
    """

    name: str
    kind: str
    part: str
    macs: int
    moved_bytes: int
    by_macs: float
    by_bytes: float
    predicted: float
    seconds: Timing

    @property
    def role(self) -> str:
        """What the layer is, one of `ROLES`."""
        return role_of(self.name, self.kind)


@dataclass(frozen=True)
class Part:
    """All layers of one part, for a whole batch.

    Args:
        name: of the part.
        macs: multiply-accumulates.
        moved_bytes: read and written: activations and weights.
        predicted: the sum of its layers' seconds at best.
        fused: the prediction if each convolution or matrix product were one kernel with all that
            is elementwise, by the closed forms of `mixerlib.costs`; None where there are none.
        seconds: measured, the sum of its layers' medians.
    """

    name: str
    macs: int
    moved_bytes: int
    predicted: float
    fused: float | None
    seconds: float


@dataclass(frozen=True)
class Roofline:
    """A model in inference, layer by layer: what was predicted, and what was measured.

    Args:
        model: a name of the registry.
        options: those of `create_model`.
        batch: images in a step.
        image_size: pixels.
        dtype: "float32", "bfloat16" or "float16".
        machine: what the device can do at best.
        layers: in the order in which they run.
        parts: the layers' sums.
        whole: seconds of the model without clocks inside.
        between: seconds that passed inside, in none of the layers: Python, and the clocks.
        settings: what else a speed depends on, from `settings_here`.
        provenance: where and when it was measured.
        schema: the shape of the record.

    >>> from mixerlib.speed import Machine, roofline
    >>> machine = Machine(1e11, 2048, 1e10, 2**20, 1e10)  # left out, it is measured
    >>> report = roofline("splitmixer_i", {"dim": 32}, batch=4, rounds=3, machine=machine)
    >>> report.layers[0].name, report.layers[0].macs
    ('stem.0', 393216)
    """

    model: str
    options: dict[str, Any]
    batch: int
    image_size: int
    dtype: str
    machine: Machine
    layers: list[Layer]
    parts: list[Part]
    whole: Timing
    between: float
    settings: dict[str, Any]
    provenance: Provenance
    schema: str = SCHEMA


def role_of(name: str, kind: str) -> str:
    """What a layer of a ConvMixer or a SplitMixer is, one of `ROLES`, by its module's name and
    class.
    """
    if not name.startswith("blocks."):
        return "stem and head"
    if kind in ("GELU", "BatchNorm2d"):
        return kind.removesuffix("2d")
    if not re.match(r"blocks\.\d+\.(0|spatial)", name):
        return "channel mixing"
    return "depthwise" if kind == "Conv2d" else "residual sum"


def roofline(
    model: str,
    options: Mapping[str, Any] | None = None,
    *,
    batch: int = 64,
    image_size: int | None = None,
    dtype: str = "float32",
    rounds: int = ROUNDS,
    device: torch.device | str = "cpu",
    machine: Machine | None = None,
    clock: Clock = time.perf_counter,
) -> Roofline:
    """Predict and measure every layer of a registered model, in inference, operation by operation.

    Layers are timed where they are, in a running model, by hooks before and after each: so each
    finds its input where the layer before has left it, in a cache or not. On a GPU the hooks put
    events into its queue. The layout is contiguous, as `mixerlib.costs` counts it.

    Args:
        model: a name of the registry.
        options: those of `create_model`.
        batch: images in a step.
        image_size: pixels; None: the size that the model is meant for.
        dtype: "float32", "bfloat16" or "float16".
        rounds: of the measurement, at least one.
        device: where the model runs.
        machine: what the device can do at best; None: that is measured, too.
        clock: what is read on devices other than CUDA, whose clock is its own.

    Raises `ValueError` as `Case` does, and for `rounds` below 1. Chapter 18.
    """
    case = Case(model, dict(options or {}), batch=batch, image_size=image_size, dtype=dtype)
    assert case.image_size is not None  # as it takes the model's
    checks.positive_int("rounds", rounds)
    device = torch.device(device)
    blank = model_of(case, torch.device("meta"))  # shapes are enough to count
    counted = costs.measure(blank, case.image_size, blank.in_channels)
    plain = model_of(case, device).eval().to(DTYPES[dtype])
    images = torch.randn(batch, plain.in_channels, *[case.image_size] * 2, device=device)
    images = images.to(DTYPES[dtype])
    with torch.no_grad():
        if machine is None:
            machine = measure_machine(DTYPES[dtype], plain.stem(images).nbytes, device)
        clocked = ClockedModel(plain, device, clock)
        whole, rows = _run(plain, clocked, images, rounds)
    layers = _layers(clocked, counted, rows, machine, batch, images.element_size())
    return Roofline(
        model=model,
        options=case.options,
        batch=batch,
        image_size=case.image_size,
        dtype=dtype,
        machine=machine,
        layers=layers,
        parts=_parts(case, layers, machine, images.element_size()),
        whole=Timing.of(whole),
        between=statistics.median(row[None] for row in rows),
        settings=settings_here(device),
        provenance=provenance(device),
    )


class ClockedModel:
    """A copy of a model that notes the time whenever one of its modules begins or ends.

    What passes between two notes belongs to the layer that was running: the innermost module, or
    where a block adds a residual itself the module whose output it adds, as in `mixerlib.costs`.
    """

    def __init__(self, model: nn.Module, device: torch.device, clock: Clock = time.perf_counter):
        self.model, self.device, self.clock = copy.deepcopy(model), device, clock
        self.notes: list[tuple[str | None, Any]] = []
        for module in self.model.modules():  # hooks run in this order: note first, then move on
            module.register_forward_pre_hook(self._note)
            module.register_forward_hook(self._note)
        self.tracker = LayerTracker(self.model)

    def _note(self, *_: object) -> None:
        layer = self.tracker.layer if self.tracker.running else None
        if self.device.type == "cuda":
            moment = torch.cuda.Event(enable_timing=True)
            moment.record()
        else:
            synchronize(self.device)
            moment = self.clock()
        self.notes.append((layer, moment))

    def seconds(self, images: torch.Tensor) -> Counter[str | None]:
        """Seconds of each layer in one run, by the layer's name; None for what is in no part."""
        self.notes.clear()
        self.model(images)
        synchronize(self.device)
        times: Counter[str | None] = Counter()
        for (_, start), (layer, end) in pairwise(self.notes):
            on_gpu = self.device.type == "cuda"
            seconds = start.elapsed_time(end) / 1000 if on_gpu else end - start
            times[layer if self.tracker.part_of.get(layer) else None] += seconds
        return times


def _run(
    plain: nn.Module, clocked: ClockedModel, images: torch.Tensor, rounds: int
) -> tuple[list[float], list[Counter[str | None]]]:
    """The model as it is and the one with clocks, in turn: seconds, and seconds by layer."""
    seconds_of = stopwatch(images.device, clocked.clock)
    warm_up(lambda: plain(images), seconds_of)
    warm_up(lambda: clocked.model(images), seconds_of)
    whole, rows = [], []
    for _ in range(rounds):
        whole.append(seconds_of(lambda: plain(images), 1))
        rows.append(clocked.seconds(images))
    return whole, rows


def _layers(
    clocked: ClockedModel,
    counted: costs.Measured,
    rows: list[Counter[str | None]],
    machine: Machine,
    batch: int,
    width: int,
) -> list[Layer]:
    """Every layer that moves something, with its weights; the rest of the time is of no layer.

    Args:
        clocked: the model, for its modules and parts.
        counted: its costs for one image.
        rows: the seconds of its layers, round by round; what is of no layer is added under None.
        machine: what the device can do at best.
        batch: images in a step.
        width: bytes of a number.
    """
    order = [name for name, moved in counted.moved_by_layer.items() if moved]
    for row in rows:
        row[None] += sum(row[name] for name in row if name is not None and name not in order)
    weights: Counter[str] = Counter()
    for tensor, size in counted.params_by_tensor.items():
        name = tensor.rpartition(".")[0]
        while name not in order:  # what reads them is then a module around theirs
            name = name.rpartition(".")[0]
        weights[name] += size
    modules = dict(clocked.model.named_modules())
    layers = []
    for name in order:
        macs = batch * counted.macs_by_layer.get(name, 0)
        moved = width * (batch * counted.moved_by_layer[name] + weights[name])
        by_macs = macs / machine.macs_per_second
        by_bytes = moved / machine.copy_bytes_per_second
        layers.append(
            Layer(
                name=name or "mean",  # the model's own, before the head
                kind=type(modules[name]).__name__,
                part=clocked.tracker.part_of[name] or "",
                macs=macs,
                moved_bytes=moved,
                by_macs=by_macs,
                by_bytes=by_bytes,
                predicted=max(by_macs, by_bytes),
                seconds=Timing.of([row[name] for row in rows]),
            )
        )
    return layers


def _parts(case: Case, layers: list[Layer], machine: Machine, width: int) -> list[Part]:
    family, fused_of = model_entry(case.model).family, None
    if family not in costs.MEASURED_ONLY:
        fused_of = costs.formulas(family).moved_fused
    options = dict(model_entry(case.model).defaults) | case.options
    options.pop("image_size", None)
    parts = []
    for name in dict.fromkeys(layer.part for layer in layers):
        inside = [layer for layer in layers if layer.part == name]
        macs, fused = sum(layer.macs for layer in inside), None
        if fused_of is not None:
            moved = costs.value_of(fused_of[name], family, options, case.image_size)
            by_bytes = width * case.batch * moved / machine.copy_bytes_per_second
            fused = float(max(macs / machine.macs_per_second, by_bytes))
        parts.append(
            Part(
                name=name,
                macs=macs,
                moved_bytes=sum(layer.moved_bytes for layer in inside),
                predicted=sum(layer.predicted for layer in inside),
                fused=fused,
                seconds=sum(layer.seconds.median for layer in inside),
            )
        )
    return parts


def by_kind(layers: list[Layer]) -> list[tuple[str, int, list[Layer]]]:
    """Layers at the same place of every block together: a name with * for the block's number, how
    many they are, and the layers."""
    kinds: dict[str, list[Layer]] = {}
    for layer in layers:
        name = re.sub(r"^blocks\.\d+\.", "blocks.*.", layer.name)
        kinds.setdefault(name, []).append(layer)
    return [(name, len(group), group) for name, group in kinds.items()]


def read_roofline(path: str | Path) -> Roofline:
    """Read a record that `records.write_record` wrote. Errors as in `records.read_record`."""
    return parse_record(path, Roofline)
