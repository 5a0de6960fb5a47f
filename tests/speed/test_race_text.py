"""What the pages say of races: no ratio of two races, and every ratio with its interval."""

from dataclasses import replace

import pytest

from mixerlib.records import provenance
from mixerlib.speed import race_text as module
from mixerlib.speed.cases import Benchmark, Case, Result
from mixerlib.speed.form import Form
from mixerlib.speed.load import Load
from mixerlib.speed.machine import Machine
from mixerlib.speed.race_text import (
    against_table,
    both_allocators,
    bounds_table,
    conditions,
    convolved_say,
    distinct,
    forms_table,
    in_order,
    parts_of_gain,
    peers_table,
    rows_say,
    targets_table,
    targets_verdict,
    times,
)
from mixerlib.speed.roofline_report import bills
from mixerlib.speed.timing import Timing
from mixerlib.speed.training_text import compiled_gain, training_table

CONV, SPLIT, SECOND = "convmixer_256_8", "splitmixer_i_256_8", "splitmixer_ii_256_8"
LAST = Form(channels_last=True)
STAMP = provenance("cpu")
KEPT = {"MALLOC_TRIM_THRESHOLD_": "8589934592"}


def result(model: str, seconds: float, rounds: int = 6, memory: int | None = None, **case):
    """Runs of one length in rounds that are slower and slower, as on a machine that drifts."""
    timing = Timing.of([seconds * (1 + r) for r in range(rounds)])
    case = Case(model, batch=4, **case)
    return Result(case, None, timing, 4 / timing.median, memory)


def race(*results: Result, settings: dict | None = None, load: Load | None = None) -> Benchmark:
    return Benchmark("made up", list(results), [], settings or {}, STAMP, load=load)


def together(*results: Result, **details) -> dict[str, Benchmark]:
    report = race(*results, **details)
    return dict.fromkeys(report.models, report)


def alone(*results: Result) -> dict[str, Benchmark]:
    return {one.case.model: race(one) for one in results}


def broken(text: str) -> str:
    """With spaces and hyphens at which a line may break."""
    return text.replace("\u00a0", " ").replace("\u2011", "-")


def rows(text: str) -> dict[str, list[str]]:
    text = broken(text)
    lines = [line.strip("| ").split("|") for line in text.split("\n\n")[0].splitlines()[2:]]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in lines}


def test_models_are_compared_in_one_race_alone():
    pair = result(CONV, 4.0), result(SPLIT, 5.0), result(SECOND, 2.0)
    text = against_table(together(*pair), CONV)
    assert rows(text)["SplitMixer-I"][:2] == ["2.27", "0.80 (0.80–0.80)"]
    assert "In the plain form 2 of 2 models surely gain less than their MACs promise" in text
    assert "and 1 is surely faster than ConvMixer" in text
    assert against_table(alone(*pair), CONV) == "" == against_table({}, CONV)
    mixed = together(*pair[:2]) | alone(pair[2])
    text = against_table(mixed, CONV)  # of one model the table has all that a sentence would
    assert list(rows(text)) == ["SplitMixer-I"] and "of 1 models" not in text


def test_what_rows_may_be_used_for():
    pair = result(CONV, 4.0), result(SPLIT, 5.0)
    assert rows_say(together(*pair)) == "All of them ran in one race, in turn."
    assert "here are 2 races, each of another hour" in rows_say(alone(*pair))
    assert len(distinct(together(*pair))) == 1 and len(distinct(alone(*pair))) == 2


def test_where_and_how():
    pair = result(CONV, 4.0, rounds=4), result(SPLIT, 5.0, rounds=4)
    text = conditions(together(*pair, load=Load(0.2, 2, 0.03)))
    assert "8 blocks, 4 rounds" in text and "hold no median with 95 per cent" in text
    assert "Meanwhile other programs took 3% of the processors' time." in text
    assert "Nothing was set for glibc" in text
    mixed = together(result(CONV, 4.0)) | together(result("mixer_s16", 4.0, image_size=224))
    assert "Batches" not in conditions(mixed) and "6 rounds" in conditions(mixed)
    other = together(result(SPLIT, 1.0), settings={"instructions": "AVX2"})
    text = conditions(together(result(CONV, 1.0), settings={"instructions": "AVX512"}) | other)
    assert "AVX512" in text.split(".**")[0] and "AVX2" in text.split(".**")[0]
    text = conditions(together(result(CONV, 1.0), settings=KEPT))
    assert "glibc:" not in text and "Meanwhile" not in text and "hold no median" not in text


