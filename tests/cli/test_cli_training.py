"""`train` and `evaluate` as a user meets them: what they print and leave, and how they fail."""

import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
import torch.nn.functional as F
from commands import ENVIRONMENT, SMALL, Command, is_one_line, refusal, run
from helpers import values_to_change
from PIL import Image
from safetensors.torch import load_file

import mixerlib.files
import mixerlib.training.folders
import mixerlib.training.loop
from mixerlib.cli import main
from mixerlib.data import DATASETS, load_dataset
from mixerlib.models import create_model
from mixerlib.models.convmixer import ConvMixer
from mixerlib.models.tweet import ConvMixer as tweet
from mixerlib.records import Record, read_record, write_record
from mixerlib.training import checkpoint
from mixerlib.training.distributed import Processes
from mixerlib.training.evaluation import evaluate
from mixerlib.training.folders import save_results, train_in_folder
from mixerlib.training.metrics import read_metrics
from mixerlib.training.recipe import Recipe
from mixerlib.training.recipe_files import list_recipes, load_recipe
from mixerlib.training.session import stop_on_signals
from mixerlib.weights import load_weights, save_weights

STEPS = math.ceil(1437 / 64)  # in an epoch of the digits, with the recipe's batch of 64
LEFT = ["metrics.jsonl", "model.safetensors", "record.json"]  # by a finished run
SIGNALS = {
    signal.SIGTERM: (143, "SIGTERM"),
    signal.SIGINT: (130, "Ctrl-C"),
    signal.SIGHUP: (129, "SIGHUP"),  # its terminal was closed
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def steps_done(out: Path) -> int:
    """How far the checkpoint in a run's folder has come."""
    _, state = checkpoint.read(out / "checkpoint.pt")
    return (state["epoch"] - 1) * STEPS + state["step"]


def assert_same_weights(one: Path, other: Path) -> None:
    """Tensor by tensor: the metadata in the two files may stand in another order."""
    first, second = (load_file(path / "model.safetensors") for path in (one, other))
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def without_times(record: Record) -> Record:
    """What two runs of the same settings must have in common."""
    return replace(
        record,
        curve=[replace(row, training_seconds=0.0) for row in record.curve],
        training_seconds=0.0,
        total_seconds=0.0,
        images_per_second=0.0,
        peak_memory_bytes=0,
        continued=0,
        provenance=replace(record.provenance, date="", commit=None, dirty=None),
    )


# ---- a run from its beginning to its end -------------------------------------------------------


def test_a_new_user_in_an_empty_folder(tmp_path):
    """The first command of the book, with the interpreter's own start and nothing prepared."""
    answer = subprocess.run(
        (sys.executable, "-m", "mixerlib", "train", "digits"),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=tmp_path,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    (out,) = (tmp_path / "runs" / "digits").iterdir()
    assert names(tmp_path) == ["runs"] and names(out) == LEFT
    record = read_record(out / "record.json")
    assert record.test_accuracy >= 0.97  # what the book promises
    assert (record.recipe, record.continued, record.processes) == ("digits", 0, 1)
    assert len(record.curve) == record.settings["epochs"]
    assert record.curve[-1].test_accuracy == record.test_accuracy
    first, result, seconds, *places = answer.stdout.splitlines()
    assert first == (
        "digits: convmixer on 1,437 images, epochs: 20, seed: 0, cpu; "
        f"writing to {out.relative_to(tmp_path)}"
    )
    assert result == f"digits: {record.test_accuracy:.2%} of 360 test images right after epoch 20"
    assert f"{record.training_seconds:.1f} s of training" in seconds
    assert f"{record.images_per_second:,.0f} images/s on {record.provenance.device_name}" in seconds
    assert [tmp_path / place.split()[-1] for place in places] == [
        out / "record.json",
        out / "model.safetensors",
    ]
    # the weights are those of the record
    digits = load_dataset("digits")
    model = create_model("convmixer", in_channels=1, **record.settings["model_options"])
    load_weights(model, out / "model.safetensors")
    again = evaluate(model, digits.test_images, digits.test_labels, normalize=digits.normalize)
    assert again.top1 == pytest.approx(record.test_accuracy, abs=1 / 360)
    assert again.loss == pytest.approx(record.test_loss, abs=1e-4)


def test_the_real_cifar10(capsys, tmp_path):
    folder = Path(os.environ.get("MIXERLIB_DATA") or "data").resolve()
    if not (folder / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no cifar-10-batches-py in {folder}; set MIXERLIB_DATA")
    size = ("--dim", 16, "--depth", 1, "--kernel-size", 3, "--patch-size", 8)
    plain = ("--policy", "none", "--policy-operations", "none", "--policy-magnitude", "none")
    status, _, err = run(
        capsys,
        *("train", "cifar10/convmixer_256_8", "--epochs", 1, "--data", folder, *size, *plain),
        *("--precision", "float32", "--out", tmp_path),
    )
    assert (status, err) == (0, "")
    record = read_record(tmp_path / "record.json")
    assert (record.train_images, record.test_images) == (50_000, 10_000)
    assert 0.2 < record.test_accuracy < record.test_top5  # chance is 0.1


def test_every_run_has_a_folder_of_its_own(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("train", "digits", *SMALL, "--epochs", 1, "--quiet")
    for seed in (0, 1):
        status, out, _ = run(capsys, *arguments, "--seed", seed)
        assert status == 0 and out.startswith("digits: ") and "writing to" not in out
    folders = sorted(Path("runs/digits").iterdir(), key=lambda path: path.name[-1])
    assert [read_record(folder / "record.json").seed for folder in folders] == [0, 1]
    before = contents(tmp_path)
    err = refusal(capsys, *arguments, "--out", folders[0])
    assert f"'{folders[0]}' holds the record.json of an earlier run; name another" in err
    assert contents(tmp_path) == before


def test_settings_and_options_reach_the_record(capsys, tmp_path):
    status, out, err = run(
        capsys,
        *("train", "digits", "--model", "splitmixer_i", *SMALL, "--ratio", "3/5"),
        *("--epochs", 1, "--max-learning-rate", "1e-2", "--clip-norm", "none", "--flip", "random"),
        *("--quiet", "--out", tmp_path),
    )
    assert (status, err) == (0, "") and out.startswith("digits: ")
    settings = read_record(tmp_path / "record.json").settings
    assert settings["model"] == "splitmixer_i"
    assert settings["model_options"]["ratio"] == "3/5" and settings["model_options"]["dim"] == 8
    assert (settings["max_learning_rate"], settings["clip_norm"]) == (0.01, None)
    assert settings["flip"] == "random"


# ---- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digts"], "`recipe`='digts' is no recipe of mixerlib; did you mean digits"),
        (["digits", "--epoch", "3"], "`--epoch` is not an argument .* did you mean --epochs"),
        (["digits", "--max-lr=1"], "did you mean .*--max-learning-rate"),
        (["digits", "--epochs", "few"], "`epochs`='few' must be a whole number"),
        (["digits", "--model", "convmxer"], "no model of mixerlib; did you mean convmixer"),
        (["digits", "--flip", "1"], "`flip`='1' must be one of 'none', 'random', 'alternating'"),
        (["digits", "--crop", "pad"], "`crop`='pad' needs `crop_padding`, which is not set"),
        (["digits", "--compile", "1"], "`compile`='1' must be true or false"),
        (["digits", "--dim", "1.5"], "`dim`='1.5' must be a whole number"),
        (["digits", "--dim", "0"], "`dim`=0 must be a positive whole number"),
        (["digits", "--segments", "2"], "`segments`=2 is not an option of 'convmixer'"),
        (["digits", "--shuffle", "1"], "`shuffle`='1' must be true or false"),
        (["digits", "--device", "gpu"], "`device`='gpu' must be cpu"),
        (["digits", "--dataset", "mnist"], "`dataset`='mnist' is no data set"),
        (["digits", "--weights", "nowhere.pt"], "nowhere.pt: No such file"),
        (["digits", "--checkpoint-every", "0"], "`checkpoint_every`=0 must be at least 1"),
        (["digits", "--resume"], "`resume`=True needs `out`: the folder of the run to go on with"),
        (["digits", "--out", "file"], "file: File exists"),
        (["digits", "--out", "file/run"], "file/run: Not a directory"),
        (["digits", "--out", "file/run", "--resume"], "file/run: Not a directory"),
        (["digits", "--workers", "-1"], "`workers`=-1 must be a whole number"),
        (["nowhere.yaml"], "there is no recipe file nowhere.yaml"),
        (["file.yaml"], "file.yaml must hold lines of the form `key: value`"),
    ],
)
def test_a_user_s_mistakes_leave_nothing(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name in ("file", "file.yaml"):
        Path(name).write_text("in the way of a folder")
    status, _, err = run(capsys, "train", *arguments)
    assert status == 2 and is_one_line(err)
    assert re.search(message, err)
    assert names(tmp_path) == ["file", "file.yaml"]


def recipe_on(dataset: str) -> tuple[str, ...]:
    """Arguments of `train` for a recipe on this data set."""
    names = [name for name in list_recipes() if name.startswith(f"{dataset}/")]
    return tuple(names[:1]) or ("digits", "--dataset", dataset)


@pytest.mark.parametrize("dataset", DATASETS[1:])  # the digits come with scikit-learn
def test_missing_data_say_what_where_and_how_to_get_them(capsys, tmp_path, monkeypatch, dataset):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIXERLIB_DATA", raising=False)
    elsewhere = tmp_path / "elsewhere"
    for place, given in ((tmp_path / "data", ()), (elsewhere, ("--data", elsewhere))):
        err = refusal(capsys, "train", *recipe_on(dataset), *given)
        assert err.startswith(f"mixerlib: {dataset} was not found: there is no ")
        assert re.search(rf" in {re.escape(str(place))}\b", err)
        assert "MIXERLIB_DATA" in err
        assert ("image-net.org" if dataset == "imagenet" else "--download") in err
    assert names(tmp_path) == []


def test_a_compiler_that_fails_is_told_in_a_line(capsys, tmp_path, monkeypatch):
    from torch._inductor.exc import InductorError  # takes a second

    def train(*arguments, **options):
        raise InductorError(RuntimeError("No working C++ compiler found\nin a long list"), None)

    monkeypatch.setattr(mixerlib.training.loop, "train", train)
    status, _, err = run(capsys, "train", "digits", "--compile", "true", "--out", tmp_path / "run")
    assert status == 2 and is_one_line(err) and names(tmp_path) == []
    assert "`compile`=True cannot be used here: " in err
    assert "No working C++ compiler found" in err and "set it to false" in err


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has a"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        MemoryError(),
    ],
    ids=["GPU", "CPU", "Python"],
)
def test_full_memory_says_what_to_try(capsys, tmp_path, monkeypatch, error):
    def train(*arguments, **options):
        raise error

    monkeypatch.setattr(mixerlib.training.loop, "train", train)
    status, _, err = run(capsys, "train", "digits", "--out", tmp_path / "run")
    assert status == 2 and is_one_line(err)
    assert "out of memory; work through each batch in parts, with `accumulate` above 1, or" in err
    assert names(tmp_path) == []


# ---- runs that end before their time -----------------------------------------------------------

ENDLESS = ("train", "digits", *SMALL, "--epochs", 100_000)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_and_tells_how_to_go_on(tmp_path, number):
    status, name = SIGNALS[number]
    with Command(*ENDLESS, "--out", "my run", folder=tmp_path) as command:
        command.wait_for("writing to my run")
        command.send(number)
        actual, _, err = command.end()
    assert actual == status
    message = re.fullmatch(
        rf"mixerlib: stopped by {name} after step (\d+) of {100_000 * STEPS}; "
        r"to go on, give the same command again with --resume --out my run\n",
        err,
    )
    assert message and steps_done(tmp_path / "my run") == int(message[1]) >= 1
    # and so it does go on
    with Command(*ENDLESS, "--resume", "--out", "my run", folder=tmp_path) as command:
        command.wait_for("going on in my run")
        command.send(number)
        assert command.end()[0] == status
    assert steps_done(tmp_path / "my run") > int(message[1])


@pytest.fixture
def heeds_ctrl_c():
    """Python's own answer to Ctrl-C, which a shell takes from what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_second_ctrl_c_acts_at_once(heeds_ctrl_c):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
        assert stop() is None
        signal.raise_signal(signal.SIGINT)
        assert stop() == "stopped by Ctrl-C"
        signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_ctrl_c_while_the_data_are_read(capsys, tmp_path, monkeypatch):
    def slow(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("mixerlib.cli.training.dataset_for", slow)
    answer = run(capsys, "train", "digits", "--out", tmp_path / "run")
    assert answer == (130, "", "mixerlib: stopped by Ctrl-C\n")
    assert names(tmp_path) == []


def killed(command: Command, number: signal.Signals, out: Path, random: Random) -> bool:
    """Whether the command was still training when it was sent the signal, at a random moment.

    That moment is after one to three checkpoints of its own, and a random share of the time that
    the last of them took: in the midst of a step, of a checkpoint's writing, or of an evaluation.
    """
    seen, message = [], time.monotonic()
    expected = random.randint(1, 3)
    mark = stamp(out)
    while len(seen) < expected:
        if not command.is_running():
            return False
        if stamp(out) != mark:
            mark, now = stamp(out), time.monotonic()
            seen.append(now - message)
            message = now
        time.sleep(0.0005)
    time.sleep(random.random() * min(seen[-1], 0.1))
    command.send(number)
    return True


def stamp(out: Path) -> tuple[int, int] | None:
    """What changes when a checkpoint is written."""
    try:
        actual = (out / "checkpoint.pt").stat()
    except FileNotFoundError:
        return None
    return actual.st_ino, actual.st_mtime_ns


def test_killed_twenty_times_a_run_ends_with_the_same_weights(tmp_path):
    """Kill -9, SIGTERM and Ctrl-C, at random moments of real processes, always while they train.

    Chance decides when, never the verdict: should a run end before all the kills are dealt out,
    another one is begun for the rest, and must end with the same weights too.
    """
    arguments = ("train", "digits", *SMALL, "--epochs", 30, "--ema", 0.9, "--flip", "random")
    arguments += ("--checkpoint-every", 5)
    calm = tmp_path / "calm"
    subprocess.run(
        (sys.executable, "-m", "mixerlib", *map(str, arguments), "--out", str(calm)),
        check=True,
        capture_output=True,
        env=ENVIRONMENT,
    )
    random = Random(20)
    signals = [signal.SIGKILL] * 8 + [signal.SIGTERM] * 6 + [signal.SIGINT] * 6
    random.shuffle(signals)
    kills: dict[Path, int] = {}  # of each run
    while signals:
        out = tmp_path / f"run{len(kills)}"
        kills[out] = 0
        far = 0
        while not (out / "record.json").exists():
            resumed = (*arguments, "--resume", "--out", out)
            with Command(*resumed, folder=tmp_path) as command:
                if random.random() < 0.2:  # now and then also while it begins; not counted
                    time.sleep(random.random() * 0.3)
                    command.send(signal.SIGKILL)
                    command.end()
                elif signals and killed(command, signals[-1], out, random):
                    number = signals.pop()
                    kills[out] += 1
                    status, _, err = command.end()
                    if number == signal.SIGKILL:
                        assert status in (0, -signal.SIGKILL) and err == ""
                    elif status != 0:  # 0: the signal came after the last step
                        expected, name = SIGNALS[number]
                        message = re.match(
                            rf"mixerlib: stopped by {name} after step (\d+) of ", err
                        )
                        assert status == expected and message
                        assert steps_done(out) == int(message[1])  # nothing is lost
                else:
                    assert command.end()[0] == 0
            if (out / "checkpoint.pt").exists():
                assert steps_done(out) >= far  # nothing that a checkpoint had saved is lost
                far = steps_done(out)
    assert sum(kills.values()) == 20
    for out in kills:
        assert run_again(arguments, out, tmp_path) == 0  # clears what the last kill may have left
        assert names(out) == LEFT
        assert_same_weights(out, calm)
        record, undisturbed = (read_record(path / "record.json") for path in (out, calm))
        assert without_times(record) == without_times(undisturbed)
        assert record.continued >= kills[out]  # each of these had saved its place before
        steps, epochs = read_metrics(out)
        calm_steps, calm_epochs = read_metrics(calm)
        assert steps == calm_steps and len(steps) == 30 * STEPS
        assert [row.test_loss for row in epochs] == [row.test_loss for row in calm_epochs]


def run_again(arguments: tuple[object, ...], out: Path, folder: Path) -> int:
    with Command(*arguments, "--resume", "--out", out, folder=folder) as command:
        return command.end()[0]


# ---- going on ----------------------------------------------------------------------------------

SHORT = ("train", "digits", *SMALL, "--epochs", 2, "--quiet")


@pytest.fixture
def cut(tmp_path) -> Path:
    """The folder of a run of SHORT that was stopped after 30 of its 46 steps."""
    out = tmp_path / "cut"
    out.mkdir()
    options = dict(zip(("dim", "depth", "kernel_size", "patch_size"), SMALL[1::2], strict=True))
    asked = iter(range(1, 31))
    with pytest.raises(mixerlib.training.loop.Stopped):
        mixerlib.training.loop.train(
            load_recipe("digits", {"epochs": 2, "model_options": options}),
            progress=False,
            folder=out,
            stop=lambda: "enough" if next(asked) == 30 else None,
        )
    assert names(out) == ["checkpoint.pt", "metrics.jsonl"] and steps_done(out) == 30
    return out


@pytest.fixture
def calm(capsys, tmp_path) -> Path:
    """The folder of an undisturbed run of SHORT."""
    assert run(capsys, *SHORT, "--out", tmp_path / "calm")[0] == 0
    return tmp_path / "calm"


def test_going_on_makes_the_run_whole(capsys, cut, calm):
    assert run(capsys, *SHORT, "--out", cut, "--resume")[0] == 0
    assert names(cut) == LEFT
    assert_same_weights(cut, calm)
    assert read_record(cut / "record.json").continued == 1


def test_an_unfinished_run_is_not_begun_anew_by_mistake(capsys, cut):
    before = contents(cut)
    err = refusal(capsys, *SHORT, "--out", cut)
    assert "holds the checkpoint.pt of an earlier run; go on with it by --resume, or name" in err
    assert contents(cut) == before


def test_a_finished_run_is_left_as_it_is(capsys, calm):
    before = contents(calm)
    status, out, err = run(capsys, *SHORT, "--out", calm, "--resume")
    assert (status, err) == (0, "") and "after epoch 2: finished already" in out
    assert f"record:   {calm / 'record.json'}" in out
    err = refusal(capsys, *SHORT, "--seed", 1, "--out", calm, "--resume")
    assert "holds a finished run with other settings: `seed`=1 here, 0 there; name" in err
    assert contents(calm) == before


def test_a_run_that_was_killed_at_the_very_end(capsys, cut, calm):
    """After its weights, and after its record, but before its checkpoint was taken away."""
    assert run(capsys, *SHORT, "--out", cut, "--resume", "--checkpoint-every", 46)[0] == 0
    for missing in ((), ("record.json",)):
        options = dict(zip(("dim", "depth", "kernel_size", "patch_size"), SMALL[1::2], strict=True))
        recipe = load_recipe("digits", {"epochs": 2, "model_options": options})
        folder = cut.parent / f"without{len(missing)}"
        folder.mkdir()
        mixerlib.training.loop.train(recipe, progress=False, folder=folder)
        for name in LEFT[1:]:
            if name not in missing:
                (folder / name).write_bytes((calm / name).read_bytes())
        assert run(capsys, *SHORT, "--out", folder, "--resume")[0] == 0
        assert names(folder) == LEFT
        assert_same_weights(folder, calm)


def test_a_checkpoint_of_another_run_is_refused(capsys, cut):
    before = contents(cut)
    status, _, err = run(capsys, *SHORT, "--max-learning-rate", 0.01, "--out", cut, "--resume")
    assert status == 2 and is_one_line(err)
    assert "is the checkpoint of another run: `max_learning_rate`=0.01 here, 0.02 there" in err
    assert contents(cut) == before


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.999])
def test_a_half_written_checkpoint_is_refused(capsys, cut, share):
    path = cut / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    before = contents(cut)
    for arguments in ((*SHORT, "--out", cut, "--resume"), ("evaluate", cut)):
        err = refusal(capsys, *arguments)
        assert f"{path} is cut short, damaged or no checkpoint of mixerlib" in err
        assert "Delete it to begin anew" in err
    assert contents(cut) == before
    path.unlink()
    assert run(capsys, *SHORT, "--out", cut, "--resume")[0] == 0 and names(cut) == LEFT


def test_going_on_needs_nothing_but_the_checkpoint(capsys, tmp_path, monkeypatch, calm):
    """Neither the recipe's name nor its file, nor the file of the weights that it began with."""
    monkeypatch.chdir(tmp_path)
    first = tmp_path / "first.safetensors"
    (calm / "model.safetensors").rename(first)
    options = "{dim: 8, depth: 1, kernel_size: 3, patch_size: 2}"
    Path("base.yaml").write_text(f"base: digits\nepochs: 2\nmodel_options: {options}\n")
    Path("own.yaml").write_text(f"base: base.yaml\nweights: {first}\n")
    assert run(capsys, "train", "own.yaml", "--out", "whole", "--quiet")[0] == 0
    cut = Path("cut")
    cut.mkdir()
    asked = iter(range(1, 31))
    with pytest.raises(mixerlib.training.loop.Stopped):
        mixerlib.training.loop.train(
            load_recipe("own.yaml"),
            folder=cut,
            stop=lambda: "enough" if next(asked) == 30 else None,
        )
    for file in (first, Path("base.yaml"), Path("own.yaml")):
        file.unlink()
    err = refusal(capsys, "train", "own.yaml", "--resume", "--out", cut)
    assert (
        "there is no recipe file own.yaml; without RECIPE the checkpoint's is gone on with" in err
    )
    err = refusal(capsys, "train", "--resume", "--out", cut, "--quiet", "--max-learning-rate", 0.5)
    assert "is the checkpoint of another run: `max_learning_rate`=0.5 here, 0.02 there" in err
    status, out, err = run(capsys, "train", "--resume", "--out", cut)
    assert (status, err) == (0, "") and "going on in cut" in out
    assert_same_weights(cut, Path("whole"))
    before = contents(cut)
    status, out, _ = run(capsys, "train", "--resume", "--out", cut)
    assert status == 0 and "finished already" in out and contents(cut) == before
    err = refusal(capsys, "train", "--resume", "--out", cut, "--epochs", 3)
    assert "holds a finished run with other settings: `epochs`=3 here, 2 there" in err
    (cut / "record.json").unlink()
    err = refusal(capsys, "train", "--resume", "--out", cut)
    assert "no record.json beside" in err
    assert "RECIPE is missing" in refusal(capsys, "train", "--out", "other")


def test_a_run_killed_between_weights_and_record_knows_its_recipe(capsys, cut, calm):
    shutil.copy(calm / "model.safetensors", cut)
    assert run(capsys, "train", "--resume", "--out", cut)[0] == 0
    assert names(cut) == LEFT
    assert_same_weights(cut, calm)


@pytest.mark.parametrize("name", ["metrics.jsonl", "model.safetensors", "checkpoint.pt"])
def test_what_is_of_no_run_is_never_overwritten(capsys, tmp_path, name):
    (tmp_path / name).write_text("somebody's")
    before = contents(tmp_path)
    err = refusal(capsys, *SHORT, "--out", tmp_path)
    assert f"'{tmp_path}' holds the {name} of an earlier run" in err
    assert contents(tmp_path) == before
    if name != "metrics.jsonl":
        err = refusal(capsys, *SHORT, "--out", tmp_path, "--resume")
        assert name in err and contents(tmp_path) == before
        return
    status, _, err = run(capsys, *SHORT, "--out", tmp_path, "--resume")
    assert status == 0 and is_one_line(err)
    assert "warning: " in err and "kept as metrics.jsonl.damaged" in err
    assert (tmp_path / "metrics.jsonl.damaged").read_text() == "somebody's"


def test_a_folder_has_a_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flag in ("--out", "--records"):
        command = (*SHORT,) if flag == "--out" else ("sweep", "nowhere.yaml")
        err = refusal(capsys, *command, f"{flag}=")
        assert f"argument {flag}: '' must name a folder" in err
    with pytest.raises(ValueError, match="`folder`='' must name a folder"):
        train_in_folder(load_recipe("digits"), "")
    assert names(tmp_path) == []


def test_what_cannot_be_written_to_is_told_by_its_name_before_the_data(
    capsys, tmp_path, monkeypatch
):
    (tmp_path / "closed").mkdir()
    opened = os.open

    def forbid(path, *arguments, **options):
        if str(path).startswith(str(tmp_path / "closed")):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **options)

    def load(*arguments):
        raise AssertionError("the data were loaded")

    monkeypatch.setattr(os, "open", forbid)
    monkeypatch.setattr("mixerlib.cli.training.dataset_for", load)
    err = refusal(capsys, *SHORT, "--out", tmp_path / "closed")
    assert err == f"mixerlib: {tmp_path / 'closed'}: Permission denied\n"
    assert names(tmp_path / "closed") == []


