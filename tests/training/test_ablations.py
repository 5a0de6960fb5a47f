"""The ablations beside the whole model: what their differences are, and how wide the intervals."""

from dataclasses import replace

import numpy as np
import pytest
import scipy
from helpers import ROOT

from mixerlib.pages import ABLATIONS, SEARCHED, audit
from mixerlib.records import Record, read_records
from mixerlib.training import Ablations, ablation, accuracies, list_recipes

RECORDS = read_records(ROOT / "book" / "records")
ROWS = Ablations(RECORDS)


def with_accuracies(**rows: list[float]) -> list[Record]:
    """The records of the ablations with other accuracies, in per cent, by seed."""
    return [
        replace(ROWS.runs[row][0], seed=seed, test_accuracy=value / 100)
        for row, values in rows.items()
        for seed, value in enumerate(values)
    ]


def test_the_whole_model_comes_first_and_every_row_has_words_and_a_published_row():
    first, *rest = ROWS.runs
    names = {name.removeprefix("cpu/ablation/") for name in list_recipes() if "cpu/abl" in name}
    assert first == "whole" and {*ABLATIONS} == names - {"whole"} >= {*rest}
    prints = audit.load(ROOT / "book" / "published.yaml").entries
    entries = [entry for entry in prints.values() if entry.table == "slides-ablation"]
    printed = {entry.row.rpartition("/")[2] for entry in entries}
    assert {row for _, row in ABLATIONS.values()} == printed - {"baseline"}


def test_a_search_is_another_folder_of_changes_and_every_one_has_words():
    rows = Ablations(RECORDS, folder="cpu/search/", base="base")
    first, *rest = rows.runs
    recipes = [name for name in list_recipes() if name.startswith("cpu/search/")]
    names = {name.removeprefix("cpu/search/") for name in recipes}
    assert first == "base" and {*SEARCHED} == names - {"base", "together"} >= {*rest} - {"together"}
    with pytest.raises(ValueError, match="must hold a run of cpu/search/relu"):
        rows.difference("relu")
    every, fewer = rows.differences(), rows.differences(without=["together"])
    assert {*every} - {*fewer} == {"together"}
    narrower = [fewer[row].half_width < every[row].half_width for row in fewer]
    assert all(narrower) and {row: gap.points for row, gap in fewer.items()} == {
        row: gap.points for row, gap in every.items() if row != "together"
    }


def test_the_intervals_of_all_rows_are_bonferroni_s():
    made = with_accuracies(whole=[70, 71, 72], relu=[68, 70], no_clipping=[70, 71], layer_norm=[60])
    rows = Ablations(made)
    groups = [[70, 71, 72], [68, 70], [70, 71], [60]]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(((np.array(group) - np.mean(group)) ** 2).sum() for group in groups)
    deviation = np.sqrt(squares / freedom)
    t = scipy.stats.t.ppf(1 - 0.05 / 3 / 2, freedom)
    expected = {"layer_norm": (-11, 1), "relu": (-2, 2), "no_clipping": (-0.5, 2)}
    assert [*rows.differences()] == [*expected]  # the largest loss first
    for row, (points, n) in expected.items():
        change = rows.differences()[row]
        assert np.isclose(change.points, points)
        assert np.isclose(change.half_width, t * deviation * np.sqrt(1 / n + 1 / 3))
    alone = scipy.stats.t.ppf(0.975, freedom) * deviation * np.sqrt(1 / 2 + 1 / 2)
    pair = rows.difference("relu", "no_clipping")
    assert np.isclose(pair.points, -1.5) and np.isclose(pair.half_width, alone)


def test_the_smallest_difference_is_shown_in_80_of_100_experiments():
    n, deviation = 3, ROWS.spread.deviation
    freedom, changes = ROWS.spread.freedom, len(ROWS.runs) - 1
    draws = np.random.default_rng(0)
    times = 40_000
    apart = draws.normal(ROWS.smallest(n), deviation * np.sqrt(2 / n), size=times)
    estimated = deviation * np.sqrt(draws.chisquare(freedom, size=times) / freedom)
    limit = scipy.stats.t.ppf(1 - 0.05 / changes / 2, freedom) * estimated * np.sqrt(2 / n)
    assert abs((np.abs(apart) > limit).mean() - 0.8) < 0.01


def test_without_a_spread_there_is_no_interval():
    rows = Ablations(with_accuracies(whole=[70], relu=[69]))
    (change,) = rows.differences().values()
    assert np.isclose(change.points, -1) and change.half_width is None


def test_a_row_without_runs_is_refused():
    rows = Ablations(with_accuracies(whole=[70]))
    assert rows.differences() == {}
    with pytest.raises(ValueError, match="`records` must hold a run of cpu/ablation/relu"):
        rows.difference("relu")
    with pytest.raises(ValueError, match="`records` must hold a run of cpu/ablation/whole"):
        ablation("relu", with_accuracies(relu=[70]))


def test_one_ablation_alone_is_that_of_the_table():
    change = ablation("spatial_only", RECORDS)
    means = [accuracies(ROWS.runs[row]).mean() for row in ("spatial_only", "whole")]
    assert np.isclose(change.points, means[0] - means[1])
    assert change.half_width < ROWS.differences()["spatial_only"].half_width


@pytest.mark.parametrize("field", ["epochs", "batch_size", "model_options"])
def test_a_record_of_other_settings_never_counts(field):
    (first, *_) = ROWS.runs["relu"]
    other = {"epochs": 100, "batch_size": 512, "model_options": {"dim": 256, "depth": 8}}[field]
    changed = replace(first, settings=first.settings | {field: other})
    assert "relu" in Ablations([first]).runs and "relu" not in Ablations([changed]).runs
