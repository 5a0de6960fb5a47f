"""What the pages say of two models beside one another: by forms, and by layers."""

from dataclasses import replace

import pytest

from mixerlib.records import provenance
from mixerlib.speed.cases import Benchmark, Case, Result
from mixerlib.speed.form import Form
from mixerlib.speed.machine import Machine
from mixerlib.speed.pair_text import (
    changes_sentence,
    changes_table,
    gains_by_form,
    pair_table,
    pair_verdict,
    where_the_time_goes,
)
from mixerlib.speed.roofline_runs import roofline_race
from mixerlib.speed.rooflines import RooflineRace
from mixerlib.speed.timing import Timing

PAIR = CONV, SPLIT = "convmixer_256_8", "splitmixer_i_256_8"
LAST, COMPILED = Form(channels_last=True), Form(compile=True)
STAMP = provenance("cpu")


def result(model: str, seconds: float, **case) -> Result:
    timing = Timing.of([seconds * (1 + r) for r in range(6)])
    return Result(Case(model, batch=4, **case), None, timing, 4 / timing.median, None)


def together(*results: Result) -> dict[str, Benchmark]:
    report = Benchmark("made up", list(results), [], {}, STAMP)
    return dict.fromkeys(report.models, report)


@pytest.fixture
def races() -> dict[str, Benchmark]:
    """ConvMixer's layout and compiler help it, and SplitMixer-I's hurt it."""
    return together(
        result(CONV, 4.0),
        result(CONV, 2.0, form=LAST),
        result(CONV, 1.0, form=COMPILED),
        result(CONV, 1.0, implementation="fast"),
        result(CONV, 2.0, dtype="bfloat16"),
        result(CONV, 0.5, dtype="bfloat16", form=COMPILED),
        result(SPLIT, 5.0),
        result(SPLIT, 10.0, form=LAST),
        result(SPLIT, 8.0, form=COMPILED),
        result(SPLIT, 2.0, implementation="fast"),
    )


def rows(text: str) -> dict[str, list[str]]:
    text = text.replace("\u00a0", " ").replace("\u2011", "-")
    lines = [line.strip("| ").split("|") for line in text.splitlines()[2:]]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in lines}


def test_the_two_are_compared_in_forms_that_both_have(races):
    gains = gains_by_form(races, *PAIR)
    assert {form: gain.median for form, gain in gains.items()} == {
        "plain": 0.8,
        "best": 0.2,
        "fast": 0.5,
    }
    cells = rows(pair_table(races, *PAIR))
    assert [*cells] == ["plain", "best", "fast"]
    assert cells["plain"] == ["0.286", "0.229", "0.80 (0.80–0.80)"]
    text = pair_verdict(races, *PAIR, printed=2.571)
    assert text.replace("\u00a0", " ") == (
        "SplitMixer-I is surely the faster one in none of these 3 forms. It has 0.20 to 0.80 times "
        "ConvMixer's speed, where 2.57 is printed and its MACs promise 2.27. In its fastest form "
        "of all it is 2.00 (2.00–2.00) times as fast as ConvMixer in its slowest."
    )
    quick = together(result(CONV, 4.0), result(SPLIT, 1.0))
    assert "in 2 of these 2 forms" in pair_verdict(quick, *PAIR, printed=2.571)
    apart = together(result(CONV, 4.0)) | together(result(SPLIT, 1.0))  # two races: no ratio
    assert gains_by_form(apart, *PAIR) == {}


def test_each_change_is_measured_on_the_models_own_plain_form_in_the_same_format(races):
    cells = rows(changes_table(races, PAIR))
    assert cells["channels last, float32"] == ["2.00 (2.00–2.00)", "0.50 (0.50–0.50)"]
    assert cells["compiled, float32"] == ["4.00 (4.00–4.00)", "0.62 (0.62–0.62)"]
    assert cells["compiled, bfloat16"] == ["4.00 (4.00–4.00)", "·"]
    assert "channels last, bfloat16" not in cells
    assert changes_sentence(races, PAIR) == (
        "Beside its own plain form in the same number format each model runs so many times as "
        "fast: compiled, in the faster "
        "layout, ConvMixer 4.00 and SplitMixer-I 0.62; in channels last without a compiler, "
        "ConvMixer 2.00 and SplitMixer-I 0.50; in the fast form, ConvMixer 4.00 and SplitMixer-I "
        "2.50. Compiling helped the one and hurt the other; why, no record shows."
    )
    alike = together(
        *[result(name, s, form=f) for name in PAIR for s, f in ((4.0, Form()), (2.0, COMPILED))]
    )
    assert "takes from the other" not in changes_sentence(alike, PAIR)


@pytest.fixture(scope="module")
def layers() -> RooflineRace:
    """All layers of a role take one time, so shares are counts, and mixings of the second are two
    in a block."""
    race = roofline_race(
        ["convmixer", "splitmixer_i"],
        {"dim": 8, "depth": 2, "kernel_size": 3, "patch_size": 4},
        batch=4,
        image_size=16,
        rounds=1,
        machine=Machine(2e9, 64, 5e8, 1000, 4e8, read_bytes_per_second=8e8),
    )
    seconds = {"channel mixing": 2.0, "depthwise": 7.0}
    return replace(
        race,
        reports=[
            replace(
                report,
                layers=[
                    replace(layer, seconds=Timing.of([seconds.get(layer.role, 0.0)] * 6))
                    for layer in report.layers
                ],
            )
            for report in race.reports
        ],
    )


def test_where_the_time_goes(layers):
    text = where_the_time_goes(layers, "convmixer", "splitmixer_i").replace("\u00a0", " ")
    counts = [
        sum(layer.role == role for layer in report.layers)
        for role in ("channel mixing", "depthwise")
        for report in layers.reports
    ]
    share = 2 * counts[0] / (2 * counts[0] + 7 * counts[2])
    assert f"mixings take {share:.0%} of the time" in text
    assert f"it would be {1 / (1 - share):.2f} times as fast" in text
    assert f"take {counts[1] / counts[0]:.2f} (" in text  # the mixings, one time each
    assert f"{1 - share:.0%} of ConvMixer's time is in its depthwise convolutions" in text
    assert f"have {6 / 9:.2f} times the MACs" in text  # 3 + 3 in place of 3 × 3
    with pytest.raises(ValueError, match="`mixer` is not in this race of convmixer, splitmixer_i"):
        where_the_time_goes(layers, "convmixer", "mixer")
