"""SplitMixers of several shares or numbers of segments: their runs, costs, how far they differ.

>>> from mixerlib.records import read_records
>>> from mixerlib.training import Cuts
>>> cuts = Cuts(read_records("book/records"))
>>> cuts.cost("splitmixer_ii", 8, "params") < cuts.cost("splitmixer_ii", 2, "params")
True

The models are those of cpu/STRATEGY_64_4, and of the recipes under cpu/split, which change the
share α of strategy I, or the number s of segments of II, III and IV, and nothing else. Chapters 06
and 07.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import hypot
from typing import Any

import torch

from mixerlib import costs
from mixerlib.models import create_model, model_entry
from mixerlib.training.comparison import (
    SHUFFLED,
    Difference,
    difference_of_means,
    mean_of,
)
from mixerlib.training.grid import Grid
from mixerlib.training.recipe import Recipe
from mixerlib.training.recipe_files import list_recipes, load_recipe
from mixerlib.training.statistics import CONFIDENCE

Cut = str | int  # a ratio such as "3/5", or a number of segments
# The strategies that are trained with several cuts
CUT = ("splitmixer_i", *(name.removesuffix("_shuffle") for name in SHUFFLED), *SHUFFLED)


def _share(cut: Cut) -> Fraction:
    """Of the channels that one segment holds: α, or 1/s."""
    return Fraction(cut) if isinstance(cut, str) else Fraction(1, cut)


@dataclass(frozen=True)
class Cuts(Grid[Cut]):
    """The runs of the strategies at the CPU scale, by how they are cut.

    A strategy is one of `CUT`: "splitmixer_i", or II, III or IV, with "_shuffle" behind or not.
    Accuracies are those after the last epoch, in per cent, and differences are in points.

    >>> from mixerlib.records import read_records
    >>> from mixerlib.training import Cuts
    >>> [*Cuts(read_records("book/records")).recipes["splitmixer_i"]]
    ['2/3', '3/5', '4/7', '5/9', '6/11']
    """

    @cached_property
    def recipes(self) -> dict[str, dict[Cut, Recipe]]:
        """Strategy → cut → the recipe, from the least cut on; whether it has been run or not."""
        recipes: dict[str, dict[Cut, Recipe]] = {}
        for strategy in CUT:
            name = re.compile(rf"cpu/({strategy}_64_4|split/{strategy}_(\d+_\d+|s\d+))")
            of_strategy = [load_recipe(one) for one in list_recipes() if name.fullmatch(one)]
            options = [model_entry(one.model).defaults | one.model_options for one in of_strategy]
            key = "ratio" if strategy == "splitmixer_i" else "segments"
            by_cut = {of[key]: one for of, one in zip(options, of_strategy, strict=True)}
            recipes[strategy] = dict(sorted(by_cut.items(), key=lambda item: -_share(item[0])))
        return recipes

    def against_the_least(
        self, strategy: str, confidence: float = CONFIDENCE
    ) -> dict[Cut, Difference]:
        """Each further cut that has runs → its mean minus that of the strategy's first cut.

        The intervals hold for all cuts of this strategy at once (Bonferroni's bound).
        """
        rows = dict(self.runs[strategy])
        first = rows.pop(next(iter(self.recipes[strategy])), None)
        if first is None:
            return {}
        each = 1 - (1 - confidence) / max(1, len(rows))
        return {
            cut: difference_of_means(first, runs, self.spread, each) for cut, runs in rows.items()
        }

    def shuffle_gains(self, confidence: float = CONFIDENCE) -> dict[tuple[str, Cut], Difference]:
        """(Strategy, segments) that has run with a shuffle and without → what the shuffle adds.

        Each interval holds by itself.
        """
        return {
            (plain, cut): difference_of_means(without, dealt[cut], self.spread, confidence)
            for plain, rows in self.runs.items()
            if (dealt := self.runs.get(f"{plain}_shuffle"))
            for cut, without in rows.items()
            if cut in dealt
        }

    def growth_of_the_gain(
        self, few: int, many: int, confidence: float = CONFIDENCE
    ) -> Difference | None:
        """What the shuffle adds with many segments minus what it adds with few, in points: the mean
        of the strategies that have all four; None where none has.
        """
        gains = self.shuffle_gains(confidence)
        pairs = [
            (gains[plain, few], gains[plain, many])
            for plain, cut in gains
            if cut == few and (plain, many) in gains
        ]
        growths = [
            Difference(
                more.points - less.points,
                None
                if less.half_width is None or more.half_width is None
                else hypot(less.half_width, more.half_width),
            )
            for less, more in pairs
        ]
        return mean_of(growths) if growths else None

    def _options(self, strategy: str, cut: Cut) -> tuple[Recipe, dict[str, Any]]:
        """The recipe of a strategy and cut, and all options of its model."""
        if cut not in self.recipes.get(strategy, {}):
            raise ValueError(f"`cut`={cut!r} of {strategy!r} must be that of a recipe")
        recipe = self.recipes[strategy][cut]
        return recipe, model_entry(recipe.model).defaults | recipe.model_options

    def cost(self, strategy: str, cut: Cut, quantity: str) -> int:
        """The "params", "macs" or another quantity of `costs`, for one 32×32 image.

        Raises `ValueError` for a cut that has no recipe.
        """
        recipe, options = self._options(strategy, cut)
        family = model_entry(recipe.model).family
        return costs.formulas(family).counts(options, image_size=32).total(quantity)

    def reach(self, strategy: str, cut: Cut) -> float:
        """The share of pairs of channels in which one can hear the other, after all blocks.

        Raises `ValueError` for a cut that has no recipe.
        """
        recipe, options = self._options(strategy, cut)
        with torch.device("meta"):  # only the shapes matter
            model = create_model(recipe.model, **options)
        return float(costs.reach(model.num_features, costs.mixing_steps(model)).mean())
