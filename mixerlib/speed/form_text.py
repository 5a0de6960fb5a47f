"""What records say of layouts, choices and training steps, form by form. Chapter 19.

`races` is what `model_races` gives for one device; every ratio is of one race, as in `race_text`.
"""

import re
from collections.abc import Mapping

from mixerlib.models import model_entry
from mixerlib.pages import SHORT_LABELS, listed, table
from mixerlib.speed.cases import Benchmark, Result
from mixerlib.speed.form import Form
from mixerlib.speed.race_text import NOTHING, Races, times
from mixerlib.speed.reports import STOCK, by_form, fastest
from mixerlib.speed.timing import Timing


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
    choices = [
        (_short(name), result)
        for name, report in races.items()
        for result in report.results
        if result.case.model == name and result.case.implementation == "fast"
    ]
    if not choices:
        return ""
    forms = [(_chosen(result), result.case.batch) for _, result in choices]
    folded = sum(form.folded for form, _ in forms)
    pieces = sum((form.at_once or batch) < batch for form, batch in forms)
    failed = [f"{label}, {r.case.dtype}" for label, r in choices if "failed" in (r.detail or "")]
    head = ["256/8", "", "rewriting", "layout", "at once", "compiled"]
    rows = [_choice_row(*choice) for choice in choices]
    return (
        f"{table(head, rows, (0, 1, 2, 3, 5))}\n\nOf these {len(forms)} choices "
        f"{sum(form.compile for form, _ in forms)} are compiled, {pieces} cut the batch into "
        f"pieces, and {folded} fold the norms away; {len(forms) - folded} leave the model as it is."
        + " Where they do, no folded form that ran there was faster." * (folded < len(forms))
        + (f" Some ways could not be run there: {'; '.join(failed)}." if failed else "")
    )


def _choice_row(label: str, result: Result) -> list[object]:
    form, dtype = _chosen(result), result.case.dtype
    return [
        label if dtype == "float32" else "",
        dtype,
        form.mixing if form.folded else "as it is",
        _layout(form),
        form.at_once or "all",
        "yes" if form.compile else "no",
    ]


def _chosen(result: Result) -> Form:
    form = result.chosen_form
    assert form is not None  # as a fast implementation has one
    return form


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
    return SHORT_LABELS[model_entry(name).family]