def test_the_forms_of_each_model():
    races = together(
        result(CONV, 4.0), result(CONV, 2.0, form=LAST), result(SPLIT, 1.0, implementation="fast")
    )
    table = rows(forms_table(races))
    assert table == {"ConvMixer": ["0.286", "0.571", "·"], "SplitMixer-I": ["·", "·", "1.14"]}
    assert list(in_order({SPLIT: races[SPLIT], "mixer_s16": races[CONV], CONV: races[CONV]})) == [
        CONV,
        SPLIT,
    ]
    large = {f"{SPLIT}_224": races[SPLIT], f"{CONV}_224": races[CONV], CONV: races[CONV]}
    assert list(in_order(large, "256_8_224")) == [f"{CONV}_224", f"{SPLIT}_224"]
    assert list(in_order(large)) == [CONV]


def test_batches_are_told_only_where_every_model_of_the_race_has_the_same():
    small = result(CONV, 1.0, image_size=32)
    large = result("mixer_s16", 1.0, image_size=224)
    assert "Batches of 4 images of 32×32, 8 blocks, 6 rounds" in conditions(together(small))
    assert "Batches of" not in conditions(together(small, large))  # the page's table has them


def test_peers_are_told_with_the_intervals_of_the_extremes():
    """The largest ratio of one page had an interval that held 1: so it says."""
    noisy = Timing.of([0.8, 1.2, 1.14, 1.24, 1.0, 1.1])
    other = replace(result(SPLIT, 1.0, implementation="listing"), seconds=noisy)
    plain = replace(result(SPLIT, 1.0), seconds=Timing.of([1.0] * 6))
    races = together(plain, other, result(CONV, 2.0), result(CONV, 1.9, implementation="listing"))
    text = broken(peers_table(races))
    assert "0.95 (0.95–0.95) (ConvMixer 256/8)" in text
    assert "1.12 (0.80–1.24) (SplitMixer-I 256/8)" in text
    assert "surely faster in 0 of 2 cases, surely slower in 1." in text
    assert "timm" not in text


def test_training_beside_inference_of_the_same_race():
    step = {"task": "training"}
    compiled = Form(compile=True)
    results = (
        result(CONV, 6.0, memory=2**21, **step),
        result(CONV, 3.0, form=compiled, **step),
        result(CONV, 2.0),
    )
    text = training_table(together(*results))
    assert rows(text)["ConvMixer"] == ["0.190", "0.381", "3.00 (3.00–3.00)", "2"]
    assert "the fastest of all forms, compiled ones too" in text and "takes 3.0 times" in text
    text = training_table(alone(results[0]))
    assert rows(text)["ConvMixer"] == ["0.190", "0.190", "2"]
    assert "not compiled" in text and "times as long" not in text
    assert "compiled step" not in text


def test_what_the_compiler_does_to_a_step_is_of_the_fastest_forms_of_one_race():
    step, compiled = {"task": "training"}, Form(compile=True)
    of_conv = (result(CONV, 6.0, **step), result(CONV, 4.0, form=LAST, **step))
    of_conv += (result(CONV, 8.0, form=compiled, **step),)
    of_split = (result(SPLIT, 6.0, **step), result(SPLIT, 3.0, form=compiled, **step))
    faster_in_half = result(SPLIT, 1.0, form=compiled, dtype="bfloat16", **step)
    text = compiled_gain(together(*of_conv, *of_split, faster_in_half))
    assert "runs 0.50 to 2.00 times as fast as the fastest that is not compiled" in text
    assert "surely faster for 1 of 2 models, surely slower for 1." in text
    left_out = "No form that is made of shifted sums or compiled block by block was in the race."
    assert text.endswith(left_out)
    shifted = result(SPLIT, 3.0, form=Form(compile=True, shifted=True), **step)
    text = compiled_gain(together(*of_split, shifted))
    assert text.endswith("No form that is compiled block by block was in the race.")
    assert compiled_gain(together(result(CONV, 2.0, form=compiled))) == ""  # of inference


def test_allocator_compiler_and_algebra_each_of_one_race():
    def forms(plain: float, best: float, fast: float) -> tuple[Result, ...]:
        fast_form = result(CONV, fast, implementation="fast")
        return result(CONV, plain), result(CONV, best, form=LAST), fast_form

    given, kept = together(*forms(12.0, 4.0, 2.0)), together(*forms(6.0, 3.0, 2.0), settings=KEPT)
    text = parts_of_gain(given, kept)
    folded = text.split("</summary>\n\n")[1]
    assert [cell[:4] for cell in rows(folded)["ConvMixer"]] == ["6.00", "3.00", "2.00", "1.50"]
    assert "is 6.0 times as fast as the plain one; where it keeps it, 3.0 times" in text
    assert "factor of 2.0 without this book" in text and "factor of 1.5 beyond" in text
    assert parts_of_gain(given, {}) == "" == parts_of_gain({}, kept)


