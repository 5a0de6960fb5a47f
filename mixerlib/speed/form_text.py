"""What records say of layouts, choices and training steps, form by form. Chapter 19.

`races` is what `model_races` gives for one device; every ratio is of one race, as in `race_text`.
"""

import re
from collections.abc import Mapping

from mixerlib.models import model_entry
from mixerlib.pages import (
    LABELS,
    SHORT_LABELS,
    digits,
    listed,
    machine_name,
    preset_label,
    span,
    table,
)
from mixerlib.speed.cases import Benchmark, Result
from mixerlib.speed.environment import with_memory
from mixerlib.speed.form import Form
from mixerlib.speed.race_text import NOTHING, Races, macs_of, times
from mixerlib.speed.reports import FORMS, STOCK, by_form, fastest, fastest_forms, speedups_over
from mixerlib.speed.timing import Timing

# What PyTorch offers without the book: the name of a column → what its cases have
OFFERED = {
    "NHWC": {"channels_last": True, "compile": False},
    "compiled NCHW": {"channels_last": False, "compile": True},
    "compiled NHWC": {"channels_last": True, "compile": True},
}
DTYPES = ("float32", "bfloat16")  # of the pages, in their order
PLAIN_NCHW = STOCK | {"channels_last": False, "compile": False}


def where(races: Races) -> str:
    """Where races ran and how large their images were: "NVIDIA H200 at 224×224"."""
    report = next(iter(races.values()))
    side = report.results[0].case.image_size
    return f"{machine_name(report.provenance, report.settings)} at {side}×{side}"


def where_in_full(races: Races) -> str:
    """The same, and of a CPU what its glibc did with memory, which decides much of these gains."""
    return with_memory(where(races), next(iter(races.values())).settings)


def gains_over_plain(races: Races) -> dict[str, dict[str, float]]:
    """How many times as fast as its own plain form each model was in its race: the name of one of
    the other `FORMS` → model → the median over the rounds."""
    gains: dict[str, dict[str, float]] = {form: {} for form in FORMS if form != "plain"}
    for name, report in races.items():
        results = fastest_forms(report, name)
        for form, of_models in gains.items():
            if gain := report.speedup(results.get("plain"), results.get(form)):
                of_models[name] = gain.median
    return gains


def layout_table(races: Races) -> str:
    """How many times as fast channels last makes each plain model: in each dtype, not compiled and
    compiled."""
    rows = [
        [_short(name)]
        + [
            times(_gain_of_layout(report, model=name, dtype=dtype, compile=compiled))
            for dtype in ("float32", "bfloat16")
            for compiled in (False, True)
        ]
        for name, report in races.items()
    ]
    return table(["256/8", "float32", "compiled", "bfloat16", "compiled"], rows)


def layout_say(races: Races) -> str:
    """The same in a sentence, for the models that are not compiled: from least to most."""
    said = []
    for dtype in DTYPES:
        found = [
            _gain_of_layout(report, model=name, dtype=dtype, compile=False)
            for name, report in races.items()
        ]
        gains = [gain.median for gain in found if gain]
        said += [f"{span(gains)} times as fast in {dtype}"] if gains else []
    return f"On {where_in_full(races)}, it makes them {listed(said)}, where nothing is compiled."


def kernel_sizes_table(matrix: Mapping[str, Benchmark]) -> str:
    """The same by kernel size, not compiled, from the races of `read_matrix`, which are named
    FAMILY-kSIZE-DTYPE."""
    results = [result for report in matrix.values() for result in report.results]
    sizes = sorted({result.case.options["kernel_size"] for result in results})
    rows = []
    for stem in dict.fromkeys(re.sub(r"-k\d+-", "-k*-", name) for name in matrix):
        family, _, dtype = stem.partition("-k*-")
        plain = {"dtype": dtype, "compile": False, "depthwise": None}
        of_sizes = [matrix.get(stem.replace("*", str(size))) for size in sizes]
        gains = [
            NOTHING if one is None else times(_gain_of_layout(one, **plain)) for one in of_sizes
        ]
        rows.append([SHORT_LABELS.get(family, family), dtype, *gains])
    return table(["", "", *(f"k = {size}" for size in sizes)], rows, 2)


def _gain_of_layout(report: Benchmark, **values: object) -> Timing | None:
    pair = [report.fastest(**STOCK, channels_last=last, **values) for last in (False, True)]
    return report.speedup(*pair)


