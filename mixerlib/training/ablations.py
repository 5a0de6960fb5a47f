"""The ablations of SplitMixer-I beside the whole model: their runs, and what each piece is worth.

>>> from mixerlib.records import read_records
>>> from mixerlib.training import Ablations
>>> rows = Ablations(read_records("book/records"))
>>> rows.differences()["channel_only"].verdict("better", "worse", within="unclear")
'worse'

An ablation is a recipe under cpu/ablation, which takes one piece of `WHOLE` away, moves it or
replaces it. The changes that a search tries, one at a time, lie in a folder of the same kind.
Chapter 15.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mixerlib.records import Record
from mixerlib.training.comparison import Difference, accuracies, difference_of_means
from mixerlib.training.recipe_files import list_recipes, load_recipe
from mixerlib.training.statistics import (
    CONFIDENCE,
    POWER,
    Spread,
    runs_of,
    smallest_difference,
    spread,
)

FOLDER = "cpu/ablation/"
WHOLE = "whole"  # the row that the others are compared with: nothing is taken away


@dataclass(frozen=True)
class Ablations:
    """Changes to one recipe, by their recipes' names without the folder, and their runs: the
    ablations at the CPU scale, or those of another folder against its base.

    Args:
        records: of any runs; those of other recipes do not count.
        folder: whose recipes are compared, with a / at its end.
        base: the name in it of the recipe that nothing is changed in.

    Accuracies are those after the last epoch, in per cent, differences are in points, and a
    deviation is that of single runs about the mean of their row, pooled over all rows.

    >>> from mixerlib.records import read_records
    >>> from mixerlib.training import Ablations
    >>> rows = Ablations(read_records("book/records"))
    >>> len(rows.runs["whole"]), rows.runs["relu"][0].recipe
    (3, 'cpu/ablation/relu')
    """

    records: Sequence[Record]
    folder: str = FOLDER
    base: str = WHOLE

    @cached_property
    def runs(self) -> dict[str, list[Record]]:
        """Those of the rows that have runs → their records, by seed. The base comes first.

        A record counts for a row by its recipe's name and settings: one of another scale never
        does.
        """
        names = (name for name in list_recipes() if name.startswith(self.folder))
        short = (name.removeprefix(self.folder) for name in names)
        rows = sorted(short, key=lambda row: row != self.base)
        runs = {row: runs_of(load_recipe(self.folder + row), self.records) for row in rows}
        return {row: records for row, records in runs.items() if records}

    @cached_property
    def spread(self) -> Spread:
        """The deviation of single runs, in points, pooled over the rows."""
        return spread([accuracies(runs) for runs in self.runs.values()])

    def difference(
        self, row: str, base: str | None = None, confidence: float = CONFIDENCE
    ) -> Difference:
        """The mean of a row minus that of another one, if not given the base, with the interval of
        this comparison alone.

        Raises `ValueError` where one of the two has no run.

        >>> from mixerlib.records import read_records
        >>> from mixerlib.training import Ablations
        >>> rows = Ablations(read_records("book/records"))
        >>> rows.difference("spatial_only", "channel_only").verdict("better", "worse", "unclear")
        'better'
        """
        base = base or self.base
        for name in (base, row):
            if name not in self.runs:
                raise ValueError(f"`records` must hold a run of {self.folder}{name}")
        return difference_of_means(self.runs[base], self.runs[row], self.spread, confidence)

    def differences(
        self, confidence: float = CONFIDENCE, without: Sequence[str] = ()
    ) -> dict[str, Difference]:
        """Every row's difference from the base, the largest loss first; of the rows `without` none.

        The intervals hold for all rows at once, with probability `confidence` at least: each of the
        G alone may fail with (1 − `confidence`)/G, which is Bonferroni's bound.
        """
        rows = [row for row in self.runs if row not in (self.base, *without)]
        each = 1 - (1 - confidence) / max(1, len(rows))
        of_all = {row: self.difference(row, confidence=each) for row in rows}
        return dict(sorted(of_all.items(), key=lambda item: item[1].points))

    def smallest(self, n: int, confidence: float = CONFIDENCE) -> float:
        """The smallest difference from the base, in points, that n runs on each side show in
        80 of 100 experiments, by the intervals of `differences`. Chapter 14.
        """
        each = 1 - (1 - confidence) / max(1, len(self.runs) - 1)
        shown = smallest_difference(n, self.spread.freedom, POWER, each)
        return shown * self.spread.deviation


def ablation(change: str, records: Sequence[Record]) -> Difference:
    """What a change adds to SplitMixer-I's accuracy at the CPU scale: the runs of the recipe
    cpu/ablation/`change` against those of cpu/ablation/whole, with the spread of all ablations.

    Raises `ValueError` where one of the two has no run.

    >>> from mixerlib.records import read_records
    >>> from mixerlib.training import ablation
    >>> ablation("no_clipping", read_records("book/records")).verdict("better", "worse", "unclear")
    'unclear'
    """
    return Ablations(records).difference(change)