TARGETS = {("fast", "plain"): (2.0, "twice the plain form"), ("fast", "best"): (9.0, "no")}


def test_targets_are_reached_surely_or_not_or_it_is_open():
    plain = Timing.of([2.0] * 6)
    fast = {CONV: [0.9] * 6, SPLIT: [1.1] * 6, SECOND: [0.9, 1.1, 0.9, 1.1, 0.9, 1.1]}
    results = []
    for name, runs in fast.items():
        results.append(replace(result(name, 1.0), seconds=plain))
        quick = result(name, 1.0, implementation="fast")
        results.append(replace(quick, seconds=Timing.of(runs)))
    races = together(*results)
    marks = {name: cells[0][-1] for name, cells in rows(targets_table(races, TARGETS)).items()}
    assert marks == {"ConvMixer": "✓", "I": "✗", "II": "?"}
    verdict, other = broken(targets_verdict(races, TARGETS)).splitlines()
    assert verdict.startswith("- twice the plain form: surely reached by 1 of 3 models")
    assert "surely not by I (1.82" in verdict and "open for II (2." in verdict
    assert other.startswith("- no: surely reached by 0 of 3 models; surely not by ConvMixer")
    nothing = targets_verdict(together(result(CONV, 1.0)), TARGETS)
    assert nothing.splitlines()[0] == "- twice the plain form: not measured."


def test_what_a_copy_would_reach_is_of_the_same_race():
    machine = Machine(1e11, 64, 1e10, 1000, 1e10)
    results = (
        result(CONV, 1.0),
        replace(result(CONV, 1.0, implementation="fast"), seconds=Timing.of([0.2] * 6)),
    )
    races = together(*results)
    assert bounds_table(races) == ""  # the machine was not measured in this race
    report = replace(races[CONV], machine=machine)
    seconds = 4 * bills(CONV, fused=True).seconds(machine.rates)
    text = bounds_table({CONV: report})
    cells = rows(text.partition("\n\n")[2])["ConvMixer"]
    assert cells[1:4] == [f"{1e3 * seconds:.0f}", "200", f"{seconds / 0.2:.0%}"]
    assert "would gain" in text and "no form will" not in text


def test_linear_layers_as_convolutions_are_told_with_the_rates_of_the_same_race():
    detail = "mixing=convolution, folded=False, channels_last=True, compile=False, at_once=16"
    fast = replace(result("mixer_s4", 0.5, implementation="fast"), detail=detail)
    races = together(result("mixer_s4", 1.0), fast)
    said = broken(convolved_say(races))
    assert "Mixer-S/4 is 2.00 (2.00–2.00) times as fast as plain (convolutions)." in said
    pieces = detail.replace("compile=False, at_once=16", "compile=True, at_once=2")
    races = together(result("mixer_s4", 1.0), replace(fast, detail=pieces))
    assert "plain (convolutions, 2 images at once, compiled)." in convolved_say(races)
    races = together(result("mixer_s4", 1.0), fast)
    assert "large product" not in said
    machine = Machine(2e11, 64, 1e10, 1000, 1e10, None, None, 1e11, 2e11)
    timed = {"mixer_s4": replace(races["mixer_s4"], machine=machine)}
    assert convolved_say(timed).endswith(
        "it did a large product at 200 by a 1×1 convolution and 100 by a product of matrices "
        "(G MACs a second)."
    )
    for other in (detail.replace("convolution", "own"), detail.replace("=False", "=True", 1)):
        given = together(result("mixer_s4", 1.0), replace(fast, detail=other))
        assert convolved_say(given) == ""
    assert convolved_say(together(result("mixer_s4", 1.0))) == ""


def test_which_of_two_records_to_believe():
    given, kept = race(result(CONV, 1.0)), race(result(CONV, 1.0), settings=KEPT)
    on_gpu = replace(given, provenance=replace(STAMP, device="cuda"))
    text = both_allocators([on_gpu, given, kept])
    assert text.startswith("The CPU's records differ in what glibc was told.")
    assert both_allocators([given, given]) == "" == both_allocators([kept])
    assert both_allocators([on_gpu, kept]) == ""  # what a GPU gives back is not glibc's


def test_a_ratio_that_is_not_there():
    assert times(None) == module.NOTHING
    assert times(Timing.of([2.0] * 6), interval=False) == "2.00"


def test_a_training_step_is_not_divided_by_another_race():
    step, asked = result(CONV, 6.0, task="training"), result(CONV, 2.0)
    report = race(step)
    with pytest.raises(ValueError, match="of another race"):
        report.speedup(step, asked)
