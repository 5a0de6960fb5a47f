"""Whole training logs as printed, epoch by epoch: the part `logs` of `book/published.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class PublishedLog:
    """What a source prints after each epoch of one run, to lay our own runs over it.

    Args:
        document: where it is printed, one of the documents.
        where: inside the document.
        recipe: mixerlib's recipe for the same run.
        train_accuracy: over the images of each epoch while the model changes, as shares of one.
        test_accuracy: after each epoch, as shares of one.
        learning_rate: of each epoch's last step.
        seconds: that each epoch took, on the source's machine.
    """

    document: str
    where: str
    recipe: str
    train_accuracy: tuple[float, ...]
    test_accuracy: tuple[float, ...]
    learning_rate: tuple[float, ...]
    seconds: tuple[float, ...]


COLUMNS = ("train_accuracy", "test_accuracy", "learning_rate", "seconds")


def read_logs(content: Mapping[str, Any], documents: Mapping[str, Any]) -> dict[str, PublishedLog]:
    """The logs of the file, by name. Raises `ValueError` naming the log and what is wrong."""
    return {name: _log(name, dict(keys), documents) for name, keys in content.items()}


def _log(name: str, keys: dict[str, Any], documents: Mapping[str, Any]) -> PublishedLog:
    if keys.keys() != (known := {one.name for one in fields(PublishedLog)}):
        raise ValueError(f"the log {name} must have the keys {sorted(known)}, not {sorted(keys)}")
    if keys["document"] not in documents:
        raise ValueError(f"`document`={keys['document']!r} of {name} must be one of `documents`")
    columns: dict[str, Any] = {column: tuple(keys.pop(column)) for column in COLUMNS}
    if len({len(values) for values in columns.values()}) > 1:
        raise ValueError(f"the columns of the log {name} must be equally long, one number an epoch")
    for column, values in columns.items():
        for epoch, value in enumerate(values, start=1):
            share = column.endswith("accuracy")
            if type(value) is not float or value < 0 or (share and value > 1):
                rule = "a number with a point, from 0" + " to 1" * share
                raise ValueError(f"`{column}`={value!r} of {name}, epoch {epoch}, must be {rule}")
    return PublishedLog(**keys, **columns)
