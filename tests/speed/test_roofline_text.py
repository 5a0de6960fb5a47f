"""What the pages say of rooflines: bands, and differences of one race alone."""

from dataclasses import replace

import pytest

from mixerlib.speed.machine import DATA_SHEETS, Machine
from mixerlib.speed.roofline_report import bills
from mixerlib.speed.roofline_runs import roofline_race
from mixerlib.speed.roofline_text import (
    account,
    band_of,
    conditions,
    layer_table,
    predicted_speed,
    sheets_table,
    speeds_table,
    verdicts,
)
from mixerlib.speed.rooflines import RooflineRace, seconds_together
from mixerlib.speed.timing import Timing

CONV, SPLIT = "convmixer", "splitmixer_i"
SMALL = {"dim": 8, "depth": 2, "kernel_size": 3, "patch_size": 4}
MACHINE = Machine(2e9, 64, 5e8, 1000, 4e8, read_bytes_per_second=8e8)
ROUNDS = 6  # the fewest that hold 95 per cent


@pytest.fixture(scope="module")
def race() -> RooflineRace:
    """Each layer takes three times its larger bill, in each round a little more; the models twice
    that."""
    measured = roofline_race(
        [CONV, SPLIT], SMALL, batch=4, image_size=16, rounds=1, machine=MACHINE
    )
    reports = []
    for report in measured.reports:
        layers = [
            replace(
                layer,
                seconds=Timing.of([3 * layer.predicted * (1 + r / 100) for r in range(ROUNDS)]),
            )
            for layer in report.layers
        ]
        whole = Timing.of([6 * band_of(layers)[0] * (1 + r / 100) for r in range(ROUNDS)])
        reports.append(replace(report, layers=layers, whole=whole))
    return replace(measured, reports=reports)


def changed(race: RooflineRace, role: str, factor: float) -> RooflineRace:
    """The second model's layers of a role take so many times as long."""
    first, second = race.reports
    layers = [
        replace(layer, seconds=Timing.of([factor * run for run in layer.seconds.runs]))
        if layer.role == role
        else layer
        for layer in second.layers
    ]
    return replace(race, reports=[first, replace(second, layers=layers)])


def rows(table: str) -> dict[str, list[str]]:
    """A table's cells by the first of each row."""
    lines = [line.strip("| ").split("|") for line in table.split("\n\n")[0].splitlines()[2:]]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in lines}


def test_a_prediction_is_a_band_and_a_speed_is_of_one_race(race):
    table = rows(speeds_table(race, CONV))
    least, most = band_of(race.of(SPLIT).layers)
    assert least < most <= 2 * least
    predicted, _, reached, speed, measured, interval = table["I"]
    ends = [float(word) for word in predicted.split(" to ")]
    assert ends == pytest.approx([1000 * least / 4, 1000 * most / 4], rel=0.006)
    assert reached == "16%"  # of 6 times, and the rounds' few per cent
    low, high = predicted_speed(race, CONV, SPLIT)
    assert speed == f"{low:.2f} to {high:.2f}"
    base = band_of(race.of(CONV).layers)
    assert {low, high} == {base[0] / least, base[1] / most}
    assert float(measured) == pytest.approx(base[0] / least, abs=0.006)
    assert interval == f"{measured} to {measured}"  # the rounds' noise has cancelled
    alone = replace(race, reports=race.reports[1:])
    assert "speed" not in speeds_table(alone, CONV)


def test_no_speed_of_a_model_that_did_not_run(race):
    with pytest.raises(ValueError, match="`mlp_mixer` is not in this race of convmixer, splitm"):
        predicted_speed(race, CONV, "mlp_mixer")
    with pytest.raises(ValueError, match="`convmixer` and `mlp_mixer` must both be in the race"):
        account(race, CONV, "mlp_mixer")


def test_layers_together_are_summed_round_by_round(race):
    """One slow in the first round and one in the last take as long in both: no median knows."""
    first, second, *_ = race.reports[0].layers
    layers = [
        replace(first, seconds=Timing.of([9.0, 1.0, 1.0])),
        replace(second, seconds=Timing.of([1.0, 1.0, 9.0])),
    ]
    assert seconds_together(layers).runs == [10.0, 2.0, 10.0]
    assert seconds_together(layers).median == 10.0
    assert seconds_together([]).median == 0.0


