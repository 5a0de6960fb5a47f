"""What races of many models say, in tables and sentences for the pages. Chapters 17b and 19.

`races` is always what `model_races` gives for one device: model → the race that it ran in. A ratio
of two models is given only where both ran in one race.
"""

from collections.abc import Iterable, Mapping

from mixerlib.costs import formulas
from mixerlib.models import model_entry
from mixerlib.pages import (
    LABELS,
    SHORT_LABELS,
    digits,
    listed,
    machine,
    machine_name,
    span,
    table,
    unbroken,
)
from mixerlib.pages import preset_label as preset
from mixerlib.pages.tables import folded
from mixerlib.speed.cases import Benchmark, Case, Result
from mixerlib.speed.environment import keeps_memory, with_memory
from mixerlib.speed.reports import FORMS, PLAIN, fastest_forms, speedups_over
from mixerlib.speed.roofline_report import bills
from mixerlib.speed.timing import Timing

Races = Mapping[str, Benchmark]
Targets = Mapping[tuple[str, str], tuple[float, str]]  # form and base → the factor, in words too
ENOUGH = 6  # rounds: the fewest whose outermost runs hold a median with 95 per cent
NOTHING = "·"


def conditions(races: Races) -> str:
    """Where and how races were measured: machine, batches, rounds, dates, load and allocator."""
    reports = distinct(races)
    first = reports[0]
    counts = [len(report.results[0].seconds.runs) for report in reports]
    dates = sorted({report.provenance.date[:10] for report in reports})
    machines = dict.fromkeys(machine(one.provenance, one.settings) for one in reports)
    text = (
        f"**{'; '.join(machines)}.** {_batches(races)}{span(counts, '{}')} rounds, {listed(dates)}."
    )
    if first.load is not None:
        text += f" Meanwhile {first.load}."
    if min(counts) < ENOUGH:
        text += f" So few as {min(counts)} rounds hold no median with 95 per cent."
    if first.provenance.device == "cpu" and not keeps_memory(first.settings):
        text += " Nothing was set for glibc: mistake 7 of chapter 17 is in these times."
    return text


def _batches(races: Races) -> str:
    """The images of a batch and the blocks of a model, where all have the same."""
    cases = [result.case for report in distinct(races) for result in report.results]
    images = {(case.batch, case.image_size) for case in cases}
    if len(images) > 1:
        return ""
    ((batch, side),) = images
    depths = {{**model_entry(case.model).defaults, **case.options}.get("depth") for case in cases}
    blocks = f", {next(iter(depths))} blocks" * (len(depths) == 1)
    return f"Batches of {batch} images of {side}×{side}{blocks}, "


def distinct(races: Races) -> list[Benchmark]:
    """The races themselves, each once, in the order of their models."""
    reports: list[Benchmark] = []
    for report in races.values():
        if not any(report is one for one in reports):
            reports.append(report)
    return reports


def rows_say(races: Races) -> str:
    """Whether rows of a table of these races may be set against one another."""
    count = len(distinct(races))
    if count == 1:
        return "All of them ran in one race, in turn."
    return (
        "Along a row all numbers come from one race, in turn. Down a column they do not: here are "
        f"{count} races, each of another hour. That is mistake 5 of chapter 17, so rows of two "
        "races may not be set against one another."
    )


def in_order(races: Races, preset: str = "256_8") -> dict[str, Benchmark]:
    """The races of the models of one preset alone, as of "256_8_224", in the order of the book."""
    names = (f"{family}_{preset}" for family in LABELS)
    return {name: races[name] for name in names if name in races}


def forms_table(races: Races) -> str:
    """Images a second of each model in each of `FORMS` that any of them has."""
    cells = {name: fastest_forms(report, name) for name, report in races.items()}
    titles = [title for title in FORMS if any(title in of for of in cells.values())]
    rows = [
        [_label(name), *(speed(of.get(title)) for title in titles)] for name, of in cells.items()
    ]
    return table(["model", *titles], rows)


def speed(result: Result | None) -> str:
    """Images a second, or a dot where there is no such result."""
    return NOTHING if result is None else digits(result.images_per_second)


def times(timing: Timing | None, interval: bool = True) -> str:
    """A ratio with its interval: "1.33 (1.29–1.36)"; a dot where there is none."""
    if timing is None:
        return NOTHING
    low, high = timing.interval()
    return unbroken(f"{timing.median:.2f}" + f" ({low:.2f}–{high:.2f})" * interval)


