"""The mixers and their relatives, trained alike with about the same number of parameters.

>>> from mixerlib.records import read_records
>>> from mixerlib.training import Relatives
>>> field = Relatives(read_records("book/records"))
>>> len(field.recipes), field.cost("convmixer", "params"), field.cost("vit", "params")
(18, 28234, 29550)

The recipes are those of the mixers at the CPU scale and all of cpu/relatives. Chapter 24.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mixerlib import checks, costs
from mixerlib.models import model_entry
from mixerlib.records import Record
from mixerlib.training.comparison import (
    STRATEGIES,
    Difference,
    accuracies,
    difference_of_means,
)
from mixerlib.training.recipe import Recipe
from mixerlib.training.recipe_files import list_recipes, load_recipe
from mixerlib.training.statistics import CONFIDENCE, Spread, runs_of, spread

# The families of mixers that the relatives are compared with
MIXERS = (*STRATEGIES, "mlp_mixer")
APART = ("s_fc",)  # which cannot be as small as the others


@dataclass(frozen=True)
class Relatives:
    """The runs of all that is trained alike at the CPU scale, by family.

    Accuracies are those of the test set after the last epoch, in per cent, and differences are in
    points. Families without a run are left out of what compares runs, and named by `missing`.

    >>> from mixerlib.records import read_records
    >>> from mixerlib.training import Relatives
    >>> field = Relatives(read_records("book/records"))
    >>> [run.seed for run in field.runs["mlp_mixer"]]
    [0, 1, 2]
    """

    records: Sequence[Record]

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """Family → its recipe, the mixers first; whether it has been run or not."""
        names = [f"cpu/{family}_64_4" for family in STRATEGIES] + ["cpu/mlp_mixer_32_4"]
        names += [name for name in list_recipes() if name.startswith("cpu/relatives/")]
        loaded = [load_recipe(name) for name in names]
        return {model_entry(recipe.model).family: recipe for recipe in loaded}

    @cached_property
    def runs(self) -> dict[str, list[Record]]:
        """Those of the families that have runs → their records, by seed."""
        runs = {family: runs_of(recipe, self.records) for family, recipe in self.recipes.items()}
        return {family: records for family, records in runs.items() if records}

    def missing(self, seeds: int = 3) -> dict[str, int]:
        """Each family that has fewer runs than `seeds` → how many it lacks."""
        lacks = {family: seeds - len(self.runs.get(family, [])) for family in self.recipes}
        return {family: lack for family, lack in lacks.items() if lack > 0}

    @cached_property
    def spread(self) -> Spread:
        """The deviation of single runs, in points, pooled over all families."""
        return spread([accuracies(runs) for runs in self.runs.values()])

    def options(self, family: str) -> dict[str, Any]:
        """All options of a family's model, as `create_model` takes them."""
        recipe = self.recipes[checks.one_of("family", family, tuple(self.recipes))]
        return dict(model_entry(recipe.model).defaults) | recipe.model_options

    def cost(self, family: str, quantity: str) -> int:
        """The "params" or "macs" of a family, for one 32×32 image, by its closed form."""
        options = self.options(family)
        if family in costs.SIZED:
            return costs.size_formulas(family).counts(options, image_size=32).total(quantity)
        return costs.formulas(family).counts(options, image_size=32).total(quantity)

    def mean(self, family: str) -> tuple[float, float | None]:
        """A family's mean accuracy, in per cent, and half the width of its interval; None where no
        spread is known. Raises `ValueError` for a family without runs."""
        runs = self.runs[checks.one_of("family", family, tuple(self.runs))]
        known = self.spread.freedom > 0
        half_width = self.spread.half_width_of_mean(len(runs)) if known else None
        return float(accuracies(runs).mean()), half_width

    def above(
        self, base: str = "convmixer", confidence: float = CONFIDENCE
    ) -> dict[str, Difference]:
        """How far the mean of each other family lies above that of `base`, in points.

        The intervals hold for all of them at once (Bonferroni's bound). Raises `ValueError` for a
        base without runs.
        """
        checks.one_of("base", base, tuple(self.runs))
        others = [family for family in self.runs if family != base]
        each = 1 - (1 - confidence) / max(1, len(others))
        return {
            family: difference_of_means(self.runs[base], self.runs[family], self.spread, each)
            for family in others
        }

    def contrast(
        self, first: Sequence[str], second: Sequence[str], confidence: float = CONFIDENCE
    ) -> Difference:
        """The mean of the second families' means minus that of the first's, in points.

        Families without runs are left out. The interval is for these families as they are: it says
        how far more seeds might move the difference, not other families. Raises `ValueError` where
        one side has no run at all.
        """
        sides = [[family for family in side if family in self.runs] for side in (first, second)]
        for name, side in zip(("first", "second"), sides, strict=True):
            if not side:
                raise ValueError(f"`{name}` must hold a family with runs")
        means = [np.mean([self.mean(family)[0] for family in side]) for side in sides]
        variance = sum(
            sum(1 / len(self.runs[family]) for family in side) / len(side) ** 2 for side in sides
        )
        half_width = None
        if self.spread.freedom:
            half_width = self.spread.half_width_of_mean(1, confidence) * float(np.sqrt(variance))
        return Difference(float(means[1] - means[0]), half_width)
