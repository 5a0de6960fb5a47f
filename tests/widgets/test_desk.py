"""The training desk, pressed from Python: its runs against `train`, its mistakes in a line."""

import re
import threading
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from helpers import few_digits

from mixerlib.records import Epoch, read_record
from mixerlib.training import Session, load_recipe, read_metrics, train
from mixerlib.weights import load_weights
from mixerlib.widgets import TrainingDesk
from mixerlib.widgets.chart import Line, chart

pytest.importorskip("ipywidgets", reason="needs the extra `widgets`")

LONG = 60  # seconds that no run here takes
TINY = {"model_options": {"dim": 8, "depth": 1}, "epochs": 3, "batch_size": 16}


@pytest.fixture
def recipe():
    return load_recipe("digits", TINY)


@pytest.fixture
def desk(recipe, tmp_path):
    made = TrainingDesk(recipe, dataset=few_digits(), device="cpu", folder=tmp_path / "runs")
    yield made
    for run in made.runs:
        run.stop()
    made.wait(LONG)


def press(desk, name):
    assert not desk.controls[name].disabled
    desk.controls[name].click()


def shown(desk) -> str:
    return " ".join(getattr(child, "value", "") for child in desk.box.children)


class Gate:
    """Holds a run before its step of this number, until the test has pressed what it wants to."""

    def __init__(self, monkeypatch, step):
        self.reached, self.open = threading.Event(), threading.Event()
        session = Session.__init__

        def begin(made, *given, stop=None, **options):
            def ask():
                self.asked = getattr(self, "asked", 0) + 1
                if self.asked == step:
                    self.reached.set()
                    assert self.open.wait(LONG)
                return stop()

            session(made, *given, stop=ask, **options)

        monkeypatch.setattr(Session, "__init__", begin)


def same_weights(model, other):
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_a_run_ends_as_train_does_and_leaves_what_it_leaves(desk, recipe, tmp_path):
    desk.controls["max_learning_rate"].value = "0.03"
    press(desk, "start")
    desk.wait(LONG)
    run = desk.runs[0]
    assert run.state == "finished" and run.folder == tmp_path / "runs" / "1"
    changed = replace(recipe, max_learning_rate=0.03)
    model, record = train(changed, few_digits(), "cpu", progress=False)
    kept, _ = train(replace(recipe, epochs=1), few_digits(), "cpu", progress=False)
    load_weights(kept, run.folder / "model.safetensors")
    assert same_weights(kept, model)
    losses = [row.train_loss for row in read_record(run.folder / "record.json").curve]
    assert losses == [row.train_loss for row in record.curve]
    assert len(read_metrics(run.folder)[1]) == 3
    assert f"{record.test_accuracy:.1%} of the test images after epoch 3" in shown(desk)
    assert "run 1: max_learning_rate=0.03" in shown(desk)


def test_it_is_paused_stopped_and_taken_up_and_nothing_is_lost(desk, recipe, monkeypatch):
    gate = Gate(monkeypatch, step=4)
    press(desk, "start")
    assert gate.reached.wait(LONG)
    assert [desk.controls[n].disabled for n in ("start", "pause", "stop")] == [True, False, False]
    press(desk, "pause")
    gate.open.set()
    until(lambda: desk.runs[0].state == "paused")
    assert not desk.controls["go_on"].disabled and desk.controls["start"].disabled
    assert "Run 1 is paused" in shown(desk)
    gate.reached.clear(), gate.open.clear()
    gate.asked = 0
    press(desk, "go_on")  # and it is held again, four steps later
    assert gate.reached.wait(LONG)
    press(desk, "stop")
    gate.open.set()
    desk.wait(LONG)
    assert desk.runs[0].state == "stopped" and desk.runs[0].record is None
    assert re.search(r"Run 1 is stopped.* stopped at the desk after step \d of 15", shown(desk))
    assert (desk.runs[0].folder / "checkpoint.pt").exists()
    press(desk, "go_on")
    desk.wait(LONG)
    run = desk.runs[0]
    assert run.state == "finished" and run.record.continued == 1
    monkeypatch.undo()
    _, record = train(recipe, few_digits(), "cpu", progress=False)
    assert run.record.weights_sha256 == record.weights_sha256


def until(true):
    for _ in range(LONG * 100):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came")


def test_a_pause_is_none_of_the_runs_time(desk, monkeypatch):
    gate = Gate(monkeypatch, step=2)
    press(desk, "start")
    assert gate.reached.wait(LONG)
    press(desk, "pause")
    gate.open.set()
    run = desk.runs[0]
    until(lambda: run.state == "paused")
    before = run._run.clock_start
    threading.Event().wait(0.05)
    press(desk, "go_on")
    until(lambda: run.state != "paused")
    assert run._run is None or run._run.clock_start - before > 0.04
    desk.wait(LONG)
    assert run.state == "finished"


