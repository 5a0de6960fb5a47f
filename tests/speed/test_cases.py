"""Cases and what they are called, benchmarks and their records, of both schemas."""

import json
from dataclasses import replace

import pytest
import torch
from helpers import values_to_change

from mixerlib import records
from mixerlib.speed.bench import benchmark
from mixerlib.speed.cases import Benchmark, Case, has_measured, read_benchmark
from mixerlib.speed.form import Form

SMALL = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 4}
TINY = {"batch": 2, "image_size": 8}
LAST, COMPILED = Form(channels_last=True), Form(compile=True)


# Cases


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "convmixr"}, "did you mean convmixer"),
        ({"implementation": "ours"}, "`implementation`='ours' must be one of 'mixerlib', 'list"),
        ({"task": "sleep"}, "`task`='sleep' must be one of 'inference', 'training', 'as publ"),
        ({"dtype": "int8"}, "`dtype`='int8' must be one of 'float32', 'bfloat16', 'float16'"),
        ({"compile_mode": "max"}, "`compile_mode`='max' must be one of 'default', 'reduce-over"),
        ({"compile_mode": "max-autotune"}, "`compile_mode`='max-autotune' needs a form that is"),
        ({"depthwise": "mine"}, "`depthwise`='mine' must be one of None, 'auto', 'cudnn'"),
        ({"batch": 0}, "`batch`=0 must be a positive whole number"),
        ({"batch": 1.5}, "`batch`=1.5 must be a positive whole number"),
        ({"image_size": True}, "`image_size`=True must be a positive whole number"),
        ({"options": {"image_size": 32}}, "`options` must not hold `image_size`"),
        ({"form": Form(folded=True)}, "folded=True.* must be one of a training step"),
        ({"form": Form(at_once=8)}, "at_once=8.* must be one of a training step"),
        ({"form": Form("linear")}, "mixing='linear'.* must be one of a training step"),
        ({"implementation": "fast", "task": "training"}, "`implementation`='fast' is for infer"),
        ({"implementation": "fast", "form": COMPILED}, "`implementation`='fast' is for inference"),
    ],
)
def test_cases_that_do_not_exist(values, message):
    with pytest.raises(ValueError, match=message):
        Case(**({"model": "convmixer"} | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixing": "two matrices"}, "`mixing`='two matrices' must be one of 'own', 'convolution'"),
        ({"at_once": 0}, "`at_once`=0 must be a positive whole number"),
    ],
)
def test_forms_that_do_not_exist(values, message):
    with pytest.raises(ValueError, match=message):
        Form(**values)


def test_a_case_says_what_it_is():
    case = Case("splitmixer_iv_256_8_224", {"segments": 3})
    assert case.image_size == 224 and Case("convmixer").image_size == 32
    assert case.label == "splitmixer_iv_256_8_224 segments=3"
    assert case.description == "float32, contiguous"
    fast = replace(case, implementation="fast", dtype="bfloat16")
    assert fast.description == "fast, bfloat16"
    other = replace(case, form=replace(LAST, compile=True), compile_mode="max-autotune")
    other = replace(other, depthwise="cudnn")
    assert other.description == ("float32, channels_last, compiled (max-autotune), depthwise cudnn")
    assert replace(case, form=COMPILED).description == "float32, contiguous, compiled"
    matrix = replace(case, form=Form("one matrix"))
    assert matrix.description == "one matrix, float32, contiguous"
    peer = replace(case, implementation="timm", form=LAST)
    assert peer.description == "timm, float32, channels_last"


# Records


@pytest.fixture(scope="module")
def report() -> Benchmark:
    cases = [
        Case("convmixer", SMALL, **TINY, form=LAST),
        Case("splitmixer_i", SMALL | {"ratio": "3/5"}, **TINY, implementation="listing"),
        Case("splitmixer_i", SMALL, **TINY, form=Form("one matrix")),
    ]
    return benchmark(cases, rounds=2, name="a race")


def test_a_benchmark(report):
    models = ["convmixer", "splitmixer_i", "splitmixer_i"]
    assert [result.case.model for result in report.results] == models
    for result in report.results:
        assert len(result.seconds.runs) == 2 and result.seconds.median > 0
        assert result.images_per_second == 2 / result.seconds.median
    assert report.provenance.device == "cpu"
    assert report.settings["instructions"] == torch.backends.cpu.get_cpu_capability()


def test_the_fastest_of_a_benchmark(report):
    speeds = [9.0, 7.0, 8.0]
    results = [
        replace(result, images_per_second=speed)
        for result, speed in zip(report.results, speeds, strict=True)
    ]
    report = replace(report, results=results)
    assert report.fastest() == results[0]
    assert report.fastest(channels_last=False) == results[2]
    assert report.fastest(channels_last=False, mixing="own") == results[1]
    assert report.fastest(implementation="listing", options=results[1].case.options) == results[1]
    assert report.fastest(dtype="float16") is None
    with pytest.raises(ValueError, match="`layout` is not a field of a case or of its form"):
        report.fastest(layout="contiguous")


def test_a_record_is_read_back(report, tmp_path):
    path = tmp_path / "bench" / "race.json"
    records.write_record(report, path)
    assert read_benchmark(path) == report
    assert records.read_records(tmp_path) == []  # it is none of a training run
    with pytest.raises(ValueError, match="`schema`='mixerlib benchmark 3' must be"):
        records.read_record(path)


def spoilt(report: Benchmark, path, keys: list, value) -> None:
    """Write the record with another value in one place."""
    records.write_record(report, path)
    content = values_to_change(path)
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["schema"], "mixerlib training 2", "`schema`='mixerlib training 2' must be"),
        (["results", 0, "seconds", "median"], "1", "median`='1' must be of type float"),
        (["results", 0, "seconds", "spread"], 1.0, "spread` is not a key of a record"),
        (["results", 1, "case", "batch"], 0, "`batch`=0 must be a positive whole number"),
        (["results", 1, "case", "dtype"], "int8", "`dtype`='int8' must be one of"),
        (["results", 1, "case", "form", "mixing"], "none", "`mixing`='none' must be one of"),
        (["results", 1, "case", "form", "compile"], 1, "compile`=1 must be of type bool"),
        (["left_out"], None, "`left_out` must be a list"),
        (["provenance"], 1, "`provenance` must be a table"),
    ],
)
def test_a_spoilt_record(report, tmp_path, keys, value, message):
    path = tmp_path / "race.json"
    spoilt(report, path, keys, value)
    with pytest.raises(ValueError, match=f"race.json: .*{message}"):
        read_benchmark(path)


# What has a record


def test_what_has_a_record_has_been_measured(report, tmp_path):
    path, cases = tmp_path / "race.json", [result.case for result in report.results]
    assert not has_measured(path, cases, "cpu")
    records.write_record(report, path)
    assert has_measured(path, cases, "cpu")
    with pytest.raises(ValueError, match=r"race\.json holds other measurements"):
        has_measured(path, [replace(cases[0], batch=3), *cases[1:]], "cpu")
    lost = replace(cases[0], dtype="float16")
    left_out = [f"{lost.label} ({lost.description}): no such thing: here"]
    records.write_record(replace(report, left_out=left_out), path)
    assert has_measured(path, [lost, *cases], "cpu")
    other = replace(report.provenance, device_name="another")
    records.write_record(replace(report, provenance=other), path)
    with pytest.raises(ValueError, match=r"race\.json holds other measurements"):
        has_measured(path, cases, "cpu")
