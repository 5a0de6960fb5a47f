"""The exercises of chapter 25."""

import math
import random
from collections.abc import Iterator
from typing import Any

from mixerlib import costs
from mixerlib.models import model_entry
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties, as_number
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused


def numbers_of(dim: int, depth: int, places: int, **options: Any) -> tuple[int, int, int]:
    """What a ConvMixer's file holds: its parameters, these with the norms' running statistics, and
    what is left and added when the norms are folded, for maps of so many places."""
    every = dict(model_entry("convmixer").defaults) | {"dim": dim, "depth": depth} | options
    parameters = costs.formulas("convmixer").counts(every, image_size=32).total("params")
    plain = parameters + 2 * dim * (2 * depth + 1)
    return parameters, plain, plain + dim * depth * (places - 6) - 4 * dim


@exercise("deploy-1")
def the_bill_of_a_file() -> Numbers:
    parameters, plain, folded = numbers_of(256, 8, 256, num_classes=10)
    pixels = numbers_of(256, 8, 1024, num_classes=10)[2]
    return Numbers(
        {"plain": plain, "folded": folded},
        [
            Mistake(
                "The norms' running means and variances are in the file too.",
                {"plain": parameters},
            ),
            Mistake(
                "The maps have a number for each patch, not for each pixel.", {"folded": pixels}
            ),
            Mistake(
                "That has the maps, but the norms are still in it.",
                {"folded": plain + 8 * 256 * 256},
            ),
            Mistake(
                "That has the norms out, but not the maps that they leave.",
                {"folded": folded - 8 * 256 * 256},
            ),
        ],
    )


def _level(x: float, scale: float, zero: int) -> int:
    return min(255, max(0, round(x / scale) + zero))


@exercise("deploy-2")
def eight_bits() -> Function:
    def cases(draw: random.Random) -> Iterator[tuple[list[float], float, int]]:
        for zero in (0, 17, 128, draw.randrange(256)):
            scale = draw.uniform(0.01, 0.1)
            low, high = -scale * zero, scale * (255 - zero)
            inside = [draw.uniform(low, high) for _ in range(4)]
            yield [low - 3.3 * scale, *inside, high + 7.2 * scale, 0.0], scale, zero

    def levels(x: list[float], scale: float, zero: int) -> list[int]:
        return [_level(one, scale, zero) for one in x]

    return Function(
        "Return the levels, a list of whole numbers from 0 to 255.",
        levels,
        cases,
        [
            Mistake(
                "What lies outside the range must stop at 0 or at 255.",
                lambda x, scale, zero: [round(one / scale) + zero for one in x],
            ),
            Mistake(
                "Round to the nearest level; do not cut off.",
                lambda x, scale, zero: [
                    min(255, max(0, math.trunc(one / scale) + zero)) for one in x
                ],
            ),
            Mistake(
                "Divide by the scale: it is the width of a level.",
                lambda x, scale, zero: [_level(one * scale, 1.0, zero) for one in x],
            ),
            Mistake(
                "The zero point is a level: it is added after the division.",
                lambda x, scale, zero: [_level(one + zero, scale, 0) for one in x],
            ),
        ],
    )


@exercise("deploy-3")
def a_scale_for_a_range() -> Function:
    def chosen(low: float, high: float) -> list[float]:
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255
        return [scale, round(-low / scale)]

    def cases(draw: random.Random) -> Iterator[tuple[float, float]]:
        yield from ((-1.0, 3.0), (0.4, 2.5), (-0.17, 4.9), (-3.0, -0.5))
        for _ in range(3):
            yield -draw.uniform(0.1, 2), draw.uniform(0.1, 5)

    def bare(low: float, high: float) -> list[float]:
        scale = (high - low) / 255
        return [scale, round(-low / scale)]

    return Function(
        "Return the scale and the zero point.",
        chosen,
        cases,
        [
            Mistake("Zero must be a level, also where all numbers are on one side of it.", bare),
            Mistake(
                "Between 256 levels there are 255 steps.",
                lambda low, high: [
                    (s := (max(high, 0.0) - min(low, 0.0)) / 256),
                    round(-min(low, 0.0) / s),
                ],
            ),
            Mistake(
                "The zero point is the level of 0, counted from the lowest: −low / scale.",
                lambda low, high: [chosen(low, high)[0], -chosen(low, high)[1]],
            ),
            Mistake(
                "That has as many levels below zero as above, whatever the range.",
                lambda low, high: [2 * max(abs(low), abs(high)) / 255, 128],
            ),
        ],
    )


