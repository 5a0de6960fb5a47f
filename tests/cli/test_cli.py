"""The command as a whole, and what it does with models: list, import. `train`, `evaluate` and
`sweep` have files of their own.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import ENVIRONMENT, SMALL, refusal, run
from safetensors.torch import load_file

import mixerlib
from mixerlib.cli import DATA_OPTIONS, MODEL_OPTIONS
from mixerlib.models import create_model, list_models, list_relatives, model_entry
from mixerlib.models.tweet import ConvMixer as tweet
from mixerlib.training.recipe import CHOICES, SETTINGS
from mixerlib.training.recipe_files import list_recipes
from mixerlib.weights import load_weights

COMMANDS = ("list", "cost", "train", "evaluate", "sweep", "import")


@pytest.mark.parametrize("encoding", ["ascii", "cp1251", "latin-1"])
@pytest.mark.parametrize("arguments", [["list"], ["cost", "convmixer", "--json"]])
def test_what_is_printed_is_utf_8_into_any_pipe(encoding, arguments):
    command = [sys.executable, "-m", "mixerlib", *arguments]
    result = subprocess.run(
        command, capture_output=True, env=ENVIRONMENT | {"PYTHONIOENCODING": encoding}, check=True
    )
    assert "×" in result.stdout.decode("utf-8")


def test_a_reader_that_has_seen_enough():
    both = f"{sys.executable} -m mixerlib list | head -n 1"
    answer = subprocess.run(both, shell=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert answer.stderr == "" and answer.stdout.startswith("name")


def test_help_and_errors_of_spelling_do_not_wait_for_torch():
    code = """
import contextlib, sys
from mixerlib.cli import main
for words in (["--help"], ["--version"], [], ["trian"], ["--hlep"]):
    with contextlib.suppress(SystemExit):
        main(words)
sys.exit("torch" in sys.modules)
"""
    answer = subprocess.run((sys.executable, "-c", code), capture_output=True, env=ENVIRONMENT)
    assert answer.returncode == 0


def test_version_and_help(capsys):
    assert run(capsys, "--version") == (0, f"mixerlib {mixerlib.__version__}\n", "")
    status, text, _ = run(capsys, "--help")
    assert status == 0 and all(re.search(rf"^ +{name} ", text, re.M) for name in COMMANDS)
    for name in COMMANDS:
        status, text, _ = run(capsys, name, "--help")
        assert status == 0 and text.startswith(f"usage: mixerlib {name} ")
        assert max(map(len, text.splitlines())) <= 100


def test_the_help_of_train_has_every_setting_and_recipe(capsys):
    _, text, _ = run(capsys, "train", "--help")
    for name in (*SETTINGS, *MODEL_OPTIONS):
        if name != "model_options":
            assert f"--{name.replace('_', '-')} " in text
    for name, choices in CHOICES.items():
        assert f"--{name.replace('_', '-')} {'|'.join(choices)}" in text
    assert set(list_recipes()) <= set(re.split(r"[,\s]+", text.partition("recipes: ")[2]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["train"], "RECIPE is missing; `mixerlib train --help` lists them"),
        (
            ["evaluate", "x", "--flip"],
            "`--flip` is not an argument of `mixerlib evaluate`; did you mean",
        ),
        (["import", "nowhere.pt", "--model", "convmixer"], "nowhere.pt: No such file"),
        (["import", "nowhere.pt", "--model", "resnet"], "'resnet' is no model of mixerlib"),
        (
            ["import", "nowhere.pt"],
            "`model`=None: name the model that CHECKPOINT is of with --model",
        ),
    ],
)
def test_mistakes(capsys, arguments, message):
    assert message in refusal(capsys, *arguments)


def test_list(capsys):
    status, out, _ = run(capsys, "list", "--json")
    models = json.loads(out)
    assert status == 0
    assert [model["name"] for model in models] == [*list_models(), *list_relatives()]
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
    names = (*list_models(), *list_relatives())
    options = set().union(*(model_entry(name).defaults for name in names))
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
    assert "'theirs.safetensors' exists already" in refusal(capsys, *again, *size)
    assert "does not fit `model`" in refusal(capsys, *again, "--out", "other.safetensors")
    assert not Path("other.safetensors").exists()


def test_import_of_one_of_several_state_dicts(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = create_model("convmixer", dim=8, depth=1, kernel_size=3, patch_size=2).state_dict()
    zeros = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    torch.save({"model": state, "ema": zeros}, "both.CKPT")
    command = ("import", "both.CKPT", "--model", "convmixer", *SMALL)
    for flags, expected in (
        (("--average",), zeros),
        (("--no-average",), state),
        (("--key", "ema"), zeros),
        (("--key", "model"), state),
    ):
        status, _, err = run(capsys, *command, *flags, "--out", "w.safetensors")
        assert (status, err) == (0, "")
        actual = load_file("w.safetensors")
        assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())
        Path("w.safetensors").unlink()
    assert "`key`='net' must be that of a state dict" in refusal(capsys, *command, "--key", "net")
    Path("both.CKPT").unlink()
    os.mkfifo("both.CKPT")
    assert "must be a file, not a device, a pipe" in refusal(capsys, *command)


def test_import_to_another_patch_size(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"dim": 8, "depth": 1, "tokens_dim": 4, "channels_dim": 8}
    theirs = create_model("mlp_mixer", image_size=16, patch_size=4, **options)
    torch.save(theirs.state_dict(), "theirs.pt")
    small = ("--dim", 8, "--depth", 1, "--tokens-dim", 4, "--channels-dim", 8)
    command = ("import", "theirs.pt", "--model", "mlp_mixer", *small, "--out", "w.safetensors")
    larger = ("--image-size", 32, "--patch-size", 8)
    assert "--resample-stem`) resamples the stem" in refusal(capsys, *command, *larger)
    more = ("--image-size", 32, "--patch-size", 4, "--resample-stem")
    assert "one number of patches, 16 in the file and 64" in refusal(capsys, *command, *more)
    assert not Path("w.safetensors").exists()
    status, out, err = run(capsys, *command, *larger, "--resample-stem")
    assert (status, err) == (0, "") and "layout timm" in out
    ours = create_model("mlp_mixer", image_size=32, patch_size=8, **options)
    load_weights(ours, "w.safetensors")
    assert torch.equal(ours.blocks[0].mlp_tokens.fc1.weight, theirs.blocks[0].mlp_tokens.fc1.weight)
    torch.testing.assert_close(
        ours.stem.proj.weight.sum((2, 3)), theirs.stem.proj.weight.sum((2, 3))
    )


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
