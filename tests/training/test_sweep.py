"""Queues of runs: what a file lists, in which order, and what the command makes of it."""

import errno
import json
import os
import re
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from commands import Command, refusal, run
from helpers import ROOT, Clock, claimed_elsewhere
from safetensors.torch import load_file

import mixerlib.training.folders
import mixerlib.training.loop
from mixerlib.models import create_model
from mixerlib.records import read_record
from mixerlib.training import session, train_in_folder
from mixerlib.training.checkpoint import read
from mixerlib.training.recipe_files import load_recipe
from mixerlib.training.sweep import read_sweep

BOOK = ROOT / "book" / "sweeps"
STEPS = 2 * 23  # of one run of `tiny`
TINY = "base: digits\nepochs: 2\nmodel_options: {dim: 8, depth: 1, kernel_size: 3, patch_size: 2}\n"
WILD = "base: tiny.yaml\nmax_learning_rate: 1.0e+30\nclip_norm: null\nweight_decay: 0\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with three recipes beside a sweep of two of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIXERLIB_DATA", raising=False)
    Path("tiny.yaml").write_text(TINY)
    Path("other.yaml").write_text("base: tiny.yaml\nmodel_options: {activation: relu}\n")
    Path("wild.yaml").write_text(WILD)
    sweep("sweep.yaml", (["tiny.yaml", "other.yaml"], [1, 0]))
    return tmp_path


def sweep(name: str, *entries: tuple[list[str], list[int]]) -> Path:
    runs = [{"recipes": recipes, "seeds": seeds} for recipes, seeds in entries]
    Path(name).write_text(json.dumps({"runs": runs}))  # JSON is YAML
    return Path(name)


def listed(name: str) -> list[tuple[str, int]]:
    return [(recipe.name, recipe.seed) for recipe in read_sweep(name)]


def files() -> dict[str, bytes]:
    places = (Path("runs"), Path("records"))
    return {str(p): p.read_bytes() for place in places for p in place.rglob("*") if p.is_file()}


# ---- what a file lists -------------------------------------------------------------------------


def test_every_seed_of_an_entry_and_for_each_every_recipe(folder):
    sweep("two.yaml", (["tiny.yaml", "digits"], [3, 1]), (["digits", "other.yaml"], [1, 0]))
    assert listed("two.yaml") == [
        ("tiny", 3),
        ("digits", 3),
        ("tiny", 1),
        ("digits", 1),  # the second entry lists it again, and that adds nothing
        ("other", 1),
        ("digits", 0),
        ("other", 0),
    ]
    assert read_sweep("two.yaml")[1] == load_recipe("digits", {"seed": 3})


def test_a_recipe_of_one_s_own_lies_beside_the_file(folder, monkeypatch):
    monkeypatch.chdir("/")
    recipes = read_sweep(folder / "sweep.yaml")
    assert [recipe.name for recipe in recipes] == ["tiny", "other", "tiny", "other"]
    assert recipes[0].epochs == 2


def test_settings_replace_the_recipe_s_own(folder):
    entry = "recipes: [digits]\n  seeds: [4]\n  settings: "
    Path("set.yaml").write_text(f"runs:\n- {entry}{{epochs: 3, model_options: {{dim: 16}}}}\n")
    changed = {"epochs": 3, "model_options": {"dim": 16}, "seed": 4}
    assert read_sweep("set.yaml") == [load_recipe("digits", changed)]


