"""The strategies of one scale beside one another."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import scipy
from helpers import ROOT

from mixerlib import create_model
from mixerlib.records import Record, read_record
from mixerlib.training.comparison import (
    Difference,
    Scale,
    accuracies,
    machines,
    mean_of,
    on_one_machine,
    quickest,
    slowest_to_fastest,
    yardstick,
)
from mixerlib.training.recipe_files import load_recipe

CPU = "cpu/{}_64_4"
REAL = read_record(ROOT / "book/records/cpu/convmixer_64_4/seed0.json")


def record(family: str, seed: int, accuracy: float, device: str = "CPU 9") -> Record:
    """What a run of a recipe at the CPU scale would leave, with this accuracy in per cent."""
    recipe = load_recipe(CPU.format(family), {"seed": seed})
    settings = REAL.settings | {"model": recipe.model, "model_options": recipe.model_options}
    return replace(
        REAL,
        recipe=recipe.name,
        settings=settings | {"seed": seed},
        seed=seed,
        test_accuracy=accuracy / 100,
        provenance=replace(REAL.provenance, device_name=device, threads=2),
    )


def scale(**runs: list[float]) -> Scale:
    seeds = {family: zip(count(), values, strict=False) for family, values in runs.items()}
    return Scale(CPU, [record(f, seed, a) for f, pairs in seeds.items() for seed, a in pairs])


def test_the_runs_of_those_that_have_any():
    small = scale(convmixer=[70, 71], splitmixer_iv=[69], splitmixer_iv_shuffle=[72])
    assert list(small.runs()) == ["convmixer", "splitmixer_iv"]
    assert accuracies(small.runs()["convmixer"]) == pytest.approx([70, 71])
    assert list(small.models) == ["convmixer", "splitmixer_iv", "splitmixer_iv_shuffle"]
    assert Scale("cifar10/{}_256_8", small.records).runs() == {}


def test_the_3d_form_and_iii_with_a_shuffle_are_one_model():
    twice = scale(splitmixer_3d=[80, 81, 82, 83], splitmixer_iii_shuffle=[70, 71, 73])
    assert list(twice.models) == ["splitmixer_iii_shuffle"]
    # a seed that both have counts once, as III with a shuffle has it
    assert accuracies(twice.models["splitmixer_iii_shuffle"]) == pytest.approx([70, 71, 73, 83])
    assert twice.spread.freedom == 3
    assert list(scale(splitmixer_3d=[70]).models) == ["splitmixer_iii_shuffle"]


def test_the_spread_is_pooled_over_the_models():
    pooled = scale(convmixer=[70, 72], splitmixer_i=[60, 64], splitmixer_ii=[50]).spread
    assert (pooled.deviation, pooled.freedom) == (pytest.approx(np.sqrt((2 + 8) / 2)), 2)


def test_a_difference_is_students():
    both = scale(convmixer=[70, 72, 74], splitmixer_i=[69, 70])
    got = both.below("convmixer")["splitmixer_i"]
    a, b = np.array([70, 72, 74]), np.array([69, 70])
    interval = scipy.stats.ttest_ind(a, b).confidence_interval(0.95)
    assert got.points == pytest.approx(a.mean() - b.mean())
    assert (got.points - got.half_width, got.points + got.half_width) == pytest.approx(
        (interval.low, interval.high)
    )
    assert list(both.below("convmixer")) == ["splitmixer_i"]
    single = scale(convmixer=[70], splitmixer_i=[69]).below("convmixer")["splitmixer_i"]
    assert single == Difference(pytest.approx(1), None)


def test_pairs_are_tukeys_and_in_the_order_asked_for():
    three = scale(splitmixer_i=[66, 67], convmixer=[70, 72], splitmixer_iii=[60, 61])
    order = ("convmixer", "splitmixer_iv", "splitmixer_iii", "splitmixer_i")
    pairs = list(three.pairs(order))
    assert [(a, b) for a, b, _ in pairs] == [
        ("convmixer", "splitmixer_iii"),
        ("convmixer", "splitmixer_i"),
        ("splitmixer_iii", "splitmixer_i"),
    ]
    tukey = scipy.stats.tukey_hsd([70, 72], [60, 61], [66, 67])
    for (i, j), (_, _, got) in zip(((0, 1), (0, 2), (1, 2)), pairs, strict=True):
        assert got.points == pytest.approx(tukey.statistic[i, j])
        low = tukey.confidence_interval().low[i, j]
        assert got.points - got.half_width == pytest.approx(low, rel=1e-3)


def test_what_a_shuffle_adds():
    shuffled = scale(splitmixer_ii=[60, 62], splitmixer_ii_shuffle=[63, 65], splitmixer_iv=[66, 67])
    gains = shuffled.shuffle_gains()
    assert list(gains) == ["splitmixer_ii"]
    assert gains["splitmixer_ii"].points == pytest.approx(3)
    wider = shuffled.shuffle_gains(confidence=0.99)["splitmixer_ii"]
    assert wider.half_width > gains["splitmixer_ii"].half_width


def test_only_seeds_that_all_have_are_compared_seed_by_seed():
    families, seeds, table = scale(convmixer=[70, 71, 72], splitmixer_i=[60, 61]).by_seed()
    assert (families, seeds) == (["convmixer", "splitmixer_i"], [0, 1])
    assert table == pytest.approx(np.array([[70, 71], [60, 61]]))


def test_costs_and_reach_are_those_of_the_recipes_models():
    small = scale()
    for family in ("convmixer", "splitmixer_iv_shuffle"):
        recipe = load_recipe(CPU.format(family))
        model = create_model(recipe.model, **recipe.model_options)
        assert small.cost(family, "params") == sum(p.numel() for p in model.parameters())
    assert small.reach("splitmixer_iv") == 0.5
    assert small.reach("splitmixer_iv_shuffle") == 1.0


def test_the_yardstick_is_the_deviation_of_equally_hard_images():
    draws = np.random.default_rng(0).binomial(400, 0.7, size=200_000) / 400
    assert yardstick(70.0, 400) == pytest.approx(100 * draws.std(), rel=0.01)
    at = scale(convmixer=[69, 71], splitmixer_i=[50])
    assert at.yardstick(["convmixer"]) == yardstick(70.0, REAL.test_images)


@pytest.mark.parametrize(
    ("points", "half_width", "word"),
    [(1, 0.5, "up"), (-1, 0.5, "down"), (1, 1, "equal"), (-0.2, 1, "equal"), (9, None, "unknown")],
)
def test_verdicts(points, half_width, word):
    assert Difference(points, half_width).verdict("up", "down", "equal", "unknown") == word


def test_the_mean_of_differences():
    mean = mean_of([Difference(1.0, 3.0), Difference(3.0, 4.0)])
    assert (mean.points, mean.half_width) == (2.0, 2.5)
    assert mean_of([Difference(1.0, 3.0), Difference(3.0, None)]).half_width is None


def test_seconds_are_compared_on_one_machine():
    runs = {
        "convmixer": [record("convmixer", 0, 70), record("convmixer", 1, 70, "CPU 8")],
        "splitmixer_i": [record("splitmixer_i", 0, 70)],
        "splitmixer_ii": [record("splitmixer_ii", 0, 70, "CPU 8")][:0],
    }
    assert machines([*runs["convmixer"], *runs["splitmixer_i"]]) == {
        ("CPU 9", 2): 2,
        ("CPU 8", 2): 1,
    }
    kept = on_one_machine(runs)
    assert {family: len(some) for family, some in kept.items()} == {
        "convmixer": 1,
        "splitmixer_i": 1,
    }


def rows_of(*seconds: float):
    return [
        replace(REAL.curve[0], epoch=epoch, training_seconds=one)
        for epoch, one in enumerate(seconds, start=1)
    ]


def test_epochs_of_smaller_images_tell_nothing_of_the_time_of_an_epoch():
    run = replace(REAL, curve=rows_of(1.0, 1.0, 4.0, 2.0, 3.0))
    early = replace(run, settings=REAL.settings | {"early_size": 24, "early_epochs": 2})
    assert (quickest(run), [*slowest_to_fastest([run])]) == (1.0, [4.0])
    assert (quickest(early), [*slowest_to_fastest([early])]) == (2.0, [1.5])  # 4 warms up again
    small = replace(early, settings=early.settings | {"early_epochs": 5})
    assert quickest(small) == 1.0  # there are no others


def test_the_first_epoch_does_not_count_as_slow():
    rows = rows_of(9.0, 2.0, 3.0)
    run = replace(REAL, curve=rows)
    assert (quickest(run), [*slowest_to_fastest([run, run])]) == (2.0, [1.5, 1.5])
    assert [*slowest_to_fastest([replace(REAL, curve=rows[:1])])] == [1.0]
