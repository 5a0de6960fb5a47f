"""What else a printed number could be the number of, where the stated model does not have it."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from mixerlib import costs
from mixerlib.pages.audit.counting import CONVENTIONS, HABITS, fits, ways_of
from mixerlib.pages.audit.entries import Configuration, Entry, Way, configurations

MIXERS = tuple(family for family in costs.FAMILIES if family != "mlp_mixer")
CHANGES: dict[str, tuple[Any, ...]] = {
    "kernel_size": tuple(range(1, 16)),
    "patch_size": (1, 2, 4, 7, 8, 14, 16, 32),
    "num_classes": (10, 100, [10, 100], 101, 102, 1000),
    "ratio": tuple(str(Fraction(i, 2 * i - 1)) for i in range(2, 7)),
    "segments": tuple(range(2, 9)),
    "family": MIXERS,
}
_WORDS = {
    "kernel_size": "kernel size {}",
    "patch_size": "patch size {}",
    "num_classes": "{} classes",
    "ratio": "α = {}",
    "segments": "s = {}",
}


@dataclass(frozen=True)
class Alternative:
    """Something else that a number could be the number of."""

    text: str
    value: Fraction  # in ones
    convention: str
    rounding: str | None  # None: the printed digits do not come out


def _changed(option: str, stated: Configuration) -> Iterator[tuple[str, Configuration]]:
    """Every change of one option (or of the family) of a model, in words."""
    if option == "family":
        for family in MIXERS if stated.family in MIXERS else ():
            if family != stated.family:
                yield (other := stated.become(family)).title, other
    elif option in stated.options:
        for value in CHANGES[option]:
            if value != stated.options[option]:
                text = _WORDS[option].format(value).replace("[10, 100]", "a mean over 10 and 100")
                yield text, replace(stated, options={**stated.options, option: value})


def candidates(entry: Entry, changes: int = 1) -> Iterator[Alternative]:
    """What else the number of an entry could be: a number with fewer digits and zeros added; tools'
    habits; the stated model with one option changed. With `changes` 2: with two options changed."""
    usual, habits = ways_of(entry), HABITS[entry.quantity]
    for stated in configurations(entry):
        if changes == 2:
            for first, second in itertools.combinations(CHANGES, 2):
                for text, once in _changed(first, stated):
                    for more, twice in _changed(second, once):
                        yield from compare(f"{more}, {text}", twice, usual, entry)
            continue
        if entry.printed.endswith("0") and entry.decimals > 1:
            shorter = replace(entry, printed=entry.printed[:-1])
            which = f" of {stated.title}" if entry.unstated else ""
            yield from compare(f"a digit fewer{which}, then a zero", stated, usual, shorter)
        for habit, way in habits.items():
            yield from compare(habit, stated, {"": way}, entry)
        for option in CHANGES:
            for text, other in _changed(option, stated):
                yield from compare(text, other, usual, entry)


def compare(
    text: str, changed: Configuration, ways: Mapping[str, Way], entry: Entry
) -> Iterator[Alternative]:
    """A model's number in each way of counting, beside the printed one: nothing for sizes that no
    model could have."""
    for convention, way in ways.items():
        try:
            value = changed.count(way)
        except ValueError:  # no model has these sizes: the patch divides the image, for one
            return
        yield Alternative(text, value, convention, fits(entry, value))


def explanations(entry: Entry) -> tuple[list[Alternative], int]:
    """The alternatives under which the printed digits come out, and how many were tried. Two
    changes at once are tried only when no single one will do."""
    tried, fitting = 0, []
    for changes in (1, 2):
        for alternative in candidates(entry, changes):
            tried += 1
            if alternative.rounding:
                fitting.append(alternative)
        if fitting:
            break
    return fitting, tried


def parameter_twins(entry: Entry) -> list[Alternative]:
    """For a number that cannot be a throughput: the models of the same sizes whose parameters, in
    millions, have its digits."""
    as_parameters = replace(entry, quantity="parameters", unit="M")
    ways = CONVENTIONS["parameters"]
    return [
        fit
        for stated in configurations(entry)
        for text, model in [(stated.title, stated), *_changed("family", stated)]
        for fit in compare(text, model, ways, as_parameters)
        if fit.rounding
    ]
