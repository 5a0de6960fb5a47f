"""Families that are trained in several sizes: which runs there are, and how far they spread.

`Depths` and `Cuts` are such grids.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from mixerlib.records import Record
from mixerlib.training.comparison import accuracies
from mixerlib.training.recipe import Recipe
from mixerlib.training.statistics import Spread, runs_of, spread

Size = TypeVar("Size", bound=int | str)  # a number of blocks, or a cut


@dataclass(frozen=True)
class Grid(ABC, Generic[Size]):
    """Recipes by family and size, and the records that there are of them.

    Accuracies are those after the last epoch, in per cent, differences are in points, and a
    deviation is that of single runs about the mean of their family and size, pooled over all.
    """

    records: Sequence[Record]

    @property
    @abstractmethod
    def recipes(self) -> Mapping[str, Mapping[Size, Recipe]]:
        """Family → size → the recipe, whether it has been run or not."""

    @cached_property
    def runs(self) -> dict[str, dict[Size, list[Record]]]:
        """Family → those of its sizes that have runs → their records, by seed.

        A record counts by its recipe's name and settings; one of another scale never does.
        """
        return {
            family: {
                size: of_recipe
                for size, recipe in recipes.items()
                if (of_recipe := runs_of(recipe, self.records))
            }
            for family, recipes in self.recipes.items()
        }

    @cached_property
    def spread(self) -> Spread:
        """The deviation of single runs, in points, pooled over all families and sizes."""
        return spread([accuracies(runs) for rows in self.runs.values() for runs in rows.values()])