def test_the_account_of_a_difference(race):
    """By their bills alone: the split saves multiplications only, so the rest costs more."""
    text = account(race, CONV, SPLIT)
    table = rows(text)
    gaps = {role: float(cells[2].replace("−", "-")) for role, cells in table.items()}
    whole = gaps.pop("all layers")
    assert sum(gaps.values()) == pytest.approx(whole, rel=0.02)
    gelu = [
        sum(layer.seconds.median for layer in report.layers if layer.role == "GELU")
        for report in race.reports
    ]
    assert gaps["GELU"] == pytest.approx(1000 * (gelu[1] - gelu[0]) / 4, rel=0.006)
    sentence = text.rpartition("\n\n")[2]
    assert sentence.startswith("SplitMixer-I") and "ms an image more here." in sentence
    assert "of it on the channel mixing" in sentence and "machine's doing" not in sentence


def test_what_cannot_be_saved_is_not_the_models_doing(race):
    """More GELUs that take less time: a sentence once gave that to the model."""
    text = account(changed(race, "GELU", 0.1), CONV, SPLIT)
    assert "But the GELUs have no less to do than ConvMixer" in text
    assert "is the machine's doing, not the model's." in text


def test_what_is_not_certain_is_not_said(race):
    _, second = race.reports
    noisy = [
        replace(layer, seconds=Timing.of([layer.predicted * 2.0 ** (-1) ** r for r in range(6)]))
        for layer in second.layers
    ]
    quiet = [replace(layer, seconds=Timing.of([layer.predicted] * 6)) for layer in second.layers]
    same = replace(second, model=CONV, layers=quiet)
    text = account(replace(race, reports=[same, replace(second, layers=noisy)]), CONV, SPLIT)
    assert "cannot be told here: the interval of the difference holds 0. SplitMixer-I" in text
    assert text.endswith("saves nothing that is certain.")


def test_a_line_on_each_model(race):
    lines = verdicts(race).splitlines()
    assert len(lines) == 2 and lines[1].startswith("- **SplitMixer-I")
    assert "3.07 times the larger bill" in lines[0]  # 3, and the median round's 2.5 per cent
    assert "Of the time above the larger bills" in lines[0]
    assert "both bills" not in "".join(lines)  # no label with limits of its own


def test_more_layers_that_take_less(race):
    """A GPU's two short convolutions are quicker than the square one: no saving in "8 more"."""
    text = account(changed(race, "depthwise", 0.1), CONV, SPLIT)
    assert "in the depthwise convolutions (2 more of them)" in text


def test_where_and_how(race):
    text = conditions(race)
    assert "0.800 for reading one" in text and "sums of two maps" not in text
    assert "a balance of 4.00 MACs a byte" in text and f"{ROUNDS} rounds" in text
    assert str(race.load) in text
    assert "None" not in conditions(replace(race, load=None))


def test_both_ways_to_multiply_are_told_and_the_quicker_one_is_the_roof(race):
    assert "2.00 G MACs a second by a product of matrices, " in conditions(race)
    machine = replace(MACHINE, product_macs_per_second=1e9, convolution_macs_per_second=2e9)
    there = replace(race, reports=[replace(race.reports[0], machine=machine)])
    assert (
        "2.00 G MACs a second by a 1×1 convolution (1.00 by a product of matrices), 0.500 GB"
        in conditions(there)
    )


def test_rounding_is_told(race):
    """A GPU's rate of products is that of TF32, and stands beside no CPU's without saying so."""
    assert "TF32" not in conditions(race)
    settings = {"convolutions in TF32": True}
    there = replace(race, reports=[replace(race.reports[0], settings=settings)])
    assert (
        "2.00 G MACs a second by a product of matrices in TF32, as convolutions there are"
        in conditions(there)
    )
    half = replace(there.reports[0], dtype="bfloat16")
    assert "matrices in TF32" not in conditions(replace(race, reports=[half]))


def test_a_model_that_only_moves(race):
    layers = [replace(layer, by_macs=0.0) for layer in race.reports[0].layers]
    only = replace(race, reports=[replace(race.reports[0], layers=layers)])
    assert "none of the least is arithmetic" in verdicts(only)


def test_the_layers_of_a_model(race):
    table = rows(layer_table(race.reports[1]))
    assert table["`spatial.0`\u00a0×\u00a02"][0] == "depthwise convolution"
    assert {cells[-1] for cells in table.values()} == {"33%"}


def test_what_data_sheets_predict():
    table = rows(sheets_table(["splitmixer_i_256_8"], "convmixer_256_8"))
    assert list(table) == [sheet.name for sheet in DATA_SHEETS.values()]
    cells = table["NVIDIA V100 SXM2"]
    assert cells[:3] == ["7.85", "900", "8.7"] and cells[-1] == "0.84 to 0.85"
    least, most = bills("convmixer_256_8").band(DATA_SHEETS["V100"].rates())
    assert cells[3] == f"{1 / most:,.0f} to {1 / least:,.0f}"
    half = rows(sheets_table([], "convmixer_256_8", "float16"))
    assert "Intel Core i7-8565U" not in half and "NVIDIA T4" in half