def test_two_recipes_of_one_name_are_refused(folder):
    Path("sub").mkdir()
    shutil.copy("other.yaml", "sub/tiny.yaml")
    shutil.copy("tiny.yaml", "sub/base.yaml")
    Path("sub/tiny.yaml").write_text("base: base.yaml\nepochs: 3\n")
    sweep("two.yaml", (["tiny.yaml"], [0]), (["sub/tiny.yaml"], [1, 0]))
    with pytest.raises(ValueError, match=r"`runs\[1\]` lists a second recipe of the name 'tiny'"):
        read_sweep("two.yaml")
    sweep("two.yaml", (["tiny.yaml"], [0]), (["sub/tiny.yaml"], [1]))  # records of their own
    assert listed("two.yaml") == [("tiny", 0), ("tiny", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold the key `runs` and no other"),
        ("runs: [", "is not YAML: "),
        ("- digits", "must hold the key `runs` and no other"),
        ("runs: []\nseeds: [0]", "must hold the key `runs` and no other"),
        ("runs:", "`runs`=None must be a list of entries"),
        ("runs: []", r"`runs`=\[\] must be a list of entries"),
        ("runs: digits", "`runs`='digits' must be a list of entries"),
        ("runs: [digits]", r"`runs\[0\]`='digits' must have the keys `recipes` and `seeds`"),
        ("runs: [{recipes: [digits]}]", r"`runs\[0\]`=.* must have the keys"),
        (
            "runs: [{recipes: [digits], seeds: [0], epochs: 3}]",
            r"`runs\[0\]`=.*'epochs': 3.* must have the keys",
        ),
        (
            "runs: [{recipes: [digits], seeds: [0]}, {recipes: digits, seeds: [0]}]",
            r"`runs\[1\]`: `recipes`='digits' must be a list of texts",
        ),
        ("runs: [{recipes: [], seeds: [0]}]", r"`recipes`=\[\] must be a list"),
        ("runs: [{recipes: [3], seeds: [0]}]", r"`recipes`=\[3\] must be a list"),
        ("runs: [{recipes: [digits], seeds: 0}]", "`seeds`=0 must be a list of whole numbers"),
        ("runs: [{recipes: [digits], seeds: [true]}]", r"`seeds`=\[True\] must be a list of whole"),
        ("runs: [{recipes: [digits], seeds: [0.5]}]", r"`seeds`=\[0\.5\] must be a list of whole"),
        ("runs: [{recipes: [digits], seeds: [-1]}]", "`seed`=-1 must be at least 0"),
        ("runs: [{recipes: [digts], seeds: [0]}]", "`recipe`='digts' is no recipe .* mean digits"),
        ("runs: [{recipes: [no.yaml], seeds: [0]}]", "there is no recipe file .*no.yaml"),
        (
            "runs: [{recipes: [digits], seeds: [0], settings: {seed: 1}}]",
            r"`settings`=\{'seed': 1\} must be a table of fields, no seed",
        ),
        (
            "runs: [{recipes: [digits], seeds: [0], settings: {epoch: 1}}]",
            r"`runs\[0\]`: `epoch`=1 is not a field of a recipe; did you mean epochs",
        ),
        (
            "runs: [{recipes: [digits], seeds: [0]}, {recipes: [tiny.yaml], seeds: [-1]}]",
            r"bad.yaml: `runs\[1\]`: `seed`=-1 must be at least 0",
        ),
        (
            "runs: [{recipes: [digits], seeds: [0], settings: {epochs: 0}}]",
            r"`runs\[0\]`: `epochs`=0 must be at least 1",
        ),
        (
            "runs: [{recipes: [...yaml], seeds: [0]}]",
            r"`runs\[0\]`: `recipe`='...yaml' must have a name that a folder can have",
        ),
        (
            f"runs: [{{recipes: {['digits'] * 200}, seeds: {[0] * 200}}}]",
            r"`runs\[0\]`: 200 recipes × 200 seeds are above 10,000",
        ),
    ],
)
def test_a_file_that_lists_no_runs(capsys, folder, text, message):
    Path("bad.yaml").write_text(text)
    Path("...yaml").write_text(Path("tiny.yaml").read_text())
    for more in ((), ("--list",)):
        assert re.search(message, refusal(capsys, "sweep", "bad.yaml", *more))
    assert files() == {}


def test_the_sweeps_of_the_book_can_be_read():
    paths = [
        p for p in BOOK.glob("*.yaml") if f"mixerlib sweep book/sweeps/{p.name}" in p.read_text()
    ]
    for path in paths:
        recipes = read_sweep(path)
        assert len({(recipe.name, recipe.seed) for recipe in recipes}) == len(recipes) > 0
    assert {"cpu", "gpu"} <= {path.stem for path in paths}


