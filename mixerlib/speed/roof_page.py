"""The roofline machine: turn a machine's two rates, and see two networks race on it."""

import json
import re
from collections import Counter
from collections.abc import Mapping

import torch

from mixerlib.pages import IN_PAPER, LABELS, Interactive
from mixerlib.pages.colors import ACCENT, COLORS, GREY, INK, WARM
from mixerlib.pages.interactives import SAID, buttons, choice, controls, guess, part, script, slider
from mixerlib.speed.bench import model_of
from mixerlib.speed.cases import Case
from mixerlib.speed.machine import DATA_SHEETS, Rates
from mixerlib.speed.roofline_report import bills, roles_of
from mixerlib.speed.rooflines import ROLES

MODELS = {family: f"{family}_256_8" for family in IN_PAPER}
FILLS = ((ACCENT, 1), (ACCENT, 0.5), (WARM, 1), (WARM, 0.65), (WARM, 0.35), (GREY, 1))
WIDTHS = {"float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2}  # bytes of a number
FORMS = {"alone": "one by one", "fused": "ideally fused"}
ROLE_OF_PART = {"spatial mixing": "depthwise", "channel mixing": "channel mixing"}
FIRST = "V100"
STEPS = 20  # of a slider, from a rate to ten times that


def rows_of(model: str, fused: bool = False) -> list[list[int | float]]:
    """Layers with equal bills together: the place of their role in `ROLES`, how many they are, and
    for one of them MACs and numbers moved of one image, and weights."""
    bill, case = bills(model, fused=fused), Case(model)
    roles = ROLE_OF_PART if fused else roles_of(model_of(case, torch.device("meta")))
    equal: Counter[tuple] = Counter()
    for name, *counts in zip(bill.parts, bill.macs, bill.moved, bill.weights, strict=True):
        place = re.sub(r"^blocks\.\d+\.", "blocks.*.", name)
        role = ROLES.index(roles.get(name, "stem and head"))
        equal[place, role, *(int(n) if n == int(n) else float(n) for n in counts)] += 1
    return [[role, many, *counts] for (_, role, *counts), many in equal.items()]


def _still() -> str:
    """Both models' least time on a machine, as stacked bars, by what the layers are."""
    sheet = DATA_SHEETS[FIRST]
    rates, drawn, sums = sheet.rates(), "", []
    for place, family in enumerate(("convmixer", "splitmixer_i")):
        spent = [0.0] * len(ROLES)  # microseconds
        for role, many, macs, moved, _ in rows_of(MODELS[family]):
            seconds = max(macs / rates.macs_per_second, 4 * moved / rates.copy_bytes_per_second)
            spent[int(role)] += 1e6 * many * seconds
        sums.append(sum(spent))
        x = 0.0
        drawn += f'<text x="0" y="{40 * place + 11}">{LABELS[family]}, {sums[-1]:.1f} µs</text>'
        for role, (color, opacity) in enumerate(FILLS):
            width = 300 * spent[role] / sums[0]
            drawn += (
                f'<path d="M{x:.1f} {40 * place + 15}h{width:.1f}v16h-{width:.1f}z" '
                f'fill="{color}" fill-opacity="{opacity}"/>'
            )
            x += width
    words = (
        f"The least time of one image of many on {sheet.name} by its data sheet: ConvMixer "
        f"{sums[0]:.1f} µs, SplitMixer-I {sums[1]:.1f} µs. Violet are convolutions, brown the "
        "layers that only move numbers."
    )
    return (
        f'<svg viewBox="0 0 420 76" role="img" aria-label="{words}" font-size="11" '
        f'fill="currentColor">{drawn}</svg><p>{words}</p>'
    )


def _machines(recorded: Mapping[str, Rates]) -> dict[str, dict]:
    """What the script knows of the machines, in 10⁹ a second: bytes, and MACs by dtype."""
    known = {
        f"recorded{place}": {"float32": rates} for place, rates in enumerate(recorded.values())
    }
    for key, sheet in DATA_SHEETS.items():
        known[key] = {dtype: sheet.rates(dtype) for dtype in sheet.macs_per_second}
    return {
        key: {
            "bytes": of["float32"].copy_bytes_per_second / 1e9,
            "macs": {dtype: rates.macs_per_second / 1e9 for dtype, rates in of.items()},
        }
        for key, of in known.items()
    }


def _body(machines: Mapping[str, str]) -> str:
    """The guess, the controls, two drawings and the sentence."""
    rivals = {family: LABELS[family] for family in list(MODELS)[1:]}
    numbers = {dtype: f"{dtype}, {width} bytes" for dtype, width in WIDTHS.items()}
    asked = guess(
        f"A new machine multiplies twice as fast as {DATA_SHEETS[FIRST].name}, and its memory "
        "is as fast as before. What becomes of SplitMixer-I's speed, in times of ConvMixer's?",
        {"more": "it grows", "same": "it stays", "less": "it shrinks"},
    )
    hands = controls(
        choice("machine", "Machine", machines, FIRST),
        choice("dtype", "Numbers", numbers, "float32"),
        slider("macs", "Arithmetic", 1 * STEPS, 6 * STEPS, 1 * STEPS),  # the script sets both
        slider("bytes", "Memory", 1 * STEPS, 4 * STEPS, 1 * STEPS),
        choice("family", "Against ConvMixer", rivals, "splitmixer_i"),
        choice("batch", "Batch", {b: b for b in ("1", "8", "64", "512")}, "64"),
        choice("form", "Operations", FORMS, "alone"),
    )
    return f"""{asked}
{hands}
<div class="sights">
<svg class="drawing" viewBox="0 0 340 240" role="img" aria-label=""></svg>
<svg class="race" viewBox="0 0 340 240" role="img" aria-label="The two times as bars, and the speed
 on machines of every balance"></svg>
</div>
{buttons(race="Race")}
{SAID}"""


def roofline_machine(recorded: Mapping[str, Rates] | None = None) -> Interactive:
    """How fast the strategies are on any machine, by the roofline; chapter 18 derives it.

    The reader guesses what faster arithmetic does to SplitMixer's lead, turns the machine's two
    rates or takes a machine, and lets two networks race. The numbers are those of `bills`, layer by
    layer, for batches that read their weights once.

    Args:
        recorded: machines that were measured in float32, besides those of `DATA_SHEETS`: what the
            reader sees → its rates.

    >>> from mixerlib.speed import Rates, roofline_machine
    >>> roofline_machine({"a machine of mine": Rates(1e11, 5e10)}).name
    'roof'
    """
    recorded = recorded or {}
    machines = _machines(recorded)
    shown = [*recorded, *(f"{sheet.name}, data sheet" for sheet in DATA_SHEETS.values())]
    names = dict(zip(machines, shown, strict=True)) | {"own": "your own"}
    data = {
        "machines": machines,
        "widths": WIDTHS,
        "roles": ROLES,
        "fills": FILLS,
        "colors": {f: "currentColor" if COLORS[f] == INK else COLORS[f] for f in MODELS},
        "first": FIRST,
        "steps": STEPS,
        "rows": {
            family: {form: rows_of(model, form == "fused") for form in FORMS}
            for family, model in MODELS.items()
        },
    }
    return Interactive(
        "roof",
        "Roofline machine: two networks on any machine",
        _body(names),
        script(f"const data = {json.dumps(data, separators=(',', ':'))};", part("roof.js")),
        still=_still(),
        style=part("roof.css"),
    )
