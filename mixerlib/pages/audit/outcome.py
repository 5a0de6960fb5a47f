"""What can be said of a published number: the kinds of verdict, and a verdict with its reason."""

from dataclasses import dataclass
from fractions import Fraction

from mixerlib.pages.audit.alternatives import Alternative

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NEEDS_TRAINING, NEEDS_EVALUATION = "needs training", "needs evaluation"
CANNOT_BE_CHECKED = "cannot be checked"
# What `check` may say of a published number
VERDICTS = (REPRODUCED, NOT_REPRODUCED, NEEDS_TRAINING, NEEDS_EVALUATION, CANNOT_BE_CHECKED)


@dataclass(frozen=True)
class Verdict:
    """What became of one entry, and why.

    Args:
        kind: one of `VERDICTS`.
        reason: a sentence.
        convention: the reading, or way of counting, under which it is reproduced.
        rounding: how the digits follow from the exact number, such as "to nearest".
        exact: the recomputed number of the stated model, in ones.
        explained: what gives the printed number, where it is not reproduced, the best first.
        remarks: what else there is to say.
        numbers: of a count that is reproduced, the model's number in each way of counting.
    """

    kind: str
    reason: str
    convention: str = ""
    rounding: str = ""
    exact: Fraction | None = None
    explained: tuple[Alternative, ...] = ()
    remarks: tuple[str, ...] = ()
    numbers: tuple[Alternative, ...] = ()