@exercise("deploy-4")
def a_buffer_of_the_browser() -> Function:
    def batch(dim: int, side: int, patch: int, limit: int) -> int:
        return limit // (4 * dim * (side // patch) ** 2)

    def cases(draw: random.Random) -> Iterator[tuple[int, int, int, int]]:
        limit = 2**27
        yield from ((1536, 224, 7, limit), (768, 224, 7, limit), (256, 32, 2, limit))
        for _ in range(3):
            patch = draw.choice([2, 4, 7, 14])
            yield draw.randrange(64, 1025), patch * draw.randrange(9, 40), patch, limit

    return Function(
        "Return how many images.",
        batch,
        cases,
        [
            Mistake(
                "A map has a place for each patch, not for each pixel.",
                lambda dim, side, patch, limit: limit // (4 * dim * side**2),
            ),
            Mistake(
                "A number of float32 has four bytes.",
                lambda dim, side, patch, limit: limit // (dim * (side // patch) ** 2),
            ),
            Mistake(
                "Every place has all the channels.",
                lambda dim, side, patch, limit: limit // (4 * (side // patch) ** 2),
            ),
            Mistake(
                "One image more no longer fits: round down.",
                lambda dim, side, patch, limit: -(-limit // (4 * dim * (side // patch) ** 2)),
            ),
        ],
    )


@exercise("deploy-5")
def a_network_for_a_page() -> Properties:
    most, least, side = 80_000, 64, 32
    names = ("dim", "depth", "kernel_size", "patch_size")
    heavy = "That is too many bytes: something in it has a number for every place."
    blind = "A corner does not see the opposite one: each block carries news (k − 1)/2 patches."
    thin = "It needs more channels."
    odd = "The patches must tile the image."

    def judge(answer: Any) -> Iterator[Row]:
        if not isinstance(answer, dict) or not {*names} <= {*answer}:
            raise Refused(f"Fill in {', '.join(f'`{name}`' for name in names)}.")
        values = []
        for name in names:
            value = as_number(name, answer[name])
            if not isinstance(value, int) or value < 1:
                raise Refused(f"`{name}`={value} must be a whole number above 0")
            values.append(value)
        dim, depth, kernel, patch = values
        grid = side // patch
        yield Row("pixels left over", str(side % patch), "0", side % patch == 0, odd)
        if side % patch:  # there is no such network to be counted
            return
        options = {"kernel_size": kernel, "patch_size": patch, "num_classes": 10}
        size = 2 * numbers_of(dim, depth, grid**2, **options)[2]
        yield Row("bytes", f"{size:,}", f"≤ {most:,}", size <= most, heavy)
        crossed = depth * ((kernel - 1) // 2)
        yield Row("patches crossed", str(crossed), f"≥ {grid - 1}", crossed >= grid - 1, blind)
        yield Row("channels", str(dim), f"≥ {least}", dim >= least, thin)

    def chosen(*values: int) -> dict[str, int]:
        return dict(zip(names, values, strict=True))

    return Properties(
        f"Fill in {', '.join(f'`{name}`' for name in names)}.",
        judge,
        lambda: chosen(64, 3, 7, 4),
        [
            Mistake(heavy, chosen(64, 5, 7, 2)),
            Mistake(blind, chosen(64, 3, 5, 4)),
            Mistake(thin, chosen(32, 3, 7, 4)),
            Mistake(odd, chosen(64, 3, 7, 5)),
        ],
    )
