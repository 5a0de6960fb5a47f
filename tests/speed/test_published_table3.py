"""SplitMixer's table 3: its configurations, and the two ways in which it is timed."""

import pytest
import yaml
from clock import Clock
from helpers import ROOT

from mixerlib.speed.bench import Prepared
from mixerlib.speed.published_table3 import TABLE_3, published_table


def test_the_configurations_of_table_3_are_the_published_ones():
    text = (ROOT / "book" / "published.yaml").read_text(encoding="utf-8")
    table = yaml.safe_load(text)["tables"]["slides-throughput"]
    expected = [
        (row["model"], {k: row[k] for k in ("ratio", "segments") if k in row})
        for row in table["rows"].values()
    ]
    assert list(TABLE_3) == expected


def test_table_3_in_both_ways():
    """The first of each model's batches takes long; as it should be, that is not counted."""
    prepared, clock = [], Clock()

    def prepare(case, device):
        prepared.append((case.model, case.task, case.implementation, case.dtype))
        step = clock.taking(case.task, [10.0, 2.0] if case.task == "as published" else [10.0, 1.0])
        return Prepared(step, lambda: None)

    report = published_table(batch=4, rounds=4, repetitions=5, prepare=prepare, clock=clock)
    models = [model for model, _ in TABLE_3]
    assert prepared == [
        (model, task, "listing", "float32")
        for task in ("as published", "inference")
        for model in models
    ]
    assert [result.case.model for result in report.results] == 2 * models
    published, again = report.results[: len(models)], report.results[len(models) :]
    assert published[0].seconds.runs == [10.0, 2.0, 2.0, 2.0, 2.0]
    assert {r.images_per_second for r in published} == {4 * 5 / 18}
    assert {r.images_per_second for r in again} == {4 / 1.0}
    assert all(len(r.seconds.runs) == 4 for r in again)


def test_a_table_of_no_repetitions():
    with pytest.raises(ValueError, match="`repetitions`=0 must be at least 1"):
        published_table(repetitions=0)


def test_options_replace_those_of_the_table():
    cases = []

    def prepare(case, device):
        cases.append(case)
        return Prepared(lambda: None, lambda: None)

    small = {"depth": 1, "segments": 7}
    published_table(options=small, image_size=32, rounds=1, repetitions=1, prepare=prepare)
    assert all(case.options.items() >= small.items() for case in cases)
    assert {case.image_size for case in cases} == {32}
    assert cases[1].options["ratio"] == "2/3"
