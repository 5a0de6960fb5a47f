"""What stands in the record of a training run, and how one is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixerlib.checks import shown
from mixerlib.records.here import Provenance
from mixerlib.records.parsing import parse_record, parse_values, read_values

SCHEMA = "mixerlib training 2"  # a record of another shape has another name here


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
        test_images: how many; with the setting `held_out` they are training images held out.
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
        weights_sha256: of the file that `save_weights` writes of the model; older ones lack it.
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
    weights_sha256: str | None = None
    schema: str = SCHEMA


def judged_on(settings: Mapping[str, Any]) -> str:
    """What the accuracy in a record was measured on, in words, by the run's settings: test images,
    or training images that were held out in their place.

    >>> from mixerlib.records import judged_on, read_record
    >>> judged_on(read_record("book/records/cpu/convmixer_64_4/seed0.json").settings)
    'test images'
    """
    return "held-out training images" if settings.get("held_out") else "test images"


def read_record(path: str | Path) -> Record:
    """Read a record. Raises `ValueError` naming the file and the missing, unknown or wrong key, or
    for a file that was changed after it was written.

    >>> from mixerlib.records import read_record
    >>> record = read_record("book/records/cpu/convmixer_64_4/seed0.json")
    >>> f"{record.test_accuracy:.2%} after epoch {record.curve[-1].epoch}"
    '72.93% after epoch 5'
    """
    return _whole(path, parse_record(path, Record))


def read_records(folder: str | Path) -> list[Record]:
    """Every training record below a folder, which need not be there. Errors as in `read_record`.

    >>> from mixerlib.records import read_records
    >>> records = read_records("book/records/cpu/splitmixer_i_64_4")
    >>> [(record.seed, record.parameters) for record in records]
    [(0, 15746), (1, 15746), (2, 15746)]
    """
    contents = ((path, read_values(path)) for path in sorted(Path(folder).rglob("*.json")))
    return [
        _whole(path, parse_values(path, content, Record))
        for path, content in contents
        if isinstance(content, dict) and content.get("schema") == SCHEMA
    ]


def _whole(path: str | Path, record: Record) -> Record:
    """A record whose parts fit together: seed, epochs, and the curve's end with the result."""
    settings, curve = record.settings, record.curve
    for key, value in (("seed", record.seed), ("epochs", len(curve))):
        if settings.get(key, value) != value:
            raise ValueError(
                f"{path}: `settings.{key}`={shown(settings[key])} must be {value}, as in the rest"
            )
    if not curve or [row.epoch for row in curve] != list(range(1, len(curve) + 1)):
        raise ValueError(f"{path}: `curve` must have a row for every epoch, from 1 on")
    for key in ("test_loss", "test_accuracy"):
        last, result = getattr(curve[-1], key), getattr(record, key)
        if last != result:
            raise ValueError(f"{path}: `{key}`={result!r} must be that of the last epoch, {last!r}")
    return record
