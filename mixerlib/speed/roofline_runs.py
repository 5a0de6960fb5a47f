"""The roofline: the time that each layer needs at best, predicted, and the time that it takes.

A layer whose MACs went at the rate of a large product, and whose reads and writes went at
the speed of a plain copy, both at once, would take the greater of the two times: the prediction.
MACs and numbers moved are those of `mixerlib.costs`; rate and speed are measured in the same
rounds as the layers, on the same device. Chapter 18b.
"""

import copy
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import ceil
from typing import Any

import torch
from torch import nn

from mixerlib import checks, costs
from mixerlib.costs.measurement import LayerTracker
from mixerlib.models import model_entry
from mixerlib.records import provenance
from mixerlib.speed.bench import model_of
from mixerlib.speed.cases import DTYPES, Case
from mixerlib.speed.environment import settings_here
from mixerlib.speed.load import Watch
from mixerlib.speed.machine import Gauge, Machine
from mixerlib.speed.roofline_report import weights_by_layer
from mixerlib.speed.rooflines import Layer, Part, Roofline, RooflineRace
from mixerlib.speed.timing import (
    ROUNDS,
    SHORTEST_RUN,
    Clock,
    Stopwatch,
    Timing,
    stopwatch,
    synchronize,
    warm_up,
)


def roofline_race(
    models: Sequence[str],
    options: Mapping[str, Any] | None = None,
    *,
    batch: int = 64,
    image_size: int | None = None,
    dtype: str = "float32",
    rounds: int = ROUNDS,
    device: torch.device | str = "cpu",
    machine: Machine | None = None,
    clock: Clock = time.perf_counter,
) -> RooflineRace:
    """Predict and measure every layer of registered models, in inference, operation by operation.

    In every round each model runs once as it is and once with clocks inside, and what the machine
    can do at best is measured between them. Layers are timed where they are, in a running model, by
    hooks before and after each: so each finds its input where the layer before has left it, in a
    cache or not. On a GPU the hooks put events into its queue. The layout is contiguous, as
    `mixerlib.costs` counts it.

    Args:
        models: names of the registry, at least one, each once.
        options: those of `create_model`, for all of them.
        batch: images in a step.
        image_size: pixels; None: the size that the first model is meant for.
        dtype: "float32", "bfloat16" or "float16".
        rounds: of the measurement, at least one.
        device: where the models run.
        machine: what the device can do at best; None: that is measured, too.
        clock: what is read on devices other than CUDA, whose clock is its own.

    Raises `ValueError` as `Case` does, for `rounds` below 1, and for no model or one named twice.
    Chapter 18b.
    """
    if not models or len(set(models)) < len(models):
        raise ValueError(f"`models`={list(models)!r} must name at least one, and each once")
    checks.positive_int("rounds", rounds)
    size = image_size or Case(models[0]).image_size
    cases = [
        Case(model, dict(options or {}), batch=batch, image_size=size, dtype=dtype)
        for model in models
    ]
    device = torch.device(device)
    with torch.no_grad():
        runners = [_Runner(case, device, clock) for case in cases]
        gauge = None
        if machine is None:
            gauge = Gauge(DTYPES[dtype], runners[0].map_bytes, device)
        watch = Watch()
        seconds = _run(runners, gauge.runs if gauge else {}, rounds, stopwatch(device, clock))
        load = watch.load()
    machine = gauge.machine(seconds) if gauge else machine
    assert machine is not None  # given or measured
    reports = [runner.report(machine, device) for runner in runners]
    return RooflineRace(reports, provenance(device), load)


def roofline(model: str, options: Mapping[str, Any] | None = None, **settings: Any) -> Roofline:
    """The roofline of one model alone; `settings` are those of `roofline_race`, as are errors."""
    return roofline_race([model], options, **settings).reports[0]


class _Runner:
    """A model as it is and with clocks inside, and what was counted and measured of it."""

    def __init__(self, case: Case, device: torch.device, clock: Clock):
        assert case.image_size is not None  # as it takes the model's
        blank = model_of(case, torch.device("meta"))  # shapes are enough to count
        self.case, self.counted = case, costs.measure(blank, case.image_size, blank.in_channels)
        self.plain = model_of(case, device).eval().to(DTYPES[case.dtype])
        shape = case.batch, self.plain.in_channels, case.image_size, case.image_size
        self.images = torch.randn(shape, device=device).to(DTYPES[case.dtype])
        self.clocked = ClockedModel(self.plain, device, clock)
        self.map_bytes = self.plain.stem(self.images).nbytes
        self.whole: list[float] = []
        self.rows: list[Counter[str | None]] = []

    def report(self, machine: Machine, device: torch.device) -> Roofline:
        """What was predicted, on this machine, and what was measured."""
        case, width = self.case, self.images.element_size()
        assert case.image_size is not None
        layers = _layers(self.clocked, self.counted, self.rows, machine, case.batch, width)
        return Roofline(
            model=case.model,
            options=case.options,
            batch=case.batch,
            image_size=case.image_size,
            dtype=case.dtype,
            machine=machine,
            layers=layers,
            parts=_parts(case, layers, machine, width),
            whole=Timing.of(self.whole),
            between=statistics.median(row[None] for row in self.rows),
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
    runners: Sequence[_Runner],
    gauge: Mapping[str, Callable[[], object]],
    rounds: int,
    seconds_of: Stopwatch,
) -> dict[str, Timing]:
    """All models and what the machine does at best, in turn, another one first in each round.

    Each runner keeps its seconds; those of the gauge's operations are returned, by name.
    """
    for runner in runners:
        for model in (runner.plain, runner.clocked.model):
            warm_up(partial(model, runner.images), seconds_of)
    fastest = {name: warm_up(run, seconds_of) for name, run in gauge.items()}
    calls = {name: max(1, ceil(SHORTEST_RUN / max(s, 1e-9))) for name, s in fastest.items()}
    seconds: dict[str, list[float]] = {name: [] for name in gauge}
    order: list[_Runner | str] = [*runners, *gauge]
    for number in range(rounds):
        first = number % len(order)
        for one in order[first:] + order[:first]:
            if isinstance(one, str):
                seconds[one].append(seconds_of(gauge[one], calls[one]) / calls[one])
            else:
                one.whole.append(seconds_of(partial(one.plain, one.images), 1))
                one.rows.append(one.clocked.seconds(one.images))
    return {name: Timing.of(runs) for name, runs in seconds.items()}


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
    weights = weights_by_layer(counted)
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
    if family in costs.FAMILIES:
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
