"""Which of a file's tables is the model's state dict, and what stands before all of its names.

Trainers keep the state dict under some key, often a moving average of it under another, and wrap
the model, so that `module.`, `model.` or `_orig_mod.` stands before every name.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mixerlib.weights.layouts import recognize
from mixerlib.weights.pickled import Inert, Name, StoredTensor

DEPTH, TABLES = 5, 50_000  # of tables in tables that are looked into, and how many
LONGEST_NAME = 200  # characters of a tensor's name; those of deep networks have a third of it
AVERAGE = re.compile(r"(?:^|[._])(?:ema|swa|averaged?|avg|shadow)(?:$|[._])", re.IGNORECASE)
# What torch.compile, activation checkpointing and FSDP put into names, also of single layers
WRAPPERS = re.compile(r"\b_(orig_mod|checkpoint_wrapped_module|fsdp_wrapped_module)\.")
# What tools leave beside a model's tensors: thop, torch's AveragedModel, a module's extra state
BESIDE = ("total_ops", "total_params", "n_averaged", "_extra_state")

Table = dict[str, Any]


def without_prefix(table: Mapping[str, Any]) -> Table:
    """The table without what all of its names begin with, however deep the wrappers lie, without
    what wrappers of single layers put into names, and without entries that are no part of a model.
    """
    kept = {
        WRAPPERS.sub("", name): value
        for name, value in table.items()
        if name.rpartition(".")[2] not in BESIDE
    }
    while len({name.partition(".")[0] for name in kept}) == 1:
        rest = {name.partition(".")[2]: value for name, value in kept.items()}
        if "" in rest:
            break
        kept = rest
    return kept


def state_dicts(content: Any) -> tuple[dict[str, Table], set[str]]:
    """The tables in a file that look like a model's state dict, by their keys; and those of them
    beside which lie tensors of something else, so that only the user can say what they are.
    """
    tables = list(_tables(content))
    known = {key: short for key, table in tables if recognize(short := without_prefix(table))}
    mixed: set[str] = set()
    for key, table in tables:
        if key in known:
            continue
        parts = _by_first_name(without_prefix(table))
        models = {name: part for name, part in parts.items() if recognize(part)}
        known |= {_joined(key, name): part for name, part in models.items()}
        if len(models) < len(parts):
            mixed |= {_joined(key, name) for name in models}
    if not known:  # of another network, which the message will name
        known = {k: without_prefix(t) for k, t in tables if all(map(is_tensor, t.values()))}
    return known, mixed


def choose(path: Path, content: Any, key: str | None, average: bool | None) -> tuple[Table, str]:
    """The state dict in a file's content, without its prefix, and a note on which one was taken
    where there were others: empty where there is only one.

    Raises `ValueError` where there is none, or several that are equally good.
    """
    tables, mixed = state_dicts(content)
    if not tables:
        raise ValueError(f"`path`='{path}' must hold a state dict: names, each with a dense tensor")
    listed = ", ".join(f"`{name or 'the file itself'}`" for name in tables)
    if key is not None:
        if key not in tables:
            raise ValueError(f"`key`={key!r} must be that of a state dict in {path}: {listed}")
        return tables[key], ""
    averages = [name for name in tables if AVERAGE.search(name)]
    plain = [name for name in tables if name not in averages]
    preferred = {True: averages, False: plain, None: averages or plain}[average]
    if not preferred:
        kind = "no moving average" if average else "only a moving average"
        raise ValueError(f"`average`={average}, but {path} holds {kind}: {listed}")
    if len(preferred) > 1 or preferred[0] in mixed:
        others = "several state dicts" if len(tables) > 1 else "other tensors beside a state dict"
        raise ValueError(f"`path`='{path}' holds {others}; name one by `key`: {listed}")
    (taken,) = preferred
    if average is None and averages and plain:
        note = (
            f"`path`='{path}' holds the weights and their moving average: `{taken}` is taken, "
            f"the average; `average=False` takes `{plain[0]}`"
        )
        return tables[taken], note
    return tables[taken], ""


def is_tensor(value: object) -> bool:
    """Whether a value is a dense tensor, read or still in its file."""
    return isinstance(value, StoredTensor | torch.Tensor)


def is_name(value: object) -> bool:
    """Whether a value may be a tensor's name, which messages repeat."""
    return isinstance(value, str) and value.isprintable() and len(value) <= LONGEST_NAME


def kind_of(value: object) -> str:
    """What a value is that should be a tensor, for a message."""
    return value.name if isinstance(value, Inert | Name) else type(value).__name__


def _tables(content: Any) -> Iterator[tuple[str, Table]]:
    """Every table of named tensors in the content, once, with its keys joined by dots."""
    seen: set[int] = set()
    waiting: deque[tuple[str, Any, int]] = deque([("", content, 0)])
    while waiting:
        key, value, depth = waiting.popleft()
        if not isinstance(value, dict | list | tuple) or id(value) in seen:
            continue
        if depth > DEPTH or len(value) > TABLES or len(seen) > TABLES:
            continue
        seen.add(id(value))
        entries = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        named = all(is_name(name) for name, _ in entries)
        if isinstance(value, dict) and named and any(is_tensor(inner) for _, inner in entries):
            yield key, value
        waiting += [
            (_joined(key, name), inner, depth + 1)
            for name, inner in entries
            if (is_name(name) or isinstance(name, int)) and isinstance(inner, dict | list | tuple)
        ]


def _by_first_name(table: Table) -> dict[str, Table]:
    """The table in parts, one for each first word of its names, which these parts are without."""
    parts: dict[str, Table] = {}
    for name, value in table.items():
        first, _, rest = name.partition(".")
        parts.setdefault(first, {})[rest] = value
    return {first: without_prefix(part) for first, part in parts.items()}


def _joined(key: str, name: str | int) -> str:
    return f"{key}.{name}" if key else str(name)
