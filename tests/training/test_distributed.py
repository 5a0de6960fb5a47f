"""One run in two processes, for real: started by torchrun, joined by gloo on the CPU.

Started by torchrun itself, this file is the program of those processes: `main`, below.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import few_digits
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed as dist
from torch import nn

import mixerlib.training.loop
from mixerlib.data import Dataset
from mixerlib.records import Epoch, read_record
from mixerlib.training.distributed import ALONE, Processes, joined, local_device
from mixerlib.training.evaluation import evaluate_on
from mixerlib.training.loop import train
from mixerlib.training.metrics import read_metrics
from mixerlib.training.recipe import Recipe
from mixerlib.training.recipe_files import load_recipe
from mixerlib.training.run import dataset_for
from mixerlib.training.session import Diverged, Stopped
from mixerlib.weights import load_weights

CPU = torch.device("cpu")
# With a large epsilon, Adam does not follow gradients that are nothing but rounding.
CALM = {"adam_epsilon": 1e-3, "max_learning_rate": 0.02}


def odd_digits() -> Dataset:
    """70 training images, so batches of 33, 33 and 4; and 31 test images: shares of 15 and 16."""
    return few_digits(test=31)


def mixer(**settings: Any) -> Recipe:
    """Without BatchNorm: two processes do what one does, but for the order of additions."""
    options = {"dim": 8, "depth": 1, "patch_size": 2, "tokens_dim": 8, "channels_dim": 8}
    return Recipe("digits", "mlp_mixer", options, **({"batch_size": 33, "epochs": 3} | settings))


def convmixer(**settings: Any) -> Recipe:
    """With BatchNorm, which sees the share of a batch that its process has."""
    options = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2}
    return Recipe("digits", "convmixer", options, **({"batch_size": 33, "epochs": 3} | settings))


RECIPES = {
    "mixer": mixer(**CALM),
    "parts": mixer(**CALM, accumulate=4, clip_norm=0.1),
    "flips": mixer(**CALM, flip="random", crop="pad", crop_padding=1, jitter=0.3),
    "average": mixer(**CALM, ema=0.7, evaluate_every=2),
    "float16": mixer(**CALM, precision="float16"),
    "muon": mixer(**CALM, optimizer="muon"),
    "norm": convmixer(**CALM),
    "small": convmixer(**CALM, early_size=4, early_epochs=1),
    "norm, average, parts": convmixer(**CALM, ema=0.7, accumulate=2),
}


WITHOUT_NORM = [name for name, recipe in RECIPES.items() if recipe.model == "mlp_mixer"]


def weights_of(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


# The program of the two processes


def main(out: Path) -> None:
    """Do what the tests below look at, and write what this process saw to rank0.pt or rank1.pt."""
    torch.set_num_threads(1)
    digits, seen = odd_digits(), {}
    with joined(CPU) as processes:
        seen["place"] = (processes.rank, processes.count, processes.is_first)
        seen["sum"] = processes.sum(torch.tensor([1.0, processes.rank]))
        equal = [torch.full((2,), float(processes.rank)), torch.tensor(processes.rank)]
        processes.broadcast(equal)
        seen["equal"] = equal
        before_the_mean: list[torch.Tensor] = []
        average = Processes.average

        def noted(processes: Processes, tensors: Any) -> None:
            buffers = list(tensors)
            before_the_mean[:] = [tensor.clone() for tensor in buffers]
            average(processes, buffers)

        Processes.average = noted  # type: ignore[method-assign]
        for name, recipe in RECIPES.items():
            folder = out / name
            folder.mkdir(exist_ok=True)
            model, record = train(recipe, digits, "cpu", folder=folder, processes=processes)
            seen[name] = {
                "curve": [vars(row) for row in record.curve],
                "test": (record.test_loss, record.test_accuracy, record.test_top5),
                "processes": record.processes,
                "weights": weights_of(model),
                "statistics": [b.clone() for b in model.buffers()],
                "evaluated": evaluate_on(model, digits).loss,
                "own statistics": list(before_the_mean),
            }
        mixerlib.training.loop.ASK_EVERY = 1
        for step in range(1, 10):  # the second process alone is told to stop
            folder = out / f"stopped after {step}"
            folder.mkdir(exist_ok=True)
            seen[folder.name] = stopped_and_continued(folder, digits, processes, step)
        mixerlib.training.loop.BATCH_SIZE = 5  # 3 and 4 batches: the last one has no partner
        for asked in range(3, 10):  # in each epoch after 3 steps, and twice in the test set
            folder = out / f"asked {asked} times"
            folder.mkdir(exist_ok=True)
            seen[folder.name] = stopped_and_continued(folder, digits, processes, asked)
        seen["errors"] = [
            error_of(ValueError, lambda: train(mixer(batch_size=69), digits, processes=processes)),
            error_of(Diverged, lambda: train(ruined(processes), digits, processes=processes)),
        ]
        torch.save(seen, out / f"rank{processes.rank}.pt")


def stopped_and_continued(folder: Path, digits: Dataset, processes: Processes, step: int) -> Any:
    recipe, asked = RECIPES["norm, average, parts"], 0

    def stop() -> str | None:
        nonlocal asked
        asked += 1
        return "told to stop" if processes.rank == 1 and asked == step else None

    reason = error_of(
        Stopped,
        lambda: train(recipe, digits, folder=folder, stop=stop, processes=processes),
    )
    model, _ = train(recipe, digits, folder=folder, resume=True, processes=processes)
    return {"reason": reason, "weights": weights_of(model), "statistics": list(model.buffers())}


def ruined(processes: Processes) -> Recipe:
    """From here on the second process's loss is no number at the run's fifth step."""
    do, done = mixerlib.training.loop.train_step, 0

    def train_step(*arguments: Any) -> torch.Tensor:
        nonlocal done
        done += 1
        return do(*arguments) * (math.nan if processes.rank == 1 and done == 5 else 1)

    mixerlib.training.loop.train_step = train_step
    return mixer()


def error_of(kind: type[Exception], call: Callable[[], Any]) -> str:
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__} was raised")


# The tests of it


def torchrun(*arguments: object) -> list[str]:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    return [*launcher, "--nproc_per_node", "2", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Without what would make a process think that somebody's torchrun has started it."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    modules = os.pathsep.join(path for path in sys.path if path)  # this file imports helpers
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": modules}


def finished(process: subprocess.Popen) -> tuple[int, str, str]:
    """The exit status of torchrun and what it printed; it is ended when it hangs."""
    try:
        printed, errors = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.terminate()  # so that it ends the processes that it has started
        pytest.fail(f"torchrun did not end: {process.communicate()}")
    return process.returncode, printed, errors


def start(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        torchrun(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the two processes have written."""
    out = tmp_path_factory.mktemp("two")
    status, printed, errors = finished(start(__file__, out))
    assert status == 0, (printed, errors)
    return out


