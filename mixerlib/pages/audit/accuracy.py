"""The verdict on a published accuracy, and the road to it from records of our own runs."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import scipy  # loads `scipy.stats`, which takes a second, when it is used

from mixerlib import costs, records
from mixerlib.models import model_entry
from mixerlib.pages.audit.entries import (
    AT_LEAST,
    Configuration,
    Entry,
    Published,
    ablated,
    configurations,
    identity,
)
from mixerlib.pages.audit.outcome import (
    CANNOT_BE_CHECKED,
    NEEDS_EVALUATION,
    NEEDS_TRAINING,
    NOT_REPRODUCED,
    REPRODUCED,
    Verdict,
)
from mixerlib.pages.audit.prints import agree, row_of

DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}
# images to train on and to test on: fewer make another experiment
IMAGES = {
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "flowers102": (1_020, 6_149),
    "food101": (75_750, 25_250),
}
SEEDS = 3  # of two runs the interval is so wide that nearly anything lies in it
CONFIDENCE = 0.95


def accuracy(entry: Entry, published: Published, runs: Sequence[records.Record]) -> Verdict:
    """The verdict on an accuracy. `runs` are our own training records."""
    if not (entry.model or entry.preset or entry.weights):
        what = "Another model" if entry.other and not entry.searched else "A model of unknown size"
        return Verdict(CANNOT_BE_CHECKED, f"{what}, and borrowed from {entry.borrowed}.")
    if row := row_of(entry, published):
        elsewhere = Counter(o.printed for o in published.others(entry) if not agree(entry, o))
        (usual, _), *_ = elsewhere.most_common(1)
        reason = f"On the wrong row: later tables have {usual} here, and this for {row.name}."
        return Verdict(NOT_REPRODUCED, reason)
    data = entry.training["dataset"]
    data = DATA.get(data, data.capitalize())
    how = f" ({entry.change})" if entry.change else ""
    if entry.weights:
        reason = f"On {data}{how}. The weights are published ({entry.weights}): to evaluate them"
        return Verdict(NEEDS_EVALUATION, f"{reason} would decide it, and we have not done so.")
    ours = matching(entry, runs)
    if not ours:
        return Verdict(NEEDS_TRAINING, f"On {data}{how}; we have no record of it yet.")
    values = [run.test_top5 if entry.metric == "top-5" else run.test_accuracy for run in ours]
    if len(values) < SEEDS:
        listed = " and ".join(f"{value:.2%}" for value in values)
        seeds = f"{len(values)} seed{'s' * (len(values) > 1)}"
        reason = (
            f"Our record {ours[0].recipe}, {seeds}: {listed} on {data}. A verdict needs {SEEDS}."
        )
        return Verdict(NEEDS_TRAINING, reason, exact=Fraction(values[0]))
    return _beside(entry, Interval.of(values), ours[0].recipe)


@dataclass(frozen=True)
class Interval:
    """Where one more run would fall, seen from a few: mean ± half_width, as shares of one.

    >>> from mixerlib.pages import audit
    >>> interval = audit.Interval.of([0.938, 0.940, 0.942])
    >>> f"{interval.mean:.3f} ± {interval.half_width:.3f}, from {interval.seeds} seeds"
    '0.940 ± 0.010, from 3 seeds'
    """

    mean: float
    half_width: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """From the accuracies of at least two runs, taken as draws from a normal distribution: the
        mean ± t · deviation · √(1 + 1/n), which holds a further run with probability `CONFIDENCE`.
        Chapter 14.
        """
        n, mean = len(values), sum(values) / len(values)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
        t = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
        return cls(mean, t * deviation * math.sqrt(1 + 1 / n), n)


def _beside(entry: Entry, ours: Interval, recipe: str) -> Verdict:
    """A printed accuracy beside the interval of our runs. What it can stand for is as wide as its
    last digit; "or more" has no upper end."""
    width = entry.scale / 10**entry.decimals * (1 if entry.about else Fraction(1, 2))
    low, high = float(entry.value - width), float(entry.value + width)
    if AT_LEAST in entry.unit:
        low, high = float(entry.value), math.inf
    inside = low <= ours.mean + ours.half_width and ours.mean - ours.half_width <= high
    difference = f"{100 * (float(entry.value) - ours.mean):+.2f}".replace("-", "−")
    reason = (
        f"One more run of ours would have {ours.mean:.2%} ± {100 * ours.half_width:.2f} points, in "
        f"{100 * CONFIDENCE:.0f} of 100 cases ({recipe}, {ours.seeds} seeds). The published number "
        f"lies {'inside' if inside else 'outside'}: {difference} points from our mean."
    )
    exact = Fraction(ours.mean)
    if inside:
        return Verdict(REPRODUCED, reason, f"a run beside {ours.seeds} of ours", "", exact)
    return Verdict(NOT_REPRODUCED, reason, exact=exact)


def matching(entry: Entry, runs: Sequence[records.Record]) -> list[records.Record]:
    """The runs of the very model that an accuracy is of, with every stated setting the same and all
    images of the data set: one for each seed, by seed. Of a changed model those with the change,
    where the entry says what it replaces."""
    models = configurations(entry)
    unknown = bool(entry.change) and not entry.replaced  # what was changed, in settings
    if unknown or "epochs" not in entry.training or not (entry.preset or len(models) == 1):
        return []
    replaced = {key: v for key, v in entry.replaced.items() if key in entry.training}
    taken_out = {key: v for key, v in entry.replaced.items() if key not in entry.training}
    settings = {**entry.training, **replaced}

    def is_of_it(run: records.Record) -> bool:
        if entry.preset:
            return _is_preset(run, entry.preset)
        return _is_of(run, models[0], taken_out)

    by_seed: dict[int, records.Record] = {}
    for run in runs:
        same_settings = all(run.settings.get(key, ...) == v for key, v in settings.items())
        images = IMAGES.get(entry.training["dataset"]) == (run.train_images, run.test_images)
        if same_settings and images and is_of_it(run):
            by_seed.setdefault(run.seed, run)  # a seed that was run twice counts once
    return [by_seed[seed] for seed in sorted(by_seed)]


def _is_of(run: records.Record, stated: Configuration, taken_out: Mapping[str, Any]) -> bool:
    """Whether a run is of the stated model, or of its form with these parts taken out."""
    try:
        model = model_entry(run.settings["model"])
    except ValueError:  # a mixing of a package that is not installed here, such as chapter 26's
        return False
    family, options = model.family, model.defaults | run.settings["model_options"]
    known = costs.OPTIONS[stated.family]
    others = {key: value for key, value in options.items() if key not in known}
    plain = {key: value for key, value in options.items() if key in known}
    alike = Configuration(stated.family, plain, None)
    if identity(alike, by_data=True) != identity(stated, by_data=True):
        return False
    if not taken_out:
        return family == stated.family and not any(others.values())  # such as a shuffle
    if family != ablated(stated.family):
        return False
    usual = model_entry(family).defaults
    others.pop("image_size", None)  # the data's
    return others == {key: usual[key] for key in others} | {**taken_out}


def _is_preset(run: records.Record, preset: str) -> bool:
    """Whether a run is of a model that this book builds, as it stands but for its classes."""
    try:
        model, stated = model_entry(run.settings["model"]), model_entry(preset)
    except ValueError:  # of a package that is not installed here
        return False
    options = model.defaults | run.settings["model_options"]
    same = {key: v for key, v in stated.defaults.items() if key != "num_classes"}
    return model.family == stated.family and all(options.get(k, ...) == v for k, v in same.items())
