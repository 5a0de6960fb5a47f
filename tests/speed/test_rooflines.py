"""The roofline: what is predicted, by hand and by the closed forms; whose time is whose."""

import itertools
import json
from dataclasses import replace

import pytest
import torch
from clock import Clock
from helpers import ROOT
from torch.nn.modules.module import register_module_forward_pre_hook

from mixerlib import costs, create_model, records
from mixerlib.speed import machine as machine_module
from mixerlib.speed import roofline_runs as runs_module
from mixerlib.speed.machine import Machine
from mixerlib.speed.roofline_runs import ClockedModel, roofline, roofline_race
from mixerlib.speed.rooflines import Roofline, by_kind, read_roofline_race

SMALL = {"dim": 8, "depth": 2, "kernel_size": 3, "patch_size": 4}
BATCH, SIDE = 3, 16
RECORDS = ROOT / "book" / "records" / "bench"
MACHINE = Machine(2e6, 64, 5e5, 1000, 4e5)  # of round numbers, and slow


def small(name: str, dtype: str = "float32", **options) -> Roofline:
    options = SMALL | options
    return roofline(
        name, options, batch=BATCH, image_size=SIDE, dtype=dtype, rounds=2, machine=MACHINE
    )


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


@pytest.mark.parametrize("family, special", FAMILIES)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_parts_are_those_of_the_closed_forms(family, special):
    options = SMALL | special
    if family == "mlp_mixer":
        del options["kernel_size"]
    report = roofline(family, options, batch=BATCH, image_size=SIDE, rounds=1, machine=MACHINE)
    defaults = {"num_classes": 10, "in_channels": 3, "activation": "gelu"}
    split = {"segments": 2} if family in ("splitmixer_3d",) else {}
    split = {"ratio": "2/3"} if family == "splitmixer_v" else split
    settings = defaults | split | options
    forms = costs.formulas(family)
    counts = forms.counts(settings, SIDE)
    assert {part.name for part in report.parts} == set(counts.macs)
    for part in report.parts:
        assert part.macs == BATCH * counts.macs[part.name]
        moved = 4 * (BATCH * counts.moved[part.name] + counts.params[part.name])
        assert part.moved_bytes == moved
        layers = [layer for layer in report.layers if layer.part == part.name]
        assert part.predicted == pytest.approx(sum(layer.predicted for layer in layers))
        assert part.seconds == pytest.approx(sum(layer.seconds.median for layer in layers))
        fused = costs.value_of(forms.moved_fused[part.name], family, settings, SIDE)
        assert part.fused == pytest.approx(max(part.macs / 2e6, 4 * BATCH * fused / 5e5))


def test_a_model_without_closed_forms_is_measured():
    report = small("splitmixer_i_ablated", norm="layer", residual="both")
    assert all(part.fused is None for part in report.parts)
    model = create_model("splitmixer_i_ablated", **SMALL, image_size=SIDE, norm="layer")
    counted = costs.measure(model, SIDE)
    assert sum(layer.macs for layer in report.layers) == BATCH * sum(counted.macs.values())


def test_another_dtype_moves_half_the_bytes():
    whole = small("splitmixer_i")
    half = small("splitmixer_i", dtype="bfloat16")
    pairs = zip(whole.layers, half.layers, strict=True)
    assert all(a.moved_bytes == 2 * b.moved_bytes and a.macs == b.macs for a, b in pairs)


def test_each_layer_is_given_its_time():
    """On a clock of our own a GELU takes 3 s and the last norm 5 s; nothing else takes any."""
    clock = Clock()
    model = create_model("splitmixer_i", **SMALL).eval()
    slow = {"blocks.0.spatial.1": 3.0, "blocks.1.norm": 5.0}
    for name, seconds in slow.items():
        run = clock.taking(name, [seconds])
        model.get_submodule(name).register_forward_hook(lambda *_, run=run: run())
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        clocked = ClockedModel(model, torch.device("cpu"), clock)
        row = clocked.seconds(images)
        assert clocked.seconds(images) == row  # and again the same, from zero
        assert torch.equal(clocked.model(images), model(images))
    assert {name: seconds for name, seconds in row.items() if seconds} == slow


def test_no_time_is_lost():
    """The layers and what is between them are the run of the clocked model, from end to end."""
    ticks = itertools.count()
    model = create_model("splitmixer_i", **SMALL).eval()
    with torch.no_grad():
        clocked = ClockedModel(model, torch.device("cpu"), lambda: float(next(ticks)))
        row = clocked.seconds(torch.randn(2, 3, SIDE, SIDE))
    assert sum(row.values()) == len(clocked.notes) - 1 == 2 * len(list(model.modules())) - 1


