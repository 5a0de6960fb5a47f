"""A run's folder is claimed: while a process trains in it, no other process does.

>>> from pathlib import Path
>>> from mixerlib.training import claimed
>>> Path("runs/one").mkdir(parents=True)
>>> with claimed(Path("runs/one")):  # in another process this would raise FolderInUse now
...     print(sorted(path.name for path in Path("runs/one").iterdir()))
['.lock']

The claim is the system's own lock (flock) on that file, and ends with the process, however it ends.
Windows and some network file systems have no such lock: there two runs in one folder are not kept
from each other, and it is for you to give each its own.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_claims: dict[Path, int] = {}  # of this process: each folder, and the descriptor of its lock


class FolderInUse(ValueError):
    """Another process is training in the folder that was asked for."""


@contextmanager
def claimed(folder: str | Path) -> Iterator[None]:
    """Hold a folder, which must exist, for this process; nothing is done where it holds it already.

    Raises `FolderInUse` when another process holds it, and `OSError` naming the folder when it
    cannot be written to.
    """
    folder = Path(folder)
    key = folder.absolute()
    if key in _claims:
        yield
        return
    _claims[key] = _lock(folder)
    try:
        yield
    finally:
        number = _claims.pop(key, None)
        if number is not None:
            with suppress(OSError):
                if _is_at(number, folder / LOCK):  # removed while it is locked: see `_lock`
                    (folder / LOCK).unlink()
            os.close(number)


def still_claimed(folder: Path) -> bool:
    """Whether a folder that this process has claimed is still the one at its path."""
    number = _claims.get(folder.absolute())
    return number is None or _is_at(number, folder / LOCK)


def check_claim(folder: Path) -> None:
    """Raises `OSError` when a folder that this process has claimed is not the one at its path any
    more: then what lies there is somebody else's, and nothing is to be written to it.
    """
    if not still_claimed(folder):
        reason = "removed or replaced while a run was writing to it; nothing more is written"
        raise OSError(errno.ENOENT, reason, str(folder))


def _lock(folder: Path) -> int:
    """The descriptor of a folder's lock, taken."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        try:
            number = os.open(folder / LOCK, flags, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(folder)) from None
        try:
            if fcntl:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                os.close(number)
                raise FolderInUse(f"another process is training in {folder}") from None
        if _is_at(number, folder / LOCK):
            return number
        os.close(number)  # who held it has ended, and removed it before we had it


def _is_at(number: int, path: Path) -> bool:
    """Whether the open file `number` is still the one at this path."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(number), os.lstat(path))
    return False


def _leave_to_parent() -> None:
    """In a forked process, such as one that reads images: it may outlive the run, not its claim."""
    for number in _claims.values():
        os.close(number)
    _claims.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