@pytest.mark.parametrize(
    ("name", "count"), [("cpu_depth", 5 * 2), ("cpu_split", 5 + 3 * 3 * 2), ("cpu_others", 1 + 7)]
)
def test_what_is_left_at_cpu_scale_is_listed_and_can_be_built(capsys, name, count):
    file = BOOK / f"{name}.yaml"
    recipes = {recipe.name: recipe for recipe in read_sweep(file)}
    assert len(recipes) == count and len(read_sweep(file)) == 3 * count
    for recipe in recipes.values():
        with torch.device("meta"):
            options = {"image_size": 32} if recipe.model == "mlp_mixer" else {}
            model = create_model(recipe.model, **recipe.model_options, **options)
        assert model.num_features == recipe.model_options["dim"]
    status, out, _ = run(capsys, "sweep", file, "--list", "--records", BOOK.parent / "records")
    assert status == 0 and f"of {3 * count} runs have a record" in out


# ---- what the command makes of it --------------------------------------------------------------

# Of an undisturbed sweep of the fixture's file: the lines that it must print.
ORDER = [("tiny", 1), ("other", 1), ("tiny", 0), ("other", 0)]


def test_every_run_is_done_in_order_once(capsys, folder, monkeypatch):
    status, out, err = run(capsys, "sweep", "sweep.yaml")
    assert (status, err) == (0, "")
    above, below = (part.splitlines() for part in out.split("\n\n"))
    assert len(above) == 2 * len(ORDER)
    lines = zip(ORDER, above[::2], above[1::2], below[:-1], strict=True)
    for (name, seed), message, result, line in lines:
        record = read_record(Path("records", name, f"seed{seed}.json"))
        assert (record.recipe, record.seed, record.continued) == (name, seed, 0)
        assert message == f"{name}, seed {seed}: writing to {Path('runs', name, f'seed{seed}')}"
        assert (
            result == f"{name}: {record.test_accuracy:.2%} of 360 test images right after epoch 2"
        )
        assert line == f"{name}, seed {seed}: {record.test_accuracy:.2%}"
        place = Path("runs", name, f"seed{seed}")
        assert read_record(place / "record.json") == record
        assert sorted(p.name for p in place.iterdir()) == [
            "metrics.jsonl",
            "model.safetensors",
            "record.json",
        ]
    assert below[-1] == "4 of 4 runs have a record in records"
    dates = [read_record(Path("records", n, f"seed{s}.json")).provenance.date for n, s in ORDER]
    assert dates == sorted(dates)

    # the same command again finds nothing to do, with or without what lies in runs/
    before = files()
    assert run(capsys, "sweep", "sweep.yaml") == (0, "\n" + "\n".join(below) + "\n", "")
    assert files() == before
    shutil.rmtree("runs")
    assert run(capsys, "sweep", "sweep.yaml") == (0, "\n" + "\n".join(below) + "\n", "")
    assert not Path("runs").exists()


def test_list_runs_nothing(capsys, folder):
    expected = [f"{name}, seed {seed}: left" for name, seed in ORDER]
    status, out, err = run(capsys, "sweep", "sweep.yaml", "--list")
    assert (status, err) == (0, "")
    assert out.splitlines() == [*expected, "0 of 4 runs have a record in records"]
    assert files() == {} and not Path("runs").exists() and not Path("records").exists()


