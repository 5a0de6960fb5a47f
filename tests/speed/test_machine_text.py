"""What the pages say of machines: their sheets, their rounding, and how near models come."""

from dataclasses import replace

import pytest
from helpers import ROOT

from mixerlib.pages import percent
from mixerlib.speed.machine import DATA_SHEETS, Machine
from mixerlib.speed.machine_text import (
    SPLIT,
    beside_its_sheet,
    depthwise_say,
    in_tf32_say,
    nearness_say,
    split_say,
)
from mixerlib.speed.roofline_report import by_role
from mixerlib.speed.rooflines import RooflineRace, read_roofline_race
from mixerlib.speed.timing import ratios

BENCH = ROOT / "book/records/bench"
CPU, GPU = "amd-epyc/roofline/all.json", "nvidia-h200/roofline/all.json"


@pytest.fixture(scope="module")
def on_gpu() -> RooflineRace:
    return read_roofline_race(BENCH / GPU)


@pytest.fixture(scope="module")
def on_cpu() -> RooflineRace:
    return read_roofline_race(BENCH / CPU)


def on(race: RooflineRace, macs: float, copy: float) -> RooflineRace:
    """The race on a machine of other rates, with the bills that follow."""
    reports = []
    for report in race.reports:
        layers = [
            replace(layer, by_macs=layer.macs / macs, by_bytes=layer.moved_bytes / copy)
            for layer in report.layers
        ]
        machine = Machine(macs, 64, copy, 1000, copy)
        reports.append(replace(report, layers=layers, machine=machine))
    return replace(race, reports=reports)


def test_tf32_is_told_where_it_was_and_nowhere_else(on_gpu, on_cpu):
    assert in_tf32_say(on_cpu) == ""
    said = in_tf32_say(on_gpu)
    count = sum(len(report.layers) for report in on_gpu.reports)
    assert said.startswith("On NVIDIA H200 PyTorch rounded")
    assert f"the MACs are the larger bill in none of the {count} layers." in said
    assert said.endswith("would be the larger bill in none of those 24 layers either.")


def test_tf32_counts_what_the_macs_bound(on_gpu):
    """On memory so fast that it costs next to nothing, all that multiplies is bound by it."""
    fast = on(on_gpu, 1e12, 1e16)
    layers = [layer for report in fast.reports for layer in report.layers]
    multiply = sum(layer.by_macs > layer.by_bytes for layer in layers)
    assert multiply >= 24
    said = in_tf32_say(fast)
    assert f"larger bill in {multiply} of the {len(layers)} layers." in said
    assert said.endswith("would be the larger bill in 24 of those 24 layers.")


def test_a_machine_beside_its_sheet(on_gpu, on_cpu):
    """Against the sheet's rate for TF32: against float32 alone it would do six times its best."""
    assert beside_its_sheet(on_cpu.reports[0]) == ""
    report, sheet = on_gpu.reports[0], DATA_SHEETS["H200"]
    share = report.machine.macs_per_second / sheet.rates("tf32").macs_per_second
    assert 0.5 < share < 1 < report.machine.macs_per_second / sheet.rates().macs_per_second
    said = beside_its_sheet(report)
    assert f"(TF32), {share:.0%} of its sheet" in said and "$I^\\star = 51.8$" in said


@pytest.mark.parametrize("path", [CPU, GPU])
def test_how_near_a_pair_comes_on_either_machine(path):
    race = read_roofline_race(BENCH / path)
    said = nearness_say(race, "convmixer", "splitmixer_i")
    first, second = race.reports[:2]
    speed = ratios(first.whole, second.whole).median
    assert f"SplitMixer-I ran {speed:.2f} times as fast" in said
    assert f"with images of {first.image_size} pixels, ConvMixer reached" in said
    assert nearness_say(race, "convmixer", "mlp_mixer") == ""


@pytest.mark.parametrize("role", SPLIT)
@pytest.mark.parametrize("path", [CPU, GPU])
def test_what_the_split_did_on_either_machine(path, role):
    """A pair has twice the bytes; what it took is another thing, and stands with its kernel."""
    race = read_roofline_race(BENCH / path)
    of = [[times[role] for times in by_role(report)] for report in race.reports[:2]]
    said = split_say(race, role)
    sizes = {"depthwise": ("$k = 7$", "$k = 5$")}
    size = sizes.get(role, ("images of 224 pixels", "images of 32 pixels"))[path == CPU]
    assert f"with {size}, {SPLIT[role][0]} " in said
    at_best = f"{of[0][0] / of[1][0]:.2f}"
    assert said.endswith(f"by the machine's rates of copying and arithmetic it would be {at_best}.")
    measured = float(said.partition(f"{SPLIT[role][0]} ")[2].partition(" times")[0])
    assert measured == pytest.approx(of[0][1] / of[1][1], rel=0.3)
    assert split_say(replace(race, reports=race.reports[:1]), role) == ""


@pytest.mark.parametrize("path", [CPU, GPU])
def test_how_near_the_depthwise_convolutions_come(path):
    race = read_roofline_race(BENCH / path)
    of = [[times["depthwise"] for times in by_role(report)] for report in race.reports[:2]]
    shares = [percent(needed / took) for needed, took in of]
    said = depthwise_say(race)
    assert "reach {} of their roof and SplitMixer-I's pairs {}.".format(*shares) in said
    assert depthwise_say(replace(race, reports=race.reports[:1])) == ""


@pytest.mark.parametrize(
    ("device", "sheet"),
    [
        ("NVIDIA H200", "H200"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("Tesla T4", "T4"),
        ("AMD EPYC", None),
        ("", None),
    ],
)
def test_a_device_has_the_sheet_of_its_model(on_gpu, device, sheet):
    report = on_gpu.reports[0]
    stamp = replace(report.provenance, device_name=device)
    said = beside_its_sheet(replace(report, provenance=stamp, settings={}))
    if sheet is None:
        assert said == ""
    else:
        share = report.machine.macs_per_second / DATA_SHEETS[sheet].rates().macs_per_second
        assert f"{percent(share)} of its sheet" in said
