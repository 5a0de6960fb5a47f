"""The metrics of a run while it goes on: a line of JSON for every step and every epoch.

{"step": 98, "epoch": 1, "learning_rate": 0.00125, "loss": 1.61}
{"epoch": 1, "learning_rate": 0.00125, "train_loss": 1.83, "train_accuracy": 0.33, …}

They are written when an epoch is done, so that no step waits for them.
"""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mixerlib.files import append, write_atomic
from mixerlib.records import Epoch


class MetricsLog:
    """`metrics.jsonl` in a run's folder, and on request the same for TensorBoard.

    `epochs` are those that the run has behind it: the lines of later ones, which a run that was cut
    off may have left, are taken away. Raises `ValueError` when TensorBoard is asked for and is not
    installed.
    """

    def __init__(self, folder: Path, epochs: int = 0, tensorboard: bool = False):
        self.path = folder / "metrics.jsonl"
        self.steps = 0
        kept = []
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            with suppress(ValueError):  # half a line of such an epoch, from a killed process
                row = json.loads(line)
                if row["epoch"] <= epochs:
                    kept.append(line)
                    self.steps = row.get("step", self.steps)
        if self.path.exists():
            write_atomic(self.path, "".join(f"{line}\n" for line in kept).encode())
        self.board = _board(folder / "tensorboard", self.steps) if tensorboard else None

    def add(self, row: Epoch, losses: list[float], rates: list[float]) -> None:
        """Add an epoch: its row of the curve, and its steps' losses and learning rates."""
        lines: list[dict[str, Any]] = []
        for loss, rate in zip(losses, rates, strict=True):
            self.steps += 1
            values = {"learning_rate": rate, "loss": loss}
            lines.append({"step": self.steps, "epoch": row.epoch} | values)
            if self.board:
                for name, value in values.items():
                    self.board.add_scalar(f"step/{name}", value, self.steps)
        lines.append(asdict(row))
        append(self.path, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
        if self.board:
            for name, value in asdict(row).items():
                if value is not None and name != "epoch":
                    self.board.add_scalar(f"epoch/{name}", value, row.epoch)
            self.board.flush()  # as a checkpoint follows, this epoch will not be done again

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self.board:
            self.board.close()


def read_metrics(folder: Path) -> tuple[list[dict[str, Any]], list[Epoch]]:
    """The rows of a run's steps (step, epoch, learning_rate, loss), and those of its epochs."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return [r for r in rows if "step" in r], [Epoch(**r) for r in rows if "step" not in r]


def _board(folder: Path, steps: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "`tensorboard`=True needs the package tensorboard: pip install tensorboard"
        ) from None
    return SummaryWriter(str(folder), purge_step=steps + 1)
