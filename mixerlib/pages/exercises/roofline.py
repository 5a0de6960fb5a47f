"""The exercises of chapters 18 and 18b."""

import random
from collections.abc import Iterator
from fractions import Fraction

from mixerlib import costs
from mixerlib.models import model_entry, overlap_width
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers


def _part(family: str, quantity: str, part: str) -> int:
    """What one part of a block of width 256 costs, for one image of 32×32 pixels."""
    options = dict(model_entry(family).defaults) | {"dim": 256, "depth": 1, "patch_size": 2}
    form = getattr(costs.formulas(family), quantity)[part]
    return int(costs.value_of(form, family, options, 32))


@exercise("roof-1")
def recompute() -> Numbers:
    k, w, h, ratio = 7, 2, 384, Fraction(2, 3)
    m = overlap_width(h, ratio)
    square, line = k * k / (2 * w), k / (2 * w)
    mixing = m * m / (w * (4 * m + 2 * h))
    return Numbers(
        {"7×7": square, "1×7": line, "mixing": mixing, "bound by memory": 1},
        [
            Mistake("The map is read and written: two numbers a place.", {"7×7": k * k / w}),
            Mistake("In bfloat16 a number has two bytes.", {"7×7": k * k / 8}),
            Mistake("A 1×7 kernel does 7 MACs a place, not 49.", {"1×7": square}),
            Mistake(
                "Joining with the channels that pass reads and writes the whole map.",
                {"mixing": m / (4 * w)},
            ),
            Mistake(
                "That counts six passes of the segment; two of them are of all h channels.",
                {"mixing": m / (6 * w)},
            ),
            Mistake("That is a mixing of all channels.", {"mixing": h / (2 * w)}),
            Mistake(
                "Compare each with 10: those above it are bound by arithmetic.",
                {"bound by memory": 2},
            ),
        ],
        tolerance=0.01,
    )


@exercise("roof-2")
def how_wide_must_a_model_be() -> Numbers:
    a, s = Fraction(2, 3), 2
    factors = {
        "ConvMixer": Fraction(2),
        "I": (4 * a + 2) / a**2,
        "II": Fraction(2 * s * (s + 2)),
        "III": Fraction(2 * s),
        "IV": Fraction(6 * s),
    }
    return Numbers(
        factors,
        [
            Mistake("The map is read and written.", {"ConvMixer": 1}),
            Mistake(
                "The matrix of I has α²h² weights, so α comes in twice.", {"I": (4 * a + 2) / a}
            ),
            Mistake("Joining moves all h channels: 2h beside the 4m of the segment.", {"I": 4 / a}),
            Mistake(
                "Joining moves all h channels: 2h beside the 4c of the segment.", {"II": 4 * s}
            ),
            Mistake("A result of III takes c = h/s MACs, not h.", {"III": 2}),
            Mistake("IV cuts, mixes and joins: six passes, where III has two.", {"IV": 2 * s}),
        ],
    )


@exercise("roof-3")
def mlp_mixer_under_its_roof() -> Function:
    def intensity(rows_in: int, rows_out: int, w: int) -> Fraction:
        """Counted on a layer of five columns."""
        columns = 5
        macs = columns * rows_in * rows_out
        return Fraction(macs, w * columns * (rows_in + rows_out))

    def cases(draw: random.Random) -> Iterator[tuple]:
        yield 196, 256, 4
        for _ in range(5):
            yield draw.randint(8, 800), draw.randint(8, 3000), draw.choice([2, 4])

    return Function(
        "Give the MACs a byte as a formula of a, b and w.",
        intensity,
        cases,
        [
            Mistake("A number has w bytes.", lambda a, b, w: a * b / (a + b)),
            Mistake("The layer also writes its result.", lambda a, b, w: b / w),
            Mistake("The layer also reads its table.", lambda a, b, w: a / w),
            Mistake(
                "A layer reads a rows and writes b: a + b, not a·b.", lambda a, b, w: Fraction(1, w)
            ),
            Mistake(
                "That is as if both tables had the mean width; divide by w(a + b).",
                lambda a, b, w: a * b / (w * (a + b) / 2),
            ),
        ],
        symbols=("a", "b", "w"),
    )


@exercise("roof-4")
def one_kernel_for_the_pair() -> Numbers:
    whole = 256 * 16 * 16  # the numbers of a map
    fused = {
        family: _part(family, "moved_fused", "spatial mixing") // whole
        for family in ("convmixer", "splitmixer_i")
    }
    mixing = _part("convmixer", "moved_fused", "channel mixing") // whole
    passes = fused["convmixer"] + mixing  # the pair in one kernel reads and writes the map once
    families = "splitmixer_i", "convmixer"
    split, one = (_part(f, "macs", "spatial mixing") for f in families)
    ours, its = (_part(f, "moved_fused", "channel mixing") for f in families)
    pair = 2 * whole  # what the one kernel reads, and what it writes
    no_more = pair <= fused["convmixer"] * whole and ours <= its
    return Numbers(
        {"passes": passes, "no more MACs": split <= one, "no more bytes": no_more},
        [
            Mistake(
                "That is with the two convolutions as two kernels.",
                {"passes": fused["splitmixer_i"] + mixing},
            ),
            Mistake("The channel mixing has passes of its own.", {"passes": fused["convmixer"]}),
            Mistake("The pair does 2k MACs a place, k×k does k².", {"no more MACs": False}),
            Mistake(
                "Each part reads and writes the map once, as in ConvMixer.",
                {"no more bytes": False},
            ),
        ],
    )
