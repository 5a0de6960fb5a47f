"""The roofline: the time that each layer needs at best, predicted, and the time that it takes.

report = roofline("splitmixer_i_256_8", batch=64)
for layer in report.layers:
    print(layer.name, layer.predicted, layer.seconds.median)

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixerlib import costs
from mixerlib.costs.measurement import _Where
from mixerlib.models import create_model, model_entry
from mixerlib.records import Provenance, parse_record, provenance
from mixerlib.speed.bench import DTYPES, Case, settings_here
from mixerlib.speed.timing import Timing, race, stopwatch, synchronize, warm_up

SCHEMA = "mixerlib roofline 1"  # a record of another shape has another name here

ROUNDS = 7
LARGE_COPY = {"cpu": 128 * 2**20, "other": 2**30}  # bytes, beyond every cache
SIDES = (256, 512, 1024, 2048, 4096, 8192)  # of the matrices whose product is timed
LONG_PRODUCT = 0.02  # seconds: the first product that takes so long is large enough


@dataclass(frozen=True)
class Machine:
    """What a device can do at best, as plain operations of torch reach it."""

    macs_per_second: float  # of a product of two square matrices of the dtype
    matrix_side: int
    copy_bytes_per_second: float  # read and written, when a map is copied that is as large as ours
    copied_bytes: int  # of that map
    memory_bytes_per_second: float  # the same of one that fits into no cache


@dataclass(frozen=True)
class Layer:
    """A layer, for a whole batch. `predicted` is the greater of the two times beside it."""

    name: str  # the module's, such as "blocks.3.spatial.0"
    kind: str  # its class
    part: str  # of the model, as `mixerlib.costs` divides it
    macs: int
    moved_bytes: int  # read and written: activations and weights
    by_macs: float  # seconds
    by_bytes: float
    predicted: float
    seconds: Timing  # measured


@dataclass(frozen=True)
class Part:
    """All layers of one part. `fused` is the prediction if each convolution or matrix product were
    one kernel, with all in it that is elementwise, by the closed forms of `mixerlib.costs`; None
    for a model that has none.
    """

    name: str
    macs: int
    moved_bytes: int
    predicted: float  # the sum of its layers'
    fused: float | None
    seconds: float  # measured: the sum of its layers' medians


@dataclass(frozen=True)
class Roofline:
    """A model in inference, layer by layer: what was predicted, and what was measured."""

    model: str
    options: dict[str, Any]
    batch: int
    image_size: int
    dtype: str
    machine: Machine
    layers: list[Layer]  # in the order in which they run
    parts: list[Part]
    whole: Timing  # of the model without clocks inside
    between: float  # seconds that passed inside, in none of the layers: Python, and the clocks
    settings: dict[str, Any]  # what else a speed depends on: `bench.settings_here`
    provenance: Provenance
    schema: str = SCHEMA


def roofline(
    model: str,
    options: Mapping[str, Any] | None = None,
    *,
    batch: int = 64,
    image_size: int | None = None,
    dtype: str = "float32",
    rounds: int = ROUNDS,
    device: torch.device | str = "cpu",
) -> Roofline:
    """Predict and measure every layer of a registered model, in inference, operation by operation.

    Layers are timed where they are, in a running model, by hooks before and after each: so each
    finds its input where the layer before has left it, in a cache or not. On a GPU the hooks put
    events into its queue. Arguments and errors as of `bench.Case`; the layout is contiguous, for
    which `mixerlib.costs` counts what is moved.
    """
    case = Case(model, dict(options or {}), batch=batch, image_size=image_size, dtype=dtype)
    if rounds < 1:
        raise ValueError(f"`rounds`={rounds} must be at least 1")
    device, entry = torch.device(device), model_entry(model)
    own = dict(case.options)
    if "image_size" in entry.defaults:  # only models that serve one size alone have this option
        own["image_size"] = case.image_size
    with torch.device("meta"):  # shapes are enough to count
        blank = create_model(model, **own)
    counted = costs.measure(blank, case.image_size, blank.in_channels)
    with device:
        plain = create_model(model, **own).eval().to(DTYPES[dtype])
        images = torch.randn(batch, plain.in_channels, case.image_size, case.image_size)
        images = images.to(DTYPES[dtype])
    with torch.no_grad():
        map_bytes = plain.stem(images).nbytes
        machine = measure_machine(DTYPES[dtype], map_bytes, device)
        clocked = _Clocked(plain, device)
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


def measure_machine(dtype: torch.dtype, map_bytes: int, device: torch.device | str) -> Machine:
    """The rate of a matrix product of this dtype, and the speed of copies, from rounds of all.

    A copy of `map_bytes` may stay in a cache, as the maps of a model of that size may. On CUDA,
    float32 products are allowed to use TF32 where convolutions are.
    """
    device = torch.device(device)
    if device.type == "cuda":
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        product, side = _large_product(dtype, device)
        large = LARGE_COPY.get(device.type, LARGE_COPY["other"])
        runs = {"map": _copy(map_bytes, dtype, device), "memory": _copy(large, dtype, device)}
        seconds = race(runs | {"product": product}, ROUNDS, device)
    finally:
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = before
    return Machine(
        macs_per_second=side**3 / seconds["product"].median,
        matrix_side=side,
        copy_bytes_per_second=2 * map_bytes / seconds["map"].median,
        copied_bytes=map_bytes,
        memory_bytes_per_second=2 * large / seconds["memory"].median,
    )


def _copy(size: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    source = torch.ones(size // dtype.itemsize, dtype=dtype, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _large_product(dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], object], int]:
    """The smallest of the products of square matrices that takes long enough, and its side."""
    seconds_of = stopwatch(device)
    for side in SIDES:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        target = torch.empty_like(left)

        def product(left=left, right=right, target=target) -> object:
            return torch.mm(left, right, out=target)

        if warm_up(product, seconds_of) > LONG_PRODUCT:
            break
    return product, side


class _Clocked:
    """A copy of a model that notes the time whenever one of its modules begins or ends.

    What passes between two notes belongs to the layer that was running: the innermost module, or
    where a block adds a residual itself the module whose output it adds, as in `mixerlib.costs`.
    """

    def __init__(self, model: nn.Module, device: torch.device):
        self.model, self.device = copy.deepcopy(model), device
        self.notes: list[tuple[str | None, Any]] = []
        for module in self.model.modules():  # hooks run in this order: note first, then move on
            module.register_forward_pre_hook(self._note)
            module.register_forward_hook(self._note)
        self.where = _Where(self.model)

    def _note(self, *_: object) -> None:
        layer = self.where.layer if self.where.running else None
        if self.device.type == "cuda":
            moment = torch.cuda.Event(enable_timing=True)
            moment.record()
        else:
            synchronize(self.device)
            moment = time.perf_counter()
        self.notes.append((layer, moment))

    def seconds(self, images: torch.Tensor) -> Counter[str | None]:
        """Seconds of each layer in one run, by the layer's name; None for what is in no part."""
        self.notes.clear()
        self.model(images)
        synchronize(self.device)
        found: Counter[str | None] = Counter()
        for (_, start), (layer, end) in pairwise(self.notes):
            on_gpu = self.device.type == "cuda"
            seconds = start.elapsed_time(end) / 1000 if on_gpu else end - start
            found[layer if self.where.part_of.get(layer) else None] += seconds
        return found


