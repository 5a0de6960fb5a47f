"""News travels: tell one channel something, and see block by block who has heard of it."""

from mixerlib import checks
from mixerlib.costs import mixing_steps, reach
from mixerlib.models import create_model
from mixerlib.pages.interactives.base import (
    Interactive,
    buttons,
    choice,
    controls,
    formulas_script,
    guess,
    part,
    script,
    slider,
)
from mixerlib.pages.interactives.families import families_script, page_colors
from mixerlib.pages.tables import LABELS

CHANNELS, BLOCKS = 24, 8  # of the drawing: few enough to touch one
SEGMENTS = ("2", "3", "4")  # each divides the channels
ANSWERS = {n: n for n in "1234"} | {"more": "more", "never": "never"}


def _still(family: str) -> str:
    """The way of the news of the last channel, block by block, as SVG with its caption."""
    steps = mixing_steps(create_model(family, dim=CHANNELS, depth=BLOCKS))
    color, cell, pitch = page_colors()[family], 13, 24
    mixed, told = "", ""
    for block in range(BLOCKS):
        heard = reach(CHANNELS, steps[: block + 1])[:, -1]
        for start, width in steps[block][0]:
            mixed += f"M{start * cell} {block * pitch}h{width * cell - 1}v15h{1 - width * cell}z"
        for q in heard.nonzero()[0]:
            told += f"M{q * cell} {block * pitch}h{cell - 1}v15h{1 - cell}z"
    bars = f'<path d="{mixed}" fill="{color}" opacity="0.2"/><path d="{told}" fill="{color}"/>'
    words = (
        f"{LABELS[family]}: each strip is a block and its {CHANNELS} channels. In full colour "
        "stand those that have heard of the last channel, in a pale tone what the block mixes."
    )
    return (
        f'<svg viewBox="0 0 {CHANNELS * cell} {BLOCKS * pitch}" role="img" aria-label="{words}">'
        f"{bars}</svg><p>{words}</p>"
    )


def news_travels(family: str = "splitmixer_i", folded: bool = False) -> Interactive:
    """How news of one channel spreads through the blocks of a strategy; chapter 11 derives it.

    The reader guesses when all have heard, tells a channel, and lets the blocks pass; `folded`, it
    takes one line until it is opened. Raises `ValueError` for a family without channel mixing of
    this kind.

    >>> from mixerlib.pages import news_travels
    >>> news_travels("splitmixer_iii").options
    {'family': 'splitmixer_iii'}
    """
    checks.one_of("family", family, tuple(LABELS))
    body = (
        guess("", ANSWERS)
        + controls(
            choice("family", "Strategy", LABELS, family),
            slider("channel", "Channel told", 1, CHANNELS, CHANNELS),
            choice("s", "Segments s", {s: s for s in SEGMENTS}, "2"),
            choice("shuffle", "Shuffle the channels", {"0": "no", "1": "yes"}, "0"),
        )
        + '<svg class="drawing" role="img" aria-label=""></svg>'
        + buttons(play="Play", step="Step", again="Start again")
        + controls(slider("blocks", "Blocks passed", 0, BLOCKS, 0))
    )
    formulas = formulas_script(LABELS, ("params",), layer="channel mixing")
    return Interactive(
        "news",
        "News travels: who has heard of a channel, block by block",
        body,
        script(families_script(), formulas, part("news.js")),
        still=_still(family),
        style=part("news.css"),
        options={"family": family},
        folded="Try it: tell a channel something, and see who hears of it" if folded else "",
    )
