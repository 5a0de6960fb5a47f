"""The record of a run: what was set, what came out, on what, when, and with which code.

`mixerlib train` writes one as JSON; the book's tables and curves read them. None is typed by hand.
"""

import contextlib
import json
import math
import platform
import subprocess
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_origin, get_type_hints

import torch

from mixerlib.files import write_atomic

__all__ = [
    "Epoch",
    "Part",
    "Provenance",
    "Record",
    "parse_record",
    "peak_memory",
    "provenance",
    "read_record",
    "read_records",
    "write_record",
]

SCHEMA = "mixerlib training 2"  # a record of another shape has another name here


class HasSchema(Protocol):
    """A record of any kind, which says what shape it has."""

    @property
    def schema(self) -> str: ...


Kind = TypeVar("Kind", bound=HasSchema)  # of record


@dataclass(frozen=True)
class Epoch:
    """One row of a run's curve. Accuracies lie in 0..1, losses are cross-entropies in nats.

    Args:
        epoch: its number, from 1.
        learning_rate: at the epoch's last step.
        train_loss: mean over the epoch's images, each seen by the model as it then was.
        train_accuracy: over the same.
        test_loss: on the test set; None where it was not looked at.
        test_accuracy: the same.
        training_seconds: of its steps alone.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    training_seconds: float


@dataclass(frozen=True)
class Provenance:
    """Where, when and with which code a number was made.

    Args:
        date: of the end of the run: ISO 8601, UTC.
        device: "cpu" or "cuda".
        device_name: the processor's.
        threads: of torch on the CPU.
        python: its version.
        torch: its version.
        torchvision: the version of the package whose operations augment the images.
        mixerlib: its version.
        commit: of the git checkout that mixerlib was run from; None if it was none.
        dirty: whether mixerlib's own files differed from that commit.
    """

    date: str
    device: str
    device_name: str
    threads: int
    python: str
    torch: str
    torchvision: str | None
    mixerlib: str | None
    commit: str | None
    dirty: bool | None


@dataclass(frozen=True)
class Part:
    """Steps of a run that were computed alike: a new part begins where a run goes on otherwise.

    Args:
        first_step: of the part, from 1.
        processes: that shared it.
        threads: of torch on the CPU.
        torch: its version.
        device: "cpu" or "cuda".
        device_name: the processor's.
    """

    first_step: int
    processes: int
    threads: int
    torch: str
    device: str
    device_name: str


@dataclass(frozen=True)
class Record:
    """A training run, from its settings to its result: the last epoch's, never the best one's.

    Args:
        recipe: its name.
        settings: every field of the recipe, as it was used.
        seed: of the run.
        parameters: of the model, those that stay frozen too.
        train_images: how many.
        test_images: how many.
        curve: a row for each epoch.
        test_loss: cross-entropy in nats.
        test_accuracy: in 0..1, as is the next.
        test_top5: the share of images whose class is among the five highest logits.
        training_seconds: inside training steps alone, with the augmentation of their images.
        total_seconds: of the run with its evaluations and its checkpoints.
        images_per_second: of training alone.
        peak_memory_bytes: of tensors on the GPU; on a CPU, of the whole process.
        processes: that shared the run.
        continued: how often it was taken up from a checkpoint.
        provenance: where and when it ran, at its end.
        parts: of the run, by what computed them; one, unless it was continued otherwise. Of steps
            before the first part it is not known: an older version left that record or checkpoint.
        schema: the shape of the record.

    Neither time counts what lies before the first step, such as the reading of data that are kept
    in memory, or the time between being stopped and being continued.
    """

    recipe: str
    settings: dict[str, Any]
    seed: int
    parameters: int
    train_images: int
    test_images: int
    curve: list[Epoch]
    test_loss: float
    test_accuracy: float
    test_top5: float
    training_seconds: float
    total_seconds: float
    images_per_second: float
    peak_memory_bytes: int | None
    processes: int
    continued: int
    provenance: Provenance
    parts: list[Part] = field(default_factory=list)
    schema: str = SCHEMA


def provenance(device: torch.device | str) -> Provenance:
    """What can be said here and now about the machine, the versions and the code."""
    device = torch.device(device)
    commit, dirty = _git_state()
    return Provenance(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        device=device.type,
        device_name=_device_name(device),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        torchvision=_installed_version("torchvision"),
        mixerlib=_installed_version("mixerlib"),
        commit=commit,
        dirty=dirty,
    )


def peak_memory(device: torch.device | str) -> int | None:
    """The most bytes in use at any time: of tensors on a GPU; else of this process, as a whole.

    None where the system does not tell (Windows).
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def write_record(record: Any, path: str | Path) -> None:
    """Write a record as JSON. The file appears complete or not at all; missing folders are made.

    `record` is a `Record`, or another dataclass whose field `schema` has a default. Raises
    `OSError` for a file that cannot be written.
    """
    text = json.dumps(asdict(record), indent=1, ensure_ascii=False, allow_nan=False, default=str)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, f"{text}\n".encode())


