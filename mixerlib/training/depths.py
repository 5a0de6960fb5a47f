"""ConvMixer and SplitMixer-I of several depths: their runs, what they cost, how far they differ.

>>> from mixerlib.records import read_records
>>> from mixerlib.training import Depths
>>> depths = Depths(read_records("book/records"))
>>> depths.gaps()[4].verdict("SplitMixer-I is better", "it is worse", "no difference shown")
'it is worse'

The models are those of cpu/FAMILY_64_4, and of the recipes under cpu/depth, which change the number
of blocks and nothing else. Chapter 16.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from mixerlib import costs
from mixerlib.models import model_entry
from mixerlib.training.comparison import Difference, difference_of_means
from mixerlib.training.grid import Grid
from mixerlib.training.recipe import Recipe
from mixerlib.training.recipe_files import list_recipes, load_recipe
from mixerlib.training.statistics import CONFIDENCE

Key = TypeVar("Key")
DEEPER = ("convmixer", "splitmixer_i")  # the families that are trained at several depths


@dataclass(frozen=True)
class Depths(Grid[int]):
    """The runs of the two families at the CPU scale, by family and number of blocks.

    Accuracies are those after the last epoch, in per cent, and differences are in points.

    >>> from mixerlib.records import read_records
    >>> from mixerlib.training import Depths
    >>> depths = Depths(read_records("book/records"))
    >>> [run.seed for run in depths.runs["splitmixer_i"][4]]
    [0, 1, 2]
    >>> depths.cost("splitmixer_i", 8, "params") < depths.cost("convmixer", 4, "params")
    True
    """

    @cached_property
    def recipes(self) -> dict[str, dict[int, Recipe]]:
        """Family → depth → the recipe, by depth; whether it has been run or not."""
        recipes: dict[str, dict[int, Recipe]] = {}
        for family in DEEPER:
            names = [f"cpu/{family}_64_4"]
            names += [name for name in list_recipes() if name.startswith(f"cpu/depth/{family}_64_")]
            by_depth = {int(name.rpartition("_")[2]): load_recipe(name) for name in names}
            recipes[family] = dict(sorted(by_depth.items()))
        return recipes

    @property
    def shared(self) -> list[int]:
        """The depths at which both families have runs, the least first."""
        return sorted(set.intersection(*(set(runs) for runs in self.runs.values())))

    def difference(
        self, first: tuple[str, int], second: tuple[str, int], confidence: float = CONFIDENCE
    ) -> Difference:
        """The mean of the second (family, depth) minus that of the first.

        Raises `ValueError` where one of the two has no run.
        """
        for family, depth in (first, second):
            if depth not in self.runs.get(family, {}):
                raise ValueError(f"`records` must hold a run of {family} with {depth} blocks")
        one, other = (self.runs[family][depth] for family, depth in (first, second))
        return difference_of_means(one, other, self.spread, confidence)

    def gaps(self, confidence: float = CONFIDENCE) -> dict[int, Difference]:
        """Depth → SplitMixer-I minus ConvMixer of as many blocks, in points.

        The intervals hold for all depths at once (Bonferroni's bound).
        """
        pairs = {d: (("convmixer", d), ("splitmixer_i", d)) for d in self.shared}
        return self._at_once(pairs, confidence)

    def at_twice_the_depth(self, confidence: float = CONFIDENCE) -> dict[int, Difference]:
        """ConvMixer's depth → SplitMixer-I of twice as many blocks minus that ConvMixer, in points.

        The intervals hold for all pairs at once (Bonferroni's bound).
        """
        pairs = {
            d: (("convmixer", d), ("splitmixer_i", 2 * d))
            for d in self.runs["convmixer"]
            if 2 * d in self.runs["splitmixer_i"]
        }
        return self._at_once(pairs, confidence)

    def steps(
        self, family: str, confidence: float = CONFIDENCE
    ) -> dict[tuple[int, int], Difference]:
        """Each pair of neighbouring depths of a family → what the added blocks add, in points.

        The intervals hold for all steps of this family at once (Bonferroni's bound).
        """
        depths = list(self.runs[family])
        pairs = {(d, e): ((family, d), (family, e)) for d, e in itertools.pairwise(depths)}
        return self._at_once(pairs, confidence)

    def _at_once(
        self, pairs: dict[Key, tuple[tuple[str, int], tuple[str, int]]], confidence: float
    ) -> dict[Key, Difference]:
        each = 1 - (1 - confidence) / max(1, len(pairs))
        return {key: self.difference(*pair, each) for key, pair in pairs.items()}

    def cost(self, family: str, depth: int, quantity: str) -> int:
        """The "params", "macs" or another quantity of `costs`, for one 32×32 image.

        Any number of blocks will do, trained or not.
        """
        recipe = next(iter(self.recipes[family].values()))
        options = dict(model_entry(recipe.model).defaults) | recipe.model_options
        options["depth"] = depth
        return costs.formulas(family).counts(options, image_size=32).total(quantity)
