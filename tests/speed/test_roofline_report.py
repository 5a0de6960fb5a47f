"""The two bills of a model, and rooflines beside one another."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from mixerlib import costs, create_model
from mixerlib.models import model_entry
from mixerlib.speed.machine import Machine, Rates
from mixerlib.speed.roofline_report import (
    Bills,
    bills,
    by_role,
    roles_of,
    speed_band,
)
from mixerlib.speed.roofline_runs import roofline
from mixerlib.speed.rooflines import ROLES, Layer, Roofline, role_of
from mixerlib.speed.timing import Timing

SMALL = {"dim": 8, "depth": 2, "kernel_size": 3, "patch_size": 4}
MACHINE = Machine(2e6, 64, 5e5, 1000, 4e5)  # of round numbers, and slow
FAMILIES = [family for family in costs.FAMILIES if family != "mlp_mixer"]


def small(name: str = "convmixer", machine: Machine = MACHINE, **options) -> Roofline:
    return roofline(name, SMALL | options, batch=3, image_size=16, rounds=1, machine=machine)


# The bills


def test_the_least_time_by_hand():
    bill = Bills(("a", "b"), np.array([100.0, 6.0]), np.array([5.0, 10.0]))
    assert bill.at_balance(1) == 100 + 40  # of four bytes a number
    assert bill.at_balance(0) == 106
    assert bill.at_balance(10, width=2) == 100 + 200
    assert bill.seconds(MACHINE) == pytest.approx(100 / 2e6 + 40 / 5e5)
    assert bill.seconds(MACHINE, width=2) == pytest.approx(100 / 2e6 + 20 / 5e5)


def test_the_band_lies_between_the_larger_bill_and_both():
    bill = Bills(("a", "b"), np.array([100.0, 6.0]), np.array([5.0, 10.0]))
    least, most = bill.band(Rates(10.0, 2.0))  # 10 s or 10 s; 0.6 s or 20 s
    assert (least, most) == (pytest.approx(30.0), pytest.approx(40.6))
    assert bill.seconds(Rates(10.0, 2.0)) == least and most <= 2 * least


def test_a_predicted_speed_lies_between_what_no_overlap_and_full_overlap_give():
    """Any share φ of overlap that both models have alike gives a ratio inside the band."""
    draws = np.random.default_rng(0)
    for _ in range(20):
        one, base = (Bills(("a",) * 5, *draws.exponential(size=(2, 5))) for _ in range(2))
        rates = Rates(*draws.exponential(size=2))
        low, high = speed_band(one, base, rates)
        assert low == pytest.approx(1 / speed_band(base, one, rates)[1])
        for share in (0.0, 0.3, 1.0):
            times = [a + share * (b - a) for a, b in (base.band(rates), one.band(rates))]
            assert low - 1e-9 <= times[0] / times[1] <= high + 1e-9


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bills_are_those_of_the_roofline_but_for_the_weights(family):
    report = small(family)
    bill = bills(family, SMALL, 16)
    layers = {layer.name: layer for layer in report.layers}
    assert [name or "mean" for name in bill.parts] == list(layers)
    model = create_model(family, **SMALL)
    assert bill.macs.tolist() == [layer.macs / 3 for layer in report.layers]
    weights = 4 * sum(tensor.numel() for tensor in model.parameters())
    assert 3 * 4 * bill.moved.sum() + weights == sum(layer.moved_bytes for layer in report.layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_the_bills_are_those_of_the_closed_forms(family):
    bill, layers = bills(family, SMALL, 16, fused=True), bills(family, SMALL, 16)
    options = dict(model_entry(family).defaults) | SMALL
    forms, (h, places, depth) = costs.formulas(family), (8, 4 * 4, 2)
    passes = float(costs.value_of(forms.passes_fused, family, options, 16))
    in_blocks = [
        moved
        for part, moved in zip(bill.parts, bill.moved, strict=True)
        if part not in ("stem", "head")
    ]
    assert sum(in_blocks) == pytest.approx(depth * passes * h * places)
    assert bill.macs.sum() == layers.macs.sum() == forms.counts(options, 16).total("macs")
    assert bill.moved.sum() < layers.moved.sum()


def test_the_image_size_is_the_models():
    assert bills("convmixer_256_8").macs.sum() == bills("convmixer_256_8", image_size=32).macs.sum()
    assert bills("mixer_s16").macs.sum() == bills("mixer_s16", None, 224).macs.sum()


def test_what_has_no_closed_forms_has_no_fused_bill():
    with pytest.raises(ValueError, match="`fused`=True needs closed forms, and splitmixer_i_abl"):
        bills("splitmixer_i_ablated", SMALL, 16, fused=True)
    assert bills("splitmixer_i_ablated", SMALL, 16).macs.sum() > 0


# What the layers are


@pytest.mark.parametrize(
    ("name", "kind", "role"),
    [
        ("stem.1", "GELU", "stem and head"),
        ("", "ConvMixer", "stem and head"),
        ("head", "Linear", "stem and head"),
        ("blocks.0.0.fn.0", "Conv2d", "depthwise"),
        ("blocks.11.spatial.3", "Conv2d", "depthwise"),
        ("blocks.0.0.fn.2", "BatchNorm2d", "BatchNorm"),
        ("blocks.0.act", "GELU", "GELU"),
        ("blocks.0.0", "Residual", "residual sum"),
        ("blocks.0.spatial", "Sequential", "residual sum"),
        ("blocks.0.1", "Conv2d", "channel mixing"),
        ("blocks.0.mixing.mixer", "Conv2d", "channel mixing"),
        ("blocks.0.mixing", "MixOne", "channel mixing"),
    ],
)
def test_what_a_layer_is(name, kind, role):
    assert role_of(name, kind) == role and role in ROLES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_role_is_in_every_model(family):
    report = small(family)
    assert {layer.role for layer in report.layers} == set(ROLES)
    with torch.device("meta"):
        roles = roles_of(create_model(family, **SMALL))
    for layer in report.layers:
        assert roles["" if layer.name == "mean" else layer.name] == layer.role


def layer(role_name: str, kind: str, predicted: float, seconds: float) -> Layer:
    timing = Timing.of([seconds])
    return Layer(role_name, kind, "part", 60, 12, 0.0, predicted, predicted, timing)


def test_seconds_by_what_the_layers_are():
    layers = [
        layer("blocks.0.act", "GELU", 1.0, 2.0),
        layer("blocks.1.act", "GELU", 3.0, 5.0),
        layer("stem.1", "GELU", 7.0, 9.0),
    ]
    at_best, measured = by_role(replace(small(), layers=layers))
    assert at_best == Counter({"GELU": 4.0, "stem and head": 7.0})
    assert measured == Counter({"GELU": 7.0, "stem and head": 9.0})
