"""What would make a model faster, by its roofline: less time above the roof, or fewer bytes.

Chapter 18b. `race` is a race of rooflines, and each gain is of one model in one race.
"""

from collections import Counter

from mixerlib.models import model_entry
from mixerlib.pages import SHORT_LABELS, machine_name, span, table
from mixerlib.speed.cases import DTYPES
from mixerlib.speed.roofline_report import bills, by_role
from mixerlib.speed.roofline_text import the_layers
from mixerlib.speed.rooflines import ROLES, Roofline, RooflineRace

CHANGED = ROLES[:-1]  # stem and head are left as they are
SHORT = {"channel mixing": "mixing", "BatchNorm": "norms", "residual sum": "sum"}


def gains_at_best(report: Roofline) -> dict[str, float]:
    """How many times as fast as its layers were measured a model would be, by what changes.

    For each of `CHANGED`, its layers take their time at best and all others what was measured;
    "all", every layer takes its time at best; "fused", so do the ideally fused kernels. Raises
    `ValueError` for a model without closed forms.
    """
    needed, took = by_role(report)
    whole = took.total()
    times = {role: whole - max(0.0, took[role] - needed[role]) for role in CHANGED}
    fused = bills(report.model, report.options, report.image_size, fused=True)
    at_best = fused.seconds(report.machine, DTYPES[report.dtype].itemsize)
    times |= {"all": needed.total(), "fused": report.batch * at_best}
    return {change: whole / seconds for change, seconds in times.items()}


def gains_table(race: RooflineRace) -> str:
    """The gains of each model of a race, a column for what changes."""
    changes = [*CHANGED, "all", "fused"]
    rows = []
    for report in race.reports:
        gains = gains_at_best(report)
        short = SHORT_LABELS[model_entry(report.model).family]
        rows.append([short, *(f"{gains[change]:.2f}" for change in changes)])
    return table(["", *(SHORT.get(change, change) for change in changes)], rows)


def gains_say(race: RooflineRace) -> str:
    """From which layers most is to be had, and what it is worth if all are at their roofs, or at
    those of ideally fused kernels."""
    above: Counter[str] = Counter()
    for report in race.reports:
        needed, took = by_role(report)
        for role in CHANGED:
            above[role] += max(0.0, took[role] - needed[role]) / took.total()  # type: ignore[assignment]
    first, second = (the_layers(role) for role, _ in above.most_common(2))
    gains = [gains_at_best(report) for report in race.reports]
    roofs, fused = (span([one[change] for one in gains], "{:.1f}") for change in ("all", "fused"))
    where = machine_name(race.provenance, race.reports[0].settings)
    return (
        f"On {where} most is to be had, on average over the models, from **{first}**, and then "
        f"from **{second}**. With every layer at its roof the models would be {roofs} times as "
        f"fast as measured, and with ideally fused kernels at theirs {fused} times."
    )
