"""What a rerun of SplitMixer's table 3 says."""

from dataclasses import replace

import numpy as np
import pytest
from clock import Clock

from mixerlib.speed.bench import Prepared
from mixerlib.speed.cases import Benchmark, Result
from mixerlib.speed.published_table3 import TABLE_3, published_table
from mixerlib.speed.table3_report import Table3, finer_is_faster
from mixerlib.speed.timing import Timing

ROWS = len(TABLE_3)


@pytest.fixture
def report() -> Benchmark:
    """A table in whose every row the first call as published takes 8 s, the later ones 2 s."""
    clock = Clock()

    def prepare(case, device):
        seconds = [8.0, 2.0] if case.task == "as published" else [1.0]
        return Prepared(clock.taking(case.task, seconds), lambda: None)

    return published_table(batch=8, rounds=3, repetitions=3, prepare=prepare, clock=clock)


def retimed(result: Result, *runs: float) -> Result:
    timing = Timing.of(runs)
    return replace(result, seconds=timing, images_per_second=result.case.batch / timing.median)


def test_a_table_in_convmixers(report):
    results = list(report.results)
    results[2] = retimed(results[2], 0.5, 0.5, 0.5)  # 16 images a second; ConvMixer: 24 in 12 s
    results[ROWS + 2] = retimed(results[ROWS + 2], 0.5, 0.25, 0.2)
    rerun = Table3(replace(report, results=results))
    assert [result.case.task for result in rerun.before] == ["as published"] * ROWS
    assert [result.case.task for result in rerun.after] == ["inference"] * ROWS
    ones = np.ones(ROWS)
    assert rerun.as_published == pytest.approx(np.where(np.arange(ROWS) == 2, 8.0, ones))
    assert rerun.speedups[2].runs == [2.0, 4.0, 5.0]
    assert rerun.in_turn == pytest.approx(np.where(np.arange(ROWS) == 2, 4.0, ones))
    assert rerun.first_calls == pytest.approx(np.where(np.arange(ROWS) == 2, 1.0, 4 * ones))
    assert rerun.shown == pytest.approx(np.where(np.arange(ROWS) == 2, 0.5, 0.25 * ones))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_how_far_the_ratio_is_bent(report, factor):
    """ConvMixer's steps as published take so many times as long: all others look as much faster."""
    first = report.results[0]
    slower = replace(first, images_per_second=first.images_per_second / factor)
    bent = Table3(replace(report, results=[slower, *report.results[1:]])).bent
    assert Table3(report).bent == pytest.approx(1)
    assert bent == pytest.approx(factor)


def test_the_mean_of_all_rows_is_taken_round_by_round(report):
    results = list(report.results)
    for row in range(ROWS + 1, 2 * ROWS):  # ConvMixer takes 1 s, the others this
        results[row] = retimed(results[row], 1.0, 0.5, 0.25)
    results[-1] = retimed(results[-1], 1.0, 0.5, 1 / (4 + ROWS - 1))
    timing = Table3(replace(report, results=results)).on_average
    assert timing.runs == pytest.approx([1, 2, 5]) and timing.median == pytest.approx(2)


def test_what_the_first_call_and_the_means_bend(report):
    rerun = Table3(report)  # every first call takes 8 s, and the later ones 2 s
    assert rerun.bent_by_first_call == pytest.approx(1) == rerun.bent_by_mean
    results = list(report.results)
    results[0] = retimed(results[0], 20.0, 2.0, 2.0)  # 8 s on average in place of 4 s
    rerun = Table3(replace(report, results=results))
    assert rerun.bent_by_first_call == pytest.approx(2) and rerun.bent_by_mean == pytest.approx(1)
    results[0] = retimed(results[0], 8.0, 2.0, 2.0, 2.0, 2.0, 12.0)  # later: mean 4, median 2
    rerun = Table3(replace(report, results=results))
    assert rerun.bent_by_mean == pytest.approx(2)


def test_memory_is_a_matter_of_a_cpu(report):
    stamp = replace(report.provenance, device="cpu", device_name="CPU 9")
    report = replace(report, provenance=stamp, settings={"instructions": "AVX2"})
    assert Table3(report).where == "CPU 9 with AVX2 (memory given back)"
    kept = replace(report, settings=report.settings | {"MALLOC_TRIM_THRESHOLD_": "8"})
    assert Table3(kept).where == "CPU 9 with AVX2 (memory kept)"
    gpu = replace(
        report, provenance=replace(stamp, device="cuda", device_name="GPU 9"), settings={}
    )
    assert Table3(gpu).where == "GPU 9" and Table3(gpu).memory == ""


def test_a_report_of_another_race_is_refused(report):
    with pytest.raises(ValueError, match="of 35 results must have those of the 18 rows, twice"):
        Table3(replace(report, results=report.results[1:]))
    other = replace(report.results[0].case, model="resmlp")  # as many results, of another table
    with pytest.raises(ValueError, match="of 36 results must have those of the 18 rows, twice"):
        Table3(
            replace(report, results=[replace(report.results[0], case=other), *report.results[1:]])
        )


def test_rows_with_less_to_mix():
    strategies = [model for model, _ in TABLE_3]
    pairs = ROWS - len(set(strategies))  # all but the first row of each strategy
    assert finer_is_faster(np.arange(ROWS)) == (pairs, pairs)
    assert finer_is_faster([1.0] * ROWS) == (0, pairs)
    values = [0.0] * ROWS
    values[2] = 1.0  # the second row of I is faster than the first, and the third slower
    assert finer_is_faster(values) == (1, pairs)
    values = [0.0] * ROWS
    values[6] = 1.0  # the first row of II follows one of another strategy
    assert finer_is_faster(values) == (0, pairs)
