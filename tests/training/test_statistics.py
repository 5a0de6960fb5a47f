"""Results: a recipe's own runs and no others, and intervals that hold as often as they promise."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import scipy
from helpers import made_record
from hypothesis import given
from hypothesis import strategies as st

from mixerlib.records import Epoch, Record, read_record, write_record
from mixerlib.training import statistics as results
from mixerlib.training.recipe_files import load_recipe

RECIPE = load_recipe("cpu/splitmixer_i_64_4")
# accuracies of runs that are not all equal: scipy warns of those
VALUES = st.lists(st.integers(0, 10_000), min_size=2, max_size=6).filter(lambda v: len(set(v)) > 1)


def run(seed: int = 0, name: str = RECIPE.name, **changes: object) -> Record:
    settings = asdict(RECIPE) | {"seed": seed} | changes
    del settings["name"]
    curve = [Epoch(n, 0.1, 1.0, 0.5, 1.0, 0.5, 1.0) for n in range(1, settings["epochs"] + 1)]
    return made_record(recipe=name, settings=settings, seed=seed, curve=curve)


# --- the runs of a recipe -------------------------------------------------------------------------


def test_runs_come_in_the_order_of_their_seeds():
    assert [r.seed for r in results.runs_of(RECIPE, [run(2), run(0), run(1)])] == [0, 1, 2]


def test_a_run_belongs_to_its_recipe_whatever_its_speed():
    records = [run(0), run(1, compile=True), run(2, channels_last=False), run(3, evaluate_every=2)]
    assert results.runs_of(RECIPE, records) == records
    assert results.runs_of(replace(RECIPE, seed=7, compile=True), records) == records


@pytest.mark.parametrize(
    "other",
    [
        run(name="cpu/another"),
        run(epochs=4),
        run(clip_norm=None),
        run(model_options={**RECIPE.model_options, "ratio": "3/5"}),
        run(precision="bfloat16"),
        run(unknown=1),
    ],
)
def test_a_run_with_another_name_or_another_setting_is_left_out(other: Record):
    mine = run(1)
    assert results.runs_of(RECIPE, [other, mine]) == [mine]


def test_a_run_that_was_written_and_read_is_found(tmp_path):
    recipe = load_recipe("cpu/splitmixer_i_64_4", {"model_options": {"ratio": "3/5"}})
    write_record(run(0, model_options=recipe.model_options), tmp_path / "seed0.json")
    assert len(results.runs_of(recipe, [read_record(tmp_path / "seed0.json")])) == 1


def test_the_same_seed_twice_is_an_error():
    with pytest.raises(ValueError, match=r"`records` must hold seed 1 of cpu/splitmixer_i_64_4"):
        results.runs_of(RECIPE, [run(0), run(1), run(1, compile=True)])


def test_no_records_are_no_runs():
    assert results.runs_of(RECIPE, []) == []


# --- intervals, against scipy's -------------------------------------------------------------------


def half(interval: tuple[float, float]) -> float:
    return (interval[1] - interval[0]) / 2


@given(VALUES)
def test_one_group_gives_students_interval(values: list[int]):
    actual = results.spread([values])
    assert actual.freedom == len(values) - 1
    assert actual.deviation == pytest.approx(np.std(values, ddof=1))
    theirs = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert actual.half_width_of_mean(len(values)) == pytest.approx(half(theirs))


@given(VALUES, VALUES, st.sampled_from([0.8, 0.95, 0.99]))
def test_two_groups_give_the_interval_of_their_difference(a: list, b: list, confidence: float):
    theirs = scipy.stats.ttest_ind(a, b).confidence_interval(confidence)
    ours = results.spread([a, b]).half_width_of_difference(len(a), len(b), confidence)
    assert ours == pytest.approx(half(theirs))


def test_of_two_groups_all_pairs_are_the_one_pair():
    actual = results.Spread(0.5, 4)
    both = actual.half_width_of_any_difference(2, 4, groups=2)
    assert both == pytest.approx(actual.half_width_of_difference(2, 4), rel=1e-4)


def test_a_group_of_one_run_adds_nothing_and_alone_it_has_no_spread():
    assert results.spread([[1.0, 3.0], [7.0], []]) == results.spread([[1.0, 3.0]])
    alone = results.spread([[7.0], [8.0]])
    assert alone.freedom == 0 and np.isnan(alone.deviation)
    for call in (
        lambda: alone.half_width_of_mean(1),
        lambda: alone.half_width_of_difference(1, 1),
        lambda: alone.half_width_of_any_difference(1, 1, 3),
    ):
        with pytest.raises(ValueError, match="`freedom`=0 must be at least 1"):
            call()


@given(st.floats(-1, 1), st.floats(0.1, 10))
def test_where_a_group_lies_does_not_matter_and_its_scale_does(shift: float, scale: float):
    groups = [np.array([0.1, 0.5, 0.3]), np.array([0.9, 0.2])]
    moved = [scale * groups[0] + shift, scale * groups[1]]
    assert results.spread(moved).deviation == pytest.approx(
        scale * results.spread(groups).deviation
    )


@pytest.mark.parametrize("n", [2, 3, 8])
def test_intervals_hold_as_often_as_they_promise(n: int):
    draws = np.random.default_rng(n).normal(0.7, 0.01, size=(2000, n + 1))
    held = predicted = 0
    for *values, following in draws:
        actual, mean = results.spread([values]), np.mean(values)
        held += abs(mean - 0.7) <= actual.half_width_of_mean(n)
        predicted += abs(following - mean) <= actual.half_width_of_difference(n, 1)
    for count in (held, predicted):
        assert count / len(draws) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / len(draws)))


# --- seeds ----------------------------------------------------------------------------------------


def test_what_is_left_beside_seeds_is_that_of_least_squares():
    table = np.random.default_rng(1).normal(size=(5, 3))
    recipe, seed = np.repeat(np.eye(5), 3, axis=0), np.tile(np.eye(3), (5, 1))
    columns = np.hstack([recipe, seed[:, 1:]])
    _, squares, rank, _ = np.linalg.lstsq(columns, table.ravel())
    actual = results.spread_beside_seeds(table)
    assert actual.freedom == table.size - rank == 8
    assert actual.deviation == pytest.approx(np.sqrt(squares[0] / 8))


def test_a_seed_that_is_good_for_all_recipes_alike_leaves_no_spread():
    table = np.array([[0.5], [0.6], [0.8]]) + np.array([0.01, -0.02, 0.03])
    assert results.spread_beside_seeds(table).deviation == pytest.approx(0, abs=1e-12)
    assert results.spread(table).deviation > 0.02
    assert results.spread_beside_seeds(table[:, :1]).freedom == 0


# --- power ----------------------------------------------------------------------------------------


def test_power_is_how_often_a_difference_is_found():
    draws = np.random.default_rng(2)
    a, b = draws.normal(size=(20_000, 3)), draws.normal(2.0, 1.0, size=(20_000, 3))
    share = (scipy.stats.ttest_ind(a, b, axis=1).pvalue < 0.05).mean()
    assert results.power(2.0, 3) == pytest.approx(share, abs=0.015)
    assert results.power(0.0, 3) == pytest.approx(0.05)
    assert results.power(-2.0, 3) == pytest.approx(results.power(2.0, 3))


@given(st.floats(3, 60), st.integers(2, 40))
def test_power_is_a_number_for_large_differences_too(difference: float, n: int):
    power = results.power(difference, n)
    assert results.power(2.9, n) - 1e-9 < power < 1 + 1e-9
    assert results.power(-difference, n) == power


@given(st.integers(2, 20), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_smallest_difference_is_shown_with_the_target_power(n: int, target: float):
    difference = results.smallest_difference(n, target_power=target)
    assert results.power(difference, n) == pytest.approx(target, abs=1e-4)


def test_a_better_known_spread_shows_smaller_differences():
    assert results.smallest_difference(3, freedom=20) < results.smallest_difference(3)


@given(st.floats(0.05, 4))
def test_one_seed_fewer_than_needed_is_not_enough(difference: float):
    n = results.seeds_needed(difference)
    assert results.power(difference, n) >= results.POWER
    assert n == 2 or results.power(difference, n - 1) < results.POWER


@pytest.mark.parametrize("difference", [0, -1.0, float("nan")])
def test_no_number_of_seeds_shows_no_difference(difference: float):
    with pytest.raises(ValueError, match=r"`difference`=.* must be above 0"):
        results.seeds_needed(difference)