def test_what_is_of_no_layer_lies_between_them():
    """A clock that moves on by a second whenever it is read: a run has so many of them."""
    ticks = itertools.count()
    report = roofline(
        "splitmixer_i",
        SMALL,
        batch=BATCH,
        image_size=SIDE,
        rounds=3,
        machine=MACHINE,
        clock=lambda: float(next(ticks)),
    )
    modules = len(list(create_model("splitmixer_i", **SMALL).modules()))
    in_layers = sum(layer.seconds.median for layer in report.layers)
    assert in_layers + report.between == 2 * modules - 1
    assert report.whole.runs == [1.0] * 3


def test_a_roofline_is_of_inference():
    modes = set()
    hook = register_module_forward_pre_hook(
        lambda module, inputs: modes.add((module.training, torch.is_grad_enabled(), len(inputs[0])))
    )
    small("splitmixer_i")
    hook.remove()
    assert {mode[:2] for mode in modes if mode[2] == BATCH} == {(False, False)}


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
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: None)
    model = create_model("convmixer", **SMALL).eval()
    with torch.no_grad():
        clocked = ClockedModel(model, torch.device("cuda"))
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


@pytest.fixture
def race(monkeypatch):
    """Two models and the machine, in two rounds, on sizes that are quick here."""
    monkeypatch.setattr(machine_module, "SIDES", (8,))
    monkeypatch.setattr(machine_module, "LARGE_COPY", {"cpu": 4096, "other": 4096})
    models = ["convmixer", "splitmixer_ii"]
    return roofline_race(models, SMALL, batch=BATCH, image_size=SIDE, rounds=2)


def test_models_and_machine_run_in_the_same_rounds(monkeypatch):
    """What runs, in order: each model plainly and clocked, the machine between, another first."""
    ran = []
    gauge = type("Gauge", (), {"machine": lambda self, seconds: MACHINE})
    gauge.runs = {name: lambda name=name: ran.append(name) for name in ("copy", "product")}
    monkeypatch.setattr(runs_module, "Gauge", lambda *_: gauge())
    monkeypatch.setattr(runs_module, "warm_up", lambda run, seconds_of: 1.0)
    hook = register_module_forward_pre_hook(
        lambda module, _: ran.append(type(module).__name__) if hasattr(module, "stem") else None
    )
    report = roofline_race(
        ["convmixer", "splitmixer_i"], SMALL, batch=BATCH, image_size=SIDE, rounds=3
    )
    hook.remove()
    conv, split = ["ConvMixer"] * 2, ["SplitMixer"] * 2
    first = [*conv, *split, "copy", "product"]
    second = [*split, "copy", "product", *conv]
    third = ["copy", "product", *conv, *split]
    assert ran[-18:] == first + second + third  # before, costs were counted
    assert all(len(one.whole.runs) == 3 for one in report.reports)


def test_a_speedup_is_of_the_same_rounds(race):
    conv, split = race.reports
    assert race.of("splitmixer_ii") is split and race.of("mlp_mixer") is None
    pairs = zip(conv.whole.runs, split.whole.runs, strict=True)
    assert race.speedup("convmixer", "splitmixer_ii").runs == [a / b for a, b in pairs]
    assert race.speedup("convmixer", "splitmixer_i") is None
    with pytest.raises(ValueError, match=r"`models`=\['a', 'a'\] must name at least one, and each"):
        roofline_race(["a", "a"])


def test_the_record_is_read_back(race, tmp_path):
    report = race.reports[1]
    assert (report.batch, report.image_size, report.options) == (BATCH, SIDE, SMALL)
    assert len(report.whole.runs) == 2 and report.between > 0
    assert report.machine == race.reports[0].machine and report.machine.triad_bytes_per_second > 0
    path = tmp_path / "roofline.json"
    records.write_record(race, path)
    assert read_roofline_race(path) == race
    records.write_record(replace(race, schema="mixerlib roofline 0"), path)
    with pytest.raises(ValueError, match="must be 'mixerlib roofline 2'"):
        read_roofline_race(path)


@pytest.mark.parametrize("path", sorted(RECORDS.glob("*/roofline/*.json")), ids=lambda p: p.stem)
def test_the_committed_records_of_one_model_read_on(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    race = read_roofline_race(path)
    if content["schema"] != "mixerlib roofline 1":
        return
    (report,) = race.reports
    assert race.load is None and report.machine.read_bytes_per_second is None
    for name in ("model", "batch", "dtype", "between"):
        assert getattr(report, name) == content[name]
    assert [layer.seconds.runs for layer in report.layers] == [
        layer["seconds"]["runs"] for layer in content["layers"]
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rounds": 0}, "`rounds`=0 must be a positive whole number"),
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
