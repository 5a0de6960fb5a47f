"""Files that are whole or not there: written beside their place, forced to disk, then renamed.

And the one reader of the YAML files that people write: recipes, sweeps, races, printed numbers.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

__all__ = ["append", "one_line", "read_yaml", "write_atomic"]


def write_atomic(path: Path, content: bytes | memoryview) -> None:
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
    """Add to the end of a file, of which a killed process may leave a part. Errors as in
    `write_atomic`.
    """
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


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: no key twice, and numbers in decimal alone."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"`{key}` is set twice", node.value[place][0].start_mark
                )
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(node.value)
        digits = text.lstrip("+-")
        if not digits.isdecimal() or (len(digits) > 1 and digits[0] == "0"):
            raise yaml.constructor.ConstructorError(
                None, None, f"{text} must be a decimal number without a leading 0", node.start_mark
            )
        return int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_yaml(path: Path, key: str | None = None) -> Any:
    """The table that a YAML file holds; with `key`, what it holds under this key, its only one.

    Raises `OSError` for a file that cannot be read, and `ValueError`, naming file and place, for
    one that is not UTF-8 or no YAML, sets a key twice, has a number that YAML would not read in
    decimal (010, 1:30), or holds something else.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise ValueError(f"{path} must be UTF-8 text: {reason}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if key is None and not isinstance(content, dict):
        raise ValueError(f"{path} must hold lines of the form `key: value`")
    if key is None:
        return content
    if not isinstance(content, dict) or set(content) != {key}:
        raise ValueError(f"{path} must hold the key `{key}` and no other")
    if not isinstance(content[key], list) or not content[key]:
        raise ValueError(f"{path}: `{key}`={content[key]!r} must be a list of entries")
    return content[key]
