"""The explorer of chapter 11: turn the options of a model and see what it costs and who hears whom.

The script's formulas are written by sympy from the expressions of `mixerlib.costs`; nothing is
computed twice by hand. Its picture is a canvas: a point for each of up to 512 × 512 pairs.
"""

from fractions import Fraction

from mixerlib import costs
from mixerlib.models import model_entry
from mixerlib.pages.interactives.base import (
    Interactive,
    choice,
    controls,
    formulas_script,
    guess,
    part,
    script,
    slider,
)
from mixerlib.pages.interactives.families import families_script, page_colors
from mixerlib.pages.tables import LABELS, SHORT_LABELS

QUANTITIES = ("params", "macs", "activations", "moved", "moved_fused")
RATIOS = ("1", "3/4", "2/3", "3/5", "4/7", "5/9", "6/11")
SIDES = ("32", "64", "96", "224")

TABLE = """<div class="results">
<div class="numbers" tabindex="0" role="region" aria-label="Costs"><table>
<thead><tr><th scope="col">for one image</th><th scope="col">this model</th>
<th scope="col">ConvMixer</th><th scope="col">difference</th></tr></thead><tbody></tbody></table>
</div><div class="reach"><canvas class="drawing" width="256" height="256" role="img" aria-label="">
</canvas></div></div>"""


def _body() -> str:
    splits = {family: SHORT_LABELS[family] for family in LABELS if family != "convmixer"}
    return (
        guess(
            "With the controls as they stand: which strategy needs the fewest multiplications?",
            splits,
        )
        + controls(
            choice("family", "Strategy", LABELS, "splitmixer_i"),
            slider("h", "Width h", 8, 512, 256),
            slider("d", "Depth d", 1, 32, 8),
            slider("k", "Kernel k", 1, 11, 5),
            slider("p", "Patch p", 1, 16, 2),
            choice("side", "Image side, pixels", {side: side for side in SIDES}, "32"),
            choice("alpha", "Ratio α", {str(Fraction(r)): r for r in RATIOS}, "2/3"),
            slider("s", "Segments s", 1, 16, 2),
            choice("shuffle", "Shuffle the channels", {"0": "no", "1": "yes"}, "0"),
            slider("blocks", "Blocks passed", 0, 32, 2),
        )
        + TABLE
    )


def _still() -> str:
    """The MACs of every family at the papers' size for CIFAR-10, as bars with a caption."""
    bars, widest = [], 0.0
    for family in LABELS:
        defaults = dict(model_entry(f"{family}_256_8").defaults)
        macs = costs.formulas(family).counts(defaults, 32).total("macs")
        widest = max(widest, macs)
        bars.append((SHORT_LABELS[family], macs, page_colors()[family]))
    rows = "".join(
        f'<text x="92" y="{22 * row + 14}" text-anchor="end">{label}</text>'
        f'<rect x="100" y="{22 * row + 2}" width="{200 * macs / widest:.1f}" height="16" '
        f'fill="{color}"/><text x="{106 + 200 * macs / widest:.1f}" y="{22 * row + 14}">'
        f"{macs / 1e6:.0f} M</text>"
        for row, (label, macs, color) in enumerate(bars)
    )
    words = "Multiply-accumulates for one image of 32 × 32 pixels, at 256 channels and 8 blocks."
    return (
        f'<svg viewBox="0 0 360 {22 * len(bars)}" role="img" aria-label="{words}">{rows}</svg>'
        f"<p>{words}</p>"
    )


class Explorer:
    """The explorer of chapter 11, as the last value of a notebook's cell.

    >>> from mixerlib.pages import Explorer
    >>> explorer = Explorer()
    """

    def _repr_html_(self) -> str:
        code = (families_script(), formulas_script(LABELS, QUANTITIES), part("explorer.js"))
        return Interactive(
            "explorer",
            "Explorer of the design space",
            _body(),
            script(*code),
            still=_still(),
            style=part("explorer.css"),
        )._repr_html_()