def read_record(path: str | Path) -> Record:
    """Read a record. Raises `ValueError` naming the file and the missing, unknown or wrong key.

    >>> from mixerlib.records import read_record
    >>> record = read_record("book/records/cpu/convmixer_64_4/seed0.json")
    >>> f"{record.test_accuracy:.2%} after epoch {record.curve[-1].epoch}"
    '72.93% after epoch 5'
    """
    return parse_record(path, Record)


def read_records(folder: str | Path) -> list[Record]:
    """Every training record below a folder, which need not be there. Errors as in `read_record`.

    >>> from mixerlib.records import read_records
    >>> records = read_records("book/records/cpu/splitmixer_i_64_4")
    >>> [(record.seed, record.parameters) for record in records]
    [(0, 15746), (1, 15746), (2, 15746)]
    """
    records = []
    for path in sorted(Path(folder).rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("schema") == SCHEMA:
            records.append(read_record(path))
    return records


def parse_record(
    path: str | Path,
    kind: type[Kind],
    older: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
) -> Kind:
    """Read a record of another kind: a dataclass whose `schema` has a default. Errors as in
    `read_record`.

    `older` gives for each earlier schema a function from its values to those of today's.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    schema = values.get("schema") if isinstance(values, dict) else None
    if older and isinstance(schema, str) and schema in older:
        try:
            values = older[schema](values)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no {schema!r}: {error!r}") from None
        schema = values["schema"]
    if schema != kind.schema:
        raise ValueError(f"{path}: `schema`={schema!r} must be {kind.schema!r}")
    try:
        return _parse(values, kind, "")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parse(value: Any, kind: Any, where: str) -> Any:
    """`value`, as JSON gave it, as an instance of the type `kind`; `where` is its dotted key."""
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"`{where}` must be a table, not {value!r}")
        hints, prefix = get_type_hints(kind), f"{where}." if where else ""
        for key in value:
            if key not in hints:
                raise ValueError(f"`{prefix}{key}` is not a key of a record")
        later = {f.name for f in fields(kind) if f.default_factory is not MISSING}
        for key in hints:
            if key not in value and key not in later:  # which older records lack
                raise ValueError(f"`{prefix}{key}` is missing")
        return kind(**{k: _parse(item, hints[k], prefix + k) for k, item in value.items()})
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise ValueError(f"`{where}` must be a list, not {value!r}")
        (item,) = get_args(kind)
        return [_parse(one, item, f"{where}[{i}]") for i, one in enumerate(value)]
    if isinstance(kind, types.UnionType):  # X | None
        return None if value is None else _parse(value, get_args(kind)[0], where)
    kind = get_origin(kind) or kind
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"`{where}`={value!r} must be of type {kind.__name__}")
    return value


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):  # Linux only; elsewhere Python itself knows
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _installed_version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git_state() -> tuple[str | None, bool | None]:
    """The commit of the checkout that this file belongs to, and whether mixerlib has changed since.

    (None, None) when there is no git, or this file is not under its control (an installed package
    may lie inside another project's checkout).
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".") != ""
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    answer = subprocess.run(
        ("git", *arguments), cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()
