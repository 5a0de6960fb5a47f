"""Runs that survive: stopped after any step and continued, they end as if nothing had happened."""

import errno
import io
import json
import math
import os
import pickle
import random
import stat
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mixerlib.training.loop
from mixerlib.records import Part, Record, read_record, write_record
from mixerlib.training import checkpoint, contents
from mixerlib.training.distributed import ALONE
from mixerlib.training.loop import train, training_steps
from mixerlib.training.metrics import read_metrics
from mixerlib.training.recipe import LATER_FIELDS, Recipe
from mixerlib.training.run import RunWarning, begin, collect
from mixerlib.training.session import Diverged, Stopped
from mixerlib.weights import save_weights

CPU = torch.device("cpu")
STEPS = 6  # of the whole run: two epochs of three batches, the last of them smaller


def recipe(**fields) -> Recipe:
    """A run that uses all there is to be lost: augmentation, an average, two groups of weights."""
    defaults = {
        "model_options": {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2},
        "epochs": 2,
        "batch_size": 32,
        "flip": "random",
        "mixup": 0.4,
        "ema": 0.8,
        "decay_on": "matrices",
        "weight_decay": 0.1,
    }
    return Recipe("digits", "splitmixer_i", **(defaults | fields))


def after(steps: int) -> Callable[[], str | None]:
    """Asks a run to stop when it has asked so often whether it shall."""
    asked = 0

    def stop() -> str | None:
        nonlocal asked
        asked += 1
        return "stopped by the test" if asked == steps else None

    return stop


def results(model: nn.Module, record: Record, folder: Path) -> dict:
    """All that must not depend on whether a run was stopped; not its seconds."""
    steps, epochs = read_metrics(folder)
    return {
        "weights": {name: value.tolist() for name, value in model.state_dict().items()},
        "curve": [replace(row, training_seconds=0) for row in record.curve],
        "test": (record.test_loss, record.test_accuracy, record.test_top5),
        "steps": steps,
        "epochs": [replace(row, training_seconds=0) for row in epochs],
    }


UNDISTURBED = [
    {},
    {"ema": None, "schedule": "cosine", "warmup_epochs": 0.5, "accumulate": 2},
    {"precision": "float16", "evaluate_every": 2, "schedule": "onecycle", "crop": "pad"}
    | {"crop_padding": 2, "erase": 0.5, "erase_fill": "noise", "decay_on": "all"},
    {"optimizer": "muon", "early_size": 6, "early_epochs": 1},
    {"optimizer": "muon", "precision": "float16", "decay_on": "all"},
]


@pytest.mark.parametrize(
    "fields", UNDISTURBED, ids=["average", "parts", "float16", "muon", "muon16"]
)
def test_stopped_after_any_step_and_continued(digits, tmp_path, monkeypatch, fields):
    chosen = recipe(**fields)
    # in float16 so large a scale that some steps overflow, are left out, and change it
    scaler = partial(torch.amp.GradScaler, init_scale=2.0**20, growth_interval=2)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    (tmp_path / "undisturbed").mkdir()
    undisturbed = train(chosen, digits, "cpu", folder=tmp_path / "undisturbed")
    expected = results(*undisturbed, tmp_path / "undisturbed")
    assert len(expected["steps"]) == STEPS
    for step in range(1, STEPS + 1):
        folder = tmp_path / f"stopped after {step}"
        folder.mkdir()
        with pytest.raises(Stopped, match=f"stopped by the test after step {step} of {STEPS}"):
            train(chosen, digits, "cpu", folder=folder, stop=after(step))
        torch.manual_seed(step)  # another process's numbers are other numbers
        model, record = train(chosen, digits, "cpu", folder=folder, resume=True)
        assert results(model, record, folder) == expected
        assert record.continued == 1