def _run(
    plain: nn.Module, clocked: _Clocked, images: torch.Tensor, rounds: int
) -> tuple[list[float], list[Counter[str | None]]]:
    """The model as it is and the one with clocks, in turn: seconds, and seconds by layer."""
    seconds_of = stopwatch(images.device)
    warm_up(lambda: plain(images), seconds_of)
    warm_up(lambda: clocked.model(images), seconds_of)
    whole, rows = [], []
    for _ in range(rounds):
        whole.append(seconds_of(lambda: plain(images), 1))
        rows.append(clocked.seconds(images))
    return whole, rows


def _layers(
    clocked: _Clocked,
    counted: costs.Measured,
    rows: list[Counter[str | None]],
    machine: Machine,
    batch: int,
    width: int,
) -> list[Layer]:
    """Every layer that moves something, with its weights; the rest of the time is of no layer."""
    order = [name for name, moved in counted.moved_by_layer.items() if moved]
    for row in rows:
        row[None] += sum(row[name] for name in row if name is not None and name not in order)
    weights: Counter[str] = Counter()
    for tensor, size in counted.params_by_tensor.items():
        name = tensor.rpartition(".")[0]
        while name not in order:  # what reads them is then a module around their own
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
                part=clocked.where.part_of[name],
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
        own = [layer for layer in layers if layer.part == name]
        macs, fused = sum(layer.macs for layer in own), None
        if fused_of is not None:
            moved = costs.evaluate(fused_of[name], family, options, case.image_size)
            by_bytes = width * case.batch * moved / machine.copy_bytes_per_second
            fused = float(max(macs / machine.macs_per_second, by_bytes))
        parts.append(
            Part(
                name=name,
                macs=macs,
                moved_bytes=sum(layer.moved_bytes for layer in own),
                predicted=sum(layer.predicted for layer in own),
                fused=fused,
                seconds=sum(layer.seconds.median for layer in own),
            )
        )
    return parts


def by_kind(layers: list[Layer]) -> list[tuple[str, int, list[Layer]]]:
    """Layers at the same place of every block together: a name with * for the block's number, how
    many they are, and the layers."""
    found: dict[str, list[Layer]] = {}
    for layer in layers:
        name = re.sub(r"^blocks\.\d+\.", "blocks.*.", layer.name)
        found.setdefault(name, []).append(layer)
    return [(name, len(group), group) for name, group in found.items()]


def read_roofline(path: str | Path) -> Roofline:
    """Read a record that `records.write_record` wrote. Errors as in `records.read_record`."""
    return parse_record(path, Roofline)
