"""The roofline: what is predicted, by hand and by the closed forms; whose time is whose."""

import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from mixerlib import costs, create_model, records
from mixerlib.speed import rooflines as module
from mixerlib.speed.rooflines import Machine, by_kind, measure_machine, read_roofline, roofline
from mixerlib.speed.timing import Timing, stopwatch

SMALL = {"dim": 8, "depth": 2, "kernel_size": 3, "patch_size": 4}
BATCH, SIDE = 3, 16
MACHINE = Machine(2e6, 64, 5e5, 1000, 4e5)  # of round numbers, and slow


@pytest.fixture(autouse=True)
def known_machine(monkeypatch):
    monkeypatch.setattr(module, "measure_machine", lambda dtype, map_bytes, device: MACHINE)


def small(name: str, **options) -> module.Roofline:
    return roofline(name, SMALL | options, batch=BATCH, image_size=SIDE, rounds=2)


def test_a_prediction_by_hand():
    """SplitMixer-I, h = 8 on 4×4 places: the stem's convolution, a depthwise one, a sum, a norm."""
    layers = {layer.name: layer for layer in small("splitmixer_i").layers}
    places, h = 4 * 4, 8
    stem = layers["stem.0"]
    assert (stem.kind, stem.part) == ("Conv2d", "stem")
    assert stem.macs == BATCH * places * h * 3 * 4 * 4
    weights = h * 3 * 4 * 4 + h
    assert stem.moved_bytes == 4 * (BATCH * (3 * SIDE * SIDE + h * places) + weights)
    assert stem.by_macs == stem.macs / 2e6 and stem.by_bytes == stem.moved_bytes / 5e5
    assert stem.predicted == max(stem.by_macs, stem.by_bytes)

    spatial = layers["blocks.1.spatial.0"]
    assert spatial.macs == BATCH * places * h * 3
    assert spatial.moved_bytes == 4 * (BATCH * 2 * h * places + h * 3 + h)
    norm = layers["blocks.0.norm"]
    assert (norm.macs, norm.moved_bytes) == (0, 4 * (BATCH * 2 * h * places + 2 * h))
    assert norm.predicted == norm.by_bytes
    total = layers["blocks.0.spatial"]  # the residual's sum: two maps read, one written
    assert total.moved_bytes == 4 * BATCH * 3 * h * places


FAMILIES = [
    ("convmixer", {}),
    ("convmixer", {"kernel_size": 4, "activation": "relu"}),
    ("splitmixer_i", {"ratio": "3/5"}),
    ("splitmixer_ii", {"segments": 3}),
    ("splitmixer_iii", {"segments": 4}),
    ("splitmixer_iv", {"segments": 2}),
    ("splitmixer_iv", {"segments": 3}),
    ("splitmixer_v", {}),
    ("splitmixer_3d", {}),
    ("mlp_mixer", {"tokens_dim": 5, "channels_dim": 7}),
]


@pytest.mark.parametrize("family, own", FAMILIES)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_parts_are_those_of_the_closed_forms(family, own):
    options = SMALL | own
    if family == "mlp_mixer":
        del options["kernel_size"]
    report = roofline(family, options, batch=BATCH, image_size=SIDE, rounds=1)
    defaults = {"num_classes": 10, "in_channels": 3, "activation": "gelu"}
    split = {"segments": 2} if family in ("splitmixer_3d",) else {}
    split = {"ratio": "2/3"} if family == "splitmixer_v" else split
    settings = defaults | split | options
    forms = costs.formulas(family)
    counts = forms.evaluate(settings, SIDE)
    assert {part.name for part in report.parts} == set(counts.macs)
    for part in report.parts:
        assert part.macs == BATCH * counts.macs[part.name]
        own_bytes = 4 * (BATCH * counts.moved[part.name] + counts.params[part.name])
        assert part.moved_bytes == own_bytes
        own_layers = [layer for layer in report.layers if layer.part == part.name]
        assert part.predicted == pytest.approx(sum(layer.predicted for layer in own_layers))
        assert part.seconds == pytest.approx(sum(x.seconds.median for x in own_layers))
        fused = costs.evaluate(forms.moved_fused[part.name], family, settings, SIDE)
        assert part.fused == pytest.approx(max(part.macs / 2e6, 4 * BATCH * fused / 5e5))


def test_a_model_without_closed_forms_is_measured():
    report = small("splitmixer_i_ablated", norm="layer", residual="both")
    assert all(part.fused is None for part in report.parts)
    model = create_model("splitmixer_i_ablated", **SMALL, image_size=SIDE, norm="layer")
    counted = costs.measure(model, SIDE)
    assert sum(layer.macs for layer in report.layers) == BATCH * sum(counted.macs.values())


def test_another_dtype_moves_half_the_bytes():
    whole = small("splitmixer_i")
    half = roofline("splitmixer_i", SMALL, batch=BATCH, image_size=SIDE, rounds=1, dtype="bfloat16")
    pairs = zip(whole.layers, half.layers, strict=True)
    assert all(a.moved_bytes == 2 * b.moved_bytes and a.macs == b.macs for a, b in pairs)


