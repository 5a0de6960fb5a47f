"""Files that are whole or not there: written beside their place, forced to disk, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["append", "one_line", "write_atomic"]


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file that appears at `path` complete or not at all; what was there stays till then.

    What a killed process may have left half-written is written over by the next one. Raises
    `OSError` with the file's name and the reason, such as a full disk or a folder that forbids it.
    """
    unfinished = path.with_name(f".{path.name}.part")
    with _name_the_file(path):
        try:
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, of which a killed process may leave a part. Raises as above."""
    with _name_the_file(path), path.open("ab") as file:
        file.write(content)


@contextmanager
def _name_the_file(path: Path) -> Iterator[None]:
    """Re-raise any `OSError` with `path` as its file name.

    The system names no file when a disk is full, and the temporary file when a folder cannot be
    written.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"could not be written ({error.strerror})", str(path)) from None


def one_line(error: Exception) -> str:
    """An error's message; the system's own errors as "file: reason"."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