def test_at_the_deadline_it_stops_and_later_goes_on(capsys, folder, monkeypatch):
    sweep("one.yaml", (["tiny.yaml"], [0, 1]))
    monkeypatch.setattr(session, "time", Clock())
    # the clock is looked at when the sweep begins, before each run, and after each step
    status, out, err = run(capsys, "sweep", "one.yaml", "--minutes", 30 / 60)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "tiny, seed 0: writing to runs/tiny/seed0",
        "",
        f"tiny, seed 0: stopped at the deadline after step 30 of {STEPS}",
        "tiny, seed 1: left",
        "0 of 2 runs have a record in records",
    ]
    assert sorted(files()) == ["runs/tiny/seed0/checkpoint.pt", "runs/tiny/seed0/metrics.jsonl"]
    _, state = read(Path("runs/tiny/seed0/checkpoint.pt"))
    assert (state["epoch"], state["step"]) == (2, 30 - 23)
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    _, out, _ = run(capsys, "sweep", "one.yaml", "--list")
    assert out.splitlines()[:2] == ["tiny, seed 0: begun, left", "tiny, seed 1: left"]

    status, out, _ = run(capsys, "sweep", "one.yaml", "--minutes", 60)
    assert status == 0 and "2 of 2 runs have a record" in out
    assert read_record("records/tiny/seed0.json").continued == 1
    assert run(capsys, "sweep", "one.yaml", "--out", "calm", "--records", "calm")[0] == 0
    for seed in (0, 1):
        name = f"tiny/seed{seed}/model.safetensors"
        actual, calm = (load_file(Path(place, name)) for place in ("runs", "calm"))
        assert actual.keys() == calm.keys()
        assert all(torch.equal(actual[key], calm[key]) for key in calm)


def test_a_deadline_between_two_runs(capsys, folder, monkeypatch):
    monkeypatch.setattr(session, "time", Clock())
    status, out, _ = run(capsys, "sweep", "sweep.yaml", "--minutes", (1 + STEPS) / 60)
    assert status == 0
    assert "1 of 4 runs have a record in records" in out and "deadline" not in out
    assert [line.partition(": ")[2] for line in out.splitlines()[-4:-1]] == ["left"] * 3


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_sweep_not_only_a_run(folder, number, status):
    Path("tiny.yaml").write_text(TINY.replace("epochs: 2", "epochs: 100000"))
    with Command("sweep", "sweep.yaml", folder=folder) as command:
        command.wait_for("writing to runs/tiny/seed1")
        command.send(number)
        actual, out, err = command.end()
    assert (actual, err) == (status, "")
    message = out.splitlines()
    name = {143: "SIGTERM", 130: "Ctrl-C"}[status]
    assert message[0] == "tiny, seed 1: writing to runs/tiny/seed1" and message[1] == ""
    assert re.fullmatch(rf"tiny, seed 1: stopped by {name} after step \d+ of 2300000", message[2])
    assert message[3:6] == ["other, seed 1: left", "tiny, seed 0: left", "other, seed 0: left"]
    assert Path("runs/tiny/seed1/checkpoint.pt").exists() and not Path("runs/other").exists()


def test_what_goes_wrong_with_one_run_does_not_stop_the_others(capsys, folder):
    sweep("mixed.yaml", (["wild.yaml", "cifar10/convmixer_256_8", "tiny.yaml"], [0]))
    status, out, err = run(capsys, "sweep", "mixed.yaml")
    assert status == 2
    wild, missing = err.splitlines()
    assert re.match(r"wild, seed 0: failed: the \w+ (is|are) not finite .* learning rate", wild)
    assert missing.startswith("cifar10/convmixer_256_8, seed 0: failed: cifar10 was not found: ")
    assert "--download" in missing
    *_, first, second, third, last = out.splitlines()
    assert (first, second) == (wild, missing)
    assert third == f"tiny, seed 0: {read_record('records/tiny/seed0.json').test_accuracy:.2%}"
    assert last == "1 of 3 runs have a record in records"
    assert not Path("runs/cifar10").exists() and not Path("records/wild").exists()
    again = run(capsys, "sweep", "mixed.yaml")  # the same, and the third is not done again
    assert again[0] == 2 and again[2] == err and "tiny: " not in again[1]


