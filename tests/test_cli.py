"""The command, end to end: what it prints, what it writes, and how it fails."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mixerlib
from mixerlib.cli import DATA_OPTIONS, MODEL_OPTIONS, main
from mixerlib.data import load_dataset
from mixerlib.evaluate import evaluate
from mixerlib.models import create_model, list_models, model_entry
from mixerlib.models.tweet import ConvMixer as tweet
from mixerlib.recipe import SETTINGS, Recipe
from mixerlib.records import read_record
from mixerlib.train import model_for
from mixerlib.weights import load_weights

# One thread: models this small are quicker so, above all beside other processes.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
SMALL = ("--dim", "8", "--depth", "1", "--kernel-size", "3", "--patch-size", "2")


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "mixerlib", *map(str, arguments)),
        capture_output=True,
        text=True,
        env=ENVIRONMENT | environment,
    )


def error_of(*arguments: object, **environment: str) -> str:
    """The one line on stderr of a command that must fail as for a user's mistake."""
    answer = command(*arguments, **environment)
    assert (answer.returncode, answer.stdout) == (2, ""), answer
    assert answer.stderr.startswith("mixerlib: ") and answer.stderr.endswith("\n")
    assert answer.stderr.count("\n") == 1
    return answer.stderr


def test_train_digits_as_a_reader_would(tmp_path):
    answer = command("train", "digits", "--out", tmp_path / "run")
    assert (answer.returncode, answer.stderr) == (0, "")
    record = read_record(tmp_path / "run" / "record.json")
    assert record.test_accuracy >= 0.97  # what the book promises
    assert len(record.curve) == record.settings["epochs"]
    assert f"{record.test_accuracy:.2%} of 360 test images" in answer.stdout
    assert f"{record.training_seconds:.1f} s of training" in answer.stdout
    for name in ("record.json", "model.safetensors"):
        assert str(tmp_path / "run" / name) in answer.stdout
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "model.safetensors",
        "record.json",
    ]
    # the weights are those of the record
    digits = load_dataset("digits")
    model = model_for(Recipe(**record.settings), digits)
    load_weights(model, tmp_path / "run" / "model.safetensors")
    again = evaluate(model, digits.test_images, digits.test_labels, normalise=digits.normalise)
    assert again.top1 == pytest.approx(record.test_accuracy, abs=1 / 360)
    assert again.loss == pytest.approx(record.test_loss, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digts"], "`recipe`='digts' is no recipe of mixerlib; did you mean digits"),
        (["digits", "--epoch", "3"], "`--epoch` is not an argument .* did you mean --epochs"),
        (["digits", "--epochs", "few"], "`epochs`='few' must be a whole number"),
        (["digits", "--model", "convmxer"], "no model of mixerlib; did you mean convmixer"),
        (["digits", "--out", "FILE/run"], "FILE"),
        (["cifar10/convmixer_256_8"], "cifar10 was not found: .* --download .* MIXERLIB_DATA"),
    ],
)
def test_a_user_s_mistakes_while_training(tmp_path, arguments, message):
    file = tmp_path / "file"
    file.write_text("in the way of a folder")
    arguments = [argument.replace("FILE", str(file)) for argument in arguments]
    line = error_of("train", *arguments, MIXERLIB_DATA=str(tmp_path))
    assert re.search(message.replace("FILE", re.escape(str(file))), line)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_ctrl_c_while_training(tmp_path):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mixerlib", "train", "digits", "--epochs", "100000", *SMALL),
            *("--out", str(tmp_path / "run")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout.readline().startswith("digits: convmixer on 1,437 images, epochs: 100000")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "mixerlib: stopped by Ctrl-C\n")
    assert not (tmp_path / "run").exists()


def test_the_real_cifar10(tmp_path):
    folder = Path(os.environ.get("MIXERLIB_DATA") or "data").resolve()
    if not (folder / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no cifar-10-batches-py in {folder}; set MIXERLIB_DATA")
    size = ("--dim", 16, "--depth", 1, "--kernel-size", 3, "--patch-size", 8)
    answer = command(
        *("train", "cifar10/convmixer_256_8", "--epochs", 1, "--data", folder, *size),
        *("--out", tmp_path),
        MIXERLIB_DATA="nowhere",
    )
    assert answer.returncode == 0, answer.stderr
    record = read_record(tmp_path / "record.json")
    assert (record.train_images, record.test_images) == (50_000, 10_000)
    assert 0.2 < record.test_accuracy < record.test_top5  # chance is 0.1


def test_a_reader_that_has_seen_enough():
    both = f"{sys.executable} -m mixerlib list | head -n 1"
    answer = subprocess.run(both, shell=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert answer.stderr == "" and answer.stdout.startswith("name")


# What follows runs in this process: importing torch anew for each would only cost time.


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as leave:  # argparse's way to say that it has said all
        status = leave.code
    return status, *capsys.readouterr()


def test_version_and_help(capsys):
    assert run(capsys, "--version") == (0, f"mixerlib {mixerlib.__version__}\n", "")
    status, text, _ = run(capsys, "train", "--help")
    assert status == 0
    for name in (*SETTINGS, *MODEL_OPTIONS):
        if name != "model_options":
            assert f"--{name.replace('_', '-')} " in text
    assert "cifar10/convmixer_256_8" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["train"], "required: RECIPE"),
        (["train", "digits", "--max-lr=1"], "did you mean --max-learning-rate"),
        (["train", "digits", "--flip", "1"], "`flip`='1' must be 'none' or 'random' or"),
        (["train", "digits", "--dim", "1.5"], "`dim`='1.5' must be a whole number"),
        (["train", "digits", "--segments", "2"], "`segments`=2 is not an option of 'convmixer'"),
        (["train", "digits", "--out", __file__], f"{__file__}: File exists"),
        (["train", "digits", "--shuffle", "1"], "`shuffle`='1' must be true or false"),
        (["train", "digits", "--dim", "0"], "`dim`=0 must be a positive whole number"),
        (["train", "digits", "--device", "gpu"], "`device`='gpu' must be cpu"),
        (["train", "digits", "--dataset", "mnist"], "`dataset`='mnist' is no data set"),
        (["train", "nowhere.yaml"], "there is no recipe file nowhere.yaml"),
        (["import", "nowhere.pt", "--model", "convmixer"], "nowhere.pt: No such file"),
        (["import", "nowhere.pt", "--model", "resnet"], "'resnet' is no model of mixerlib"),
        (["import", "nowhere.pt"], "required: --model"),
    ],
)
def test_other_mistakes(capsys, arguments, message):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("mixerlib: ") and err.count("\n") == 1
    assert message in err


