"""How many seeds? A few runs of two models, again and again: how often is the better one shown?"""

import json
import math

import scipy  # loads `scipy.stats`, which takes a second, when it is used

from mixerlib.pages.colors import ACCENT, GREY, WARM
from mixerlib.pages.interactives.base import (
    Interactive,
    buttons,
    controls,
    guess,
    part,
    script,
    slider,
)

CONFIDENCE, POWER = 0.95, 0.8  # as chapter 14 has them
RUNS = range(2, 21)  # of each model
MOST_GAP, MOST_DEVIATION = 300, 200  # hundredths of a point, as far as the sliders go
ANSWERS = {str(n): f"about {n}" for n in (5, 20, 50, 80, 95)}
OUTCOMES = {
    "right": ("shown, rightly", ACCENT),
    "undecided": ("not shown", GREY),
    "wrong": ("shown, wrongly", WARM),
}

TABLE = (
    '<table><thead><tr><th scope="col">A difference is</th><th scope="col">so far</th>'
    '<th scope="col">of 100</th><th scope="col">expected</th></tr></thead><tbody>'
    + "".join(
        f'<tr data-outcome="{name}"><th scope="row"><i style="background:{color}"></i>{words}</th>'
        "<td></td><td></td><td></td></tr>"
        for name, (words, color) in OUTCOMES.items()
    )
    + "</tbody></table>"
)


def quantile(n: int) -> float:
    """Student's quantile for n runs of each of two models that share their spread."""
    return float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, 2 * n - 2))


def _shown(ratio: float, n: int) -> float:
    """How often n runs of each show a difference of so many deviations; chapter 14."""
    shift, freedom = ratio * math.sqrt(n / 2), 2 * n - 2
    above = scipy.stats.nct.sf(quantile(n), freedom, shift)
    below = scipy.stats.nct.cdf(-quantile(n), freedom, shift)
    return float(above + (0 if math.isnan(below) else below))  # nan is too small for scipy


def _still(gap: float, deviation: float) -> str:
    """The power curve at the gap and the deviation that it opens with."""
    shares = {n: _shown(gap / deviation, n) for n in RUNS}
    x, y = {n: 34 + 15 * (n - 2) for n in RUNS}, {n: 128 - 110 * s for n, s in shares.items()}
    line = "M" + "L".join(f"{x[n]} {y[n]:.1f}" for n in RUNS)
    ticks = "".join(
        f'<text x="{x[n]}" y="142" text-anchor="middle">{n}</text>' for n in (2, 5, 10, 15, 20)
    )
    levels = "".join(
        f'<path d="M30 {128 - 1.1 * p}h278" stroke="currentColor" stroke-opacity="0.25"/>'
        f'<text x="26" y="{132 - 1.1 * p}" text-anchor="end">{p}</text>'
        for p in (0, 50, 100)
    )
    words = (
        f"How many of 100 experiments show a difference of {gap:.2f} points where runs scatter by "
        f"{deviation:.2f}, against the runs of each model: {100 * shares[3]:.0f} with three runs."
    )
    return (
        f'<svg viewBox="0 0 340 150" role="img" aria-label="{words}" fill="currentColor" '
        f'font-size="11">{levels}{ticks}<path d="{line}" fill="none" stroke="{ACCENT}" '
        f'stroke-width="2"/><circle cx="{x[3]}" cy="{y[3]:.1f}" r="4" fill="{ACCENT}"/></svg>'
        f"<p>{words}</p>"
    )


def how_many_seeds(gap: float, deviation: float, folded: bool = False) -> Interactive:
    """Experiments with a few runs of two models, and how often they show which is better;
    chapter 14.

    The reader guesses how often, runs experiments one after the other, and sees intervals and a
    tally beside the power curve. All are simulated, from numbers that are the same every time.

    Args:
        gap: by how much one model is truly better, in points, at most 3.
        deviation: the standard deviation of single runs, in points, from 0.05 to 2.
        folded: whether it takes one line until it is opened.

    Raises `ValueError` for a gap or a deviation outside these bounds.

    >>> from mixerlib.pages import how_many_seeds
    >>> how_many_seeds(gap=0.26, deviation=0.72).name
    'seeds'
    """
    if not 0 <= gap <= MOST_GAP / 100:
        raise ValueError(f"`gap`={gap!r} must lie between 0 and {MOST_GAP / 100:g}")
    if not 0.05 <= deviation <= MOST_DEVIATION / 100:
        raise ValueError(
            f"`deviation`={deviation!r} must lie between 0.05 and {MOST_DEVIATION / 100:g}"
        )
    body = (
        guess("", ANSWERS)
        + controls(
            slider("gap", "A is truly better by, points", 0, MOST_GAP, round(100 * gap)),
            slider(
                "spread", "Deviation of a run, points", 5, MOST_DEVIATION, round(100 * deviation)
            ),
            slider("n", "Runs of each model", RUNS[0], RUNS[-1], 3),
        )
        + buttons(step="Run", play="Play", again="Start again")
        + '<svg class="drawing" viewBox="0 0 340 268" role="img" aria-label=""></svg>'
        + TABLE
    )
    exported = {
        "quantiles": {n: quantile(n) for n in RUNS},
        "normals": [float(scipy.stats.norm.ppf(p)) for p in ((1 + CONFIDENCE) / 2, POWER)],
        "target": POWER,
        "colors": {name: color for name, (_, color) in OUTCOMES.items()},
    }
    return Interactive(
        "seeds",
        "How many seeds? Experiments with a few runs of two models",
        body,
        script(
            "".join(f"const {name} = {json.dumps(value)};\n" for name, value in exported.items()),
            part("seeds.js"),
        ),
        still=_still(gap, deviation),
        style=part("seeds.css"),
        folded="Try it: guess how often a difference is shown, and run" if folded else "",
    )