def test_runs_are_overlaid(desk):
    for rate in ("0.01", "0.02"):
        desk.controls["max_learning_rate"].value = rate
        press(desk, "start")
        desk.wait(LONG)
    assert len(re.findall("<polyline", shown(desk))) == 4  # in training and on the test set
    assert [run.folder.name for run in desk.runs] == ["1", "2"]
    loss = shown(desk)
    desk.controls["quantity"].value = "accuracy"
    assert shown(desk) != loss and "100%" in shown(desk)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("batch_size", "-3", "`batch_size`=-3 must be at least 1"),
        ("epochs", "many", "`epochs`='many' must be a whole number"),
        ("schedule", "cosine", "`schedule`='cosine' needs `warmup_epochs`, which is not set"),
        ("clip_norm", "0", "`clip_norm`=0 must be above 0, or null"),
    ],
)
def test_a_bad_value_shows_the_recipes_own_error(desk, recipe, name, value, message):
    desk.controls[name].value = value
    press(desk, "start")
    assert desk.runs == [] and f">{message}" in shown(desk).replace("&#x27;", "'")
    with pytest.raises(ValueError, match=re.escape(message)):
        desk.chosen()
    good = getattr(recipe, name)
    desk.controls[name].value = str(good)
    assert desk.chosen() == recipe
    press(desk, "start")
    assert message not in shown(desk)


def test_a_run_that_diverges_says_so(desk):
    desk.controls["max_learning_rate"].value = "1e30"
    desk.controls["clip_norm"].value = "null"
    press(desk, "start")
    desk.wait(LONG)
    assert desk.runs[0].state == "failed" and "not finite" in shown(desk)
    assert not desk.controls["start"].disabled and desk.controls["go_on"].disabled


def test_a_folder_that_cannot_be_written_is_said(recipe, tmp_path):
    (tmp_path / "file").write_text("")
    desk = TrainingDesk(recipe, dataset=few_digits(), device="cpu", folder=tmp_path / "file" / "a")
    press(desk, "start")
    assert "file" in shown(desk) and 'role="alert"' in shown(desk) and desk.runs == []


def test_whatever_a_button_meets_is_said_in_a_line(desk, monkeypatch):
    """As where a network of the reader's own cannot be made: a callback's traceback is lost."""

    def broken(*given):
        raise TypeError("mixing() takes 2 positional arguments\n but 3 were given")

    monkeypatch.setattr(desk, "_dataset", broken)
    press(desk, "start")
    line = "TypeError: mixing() takes 2 positional arguments but 3 were given"
    assert line in shown(desk) and 'role="alert"' in shown(desk) and desk.runs == []


def test_options_of_the_model_may_be_fields(recipe, tmp_path):
    desk = TrainingDesk(recipe, ["dim", "flip", "compile"], dataset=few_digits())
    assert desk.controls["dim"].value == "8" and desk.chosen() == recipe
    desk.controls["dim"].value = "6"
    assert desk.chosen().model_options == {**recipe.model_options, "dim": 6}
    assert desk.controls["compile"].value is False and "random" in desk.controls["flip"].options


@pytest.mark.parametrize("name", ["max_learning_rat", "model", 3])
def test_what_is_no_field_is_refused(recipe, name):
    with pytest.raises(ValueError, match="`fields` has"):
        TrainingDesk(recipe, [name])


def test_the_still_draws_records(recipe):
    _, record = train(recipe, few_digits(), "cpu", progress=False)
    still = TrainingDesk(recipe, records=[record]).still()
    assert "digits, seed 0, from its record" in still and len(re.findall("<polyline", still)) == 2


def test_the_curve_lies_where_its_axes_say():
    rows = [Epoch(n, 0.1, 10.0**-n, 0.5, 10.0**-n, 0.25 * n, 1.0) for n in (1, 2, 3)]
    drawing = chart([Line("a", rows, [(3.5, 1e-2, 0.5)])], "loss", "Loss.")
    path = re.findall(r'points="([^"]*)"', drawing)
    training, test = ([tuple(map(float, p.split(","))) for p in line.split()] for line in path)
    assert [len(training), len(test)] == [4, 3] and training[:3] == test
    steps = {round(b[1] - a[1], 1) for a, b in pairwise(test)}
    assert len(steps) == 1 and steps.pop() > 0  # a decade each, downwards
    assert training[3][1] == test[1][1]  # both 0.01
    flat = [replace(rows[0], train_loss=2.3, test_loss=2.4)]
    for curve in (rows, flat, []):
        assert 3 <= len(re.findall("<path", chart([Line("a", curve)], "loss", "Loss."))) <= 8
    for bad in (float("nan"), float("inf"), 0.0):
        one = [replace(rows[0], train_loss=bad, test_loss=None)]
        assert 'points=""' in chart([Line("a", one)], "loss", "Loss.")
