"""What records of benchmarks say: by device, by form, from race to race."""

from dataclasses import replace

import pytest
from helpers import ROOT

from mixerlib.records import Provenance, provenance, write_record
from mixerlib.speed.cases import Benchmark, Case, Result, read_benchmark
from mixerlib.speed.form import Form
from mixerlib.speed.reports import (
    FORMS,
    PLAIN,
    by_form,
    drift,
    fastest,
    fastest_forms,
    read_by_device,
    speedup,
)
from mixerlib.speed.rooflines import read_roofline
from mixerlib.speed.timing import Timing

LAST, COMPILED, MATRIX = Form(channels_last=True), Form(compile=True), Form("one matrix")
STAMP = provenance("cpu")


def result(*runs: float, detail: str | None = None, model: str = "splitmixer_i", **case) -> Result:
    timing = Timing.of(runs)
    case = Case(model, batch=4, **case)
    return Result(case, detail, timing, case.batch / timing.median, None)


def report(*results: Result, stamp: Provenance = STAMP) -> Benchmark:
    return Benchmark("made up", list(results), [], {}, stamp)


def test_records_by_device_a_gpu_first(tmp_path):
    gpu = replace(STAMP, device="cuda")
    for place, stamp in (("a-cpu/forms/x", STAMP), ("z-gpu/forms/y", gpu), ("z-gpu/w", gpu)):
        write_record(report(result(1.0), stamp=stamp), tmp_path / f"{place}.json")
    devices = read_by_device(tmp_path, "forms/*.json", read_benchmark)
    assert {device: list(reports) for device, reports in devices.items()} == {
        "z-gpu": ["y"],
        "a-cpu": ["x"],
    }
    assert list(devices) == ["z-gpu", "a-cpu"]
    assert devices["a-cpu"]["x"] == report(result(1.0))
    assert read_by_device(tmp_path / "none", "forms/*.json", read_benchmark) == {}
    with pytest.raises(ValueError, match=r"z-gpu.w\.json: `schema`"):
        read_by_device(tmp_path, "w.json", read_roofline)


def test_the_fastest_result_of_each_form():
    race = report(
        result(4.0, 4.0),
        result(3.0, 3.0, form=LAST),
        result(0.5, 0.5, form=MATRIX),  # not as PyTorch runs it
        result(0.7, 0.7, implementation="timm"),
        result(1.0, 1.0, implementation="fast"),
        result(2.0, 2.0, form=COMPILED, dtype="bfloat16"),
    )
    forms = fastest_forms(race)
    medians = {name: one.seconds.median for name, one in forms.items()}
    assert medians == {"plain": 4.0, "best": 3.0, "fast": 1.0, "best, bfloat16": 2.0}
    assert list(forms) == [name for name in FORMS if name in forms]
    assert race.fastest(**PLAIN) == forms["plain"]
    assert fastest_forms(report()) == {}


def test_a_speedup_is_that_of_the_rounds():
    slow, quick = result(2.0, 9.0, 6.0), result(1.0, 3.0, 1.0)
    assert speedup(slow, quick).runs == [2.0, 3.0, 6.0]
    assert speedup(slow, quick).median == 3.0
    assert speedup(None, quick) is None and speedup(slow, None) is None
    with pytest.raises(ValueError, match="of 1 rounds must have as many as `base`: 3"):
        speedup(slow, result(1.0))


def test_the_drift_of_a_model_from_race_to_race():
    first = {
        "a": report(result(1.0)),
        "b": report(result(1.0)),
        "c": report(result(1.0, image_size=8)),
        "d": report(result(1.0, form=LAST)),
        "e": report(result(1.0)),
    }
    second = {
        "a": report(result(1.25)),
        "b": report(result(0.5)),
        "c": report(result(9.0, image_size=16)),  # another case
        "d": report(result(9.0, form=LAST)),  # no plain form
        "f": report(result(9.0)),
    }
    assert drift(first, second) == pytest.approx([0.25, 1.0])
    assert drift(second, first) == drift(first, second)
    assert drift(first, {}) == []


def test_results_by_model_and_form():
    plain, last = result(1.0), result(2.0, form=LAST)
    other = result(3.0, model="convmixer")
    assert by_form([plain, other, last]) == {
        "splitmixer_i": {Form(): plain, LAST: last},
        "convmixer": {Form(): other},
    }


def test_the_fastest_of_a_race():
    timings = {"a": Timing.of([1.0, 5.0, 5.0]), "b": Timing.of([2.0, 2.0, 9.0])}
    assert fastest(timings) == "b"


# What the fast implementation has chosen


@pytest.mark.parametrize(
    ("detail", "form"),
    [
        (
            "rewriting=as it is, layout=NHWC, at_once=8, compiled=True",
            Form(channels_last=True, compile=True, at_once=8),
        ),
        (
            "rewriting=one matrix, layout=NCHW, at_once=64, compiled=False; 2 ways failed: no",
            Form("one matrix", folded=True, at_once=64),
        ),
        *(
            (", ".join(f"{name}={value}" for name, value in vars(form).items()), form)
            for form in (Form(), Form("linear", True, True, True, 16))
        ),
    ],
)
def test_the_form_that_was_chosen(detail, form):
    assert result(1.0, implementation="fast", detail=detail).chosen_form == form


def test_no_form_was_chosen():
    assert result(1.0, implementation="timm", detail="timm 1.0").chosen_form is None
    for detail in (None, "timm 1.0", "rewriting=as it is, layout=NHWC"):
        with pytest.raises(ValueError, match="must say a form"):
            _ = result(1.0, implementation="fast", detail=detail).chosen_form


def test_the_records_of_the_book_say_their_forms():
    devices = read_by_device(ROOT / "book/records/bench", "forms/*.json", read_benchmark)
    results = [r for reports in devices.values() for one in reports.values() for r in one.results]
    chosen = [one.chosen_form for one in results if one.case.implementation == "fast"]
    assert len(chosen) >= 14 and None not in chosen
    assert all(form.compile for form in chosen)
