"""What a handful of runs can say: the runs of a recipe, and how far a mean of them may be off.

>>> from mixerlib.records import read_records
>>> from mixerlib.training import accuracies, load_recipe, runs_of, spread
>>> runs = runs_of(load_recipe("cpu/splitmixer_i_64_4"), read_records("book/records"))
>>> of_three = accuracies(runs[:3])  # in per cent
>>> round(float(of_three.mean()), 2), round(spread([of_three]).half_width_of_mean(3), 2)
(69.83, 2.43)

Runs are taken as draws from a normal distribution. Chapter 14 derives the formulas and checks them
by simulation.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import scipy  # loads `scipy.stats`, which takes a second, when it is used

from mixerlib.records import Record
from mixerlib.training.recipe import FORM_FIELDS, Recipe, current_settings

CONFIDENCE = 0.95  # the share of experiments in which an interval covers what it is for
POWER = 0.8  # the share of experiments in which a true difference is shown
# settings that differ from run to run, or decide how fast it goes and how often it is looked at
FREE = ("seed", "evaluate_every", *FORM_FIELDS)


def runs_of(recipe: Recipe, records: Sequence[Record]) -> list[Record]:
    """The runs of a recipe, by seed: its name and its settings, but for those in `FREE`.

    Raises `ValueError` when two of them have the same seed: a run must not count twice.
    """
    settings = json.loads(json.dumps(asdict(recipe), default=str))  # in the form of a record's
    del settings["name"]
    by_seed: dict[int, Record] = {}
    for record in records:
        recorded = current_settings(record.settings)
        free = {name: recorded.get(name) for name in FREE}
        if record.recipe == recipe.name and recorded == settings | free:
            if record.seed in by_seed:
                raise ValueError(f"`records` must hold seed {record.seed} of {recipe.name} once")
            by_seed[record.seed] = record
    return [by_seed[seed] for seed in sorted(by_seed)]


@dataclass(frozen=True)
class Spread:
    """A standard deviation of single runs, and the degrees of freedom it was estimated with.

    The methods give half the width of an interval, in the unit of the deviation. They raise
    `ValueError` when `freedom` is 0: then the spread is not known. Chapter 14.
    """

    deviation: float
    freedom: int

    def half_width_of_mean(self, n: int, confidence: float = CONFIDENCE) -> float:
        """Half the width of the confidence interval around a mean of n runs.

        The interval covers the expected accuracy, the mean of infinitely many runs, with
        probability `confidence`.
        """
        return self._quantile(confidence) * self.deviation / math.sqrt(n)

    def half_width_of_difference(self, n: int, m: int, confidence: float = CONFIDENCE) -> float:
        """The same around the difference of the means of n and of m runs.

        With m = 1 it says where one more run will lie, seen from the mean of n.
        """
        return self._quantile(confidence) * self.deviation * math.sqrt(1 / n + 1 / m)

    def half_width_of_any_difference(
        self, n: int, m: int, groups: int, confidence: float = CONFIDENCE
    ) -> float:
        """The same when every pair among so many means is compared: holds for all pairs at once.

        Tukey's intervals, in Kramer's form where n and m differ.
        """
        self._needs_freedom()
        factor = _studentised_range(confidence, groups, self.freedom)
        return factor * self.deviation * math.sqrt((1 / n + 1 / m) / 2)

    def _quantile(self, confidence: float) -> float:
        self._needs_freedom()
        return float(scipy.stats.t.ppf((1 + confidence) / 2, self.freedom))

    def _needs_freedom(self) -> None:
        if self.freedom < 1:
            raise ValueError(
                f"`freedom`={self.freedom} must be at least 1: one run alone has no spread"
            )


@cache
def _studentised_range(confidence: float, groups: int, freedom: int) -> float:
    # takes 0.3 seconds
    return float(scipy.stats.studentized_range.ppf(confidence, groups, freedom))


def spread(groups: Sequence[Sequence[float] | np.ndarray]) -> Spread:
    """The standard deviation within groups of runs, pooled: each about its own mean.

    It takes the groups to be equally wide. With one group it is the sample's standard deviation.
    Groups of one run add nothing; where there are no others, the deviation is nan with 0 degrees of
    freedom. Chapter 14.

    >>> from mixerlib.training import spread
    >>> spread([[70.0, 71.0, 72.0], [80.0, 82.0]])
    Spread(deviation=1.1547005383792515, freedom=3)
    """
    values = [np.asarray(group, dtype=float) for group in groups if len(group)]
    freedom = sum(len(group) - 1 for group in values)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in values)
    return Spread(math.sqrt(squares / freedom) if freedom else math.nan, freedom)


def spread_beside_seeds(table: np.ndarray) -> Spread:
    """The standard deviation that is left in a table (recipes, seeds) when each recipe and each
    seed may have a level of its own.

    It is smaller than the pooled one when a seed is good, or bad, for all recipes alike.
    """
    table = np.asarray(table, dtype=float)
    recipes, seeds = table.shape
    freedom = (recipes - 1) * (seeds - 1)
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return Spread(math.sqrt((left**2).sum() / freedom) if freedom else math.nan, freedom)


def power(
    difference: float, n: int, freedom: int | None = None, confidence: float = CONFIDENCE
) -> float:
    """The probability that n runs on each side show a difference, in standard deviations of a run.

    Shown means: the interval of the difference, at this confidence, leaves 0 out. `freedom` is that
    of the spread, 2n − 2 where these runs alone tell it. Chapter 14.
    """
    freedom = 2 * n - 2 if freedom is None else freedom
    limit = scipy.stats.t.ppf((1 + confidence) / 2, freedom)
    shift = abs(difference) * math.sqrt(n / 2)
    below = scipy.stats.nct.cdf(-limit, freedom, shift)
    wrong_way = 0.0 if math.isnan(below) else below  # too small a number for scipy is nan there
    return float(scipy.stats.nct.sf(limit, freedom, shift) + wrong_way)


def smallest_difference(
    n: int,
    freedom: int | None = None,
    target_power: float = POWER,
    confidence: float = CONFIDENCE,
) -> float:
    """The smallest difference, in standard deviations of a run, that n runs on each side show with
    the probability `target_power`. The others as of `power`. Chapter 14.
    """
    low, high = 0.0, 1.0
    while power(high, n, freedom, confidence) < target_power:
        high *= 2
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        short = power(middle, n, freedom, confidence) < target_power
        low, high = (middle, high) if short else (low, middle)
    return high


def seeds_needed(
    difference: float, target_power: float = POWER, confidence: float = CONFIDENCE
) -> int:
    """How many runs on each side show a difference with the probability `target_power`.

    `difference` is in standard deviations of a run; `confidence` is that of the interval.
    Raises `ValueError` for a difference that is not above 0. Chapter 14.

    >>> from mixerlib.training import seeds_needed
    >>> [seeds_needed(difference) for difference in (0.5, 1.0, 2.0)]
    [64, 17, 6]
    """
    if not difference > 0:
        raise ValueError(f"`difference`={difference!r} must be above 0")
    quantiles = scipy.stats.norm.ppf((1 + confidence) / 2) + scipy.stats.norm.ppf(target_power)
    n = max(2, math.floor(2 * (quantiles / difference) ** 2))  # enough if the spread were known
    while power(difference, n, confidence=confidence) < target_power:
        n += 1
    return n
