"""The command as tests give it: in the test's own process, or in a process beside it.

status, out, err = run(capsys, "train", "digits", "--epochs", 1)
with Command("train", "digits", "--out", tmp_path / "run", folder=tmp_path) as command:
    command.wait_for("writing to")
    command.send(signal.SIGTERM)

A process takes seconds to import torch. So a server imports it once, and each command is a fork of
that server, which then does what `python -m mixerlib` does: a process with an id, an exit status,
files and signals of its own.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from mixerlib.cli import main

SMALL = ("--dim", 8, "--depth", 1, "--kernel-size", 3, "--patch-size", 2)  # a step takes 2 ms
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}  # of processes: as quick, and never in the way
PATIENCE = 120  # seconds after which a process is taken to hang, on a busy machine too

os.environ["OMP_NUM_THREADS"] = "1"  # the server inherits it
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["mixerlib.training.loop", "sklearn.datasets", "torch._dynamo"])


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command, in this process."""
    capsys.readouterr()
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as leave:  # argparse's way to say that it has said all
        status = leave.code
    return status, *capsys.readouterr()


def refusal(capsys, *arguments: object) -> str:
    """The one line that a command must say to a user's mistake, in this process."""
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and is_one_line(err), (status, out, err)
    return err


def is_one_line(err: str) -> bool:
    return err.startswith("mixerlib: ") and err.endswith("\n") and err.count("\n") == 1


class Command:
    """A command in a process of its own, in `folder`, where its stdout and stderr are files too."""

    def __init__(
        self, *arguments: object, folder: Path, file_bytes: int | None = None, log: str = ""
    ):
        """`file_bytes` is the size that no file of the process may exceed, as on a full disk; `log`
        tells the files of stdout and stderr of several commands in one folder from one another.
        """
        self.out, self.err = folder / f"stdout{log}.txt", folder / f"stderr{log}.txt"
        for file in (self.out, self.err):
            file.write_text("")  # not what an earlier command has said
        words = [str(argument) for argument in arguments]
        given = (words, folder, self.out, self.err, file_bytes)
        self._process = _forks.Process(target=_as_in_a_shell, args=given)

    def __enter__(self) -> "Command":
        self._process.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()  # nothing happens where it has ended already
        self._process.join()

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it may just have ended
            os.kill(self._process.pid, number)

    def is_running(self) -> bool:
        return self._process.is_alive()

    def wait_for(self, text: str) -> None:
        """Return when this has been printed on stdout."""
        until = time.monotonic() + PATIENCE
        while text not in self.printed()[0]:
            assert self.is_running() and time.monotonic() < until, self.printed()
            time.sleep(0.002)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end: exit status (of one killed by signal n, -n), stdout, stderr."""
        self._process.join(PATIENCE)
        assert not self.is_running(), self.printed()
        return self._process.exitcode, *self.printed()

    def printed(self) -> tuple[str, str]:
        return self.out.read_text(encoding="utf-8"), self.err.read_text(encoding="utf-8")


def _as_in_a_shell(
    words: list[str], folder: Path, out: Path, err: Path, file_bytes: int | None
) -> None:
    """In the new process: what `python -m mixerlib …` does, once it has been started."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup, say, has the tests ignore
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    # the bar's own lock is one of the system's, and would outlive a process that is killed
    tqdm.set_lock(threading.RLock())
    os.chdir(folder)
    if file_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    sys.argv = ["mixerlib", *words]
    runpy.run_module("mixerlib", run_name="__main__", alter_sys=True)
