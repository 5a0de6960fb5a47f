"""The metrics of a run: what is written, what a cut-off run leaves, and TensorBoard's copy."""

import builtins
import errno
import json
import os
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from random import Random

import pytest

from mixerlib.records import Epoch
from mixerlib.training.loop import Stopped, train
from mixerlib.training.metrics import MetricsLog, read_metrics
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import RunWarning


def epoch(number: int, tested: bool = True) -> Epoch:
    test = (0.25 / number, 0.75) if tested else (None, None)
    return Epoch(number, 0.01 * number, 1.5 / number, 0.5, *test, 2.0)


def fill(folder: Path, epochs: int, of: int = 0, tensorboard: bool = False) -> None:
    """A log that goes on after epoch `of` with two steps an epoch."""
    log = MetricsLog(folder, of, tensorboard)
    for number in range(of + 1, epochs + 1):
        losses = [float(2 * number - 1), float(2 * number)]
        log.add(epoch(number, tested=number % 2 == 0), losses, [loss / 1000 for loss in losses])
    log.close()


def expected_steps(epochs: int) -> list[dict]:
    """The step's number is its loss, and a thousand times its learning rate."""
    return [
        {"step": n, "epoch": (n + 1) // 2, "learning_rate": n / 1000, "loss": float(n)}
        for n in range(1, 2 * epochs + 1)
    ]


def test_a_line_for_every_step_and_every_epoch(tmp_path):
    fill(tmp_path, 2)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [("step" in row, row["epoch"]) for row in rows] == [
        *((True, 1), (True, 1), (False, 1)),
        *((True, 2), (True, 2), (False, 2)),
    ]
    steps, epochs = read_metrics(tmp_path)
    assert steps == expected_steps(2)
    assert epochs == [epoch(1, tested=False), epoch(2)]
    assert rows[2]["test_loss"] is None


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_run_that_is_continued_has_no_row_twice(tmp_path, done):
    fill(tmp_path, 3)
    fill(tmp_path, 4, of=done)
    steps, epochs = read_metrics(tmp_path)
    assert steps == expected_steps(4)
    assert [row.epoch for row in epochs] == [1, 2, 3, 4]


def test_a_line_cut_short_anywhere_is_left_out(tmp_path):
    """A process killed while it wrote leaves the first part of what it was writing."""
    fill(tmp_path, 3)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    kept = whole.index(b'{"step": 5')  # two epochs are in the checkpoint, the third is not
    for length in range(kept, len(whole), 9):
        path.write_bytes(whole[:length])
        fill(tmp_path, 3, of=2)
        assert path.read_bytes() == whole


def test_rows_of_an_earlier_run_are_taken_away(tmp_path):
    fill(tmp_path, 3)
    MetricsLog(tmp_path)
    assert read_metrics(tmp_path) == ([], [])


def test_nothing_is_written_before_the_first_epoch_is_done(tmp_path):
    MetricsLog(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path)
    (tmp_path / "metrics.jsonl").mkdir()  # cannot be written to, whoever asks
    with pytest.raises(OSError, match="could not be written") as raised:
        log.add(epoch(1), [1.0], [0.1])
    assert raised.value.filename == str(tmp_path / "metrics.jsonl")
    (tmp_path / "metrics.jsonl").rmdir()
    fill(tmp_path, 2)

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        MetricsLog(tmp_path, 1)
    assert len(read_metrics(tmp_path)[1]) == 2


# Whatever became of it


@pytest.fixture
def logged(tmp_path) -> bytes:
    """A log of three epochs, of which two are in the checkpoint."""
    fill(tmp_path, 3)
    return (tmp_path / "metrics.jsonl").read_bytes()


def go_on(folder: Path) -> None:
    """A log that goes on after two of three epochs, as a run's does."""
    log = MetricsLog(folder, 2, curve=[epoch(1, tested=False), epoch(2)], steps=2)
    log.add(epoch(3, tested=False), [5.0, 6.0], [0.005, 0.006])
    log.close()


def test_a_whole_log_goes_on_without_a_word(logged, tmp_path):
    go_on(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == logged
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_any_bit_may_flip(logged, tmp_path):
    """What was kept can be read, and no row comes twice; with a warning wherever a row is lost."""
    path, rng = tmp_path / "metrics.jsonl", Random(0)
    for _ in range(300):
        content = bytearray(logged)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            go_on(tmp_path)
        steps, epochs = read_metrics(tmp_path)
        assert epochs == [epoch(1, tested=False), epoch(2), epoch(3, tested=False)]
        numbers = [row["step"] for row in steps]
        assert numbers == sorted(set(numbers)) and numbers[-2:] == [5, 6]
        assert len(numbers) >= 4
        aside = tmp_path / "metrics.jsonl.damaged"
        assert len(caught) == aside.exists() and (len(numbers) == 6 or caught)
        if caught:
            assert aside.read_bytes() == bytes(content)
            aside.unlink()


@pytest.mark.parametrize(
    "content",
    [
        *(b"5\n", b"{}\n", b"null\n", b"[]", b"\xff\xfe\x00", b"\n\n", b"{" * 100_000 + b"\n"),
        b'{"step": 1e999, "epoch": 1, "learning_rate": 0.1, "loss": 1.0}\n',
        b'{"step": 1, "epoch": 1, "learning_rate": NaN, "loss": 1.0}\n',
        b'{"step": ' + b"9" * 5000 + b', "epoch": 1, "learning_rate": 0.1, "loss": 1.0}\n',
        b'{"step": true, "epoch": 1, "learning_rate": 0.1, "loss": 1.0}\n',
        b'{"step": [1], "epoch": 1, "learning_rate": 0.1, "loss": 1.0}\n',
        b"somebody's notes\n",
        b"",
    ],
    ids=lambda content: content[:20].decode("latin-1"),
)
def test_what_is_no_log_is_put_aside(tmp_path, content):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    with pytest.warns(RunWarning, match=r"was damaged .* kept as metrics.jsonl.damaged, and"):
        go_on(tmp_path)
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == content
    steps, epochs = read_metrics(tmp_path)
    assert [row["step"] for row in steps] == [5, 6]  # they count on
    assert [row.epoch for row in epochs] == [1, 2, 3]
    path.write_bytes(b"5\n")  # and once more: what was put aside stays
    with pytest.warns(RunWarning, match=r"kept as metrics.jsonl.damaged-2"):
        go_on(tmp_path)


@pytest.mark.parametrize("kind", ["gone", "folder", "pipe", "link"])
def test_what_is_no_file_is_put_aside(tmp_path, kind):
    path = tmp_path / "metrics.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "nowhere")
    message = "was gone: its epochs" if kind == "gone" else "was damaged .it is no file"
    with pytest.warns(RunWarning, match=message):
        go_on(tmp_path)
    assert [row.epoch for row in read_metrics(tmp_path)[1]] == [1, 2, 3]
    assert not (tmp_path / "nowhere").exists()


def test_a_new_run_s_log_puts_aside_what_is_not_a_run_s(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("somebody's notes\n")
    with pytest.warns(RunWarning, match="lines that are none of a log: 1"):
        fill(tmp_path, 1)
    assert len(read_metrics(tmp_path)[0]) == 2
    assert (tmp_path / "metrics.jsonl.damaged").read_text() == "somebody's notes\n"


def test_a_log_that_cannot_be_read_is_told_with_its_line(logged, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(logged + b"5\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 10 is not one of a run's metrics"):
        read_metrics(tmp_path)


# Of a real run


TINY = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2}
RECIPE = Recipe("digits", "convmixer", TINY, epochs=3, batch_size=32, evaluate_every=2)


def test_a_run_s_metrics_are_its_record_s_curve(digits, tmp_path):
    _, record = train(RECIPE, digits, "cpu", folder=tmp_path)
    steps, epochs = read_metrics(tmp_path)
    assert epochs == record.curve
    assert [row["step"] for row in steps] == list(range(1, 10))
    assert [row["epoch"] for row in steps] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [row["learning_rate"] for row in steps[2::3]] == [r.learning_rate for r in record.curve]
    for row in record.curve:  # an epoch's loss is its steps', by their numbers of images
        losses = [step["loss"] for step in steps if step["epoch"] == row.epoch]
        mean = sum(n * loss for n, loss in zip((32, 32, 6), losses, strict=True)) / 70
        assert row.train_loss == pytest.approx(mean, rel=1e-12)


# TensorBoard


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would draw: name → (step, value), as often as it was written."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0}).Reload()
    names = board.Tags()["scalars"]
    return {name: [(e.step, e.value) for e in board.Scalars(name)] for name in names}


def test_tensorboard_gets_the_same_numbers(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    fill(tmp_path, 2, tensorboard=True)
    actual = events(tmp_path)
    assert actual["step/loss"] == [(n, float(n)) for n in range(1, 5)]
    assert actual["step/learning_rate"] == [(n, pytest.approx(n / 1000)) for n in range(1, 5)]
    assert actual["epoch/train_loss"] == [(1, 1.5), (2, 0.75)]
    assert actual["epoch/test_loss"] == [(2, 0.125)]  # after the first epoch there was no test
    assert actual["epoch/training_seconds"] == [(1, 2.0), (2, 2.0)]
    of_epochs = {f"epoch/{name}" for name in asdict(epoch(1)) if name != "epoch"}
    assert set(actual) == {"step/loss", "step/learning_rate"} | of_epochs


def test_tensorboard_has_an_epoch_s_numbers_as_soon_as_it_is_done(tmp_path, monkeypatch):
    """A run may be killed at any time, and what its checkpoint has done is not written again."""
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    from tensorboard.summary.writer.record_writer import RecordWriter

    write = RecordWriter.write  # a thread of TensorBoard's does it, here on a slow disk
    monkeypatch.setattr(RecordWriter, "write", lambda *a: time.sleep(0.02) or write(*a))
    log = MetricsLog(tmp_path, tensorboard=True)
    log.add(epoch(1), [1.0, 2.0], [0.1, 0.2])
    assert events(tmp_path)["step/loss"] == [(1, 1.0), (2, 2.0)]
    log.close()


def test_tensorboard_is_given_what_it_has_not(tmp_path):
    """When it is first asked for in the midst of a run, or a file is in the place of its folder."""
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    fill(tmp_path, 1)
    (tmp_path / "tensorboard").write_text("somebody's notes")
    with pytest.warns(RunWarning, match="was no folder: it is kept as tensorboard.damaged"):
        fill(tmp_path, 2, of=1, tensorboard=True)
    assert events(tmp_path)["step/loss"] == [(n, float(n)) for n in range(1, 5)]
    assert [step for step, _ in events(tmp_path)["epoch/train_loss"]] == [1, 2]
    assert (tmp_path / "tensorboard.damaged").read_text() == "somebody's notes"


def test_tensorboard_forgets_the_steps_that_are_done_again(digits, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    fill(tmp_path, 3, tensorboard=True)
    fill(tmp_path, 4, of=1, tensorboard=True)
    assert events(tmp_path)["step/loss"] == [(n, float(n)) for n in range(1, 9)]


def test_a_run_writes_for_tensorboard_when_asked(digits, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    calls = iter([None, None, None, None, "enough"])
    with pytest.raises(Stopped):
        train(RECIPE, digits, "cpu", folder=tmp_path, tensorboard=True, stop=lambda: next(calls))
    _, record = train(RECIPE, digits, "cpu", folder=tmp_path, resume=True, tensorboard=True)
    actual = events(tmp_path)
    losses = [(row.epoch, pytest.approx(row.train_loss)) for row in record.curve]
    assert actual["epoch/train_loss"] == losses
    assert [step for step, _ in actual["step/loss"]] == list(range(1, 10))


def test_without_tensorboard_the_error_says_what_to_install(digits, tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name: str, *arguments):
        if name.startswith(("tensorboard", "torch.utils.tensorboard")):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *arguments)

    for name in [m for m in sys.modules if "tensorboard" in m]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", missing)
    message = "`tensorboard`=True needs the package tensorboard: pip install tensorboard"
    with pytest.raises(ValueError, match=message):
        train(RECIPE, digits, "cpu", folder=tmp_path, tensorboard=True)