def choices_table(races: Races) -> str:
    """What `optimize_for_inference` chose for each model, and how often; empty for none."""
    choices = [(_short(name), result) for name, result in _fast_results(races)]
    if not choices:
        return ""
    forms = [(_chosen(result), result.case.batch) for _, result in choices]
    folded = sum(form.folded for form, _ in forms)
    convolved = sum(form.convolved for form, _ in forms)
    left = len(forms) - folded - convolved
    pieces = sum(_in_pieces(form, batch) for form, batch in forms)
    failed = [f"{label}, {r.case.dtype}" for label, r in choices if "failed" in (r.detail or "")]
    head = ["256/8", "", "rewriting", "layout", "at once", "compiled"]
    rows = [_choice_row(*choice) for choice in choices]
    return (
        f"{table(head, rows, (0, 1, 2, 3, 5))}\n\nOf these {len(forms)} choices "
        f"{sum(form.compile for form, _ in forms)} are compiled, {pieces} cut the batch into "
        f"pieces, {f'{convolved} convolve linear layers, ' * (convolved > 0)}and {folded} fold the "
        f"norms away; {left} leave the model as it is."
        + " Where they do, no rewritten form that ran there was faster." * (left > 0)
        + (f" Some ways could not be run there: {'; '.join(failed)}." if failed else "")
    )


def _choice_row(label: str, result: Result) -> list[object]:
    form, dtype = _chosen(result), result.case.dtype
    return [
        label if dtype == "float32" else "",
        dtype,
        _rewriting(form),
        _layout(form),
        form.at_once or "all",
        "yes" if form.compile else "no",
    ]


def _rewriting(form: Form) -> str:
    if form.convolved:
        return "linear layers as convolutions"
    return form.mixing if form.folded else "as it is"


def _in_pieces(form: Form, batch: int) -> bool:
    return (form.at_once or batch) < batch


def _chosen(result: Result) -> Form:
    form = result.chosen_form
    assert form is not None  # as a fast implementation has one
    return form


def stock_and_fast_table(races: Races) -> str:
    """How many times as fast as plain in NCHW each model was in what PyTorch offers and in the fast
    form, in each dtype, the fastest in bold; and what that says of either."""
    rows, stock, won = [], dict[str, list[Timing]](), 0
    for name, report in races.items():
        for dtype in DTYPES:
            plain = report.fastest(model=name, dtype=dtype, **PLAIN_NCHW)
            if plain is None:
                continue
            results = {
                form: report.fastest(model=name, dtype=dtype, **STOCK, **values)
                for form, values in OFFERED.items()
            } | {"fast": report.fastest(model=name, dtype=dtype, implementation="fast")}
            gains = {form: report.speedup(plain, result) for form, result in results.items()}
            medians = {form: gain.median for form, gain in gains.items() if gain} | {"plain": 1.0}
            best = max(medians, key=medians.__getitem__)
            won += best == "fast"
            cells = [f"**{times(g)}**" if form == best else times(g) for form, g in gains.items()]
            label = _short(name) if dtype == "float32" else ""
            rows.append([label, dtype, digits(1e3 * plain.seconds.median), *cells])
            stock.setdefault(name, []).extend(
                g for form, g in gains.items() if g and form in OFFERED
            )
    head = ["256/8", "", "plain NCHW, ms", *OFFERED, "fast"]
    sure = [_surely(name, found) for name, found in stock.items()]
    slower = any(gain.interval()[1] < 1 for found in stock.values() for gain in found)
    return (
        f"{table(head, rows, 2)}\n\nWhat PyTorch offers, another layout, compiling or both, made "
        f"{listed(sure)}.{' So none of that is a rule: it has to be tried, too.' * slower} The "
        f"fast form is the fastest in {won} of {len(rows)} rows; chosen was: "
        f"{_chosen_by_form(races)}."
    )


def compiling_say(races: Races) -> str:
    """What compiling alone did to each model in its usual layout, in each dtype, with intervals."""
    said = []
    for name, report in races.items():
        gains = []
        for dtype in DTYPES:
            case = {"model": name, "dtype": dtype} | STOCK
            pair = [
                report.fastest(**case, channels_last=False, compile=compiled)
                for compiled in (False, True)
            ]
            gain = report.speedup(*pair)
            gains += [f"{times(gain)} times as fast in {dtype}"] if gain else []
        said += [f"{_label(name)} {listed(gains)}"] if gains else []
    return f"On {where_in_full(races)}, compiling alone made {'; '.join(said)}."