def against_table(races: Races, base: str) -> str:
    """How many times as fast as the model `base` the others were, form by form, beside how many
    times fewer MACs they have; and a sentence. Empty where no other model ran in its race."""
    gains = {title: speedups_over(races, base, **values) for title, values in FORMS.items()}
    titles = [title for title, found in gains.items() if found]
    names = [name for name in races if any(name in gains[title] for title in titles)]
    if not names:
        return ""
    first = races[base].fastest(model=base)
    rows, fewer = [], {}
    for name in names:
        result = races[name].fastest(model=name)
        assert first is not None and result is not None  # they were compared
        fewer[name] = macs_of(first.case) / macs_of(result.case)
        cells = [times(gains[title].get(name)) for title in titles]
        rows.append([_label(name), f"{fewer[name]:.2f}", *cells])
    text, plain = table(["model", "fewer MACs", *titles], rows), gains["plain"]
    if not plain:
        return text
    less = sum(timing.interval()[1] < fewer[name] for name, timing in plain.items())
    faster = sum(timing.interval()[0] > 1 for timing in plain.values())
    if len(plain) == 1:  # the table has its ratio
        return text
    are = "is" if faster == 1 else "are"
    return (
        f"{text}\n\nIn the plain form {less} of {len(plain)} models surely gain less than their "
        f"MACs promise, and {faster} {are} surely faster than {_label(base)} at all."
    )


def macs_of(case: Case) -> float:
    """MACs for one image, from the closed forms."""
    entry = model_entry(case.model)
    options = dict(entry.defaults) | case.options
    return formulas(entry.family).counts(options, case.image_size).total("macs")


def peers_table(races: Races) -> str:
    """Each model as others write it, and how far the plain form is ahead; and sentences."""
    rows: list[list[str]] = []
    ahead: dict[str, dict[str, Timing]] = {"listing": {}, "timm": {}, "fast": {}}
    for name, report in races.items():
        plain = report.fastest(model=name, **PLAIN)
        if plain is None:
            continue
        label, case = unbroken(preset(name)), plain.case
        for form, of_models in ahead.items():
            other = report.fastest(model=name, implementation=form, dtype="float32")
            ratio = report.speedup(other, plain)
            if other is None or ratio is None:
                continue
            of_models[name] = ratio
            cells = [
                f"{case.batch} × {case.image_size}²",
                "fast (ours)" if form == "fast" else form,
                speed(other),
                speed(plain),
                times(ratio),
            ]
            rows.append([label, *map(unbroken, cells)])
            label = ""  # said once
    head = ["model", "images", "form", "images/s", "plain", "plain : form"]
    whose = {"listing": "the listings", "timm": "timm's models"}
    sentences = [_ahead(ahead[form], words) for form, words in whose.items() if ahead[form]]
    return f"{table(head, rows)}\n\n{' '.join(sentences)}"


def _ahead(ratios: Mapping[str, Timing], whose: str) -> str:
    """How much faster the plain forms are than others', with the intervals of the extremes."""
    ends = [pick(ratios, key=lambda name: ratios[name].median) for pick in (min, max)]
    words = [f"{times(ratios[name])} ({preset(name)})" for name in dict.fromkeys(ends)]
    sure = sum(timing.interval()[0] > 1 for timing in ratios.values())
    slower = sum(timing.interval()[1] < 1 for timing in ratios.values())
    return (
        f"The plain form runs {' to '.join(words)} times as fast as {whose}; surely faster in "
        f"{sure} of {len(ratios)} cases, surely slower in {slower}."
    )


def convolved_say(races: Races) -> str:
    """What the fast form gains in models whose linear layers it computes as convolutions, and how
    fast the machine multiplied in the same rounds by either way. Empty where there are none."""
    gains = {}
    for name, report in races.items():
        fast = report.fastest(model=name, implementation="fast", dtype="float32")
        form = None if fast is None else fast.chosen_form
        gain = report.speedup(report.fastest(model=name, **PLAIN), fast)
        if fast is not None and gain is not None and form is not None and form.convolved:
            batch, pieces = fast.case.batch, form.at_once or fast.case.batch
            how = f"convolutions{f', {pieces} images at once' * (pieces < batch)}"
            how += ", compiled" * form.compile
            gains[name] = f"{preset(name)} is {times(gain)} times as fast as plain ({how})"
    if not gains:
        return ""
    report = races[next(iter(gains))]
    where = with_memory(machine_name(report.provenance, report.settings), report.settings)
    text = f"On {where} the clock chose convolutions: {listed(gains.values())}."
    if report.machine is not None and len(ways := report.machine.ways) > 1:
        rates = [f"{digits(rate / 1e9)} by a {way}" for way, rate in ways.items()]
        text += f" In the same rounds it did a large product at {listed(rates)} (G MACs a second)."
    return text