def test_a_finished_run_on_a_disk_for_reading_only(capsys, calm, monkeypatch):
    def refuse(path, *arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    for name in ("unlink", "mkdir", "replace"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(os, "unlink", refuse)
    status, out, err = run(capsys, *SHORT, "--out", calm, "--resume")
    assert (status, err) == (0, "") and "finished already" in out


def test_a_run_that_another_process_finishes_meanwhile_is_left_as_it_is(
    capsys, tmp_path, monkeypatch, calm
):
    claimed = mixerlib.training.folders.claimed

    def late(place):
        shutil.copytree(calm, place, dirs_exist_ok=True)
        return claimed(place)

    monkeypatch.setattr(mixerlib.training.folders, "claimed", late)
    status, out, _ = run(capsys, *SHORT, "--out", tmp_path / "run", "--resume")
    assert status == 0 and "finished already" in out
    assert contents(tmp_path / "run").keys() == {str(tmp_path / "run" / name) for name in LEFT}


def test_a_process_that_another_one_asks_to_stop_has_a_signal_s_status(
    capsys, tmp_path, monkeypatch
):
    def train(*arguments, **options):
        raise mixerlib.training.loop.Stopped("stopped by another process after step 20 of 46")

    monkeypatch.setattr("mixerlib.cli.training.loop.train", train)
    status, _, err = run(capsys, *SHORT, "--out", tmp_path / "run")
    assert status == 143 and is_one_line(err) and "to go on, give the same command" in err


def test_two_begun_at_once_end_in_folders_of_their_own(tmp_path):
    """Without --out, in the same second as often as not."""
    arguments = ("train", "digits", *SMALL[2:], "--epochs", 1, "--quiet")
    dims = {"1": 8, "2": 12, "3": 16}
    commands = [
        Command(*arguments, "--dim", dim, folder=tmp_path, log=log) for log, dim in dims.items()
    ]
    with commands[0], commands[1], commands[2]:
        ends = [command.end() for command in commands]
    assert [(status, err) for status, _, err in ends] == [(0, "")] * 3
    found = []
    for folder in (tmp_path / "runs" / "digits").iterdir():
        record = read_record(folder / "record.json")
        found.append(record.settings["model_options"]["dim"])
        weights = load_file(folder / "model.safetensors")
        assert weights["head.weight"].shape[1] == found[-1] and names(folder) == LEFT
    assert sorted(found) == [8, 12, 16]


# ---- what the loss and the disk can do -----------------------------------------------------------

WILD = ("--max-learning-rate", "1e30", "--clip-norm", "none", "--weight-decay", "0")


def test_a_diverging_run_says_when_and_what_to_try(capsys, tmp_path):
    out = tmp_path / "new" / "run"
    status, _, err = run(capsys, "train", "digits", *SMALL, *WILD, "--out", out)
    assert status == 2 and is_one_line(err)
    assert re.match(
        r"mixerlib: the \w+ (is|are) not finite .* step [12], in epoch 1, at learning rate \S+; "
        r"try a smaller max_learning_rate \(now 1e\+30\)",
        err,
    )
    assert names(tmp_path) == []  # nothing that could be of use


def test_a_diverging_run_leaves_its_last_good_checkpoint(capsys, tmp_path, monkeypatch):
    def leap(recipe: Recipe, progress: float) -> float:
        return 0.01 if progress <= 0.5 else 1e30

    for module in (mixerlib.training.loop, mixerlib.training.session):  # uses it; names it
        monkeypatch.setattr(module, "learning_rate", leap)
    status, _, err = run(capsys, *SHORT, "--out", tmp_path)
    assert status == 2 and is_one_line(err) and "in epoch 2, at learning rate 1e+30; try" in err
    assert names(tmp_path) == ["checkpoint.pt", "metrics.jsonl"]
    assert steps_done(tmp_path) == STEPS
    assert run(capsys, *SHORT, "--out", tmp_path, "--resume") == (
        2,
        "",
        err,
    )  # it ends in the same way
    assert run(capsys, "evaluate", tmp_path)[0] == 0


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.safetensors", "record.json"])
def test_a_full_disk_loses_nothing_that_was_saved(capsys, tmp_path, cut, calm, monkeypatch, name):
    before = contents(cut)
    done = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return done(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    status, _, err = run(capsys, *SHORT, "--out", cut, "--resume")
    assert status == 2
    assert err == (f"mixerlib: {cut / name}: could not be written (No space left on device)\n")
    monkeypatch.undo()
    if name == "checkpoint.pt":
        assert contents(cut)[str(cut / name)] == before[str(cut / name)]
    assert not [path for path in names(cut) if path.endswith(".part")]
    assert run(capsys, *SHORT, "--out", cut, "--resume")[0] == 0
    assert names(cut) == LEFT
    assert_same_weights(cut, calm)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of this kind")
@pytest.mark.parametrize(("size", "name"), [(5_000, "checkpoint.pt"), (40_000, "metrics.jsonl")])
def test_a_file_that_really_cannot_grow(tmp_path, size, name):
    """Here the system itself refuses to write more than so many bytes into a file."""
    arguments = (*SHORT[:-3], "--epochs", 24, "--quiet")
    with Command(*arguments, "--out", "run", folder=tmp_path, file_bytes=size) as command:
        status, _, err = command.end()
    assert (status, err) == (2, f"mixerlib: run/{name}: could not be written (File too large)\n")
    with Command(*arguments, "--out", "run", "--resume", folder=tmp_path) as command:
        assert command.end()[0] == 0
    assert names(tmp_path / "run") == LEFT
    steps, epochs = read_metrics(tmp_path / "run")
    assert [row["step"] for row in steps] == list(range(1, 24 * STEPS + 1)) and len(epochs) == 24


# ---- evaluate ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A run's folder, and one of the same recipe that was cut off: with a moving average."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "own.yaml").write_text(
        "base: digits\nmodel: splitmixer_i\nema: 0.9\nepochs: 3\n"
        "model_options: {dim: 8, depth: 1, kernel_size: 3, patch_size: 2, ratio: 3/5}\n"
    )
    recipe = load_recipe(folder / "own.yaml")
    done, cut = folder / "done", folder / "cut"
    for out in (done, cut):
        out.mkdir()
    model, record = mixerlib.training.loop.train(recipe, progress=False, folder=done)
    save_results(model, record, done)
    asked = iter(range(1, 61))
    with pytest.raises(mixerlib.training.loop.Stopped):
        stop = lambda: "enough" if next(asked) == 60 else None  # noqa: E731
        mixerlib.training.loop.train(recipe, progress=False, folder=cut, stop=stop)
    return done, cut


def own_model() -> torch.nn.Module:
    """The model of `trained`, built without the library's way from a recipe to a model."""
    options = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2, "ratio": "3/5"}
    return create_model("splitmixer_i", in_channels=1, num_classes=10, **options).eval()


def logits_of(model: torch.nn.Module, mirrored: bool = False) -> torch.Tensor:
    digits = load_dataset("digits")
    images = digits.normalize(digits.test_images)
    with torch.inference_mode():
        return model(images.flip(-1) if mirrored else images)


def report(capsys, *arguments: object) -> dict:
    status, out, err = run(capsys, "evaluate", *arguments, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_evaluate_agrees_with_the_record_and_the_library(capsys, trained):
    done, _ = trained
    actual = report(capsys, done)
    record = read_record(done / "record.json")
    assert actual["top1"] == record.test_accuracy and actual["top5"] == record.test_top5
    assert actual["loss"] == pytest.approx(record.test_loss, rel=1e-6)
    digits, model = load_dataset("digits"), own_model()
    load_weights(model, done / "model.safetensors")
    again = evaluate(model, digits.test_images, digits.test_labels, normalize=digits.normalize)
    assert {name: actual[name] for name in ("top1", "top5", "loss")} == {
        "top1": again.top1,
        "top5": again.top5,
        "loss": again.loss,
    }
    assert actual["confusion"] == again.confusion.tolist()
    assert actual["per_class"] == dict(zip(digits.classes, again.per_class.tolist(), strict=True))
    assert actual["recipe"] == "own" and actual["model"] == "splitmixer_i"
    assert (actual["dataset"], actual["images"]) == ("digits", 360)
    assert actual["file"] == str(done / "model.safetensors") and "flip_average" not in actual
    # the file itself, with its record beside it
    assert report(capsys, done / "model.safetensors") == actual


def test_evaluate_in_words(capsys, trained):
    done, _ = trained
    numbers = report(capsys, done, "--flip-average")
    status, out, err = run(capsys, "evaluate", done, "--flip-average", "--confusion")
    assert (status, err) == (0, "")
    head, classes, confusion = out.split("\n\n")
    file = done / "model.safetensors"
    assert head.splitlines() == [
        f"{file}: splitmixer_i on the 360 test images of digits",
        f"top-1 {numbers['top1']:8.2%}",
        f"top-5 {numbers['top5']:8.2%}",
        f"loss  {numbers['loss']:8.4f}",
        f"top-1 {numbers['flip_average']['top1']:8.2%}  "
        "of each image and its mirror image, averaged",
    ]
    title, *rows = classes.splitlines()
    message = {name: share for name, share in map(str.split, rows)}
    assert message == {name: f"{share:.2%}" for name, share in numbers["per_class"].items()}
    assert {len(row) for row in rows} == {len(title)}  # the columns stand below their heads
    _, *rows = confusion.splitlines()
    assert [[int(n) for n in row.split()[1:]] for row in rows] == numbers["confusion"]
    assert [row.split()[0] for row in rows] == list(numbers["per_class"])
    status, out, _ = run(capsys, "evaluate", done)
    assert "confusion" not in out and "mirror" not in out


def test_the_flip_average_is_the_mean_of_two_logits(capsys, trained):
    done, _ = trained
    actual = report(capsys, done, "--flip-average")
    model, labels = own_model(), load_dataset("digits").test_labels
    load_weights(model, done / "model.safetensors")
    mean = (logits_of(model) + logits_of(model, mirrored=True)) / 2
    assert actual["flip_average"]["loss"] == pytest.approx(F.cross_entropy(mean, labels).item())
    assert actual["flip_average"]["top1"] == (mean.argmax(dim=1) == labels).double().mean().item()
    assert actual["flip_average"]["loss"] != actual["loss"] == report(capsys, done)["loss"]


def test_evaluate_an_unfinished_run_by_its_moving_average(capsys, trained):
    _, cut = trained
    actual = report(capsys, cut)
    assert actual["file"] == str(cut / "checkpoint.pt") and actual["recipe"] == "own"
    state = torch.load(cut / "checkpoint.pt", weights_only=True)["state"]
    losses = []
    for tensors in (state["average"], state["model"]):
        model = own_model()
        model.load_state_dict(tensors)
        labels = load_dataset("digits").test_labels
        losses.append(F.cross_entropy(logits_of(model), labels).item())
    averaged, raw = losses
    assert actual["loss"] == pytest.approx(averaged) and abs(raw - averaged) > 1e-3
    assert report(capsys, cut / "checkpoint.pt") == actual


@pytest.fixture
def published(tmp_path) -> Path:
    """A folder with a checkpoint as its authors publish it, and a recipe of its model beside it."""
    torch.manual_seed(0)
    theirs = tweet(8, 2, 3, 2, 10)
    theirs[0][0] = torch.nn.Conv2d(1, 8, 2, 2)  # the digits have one channel
    with torch.no_grad():
        for name, buffer in theirs.named_buffers():
            if name.endswith("running_mean"):
                buffer.uniform_(-0.1, 0.3)  # as a GELU leaves them
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    (tmp_path / "own.yaml").write_text(
        "base: digits\nmodel_options: {dim: 8, depth: 2, kernel_size: 3, patch_size: 2}\n"
    )
    (tmp_path / "relu.yaml").write_text("base: own.yaml\nmodel_options: {activation: relu}\n")
    return tmp_path


def test_evaluate_a_published_file_by_a_recipe(capsys, published):
    file = published / "theirs.pth"
    err = refusal(capsys, "evaluate", file)
    assert f"no record.json beside {file} tells its recipe; name it with --recipe" in err
    actual = report(capsys, file, "--recipe", published / "own.yaml")
    theirs = tweet(8, 2, 3, 2, 10)
    theirs[0][0] = torch.nn.Conv2d(1, 8, 2, 2)
    theirs.load_state_dict(torch.load(file, weights_only=True))
    labels = load_dataset("digits").test_labels
    assert actual["loss"] == pytest.approx(F.cross_entropy(logits_of(theirs.eval()), labels).item())
    err = refusal(capsys, "evaluate", file, "--recipe", "digits")
    assert "in the layout tweet, does not fit `model`" in err


def test_evaluate_a_copy_of_a_checkpoint_and_either_of_its_weights(capsys, trained, tmp_path):
    _, cut = trained
    copy = tmp_path / "epoch1.backup"
    copy.write_bytes((cut / "checkpoint.pt").read_bytes())
    averaged = report(capsys, cut)["loss"]
    assert report(capsys, copy)["loss"] == report(capsys, copy, "--average")["loss"] == averaged
    assert abs(report(capsys, copy, "--no-average")["loss"] - averaged) > 1e-3


def test_evaluate_of_a_file_with_several_state_dicts(capsys, published):
    file, by = published / "theirs.pth", ("--recipe", published / "own.yaml")
    expected, state = report(capsys, file, *by)["loss"], torch.load(file, weights_only=True)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    torch.save({"student": zeros, "teacher": state}, published / "both.ckpt")
    err = refusal(capsys, "evaluate", published / "both.ckpt", *by)
    assert "several state dicts; name one by `key`: `student`, `teacher`" in err
    actual = report(capsys, published / "both.ckpt", *by, "--key", "teacher")
    assert actual["loss"] == expected
    torch.save({"state_dict": zeros, "state_dict_ema": state}, published / "ema.pth")
    status, _, err = run(capsys, "evaluate", published / "ema.pth", *by)
    assert status == 0 and err.startswith("mixerlib: warning: ") and err.count("\n") == 1
    assert "`state_dict_ema` is taken, the average; `average=False` takes `state_dict`" in err
    state["0.1.0.0.0.weight" if "0.1.0.0.0.weight" in state else "0.0.weight"][0] = torch.nan
    torch.save(state, published / "nan.pth")
    err = refusal(capsys, "evaluate", published / "nan.pth", *by, "--json")
    assert "holds NaN or infinite numbers, as of a run that diverged" in err


def test_evaluate_passes_a_warning_on(capsys, published):
    arguments = ("evaluate", published / "theirs.pth", "--recipe", published / "relu.yaml")
    status, out, err = run(capsys, *arguments)
    assert status == 0 and "top-1" in out
    assert err.startswith("mixerlib: warning: ") and err.count("\n") == 1 and "gelu" in err


def test_evaluate_says_what_is_wrong(capsys, tmp_path, monkeypatch, trained):
    done, cut = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIXERLIB_DATA", raising=False)
    Path("empty").mkdir()
    Path("notes.txt").write_text("no weights")
    Path("old").mkdir()
    for name in LEFT:
        Path("old", name).write_bytes((done / name).read_bytes())
    values = values_to_change(Path("old/record.json"))
    Path("old/record.json").write_text(json.dumps(values | {"schema": "mixerlib training 1"}))
    for arguments, message in (
        (["nowhere"], "there is no file nowhere"),
        (["empty"], "empty holds neither model.safetensors nor checkpoint.pt"),
        (["notes.txt"], "no record.json beside notes.txt"),
        (["notes.txt", "--recipe", "digits"], "`path`='notes.txt' must end in one of .safetensors"),
        (["old"], "old/record.json: `schema`='mixerlib training 1' must be 'mixerlib training 2'"),
        ([cut, "--recipe", "digits"], "does not fit `recipe`='digits' on this digits"),
        ([done, "--recipe", "digits"], "does not fit `model`, a ConvMixer of 4 blocks"),
        ([done, "--recipe", "digts"], "`recipe`='digts' is no recipe of mixerlib; did you mean"),
        ([done, "--recipe", "cifar10/convmixer_256_8"], "cifar10 was not found: there is no "),
        ([done, "--device", "gpu"], "`device`='gpu' must be cpu"),
        ([], "give either CHECKPOINT or --weights NAME"),
    ):
        assert message in refusal(capsys, "evaluate", *arguments)


def test_a_record_that_cannot_be_read_does_not_pass_for_a_finished_run(capsys, trained, tmp_path):
    (tmp_path / "record.json").write_text("{")
    assert "record.json is not JSON" in refusal(capsys, *SHORT, "--out", tmp_path, "--resume")
    done, _ = trained
    record = read_record(done / "record.json")
    write_record(replace(record, recipe="other"), tmp_path / "record.json")
    assert "with other settings: " in refusal(capsys, *SHORT, "--out", tmp_path, "--resume")


# ---- several processes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "events"),
    [(0, ["read, download=True", "wait"]), (1, ["wait", "read, download=False"])],
)
def test_of_several_processes_the_first_alone_downloads(monkeypatch, tmp_path, rank, events):
    seen = []

    class Two(Processes):
        def barrier(self) -> None:
            seen.append("wait")

    def read(recipe, root, download, workers):
        seen.append(f"read, download={download}")

    def enough(recipe, dataset):
        raise ValueError("enough")

    monkeypatch.setattr("mixerlib.cli.training.joined", lambda device: nullcontext(Two(rank, 2)))
    monkeypatch.setattr("mixerlib.cli.training.dataset_for", read)
    monkeypatch.setattr("mixerlib.cli.training.model_for", enough)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--download"]) == 2
    assert seen == events


@pytest.mark.parametrize("command", ["train", "evaluate", "sweep"])
def test_the_number_of_readers_reaches_the_data(capsys, monkeypatch, tmp_path, trained, command):
    def read(name, root, download, *, workers, **options):
        assert workers == 3
        raise ValueError("enough")

    monkeypatch.setattr("mixerlib.training.run.load_dataset", read)
    monkeypatch.chdir(tmp_path)
    Path("runs.yaml").write_text("runs: [{recipes: [digits], seeds: [0]}]")
    what = {"train": "digits", "evaluate": trained[0], "sweep": "runs.yaml"}[command]
    assert main([command, str(what), "--workers", "3"]) in (1, 2)
    assert "enough" in capsys.readouterr().err


def test_evaluate_needs_no_training_images_and_takes_a_batch_size(capsys, monkeypatch, tmp_path):
    for number, name in enumerate(("a/1.png", "a/2.png", "b/3.png")):
        path = tmp_path / "imagenet" / "val" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (80 * number, 0, 0)).save(path)
    options = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 4}
    settings = f"model_options: {json.dumps(options)}\nimage_size: 16\ninterpolation: bilinear\n"
    (tmp_path / "r.yaml").write_text(f"dataset: imagenet\nmodel: convmixer\n{settings}")
    save_weights(create_model("convmixer", **options, num_classes=2), tmp_path / "w.safetensors")
    sizes = []
    forward = ConvMixer.forward
    monkeypatch.setattr(
        ConvMixer, "forward", lambda self, x: sizes.append(len(x)) or forward(self, x)
    )
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", "w.safetensors", "--recipe", "r.yaml", "--data", ".", "--workers", "0"]
    assert main([*command, "--batch-size", "2", "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3 and sizes == [2, 1]
    assert main([*command, "--batch-size", "0"]) == 2
    assert "`batch_size`=0 must be at least 1" in capsys.readouterr().err