def test_a_run_that_is_done_but_has_no_record_there_is_not_done_again(capsys, folder, monkeypatch):
    """As when a sweep was killed between its two records, or `train` made the run."""
    arguments = ("--epochs", 2, *("--dim", 8, "--depth", 1), "--seed", 0)
    assert run(capsys, "train", "tiny.yaml", *arguments, "--out", "runs/tiny/seed0")[0] == 0
    sweep("one.yaml", (["tiny.yaml"], [0]))
    before = files()

    def train(*arguments, **options):
        raise AssertionError("it was trained again")

    monkeypatch.setattr(mixerlib.training.loop, "train", train)
    status, out, _ = run(capsys, "sweep", "one.yaml")
    assert status == 0 and "1 of 1 runs have a record" in out and "writing to" not in out
    record = read_record("records/tiny/seed0.json")
    assert record == read_record("runs/tiny/seed0/record.json")
    assert {k: v for k, v in files().items() if k.startswith("runs")} == before

    # but the run of another recipe is no substitute
    shutil.rmtree("records")
    Path("tiny.yaml").write_text(TINY.replace("epochs: 2", "epochs: 3"))
    status, out, err = run(capsys, "sweep", "one.yaml")
    assert status == 2 and not Path("records").exists()
    assert err == (
        "tiny, seed 0: failed: runs/tiny/seed0 holds a finished run with other settings: "
        "`epochs`=3 here, 2 there\n"
    )


def test_a_record_of_other_settings_is_told(capsys, folder):
    sweep("one.yaml", (["tiny.yaml"], [0]))
    assert run(capsys, "sweep", "one.yaml")[0] == 0
    share = f"{read_record('records/tiny/seed0.json').test_accuracy:.2%}"
    Path("tiny.yaml").write_text(TINY.replace("epochs: 2", "epochs: 3"))
    before = files()
    status, out, err = run(capsys, "sweep", "one.yaml")
    assert (status, err) == (0, "") and files() == before
    assert out.splitlines()[-2] == (
        f"tiny, seed 0: {share}, with settings that are no more the recipe's: "
        "`epochs`=3 here, 2 there"
    )


def test_a_record_that_cannot_be_read_is_told_before_any_work(capsys, folder):
    place = Path("records/other/seed0.json")  # of the last run
    place.parent.mkdir(parents=True)
    place.write_text('{"schema": "mixerlib training 1"}')
    err = refusal(capsys, "sweep", "sweep.yaml")
    assert f"{place}: `schema`='mixerlib training 1' must be 'mixerlib training 2'" in err
    assert list(files()) == [str(place)] and not Path("runs").exists()


@pytest.mark.parametrize(
    ("minutes", "message"),
    [
        ("0", "`minutes`=0 must be above 0"),
        ("-1.5", "`minutes`=-1.5 must be above 0"),
        ("nan", "`minutes`=nan must be above 0"),
        ("soon", "argument --minutes: invalid float value: 'soon'"),
    ],
)
def test_wrong_minutes(capsys, folder, minutes, message):
    assert message in refusal(capsys, "sweep", "sweep.yaml", f"--minutes={minutes}")
    assert files() == {}


def test_no_such_file(capsys, folder):
    assert "nowhere.yaml: No such file or directory" in refusal(capsys, "sweep", "nowhere.yaml")
    assert "required: FILE" in refusal(capsys, "sweep")
    assert "`--minute` is not an argument of `mixerlib sweep`; did you mean --minutes" in refusal(
        capsys, "sweep", "sweep.yaml", "--minute", 3
    )


@pytest.mark.parametrize("command", ["sweep", "reproduce"])
def test_a_list_is_trained_in_one_process(capsys, folder, monkeypatch, command):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert "without torchrun" in refusal(capsys, command, "sweep.yaml")
    assert "`minutes`=0 must be above 0" in refusal(capsys, command, "sweep.yaml", "--minutes", 0)


# ---- two at once ---------------------------------------------------------------------------------


def test_two_sweeps_share_the_work(folder):
    Path("tiny.yaml").write_text(TINY.replace("epochs: 2", "epochs: 8"))
    pytest.importorskip("fcntl", reason="Windows has no locks of this kind")
    one, other = (Command("sweep", "sweep.yaml", folder=folder, log=log) for log in "12")
    with one, other:
        ends = [command.end() for command in (one, other)]
    assert [(status, err) for status, _, err in ends] == [(0, "")] * 2
    begun = [line for _, out, _ in ends for line in out.splitlines() if "writing to" in line]
    assert sorted(begun) == sorted(
        f"{name}, seed {seed}: writing to runs/{name}/seed{seed}" for name, seed in ORDER
    )  # each run was trained once
    assert all(any("writing to" in line for line in out.splitlines()) for _, out, _ in ends)
    for name, seed in ORDER:
        record = read_record(Path("records", name, f"seed{seed}.json"))
        assert record == read_record(Path("runs", name, f"seed{seed}", "record.json"))
        assert (record.continued, len(record.curve)) == (0, 8)
    left = {Path(name).name for name in files()}
    assert left == {"record.json", "metrics.jsonl", "model.safetensors", "seed0.json", "seed1.json"}