@pytest.fixture(scope="module")
def two(folder) -> list[dict]:
    """What the first process saw, and what the second did."""
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return odd_digits()


def test_each_knows_its_place(two):
    assert [seen["place"] for seen in two] == [(0, 2, True), (1, 2, False)]
    assert all(seen["sum"].tolist() == [2, 1] for seen in two)
    assert all([t.tolist() for t in seen["equal"]] == [[0, 0], 0] for seen in two)


@pytest.mark.parametrize("name", WITHOUT_NORM)
def test_two_processes_do_what_one_does(two, digits, name):
    model, record = train(RECIPES[name], digits, "cpu")
    near = 1e-3 if name in ("float16", "muon") else 1e-5  # Muon lifts what is nearly rounding
    actual = two[0][name]
    assert (actual["processes"], record.processes) == (2, 1)
    for row, right in zip(actual["curve"], record.curve, strict=True):
        for key in ("epoch", "learning_rate", "train_accuracy", "test_accuracy"):
            assert row[key] == getattr(right, key)
        assert row["train_loss"] == pytest.approx(right.train_loss, rel=near)
        if right.test_loss is not None:
            assert row["test_loss"] == pytest.approx(right.test_loss, rel=near)
    expected = (record.test_loss, record.test_accuracy, record.test_top5)
    assert actual["test"] == pytest.approx(expected, rel=near)
    torch.testing.assert_close(actual["weights"], weights_of(model), rtol=near, atol=near)


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in WITHOUT_NORM])
def test_batchnorm_sees_its_share_and_the_curve_is_near(two, digits, name):
    """Statistics of 16 images are not those of 33, so the curve differs, by a few per cent."""
    _, record = train(RECIPES[name], digits, "cpu")
    for row, right in zip(two[0][name]["curve"], record.curve, strict=True):
        assert row["learning_rate"] == right.learning_rate
        assert row["train_loss"] == pytest.approx(right.train_loss, rel=0.05)
        assert row["train_loss"] != pytest.approx(right.train_loss, rel=1e-5)
        assert row["test_loss"] == pytest.approx(right.test_loss, rel=0.05)


