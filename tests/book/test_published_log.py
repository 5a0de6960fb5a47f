"""What chapter 14 says of the one log that is published, with runs of ours and without any."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import ROOT, functions_of, made_record

from mixerlib.pages import audit, listed, signed
from mixerlib.records import Epoch, Record
from mixerlib.training import Difference, accuracies, yardstick

LOG = audit.load(ROOT / "book" / "published.yaml").logs["convmixer-cifar10"]
page = functions_of([ROOT / "notebooks" / "14-results.md"])
given = {"accuracies": accuracies, "yardstick": yardstick, "Difference": Difference}
page["log_text"].__globals__.update(given | {"listed": listed, "signed": signed})


def run(seed: int = 0, points: float = 0.0) -> Record:
    """A run whose test accuracies lie so many points above the log's, and training at the log's."""
    curve = [
        Epoch(
            epoch=number + 1,
            learning_rate=rate,
            train_loss=1.0,
            train_accuracy=LOG.train_accuracy[number],
            test_loss=1.0,
            test_accuracy=LOG.test_accuracy[number] + points / 100,
            training_seconds=1.0,
        )
        for number, rate in enumerate(LOG.learning_rate)
    ]
    made = made_record(curve=curve, test_accuracy=curve[-1].test_accuracy, seed=seed)
    return replace(made, test_images=10_000, settings=made.settings | {"precision": "float32"})


def test_without_a_run_the_log_speaks_for_itself():
    text = page["log_text"](LOG, [])
    falls = np.diff(LOG.test_accuracy)[:20] < 0
    assert f"falls after {falls.sum()} of the first 20 epochs, by up to 6.7 points" in text
    assert "in the last 4 it moves by at most 0.10" in text
    assert text.endswith("No run of ours stands beside it yet.")


def test_runs_are_compared_epoch_by_epoch():
    text = page["log_text"](LOG, [run(points=0.25)])
    assert "(rings) and ours (lines). In training they are never more than 0.0 points" in text
    assert "differ by up to 0.2 points" in text and "last 5 epochs by at most 0.25." in text
    assert "the mean of 2 of ours" in page["log_text"](LOG, [run(), run(1)])


@pytest.mark.parametrize(
    ("points", "verdict"),
    [
        (0.3, "No difference is shown."),
        (1.0, "Ours is higher than such scatter explains."),
        (-1.0, "Ours is lower than such scatter explains."),
    ],
)
def test_the_verdict_is_that_of_two_single_runs(points, verdict):
    text = page["log_verdict"](LOG, [run(points=points)])
    half = 1.96 * np.sqrt(2) * yardstick(92.6, 10_000)
    assert text.startswith(f"Ours ends at **{92.6 + points:.2f} per cent**, theirs at **92.60**")
    assert f"{half:.2f} points" in text and verdict in text and "in float32 on" in text
