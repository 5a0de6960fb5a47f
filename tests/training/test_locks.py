"""Folders of runs: claimed while a run lives, given up however it ends, no other's overwritten."""

import errno
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from commands import SMALL, Command, is_one_line, refusal
from helpers import claimed_elsewhere, few_digits

import mixerlib.training.claims
from mixerlib.training import FolderInUse, Recipe, claimed, load_recipe, train, train_in_folder
from mixerlib.training.claims import check_claim
from mixerlib.training.folders import new_folder

fcntl = pytest.importorskip("fcntl", reason="Windows has no locks of this kind")
RECIPE = load_recipe("digits", {"model_options": {"dim": 8, "depth": 1}, "epochs": 1})
ENDLESS = ("train", "digits", *SMALL, "--epochs", 100_000)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_locked(folder: Path) -> bool:
    with (folder / ".lock").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_claimed_folder_is_refused(tmp_path):
    with claimed_elsewhere(tmp_path):
        for _ in range(2):
            with pytest.raises(FolderInUse, match=f"another process is training in {tmp_path}"):
                train_in_folder(RECIPE, tmp_path)
        with pytest.raises(FolderInUse):
            train(RECIPE, few_digits(), folder=tmp_path)
        assert names(tmp_path) == [".lock"]
    train_in_folder(RECIPE, tmp_path)  # the lock of one that was killed is no lock
    assert names(tmp_path) == ["metrics.jsonl", "model.safetensors", "record.json"]


def test_a_claim_is_held_once_and_given_up(tmp_path):
    with claimed(tmp_path):
        with claimed(tmp_path):
            pass
        assert names(tmp_path) == [".lock"]
        assert is_locked(tmp_path)
    assert names(tmp_path) == []
    with pytest.raises(KeyError), claimed(tmp_path):
        raise KeyError
    assert names(tmp_path) == []


def test_a_lock_that_is_taken_away_while_it_is_waited_for_is_not_held(tmp_path, monkeypatch):
    """Else two processes could hold two files of one name."""
    flock, removed = fcntl.flock, []

    def late(number: int, how: int) -> None:
        if not removed:
            removed.append((tmp_path / ".lock").unlink())
        flock(number, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with claimed(tmp_path):
        monkeypatch.undo()
        assert (tmp_path / ".lock").exists()
        check_claim(tmp_path)


def wait_long(held: Path) -> None:
    held.touch()
    time.sleep(60)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems start processes anew")
def test_a_process_that_reads_images_does_not_hold_the_folder(tmp_path):
    child = multiprocessing.get_context("fork").Process(target=wait_long, args=[tmp_path / "up"])
    with claimed(tmp_path):
        child.start()
        while not (tmp_path / "up").exists():
            time.sleep(0.01)
        assert is_locked(tmp_path)
    try:
        with claimed(tmp_path):
            assert child.is_alive()
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, None])
def test_where_there_are_no_locks_runs_go_on_without(tmp_path, monkeypatch, number):
    def refuse(*arguments: int) -> None:
        raise OSError(number, os.strerror(number))

    if number is None:
        monkeypatch.setattr(mixerlib.training.claims, "fcntl", None)
    else:
        monkeypatch.setattr(fcntl, "flock", refuse)
    train_in_folder(RECIPE, tmp_path)
    assert names(tmp_path) == ["metrics.jsonl", "model.safetensors", "record.json"]


def test_a_lock_is_never_a_link(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".lock").symlink_to("precious")
    with pytest.raises(OSError, match="symbolic links") as raised, claimed(tmp_path):
        pass
    assert raised.value.filename == str(tmp_path)


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Now:
        @classmethod
        def now(cls, zone: object) -> "Now":
            return cls()

        def strftime(self, form: str) -> str:
            return "20261128-120000"

    monkeypatch.setattr("mixerlib.training.folders.datetime", Now)
    recipe = Recipe("digits", "convmixer", seed=3, name="digits")
    made = [new_folder(recipe).name for _ in range(3)]
    first = "20261128-120000-seed3"
    assert made == [first, f"{first}-2", f"{first}-3"]
    assert names(tmp_path / "runs" / "digits") == made


# Of real processes


def test_a_second_run_in_a_folder_is_told_until_the_first_is_killed(capsys, tmp_path):
    with Command(*ENDLESS, "--out", "run", "--checkpoint-every", 1, folder=tmp_path) as first:
        first.wait_for("writing to run")
        for more in ((), ("--resume",)):
            err = refusal(capsys, *ENDLESS, "--out", tmp_path / "run", *more)
            assert err == f"mixerlib: another process is training in {tmp_path / 'run'}\n"
        first.send(signal.SIGKILL)
        assert first.end()[0] == -signal.SIGKILL
    (tmp_path / "run" / ".checkpoint.pt.0123456789abcdef.part").touch()  # as it may have left
    arguments = ("train", "digits", *SMALL, "--epochs", 1, "--quiet")
    (tmp_path / "run" / "checkpoint.pt").unlink(missing_ok=True)  # it would take too long
    with Command(*arguments, "--out", "run", "--resume", folder=tmp_path) as second:
        assert second.end()[0] == 0
    assert names(tmp_path / "run") == ["metrics.jsonl", "model.safetensors", "record.json"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_removed_or_replaced_ends_the_run_and_nothing_is_overwritten(tmp_path, replaced):
    with Command(*ENDLESS, "--out", "run", folder=tmp_path) as command:
        command.wait_for("writing to run")
        (tmp_path / "run").rename(tmp_path / "moved")
        if replaced:
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "checkpoint.pt").write_text("somebody's")
        status, _, err = command.end()
    assert status == 2 and is_one_line(err)
    assert "run: removed or replaced while a run was writing to it; nothing more" in err
    if replaced:
        assert names(tmp_path / "run") == ["checkpoint.pt"]
        assert (tmp_path / "run" / "checkpoint.pt").read_text() == "somebody's"
    else:
        assert not (tmp_path / "run").exists()