def _surely(name: str, gains: list[Timing]) -> str:
    faster = sum(gain.interval()[0] > 1 for gain in gains)
    slower = sum(gain.interval()[1] < 1 for gain in gains)
    return (
        f"{_label(name)} {span([gain.median for gain in gains])} times as fast "
        f"(surely faster in {faster} of {len(gains)} cases, surely slower in {slower})"
    )


def _chosen_by_form(races: Races) -> str:
    """What the fast form is, in words, and of which models in which dtypes."""
    groups: dict[str, list[str]] = {}
    for name, result in _fast_results(races):
        form = _chosen(result)
        mixing = f"folded, `{form.mixing}`" if form.folded else _rewriting(form)
        pieces = f", {form.at_once} images at once" * _in_pieces(form, result.case.batch)
        compiled = "compiled" if form.compile else "not compiled"
        words = f"{mixing}, {_layout(form)}{pieces}, {compiled}"
        groups.setdefault(words, []).append(f"{_label(name)} in {result.case.dtype}")
    return "; ".join(f"{words} ({listed(who)})" for words, who in groups.items())


def _fast_results(races: Races) -> list[tuple[str, Result]]:
    """The results of the fast forms, model by model, float32 first, whatever the record's order."""
    found = [
        (name, report.fastest(model=name, dtype=dtype, implementation="fast"))
        for name, report in races.items()
        for dtype in DTYPES
    ]
    return [(name, result) for name, result in found if result is not None]


def against_say(races: Races, base: str) -> str:
    """How many times as fast as `base` the other models of its race were, over all the forms that
    both ran in, beside how many times fewer MACs they have; empty where none ran with it."""
    gains = [speedups_over(races, base, **values) for values in FORMS.values()]
    first = races[base].fastest(model=base) if base in races else None
    said = []
    for name in races:
        found = [of_form[name].median for of_form in gains if name in of_form]
        other = races[name].fastest(model=name)
        if first is not None and other is not None and found:
            fewer = macs_of(first.case) / macs_of(other.case)
            said.append(
                f"{_label(name)}, with {fewer:.2f} times fewer MACs, runs "
                f"{span(found)} times as fast as {_label(base)} in the same "
                "form"
            )
    return f"{'; '.join(said)}." if said else ""


def steps_table(races: Races, dtype: str) -> str:
    """Milliseconds of a training step of each model in each form, the fastest in bold, and how many
    times as fast that is as the plain form; empty where no model has such a record."""
    ran = {
        name: by_form(
            [r for r in report.results if (r.case.task, r.case.dtype) == ("training", dtype)]
        ).get(name, {})
        for name, report in races.items()
    }
    names = sorted({_form_name(form): form for of in ran.values() for form in of}.items(), key=_key)
    rows, best_of = [], []
    for name, of_forms in ran.items():
        if not of_forms:
            continue
        best = fastest({form: result.seconds for form, result in of_forms.items()})
        best_of.append(_form_name(best))
        cells = []
        for _, form in names:
            result = of_forms.get(form)
            text = NOTHING if result is None else f"{1e3 * result.seconds.median:,.0f}"
            cells.append(f"**{text}**" if form == best else text)
        gain = races[name].speedup(of_forms.get(Form()), of_forms[best])
        rows.append([_short(name), *cells, times(gain)])
    if not rows:
        return ""
    often = [f"“{form}” for {best_of.count(form)}" for form in dict.fromkeys(best_of)]
    return (
        f"{table(['256/8', *(name for name, _ in names), 'gain'], rows)}\n\nThe fastest is "
        f"{listed(often)} of {len(best_of)} models. The gain is that of the fastest over plain "
        "NCHW, round by round; the fastest was picked on the same rounds, so it is a little high."
    )


def _form_name(form: Form) -> str:
    mixing = "plain" if form.mixing == "own" else form.mixing
    flags = {"compiled": form.compile, "by block": form.by_block, "shifted": form.shifted}
    return " ".join([mixing, *(name for name, on in flags.items() if on), _layout(form)])


def _key(named: tuple[str, Form]) -> tuple[bool, ...]:
    """Uncompiled before compiled, plain before one matrix, NCHW before NHWC."""
    form = named[1]
    return form.compile, form.by_block, form.shifted, form.mixing != "own", form.channels_last


def _layout(form: Form) -> str:
    return "NHWC" if form.channels_last else "NCHW"


def _short(name: str) -> str:
    family = model_entry(name).family
    return SHORT_LABELS.get(family, LABELS.get(family, preset_label(name)))


def _label(name: str) -> str:
    return LABELS[model_entry(name).family]
