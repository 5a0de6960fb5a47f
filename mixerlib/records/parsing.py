"""Records of any kind: dataclasses, written as JSON and read back, and held against their rules.

The last line of a file holds a digest of its text without that line, so that no damage goes unseen.
"""

import hashlib
import json
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_origin, get_type_hints

from mixerlib.checks import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Rule, follows, shown
from mixerlib.files import LARGEST_JSON, read_json, read_text, write_atomic


class HasSchema(Protocol):
    """A record of any kind, which says what shape it has."""

    @property
    def schema(self) -> str: ...


Kind = TypeVar("Kind", bound=HasSchema)  # of record

DIGEST = "record_sha256"  # the key of a file's digest

NOT_EMPTY = Rule(lambda value: len(value) > 0, "more than nothing")
A_DATE = Rule(lambda value: bool(datetime.fromisoformat(value)), "a date and a time in ISO 8601")
A_DIGEST = Rule(lambda value: re.fullmatch("[0-9a-f]{64}", value) is not None, "64 hex digits")
# What a value must keep in a record of any kind, by its field's name
RULES: dict[str, Rule] = {
    "recipe": NOT_EMPTY,
    "seed": NOT_NEGATIVE,
    "parameters": COUNT,
    "train_images": COUNT,
    "test_images": COUNT,
    "epoch": COUNT,
    "learning_rate": NOT_NEGATIVE,
    "train_loss": NOT_NEGATIVE,
    "train_accuracy": SHARE,
    "test_loss": NOT_NEGATIVE,
    "test_accuracy": SHARE,
    "test_top5": SHARE,
    "training_seconds": NOT_NEGATIVE,
    "total_seconds": NOT_NEGATIVE,
    "images_per_second": POSITIVE,
    "peak_memory_bytes": NOT_NEGATIVE,
    "processes": COUNT,
    "first_step": COUNT,
    "continued": NOT_NEGATIVE,
    "threads": COUNT,
    "date": A_DATE,
    "device": NOT_EMPTY,
    "weights_sha256": A_DIGEST,
    "rounded_sha256": A_DIGEST,
    "rounded_accuracy": SHARE,
    "rounded_loss": NOT_NEGATIVE,
    "in_channels": COUNT,
}


def write_record(record: Any, path: str | Path) -> None:
    """Write a record as JSON, with a digest of the text, by which damage is seen when it is read.

    The file appears complete or not at all; missing folders are made.

    `record` is a `Record`, or another dataclass whose field `schema` has a default. Raises
    `OSError` for a file that cannot be written.
    """
    text = json.dumps(asdict(record), indent=1, ensure_ascii=False, allow_nan=False, default=str)
    text = text.encode(errors="backslashreplace").decode()  # a file's name need not be UTF-8
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, _with_digest(text).encode())


def _with_digest(text: str) -> str:
    """The whole file of a record: its JSON text, and the SHA-256 of that as the last key.

    Of the text, not of its values: 1e-05 and 1E-05 are one number, and yet a bit has changed.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text.removesuffix("\n}") + f',\n "{DIGEST}": "{digest}"\n}}\n'


def read_values(path: str | Path) -> Any:
    """What a record's file holds, without its digest. Older files have none.

    Raises `ValueError` also for a file that says something else than when it was written.
    """
    text = read_text(path, LARGEST_JSON)
    values = read_json(path, text)
    if isinstance(values, dict) and DIGEST in values:
        text = text.replace("\r\n", "\n")  # as git may have it on Windows
        digest = values.pop(DIGEST)
        if text != _with_digest(text.partition(f',\n "{DIGEST}"')[0] + "\n}"):
            raise ValueError(
                f"{path} was changed after it was written: `{DIGEST}`={shown(digest)} must be that "
                "of the rest"
            )
    return values


def parse_record(
    path: str | Path,
    kind: type[Kind],
    older: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
) -> Kind:
    """Read a record of another kind: a dataclass whose `schema` has a default. Errors as in
    `read_record`.

    `older` gives for each earlier schema a function from its values to those of today's.
    """
    return parse_values(path, read_values(path), kind, older)


def parse_values(
    path: str | Path,
    values: Any,
    kind: type[Kind],
    older: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
) -> Kind:
    """The record in what `read_values` has read. Arguments and errors as in `parse_record`."""
    schema = values.get("schema") if isinstance(values, dict) else None
    if older and isinstance(schema, str) and schema in older:
        try:
            values = older[schema](values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} is no {schema!r}: {shown(error)}") from None
        schema = values["schema"]
    if schema != kind.schema:
        raise ValueError(f"{path}: `schema`={shown(schema)} must be {kind.schema!r}")
    try:
        return _parse(values, kind, "")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parse(value: Any, kind: Any, where: str) -> Any:
    """`value`, as JSON gave it, as an instance of the type `kind`; `where` is its dotted key."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _parse_table(value, kind, where)
    if isinstance(kind, types.UnionType):  # X | None
        return None if value is None else _parse(value, get_args(kind)[0], where)
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise ValueError(f"`{where}` must be a list, not {shown(value)}")
        (item,) = get_args(kind)
        value = [_parse(one, item, f"{where}[{i}]") for i, one in enumerate(value)]
    kind = get_origin(kind) or kind
    if kind is float and type(value) is int and abs(value) < 2**1000:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"`{where}`={shown(value)} must be of type {kind.__name__}")
    rule = RULES.get(where.rpartition(".")[2])
    return value if rule is None else follows(where, value, rule)


def _parse_table(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"`{where}` must be a table, not {shown(value)}")
    hints, prefix = get_type_hints(kind), f"{where}." if where else ""
    for key in value:
        if key not in hints:
            raise ValueError(
                f"`{prefix}{key[:60]}` is not a key of a record, as this version of mixerlib has it"
            )
    for one in fields(kind):
        older_lack = one.default is None or one.default_factory is not MISSING
        if one.name not in value and not older_lack:
            raise ValueError(f"`{prefix}{one.name}` is missing")
    return kind(**{key: _parse(value[key], hints[key], prefix + key) for key in value})
