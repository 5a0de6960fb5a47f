"""Printed speeds beside the roofs of a data sheet."""

from collections.abc import Sequence

import numpy as np
import pytest
from helpers import ROOT

from mixerlib import costs
from mixerlib.models import create_model
from mixerlib.pages import audit
from mixerlib.speed import DATA_SHEETS, TABLE_3, RoofReading, roof_readings

V100 = DATA_SHEETS["V100"]


@pytest.fixture(scope="module")
def printed() -> list[float]:
    entries = audit.load(ROOT / "book" / "published.yaml").entries.values()
    return [float(entry.value) for entry in entries if entry.table == "slides-throughput"]


@pytest.fixture(scope="module")
def readings(printed) -> Sequence[RoofReading]:
    return roof_readings(printed, V100)


@pytest.mark.parametrize("row", [0, 1, 12])  # ConvMixer, strategies I and III
def test_a_share_is_the_printed_speed_times_the_least_time(printed, readings, row):
    """Written anew: 15.7 TFLOP/s, 900 GB/s, four bytes a number, layer by layer."""
    name, options = TABLE_3[row]
    counts = costs.measure(create_model(name, **options), 224)
    layers = {
        layer: (counts.macs_by_layer.get(layer, 0) / 7.85e12, 4 * moved / 900e9)
        for layer, moved in counts.moved_by_layer.items()
    }
    least = sum(max(times) for times in layers.values())
    assert readings[0].shares[row] == pytest.approx(printed[row] * least)
    in_turn = sum(map(sum, layers.values()))
    assert readings[2].shares[row] == pytest.approx(printed[row] * in_turn)
    again = 4 * counts.total("normalized") / 900e9  # each norm reads its map once more
    assert readings[1].shares[row] == pytest.approx(printed[row] * (least + again))


def test_no_printed_speed_is_above_a_roof(readings):
    for reading in readings:
        assert reading.shares.min() > 0 and reading.shares.max() < 1
        assert reading.at_roof[0] == 1


def test_the_ratio_is_that_of_the_roofs_times_that_of_the_shares(printed, readings):
    for reading in readings:
        ratio = np.array(printed) / printed[0]
        assert reading.at_roof * reading.shares / reading.shares[0] == pytest.approx(ratio)


def test_the_bounds_lie_on_both_sides_of_the_first_reading(readings):
    roof, training, in_turn, fused, half = (reading.shares for reading in readings)
    assert (training > roof).all() and (in_turn > roof).all()
    assert (fused < roof).all() and (half < roof).all()


def test_in_every_reading_convmixer_is_the_farthest_from_its_roof(readings):
    """The finding that chapters 17 and 18 and the audit print."""
    assert all(reading.behind > 1.5 for reading in readings)
    assert readings[0].shares[0] < 0.2 < 0.4 < readings[0].shares[1:].min()


def test_a_faster_convmixer_would_be_as_near(printed):
    """The finding follows from the numbers: it goes when ConvMixer's row is another."""
    faster = roof_readings([3 * printed[0], *printed[1:]], V100)
    assert faster[0].behind < 1


def test_the_table_has_eighteen_rows(printed):
    with pytest.raises(ValueError, match="`images_per_second` must have the 18 rows"):
        roof_readings(printed[:3], V100)
