"""The five puzzles of chapter 05b."""

from collections.abc import Sequence

import torch

from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Mistake, Properties
from mixerlib.pages.exercises.mixings import COMPUTES, EMPTY, LOST, Mixing, Puzzle

FORM = "Write `block(u, i, mix)`: it takes and returns the 12 channels at one place."
SHAPE = "A block takes and returns 12 channels: join those too that pass."


def _groups(u, i, mix, move=lambda u: u):
    return move(torch.cat([mix(part) for part in u.chunk(3)]))


def _full(u, i, mix):
    return mix(u)


def _window(start, stop):
    """A mixing of the channels from start to stop, which may depend on the block."""

    def block(u, i, mix):
        a, b = start(i), stop(i)
        return torch.cat([u[:a], mix(u[a:b]), u[b:]])

    return block


def _shifted(shift, back=True):
    """Groups of four on a ring that block i has turned by shift(i)."""

    def block(u, i, mix):
        mixed = _groups(u.roll(-shift(i)), i, mix)
        return mixed.roll(shift(i)) if back else mixed

    return block


def _ring(step):
    return lambda u, i, mix: torch.cat([mix(u[:4]), u[4:]]).roll(-step)


def _puzzle(rules: Puzzle, example: Mixing, mistakes: Sequence[tuple[str, Mixing]]) -> Properties:
    known = [
        (SHAPE, lambda u, i, mix: mix(u[:4])),
        (COMPUTES, lambda u, i, mix: u + u.mean()),
        *mistakes,
    ]
    return Properties(FORM, rules.judge, lambda: example, [Mistake(*pair) for pair in known])


@exercise("puzzle-1")
def groups() -> Properties:
    rules = Puzzle(channels=12, blocks=4, parameters=60, all_mixed=True, meet=False)

    def halves(u, i, mix):
        return torch.cat([mix(part) for part in u.chunk(2)])

    return _puzzle(
        rules,
        _groups,
        [
            (rules.FULL, _full),
            (rules.OVER, halves),
            (rules.UNMIXED, _window(lambda i: 0, lambda i: 4)),
            (LOST, lambda u, i, mix: mix(u[:4]).repeat(3)),
        ],
    )


@exercise("puzzle-2")
def shuffle() -> Properties:
    rules = Puzzle(channels=12, blocks=2, parameters=60)
    return _puzzle(
        rules,
        lambda u, i, mix: _groups(u, i, mix).view(3, 4).T.flatten(),
        [
            (rules.FULL, _full),
            (rules.BORDERS, _groups),
            (rules.TOGETHER, lambda u, i, mix: _groups(u, i, mix).roll(4)),
            (rules.LATE, lambda u, i, mix: _groups(u, i, mix).roll(2)),
        ],
    )


@exercise("puzzle-3")
def overlap() -> Properties:
    rules = Puzzle(channels=12, blocks=3, parameters=72, in_place=True, calls=1)

    def rolled(u, i, mix):
        return torch.cat([mix(u[:8]), u[8:]]).roll(4)

    def both(u, i, mix):
        return torch.cat([mix(u[:5]), u[5:7], mix(u[7:])])

    return _puzzle(
        rules,
        _window(lambda i: 4 * (i % 2), lambda i: 8 + 4 * (i % 2)),
        [
            (rules.FULL, _full),
            (rules.CALLS, both),
            (rules.MOVED, rolled),
            (rules.NEVER_MIXED, _window(lambda i: 0, lambda i: 8)),
            (rules.BORDERS, _window(lambda i: 6 * (i % 2), lambda i: 6 + 6 * (i % 2))),
        ],
    )


@exercise("puzzle-4")
def ring() -> Properties:
    rules = Puzzle(channels=12, blocks=7, parameters=20, macs=16)
    return _puzzle(
        rules,
        _ring(3),
        [
            (rules.OVER, _groups),
            (rules.NEVER_MIXED, _window(lambda i: 0, lambda i: 4)),
            (rules.TOGETHER, _ring(4)),
            (EMPTY, _window(lambda i: 3 * i, lambda i: 3 * i + 4)),
            (rules.WORK, lambda u, i, mix: mix(u.view(3, 4)).T.flatten()),
            (rules.LATE, _ring(2)),
        ],
    )


@exercise("puzzle-5")
def bricks() -> Properties:
    rules = Puzzle(channels=12, blocks=3, parameters=60, all_mixed=True, in_place=True)

    def half_bricks(u, i, mix):
        widths = [2, 4, 4, 2] if i % 2 else [4, 4, 4]
        return torch.cat([mix(part) for part in u.split(widths)])

    return _puzzle(
        rules,
        _shifted(lambda i: 2 * (i % 2)),
        [
            (rules.FULL, _full),
            (rules.BORDERS, _groups),
            (rules.MOVED, _shifted(lambda i: 2 * (i % 2), back=False)),
            (rules.UNMIXED, _window(lambda i: 4 * (i % 2), lambda i: 8 + 4 * (i % 2) - 4)),
            (rules.LATE, half_bricks),
        ],
    )
