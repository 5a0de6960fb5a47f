"""The mixers and their relatives beside one another: which runs count, and what is compared."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import scipy
from helpers import ROOT, made_runs

from mixerlib import create_model
from mixerlib.models import list_relatives, model_entry
from mixerlib.records import read_records
from mixerlib.training import MIXERS, Relatives
from mixerlib.training.relatives import APART

RECORDS = read_records(ROOT / "book" / "records")
FIELD = Relatives(RECORDS)


def made(**families: list[float]) -> Relatives:
    """Records of these accuracies, in per cent: family → one a seed."""
    made = (made_runs(FIELD.recipes[family], values) for family, values in families.items())
    return Relatives([*chain(*made)])


SOME = made(convmixer=[70, 72, 71], splitmixer_i=[68, 69, 70], vit=[60], gmlp=[64, 66])


def test_every_family_but_one_has_a_recipe_which_differs_in_the_model_alone():
    relatives = {model_entry(name).family for name in list_relatives()}
    assert {*FIELD.recipes} == {*MIXERS} | relatives - {"deit"}  # without a teacher it is ViT
    base = FIELD.recipes["convmixer"]
    for recipe in FIELD.recipes.values():
        changed = {"name": base.name, "model": base.model, "model_options": base.model_options}
        assert replace(recipe, **changed) == base


def test_parameters_are_equal_but_for_narrow_mixers_and_the_one_apart():
    base = FIELD.cost("convmixer", "params")
    for family, recipe in FIELD.recipes.items():
        model = create_model(recipe.model, **recipe.model_options)
        assert FIELD.cost(family, "params") == sum(p.numel() for p in model.parameters())
        assert FIELD.cost(family, "macs") > 0
        share = FIELD.cost(family, "params") / base
        if family in APART:
            assert share > 20
        else:
            assert 0.4 < share < 1.06 if family.startswith("split") else 0.94 < share < 1.06


def test_what_is_missing():
    lacks = SOME.missing()
    assert lacks["vit"] == 2 and lacks["gmlp"] == 1 and lacks["resmlp"] == 3
    assert not {"convmixer", "splitmixer_i"} & {*lacks}
    assert {*SOME.missing(1)} == {*SOME.recipes} - {*SOME.runs}


def test_means_and_their_intervals():
    assert SOME.spread.freedom == 5
    deviation = np.sqrt((2 + 2 + 2) / 5)
    t = scipy.stats.t.ppf(0.975, 5)
    assert SOME.spread.deviation == pytest.approx(deviation)
    assert SOME.mean("vit") == pytest.approx((60, t * deviation))
    assert SOME.mean("gmlp") == pytest.approx((65, t * deviation / np.sqrt(2)))


def test_differences_hold_all_at_once():
    above = SOME.above()
    assert {*above} == {"splitmixer_i", "vit", "gmlp"}
    assert above["gmlp"].points == pytest.approx(-6)
    t = scipy.stats.t.ppf(1 - 0.05 / 3 / 2, 5)  # three are compared
    half = t * SOME.spread.deviation * np.sqrt(1 / 3 + 1 / 2)
    assert above["gmlp"].half_width == pytest.approx(half)


def test_two_groups():
    change = SOME.contrast(["vit", "gmlp", "resmlp"], ["convmixer", "splitmixer_i"])
    assert change.points == pytest.approx((71 + 69) / 2 - (60 + 65) / 2)
    variance = (1 + 1 / 2) / 4 + (1 / 3 + 1 / 3) / 4
    t = scipy.stats.t.ppf(0.975, 5)
    assert change.half_width == pytest.approx(t * SOME.spread.deviation * np.sqrt(variance))


def test_one_run_each_has_no_interval():
    alone = made(convmixer=[70], vit=[60])
    assert alone.mean("vit") == (pytest.approx(60), None)
    assert alone.above()["vit"].half_width is None
    assert alone.contrast(["vit"], ["convmixer"]).verdict("", "", "") == "spread not known"


def test_what_has_no_runs_is_refused():
    with pytest.raises(ValueError, match="`family`='resmlp' must be one of"):
        SOME.mean("resmlp")
    with pytest.raises(ValueError, match="`base`='resmlp' must be one of"):
        SOME.above("resmlp")
    with pytest.raises(ValueError, match="`second` must hold a family with runs"):
        SOME.contrast(["vit"], ["resmlp"])
    with pytest.raises(ValueError, match="`family`='resmlpp' must be one of"):
        SOME.cost("resmlpp", "params")


def test_a_record_of_other_settings_does_not_count():
    (first, *_) = SOME.runs["vit"]
    other = replace(first, settings=first.settings | {"epochs": 50})
    assert "vit" not in Relatives([other]).runs
