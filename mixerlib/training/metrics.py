"""The metrics of a run while it goes on: a line of JSON for every step and every epoch.

{"step": 98, "epoch": 1, "learning_rate": 0.00125, "loss": 1.61}
{"epoch": 1, "learning_rate": 0.00125, "train_loss": 1.83, "train_accuracy": 0.33, …}

They are written when an epoch is done, so that no step waits for them. A run does not need them: if
they are damaged or gone, it goes on by its checkpoint, and says so in a warning.
"""

import json
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

from mixerlib.files import append, one_line, write_atomic
from mixerlib.records import Epoch
from mixerlib.training.claims import check_claim
from mixerlib.training.run import RunWarning

METRICS, BOARD = "metrics.jsonl", "tensorboard"  # in a run's folder
_STEP: dict[str, Any] = {"step": int, "epoch": int, "learning_rate": float, "loss": float}
_EPOCH = get_type_hints(Epoch)
_BEGINNINGS = (b'{"step": ', b'{"epoch": ')  # of a line, as a killed process may have left it


class MetricsLog:
    """`metrics.jsonl` in a run's folder, and on request the same for TensorBoard.

    Args:
        folder: the run's.
        epochs: those that the run has behind it: the lines of later ones, which a run that was cut
            off may have left, are taken away.
        tensorboard: whether it is also written for TensorBoard.
        curve: the rows of these epochs, as the checkpoint has them. They replace the log's.
        steps: of an epoch, from which those that are done are counted. None: by the log.

    What is not such a log, wholly or in part, is put aside as metrics.jsonl.damaged, and its good
    lines are kept. Raises `ValueError` when TensorBoard is asked for and is not installed, and
    `OSError` for a file that cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        epochs: int = 0,
        tensorboard: bool = False,
        *,
        curve: Sequence[Epoch] = (),
        steps: int | None = None,
    ):
        self.folder, self.path = Path(folder), Path(folder) / METRICS
        there = os.path.lexists(self.path)
        content, found, trouble = _read(self.path)
        rows = _rows_in_order(found, epochs, curve, steps)
        self.steps = max((row["step"] for row in rows if "step" in row), default=0)
        if steps is not None:
            self.steps = epochs * steps
            expected = epochs * (steps + 1)
            if rows != [row for row in found if row["epoch"] <= epochs] or len(rows) != expected:
                trouble = trouble or "some lines are missing or changed"
        if trouble and there:
            aside = _put_aside(self.path)
            _warn(f"{self.path} was damaged ({trouble}): it is kept as {aside.name}, and goes on")
        elif trouble:
            _warn(f"{self.path} was gone: its epochs are written again from the checkpoint")
        kept = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        if kept != content or (trouble and rows):
            write_atomic(self.path, kept)
        self.board = self._board(rows) if tensorboard else None

    def add(self, row: Epoch, losses: list[float], rates: list[float]) -> None:
        """Add an epoch: its row of the curve, and its steps' losses and learning rates."""
        rows: list[dict[str, Any]] = []
        for loss, rate in zip(losses, rates, strict=True):
            self.steps += 1
            values = {"learning_rate": rate, "loss": loss}
            rows.append({"step": self.steps, "epoch": row.epoch} | values)
        rows.append(asdict(row))
        check_claim(self.folder)
        append(self.path, "".join(f"{json.dumps(row)}\n" for row in rows).encode())
        if self.board:
            _draw(self.board, rows)

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self.board:
            self.board.close()

    def _board(self, rows: list[dict[str, Any]]) -> Any:
        """TensorBoard's writer; where it has no files yet, with what the run has behind it."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError(
                "`tensorboard`=True needs the package tensorboard: pip install tensorboard"
            ) from None
        place = self.folder / BOARD
        if os.path.lexists(place) and not place.is_dir():
            aside = _put_aside(place)
            _warn(f"{place} was no folder: it is kept as {aside.name}, and written anew")
        new = not place.is_dir() or not any(place.iterdir())
        board = SummaryWriter(str(place), purge_step=self.steps + 1)
        if new:
            _draw(board, rows)
        return board


def read_metrics(folder: str | Path) -> tuple[list[dict[str, Any]], list[Epoch]]:
    """The rows of a run's steps (step, epoch, learning_rate, loss), and those of its epochs.

    Raises `OSError` where there is no log, and `ValueError` naming the file and its first line that
    is none of a log.
    """
    path = Path(folder) / METRICS
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        row = _row(line)
        if row is None:
            raise ValueError(f"{path}: line {number} is not one of a run's metrics")
        rows.append(row)
    return [r for r in rows if "step" in r], [Epoch(**r) for r in rows if "step" not in r]


def _read(path: Path) -> tuple[bytes, list[dict[str, Any]], str]:
    """What a log holds, its rows, and what is wrong with it, in words, apart from a last line that
    a killed process has left unfinished.
    """
    if not os.path.lexists(path):
        return b"", [], ""
    if not path.is_file():  # a folder, a pipe that would never end, a link to nothing
        return b"", [], "it is no file"
    try:
        content = path.read_bytes()
    except OSError as error:
        return b"", [], one_line(error)
    *lines, last = content.split(b"\n")
    if not any(last.startswith(first) or first.startswith(last) for first in _BEGINNINGS):
        lines.append(last)
        last = b""
    rows = [_row(line) for line in lines]
    trouble = f"lines that are none of a log: {rows.count(None)}" if None in rows else ""
    return content, [row for row in (*rows, _row(last)) if row is not None], trouble


def _row(line: bytes) -> dict[str, Any] | None:
    """The row that a line holds; None if it is not one."""
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    kinds = _STEP if "step" in row else _EPOCH
    fits = row.keys() == kinds.keys() and all(_is(row[name], kinds[name]) for name in kinds)
    return row if fits else None


def _is(value: Any, kind: Any) -> bool:
    if value is None or kind is int:
        return isinstance(value, kind) and not isinstance(value, bool)
    return type(value) in (int, float) and abs(value) < math.inf


def _rows_in_order(
    found: list[dict[str, Any]], epochs: int, curve: Sequence[Epoch], steps: int | None
) -> list[dict[str, Any]]:
    """The rows of the epochs that are done, each once, an epoch's steps before the epoch."""
    of_steps, of_epochs = {}, {}
    for row in found:
        if "step" not in row:
            of_epochs[row["epoch"]] = row
        elif steps is None or (row["step"] - 1) // steps + 1 == row["epoch"]:
            of_steps[row["step"]] = row
    of_epochs |= {row.epoch: asdict(row) for row in curve}
    rows = [*(of_steps[n] for n in sorted(of_steps)), *(of_epochs[n] for n in sorted(of_epochs))]
    rows = [row for row in rows if 1 <= row["epoch"] <= epochs]
    return sorted(rows, key=lambda row: row["epoch"])  # which keeps the order within an epoch


def _draw(board: Any, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        kind = "step" if "step" in row else "epoch"
        for name, value in row.items():
            if value is not None and name not in ("step", "epoch"):
                board.add_scalar(f"{kind}/{name}", value, row[kind])
    board.flush()  # as a checkpoint follows, this epoch will not be done again


def _put_aside(path: Path) -> Path:
    """Give what lies at `path` another name, one that is free."""
    aside, count = path.with_name(f"{path.name}.damaged"), 1
    while os.path.lexists(aside):
        count += 1
        aside = path.with_name(f"{path.name}.damaged-{count}")
    return path.rename(aside)


def _warn(message: str) -> None:
    warnings.warn(message, RunWarning, stacklevel=3)
