"""SplitMixers cut in several ways: which runs count, what they cost, what is set beside what."""

from dataclasses import replace

import numpy as np
import pytest
import scipy
from helpers import ROOT, made_grid

from mixerlib import create_model
from mixerlib.models import model_entry
from mixerlib.records import read_records
from mixerlib.training import CUT, Cuts

RECORDS = read_records(ROOT / "book" / "records")
CUTS = Cuts(RECORDS)


SOME = Cuts(
    made_grid(
        CUTS,
        splitmixer_ii={2: [60, 62], 4: [50, 51], 8: [40]},
        splitmixer_ii_shuffle={2: [61, 62], 8: [50, 52]},
        splitmixer_iii={4: [50, 52]},
    )
)


def test_the_recipes_of_a_strategy_differ_in_the_cut_alone():
    assert [*CUTS.recipes] == [*CUT] and len(CUT) == 7
    for strategy, recipes in CUTS.recipes.items():
        key = "ratio" if strategy == "splitmixer_i" else "segments"
        ratios = ["2/3", "3/5", "4/7", "5/9", "6/11"]
        assert [*recipes] == (ratios if key == "ratio" else [2, 4, 8])
        base = next(iter(recipes.values()))
        assert base.name == f"cpu/{strategy}_64_4"
        for cut, recipe in recipes.items():
            options = base.model_options | {key: cut}
            same = replace(recipe, name=base.name, model_options=options)
            assert same == replace(base, model_options=options)
            assert (model_entry(recipe.model).defaults | recipe.model_options)[key] == cut


def test_each_cut_is_held_against_the_least_with_bonferroni_s_intervals():
    groups = [[60, 62], [50, 51], [40], [61, 62], [50, 52], [50, 52]]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(((np.array(group) - np.mean(group)) ** 2).sum() for group in groups)
    deviation = np.sqrt(squares / freedom)
    rows = SOME.against_the_least("splitmixer_ii")
    assert [*rows] == [4, 8]
    for (cut, points), n in zip({4: -10.5, 8: -21.0}.items(), (2, 1), strict=True):
        wide = scipy.stats.t.ppf(1 - 0.05 / 2 / 2, freedom) * deviation * np.sqrt(1 / 2 + 1 / n)
        assert np.isclose(rows[cut].points, points)
        assert np.isclose(rows[cut].half_width, wide)


def test_the_shuffle_s_gain_and_its_growth_are_differences_of_means():
    gains = SOME.shuffle_gains()
    points = {("splitmixer_ii", 2): 0.5, ("splitmixer_ii", 8): 11.0}
    assert {key: gain.points for key, gain in gains.items()} == pytest.approx(points)
    growth, one = SOME.growth_of_the_gain(2, 8), SOME.spread.half_width_of_difference
    assert np.isclose(growth.points, 10.5)
    assert np.isclose(growth.half_width, np.hypot(one(2, 2), one(1, 2)))
    assert SOME.growth_of_the_gain(2, 4) is None
    alone = {
        strategy: {2: [50], 8: [40]} for strategy in ("splitmixer_iv", "splitmixer_iv_shuffle")
    }
    growth = Cuts(made_grid(CUTS, **alone)).growth_of_the_gain(2, 8)
    assert growth.half_width is None  # no spread is known


def test_the_growth_is_the_mean_over_the_strategies():
    values = {"splitmixer_iii": {2: [60, 62], 8: [50, 52]}}
    values |= {"splitmixer_iii_shuffle": {2: [62, 64], 8: [58, 60]}}
    values |= {"splitmixer_iv": {2: [61, 63], 8: [51, 53]}}
    values |= {"splitmixer_iv_shuffle": {2: [61, 63], 8: [53, 55]}}
    cuts = Cuts(made_grid(CUTS, **values))
    growth, one = cuts.growth_of_the_gain(2, 8), cuts.spread.half_width_of_difference(2, 2)
    assert np.isclose(growth.points, ((8 - 2) + (2 - 0)) / 2)
    assert np.isclose(growth.half_width, one)  # √(4·one²)/2


def test_a_cut_without_runs_is_left_out_and_one_without_a_base_is_held_against_nothing():
    assert [*SOME.runs["splitmixer_ii_shuffle"]] == [2, 8]
    assert SOME.against_the_least("splitmixer_iii") == {}
    assert Cuts([]).against_the_least("splitmixer_i") == {}


@pytest.mark.parametrize("strategy", CUT)
def test_costs_are_those_of_the_model_that_is_built(strategy):
    for cut, recipe in CUTS.recipes[strategy].items():
        model = create_model(recipe.model, **recipe.model_options)
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert CUTS.cost(strategy, cut, "params") == count


def test_without_a_shuffle_disjoint_segments_never_meet():
    for strategy in ("splitmixer_ii", "splitmixer_iii", "splitmixer_iv"):
        for segments in (2, 4, 8):
            plain, dealt = (CUTS.reach(strategy + end, segments) for end in ("", "_shuffle"))
            assert plain <= 1 / segments and dealt > plain
    assert CUTS.reach("splitmixer_i", "6/11") == 1


@pytest.mark.parametrize("ask", [CUTS.reach, lambda *of: CUTS.cost(*of, "macs")])
def test_a_cut_that_has_no_recipe_is_refused(ask):
    with pytest.raises(ValueError, match="`cut`=3 of 'splitmixer_ii' must be that of a recipe"):
        ask("splitmixer_ii", 3)
