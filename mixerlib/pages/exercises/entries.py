"""The exercises by name, and `check`."""

import functools
import importlib
from collections.abc import Callable

from mixerlib.checks import did_you_mean, shown
from mixerlib.pages.exercises.judges import Judge, Numbers
from mixerlib.pages.exercises.outcome import Outcome
from mixerlib.pages.exercises.running import SECONDS, Refused, Unanswered, is_open, within

CHAPTERS = (
    "patches",
    "mlp_mixer",
    "tweet_of_convmixer",
    "counting",
    "spatial_split",
    "puzzles",
    "splitmixer_i",
    "splitmixer_ii",
    "splitmixer_iii",
    "splitmixer_iv",
    "splitmixer_v",
    "design_space",
    "augmentation",
    "training_runs",
    "whole_runs",
    "results",
    "ablations",
    "depth_and_width",
    "throughput",
    "roofline",
    "folding_norms",
    "filters",
    "information_flow",
    "fields_and_gradients",
    "attribution",
    "imagenet_scale",
    "relatives",
    "deployment",
    "own_mixer",
)  # modules, in the book's order
_entries: dict[str, Callable[[], Judge]] = {}


def exercise(name: str) -> Callable[[Callable[[], Judge]], Callable[[], Judge]]:
    """A decorator: what it decorates makes the judge of the exercise with this name.

    The name is the label of the exercise in its chapter, without `ex-`. The judge is made when an
    answer is first checked.
    """

    def enter(make: Callable[[], Judge]) -> Callable[[], Judge]:
        if name in _entries:
            raise ValueError(f"`name`={name!r} must be new: there is such an exercise")
        _entries[name] = functools.cache(make)
        return make

    return enter


def names() -> list[str]:
    """The names of all exercises that `check` knows, in the book's order."""
    for chapter in CHAPTERS:
        importlib.import_module(f"{__package__}.{chapter}")
    return [*_entries]


def judge_of(name: str) -> Judge:
    """The judge of an exercise; `ValueError` with near names for one that there is not."""
    known = names()
    if not isinstance(name, str) or name not in _entries:
        near = did_you_mean(str(name), known, "the stub below its text has its name")
        raise ValueError(f"`name`={shown(name)} must be the name of an exercise: {near}")
    return _entries[name]()


def check(name: str, answer: object) -> Outcome:
    """Say whether an answer to an exercise is right, with yours beside the expected.

    The outcome is true where it is right, and shows itself at the end of a cell. A wrong answer
    never raises: a plausible one gets a message of its own, and of one that raises or hangs it says
    what happened.

    `name` is that of the stub under the exercise; `ValueError` for a name that no exercise has.

    >>> from mixerlib.pages import check
    >>> bool(check("one-1", ...))
    False
    """
    judge = judge_of(name)
    try:
        if is_open(answer):
            raise Unanswered
        verdict = within(SECONDS, lambda: judge.verdict(answer))
    except Unanswered:
        right = judge.verdict(judge.right())
        return Outcome(
            name,
            False,
            f"No answer yet. {judge.form}",
            correct=right.rows,
            correct_picture=right.picture,
            fields=judge.fields() if isinstance(judge, Numbers) else None,
        )
    except Refused as problem:
        return Outcome(name, False, f"Not yet. {problem}")
    except TimeoutError as problem:
        return Outcome(name, False, f"Not yet. Your answer was stopped: {problem}.")
    except KeyboardInterrupt:  # the reader's, who is tired of waiting
        raise
    except BaseException as problem:  # an answer can be anything, `exit()` too
        what = f"It raises {type(problem).__name__}: {shown(str(problem))}."
        return Outcome(name, False, f"Not yet. {what} {judge.form}")
    if verdict.passed:
        return Outcome(name, True, "Right.", verdict.rows, verdict.picture)
    message = verdict.message or "Compare the lines with a ✗."
    return Outcome(name, False, f"Not yet. {message}", verdict.rows, verdict.picture)
