"""Finished runs played again: what a page shows in the place of a training desk.

A desk trains, which needs a kernel. The page has the runs' records, and plays their curves epoch by
epoch.
"""

import json
from collections.abc import Sequence
from html import escape

from mixerlib.pages.interactives.base import (
    Interactive,
    buttons,
    choice,
    controls,
    guess,
    part,
    script,
    slider,
)
from mixerlib.pages.interactives.mixer import Guess
from mixerlib.records import Record

QUANTITIES = ("loss", "accuracy")
VALUES = ("epoch", "train_loss", "test_accuracy")


def replay(
    records: Sequence[Record],
    charts: Sequence[str],
    area: tuple[int, int, int],
    legend: str,
    still: str,
) -> Interactive:
    """The curves of runs, to be played.

    Args:
        records: the runs; the guess is about the first.
        charts: of their loss and of their accuracy, whole: SVG, whose curves are polylines.
        area: where the curves lie in a chart, in its units: from the left edge, its width, and the
            height of all.
        legend: whose curve is whose, as HTML.
        still: the figure where no script runs, and on paper.

    Raises `ValueError` where there is no run.
    """
    if not records:
        raise ValueError(f"`records`={records!r} must hold a run at least")
    epochs = max(row.epoch for record in records for row in record.curve)
    asked = _asked(records[0])
    left, width, height = area
    data = {
        "epochs": epochs,
        "left": left,
        "width": width,
        "height": height,
        "runs": [
            {
                "label": f"{record.recipe}, seed {record.seed}",
                "curve": [{name: getattr(row, name) for name in VALUES} for row in record.curve],
            }
            for record in records
        ],
        "guess": {"right": asked.right, "text": asked.text},
    }
    drawn = "".join(
        f'<div data-quantity="{quantity}">{svg}</div>'
        for quantity, svg in zip(QUANTITIES, charts, strict=True)
    )
    body = (
        guess(escape(asked.question), asked.answers)
        + controls(
            choice("quantity", "Show", {name: name for name in QUANTITIES}, "accuracy"),
            slider("epochs", "Epochs done", 0, epochs, 0),
        )
        + buttons(play="Play", step="Step", again="Again")
        + f'<div class="drawing" role="group" aria-label="" tabindex="0">{drawn}{legend}</div>'
    )
    return Interactive(
        "replay",
        "Training runs, played again",
        body,
        script(f"const data = {json.dumps(data)};", part("replay.js")),
        still=still,
        style=part("frames.css"),
    )


def _asked(record: Record) -> Guess:
    """What the reader guesses first: how many test images come out right at the end."""
    share = record.test_accuracy
    answers = {f"{answer:.0%}": answer for answer in (share / 2, (1 + share) / 2, 1.0, share)}
    return Guess(
        f"How many of the test images does {record.recipe} read right after the last of its "
        f"{len(record.curve)} epochs?",
        tuple(sorted(answers, key=answers.__getitem__)),
        f"{share:.0%}",
        f"It reads {share:.1%} of them right. Watch when it comes to that.",
    )