def parts_of_gain(given: Races, kept: Races) -> str:
    """What of the fast form's gain is the allocator's, the compiler's and the algebra's.

    Each ratio is of one race: of that where glibc gives memory back, `given`, or of that where it
    keeps it. Empty where no model ran in both.
    """
    rows: list[list[str]] = []
    gains: dict[str, list[float]] = {"given": [], "kept": [], "compiler": [], "algebra": []}
    for name in [name for name in given if name in kept]:
        back, stay = (fastest_forms(races[name], name) for races in (given, kept))
        found = {
            "given": given[name].speedup(back.get("plain"), back.get("fast")),
            "kept": kept[name].speedup(stay.get("plain"), stay.get("fast")),
            "compiler": kept[name].speedup(stay.get("plain"), stay.get("best")),
            "algebra": kept[name].speedup(stay.get("best"), stay.get("fast")),
        }
        rows.append([_label(name), *map(times, found.values())])
        for key, timing in found.items():
            gains[key] += [timing.median] if timing else []
    if not rows or not all(gains.values()):
        return ""
    head = ["model", "fast : plain, given back", "fast : plain, kept"]
    head += ["best : plain, kept", "fast : best, kept"]
    spans = {key: span(values, "{:.1f}") for key, values in gains.items()}
    return (
        f"{folded('Model by model', table(head, rows))}\n\nWhere glibc gives its memory back, the "
        f"fast form is {spans['given']} times as fast as the plain one; where it keeps it, "
        f"{spans['kept']} times. What lies between the two, which are of two races, is the "
        f"allocator's. Of the second, layout and compiler give a factor of {spans['compiler']} "
        "without this book, and a model that is rewritten, compiled with its weights frozen in, "
        f"and given fewer images at once a factor of {spans['algebra']} beyond them."
    )


def targets_table(races: Races, targets: Targets) -> str:
    """How many times as fast as another each form is, and whether that reaches the target: ✓ and ✗
    where the interval lies on one side of it, ? where it does not."""
    rows = []
    for name in races:
        gains = _gains(races, name, targets)
        cells = [
            NOTHING if gains[pair] is None else f"{times(gains[pair])}\u00a0{_mark(gains[pair], x)}"
            for pair, (x, _) in targets.items()
        ]
        rows.append([_short(name), *cells])
    return table(["256/8", *(f"{form} : {base}" for form, base in targets)], rows)


def targets_verdict(races: Races, targets: Targets) -> str:
    """A line on each target: how many surely reach it, who surely does not, for whom it is open."""
    lines = []
    for pair, (target, words) in targets.items():
        gains = {_short(name): _gains(races, name, targets)[pair] for name in races}
        marks: dict[str, list[str]] = {"✓": [], "✗": [], "?": []}
        for label, gain in gains.items():
            if gain is not None:
                marks[_mark(gain, target)].append(f"{label} ({gain.median:.2f})")
        count = sum(map(len, marks.values()))
        line = f"- {words}: "
        if count:
            line += f"surely reached by {len(marks['✓'])} of {count} models"
            line += f"; surely not by {listed(marks['✗'])}" if marks["✗"] else ""
            line += f"; open for {listed(marks['?'])}" if marks["?"] else ""
        else:
            line += "not measured"
        lines.append(f"{line}.")
    return "\n".join(lines)


def _gains(races: Races, name: str, targets: Targets) -> dict[tuple[str, str], Timing | None]:
    forms = fastest_forms(races[name], name)
    return {
        (form, base): races[name].speedup(forms.get(base), forms.get(form))
        for form, base in targets
    }


def _mark(gain: Timing | None, target: float) -> str:
    assert gain is not None
    low, high = gain.interval()
    return "✓" if low >= target else "✗" if high < target else "?"


def bounds_table(races: Races) -> str:
    """The fast forms in float32 beside the time of all parts at the rates of a product and of a
    copy in the same race; and a sentence. Empty where the machine was not measured in the race."""
    rows, reached, room = [], [], []
    for name, report in races.items():
        forms = fastest_forms(report, name)
        fast, best = forms.get("fast"), forms.get("best")
        if report.machine is None or fast is None or best is None:
            continue
        case, rates = fast.case, report.machine.rates
        fused = bills(case.model, case.options, case.image_size, fused=True)
        by_macs = case.batch * fused.macs.sum() / rates.macs_per_second
        bound, took = case.batch * fused.seconds(rates), fast.seconds.median
        milliseconds = [f"{1e3 * seconds:.0f}" for seconds in (by_macs, bound, took)]
        rows.append([_short(name), *milliseconds, f"{bound / took:.0%}"])
        reached.append(bound / took)
        room.append(best.seconds.median / bound)
    if not rows:
        return ""
    head = ["256/8", "MACs alone", "at the roof", "fast form", "reached"]
    return (
        f"Milliseconds for a batch in float32:\n\n{table(head, rows)}\n\nThe fast forms reach "
        f"{span(reached, '{:.0%}')} of that. A form whose every part ran at the rates that product "
        f"and copy had in this race would gain {span(room)} times over the best stock form. It is "
        "no bound: a convolution of another size may find faster code, and a reading may move its "
        "bytes faster than a copy does."
    )


def both_allocators(reports: Iterable[Benchmark]) -> str:
    """Which of two records of a CPU to believe, where glibc kept its memory in one alone."""
    on_cpu = [report for report in reports if report.provenance.device == "cpu"]
    if len({keeps_memory(report.settings) for report in on_cpu}) < 2:
        return ""
    return (
        "The CPU's records differ in what glibc was told. Where it gives memory back, a model's "
        "time holds the page faults of its maps, and these depend on the size of a map and on what "
        "ran before. So for the models the record with memory kept says more, and the other one "
        "shows what an unset variable does to a table."
    )


def _label(name: str) -> str:
    return LABELS[model_entry(name).family]


def _short(name: str) -> str:
    return SHORT_LABELS[model_entry(name).family]
