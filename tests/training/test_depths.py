"""ConvMixer and SplitMixer-I of several depths: which runs count, and what is set beside what."""

from dataclasses import replace

import numpy as np
import pytest
import scipy
import torch
from helpers import ROOT, made_grid

from mixerlib import create_model
from mixerlib.records import read_records
from mixerlib.training import Depths

RECORDS = read_records(ROOT / "book" / "records")
DEPTHS = Depths(RECORDS)


SOME = Depths(
    made_grid(
        DEPTHS,
        convmixer={1: [50, 52], 2: [60, 61], 4: [70, 74]},
        splitmixer_i={2: [53, 55], 4: [66, 65], 8: [71]},
    )
)


def test_the_recipes_differ_in_the_number_of_blocks_alone():
    for family, recipes in DEPTHS.recipes.items():
        assert [*recipes] == [1, 2, 4, 8, 12]
        base = recipes[4]
        for depth, recipe in recipes.items():
            options = base.model_options | {"depth": depth}
            assert replace(recipe, name=base.name, model_options=options) == replace(
                base, model_options=options
            )
            assert recipe.model == family and recipe.model_options["depth"] == depth


def test_gaps_steps_and_pairs_are_differences_of_means_with_bonferroni_s_intervals():
    groups = [[50, 52], [60, 61], [70, 74], [53, 55], [66, 65], [71]]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(((np.array(group) - np.mean(group)) ** 2).sum() for group in groups)
    deviation = np.sqrt(squares / freedom)

    def half(rows, n, m):
        return scipy.stats.t.ppf(1 - 0.05 / rows / 2, freedom) * deviation * np.sqrt(1 / n + 1 / m)

    assert SOME.shared == [2, 4]
    expected = {
        "gaps": (SOME.gaps(), {2: (-6.5, half(2, 2, 2)), 4: (-6.5, half(2, 2, 2))}),
        "steps": (SOME.steps("splitmixer_i"), {(2, 4): (11.5, half(2, 2, 2)),
                                              (4, 8): (5.5, half(2, 2, 1))}),
        "pairs": (SOME.at_twice_the_depth(), {1: (3, half(3, 2, 2)), 2: (5, half(3, 2, 2)),
                                              4: (-1, half(3, 2, 1))}),
    }  # fmt: skip
    for rows, right in expected.values():
        assert [*rows] == [*right]
        for key, (points, half_width) in right.items():
            assert np.isclose(rows[key].points, points)
            assert np.isclose(rows[key].half_width, half_width)


def test_what_has_no_run_is_refused_and_left_out():
    with pytest.raises(ValueError, match="must hold a run of splitmixer_i with 12 blocks"):
        SOME.difference(("splitmixer_i", 12), ("splitmixer_i", 4))
    none = Depths([])
    assert none.shared == [] and none.gaps() == none.at_twice_the_depth() == {}


@pytest.mark.parametrize("family", ["convmixer", "splitmixer_i"])
@pytest.mark.parametrize("depth", [1, 3])
def test_costs_are_those_of_the_model(family, depth):
    options = {"dim": 64, "depth": depth, "patch_size": 4, "num_classes": 10}
    with torch.device("meta"):
        model = create_model(family, **options)
    parameters = sum(weights.numel() for weights in model.parameters())
    assert DEPTHS.cost(family, depth, "params") == parameters


def test_a_record_of_other_settings_never_counts():
    (first, *_) = made_grid(DEPTHS, convmixer={1: [50]})
    deeper = first.settings["model_options"] | {"depth": 2}
    changed = replace(first, settings=first.settings | {"model_options": deeper})
    assert 1 in Depths([first]).runs["convmixer"]
    assert Depths([changed]).runs["convmixer"] == {}
