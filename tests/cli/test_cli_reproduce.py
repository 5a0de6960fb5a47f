"""`mixerlib reproduce`: a test of the device, then what is missing, then what is left."""

import json
from functools import partial
from pathlib import Path

import pytest
from commands import refusal, run
from helpers import ROOT, Clock

from mixerlib.cli import reproducing
from mixerlib.records import read_record, read_records
from mixerlib.training import (
    Answer,
    Sweep,
    device_check,
    load_recipe,
    read_sweep,
    remaining,
    remaining_table,
    session,
)

TINY = "base: digits\nepochs: 2\nmodel_options: {dim: 8, depth: 1, kernel_size: 3, patch_size: 2}\n"
STEPS = 2 * 23


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with a list of three runs of two tiny recipes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIXERLIB_DATA", raising=False)
    Path("tiny.yaml").write_text(TINY)
    Path("other.yaml").write_text("base: tiny.yaml\nmodel_options: {activation: relu}\n")
    runs = [{"recipes": ["tiny.yaml"], "seeds": [0, 1]}, {"recipes": ["other.yaml"], "seeds": [0]}]
    Path("list.yaml").write_text(json.dumps({"runs": runs}))
    quick = partial(device_check.self_test, dim=8, batch_size=8, steps=1)
    monkeypatch.setattr(reproducing, "self_test", quick)
    return tmp_path


def test_it_tests_trains_and_says_what_is_left(capsys, folder):
    status, out, err = run(capsys, "reproduce", "list.yaml", "--records", "kept")
    assert (status, err) == (0, "")
    above, below = out.split("\n\n")
    tested = above.splitlines()[:5]
    assert all(line.startswith("passed  ") for line in tested)
    trained = [line for line in above.splitlines() if "writing to" in line]
    assert [line.split(": writing")[0] for line in trained] == [
        "tiny, seed 0",
        "tiny, seed 1",
        "other, seed 0",
    ]
    head, tiny, other, last = below.splitlines()
    assert head.split() == ["recipe", "done", "left", "minutes", "a", "run"]
    seconds = [read_record(f"kept/tiny/seed{seed}.json").total_seconds for seed in (0, 1)]
    assert tiny.split() == ["tiny", "2", "0", f"{sum(seconds) / 2 / 60:,.1f}"]
    assert other.split()[:3] == ["other", "1", "0"]
    assert last == "3 of 3 runs are done, 0 are left"

    status, out, _ = run(capsys, "reproduce", "list.yaml", "--records", "kept", "--skip-test")
    assert status == 0 and "writing to" not in out and "passed" not in out


def test_a_device_that_fails_trains_nothing(capsys, folder, monkeypatch):
    failed = [Answer("float32 agrees with the CPU", False, "off by 1.0e+00")]
    monkeypatch.setattr(reproducing, "self_test", lambda device: failed)
    status, out, _ = run(capsys, "reproduce", "list.yaml", "--records", "kept")
    assert status == 2 and "FAILED  float32 agrees with the CPU: off by 1.0e+00" in out
    assert "nothing was trained" in out and not Path("kept").exists()
    assert "0 of 3 runs are done, 3 are left" in out


def test_at_the_deadline_it_stops_and_later_goes_on(capsys, folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(session, "time", Clock())
        where = ("--records", "kept", "--skip-test")
        status, out, _ = run(capsys, "reproduce", "list.yaml", *where, "--minutes", 0.5)
    assert status == 0 and Path("runs/tiny/seed0/checkpoint.pt").exists()
    assert "0 of 3 runs are done, 3 are left" in out
    status, out, _ = run(capsys, "reproduce", "list.yaml", *where)
    assert status == 0 and "3 of 3 runs are done, 0 are left" in out
    assert read_record("kept/tiny/seed0.json").continued == 1


def test_list_trains_and_tests_nothing(capsys, folder):
    status, out, _ = run(capsys, "reproduce", "list.yaml", "--list")
    assert status == 0 and "passed" not in out and not Path("runs").exists()
    assert "0 of 3 runs are done, 3 are left; how long 3 of them take is not known" in out


def test_what_is_no_time_is_refused(capsys, folder):
    message = refusal(capsys, "reproduce", "list.yaml", "--minutes", 0)
    assert "`minutes`=0 must be above 0" in message


def test_without_a_list_it_says_which_file_it_looked_for(capsys, folder):
    assert "book/sweeps/reproduce.yaml" in refusal(capsys, "reproduce")


def test_what_was_never_run_here_is_estimated_by_macs(folder):
    names = ("cifar10/splitmixer_i_256_8", "cifar10/convmixer_256_8", "digits")
    sweep = Sweep([load_recipe(name) for name in names], Path("kept"), Path("runs"))
    speed = Answer("training", True, "", 1000.0, device_check.macs_of(load_recipe(names[0])))
    first, second, digits = remaining(sweep, "cpu", speed)
    assert first.minutes == 100 * 50_000 / 1000 / 60 and not first.measured
    more = device_check.macs_of(second.recipe) / device_check.macs_of(first.recipe)
    assert 2 < more < 2.5 and abs(second.minutes - more * first.minutes) < 1e-9
    assert digits.minutes is None
    text = remaining_table([first, second, digits])
    assert "about 83.3" in text and "how long 1 of them take is not known" in text


def test_the_list_of_the_book_has_every_published_row_and_ablation():
    runs = read_sweep(ROOT / "book" / "sweeps" / "reproduce.yaml")
    listed = {(recipe.name, recipe.seed) for recipe in runs}
    strategies = ("convmixer", *(f"splitmixer_{name}" for name in ("i", "ii", "iii", "iv")))
    for data in ("cifar10", "cifar100", "flowers102", "food101"):
        for family in strategies:
            assert {(f"{data}/{family}_256_8", seed) for seed in range(3)} <= listed
    for name in ("cpu", "cpu_ablations", "cpu_depth", "cpu_split", "cpu_others", "gpu"):
        others = read_sweep(ROOT / "book" / "sweeps" / f"{name}.yaml")
        rest = {(r.name, r.seed) for r in others} - listed
        have = {(r.recipe, r.seed) for r in read_records(ROOT / "book" / "records")}
        assert rest - have <= {("cifar10/splitmixer_i_256_8_best", 0)}