@pytest.mark.parametrize("name", RECIPES)
def test_all_processes_have_the_same_model_and_judge_it(two, name):
    first, second = (seen[name] for seen in two)
    assert torch.equal(first["weights"], second["weights"])
    assert all(map(torch.equal, first["statistics"], second["statistics"]))
    for seen in (first, second):
        assert seen["test"] == first["test"]
        assert seen["evaluated"] == pytest.approx(first["test"][0], rel=1e-6)
        curve = [row | {"training_seconds": 0} for row in seen["curve"]]
        assert curve == [row | {"training_seconds": 0} for row in first["curve"]]


def test_the_metrics_are_written_once(folder, two):
    for name, recipe in RECIPES.items():
        steps, epochs = read_metrics(folder / name)
        assert [row["step"] for row in steps] == list(range(1, 10))
        assert epochs == [Epoch(**row) for row in two[0][name]["curve"]]
        losses = [row["loss"] for row in steps[:3]]
        mean = sum(n * loss for n, loss in zip((33, 33, 4), losses, strict=True)) / 70
        assert epochs[0].train_loss == pytest.approx(mean, rel=1e-9)
        assert recipe.epochs == len(epochs)


def both_end_as(undisturbed, *both) -> None:
    """Stopped and continued, each process has the weights of the run that was not disturbed."""
    for seen in both:
        assert torch.equal(seen["weights"], undisturbed["weights"])
        assert all(map(torch.equal, seen["statistics"], undisturbed["statistics"]))


@pytest.mark.parametrize("step", range(1, 10))
def test_stopped_in_one_process_all_stop_and_go_on(two, step):
    undisturbed = two[0]["norm, average, parts"]
    first, second = (seen[f"stopped after {step}"] for seen in two)
    assert first["reason"] == f"stopped by another process after step {step} of 9"
    assert second["reason"] == f"told to stop after step {step} of 9"
    both_end_as(undisturbed, first, second)


@pytest.mark.parametrize("asked", range(3, 10))
def test_stopped_in_one_process_all_leave_the_test_set(two, asked):
    undisturbed, epochs = two[0]["norm, average, parts"], (asked - 1) // 5
    step = 3 * epochs + min(3, asked - 5 * epochs)
    end = f"after step {step} of 9" + ", during the test set" * (asked - 5 * epochs > 3)
    first, second = (seen[f"asked {asked} times"] for seen in two)
    assert first["reason"] == f"stopped by another process {end}"
    assert second["reason"] == f"told to stop {end}"
    both_end_as(undisturbed, first, second)


def test_errors_are_the_same_in_all(two):
    for seen in two:
        too_small, diverged = seen["errors"]
        assert too_small == (
            "`batch_size`=69 leaves a last batch of 1 of 70 images, too few for 2 processes"
        )
        assert diverged.startswith("the loss is not finite at step 5, in epoch 2, at learning rate")


# The command itself


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    settings = vars(mixer(**CALM, epochs=10, batch_size=101))
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps({k: v for k, v in settings.items() if k != "name"}))  # JSON is YAML
    return path


