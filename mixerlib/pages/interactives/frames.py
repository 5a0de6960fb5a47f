"""Frames made beforehand: what a page shows in the place of a widget, which needs a kernel.

A widget computes what its controls ask for. Here all of that is computed before, a frame for each
setting of a few controls, and the page only chooses.

>>> from mixerlib.pages.interactives.frames import ANY, Turn, frames
>>> from mixerlib.pages.interactives.mixer import Guess
>>> asked = Guess("Which is larger?", ("1", "2"), "2", "Two is.")
>>> turns = [Turn("n", "Number", {"1": "one", "2": "two"}, "1")]
>>> made = {("1",): ("<b>1</b>", "This is one."), ("2",): ("<b>2</b>", "This is two.")}
>>> frames("Two numbers", asked, turns, made, still="<svg></svg>").name
'frames'
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from mixerlib.pages.interactives.base import Interactive, choice, controls, guess, part, script
from mixerlib.pages.interactives.mixer import Guess

ANY = "*"  # in the place of a control's value: the frame does not depend on it


@dataclass(frozen=True)
class Turn:
    """A control of frames: a list to choose from.

    Args:
        name: of the control.
        label: what stands beside it.
        options: value → what the reader sees.
        chosen: the value at first.
    """

    name: str
    label: str
    options: Mapping[str, str]
    chosen: str


def frames(
    label: str,
    asked: Guess,
    turns: Sequence[Turn],
    made: Mapping[tuple[str, ...], tuple[str, str]],
    still: str,
) -> Interactive:
    """An interactive that shows one of several frames, as its controls say.

    Args:
        label: what a screen reader calls it.
        asked: what the reader guesses first.
        turns: the controls.
        made: a value of each control, or `ANY` → (HTML, what is said of it).
        still: the figure where no script runs, and on paper.

    Raises `ValueError` where a setting of the controls has no frame, or more than one.
    """
    for values in itertools.product(*(turn.options for turn in turns)):
        fitting = [key for key in made if all(map(_fits, key, values))]
        if len(fitting) != 1:
            raise ValueError(f"`made` must have one frame for {values}, not {len(fitting)}")
    inside = "".join(f"<div data-frame hidden>{html}</div>" for html, _ in made.values())
    body = (
        guess(escape(asked.question), asked.answers)
        + controls(*(choice(t.name, t.label, t.options, t.chosen) for t in turns))
        + f'<div class="drawing" role="group" aria-label="" tabindex="0">{inside}</div>'
    )
    data = {
        "names": [turn.name for turn in turns],
        "keys": [*map(list, made)],
        "says": [says for _, says in made.values()],
        "guess": {"right": asked.right, "text": asked.text},
    }
    code = script(f"const data = {json.dumps(data)};", part("frames.js"))
    return Interactive("frames", label, body, code, still=still, style=part("frames.css"))


def _fits(part: str, value: str) -> bool:
    return part in (ANY, value)
