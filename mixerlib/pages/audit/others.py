"""Counts of the models that mixers are compared with, from a record that
`book.tools.other_models` wrote."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from mixerlib.records import Provenance, parse_record

SCHEMA = "mixerlib counts of other models 1"  # a record of another shape has another name here


@dataclass(frozen=True)
class OtherModel:
    """What one model costs, by several tools.

    Args:
        name: of the model in the record.
        title: what it is, in words.
        image_size: pixels.
        parameters: trainable ones.
        buffers: running statistics of its norms.
        macs: half of what PyTorch's `FlopCounterMode` counts.
        fvcore: what fvcore counts in evaluation mode.
        fvcore_training: the same in training mode, as models are built.
        thop: what thop counts.
    """

    name: str
    title: str
    image_size: int
    parameters: int
    buffers: int
    macs: int
    fvcore: int
    fvcore_training: int
    thop: int

    def in_conventions(self, quantity: str) -> dict[str, Fraction]:
        """The number in each of the audit's conventions; none for quantities it has no count of."""
        ways = {
            "parameters": {"trainable parameters": self.parameters},
            "flops": {
                "thop": self.thop,
                "MACs": self.macs,
                "2 × MACs": 2 * self.macs,
                "fvcore": self.fvcore,
                "fvcore, in training mode": self.fvcore_training,
            },
        }
        return {way: Fraction(value) for way, value in ways.get(quantity, {}).items()}


@dataclass(frozen=True)
class OtherCounts:
    """The record.

    Args:
        models: each with its counts.
        registered: a word → how many of timm's registered names hold it.
        versions: of the packages that built and counted the models.
        provenance: where and when.
        schema: the shape of the record.
    """

    models: list[OtherModel]
    registered: dict[str, int]
    versions: dict[str, str]
    provenance: Provenance
    schema: str = SCHEMA


def read_others(path: str | Path) -> OtherCounts:
    """The record of other models' counts. Errors as in `records.read_record`.

    >>> from mixerlib.pages import audit
    >>> others = audit.read_others("book/records/counts/others.json")
    >>> {model.name: model.parameters for model in others.models}["resnet152"]
    60192808
    """
    return parse_record(path, OtherCounts)