def test_nobody_writes_a_record_that_another_process_is_writing(capsys, folder):
    """It holds the run's folder until it has done so; what it has half-written stays."""
    sweep("one.yaml", (["tiny.yaml"], [0]))
    assert run(capsys, "sweep", "one.yaml")[0] == 0
    place = Path("records/tiny/seed0.json")
    half = place.rename(place.with_name(f".{place.name}.0123456789abcdef.part"))
    with claimed_elsewhere(Path("runs/tiny/seed0")):
        status, out, _ = run(capsys, "sweep", "one.yaml")
        assert status == 0 and "in training by another process" in out
        assert half.exists() and not place.exists()
    assert run(capsys, "sweep", "one.yaml")[0] == 0 and place.exists() and not half.exists()


def test_a_finished_run_needs_no_claim(capsys, folder, monkeypatch):
    """Where none can be had: on a disk for reading only."""
    sweep("one.yaml", (["tiny.yaml"], [0]))
    assert run(capsys, "sweep", "one.yaml")[0] == 0
    shutil.rmtree("records")

    def refuse(folder):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))

    monkeypatch.setattr(mixerlib.training.folders, "claimed", refuse)
    assert run(capsys, "sweep", "one.yaml")[0] == 0 and Path("records/tiny/seed0.json").exists()
    shutil.rmtree("runs")
    Path("records/tiny/seed0.json").unlink()
    status, _, err = run(capsys, "sweep", "one.yaml")
    assert status == 2 and "Read-only file system" in err


def test_what_another_process_trains_is_left_to_it(capsys, folder):
    sweep("two.yaml", (["tiny.yaml", "other.yaml"], [0]))
    with claimed_elsewhere(Path("runs/tiny/seed0")):
        status, out, err = run(capsys, "sweep", "two.yaml")
    assert (status, err) == (0, "")
    first, second, last = out.splitlines()[-3:]
    assert first == "tiny, seed 0: in training by another process"
    assert second.startswith("other, seed 0: ") and "%" in second
    assert last == "1 of 2 runs have a record in records"


def test_what_another_process_gave_up_is_taken_up_in_the_end(capsys, folder, monkeypatch):
    """It has claimed the first run, and is killed while the second is trained here."""
    sweep("two.yaml", (["tiny.yaml", "other.yaml"], [0]))
    train, claim = mixerlib.training.loop.train, ExitStack()

    def noted(recipe, *arguments, **options):
        claim.close()
        return train(recipe, *arguments, **options)

    monkeypatch.setattr(mixerlib.training.loop, "train", noted)
    with claim:
        claim.enter_context(claimed_elsewhere(Path("runs/tiny/seed0")))
        status, out, err = run(capsys, "sweep", "two.yaml")
    assert (status, err) == (0, "") and "2 of 2 runs have a record in records" in out
    assert out.index("other, seed 0: writing to") < out.index("tiny, seed 0: writing to")


def test_what_another_process_finishes_meanwhile_is_not_trained_again(capsys, folder, monkeypatch):
    sweep("one.yaml", (["tiny.yaml"], [0]))
    train_in_folder(read_sweep("one.yaml")[0], "done")
    claimed = mixerlib.training.folders.claimed

    def late(place):
        shutil.copytree("done", place, dirs_exist_ok=True)
        return claimed(place)

    monkeypatch.setattr(mixerlib.training.folders, "claimed", late)
    status, out, _ = run(capsys, "sweep", "one.yaml")
    assert status == 0 and "writing to" not in out and "1 of 1 runs have a record" in out
