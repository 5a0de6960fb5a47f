"""Exercises without their solutions, for those who teach: `make book SOLUTIONS=no`."""

import os
import re

# What stands between these two lines, with both, is a solution; the fences may have any length.
FENCE = r"^(?::{3,}|`{3,})"
SOLUTION = re.compile(
    FENCE + r"\{solution-start\}(?:(?!\{solution).)*?"
    "\n" + FENCE[1:] + r"\{solution-end\}[^\n]*\n(?:[^\n]*\n)*?" + FENCE + r"[ \t]*$\n?",
    re.M | re.S,
)


def are_shown() -> bool:
    """Whether solutions are to be shown: unless the variable SOLUTIONS says "no".

    Raises `ValueError` for another word than "yes" and "no".
    """
    word = os.environ.get("SOLUTIONS") or "yes"
    if word not in ("yes", "no"):
        raise ValueError(f"`SOLUTIONS`={word!r} must be yes or no")
    return word == "yes"


def without_solutions(text: str) -> str:
    """A chapter's text with its solutions left out, hints and exercises kept.

    Raises `ValueError` where one begins and does not end, so that none is shown by mistake.
    """
    rest = SOLUTION.sub("", text)
    if re.search(r"^[:`]{3,}\{solution", rest, re.M):
        raise ValueError("a solution begins or ends alone: what belongs to it is not known")
    return rest
