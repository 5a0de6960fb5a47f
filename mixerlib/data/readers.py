"""Processes that read images for this one, and live on from one pass over a data set to the next.

What they read comes back through pipes, a few images at a time. So nothing of it needs shared
memory, of which a container may have 64 MB, and no lock can be left held by a process that is
killed. A worker keeps nothing: each task names its files and how to read them.
"""

import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Protocol

import numpy as np
import torch

PIECE = 8  # images that a worker reads and sends at once
Files = list[tuple[int, bytes]]  # numbers of images in their data set, and their encoded paths


class Reading(Protocol):
    """How files are read; it goes to the workers with each task."""

    def images(self, files: Files) -> np.ndarray:
        """The images, uint8 (B, C, H, W)."""


@dataclass(eq=False)
class _Piece:
    """A few images that a worker was asked for, and the place in a batch that they go to."""

    place: np.ndarray  # uint8 (B, C, H, W)
    worker: "_Worker"
    read: bool = False
    error: Exception | None = None


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    asked: deque[_Piece] = field(default_factory=deque)  # it answers in this order

    def receive(self) -> None:
        """The next piece, from the worker into its place. ChildProcessError if it has ended."""
        try:
            while not self.connection.poll(1):
                if not self.process.is_alive():
                    raise EOFError
            piece = self.asked.popleft()
            piece.error = self.connection.recv()
            if piece.error is None:
                self.connection.recv_bytes_into(piece.place.reshape(-1).data)
            piece.read = True
        except (EOFError, OSError):
            raise ChildProcessError(self._how_it_ended()) from None

    def ask(self, reading: Reading, files: Files, place: np.ndarray) -> _Piece:
        """Ask for the images of some files, which go to `place`."""
        try:
            self.connection.send((reading, files))
        except OSError:
            raise ChildProcessError(self._how_it_ended()) from None
        self.asked.append(_Piece(place, self))
        return self.asked[-1]

    def _how_it_ended(self) -> str:
        self.process.join(5)
        status = self.process.exitcode
        how = f"ended with exit status {status}"
        if status is not None and status < 0:
            name = signal.Signals(-status).name
            how = f"was ended by {name}, as the system does where memory is short"
        return (
            f"a process that reads images {how}; try fewer of them (`workers`, --workers). "
            f"A run that wrote a checkpoint goes on from there with --resume"
        )


