"""The strategies of one scale beside one another: their runs, what they cost, how far they differ.

>>> from mixerlib.records import read_records
>>> from mixerlib.training import Scale
>>> scale = Scale("cpu/{}_64_4", read_records("book/records"))
>>> len(scale.runs()["splitmixer_i"])  # its records, by seed
3
>>> difference = scale.below("convmixer")["splitmixer_i"]
>>> difference.verdict(above="worse", below="better", within="none shown")
'worse'

Accuracies are those of the test set after the last epoch, in per cent, and differences are in
points. Chapter 14 derives the intervals.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from mixerlib import costs
from mixerlib.models import create_model, model_entry
from mixerlib.records import Epoch, Record
from mixerlib.training.recipe_files import load_recipe
from mixerlib.training.statistics import CONFIDENCE, Spread, runs_of, spread

# The families that are compared, ConvMixer and every SplitMixer
STRATEGIES = tuple(family for family in costs.FAMILIES if family != "mlp_mixer")
# The names of the strategies with shuffle, as recipes have them
SHUFFLED = tuple(f"splitmixer_{name}_shuffle" for name in ("ii", "iii", "iv"))


@dataclass(frozen=True)
class Difference:
    """A difference in points, and half the width of its interval; None where no spread is known."""

    points: float
    half_width: float | None

    def verdict(
        self, above: str, below: str, within: str, unknown: str = "spread not known"
    ) -> str:
        """Which of four words fits: the interval lies `above` 0, `below` it, or holds 0.

        >>> from mixerlib.training import Difference
        >>> Difference(points=1.2, half_width=0.7).verdict("higher", "lower", "no difference shown")
        'higher'
        """
        if self.half_width is None:
            return unknown
        if abs(self.points) <= self.half_width:
            return within
        return above if self.points > 0 else below


@dataclass(frozen=True)
class Scale:
    """The recipes of one size and data set, and the records that there are of them.

    `template` is a recipe's name with {} for the strategy: "cpu/{}_64_4". A strategy is a family,
    or one of `SHUFFLED`. Chapter 14.

    >>> from mixerlib.records import read_records
    >>> from mixerlib.training import Scale
    >>> scale = Scale("cpu/{}_64_4", read_records("book/records"))
    >>> [run.test_accuracy for run in scale.runs()["splitmixer_i"]]  # by seed
    [0.6879, 0.6996, 0.7073]
    >>> scale.cost("splitmixer_i", "params"), scale.cost("convmixer", "params")
    (15746, 28234)
    """

    template: str
    records: Sequence[Record]

    def recipe_name(self, family: str) -> str:
        """The name of the recipe that trains a family at this scale."""
        return self.template.format(family)

    def runs(self, families: Collection[str] = STRATEGIES) -> dict[str, list[Record]]:
        """Those of the families that have runs → their records, by seed."""
        runs = {
            family: runs_of(load_recipe(self.recipe_name(family)), self.records)
            for family in families
        }
        return {family: records for family, records in runs.items() if records}

    @cached_property
    def models(self) -> dict[str, list[Record]]:
        """All runs, shuffled ones too. The 3-D form and III with a shuffle are one model; where
        both have a run of a seed, that of III with a shuffle counts.
        """
        runs = self.runs((*STRATEGIES, *SHUFFLED))
        both = runs.pop("splitmixer_3d", []) + runs.get("splitmixer_iii_shuffle", [])
        once = {run.seed: run for run in both}  # the later one of a seed stays
        return runs | ({"splitmixer_iii_shuffle": [*once.values()]} if once else {})

    @cached_property
    def spread(self) -> Spread:
        """The deviation of single runs, in points, pooled over the models."""
        return spread([accuracies(runs) for runs in self.models.values()])

    def yardstick(self, families: Collection[str] = STRATEGIES) -> float:
        """`yardstick` at the mean accuracy of the families' runs."""
        runs = self.runs(families)
        level = np.mean([accuracies(records).mean() for records in runs.values()])
        return yardstick(float(level), next(iter(runs.values()))[0].test_images)

    def cost(self, family: str, quantity: str) -> int:
        """A strategy's "params", "macs" or other quantity of `costs`, for a 32×32 image."""
        recipe = load_recipe(self.recipe_name(family))
        entry = model_entry(recipe.model)
        options = dict(entry.defaults) | recipe.model_options
        return costs.formulas(entry.family).counts(options, image_size=32).total(quantity)

    def reach(self, family: str) -> float:
        """The share of pairs of channels in which one can hear the other, after all blocks."""
        recipe = load_recipe(self.recipe_name(family))
        with torch.device("meta"):  # only the shapes matter
            model = create_model(recipe.model, **recipe.model_options)
        return float(costs.reach(model.num_features, costs.mixing_steps(model)).mean())

    def difference(
        self, first: Sequence[Record], second: Sequence[Record], confidence: float = CONFIDENCE
    ) -> Difference:
        """The mean of the second runs minus that of the first, by the scale's pooled spread."""
        return difference_of_means(first, second, self.spread, confidence)

    def below(self, base: str) -> dict[str, Difference]:
        """How far each other strategy's mean lies below that of `base`."""
        runs = self.runs()
        return {
            family: self.difference(records, runs[base])
            for family, records in runs.items()
            if family != base
        }

    def pairs(self, order: Sequence[str]) -> Iterator[tuple[str, str, Difference]]:
        """Every pair of those in `order` that have runs, with the first's mean minus the second's.

        The intervals are Tukey's: all hold at once, in 95 of 100 experiments.
        """
        runs = self.runs(order)
        ranked = [family for family in order if family in runs]
        for i, above in enumerate(ranked):
            for below in ranked[i + 1 :]:
                a, b = accuracies(runs[above]), accuracies(runs[below])
                half_width = None
                if self.spread.freedom:
                    half_width = self.spread.half_width_of_any_difference(
                        len(a), len(b), groups=len(runs)
                    )
                yield above, below, Difference(a.mean() - b.mean(), half_width)

    def shuffle_gains(self, confidence: float = CONFIDENCE) -> dict[str, Difference]:
        """Each strategy with runs with and without a shuffle → what the shuffle adds."""
        return {
            family.removesuffix("_shuffle"): self.difference(
                self.models[family.removesuffix("_shuffle")], self.models[family], confidence
            )
            for family in SHUFFLED
            if family in self.models and family.removesuffix("_shuffle") in self.models
        }

    def by_seed(self) -> tuple[list[str], list[int], np.ndarray]:
        """The families, the seeds that all of them have, and accuracies (families, seeds)."""
        runs = self.runs()
        seeds = set.intersection(*({run.seed for run in records} for records in runs.values()))
        rows = [accuracies([r for r in records if r.seed in seeds]) for records in runs.values()]
        return list(runs), sorted(seeds), np.array(rows)


