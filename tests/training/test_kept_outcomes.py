"""Outcomes of a large test set: kept as they come, gone on with, shared; never counted twice."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import made_up_imagenet as made
import pytest
import torch
from commands import ENVIRONMENT, run
from helpers import few_digits, trained_look
from safetensors.torch import load_file, save_file
from torch import nn

from mixerlib.data import Dataset
from mixerlib.models import create_model
from mixerlib.training import Evaluation, Stopped, evaluate_in_folder, evaluate_on, kept_outcomes
from mixerlib.weights import save_weights

BATCH = 4  # of 30 images: seven of four, and one of two


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2}
    return trained_look(create_model("convmixer", in_channels=1, **sizes)).eval()


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return few_digits()


def looked(model: nn.Module, digits: Dataset, folder: Path | None = None, **options) -> Evaluation:
    first, *_ = evaluate_in_folder(
        model, digits, folder, **({"batch_size": BATCH, "progress": False} | options)
    )
    return first


def assert_equal(one: Evaluation, other: Evaluation) -> None:
    assert (one.loss, one.top1, one.top5) == (other.loss, other.top1, other.top5)
    assert torch.equal(one.predictions, other.predictions)
    assert torch.equal(one.confusion, other.confusion)


def after(batches: int):
    """A reason to stop after so many batches."""
    asked = iter(range(1, 100))
    return lambda: "enough" if next(asked) == batches else None


def test_it_is_what_evaluate_on_gives(model, digits):
    expected = evaluate_on(model, digits, batch_size=BATCH)
    assert_equal(looked(model, digits), expected)
    plain, averaged = evaluate_in_folder(
        model, digits, batch_size=BATCH, flip_average=True, progress=False
    )
    assert_equal(plain, expected)
    assert_equal(averaged, evaluate_on(model, digits, batch_size=BATCH, flip_average=True))
    assert averaged.loss != plain.loss


def test_the_model_stays_in_its_mode(digits):
    sizes = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2}
    model = create_model("convmixer", in_channels=1, **sizes)
    model.stem.eval()
    looked(model, digits)
    assert model.training and not model.stem.training


@pytest.mark.parametrize("batches", [1, 5, 7])
def test_what_is_stopped_goes_on_where_it_was(model, digits, tmp_path, monkeypatch, batches):
    expected = looked(model, digits)
    with pytest.raises(Stopped, match=f"enough after {batches} of 8 batches"):
        looked(model, digits, tmp_path, stop=after(batches))
    assert [path.name for path in tmp_path.iterdir()] == ["outcomes-0.safetensors"]
    seen = []
    forward = type(model).forward
    monkeypatch.setattr(
        type(model), "forward", lambda self, x: seen.append(len(x)) or forward(self, x)
    )
    assert_equal(looked(model, digits, tmp_path, resume=True), expected)
    assert seen == [4, 4, 4, 4, 4, 4, 4, 2][batches:]  # nothing is done again
    assert [path.name for path in tmp_path.iterdir()] == ["outcomes.safetensors"]
    seen.clear()
    assert_equal(looked(model, digits, tmp_path, resume=True), expected)
    assert seen == []


def test_what_is_killed_keeps_what_was_written(model, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_outcomes, "SECONDS", -1)  # after every batch
    written = []
    write = kept_outcomes.Outcomes.write

    def killed(self, file):
        if len(written) == 3:
            raise OSError("no space")
        written.append(int(self.done.sum()))
        write(self, file)

    monkeypatch.setattr(kept_outcomes.Outcomes, "write", killed)
    with pytest.raises(OSError, match="no space"):
        looked(model, digits, tmp_path)
    assert written == [1, 2, 3]
    assert load_file(tmp_path / "outcomes-0.safetensors")["done"].sum() == 3
    monkeypatch.undo()
    assert_equal(looked(model, digits, tmp_path, resume=True), looked(model, digits))


def test_a_folder_is_not_gone_on_with_unasked(model, digits, tmp_path):
    looked(model, digits, tmp_path)
    with pytest.raises(ValueError, match="holds the outcomes of an earlier evaluation; go on with"):
        looked(model, digits, tmp_path)


def test_outcomes_of_something_else_are_refused_by_name(model, digits, tmp_path):
    with pytest.raises(Stopped):
        looked(model, digits, tmp_path, stop=after(2))
    other = trained_look(create_model("convmixer", in_channels=1, dim=8, depth=1, kernel_size=3))
    others = {
        "weights": (other, digits, {}),
        "images": (model, replace(digits, test_labels=digits.test_labels.flip(0)), {}),
        "mean": (model, replace(digits, mean=digits.mean + 1), {}),
        "batch_size": (model, digits, {"batch_size": 5}),
        "views": (model, digits, {"flip_average": True}),
        "precision": (model, digits, {"precision": "bfloat16"}),
    }
    for name, (net, dataset, options) in others.items():
        with pytest.raises(ValueError, match=f"outcomes of another evaluation: its {name} is "):
            looked(net, dataset, tmp_path, resume=True, **options)


def test_a_damaged_file_is_named(model, digits, tmp_path):
    with pytest.raises(Stopped):
        looked(model, digits, tmp_path, stop=after(2))
    file = tmp_path / "outcomes-0.safetensors"
    whole = file.read_bytes()
    for content in (whole[:-5], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], b""):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"outcomes-0.safetensors is damaged \(.*remove it"):
            looked(model, digits, tmp_path, resume=True)
    save_file({"done": torch.zeros(8, dtype=torch.bool)}, file)
    with pytest.raises(ValueError, match=r"outcomes-0.safetensors is damaged"):
        looked(model, digits, tmp_path, resume=True)


def test_bad_arguments(model, digits):
    with pytest.raises(ValueError, match="`batch_size`=0"):
        looked(model, digits, batch_size=0)
    with pytest.raises(ValueError, match="`precision`='float8' must be one of 'float32'"):
        looked(model, digits, precision="float8")
    none = replace(digits, test_images=digits.test_images[:0], test_labels=digits.test_labels[:0])
    with pytest.raises(ValueError, match="has no test images"):
        looked(model, none)


# Two processes, and one that was stopped before


SIZES = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 4}


@pytest.fixture
def imagenet(tmp_path) -> Path:
    """A folder with a made-up ImageNet, weights for it and their recipe."""
    made.write_validation(tmp_path, in_classes=False)
    made.write_kit(tmp_path / "imagenet")
    torch.manual_seed(1)
    net = trained_look(create_model("convmixer", **SIZES, num_classes=len(made.CLASSES)))
    save_weights(net, tmp_path / "w.safetensors")
    settings = {"dataset": "imagenet", "model": "convmixer", "model_options": SIZES}
    settings |= {"image_size": 32, "interpolation": "bicubic", "crop_pct": 0.96}
    (tmp_path / "r.yaml").write_text(json.dumps(settings))
    return tmp_path


def test_two_processes_go_on_with_what_one_has_begun(capsys, imagenet, monkeypatch):
    monkeypatch.chdir(imagenet)
    command = ["evaluate", "w.safetensors", "--recipe", "r.yaml", "--data", ".", "--workers", "0"]
    command += ["--batch-size", "5", "--device", "cpu", "--json", "--flip-average"]
    status, out, err = run(capsys, *command)
    assert (status, err) == (0, "")
    expected = json.loads(out)
    assert expected["images"] == made.IMAGES == sum(map(sum, expected["confusion"]))
    enough = after(3)
    monkeypatch.setattr("mixerlib.training.session.StopRequest.__call__", lambda self: enough())
    status, out, err = run(capsys, *command, "--out", "kept")
    assert (status, out) == (143, "") and "give the same command again with --resume" in err
    program = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2")
    answer = subprocess.run(
        [*program, "--standalone", "-m", "mixerlib", *command, "--out", "kept", "--resume"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == expected  # once, and to the last bit
    assert [path.name for path in Path("kept").iterdir()] == ["outcomes.safetensors"]
    assert load_file("kept/outcomes.safetensors")["losses"].shape == (2, made.IMAGES)


def test_amp_and_other_preprocessing_change_the_outcomes(capsys, imagenet, monkeypatch):
    monkeypatch.chdir(imagenet)
    command = ["evaluate", "w.safetensors", "--recipe", "r.yaml", "--data", ".", "--workers", "0"]
    command += ["--device", "cpu", "--json"]
    losses = {}
    for flags in ((), ("--amp",), ("--amp", "bfloat16"), ("--preprocessing", "mindcv")):
        status, out, err = run(capsys, *command, *flags)
        assert (status, err) == (0, "")
        losses[flags] = json.loads(out)["loss"]
    plain, amp, bfloat16, mindcv = losses.values()
    assert amp == bfloat16 != plain and amp == pytest.approx(plain, rel=0.05)
    assert mindcv not in (plain, amp)
    assert (
        "`preprocessing`='mindcvv' is no preset of mixerlib; did you mean mindcv?"
        in run(capsys, *command, "--preprocessing", "mindcvv")[2]
    )
