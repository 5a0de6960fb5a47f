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
    fastest,
    fastest_forms,
    model_races,
    read_by_device,
    speedups_over,
)
from mixerlib.speed.rooflines import read_roofline_race
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
        read_by_device(tmp_path, "w.json", read_roofline_race)


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
    slow, quick, short = result(2.0, 9.0, 6.0), result(1.0, 3.0, 1.0), result(1.0)
    race = report(slow, quick, short)
    assert race.speedup(slow, quick).runs == [2.0, 3.0, 6.0]
    assert race.speedup(slow, quick).median == 3.0
    assert race.speedup(None, quick) is None and race.speedup(slow, None) is None
    with pytest.raises(ValueError, match="of 1 rounds must have as many as `base`: 3"):
        race.speedup(slow, short)


def test_numbers_of_two_races_are_not_divided():
    """Neither way round, and not for the same model and form in another hour."""
    slow, quick = result(2.0, 9.0), result(1.0, 3.0)
    race, other = report(slow), report(quick)
    with pytest.raises(ValueError, match="`other` is of another race than `base`"):
        race.speedup(slow, quick)
    with pytest.raises(ValueError, match="`base` is of another race than this one"):
        race.speedup(quick, slow)
    with pytest.raises(ValueError, match="`base` is of another race"):
        other.speedup(slow, None)


def test_models_are_compared_only_within_a_race():
    conv, split = result(4.0, 6.0, model="convmixer"), result(2.0, 2.0)
    both, alone = report(conv, split), report(result(1.0, 1.0, model="splitmixer_ii"))
    races = {"convmixer": both, "splitmixer_i": both, "splitmixer_ii": alone}
    found = speedups_over(races, "convmixer", **PLAIN)
    assert {model: timing.runs for model, timing in found.items()} == {"splitmixer_i": [2.0, 3.0]}
    assert speedups_over(races, "splitmixer_ii", **PLAIN) == {}
    assert speedups_over(races, "splitmixer_v", **PLAIN) == {}
    assert speedups_over(races, "convmixer", dtype="bfloat16") == {}


def test_every_model_of_a_race_names_it_and_a_gpu_comes_first(tmp_path):
    conv, split = (result(1.0, model=model) for model in ("convmixer", "splitmixer_i"))
    gpu = replace(STAMP, device="cuda")
    for place, one in (
        ("cpu/races/plain", report(conv, split)),
        ("cpu/races/plain-kept", report(split)),
        ("gpu/races/plain", report(split, stamp=gpu)),
        ("gpu/races/forms", report(conv, stamp=gpu)),
    ):
        write_record(one, tmp_path / f"{place}.json")
    races = model_races(tmp_path, "plain")
    assert list(races) == ["gpu", "cpu"] and list(races["gpu"]) == ["splitmixer_i"]
    assert list(races["cpu"]) == ["convmixer", "splitmixer_i"]
    assert races["cpu"]["convmixer"] is races["cpu"]["splitmixer_i"]
    assert races["cpu"]["convmixer"].models == ["convmixer", "splitmixer_i"]
    assert list(model_races(tmp_path, "plain-kept")["cpu"]) == ["splitmixer_i"]
    assert model_races(tmp_path / "none", "plain") == {}


def test_one_model_of_a_race_and_one_task():
    conv, split = result(4.0, model="convmixer"), result(2.0)
    step = result(9.0, task="training")
    race = report(conv, split, step)
    assert fastest_forms(race, "convmixer")["plain"] == conv
    assert fastest_forms(race, "splitmixer_i", task="training")["plain"] == step
    assert fastest_forms(race, "splitmixer_ii") == {}


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
            "mixing=own, folded=False, channels_last=True, compile=True, at_once=8",
            Form(channels_last=True, compile=True, at_once=8),
        ),
        (
            "mixing=one matrix, folded=True, channels_last=False, compile=False, at_once=64; no",
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
    for detail in (None, "timm 1.0", "mixing=own, layout=NHWC"):
        with pytest.raises(ValueError, match="must say a form"):
            _ = result(1.0, implementation="fast", detail=detail).chosen_form


def test_the_records_of_the_book_say_their_forms():
    devices = read_by_device(ROOT / "book/records/bench", "races/forms*.json", read_benchmark)
    results = [r for reports in devices.values() for one in reports.values() for r in one.results]
    chosen = [one.chosen_form for one in results if one.case.implementation == "fast"]
    assert len(chosen) >= 14 and None not in chosen
    assert all(form.compile for form in chosen)