def difference_of_means(
    first: Sequence[Record], second: Sequence[Record], spread: Spread, confidence: float
) -> Difference:
    """The mean accuracy of the second runs minus that of the first, in points; its interval is that
    of runs with this spread, and None where the spread is not known.
    """
    known = spread.freedom > 0
    return Difference(
        float(accuracies(second).mean() - accuracies(first).mean()),
        spread.half_width_of_difference(len(first), len(second), confidence) if known else None,
    )


def mean_of(differences: Collection[Difference]) -> Difference:
    """The mean of independent differences: their variances add."""
    half_width = None
    if all(one.half_width is not None for one in differences):
        squares = sum(one.half_width**2 for one in differences if one.half_width is not None)
        half_width = float(np.sqrt(squares)) / len(differences)
    return Difference(float(np.mean([one.points for one in differences])), half_width)


def accuracies(runs: Sequence[Record]) -> np.ndarray:
    """Test accuracies after the last epoch, in per cent, (runs,)."""
    return np.array([100 * run.test_accuracy for run in runs])


def yardstick(accuracy: float, images: int) -> float:
    """The deviation of a run's accuracy if all images were equally hard: √(a(1 − a)/N), in points.

    `accuracy` is in per cent. A yardstick and no law: chapter 14 derives it.

    >>> from mixerlib.training import yardstick
    >>> round(yardstick(90.0, images=10000), 2)
    0.3
    """
    return float(np.sqrt(accuracy * (100 - accuracy) / images))


def quickest(run: Record) -> float:
    """Seconds of training in a run's fastest epoch: what disturbs a machine only slows it down.

    Epochs of smaller images, `early_epochs` of the recipe, cost less and are left out.
    """
    return min(row.training_seconds for row in _of_full_size(run))


def _of_full_size(run: Record) -> list[Epoch]:
    """The epochs of a run whose images were not shrunk; all of them, where every one's were."""
    early = run.settings.get("early_epochs") or 0
    return [row for row in run.curve if row.epoch > early] or run.curve


def slowest_to_fastest(runs: Sequence[Record]) -> np.ndarray:
    """How many times as long as its fastest epoch the slowest one took, in each run, (runs,).

    The first epoch of images of the full size is left out: it also warms up, or compiles. So are
    those of smaller images. A run that has no two others is left out; with none at all it is [1].
    """
    seconds = [[row.training_seconds for row in _of_full_size(run)[1:]] for run in runs]
    return np.array([max(times) / min(times) for times in seconds if times] or [1.0])


def machines(runs: Sequence[Record]) -> Counter[tuple[str, int]]:
    """How many of the runs each machine did: (device's name, threads) → runs."""
    return Counter((run.provenance.device_name, run.provenance.threads) for run in runs)


def on_one_machine(runs: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """The runs of the machine that did most of them: seconds of two machines do not compare."""
    (most, _), *_ = machines([run for records in runs.values() for run in records]).most_common(1)
    kept = {
        family: [r for r in records if (r.provenance.device_name, r.provenance.threads) == most]
        for family, records in runs.items()
    }
    return {family: records for family, records in kept.items() if records}