def test_the_command_stopped_and_resumed_gives_the_single_process_s_curve(recipe_file, tmp_path):
    out = tmp_path / "run"
    command = ("-m", "mixerlib", "train", recipe_file, "--device", "cpu", "--out", out)
    process = start(*command, "--checkpoint-every", 5)
    while process.poll() is None and not (out / "checkpoint.pt").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)  # to torchrun, as a cluster does it
    status, printed, errors = finished(process)
    assert status != 0
    assert printed.count("writing to") == 1  # of two processes, one speaks
    assert errors.count("mixerlib: stopped by SIGTERM after step ") == 1
    done = torch.load(out / "checkpoint.pt", weights_only=True)["state"]
    assert done["epoch"] <= 10

    status, printed, errors = finished(start(*command, "--resume"))
    assert status == 0, (printed, errors)
    assert printed.count("test images right after epoch 10") == 1
    assert sorted(path.name for path in out.iterdir()) == [
        "metrics.jsonl",
        "model.safetensors",
        "record.json",
    ]
    recipe = load_recipe(recipe_file)
    digits = dataset_for(recipe)
    model, alone = train(recipe, digits, "cpu")
    record = read_record(out / "record.json")
    assert (record.processes, record.continued, alone.processes) == (2, 1, 1)
    actual = [(row.epoch, row.learning_rate) for row in record.curve]
    assert actual == [(row.epoch, row.learning_rate) for row in alone.curve]
    for name in ("train_loss", "test_loss"):
        expected = [getattr(row, name) for row in alone.curve]
        assert [getattr(row, name) for row in record.curve] == pytest.approx(expected, rel=1e-5)
    steps, epochs = read_metrics(out)
    assert len(steps) == 10 * 15 and epochs == record.curve
    expected = weights_of(model)
    load_weights(model, out / "model.safetensors")
    torch.testing.assert_close(weights_of(model), expected, rtol=1e-3, atol=1e-4)


# Without torchrun


@given(st.integers(0, 1000), st.integers(1, 16))
def test_shares_are_all_of_a_batch_and_nearly_equal(length, count):
    images = list(range(length))
    shares = [images[Processes(rank, count).shard(length)] for rank in range(count)]
    assert [image for share in shares for image in share] == images
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    if length >= count:
        assert min(sizes) >= 1


def test_after_an_epoch_the_statistics_are_the_mean_over_the_processes(two):
    own = [results["norm"]["own statistics"] for results in two]
    assert own[0] and not all(map(torch.equal, *own))
    for results in two:
        for *parts, mean in zip(*own, results["norm"]["statistics"], strict=True):
            if mean.is_floating_point():
                torch.testing.assert_close(mean, sum(parts) / 2, rtol=1e-6, atol=0)
            else:
                assert torch.equal(mean, parts[0])


def test_a_process_alone_does_nothing_of_it(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined(CPU) as processes:
        assert processes == ALONE and not dist.is_initialized()
    tensor = torch.ones(3)
    assert ALONE.sum(tensor) is tensor
    assert ALONE.shard(70) == slice(0, 70) and ALONE.is_first
    ALONE.broadcast([tensor])
    ALONE.average([tensor])
    assert torch.equal(tensor, torch.ones(3))


@pytest.mark.parametrize(
    ("name", "cuda", "rank", "device"),
    [
        (None, True, "1", "cuda:1"),
        ("cuda", True, "3", "cuda:3"),
        ("cuda:0", True, "3", "cuda:0"),
        ("cpu", True, "1", "cpu"),
        (None, False, "1", None),
        (None, True, None, None),
        ("cuda", True, None, "cuda"),
    ],
)
def test_each_process_has_a_gpu_of_its_own(monkeypatch, name, cuda, rank, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert local_device(name) == device


def test_a_run_whose_process_fails_leaves_the_group(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "0")
    with pytest.raises(KeyError), joined(CPU) as processes:
        assert dist.is_initialized() and processes == ALONE
        raise KeyError
    assert not dist.is_initialized()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
