"""What timm's own scripts printed when they were run with a model of ours: records, and a page.

>>> from assets import timm_run
>>> run = timm_run.read_timm_run("records/timm")
>>> run.as_printed() == run.theirs
True
"""

from dataclasses import dataclass
from pathlib import Path

from mixerlib.pages import folded, table
from mixerlib.records import Provenance, parse_record

SCHEMA = "mixerbook run of timm's scripts 1"  # a record of another shape has another name here
ANCHOR = "timms-own-scripts"  # where the page shows them
FILE = "record.json"
PRINTED = {"train": "train.txt", "validate": "validate.txt"}
HEAD = ["", "top-1", "top-5", "loss"]


@dataclass(frozen=True)
class TimmRun:
    """A training and a validation by timm's scripts, and mixerlib's evaluation of the same weights.

    Args:
        timm: the version of the package that is installed.
        scripts: where the scripts are from, in words.
        commands: what was run, a line each: train.py, validate.py, `mixerlib evaluate`.
        train_images: how many the training has seen in an epoch.
        images: how many were validated.
        theirs: `top1` and `top5` in per cent and `loss`, as validate.py prints them.
        ours: the same by `mixerlib evaluate`, not rounded.
        provenance: where and when.
        schema: the shape of the record.
    """

    timm: str
    scripts: str
    commands: list[str]
    train_images: int
    images: int
    theirs: dict[str, str]
    ours: dict[str, float]
    provenance: Provenance
    schema: str = SCHEMA

    def as_printed(self) -> dict[str, str]:
        """Our numbers with as many decimals as validate.py prints."""
        return {
            name: f"{self.ours[name]:.{len(printed.partition('.')[2])}f}"
            for name, printed in self.theirs.items()
        }


def read_timm_run(folder: str | Path) -> TimmRun:
    """The record in a folder. Errors as in `records.read_record`."""
    return parse_record(Path(folder, FILE), TimmRun)


def text(folder: str | Path) -> str:
    """The numbers as a table, what was run, and both scripts' outputs, folded."""
    run = read_timm_run(folder)
    rows = [
        [who, f"{numbers['top1']} %", f"{numbers['top5']} %", numbers["loss"]]
        for who, numbers in (
            ("timm’s `validate.py`", run.theirs),
            ("`mixerlib evaluate`", run.as_printed()),
        )
    ]
    same = "equal to the last digit" if run.as_printed() == run.theirs else "not equal"
    outputs = [
        folded(f"What {name}.py printed", _block(Path(folder, file).read_text(encoding="utf-8")))
        for name, file in PRINTED.items()
    ]
    return "\n\n".join(
        [
            f"With timm {run.timm}, and the scripts of {run.scripts}: {run.train_images} training "
            f"images, then {run.images} for validation. The numbers are {same}.",
            table(HEAD, rows),
            folded("The three commands", _block("\n".join(run.commands))),
            *outputs,
        ]
    )


def _block(content: str) -> str:
    return f"```text\n{content.rstrip()}\n```"
