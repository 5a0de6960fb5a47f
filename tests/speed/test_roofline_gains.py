"""What would make a model faster, by its roofline: on made-up times, and by the book's records."""

from dataclasses import replace

import pytest
from helpers import ROOT

from mixerlib.models import model_entry
from mixerlib.speed.machine import Machine
from mixerlib.speed.roofline_gains import CHANGED, gains_at_best, gains_say, gains_table
from mixerlib.speed.roofline_report import bills, by_role
from mixerlib.speed.roofline_runs import roofline_race
from mixerlib.speed.rooflines import RooflineRace, read_roofline_race
from mixerlib.speed.timing import Timing

RECORDS = sorted((ROOT / "book/records/bench").glob("*/roofline/*.json"))
MACHINE = Machine(2e9, 64, 5e8, 1000, 4e8)


@pytest.fixture(scope="module")
def race() -> RooflineRace:
    """Each layer takes what it needs at best, and the depthwise ones five times that."""
    small = {"dim": 8, "depth": 2, "kernel_size": 3, "patch_size": 4}
    measured = roofline_race(
        ["convmixer", "splitmixer_i"], small, batch=4, image_size=16, rounds=1, machine=MACHINE
    )
    reports = []
    for report in measured.reports:
        layers = [
            replace(layer, seconds=Timing.of([layer.predicted * 5 ** (layer.role == "depthwise")]))
            for layer in report.layers
        ]
        reports.append(replace(report, layers=layers))
    return replace(measured, reports=reports)


def test_only_what_stays_below_its_roof_is_to_be_had(race):
    report = race.reports[0]
    needed, took = by_role(report)
    gains = gains_at_best(report)
    assert list(gains) == [*CHANGED, "all", "fused"]
    assert gains["depthwise"] == pytest.approx(took.total() / needed.total()) == gains["all"]
    others = [gains[role] for role in CHANGED if role != "depthwise"]
    assert others == pytest.approx([1.0] * len(others))
    fused = bills(report.model, report.options, report.image_size, fused=True)
    assert gains["fused"] == pytest.approx(took.total() / (4 * fused.seconds(MACHINE)))


def test_what_beats_its_roof_is_no_loss(race):
    layers = [
        replace(layer, seconds=Timing.of([layer.predicted / 2])) for layer in race.reports[0].layers
    ]
    gains = gains_at_best(replace(race.reports[0], layers=layers))
    assert {gains[role] for role in CHANGED} == {1.0}


def test_the_table_and_the_sentence(race):
    table = gains_table(race).splitlines()
    assert len(table) == 4 and table[3].startswith("| I |")
    said = gains_say(race)
    assert "from **the depthwise convolutions**, and then from" in said
    everything = sorted(gains_at_best(report)["all"] for report in race.reports)
    assert "at its roof the models would be {:.1f} to {:.1f} times".format(*everything) in said


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parts[-3]}, {path.stem}")
def test_what_chapter_18b_says_holds_in_every_record(path):
    """Its words beside the numbers: both of the pair are there, the depthwise convolutions stay
    far below their roof, and fusing is worth more than all roofs, on a GPU as on a CPU."""
    race = read_roofline_race(path)
    families = [model_entry(report.model).family for report in race.reports]
    assert families[:2] == ["convmixer", "splitmixer_i"]
    for report in race.reports:
        needed, took = by_role(report)
        assert needed["depthwise"] < 0.3 * took["depthwise"]
        gains = gains_at_best(report)
        assert 1 < gains["all"] < gains["fused"]
    assert race.reports[0].in_tf32 == (race.provenance.device == "cuda")
