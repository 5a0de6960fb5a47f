"""Rooflines: the time that each layer needs at best, predicted, and the time that it takes.

`mixerlib.speed.roofline_runs` measures them. Chapter 18b.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixerlib.records import Provenance, parse_record
from mixerlib.speed.load import Load
from mixerlib.speed.machine import Machine
from mixerlib.speed.timing import Timing, ratios

SCHEMA = "mixerlib roofline 2"  # a record of another shape has another name here
SCHEMA_OF_ONE = "mixerlib roofline 1"  # each model was measured in a run of its own

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

    @property
    def in_tf32(self) -> bool:
        """Whether convolutions and the product of the roof rounded float32 to TF32, as on a GPU."""
        return self.dtype == "float32" and self.settings.get("convolutions in TF32") is True


@dataclass(frozen=True)
class RooflineRace:
    """Models whose layers were timed in the same rounds, on the machine as it was then.

    Args:
        reports: one for each model, all with the same machine.
        provenance: where and when it was measured.
        load: what else the machine did meanwhile; None in older records.
        schema: the shape of the record.

    >>> from mixerlib.speed import roofline_race
    >>> race = roofline_race(["convmixer", "splitmixer_i"], {"dim": 32}, batch=4, rounds=3)
    >>> race.reports[0].machine == race.reports[1].machine
    True
    >>> times_as_fast = race.speedup("convmixer", "splitmixer_i").median
    """

    reports: list[Roofline]
    provenance: Provenance
    load: Load | None = None
    schema: str = SCHEMA

    def of(self, model: str) -> Roofline | None:
        """The report of a model; None where it did not run."""
        return next((report for report in self.reports if report.model == model), None)

    def speedup(self, base: str, other: str) -> Timing | None:
        """How many times as fast as the model `base` the other one ran without clocks inside, round
        by round; None where one of them did not run."""
        pair = self.of(base), self.of(other)
        if pair[0] is None or pair[1] is None:
            return None
        return ratios(pair[0].whole, pair[1].whole)


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


def by_kind(layers: Sequence[Layer]) -> list[tuple[str, int, list[Layer]]]:
    """Layers at the same place of every block together: a name with * for the block's number, how
    many they are, and the layers."""
    kinds: dict[str, list[Layer]] = {}
    for layer in layers:
        name = re.sub(r"^blocks\.\d+\.", "blocks.*.", layer.name)
        kinds.setdefault(name, []).append(layer)
    return [(name, len(group), group) for name, group in kinds.items()]


def seconds_together(layers: Sequence[Layer]) -> Timing:
    """Seconds of some layers of one model together: their sum in each round. Of no layer it is 0.

    The median of these sums is what the pages call the time of a group, or of all layers.
    """
    runs = [layer.seconds.runs for layer in layers]
    return Timing.of([sum(of_round) for of_round in zip(*runs, strict=True)] or [0.0])


def read_roofline_race(path: str | Path) -> RooflineRace:
    """Read a record that `records.write_record` wrote, of several models or, an older one, of one.

    Errors as in `records.read_record`.
    """
    return parse_record(path, RooflineRace, {SCHEMA_OF_ONE: _of_one})


def _of_one(values: dict[str, Any]) -> dict[str, Any]:
    machine = {"read_bytes_per_second": None, "triad_bytes_per_second": None} | values["machine"]
    report = {key: value for key, value in values.items() if key != "schema"}
    race = {"provenance": values["provenance"], "load": None, "schema": SCHEMA}
    return race | {"reports": [report | {"machine": machine}]}