def test_stopped_after_every_step(digits, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    expected = results(*train(recipe(), digits, "cpu", folder=tmp_path / "a"), tmp_path / "a")
    seconds = []
    for _ in range(STEPS):
        with pytest.raises(Stopped):
            train(recipe(), digits, "cpu", folder=tmp_path / "b", resume=True, stop=after(1))
        seconds.append(checkpoint.load(tmp_path / "b" / "checkpoint.pt")["total_seconds"])
    model, record = train(recipe(), digits, "cpu", folder=tmp_path / "b", resume=True)
    assert results(model, record, tmp_path / "b") == expected
    assert record.continued == STEPS
    # the time of all the parts is added up, and that between them is not
    assert seconds == sorted(seconds) and seconds[-1] < record.total_seconds
    assert record.training_seconds < record.total_seconds


@pytest.mark.parametrize(("asked", "step"), [(4, 3), (10, 6)])
def test_stopped_during_the_test_set(digits, tmp_path, monkeypatch, asked, step):
    """In each epoch it is asked after each of three steps, and between three batches of tests."""
    monkeypatch.setattr("mixerlib.training.loop.BATCH_SIZE", 10)  # of both: it moves last bits
    (tmp_path / "whole").mkdir()
    expected = results(*train(recipe(), digits, folder=tmp_path / "whole"), tmp_path / "whole")
    with pytest.raises(Stopped, match=f"by the test after step {step} of 6, during the test set"):
        train(recipe(), digits, folder=tmp_path, stop=after(asked))
    model, record = train(recipe(), digits, folder=tmp_path, resume=True)
    assert results(model, record, tmp_path) == expected and record.continued == 1


def test_the_file_of_first_weights_is_not_needed_again(digits, tmp_path):
    file = tmp_path / "first.safetensors"
    save_weights(begin(recipe(), digits, CPU, ALONE).model, file)
    chosen = recipe(weights=str(file))
    (tmp_path / "whole").mkdir()
    expected = results(*train(chosen, digits, folder=tmp_path / "whole"), tmp_path / "whole")
    with pytest.raises(Stopped):
        train(chosen, digits, folder=tmp_path, stop=after(2))
    file.unlink()
    assert results(*train(chosen, digits, folder=tmp_path, resume=True), tmp_path) == expected


@pytest.mark.parametrize("damage", [None, b"5\n"])
def test_a_run_goes_on_whatever_became_of_its_log(digits, tmp_path, damage):
    with pytest.raises(Stopped):
        train(recipe(), digits, folder=tmp_path, stop=after(4))
    (tmp_path / "metrics.jsonl").unlink()
    if damage:
        (tmp_path / "metrics.jsonl").write_bytes(damage)
    with pytest.warns(RunWarning, match=r"metrics.jsonl was (gone|damaged)"):
        _, record = train(recipe(), digits, folder=tmp_path, resume=True)
    steps, epochs = read_metrics(tmp_path)
    assert epochs == record.curve and [row["step"] for row in steps] == [4, 5, 6]


def test_a_run_that_is_done_stays_as_it_is(digits, tmp_path):
    first = results(*train(recipe(), digits, "cpu", folder=tmp_path), tmp_path)
    again = results(*train(recipe(), digits, "cpu", folder=tmp_path, resume=True), tmp_path)
    assert again == first


def test_without_resume_a_run_begins_anew(digits, tmp_path):
    expected = results(*train(recipe(), digits, "cpu", folder=tmp_path), tmp_path)
    with pytest.raises(Stopped):
        train(recipe(seed=1), digits, "cpu", folder=tmp_path, stop=after(5))
    assert results(*train(recipe(), digits, "cpu", folder=tmp_path), tmp_path) == expected


def test_resume_without_a_checkpoint_begins_anew(digits, tmp_path):
    _, record = train(recipe(), digits, "cpu", folder=tmp_path, resume=True)
    assert record.continued == 0 and len(record.curve) == 2


@pytest.mark.parametrize(
    ("every", "saved"),
    [(None, [3, 6]), (1, [1, 2, 3, 3, 4, 5, 6, 6]), (2, [2, 3, 4, 6, 6]), (4, [3, 4, 6])],
)
def test_checkpoints_come_after_epochs_and_every_so_many_steps(
    digits, tmp_path, monkeypatch, every, saved
):
    actual, save = [], checkpoint.save

    def noted(path: Path, recipe: Recipe, state: dict) -> None:
        actual.append((state["epoch"] - 1) * 3 + state["step"])
        save(path, recipe, state)
        assert checkpoint.load(path, recipe).keys() == state.keys()

    monkeypatch.setattr(checkpoint, "save", noted)
    train(recipe(), digits, "cpu", folder=tmp_path, checkpoint_every=every)
    assert actual == saved
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["checkpoint.pt", "metrics.jsonl"]


def test_without_a_folder_nothing_is_written(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(recipe(), digits, "cpu", checkpoint_every=1)
    with pytest.raises(Stopped):
        train(recipe(), digits, "cpu", stop=after(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", range(STEPS))
def test_killed_after_a_step_the_work_since_the_checkpoint_is_done_again(
    digits, tmp_path, monkeypatch, step
):
    """As by kill -9: nothing is saved on the way out, and an epoch's metrics may be there."""
    (tmp_path / "undisturbed").mkdir()
    undisturbed = train(recipe(), digits, "cpu", folder=tmp_path / "undisturbed")
    done, do = 0, mixerlib.training.loop.train_step

    def killed(*arguments):
        nonlocal done
        if done == step:
            raise SystemExit
        done += 1
        return do(*arguments)

    monkeypatch.setattr(mixerlib.training.loop, "train_step", killed)
    with pytest.raises(SystemExit):
        train(recipe(), digits, "cpu", folder=tmp_path, checkpoint_every=2)
    monkeypatch.undo()
    assert (tmp_path / "checkpoint.pt").exists() == (step >= 2)
    (tmp_path / ".checkpoint.pt.part").write_bytes(b"half a checkpoint")
    model, record = train(recipe(), digits, "cpu", folder=tmp_path, resume=True)
    expected = results(*undisturbed, tmp_path / "undisturbed")
    assert results(model, record, tmp_path) == expected


def test_killed_between_metrics_and_checkpoint_no_row_comes_twice(digits, tmp_path, monkeypatch):
    expected = results(*train(recipe(), digits, "cpu", folder=tmp_path), tmp_path)
    save = checkpoint.save

    def killed(path: Path, recipe: Recipe, state: dict) -> None:
        if len(state["curve"]) == 2:
            raise SystemExit
        save(path, recipe, state)

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(SystemExit):
        train(recipe(), digits, "cpu", folder=tmp_path)
    monkeypatch.undo()
    assert len(read_metrics(tmp_path)[1]) == 2  # the second epoch's row is there already
    model, record = train(recipe(), digits, "cpu", folder=tmp_path, resume=True)
    assert results(model, record, tmp_path) == expected


def test_the_bar_goes_on_where_the_run_does(digits, tmp_path, monkeypatch):
    for step, seen in ((2, 64), (3, 70), (4, 102)):
        with pytest.raises(Stopped):
            train(recipe(), digits, "cpu", folder=tmp_path, stop=after(step))
        bars, bar = [], mixerlib.training.loop.progress_bar

        def noted(shown, bars=bars, bar=bar, **arguments):
            bars.append(arguments)
            return bar(shown, **arguments)

        monkeypatch.setattr(mixerlib.training.loop, "progress_bar", noted)
        train(recipe(), digits, "cpu", folder=tmp_path, resume=True)
        monkeypatch.undo()
        assert [(bar["initial"], bar["total"]) for bar in bars] == [(seen, 140)]


# What ruins a run must not ruin its checkpoint


@pytest.mark.parametrize("checkpoint_every", [None, 1])
@pytest.mark.parametrize("step", [4, 5, 6])
@pytest.mark.parametrize("what", ["loss", "weights"])
def test_a_ruined_state_does_not_replace_a_good_one(
    digits, tmp_path, monkeypatch, what, step, checkpoint_every
):
    expected = results(*train(recipe(), digits, "cpu", folder=tmp_path), tmp_path)
    do = mixerlib.training.loop.train_step

    def ruined(run, *arguments):
        sums = do(run, *arguments)
        if run.steps_done == step - 1:  # it is counted when it is done
            if what == "weights":
                run.model.head.weight.data.fill_(math.nan)
            else:
                sums[0] = math.nan
        return sums

    monkeypatch.setattr(mixerlib.training.loop, "train_step", ruined)
    message = rf"{what} (is|are) not finite (at|after) step {step}, in epoch 2"
    if what == "weights" and checkpoint_every is None and step < STEPS:
        message = rf"the loss is not finite at step {step + 1}, in epoch 2"
    with pytest.raises(Diverged, match=message + r", at learning rate \S+; try a smaller"):
        train(recipe(), digits, "cpu", folder=tmp_path, checkpoint_every=checkpoint_every)
    monkeypatch.undo()
    model, record = train(recipe(), digits, "cpu", folder=tmp_path, resume=True)
    assert results(model, record, tmp_path) == expected


def test_a_ruined_run_that_is_told_to_stop_says_so(digits, tmp_path, monkeypatch):
    loss = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda *a, **k: loss(*a, **k) * math.nan)
    with pytest.raises(Diverged, match="at step 1, in epoch 1"):
        train(recipe(), digits, "cpu", folder=tmp_path, stop=after(2))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_what_is_ruined_on_the_test_set_is_not_saved(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(
        mixerlib.training.loop, "validate", lambda run, dataset, stop: (math.inf, 0.1, 0.5)
    )
    with pytest.raises(Diverged, match="not finite on the test set after epoch 1"):
        train(recipe(), digits, "cpu", folder=tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_full_disk_leaves_the_last_checkpoint(digits, tmp_path, monkeypatch):
    expected = results(*train(recipe(), digits, "cpu", folder=tmp_path), tmp_path)
    forced, force = 0, os.fsync

    def full(number: int) -> None:
        nonlocal forced
        forced += stat.S_ISREG(os.fstat(number).st_mode)  # a folder's names are forced, too
        if forced > 1 + 2:  # one for the metrics of the earlier run
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        force(number)

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(OSError, match=r"could not be written \(No space left") as raised:
        train(recipe(), digits, "cpu", folder=tmp_path, checkpoint_every=1)
    assert raised.value.filename == str(path)
    monkeypatch.undo()
    assert checkpoint.load(path, recipe())["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.pt", "metrics.jsonl"]
    model, record = train(recipe(), digits, "cpu", folder=tmp_path, resume=True)
    assert results(model, record, tmp_path) == expected


# By what it is computed


def test_a_run_that_goes_on_as_before_is_one_part(digits, tmp_path):
    for step in (1, 1):
        with pytest.raises(Stopped):
            train(recipe(), digits, "cpu", folder=tmp_path, resume=True, stop=after(step))
    _, record = train(recipe(), digits, "cpu", folder=tmp_path, resume=True)
    here = record.provenance
    assert record.parts == [Part(1, 1, 1, here.torch, "cpu", here.device_name)]


def test_what_else_computes_a_part_is_said_and_recorded(digits, tmp_path):
    with pytest.raises(Stopped):
        train(recipe(), digits, "cpu", folder=tmp_path, stop=after(2))
    torch.set_num_threads(2)
    try:
        with pytest.warns(RunWarning, match="from step 3 on .*: `threads`=2, before 1$"):
            _, record = train(recipe(), digits, "cpu", folder=tmp_path, resume=True)
    finally:
        torch.set_num_threads(1)
    first, second = record.parts
    assert (first.first_step, first.threads) == (1, 1)
    assert second == replace(first, first_step=3, threads=2)
    write_record(record, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json").parts == record.parts


@pytest.mark.parametrize("name", ["torch", "device", "device_name"])
def test_another_torch_or_device_is_said(digits, name):
    run = begin(recipe(), digits, CPU, ALONE)
    state = deepcopy(checkpoint.state_of(run))
    state["parts"][0][name] = "another"
    with pytest.warns(RunWarning, match=f"from step 1 on .*: `{name}`='.+', before 'another'"):
        checkpoint.continue_from(run, state)
    assert [getattr(part, name) == "another" for part in run.parts] == [True, False]


def test_another_number_of_processes_is_refused(digits):
    run = begin(recipe(), digits, CPU, ALONE)
    state = deepcopy(checkpoint.state_of(run))
    state["parts"][0]["processes"] = 2
    weight = run.model.head.weight.clone()
    state["model"]["head.weight"] += 1
    with pytest.raises(
        ValueError, match=r"`processes`=1 must be 2 .* by torchrun --nproc_per_node 2"
    ):
        checkpoint.continue_from(run, state)
    assert torch.equal(run.model.head.weight, weight)  # nothing of it was taken


def test_of_an_older_checkpoint_the_first_part_is_not_known(digits, tmp_path):
    with pytest.raises(Stopped):
        train(recipe(), digits, "cpu", folder=tmp_path, stop=after(4))
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    del state["parts"]
    checkpoint.save(tmp_path / "checkpoint.pt", recipe(), state)
    _, record = train(recipe(), digits, "cpu", folder=tmp_path, resume=True)
    assert [part.first_step for part in record.parts] == [5]


# The file


@pytest.fixture(scope="module")
def state(digits) -> dict:
    """The state of a run in the middle of its first epoch."""
    run = begin(recipe(), digits, CPU, ALONE)
    steps = training_steps(run, digits)
    next(steps), next(steps)
    collect(run)
    return checkpoint.state_of(run)


@pytest.fixture(scope="module")
def whole(state, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "checkpoint.pt"
    checkpoint.save(path, recipe(), state)
    return path.read_bytes()


def equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def test_a_state_comes_back_as_it_was(state, whole, tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(whole)
    assert equal(checkpoint.load(path, recipe()), state)
    assert equal(checkpoint.load(path), state)
    actual, again = checkpoint.read(path)
    assert Recipe.from_settings(actual) == recipe() and equal(again, state)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_checkpoint_in_any_protocol_is_read_without_a_warning(state, whole, tmp_path, protocol):
    path = tmp_path / "checkpoint.pt"
    torch.save(torch.load(io.BytesIO(whole)), path, pickle_protocol=protocol)
    assert equal(checkpoint.load(path, recipe()), state)


def test_a_checkpoint_of_an_older_version_is_gone_on_with(state, whole, tmp_path):
    """Its settings have other names, and some fields did not exist."""
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(whole)
    content = torch.load(path, weights_only=True)
    settings = json.loads(content["settings"])
    for name, former in (("decay_on", "decay"), ("crop_pct", "eval_crop")):
        settings[former] = settings.pop(name)
    settings["normalisation"] = settings.pop("normalization")
    for name in LATER_FIELDS:
        del settings[name]
    form = {name: state["form"][name] for name in contents.FORM}
    content["state"]["form"], state = form, state | {"form": form}
    torch.save(content | {"settings": json.dumps(settings)}, path)
    assert equal(checkpoint.load(path, recipe()), state)
    with pytest.raises(ValueError, match="another run: `decay_on`='all' here, 'matrices' there"):
        checkpoint.load(path, replace(recipe(), decay_on="all"))


CHANGES = {
    "model": "splitmixer_ii",
    "model_options": {"dim": 12, "depth": 1, "kernel_size": 3, "patch_size": 2},
    "dataset": "cifar10",
    "weights": "some.safetensors",
    "image_size": 16,
    "normalization": "half",
    "flip": "alternating",
    "jitter": 0.1,
    "mixup": 0.5,
    "label_smoothing": 0.1,
    "epochs": 3,
    "batch_size": 33,
    "accumulate": 2,
    "schedule": "onecycle",
    "max_learning_rate": 0.04,
    "weight_decay": 0.2,
    "decay_on": "all",
    "adam_epsilon": 1e-7,
    "clip_norm": None,
    "ema": None,
    "precision": "bfloat16",
    "channels_last": True,
    "compile": True,
    "evaluate_every": 2,
    "seed": 7,
    "name": "another",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_of_another_run_is_refused(whole, tmp_path, name):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(whole)
    needed = {"image_size": {"interpolation": "bilinear"}}.get(name, {})
    other = replace(recipe(), **{name: CHANGES[name]}, **needed)
    with pytest.raises(ValueError, match="is the checkpoint of another run: ") as raised:
        checkpoint.load(path, other)
    message = str(raised.value)
    assert message.startswith(f"{path} is")
    if name == "model_options":
        assert "`model_options`={'depth': 1, 'dim': 12, " in message
    else:
        assert f"`{name}`={CHANGES[name]!r} here, {getattr(recipe(), name)!r} there" in message
    assert message.endswith("Resume with its own settings, or begin in another folder")


def test_a_run_refuses_another_run_s_checkpoint_and_leaves_it(digits, whole, tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="another run: `seed`=1 here, 0 there"):
        train(recipe(seed=1), digits, "cpu", folder=tmp_path, resume=True)
    assert path.read_bytes() == whole


def test_a_checkpoint_of_other_data_is_refused(digits, whole, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(whole)
    fewer = replace(
        digits, train_images=digits.train_images[:69], train_labels=digits.train_labels[:69]
    )
    with pytest.raises(ValueError, match="is of a run on 70 training images, not 69"):
        train(recipe(), fewer, "cpu", folder=tmp_path, resume=True)


DAMAGED = "is cut short, damaged or no checkpoint of mixerlib; nothing was loaded. Delete it"


def test_a_checkpoint_cut_short_anywhere_is_refused(whole, tmp_path):
    path = tmp_path / "checkpoint.pt"
    for length in [*range(0, len(whole), len(whole) // 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=DAMAGED) as raised:
            checkpoint.load(path, recipe())
        assert str(raised.value).startswith(f"{path} is") and raised.value.__suppress_context__


def test_a_damaged_byte_is_noticed_or_does_no_harm(state, whole, tmp_path):
    """No checkpoint is loaded with other weights than were saved."""
    path, noticed, numbers = tmp_path / "checkpoint.pt", 0, random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[numbers.randrange(len(whole))] ^= numbers.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            actual = checkpoint.load(path, recipe())
        except ValueError as error:
            assert str(error).startswith(str(path))
            noticed += 1
        else:
            assert equal(actual, state)
    assert noticed > 50


class Bomb:
    """Unpickled as code, it would make a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"PK\x03\x04 no more of a zip", bytes(10_000), pickle.dumps([1, 2, 3])],
    ids=["empty", "text", "zip", "zeros", "pickle"],
)
def test_garbage_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=DAMAGED):
        checkpoint.load(path, recipe())


def test_a_checkpoint_never_runs_code(tmp_path):
    path, folder = tmp_path / "checkpoint.pt", tmp_path / "made by the checkpoint"
    for write in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        write({"schema": checkpoint.SCHEMA, "settings": "{}", "state": Bomb(folder)}, path)
        with pytest.raises(ValueError, match=DAMAGED):
            checkpoint.load(path)
        assert not folder.exists()


@pytest.mark.parametrize("content", [{"schema": "mixerlib checkpoint 99"}, {"model": {}}, [1, 2]])
def test_files_of_another_kind_are_told_apart(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"`schema`=.* must be 'mixerlib checkpoint 1'"):
        checkpoint.load(tmp_path / "checkpoint.pt")


def test_what_cannot_be_read_is_the_system_s_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt"):
        checkpoint.load(tmp_path / "nothing.pt")
    (tmp_path / "checkpoint.pt").mkdir()
    with pytest.raises(IsADirectoryError, match=r"checkpoint\.pt"):
        checkpoint.load(tmp_path / "checkpoint.pt")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_what_may_not_be_read_is_the_system_s_error(whole, tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(whole)
    path.chmod(0o000)
    with pytest.raises(PermissionError, match=r"checkpoint\.pt"):
        checkpoint.load(path)
