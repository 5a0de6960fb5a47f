"""The curves of several runs as one SVG drawing, in the page's ink."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from mixerlib.pages.colors import ACCENT, COLORS, GREY, WARM
from mixerlib.records import Epoch

WIDTH, HEIGHT = 600, 260
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 10, 38  # margins
AREA = LEFT, WIDTH - LEFT - RIGHT, HEIGHT  # where curves lie: from the left, how wide, how high
LOOK = "width: 100%; min-width: 460px; max-width: 720px; height: auto"  # letters stay readable
PALETTE = (ACCENT, *(c for n, c in COLORS.items() if n.startswith("splitmixer_i")), WARM, GREY)


@dataclass(frozen=True)
class Line:
    """A run as it is drawn.

    Args:
        label: what it is called.
        curve: its epochs so far.
        points: of the epoch under way: (epochs done, loss, accuracy) in training.
    """

    label: str
    curve: Sequence[Epoch]
    points: Sequence[tuple[float, float, float]] = field(default=())

    def training(self, quantity: str) -> list[tuple[float, float]]:
        """(Epochs done, value) in training; `quantity` is "loss" or "accuracy"."""
        done = [(float(row.epoch), float(getattr(row, f"train_{quantity}"))) for row in self.curve]
        place = 1 if quantity == "loss" else 2
        return done + [(point[0], point[place]) for point in self.points]

    def test(self, quantity: str) -> list[tuple[float, float]]:
        """(Epochs done, value) on the test set, where it was looked at."""
        rows = [(float(row.epoch), getattr(row, f"test_{quantity}")) for row in self.curve]
        return [(epoch, value) for epoch, value in rows if value is not None]


def color_of(number: int) -> str:
    """The colour of the run of this number, from 0."""
    return PALETTE[number % len(PALETTE)]


def chart(lines: Sequence[Line], quantity: str, says: str) -> str:
    """The runs' curves, thin in training and thick on the test set, as `<svg>`.

    A loss has a logarithmic axis. Values that are not finite, or no loss above 0, are left out.
    """
    log = quantity == "loss"
    kept = [
        [_drawable(values(quantity), log) for values in (line.training, line.test)]
        for line in lines
    ]
    everything = [point for both in kept for values in both for point in values]
    most = max((x for x, _ in everything), default=1.0)
    last = max(1, math.ceil(most))
    low, high = _range([y for _, y in everything], log)

    def place(x: float, y: float) -> str:
        share = (_scale(y, log) - _scale(low, log)) / (_scale(high, log) - _scale(low, log))
        across = LEFT + x / last * (WIDTH - LEFT - RIGHT)
        return f"{across:.1f},{HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM):.1f}"

    drawn = []
    for number, (training, test) in enumerate(kept):
        look = f'fill="none" stroke="{color_of(number)}"'
        for values, wide in ((training, 1.3), (test, 2.8)):
            path = " ".join(place(x, y) for x, y in values)
            drawn.append(f'<polyline points="{path}" {look} stroke-width="{wide}"/>')
            if values:
                x, y = place(*values[-1]).split(",")
                drawn.append(f'<circle cx="{x}" cy="{y}" r="{wide + 0.6}" {look}/>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(says)}" '
        f'style="{LOOK}" font-size="12" fill="currentColor">'
        f"{_axes(last, low, high, log, place, quantity)}{''.join(drawn)}</svg>"
    )


def _drawable(values: list[tuple[float, float]], log: bool) -> list[tuple[float, float]]:
    return [(x, y) for x, y in values if math.isfinite(y) and (y > 0 or not log)]


def _scale(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def _range(values: list[float], log: bool) -> tuple[float, float]:
    """The ends of the vertical axis."""
    if not log:
        return 0.0, 1.0
    low, high = min(values, default=0.1), max(values, default=3.0)
    low, high = low / 1.1, high * 1.1
    return low, max(high, 2 * low)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis, from three to eight where there are so many."""
    ticks: list[float] = []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), [n / 10 for n in range(10, 100)]):
        every = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
        ticks = [tick for tick in every if low <= tick <= high]
        if len(ticks) >= 3:
            break
    return ticks[:: math.ceil(len(ticks) / 8)]


def _axes(
    last: int,
    low: float,
    high: float,
    log: bool,
    place: Callable[[float, float], str],
    quantity: str,
) -> str:
    """Grid lines with their numbers, and what the axes show."""
    ticks = _ticks(low, high) if log else [0, 0.25, 0.5, 0.75, 1]
    parts = []
    for tick in ticks:
        y = float(place(0, tick).split(",")[1])
        words = f"{tick:g}" if log else f"{tick:.0%}"
        parts.append(
            f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity="0.2"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{words}</text>'
        )
    step = max(1, math.ceil(last / 8))
    for epoch in range(0, last + 1, step):
        x = place(epoch, low).split(",")[0]
        parts.append(f'<text x="{x}" y="{HEIGHT - 22}" text-anchor="middle">{epoch}</text>')
    middle = (WIDTH + LEFT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">epochs; {quantity}, '
        "thin: training, thick: test</text>"
    )
    return "".join(parts)


def legend(labels: Sequence[str]) -> str:
    """Each run's colour and words, as a list in HTML."""
    rows = []
    for number, words in enumerate(labels):
        swatch = f"display: inline-block; width: 1.6em; border-top: 4px solid {color_of(number)}"
        rows.append(
            f'<li><span style="{swatch}; vertical-align: middle" aria-hidden="true"></span> '
            f"{escape(words)}</li>"
        )
    inside = "".join(rows)
    return f'<ul style="list-style: none; padding: 0; margin: 0">{inside}</ul>' if rows else ""
