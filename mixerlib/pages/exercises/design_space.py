"""The exercises of chapter 11."""

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import torch

from mixerlib.costs import mixing_steps, reach
from mixerlib.models import create_model
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.mixings import Puzzle
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called


def _needed(ratio: str, family: str = "splitmixer_i") -> int:
    """The blocks after which every channel has heard every other."""
    steps = mixing_steps(create_model(family, dim=30, depth=9, ratio=ratio))
    return next(blocks for blocks in range(1, 10) if reach(30, steps[:blocks]).all())


@exercise("space-1")
def how_many_blocks() -> Numbers:
    values = {ratio: _needed(ratio) for ratio in ("3/5", "4/5", "1")}
    return Numbers(
        values,
        [
            Mistake("After two blocks A has not heard B yet.", {"3/5": values["3/5"] - 1}),
            Mistake(
                "Count blocks from one: that is the number of the last one.",
                {"4/5": values["4/5"] - 1},
            ),
            Mistake("It does not depend on α, while α is below 1.", {"3/5": 5}),
            Mistake("With α = 1 a block mixes all channels at once.", {"1": values["3/5"]}),
        ],
    )


@exercise("space-2")
def the_order_of_v() -> Function:
    def missing(alpha: Fraction) -> float:
        model = create_model("splitmixer_v", dim=60, depth=1, ratio=str(alpha))
        return float(1 - reach(60, mixing_steps(model)).mean())

    def cases(draw: random.Random) -> Iterator[tuple]:
        for numerator, denominator in ((2, 3), (3, 5), (3, 4), (4, 5), (1, 1)):
            yield (Fraction(numerator, denominator),)
        for _ in range(4):
            yield (Fraction(draw.randint(31, 60), 60),)

    return Function(
        "Give the share of the pairs that are missing after one block, a formula of α.",
        missing,
        cases,
        [
            Mistake(
                "That is the share of the channels of one group, not of the pairs.",
                lambda alpha: 1 - alpha,
            ),
            Mistake(
                "Only one of the two squares is missing: the second mixing hears the first.",
                lambda alpha: 2 * (1 - alpha) ** 2,
            ),
            Mistake("That is one block of strategy I.", lambda alpha: _after_one(alpha)),
            Mistake(
                "That is the share of the pairs which hear each other.",
                lambda alpha: 1 - (1 - alpha) ** 2,
            ),
        ],
        symbols=("alpha",),
    )


def _after_one(alpha: Fraction) -> float:
    model = create_model("splitmixer_i", dim=60, depth=1, ratio=str(alpha))
    return float(1 - reach(60, mixing_steps(model)).mean())


def _renamed(state: dict[str, torch.Tensor], s: int, copies: Callable) -> dict[str, torch.Tensor]:
    """The tensors of a SplitMixer-III under the names of a IV; `copies` makes each segment's."""
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if ".mixer." in name:
            prefix, kind = name.rsplit(".", 1)
            weights |= {f"{prefix}.{j}.{kind}": copies(tensor, j, s) for j in range(s)}
        else:
            weights[name] = tensor
    return weights


@exercise("space-3")
def cut_strategy_iii() -> Properties:
    names = "Every segment of a IV has a mixing with a name of its own: `….mixer.0.weight` and on."
    shape = "A tensor has another shape than the IV's has."
    logits = "It loads, but the logits differ: each segment has the shared mixing, as it is."

    def judge(answer: Any) -> Iterator[Row]:
        for s in (2, 3):
            torch.manual_seed(s)
            options = {"dim": 12, "depth": 3, "kernel_size": 3, "segments": s}
            three = create_model("splitmixer_iii", **options).eval()
            four = create_model("splitmixer_iv", **options).eval()
            given = called(answer, dict(three.state_dict()), s)
            if not isinstance(given, dict):
                raise Refused("Return a dict of tensors: a state dict of the IV.")
            expected = four.state_dict()
            odd = expected.keys() ^ given.keys()
            yield Row(f"s = {s}: names missing or odd", f"{len(odd)}", "0", not odd, names)
            if odd:
                return
            other = [name for name in given if given[name].shape != expected[name].shape]
            yield Row(f"s = {s}: other shapes", f"{len(other)}", "0", not other, shape)
            if other:
                return
            four.load_state_dict(given)
            x = torch.randn(2, 3, 8, 8)
            with torch.no_grad():
                away = float((four(x) - three(x)).abs().max())
            yield Row(f"s = {s}: logits differ by", f"{away:.1g}", "0", away < 1e-5, logits)

    return Properties(
        "Return the state dict of a SplitMixer-IV that computes the same.",
        judge,
        lambda: lambda state, s: _renamed(state, s, lambda w, j, s: w),
        [
            Mistake(names, lambda state, s: state),
            Mistake(shape, lambda state, s: _renamed(state, s, lambda w, j, s: w.chunk(s)[j])),
            Mistake(logits, lambda state, s: _renamed(state, s, lambda w, j, s: w / s)),
        ],
    )


@exercise("space-4")
def a_strategy_of_your_own() -> Properties:
    h, s = 48, 4
    c = h // s
    params, macs = s * (c * c + c), s * c * c  # strategy IV's
    rules = Puzzle(h, s, params, macs, once=True, in_place=True)

    def strided(u: torch.Tensor, i: int, mix: Callable) -> torch.Tensor:
        table = u.view(s, c) if i % 2 == 0 else u.view(c, s).T
        mixed = torch.stack([mix(row) for row in table])
        return mixed.flatten() if i % 2 == 0 else mixed.T.flatten()

    def grouped(u: torch.Tensor, mix: Callable, width: int = c) -> torch.Tensor:
        return torch.cat([mix(part) for part in u.split(width)])

    def walled(u: torch.Tensor, i: int, mix: Callable) -> torch.Tensor:
        if i % 2 == 0:
            return grouped(u, mix)
        half = c // 2
        return torch.cat([u[:half], grouped(u[half:-half], mix), u[-half:]])

    def hub(u: torch.Tensor, i: int, mix: Callable) -> torch.Tensor:
        """All news through channel 0: pairs with each other one, and back again."""
        u = u.clone()
        for other in (*range(1, h), *range(h - 2, 0, -1)):
            u[[0, other]] = mix(u[[0, other]])
        return u

    return Properties(
        f"Write `block(u, i, mix)`: it takes and returns the {h} channels at one place.",
        rules.judge,
        lambda: strided,
        [
            Mistake(rules.FULL, lambda u, i, mix: mix(u)),
            Mistake(rules.OVER, lambda u, i, mix: grouped(u, mix, 2 * c)),
            Mistake(rules.WORK, lambda u, i, mix: mix(mix(u.view(s, c)).T).T.flatten()),
            Mistake(rules.TWICE, hub),
            Mistake(rules.BORDERS, lambda u, i, mix: grouped(u, mix)),
            Mistake(rules.MOVED, lambda u, i, mix: grouped(u, mix).view(s, c).T.flatten()),
            Mistake(rules.NEVER_MIXED, lambda u, i, mix: torch.cat([mix(u[:c]), u[c:]])),
            Mistake(rules.LATE, walled),
        ],
    )
