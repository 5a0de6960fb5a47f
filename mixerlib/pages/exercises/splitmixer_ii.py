"""The exercises of chapter 07."""

import random
from collections.abc import Callable, Iterator

import torch

from mixerlib.costs import formulas
from mixerlib.models import model_entry, segment_widths
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.mixings import Mixing, Puzzle


@exercise("two-1")
def recompute() -> Numbers:
    options = dict(model_entry("splitmixer_ii").defaults) | {"dim": 100, "segments": 7}
    widths = segment_widths(100, 7)
    c, wide = widths[0], widths[-1]

    def params(depth: int) -> int:
        return (
            formulas("splitmixer_ii")
            .counts(options | {"depth": depth}, 32)
            .params["channel mixing"]
        )

    def weights(depth: int) -> int:
        return sum(widths[block % 7] ** 2 for block in range(depth))

    every = sum(width * width + width for width in widths)
    narrow = c * c + c
    return Numbers(
        {"segment": c, "last segment": wide, "10 blocks": params(10), "14 blocks": params(14)},
        [
            Mistake("The last segment takes what the others leave over.", {"last segment": c}),
            Mistake("That is the remainder alone.", {"last segment": wide - c}),
            Mistake(
                "A mixing of c channels has c biases beside its c² weights.",
                {"10 blocks": weights(10)},
            ),
            Mistake(
                "One segment is mixed in a block, in turn, and not all of them.",
                {"10 blocks": 10 * every},
            ),
            Mistake(
                "One of the ten turns is that of the wide segment.", {"10 blocks": 10 * narrow}
            ),
            Mistake("Fourteen blocks reach the wide segment twice.", {"14 blocks": 14 * narrow}),
            Mistake(
                "One of the two wide turns is missing.",
                {"14 blocks": params(14) - (wide * wide + wide) + narrow},
            ),
        ],
    )


@exercise("two-2")
def never_mixed() -> Function:
    def counted(h: int, d: int, s: int) -> int:
        mixed = [False] * h
        widths = segment_widths(h, s)
        for block in range(d):
            start = sum(widths[: block % s])
            mixed[start : start + widths[block % s]] = [True] * widths[block % s]
        return mixed.count(False)

    def cases(draw: random.Random) -> Iterator[tuple]:
        yield 256, 8, 9
        for _ in range(12):
            d = draw.randint(1, 8)
            s = draw.randint(d + 1, 20)
            yield draw.randint(s, 256), d, s

    return Function(
        "Return how many channels are never mixed, for s > d: a function of h, d and s.",
        counted,
        cases,
        [
            Mistake(
                "The last segment is wider: it has the remainder, and it is not mixed either.",
                lambda h, d, s: (s - d) * (h // s),
            ),
            Mistake("The widths are rounded down.", lambda h, d, s: h - d * h / s),
            Mistake("That is how many are mixed.", lambda h, d, s: d * (h // s)),
            Mistake("That is a number of segments, not of channels.", lambda h, d, s: s - d),
        ],
        symbols=("h", "d", "s"),
    )


@exercise("two-3")
def a_fairer_cut() -> Function:
    def total(widths: list[int], depth: int) -> int:
        turns = [widths[block % len(widths)] for block in range(depth)]
        return sum(width * (width + 1) for width in turns)

    def counted(h: int, s: int, d: int) -> int:
        fair = [(h + s - 1 - j) // s for j in range(s)]
        return total(segment_widths(h, s), d) - total(fair, d)

    def cases(draw: random.Random) -> Iterator[tuple]:
        yield from ((11, 4, 4), (11, 4, 8), (11, 4, 6), (12, 4, 5))
        for _ in range(12):
            s = draw.randint(2, 8)
            yield draw.randint(s, 60), s, draw.randint(1, 20)

    def formula(full: float, over: Callable, broken: int = 1) -> Callable:
        def difference(h: int, s: int, d: int) -> float:
            (q, t), rest = divmod(d, s), h % s
            lost = broken * 2 * (h // s + 1) * over(rest, t)
            return full * q * rest * (rest - 1) - lost

        return difference

    return Function(
        "Return the parameters of the ragged channel mixing less those of the balanced one.",
        counted,
        cases,
        [
            Mistake(
                "That holds for full rounds; a broken round has turns of wide segments too.",
                formula(1, min, broken=0),
            ),
            Mistake("The sign is turned: ragged less balanced.", lambda *a: -counted(*a)),
            Mistake(
                "A broken round may end before all wide segments have had their turn.",
                formula(1, lambda rest, t: rest),
            ),
            Mistake(
                "A broken round may go on after the last wide segment.",
                formula(1, lambda rest, t: t),
            ),
            Mistake("That is one round: there are ⌊d / s⌋ of them.", _one_round),
        ],
    )


def _one_round(h: int, s: int, d: int) -> int:
    rest = h % s
    return rest * (rest - 1) - 2 * (h // s + 1) * min(rest, d % s)


def mixing_of(members: Callable) -> Mixing:
    """The mixing that mixes those channels which `members` gives for a block."""

    def block(u: torch.Tensor, i: int, mix: Callable) -> torch.Tensor:
        u = u.clone()
        index = torch.as_tensor(members(i))
        u[index] = mix(u[index])
        return u

    return block


@exercise("two-4")
def a_way_to_meet() -> Properties:
    rules = Puzzle(channels=16, blocks=8, parameters=20, macs=16, calls=1, in_place=True)
    rows = torch.arange(16).reshape(4, 4)

    def rolled(u: torch.Tensor, i: int, mix: Callable) -> torch.Tensor:
        return torch.cat([mix(u[:4]), u[4:]]).roll(-3)

    def all_rows(u: torch.Tensor, i: int, mix: Callable) -> torch.Tensor:
        """All segments at once, by one matrix."""
        table = u.view(4, 4)
        return (mix(table.T).T if i % 2 else mix(table)).flatten()

    return Properties(
        "Write `block(u, i, mix)`: it takes and returns the 16 channels at one place.",
        rules.judge,
        lambda: mixing_of(lambda i: (rows.T if i // 4 % 2 else rows)[i % 4]),
        [
            Mistake(rules.BORDERS, mixing_of(lambda i: rows[i % 4])),
            Mistake(rules.OVER, mixing_of(lambda i: range(5))),
            Mistake(rules.FULL, lambda u, i, mix: mix(u)),
            Mistake(rules.WORK, all_rows),
            Mistake(rules.MOVED, rolled),
            Mistake(rules.NEVER_MIXED, mixing_of(lambda i: (rows.T if i % 2 else rows)[0])),
            Mistake(
                rules.LATE,
                mixing_of(lambda i: [(4 * i + 2 * (i // 4 % 2) + j) % 16 for j in range(4)]),
            ),
        ],
    )
