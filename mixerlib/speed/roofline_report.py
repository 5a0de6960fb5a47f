"""The two bills of a model on any machine, and what rooflines say beside one another. Chapter 18.

>>> from mixerlib.speed import bills
>>> split, whole = bills("splitmixer_i_256_8"), bills("convmixer_256_8")
>>> for balance in (1, 100):  # MACs a byte: of a slow machine, and of one with fast products
...     print(round(whole.at_balance(balance) / split.at_balance(balance), 1))
1.6
0.6
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from mixerlib import checks, costs
from mixerlib.models import model_entry
from mixerlib.speed.bench import model_of
from mixerlib.speed.cases import Case
from mixerlib.speed.machine import Machine, Rates
from mixerlib.speed.rooflines import Roofline, role_of, seconds_together


@dataclass(frozen=True)
class Bills:
    """What one image of many costs, layer by layer or, ideally fused, part by part.

    Weights, which a large batch reads once, are left out of `moved`; `of_batch` counts them in.
    """

    parts: tuple[str, ...]  # the names of the layers or parts
    macs: np.ndarray  # of each
    moved: np.ndarray  # numbers read and written by each
    weights: np.ndarray = field(default_factory=lambda: np.zeros(1))  # numbers read by each

    def of_batch(self, batch: int) -> "Bills":
        """The bills of a whole batch of so many images: its weights are read once.

        Raises `ValueError` for a batch below 1.

        >>> from mixerlib.speed import DATA_SHEETS, bills
        >>> bill, rates = bills("convmixer_256_8"), DATA_SHEETS["V100"].rates()
        >>> round(bill.of_batch(1).seconds(rates) / bill.seconds(rates), 3)
        1.006
        """
        checks.positive_int("batch", batch)
        return Bills(
            self.parts, batch * self.macs, batch * self.moved + self.weights, 0 * self.weights
        )

    def at_balance(self, balance: float, width: int = 4) -> float:
        """The least time on a machine of this balance, in MACs a byte; its unit is that of a MAC.

        `width` is the bytes of a number.
        """
        return float(np.maximum(self.macs, balance * width * self.moved).sum())

    def seconds(self, machine: Machine | Rates, width: int = 4) -> float:
        """The least time on a machine. `width` is the bytes of a number."""
        return self.band(machine, width)[0]

    def band(self, machine: Machine | Rates, width: int = 4) -> tuple[float, float]:
        """The predicted time, from least to most: the larger bill of each layer, if the machine
        pays both at once, and the sum of both, if it pays one after the other. The second is at
        most twice the first. `width` is the bytes of a number. Chapter 18.

        >>> from mixerlib.speed import DATA_SHEETS, bills
        >>> least, most = bills("convmixer_256_8").band(DATA_SHEETS["V100"].rates())
        >>> least < most <= 2 * least
        True
        """
        by_macs = self.macs / machine.macs_per_second
        by_bytes = width * self.moved / machine.copy_bytes_per_second
        return float(np.maximum(by_macs, by_bytes).sum()), float((by_macs + by_bytes).sum())


def speed_band(
    one: Bills, base: Bills, machine: Machine | Rates, width: int = 4
) -> tuple[float, float]:
    """How many times as fast as `base` a model is predicted to be, from least to most.

    One machine pays the two bills of a layer to the same degree at once in both models, so each
    time is its least one and the same share φ of what lies between that and the most. The ratio
    rises or falls with φ all the way, so its ends are those at φ = 0 and φ = 1. Chapter 18.

    >>> from mixerlib.speed import DATA_SHEETS, bills, speed_band
    >>> pair = bills("splitmixer_i_256_8"), bills("convmixer_256_8")
    >>> [round(end, 2) for end in speed_band(*pair, DATA_SHEETS["V100"].rates())]
    [0.84, 0.85]
    """
    ends = zip(base.band(machine, width), one.band(machine, width), strict=True)
    low, high = sorted(theirs / ours for theirs, ours in ends)
    return low, high


def bills(
    model: str,
    options: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    fused: bool = False,
) -> Bills:
    """The bills of a registered model, layer by layer; if `fused`, part by part, as the closed
    forms have it: one kernel for each convolution, with all in it that is elementwise.

    `image_size` in pixels, None for the one that the model is meant for. Raises `ValueError` as
    `Case` does, and for a model without closed forms that is to be `fused`.
    """
    case = Case(model, dict(options or {}), image_size=image_size)
    assert case.image_size is not None  # as it takes the model's
    counted = _counted(case.model, tuple(sorted(case.options.items())), case.image_size)
    if fused:
        macs, moved, weights = counted.macs, _fused(case), counted.params
    else:
        macs, weights = counted.macs_by_layer, weights_by_layer(counted)
        moved = {layer: float(n) for layer, n in counted.moved_by_layer.items()}
    return Bills(
        tuple(moved),
        np.array([macs.get(part, 0) for part in moved], dtype=float),
        np.array([*moved.values()], dtype=float),
        np.array([weights.get(part, 0) for part in moved], dtype=float),
    )


def weights_by_layer(counted: costs.Measured) -> dict[str, int]:
    """The parameters that each layer reads, by the layer's name; only layers that move something
    read any, so those of a module that moves nothing itself are of the module around it."""
    weights = {layer: 0 for layer, moved in counted.moved_by_layer.items() if moved}
    for tensor, size in counted.params_by_tensor.items():
        layer = tensor.rpartition(".")[0]
        while layer and layer not in weights:
            layer = layer.rpartition(".")[0]
        weights[layer] = weights.get(layer, 0) + size
    return weights


@cache  # pages ask for the same rows in several readings
def _counted(model: str, options: tuple[tuple[str, Any], ...], image_size: int) -> costs.Measured:
    case = Case(model, dict(options), image_size=image_size)
    blank = model_of(case, torch.device("meta"))  # shapes are enough to count
    return costs.measure(blank, image_size, blank.in_channels)


def _fused(case: Case) -> dict[str, float]:
    """Numbers that each part moves, ideally fused."""
    entry = model_entry(case.model)
    if entry.family not in costs.FAMILIES:
        raise ValueError(f"`fused`=True needs closed forms, and {case.model} has none")
    options = dict(entry.defaults) | case.options
    options.pop("image_size", None)
    return {
        part: float(costs.value_of(form, entry.family, options, case.image_size))
        for part, form in costs.formulas(entry.family).moved_fused.items()
    }


def roles_of(model: nn.Module) -> dict[str, str]:
    """What each layer of a ConvMixer or a SplitMixer is: its module's name → one of `ROLES`."""
    return {name: role_of(name, type(module).__name__) for name, module in model.named_modules()}


def by_role(report: Roofline) -> tuple[Counter[str], Counter[str]]:
    """Seconds at best, and measured, of the layers of each of `ROLES`, for a batch: measured is
    the median of their sums in each round."""
    at_best: Any = Counter()  # of seconds; its type allows only whole numbers
    measured: Any = Counter()
    for layer in report.layers:
        at_best[layer.role] += layer.predicted
    for role in at_best:
        layers = [layer for layer in report.layers if layer.role == role]
        measured[role] = seconds_together(layers).median
    return at_best, measured
