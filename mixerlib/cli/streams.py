"""The streams that a command prints to: open, in UTF-8, and with a reader that may go away."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def steady_streams() -> Iterator[None]:
    """While this lasts, printing stops no work: what a closed stream or a reader that has gone,
    such as `head`, does not take is lost. A full disk is an `OSError` still.

    What is printed is UTF-8, whatever the system would write into a pipe. Streams that somebody
    else has put in place, such as a notebook or a test, stay; of these only the encoding is set.
    """
    if os.name == "posix":
        _open_descriptors()
    before = sys.stdout, sys.stderr
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 — it stays
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stdout = _steady(sys.stdout, sys.__stdout__)
    sys.stderr = _steady(sys.stderr, sys.__stderr__)
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        finally:
            sys.stdout, sys.stderr = before


def _open_descriptors() -> None:
    """Give the descriptors 0, 1 and 2 a file, if they have none: else the next file that is opened
    gets the number, such as a checkpoint, and libraries would print into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _steady(stream: TextIO, original: TextIO | None) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if stream is original and os.name == "posix":
        stream.flush()
        raw = _Descriptor(stream.fileno())
        at_once = raw.isatty() or stream is sys.__stderr__
        buffer = io.BufferedWriter(raw)  # type: ignore[type-var]
        stream = io.TextIOWrapper(buffer, line_buffering=at_once)
    # a name that is not UTF-8 is printed with backslashes, which JSON reads, too
    stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    return stream


class _Descriptor(io.RawIOBase):
    """A descriptor to write to; when that has failed once, all that follows is lost in silence."""

    def __init__(self, number: int):
        self.number = number
        self.failed = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.number

    def isatty(self) -> bool:
        return os.isatty(self.number)

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        if not self.failed:
            try:
                return os.write(self.number, data)
            except BlockingIOError:
                raise
            except OSError as error:
                self.failed = True
                if not isinstance(error, BrokenPipeError):
                    name = {1: "standard output", 2: "standard error"}.get(self.number)
                    raise OSError(error.errno, error.strerror, name) from None
        return data.nbytes
