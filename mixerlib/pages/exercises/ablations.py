"""The exercises of chapter 15."""

import copy
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from mixerlib.models import create_model
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.results import seeds_for
from mixerlib.pages.exercises.running import Refused, called


@exercise("ablations-1")
def two_pieces_at_once() -> Function:
    def estimate(whole: list, a: list, b: list, both: list) -> tuple[float, float]:
        groups = [np.array(group) for group in (whole, a, b, both)]
        signs = np.array([1, -1, -1, 1])
        pooled = np.mean([group.var(ddof=1) for group in groups])
        value = signs @ [group.mean() for group in groups]
        return float(value), float((sum(signs**2) * pooled / len(whole)) ** 0.5)

    def cases(draw: random.Random) -> Iterator[tuple]:
        for n in (3, 4, 6, 3):
            yield tuple(
                [draw.gauss(level, 0.5) for _ in range(n)]
                for level in (90, 88, 80, 71 + draw.random())
            )

    def changed(change: Callable) -> Callable:
        def other(*groups: list) -> tuple[float, float]:
            return change(
                *estimate(*groups), *(float(np.mean(group)) for group in groups), len(groups[0])
            )

        return other

    return Function(
        "Return I and its deviation, from the pooled deviation of a run.",
        estimate,
        cases,
        [
            Mistake(
                "The sign is turned: I is what both lose beyond the sum of the two.",
                changed(lambda value, half, w, a, b, c, n: (-value, half)),
            ),
            Mistake(
                "The whole model comes in once too.",
                changed(lambda value, half, w, a, b, c, n: (c - a - b, half)),
            ),
            Mistake(
                "That is the deviation of one mean; I is made of four.",
                changed(lambda value, half, w, a, b, c, n: (value, half / 2)),
            ),
            Mistake(
                "Variances add, not deviations.",
                changed(lambda value, half, w, a, b, c, n: (value, 2 * half)),
            ),
            Mistake(
                "That is for single runs; a mean of n has a deviation smaller by √n.",
                changed(lambda value, half, w, a, b, c, n: (value, half * n**0.5)),
            ),
        ],
    )


@exercise("ablations-2")
def a_fair_comparison() -> Numbers:
    def parameters(**options: Any) -> int:
        with torch.device("meta"):
            model = create_model("splitmixer_i_ablated", **options)
        return sum(p.numel() for p in model.parameters())

    small = {"dim": 64, "depth": 4, "patch_size": 4}  # the 64/4 of the chapter
    goal, widths = parameters(**small), {}
    for mixes in ("spatial", "channels"):
        width = small["dim"]
        while parameters(**small | {"dim": width, "mixes": mixes}) < goal:
            width += 1
        widths[mixes] = width
    width, share = widths["spatial"], goal / parameters(**small | {"mixes": "spatial"})
    return Numbers(
        {"width": width},
        [
            Mistake("That is one channel too few.", {"width": width - 1}),
            Mistake("That is for channel mixing alone.", {"width": widths["channels"]}),
            Mistake(
                "Without channel mixing nothing grows with the square of the width.",
                {"width": math.ceil(small["dim"] * share**0.5)},
            ),
            Mistake("That is the width it has now.", {"width": small["dim"]}),
        ],
    )


@exercise("ablations-3")
def how_many_seeds_would_the_slides_have_needed() -> Function:
    def rule(d: float) -> int:
        return max(2, math.ceil(2 * (2 + 0.84) ** 2 / d**2))

    return Function(
        "Return the seeds of each for a difference of d deviations of a run.",
        seeds_for,
        lambda draw: [(d,) for d in (0.5, 0.8, 1.2, 2.0, 3.0, 6.0, round(draw.uniform(0.6, 4), 2))],
        [
            Mistake(
                "By hand that will do; with few runs the spread is not known, and more is needed.",
                rule,
            ),
            Mistake(
                "Both groups scatter: the variances of two means add.",
                lambda d: max(2, math.ceil(rule(d) / 2)),
            ),
            Mistake("That is the number of both groups together.", lambda d: 2 * seeds_for(d)),
            Mistake("That is one seed too few.", lambda d: seeds_for(d) - 1),
        ],
    )


def _frozen(choose: Callable[[str, nn.Module], bool]) -> Callable:
    """A function that freezes in a copy of a model the parameters of the parts it chooses."""

    def freeze(model: nn.Module) -> nn.Module:
        model = copy.deepcopy(model)
        for name, part in model.named_modules():
            if choose(name, part):
                for weights in part.parameters(recurse=False):
                    weights.requires_grad_(False)
        return model

    return freeze


@exercise("ablations-4")
def an_ablation_of_your_own() -> Properties:
    learns = "Some depthwise kernel still learns."
    norms = "Only the kernels were to be frozen: the norms behind them go on learning."
    mixing = "The channel mixing is frozen too; let the rest learn."
    other = "The kernels must stay as they were drawn."

    def depthwise(part: nn.Module) -> bool:
        return isinstance(part, nn.Conv2d) and part.groups > 1

    right = _frozen(lambda name, part: depthwise(part))

    def zeroed(model: nn.Module) -> nn.Module:
        model = right(model)
        for part in model.modules():
            if depthwise(part):
                part.weight.data.zero_()
        return model

    def judge(answer: Any) -> Iterator[Row]:
        torch.manual_seed(0)
        model = create_model("splitmixer_i_ablated", dim=8, depth=2, kernel_size=3, patch_size=2)
        new = called(answer, model)
        if not isinstance(new, nn.Module):
            raise Refused("Return the model.")
        named = {name: part for name, part in new.named_modules() if name}
        kernels = {name for name, part in named.items() if depthwise(part)}
        free = [name for name in kernels if named[name].weight.requires_grad]
        yield Row("kernels that learn", str(len(free)), "0", not free, learns)
        rest = [
            name
            for name, part in named.items()
            if name not in kernels
            and any(not w.requires_grad for w in part.parameters(recurse=False))
        ]
        only_norms = all(isinstance(named[name], nn.BatchNorm2d) for name in rest)
        yield Row(
            "other parts that do not",
            str(len(rest)),
            "0",
            not rest,
            norms if only_norms else mixing,
        )
        before = dict(model.named_modules())
        same = all(torch.equal(named[name].weight, before[name].weight) for name in kernels)
        yield Row("kernels as they were drawn", "yes" if same else "no", "yes", same, other)

    return Properties(
        "Return the model, its depthwise kernels without gradients.",
        judge,
        lambda: right,
        [
            Mistake(learns, lambda model: model),
            Mistake(norms, _frozen(lambda name, part: ".spatial." in name)),
            Mistake(mixing, _frozen(lambda name, part: "blocks" in name)),
            Mistake(other, zeroed),
        ],
    )
