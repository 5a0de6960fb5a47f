"""What records say of two models beside one another: in which form, and in which layers, one of
them is faster. Chapter 17b.

`races` is what `model_races` gives for one device. Every ratio is of one race, round by round.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mixerlib.models import model_entry
from mixerlib.pages import LABELS, listed, percent, span, table, unbroken
from mixerlib.speed.cases import Result
from mixerlib.speed.race_text import NOTHING, Races, macs_of, speed, times
from mixerlib.speed.reports import FORMS, STOCK, fastest_forms, speedups_over
from mixerlib.speed.roofline_report import by_role
from mixerlib.speed.roofline_text import in_rounds, predicted_speed
from mixerlib.speed.rooflines import Roofline, RooflineRace
from mixerlib.speed.timing import Timing, ratios

DTYPES = ("float32", "bfloat16")
LAYOUT = STOCK | {"channels_last": True, "compile": False}
COMPILED = STOCK | {"compile": True}  # in the faster layout
FAST: dict[str, Any] = {"implementation": "fast"}


def gains_by_form(races: Races, base: str, other: str) -> dict[str, Timing]:
    """How many times as fast as the model `base` the `other` one was, in each of `FORMS` in which
    both ran in one race."""
    found = {form: speedups_over(races, base, **values) for form, values in FORMS.items()}
    return {form: of[other] for form, of in found.items() if other in of}


def pair_table(races: Races, base: str, other: str) -> str:
    """Images a second of two models in each form, and the ratio of the second to the first."""
    cells = [fastest_forms(races[name], name) for name in (base, other)]
    rows = [
        [form, *(speed(of.get(form)) for of in cells), times(gain)]
        for form, gain in gains_by_form(races, base, other).items()
    ]
    names = _label(base), _label(other)
    return table(["form", *names, unbroken(f"{names[1]} : {names[0]}")], rows)


def pair_verdict(races: Races, base: str, other: str, printed: float) -> str:
    """In how many forms the second model is surely faster, and what was printed and promised."""
    gains = gains_by_form(races, base, other).values()
    faster = sum(gain.interval()[0] > 1 for gain in gains)
    race = races[other]
    slow = min((r for r in race.results if r.case.model == base), key=_images)
    quick = max((r for r in race.results if r.case.model == other), key=_images)
    fewer = macs_of(slow.case) / macs_of(quick.case)
    return (
        f"{_label(other)} is surely the faster one in {faster or 'none'} of these {len(gains)} "
        f"forms. It has {span(gain.median for gain in gains)} times {_label(base)}'s speed, where "
        f"{printed:.2f} is printed and its MACs promise {fewer:.2f}. In its fastest form of all it "
        f"is {times(race.speedup(slow, quick))} times as fast as {_label(base)} in its slowest."
    )


def changes_table(races: Races, names: Sequence[str]) -> str:
    """How many times as fast as its own plain form in the same dtype each model is in another
    layout, compiled, and in its fast form."""
    changes = {"channels last": LAYOUT, "compiled": COMPILED, "fast": FAST}
    rows = [
        [f"{change}, {dtype}", *(times(_gain(races, name, dtype, values)) for name in names)]
        for dtype in DTYPES
        for change, values in changes.items()
    ]
    kept = [row for row in rows if any(cell != NOTHING for cell in row[1:])]
    return table(["beside plain", *map(_label, names)], kept)


def changes_sentence(races: Races, names: Sequence[str]) -> str:
    """What the compiler, the other layout by itself and the fast form do to each model, in all
    dtypes."""
    told = {
        "compiled, in the faster layout": COMPILED,
        "in channels last without a compiler": LAYOUT,
        "in the fast form": FAST,
    }
    parts = []
    for change, values in told.items():
        gains = {name: _gains(races, name, values) for name in names}
        of_models = [
            f"{_label(name)} {span(medians)}" for name, medians in gains.items() if medians
        ]
        parts += [f"{change}, {listed(of_models)}"] if of_models else []
    text = (
        "Beside its own plain form in the same number format each model runs so many times as "
        f"fast: {'; '.join(parts)}."
    )
    compiled = [_gains(races, name, COMPILED) for name in names]
    if all(compiled) and min(compiled[0]) > 1 > max(compiled[-1]):
        text += " Compiling helped the one and hurt the other; why, no record shows."
    return text


def _gains(races: Races, name: str, values: Mapping[str, Any]) -> list[float]:
    """The medians in the dtypes that ran."""
    return [gain.median for dtype in DTYPES if (gain := _gain(races, name, dtype, values))]


def _gain(races: Races, name: str, dtype: str, values: Mapping[str, Any]) -> Timing | None:
    report = races[name]
    plain = STOCK | {"channels_last": False, "compile": False}
    pair = [report.fastest(model=name, dtype=dtype, **form) for form in (plain, values)]
    return report.speedup(*pair)


def where_the_time_goes(race: RooflineRace, base: str, other: str) -> str:
    """What share of `base`'s time its mixings take, and how long the `other` model's mixings and
    depthwise convolutions take beside it, with their MACs and how near to the roof they come.

    Raises `ValueError` for a model that did not run in this race.
    """
    low, high = predicted_speed(race, base, other)
    roles = "channel mixing", "depthwise"
    reports = [report for name in (base, other) if (report := race.of(name)) is not None]
    first, second = (_label(report.model) for report in reports)
    share, deep = (_share(reports[0], role) for role in roles)
    roofs = [percent(_reached(report, "depthwise")) for report in reports]
    mixing, depthwise = (_times_as_long(reports[0], reports[1], role) for role in roles)
    fewer = [_macs(reports[1], role) / _macs(reports[0], role) for role in roles]
    return (
        f"{first}'s channel mixings take {percent(share)} of the time of its layers, so with all "
        f"of that saved it would be {1 / (1 - share):.2f} times as fast. {second}'s mixings have "
        f"{fewer[0]:.2f} times their MACs, and take {times(mixing)} times as long. "
        f"{percent(deep)} of {first}'s time is in its depthwise convolutions, at {roofs[0]} of "
        f"their roof. {second}'s have {fewer[1]:.2f} times the MACs, reach {roofs[1]} of theirs, "
        f"and take {times(depthwise)} times as long. With every layer at the roof of this machine "
        f"{second} would be {span((low, high))} times as fast as {first}."
    )


def _share(report: Roofline, role: str) -> float:
    _, measured = by_role(report)
    return float(measured[role] / sum(measured.values()))


def _reached(report: Roofline, role: str) -> float:
    at_best, measured = by_role(report)
    return float(at_best[role] / measured[role])


def _macs(report: Roofline, role: str) -> int:
    return sum(layer.macs for layer in report.layers if layer.role == role)


def _times_as_long(base: Roofline, other: Roofline, role: str) -> Timing:
    """The time of the layers of a role in `other`, in those of `base`, round by round."""
    return ratios(in_rounds(other)[role], in_rounds(base)[role])


def _images(result: Result) -> float:
    return result.images_per_second


def _label(name: str) -> str:
    return LABELS[model_entry(name).family]