def test_a_diverging_run_says_what_to_try(capsys, tmp_path):
    wild = ("--max-learning-rate", "1e30", "--clip-norm", "none", "--weight-decay", "0")
    status, _, err = run(capsys, "train", "digits", *SMALL, *wild, "--out", tmp_path / "run")
    assert status == 2
    assert re.match(r"mixerlib: the loss is not finite at step .* try a smaller max_learn", err)
    assert not (tmp_path / "run").exists()


def test_every_run_has_a_folder_of_its_own(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("train", "digits", *SMALL, "--epochs", 1, "--quiet")
    for seed in (0, 1):
        assert run(capsys, *arguments, "--seed", seed)[0] == 0
    folders = sorted(Path("runs/digits").iterdir(), key=lambda path: path.name[-1])
    assert [read_record(folder / "record.json").seed for folder in folders] == [0, 1]
    first = (folders[0] / "record.json").read_bytes()
    status, _, err = run(capsys, *arguments, "--out", folders[0])
    assert status == 2 and "holds the record.json of an earlier run" in err
    assert (folders[0] / "record.json").read_bytes() == first


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


def test_list(capsys):
    status, out, _ = run(capsys, "list", "--json")
    models = json.loads(out)
    assert status == 0 and [model["name"] for model in models] == list_models()
    parameters = {model["name"]: model["parameters"] for model in models}
    assert parameters["convmixer_256_8"] == 594_186  # facts of the papers' models
    assert parameters["convmixer_1536_20"] == 51_625_960
    status, out, _ = run(capsys, "list")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 1 + len(models)
    for line, model in zip(lines[1:], models, strict=True):
        name, count, description = re.split(r"\s{2,}", line)
        assert (name, count) == (model["name"], f"{model['parameters']:,}")
        assert description == model["description"]


def test_the_command_knows_every_option_of_every_model():
    options = set().union(*(model_entry(name).defaults for name in list_models()))
    assert set(MODEL_OPTIONS | DATA_OPTIONS) == options
    assert not set(MODEL_OPTIONS) & set(DATA_OPTIONS)


def test_import_a_checkpoint(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    theirs = tweet(8, 2, 3, 2, 7).eval()
    torch.save(theirs.state_dict(), "theirs.pth.tar")
    size = ("--dim", 8, "--depth", 2, "--kernel-size", 3, "--patch-size", 2, "--num-classes", 7)
    status, out, err = run(capsys, "import", "theirs.pth.tar", "--model", "convmixer", *size)
    assert (status, err) == (0, "") and "layout tweet" in out and "theirs.safetensors" in out
    ours = create_model("convmixer", dim=8, depth=2, kernel_size=3, patch_size=2, num_classes=7)
    assert load_weights(ours, "theirs.safetensors") == "mixerlib"
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ours.eval()(x), theirs(x))

    again = ("import", "theirs.pth.tar", "--model", "convmixer")
    status, _, err = run(capsys, *again, *size)
    assert status == 2 and "'theirs.safetensors' exists already" in err
    status, _, err = run(capsys, *again, "--out", "other.safetensors")
    assert status == 2 and "does not fit `model`" in err
    assert not Path("other.safetensors").exists()


def test_import_passes_a_warning_on(capsys, tmp_path):
    model = create_model("convmixer", dim=8, depth=1, kernel_size=3, patch_size=2)
    model.stem[2].running_mean.copy_(torch.linspace(-0.1, 0.5, 8))  # what a GELU leaves behind
    torch.save(model.state_dict(), tmp_path / "gelu.pt")
    status, out, err = run(
        capsys,
        *("import", tmp_path / "gelu.pt", "--model", "convmixer", *SMALL, "--activation", "relu"),
        *("--out", tmp_path / "relu.safetensors"),
    )
    assert status == 0 and "relu.safetensors" in out
    assert err.startswith("mixerlib: warning: ") and err.count("\n") == 1 and "gelu" in err