def test_each_layer_is_given_its_own_time(monkeypatch):
    """A GELU sleeps, and so does the last norm; nothing else is slow."""
    forward = nn.GELU.forward

    def slow_gelu(self, x):
        time.sleep(0.03 * getattr(self, "slow", False))
        return forward(self, x)

    monkeypatch.setattr(nn.GELU, "forward", slow_gelu)
    model = create_model("splitmixer_i", **SMALL).eval()
    model.blocks[0].spatial[1].slow = True
    model.blocks[1].norm.register_forward_hook(lambda *_: time.sleep(0.05))
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        clocked = module._Clocked(model, torch.device("cpu"))
        rows = [clocked.seconds(images) for _ in range(3)]
        assert torch.equal(clocked.model(images), model(images))
    least = {name: min(row[name] for row in rows) for name in rows[0]}
    slow = {name for name, seconds in least.items() if seconds > 0.025}
    assert slow == {"blocks.0.spatial.1", "blocks.1.norm"}
    assert least["blocks.0.spatial.1"] >= 0.03 and least["blocks.1.norm"] >= 0.05


def test_no_time_is_lost(monkeypatch):
    """The layers and what is between them are the run of the clocked model, from end to end."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(module, "time", type("", (), {"perf_counter": lambda: next(ticks)}))
    model = create_model("splitmixer_i", **SMALL).eval()
    with torch.no_grad():
        clocked = module._Clocked(model, torch.device("cpu"))
        row = clocked.seconds(torch.randn(2, 3, SIDE, SIDE))
    assert sum(row.values()) == len(clocked.notes) - 1 == 2 * len(list(model.modules())) - 1


def test_the_clock_of_a_gpu(monkeypatch):
    """Events of a queue of our own: each is dated 2 ms after the one before."""
    count = iter(range(10**6))

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = 2 * next(count)

        def elapsed_time(self, end):
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(module, "synchronize", lambda device: None)
    model = create_model("convmixer", **SMALL).eval()
    with torch.no_grad():
        clocked = module._Clocked(model, torch.device("cuda"))
        row = clocked.seconds(torch.randn(2, 3, SIDE, SIDE))
    assert row["stem.1"] == pytest.approx(0.002)
    assert sum(row.values()) == pytest.approx(0.002 * (len(clocked.notes) - 1))


def test_layers_at_the_same_place_of_every_block():
    report = small("splitmixer_i")
    kinds = {name: (count, group) for name, count, group in by_kind(report.layers)}
    assert kinds["stem.0"][0] == kinds["head"][0] == kinds["mean"][0] == 1
    count, group = kinds["blocks.*.mixing.mixer"]
    assert count == 2
    assert [layer.name for layer in group] == [f"blocks.{i}.mixing.mixer" for i in (0, 1)]
    assert sum(count for count, _ in kinds.values()) == len(report.layers)
    assert [layer.name for layer in report.layers][:2] == ["stem.0", "stem.1"]
    assert [layer.name for layer in report.layers][-2:] == ["mean", "head"]


def test_the_record_is_read_back(tmp_path):
    report = small("splitmixer_ii")
    assert (report.batch, report.image_size, report.options) == (BATCH, SIDE, SMALL)
    assert len(report.whole.runs) == 2 and report.between > 0
    path = tmp_path / "roofline.json"
    records.write_record(report, path)
    assert read_roofline(path) == report
    records.write_record(replace(report, schema="mixerlib roofline 0"), path)
    with pytest.raises(ValueError, match="must be 'mixerlib roofline 1'"):
        read_roofline(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rounds": 0}, "`rounds`=0 must be at least 1"),
        ({"batch": 0}, "`batch`=0 must be a positive whole number"),
        ({"dtype": "int8"}, "`dtype`='int8' must be one of"),
        ({"image_size": 15}, "`patch_size`=2 must divide"),
        ({"model": "convmixr"}, "did you mean convmixer"),
        ({"options": {"dims": 3}}, "`dims`=3 is not an option of 'convmixer'"),
    ],
)
def test_errors(values, message):
    with pytest.raises(ValueError, match=message):
        roofline(**({"model": "convmixer"} | values))


def test_what_a_machine_can_do(monkeypatch):
    """Rates are what was done over the seconds that it took, on sizes that are quick here."""
    monkeypatch.setattr(module, "SIDES", (8, 16))
    monkeypatch.setattr(module, "LARGE_COPY", {"cpu": 4096, "other": 8192})
    seconds = {"map": 0.5, "memory": 2.0, "product": 0.25}
    raced = {}

    def race(runs, rounds, device):
        raced.update({name: run() for name, run in runs.items()})
        return {name: Timing.of([seconds[name]]) for name in runs}

    monkeypatch.setattr(module, "race", race)
    found = measure_machine(torch.bfloat16, 1000, "cpu")
    assert found == Machine(16**3 / 0.25, 16, 2 * 1000 / 0.5, 1000, 2 * 4096 / 2.0)
    assert raced["map"].nbytes == 1000 and raced["memory"].nbytes == 4096
    assert raced["product"].shape == (16, 16)
    assert {value.dtype for value in raced.values()} == {torch.bfloat16}


def test_the_smallest_product_that_takes_long_enough(monkeypatch):
    monkeypatch.setattr(module, "SIDES", (2, 4, 8, 16))
    monkeypatch.setattr(module, "LONG_PRODUCT", 0.05)
    taken = iter((0.001, 0.06, 9.0))
    monkeypatch.setattr(module, "warm_up", lambda run, seconds_of: next(taken))
    product, side = module._large_product(torch.float32, torch.device("cpu"))
    assert side == 4 and product().shape == (4, 4)
    assert stopwatch("cpu")(product, 1) > 0
