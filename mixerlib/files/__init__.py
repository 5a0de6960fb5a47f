"""Files that are whole or not there: written beside their place, forced to disk, then renamed.

And the readers of what people write and of what runs have left: YAML for recipes, sweeps, races and
printed numbers, JSON for records. Every refusal names the file and the place in it.
"""

import errno
import glob
import hashlib
import json
import math
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import yaml

from mixerlib.files.yaml_loader import LONGEST_KEY, Loader, Refused

__all__ = [
    "append",
    "check_writable",
    "clear_parts",
    "one_line",
    "read_json",
    "read_text",
    "read_yaml",
    "write_atomic",
]

LARGEST_YAML, LARGEST_JSON = 2**20, 2**25  # bytes; the book's own have 37 thousand and 1 million
LONGEST_MESSAGE = 1000  # characters
LONGEST_NAME = 255 - len("..0123456789abcdef.part")  # bytes that systems allow, less what we add


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write a file that appears at `path` complete or not at all; what was there stays till then.

    It grows under a name of its own: of two processes that write it, the later one's stays. A link
    is followed, and a file that was there keeps its mode. Raises `OSError` with the file's name and
    the reason, such as a full disk or a folder that forbids it.
    """
    given, path = path, _followed(path)
    unfinished = path.with_name(f".{_short(path.name)}.{secrets.token_hex(8)}.part")
    with _name_the_file(given):
        file = unfinished.open("xb")  # a new file: never what another one writes, or a link
        try:
            with file:
                if path.is_file():
                    unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except (OSError, KeyboardInterrupt):
            with suppress(OSError):
                unfinished.unlink()
            raise
        _force_names(path.parent)
    clear_parts(path, older_than=3600)


def clear_parts(path: Path, older_than: float = 0) -> None:
    """Remove what killed processes have left half-written of a file: all of it, or what has not
    been touched for so many seconds. Only where nobody else writes the file is all of it left over.

    >>> from pathlib import Path
    >>> from mixerlib.files import clear_parts
    >>> clear_parts(Path("runs/one/checkpoint.pt"))
    """
    path = _followed(path)
    name, latest = glob.escape(_short(path.name)), time.time() - older_than
    for pattern in (f".{name}.part", f".{name}.{'[0-9a-f]' * 16}.part"):  # the first: of old
        for part in path.parent.glob(pattern):
            with suppress(OSError):
                if not older_than or part.lstat().st_mtime < latest:
                    part.unlink()


def _followed(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _short(name: str) -> str:
    """The name, or for one so long that nothing can be put round it, a digest."""
    whole = os.fsencode(name)
    return name if len(whole) <= LONGEST_NAME else hashlib.blake2b(whole).hexdigest()


def _force_names(folder: Path) -> None:
    """Force to the disk which names a folder holds, where the system lets one read it."""
    if os.name == "nt" or not os.access(folder, os.R_OK):
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # not for folders here
            raise
    finally:
        os.close(number)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file; a killed process may leave a part. Errors as in `write_atomic`."""
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


def check_writable(path: str | Path) -> None:
    """Whether a file can be written at `path`, asked before hours of work; its folder need not be
    there yet. Raises the `OSError` that `write_atomic` would raise, and leaves nothing behind.

    >>> from mixerlib.files import check_writable
    >>> check_writable("records/new/record.json")
    """
    path = Path(path)
    with _name_the_file(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        tempfile.TemporaryFile(dir=folder).close()


def one_line(error: BaseException) -> str:
    """An error's message, in one line of at most `LONGEST_MESSAGE` printable characters; the
    system's own errors as "file: reason".

    >>> from mixerlib.files import one_line
    >>> one_line(FileNotFoundError(2, "No such file or directory", "a.yaml"))
    'a.yaml: No such file or directory'
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(text.split())
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[: LONGEST_MESSAGE - 1]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read_text(path: str | Path, most: int = LARGEST_YAML) -> str:
    """The UTF-8 text of a file, without the mark that some editors begin it with.

    Raises `OSError` for a file that cannot be read, and `ValueError`, naming it, for a pipe or a
    device, which may never end, for more than `most` bytes, and for what is not UTF-8.

    >>> from mixerlib.files import read_text
    >>> read_text("book/sweeps/cpu.yaml").startswith("#")
    True
    """
    path = Path(path)
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # that one, open refuses
        raise ValueError(f"{path} must be a file, not a pipe or a device")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path} must have at most {most:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise ValueError(f"{path} must be UTF-8 text: {reason}") from None


def read_json(path: str | Path, text: str | None = None) -> Any:
    """What a JSON file holds, or its `text`, where that has been read. Errors as in `read_text`;
    `ValueError` also for what is not JSON, for a key twice in a table, and for NaN and infinity.

    >>> from mixerlib.files import read_json
    >>> read_json("book/records/cpu/convmixer_64_4/seed0.json")["seed"]
    0
    """
    text = read_text(path, LARGEST_JSON) if text is None else text
    try:
        return json.loads(
            text, object_pairs_hook=_table, parse_constant=_no_number, parse_float=_finite
        )
    except RecursionError:
        raise ValueError(f"{path} is not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {one_line(error)}") from None


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"`{twice}` is set twice")
    return table


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


# YAML


def read_yaml(path: str | Path, key: str | None = None) -> Any:
    """The table that a YAML file holds; with `key`, the list that it holds under this key, its only
    one.

    Raises `OSError` for a file that cannot be read, and `ValueError`, naming file and place, for
    what `read_text` refuses, for what is no YAML, sets a key twice, has a number that YAML would
    not read in decimal (010, 1:30), a key that is not text, a merge (`<<`), a tag of its own or
    more in it than a person writes, and for one that holds something else.

    >>> from mixerlib.files import read_yaml
    >>> read_yaml("book/sweeps/cpu.yaml", "runs")[0]["seeds"]
    [0, 1, 2]
    """
    text = read_text(path)
    try:
        content = yaml.load(text, Loader=Loader)  # a SafeLoader
    except Refused as refusal:
        raise ValueError(f"{path}: {refusal.problem} {_place(refusal.mark)}") from None
    except yaml.MarkedYAMLError as error:
        words = ", ".join(part for part in (error.context, error.problem) if part)
        raise ValueError(f"{path} is not YAML: {words} {_place(error.problem_mark)}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {one_line(error)}") from None
    if key is None and not isinstance(content, dict):
        raise ValueError(f"{path} must hold lines of the form `key: value`")
    if key is None:
        return content
    if not isinstance(content, dict) or set(content) != {key}:
        raise ValueError(f"{path} must hold the key `{key}` and no other")
    if not isinstance(content[key], list) or not content[key]:
        words = repr(content[key])[:LONGEST_KEY]
        raise ValueError(f"{path}: `{key}`={words} must be a list of entries")
    return content[key]


def _place(mark: Any) -> str:
    return f"(line {mark.line + 1}, column {mark.column + 1})" if mark else ""