class Readers:
    """Up to `count` processes that read images. They start when they are first needed.

    They end with this object, with the interpreter, or, when this process is killed, within about
    a second. Ctrl-C and SIGTERM do not reach them: the training process saves its work first, and
    could not end its step without them.
    """

    def __init__(self, count: int):
        self.count = count
        self._begin()

    def _begin(self) -> None:
        self._workers: list[_Worker] = []
        self._turn = 0
        self._process = os.getpid()
        self._lock = threading.Lock()  # passes may run in several threads
        Finalize(self, _end, (self._workers,), exitpriority=10)  # before Python waits for them

    def __reduce__(self) -> tuple[type["Readers"], tuple[int]]:
        """In another process, and in a copy, they are others, which have not begun."""
        return Readers, (self.count,)

    def batches(
        self, reading: Reading, steps: Iterable[Files], shape: tuple[int, ...], pinned: bool
    ) -> Iterator[torch.Tensor]:
        """The images of each step, uint8 (B, *shape), in memory that is pinned if asked for.

        While the caller works with some, the next are read: two steps ahead, or two pieces a
        worker. Raises what reading a file raised, when its step is due, and `ChildProcessError`
        where a worker has ended or cannot be started.
        """
        if self._process != os.getpid():  # this one was forked, and the workers are its parent's
            self._begin()
        coming: deque[tuple[torch.Tensor, list[_Piece]]] = deque()
        for files in steps:
            size = (len(files), *shape)
            batch = torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=pinned)
            coming.append((batch, self._ask(reading, files, batch.numpy())))
            if sum(len(images) for images, _ in coming) >= 3 * max(len(batch), self.count * PIECE):
                yield self._whole(*coming.popleft())
        while coming:
            yield self._whole(*coming.popleft())

    def _whole(self, batch: torch.Tensor, pieces: list[_Piece]) -> torch.Tensor:
        for piece in pieces:
            self._wait_for(piece)
        return batch

    def close(self) -> None:
        """End the processes. Nothing is lost, as they keep nothing; the next pass starts others."""
        _end(self._workers)

    def _ask(self, reading: Reading, files: Files, batch: np.ndarray) -> list[_Piece]:
        """The pieces of a batch, each asked of the next worker in turn."""
        with self._lock:
            self._start(-(-len(files) // PIECE))
            pieces = []
            for start in range(0, len(files), PIECE):
                part = slice(start, start + PIECE)
                worker = self._workers[self._turn % len(self._workers)]
                self._turn += 1
                with _closing_if_it_fails(self):
                    pieces.append(worker.ask(reading, files[part], batch[part]))
            return pieces

    def _wait_for(self, piece: _Piece) -> None:
        """Receive what comes before a piece, of this pass or another, and the piece itself."""
        with self._lock, _closing_if_it_fails(self):
            while not piece.read:
                piece.worker.receive()
        if piece.error is not None:
            raise piece.error

    def _start(self, more: int) -> None:
        """Start as many workers more as may be of use, unless there are `count`."""
        busy = sum(len(worker.asked) for worker in self._workers)
        if more and multiprocessing.current_process().daemon:
            raise ValueError(
                f"`workers`={self.count} must be 0 in a daemonic process, such as one of a "
                f"multiprocessing.Pool: it may start no other"
            )
        context = multiprocessing.get_context()
        while len(self._workers) < min(self.count, busy + more):
            try:
                ours, theirs = context.Pipe()
                with theirs:
                    process = context.Process(target=_serve, args=(theirs,), daemon=True)
                    process.start()
                self._workers.append(_Worker(process, ours))
            except OSError as error:
                started = len(self._workers)
                self.close()
                raise ChildProcessError(
                    f"of {self.count} processes that read images {started} could be started "
                    f"({error.strerror or error}); try fewer (`workers`, --workers; 0: none)"
                ) from None


class _closing_if_it_fails:
    """Closes the readers on any exception, as it may leave half an answer in a pipe."""

    def __init__(self, readers: Readers):
        self.readers = readers

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self.readers.close()


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.process.join()
        worker.connection.close()
    workers.clear()


# What follows runs in a worker


def _serve(connection: Connection) -> None:
    """Answer tasks until the process that asks is gone or kills this one."""
    _ignore_signals()
    threading.Thread(target=_end_with_the_parent, args=(os.getppid(),), daemon=True).start()
    replies: queue.SimpleQueue[Exception | np.ndarray] = queue.SimpleQueue()
    threading.Thread(target=_send, args=(connection, replies), daemon=True).start()
    while True:
        try:
            reading, files = connection.recv()
        except (EOFError, OSError):
            return
        replies.put(_read(reading, files))


def _read(reading: Reading, files: Files) -> Exception | np.ndarray:
    try:
        return np.ascontiguousarray(reading.images(files))
    except OSError as error:
        return error
    except Exception as error:  # a bug: where it lies is known here only
        return RuntimeError(f"{error!r} in a worker\n{traceback.format_exc()}")


def _send(connection: Connection, replies: "queue.SimpleQueue[Exception | np.ndarray]") -> None:
    """Send replies while the next images are read. A pipe holds one image or less."""
    while True:
        reply = replies.get()
        try:
            if isinstance(reply, Exception):
                connection.send(reply)
            else:
                connection.send(None)
                connection.send_bytes(reply.reshape(-1).data)
        except OSError:  # nobody listens any more
            return


def _ignore_signals() -> None:
    """What stops a job, or Ctrl-C in a terminal, may be sent to all of its processes at once."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)


def _end_with_the_parent(parent: int) -> None:
    """A pipe tells of a parent's death only when no other process has inherited its end."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
