"""What surrounds a run: where it writes, how often, what may stop it, and who computes with it.

>>> from mixerlib.training import Session, stop_on_signals
>>> with stop_on_signals(minutes=0) as stop:  # Ctrl-C, SIGTERM, or the time is up
...     Session(stop=stop).stop()  # asked between two steps; then a checkpoint is written
'stopped at the deadline'
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from mixerlib import checks
from mixerlib.training.distributed import ALONE, Processes
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import Run
from mixerlib.training.schedule import learning_rate

_ON_CPU = "can't allocate memory"  # what a CPU's full memory is called
PATIENCE = 5  # seconds that Python's own end has after a second Ctrl-C
_USUAL = (signal.SIG_DFL, signal.default_int_handler)  # not what a program has put in their place
_pipes: set[int] = set()
_masks: list[set[int]] = []  # of signals, while a process forks


class Stopped(Exception):
    """A run was asked to stop, and did so between two steps; the message says where."""


class Diverged(ArithmeticError):
    """The loss of a run is not a finite number any more; the message says since when."""


def never() -> None:
    """No reason to stop."""


@dataclass(frozen=True)
class Session:
    """The surroundings of one run.

    Args:
        folder: where checkpoints and metrics are written; it must exist. None: nowhere.
        resume: whether to go on from the folder's checkpoint, if there is one.
        checkpoint_every: steps after which a checkpoint is written, besides every epoch.
        tensorboard: whether metrics are written for TensorBoard, too.
        progress: whether a bar is drawn on stderr where that is a terminal.
        stop: asked between two steps; a reason, in words, ends the run.
        processes: those that share the run.
    """

    folder: Path | None = None
    resume: bool = False
    checkpoint_every: int | None = None
    tensorboard: bool = False
    progress: bool = True
    stop: Callable[[], str | None] = never
    processes: Processes = ALONE

    def __post_init__(self) -> None:
        if self.folder is not None:
            object.__setattr__(self, "folder", Path(self.folder))
        if self.checkpoint_every is not None:
            checks.positive_int("checkpoint_every", self.checkpoint_every)

    @property
    def checkpoint(self) -> Path | None:
        """The file of the last checkpoint, which need not be there."""
        return self.folder / "checkpoint.pt" if self.folder else None

    @property
    def writes(self) -> bool:
        """Whether this process writes and draws, as the first one does."""
        return self.processes.is_first


class StopRequest:
    """Asked between two steps whether to stop: because of a signal, or because the time is up."""

    def __init__(self, minutes: float | None = None):
        self.number = 0  # of the signal that came
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes

    def __call__(self) -> str | None:
        if self.number:
            name = "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name
            return f"stopped by {name}"
        if self.deadline is not None and time.monotonic() > self.deadline:
            return "stopped at the deadline"
        return None


@contextmanager
def _second_ends(signals: list[signal.Signals]) -> Iterator[None]:
    """While this lasts, the second of these signals ends the process, whatever it is doing.

    Python heeds a signal between two of its own steps, so never while a disk stalls or a call into
    a library does not return. But it writes the signal's number to a pipe at once, and a thread
    that reads it there can end the process. After Ctrl-C it lets Python's own end come first.
    """
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    ended = threading.Event()

    def watch() -> None:
        seen = 0
        while byte := os.read(reading, 1):
            seen += byte[0] in signals
            if seen > 1 and not ended.wait(PATIENCE if byte[0] == signal.SIGINT else 0):
                os._exit(128 + byte[0])
        os.close(reading)

    threading.Thread(target=watch, daemon=True).start()
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _pipes.add(writing)
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        _pipes.discard(writing)
        os.close(writing)  # and the thread's reading ends


# The signals that a forked process is sent are not its parent's: until it has forgotten the pipe,
# it is sent none.


def _before_fork() -> None:
    if _pipes:
        _masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM)))


def _after_fork_in_child() -> None:
    if _masks:
        signal.set_wakeup_fd(-1)
        _after_fork()


def _after_fork() -> None:
    if _masks:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )


@contextmanager
def stop_on_signals(minutes: float | None = None) -> Iterator[StopRequest]:
    """While this lasts, the first Ctrl-C or SIGTERM only asks to stop; the second acts at once,
    even while a disk stalls or a process that reads images hangs.

    So does the SIGHUP of a terminal that closes, unless it is ignored, as under nohup. In a thread,
    where Python lets nobody answer signals, only the time that is up asks to stop.
    """
    request = StopRequest(minutes)
    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)  # not on Windows
    if threading.current_thread() is not threading.main_thread():
        signals = []
    before = {number: signal.getsignal(number) for number in signals}
    usual = [n for n, handler in before.items() if handler in _USUAL]

    def note(number: int, frame: FrameType | None) -> None:
        request.number = number
        for other, handler in before.items():
            if os.getpid() != 1 or handler != signal.SIG_DFL:  # which process 1 would not heed
                signal.signal(other, handler)

    for number in signals:
        signal.signal(number, note)
    try:
        with _second_ends(usual):
            yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def errors_explained(recipe: Recipe) -> Iterator[None]:
    """Turn full memory, or a compiler that fails, into a `ValueError` that says what to do.

    Where there is no C++ compiler, torch says so in a hundred lines.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or _ON_CPU in str(error):
            full = "CUDA out of memory" if "CUDA" in str(error) else "out of memory"
            raise ValueError(
                f"{full}; work through each batch in parts, with `accumulate` above "
                f"{recipe.accumulate}, or try a `batch_size` below {recipe.batch_size}"
            ) from None
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = next(line for line in str(error).splitlines() if line.strip())
        message = f"`compile`=True cannot be used here: {reason}; set it to false"
        raise ValueError(message) from error


def diverged(run: Run, where: str, steps_done: int) -> Diverged:
    """The error for what is no longer finite."""
    recipe = run.recipe
    rate = learning_rate(recipe, steps_done / run.all_steps)
    clip = "some clip_norm" if recipe.clip_norm is None else "a smaller clip_norm"
    return Diverged(
        f"{where}, at learning rate {rate:.3g}; "
        f"try a smaller max_learning_rate (now {recipe.max_learning_rate:g}), {clip} "
        f"(now {recipe.clip_norm}) or a larger batch_size (now {recipe.batch_size})"
    )
