"""The verdict on every printed number, from code alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import sympy

from mixerlib import costs, records
from mixerlib.models import model_entry
from mixerlib.pages.audit.alternatives import (
    Alternative,
    compare,
    explanations,
    parameter_twins,
)
from mixerlib.pages.audit.counting import CONVENTIONS, fits, shown
from mixerlib.pages.audit.entries import (
    Configuration,
    Entry,
    Published,
    configurations,
    family_of,
    identity,
)
from mixerlib.pages.audit.prints import agree, repeated_row, row_of

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NEEDS_TRAINING, CANNOT_BE_CHECKED = "needs training", "cannot be checked"
# What `audit` may say of a published number
VERDICTS = (REPRODUCED, NOT_REPRODUCED, NEEDS_TRAINING, CANNOT_BE_CHECKED)
DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}


@dataclass(frozen=True)
class Verdict:
    """What became of one entry, and why.

    Args:
        kind: one of `VERDICTS`.
        reason: a sentence.
        convention: the reading, or way of counting, under which it is reproduced.
        rounding: how the digits follow from the exact number, such as "to nearest".
        exact: the recomputed number of the stated model, in ones.
        explained: what gives the printed number, where it is not reproduced, the best first.
        remarks: what else there is to say.
    """

    kind: str
    reason: str
    convention: str = ""
    rounding: str = ""
    exact: Fraction | None = None
    explained: tuple[Alternative, ...] = ()
    remarks: tuple[str, ...] = ()


def check(published: Published, runs: Sequence[records.Record] = ()) -> dict[str, Verdict]:
    """The verdict on every entry, by its id. `runs` are our own training records."""
    entries = published.entries.values()
    counted = [e for e in entries if e.quantity in CONVENTIONS and not e.formula]
    recomputed = {e.id: _recomputed(e) for e in counted if configurations(e)}
    usual = Counter(  # how many numbers of a document each way of counting gives
        (published.entries[name].document, way)
        for name, counts in recomputed.items()
        for way in {fit.convention for _, fit in counts if fit.rounding}
    )
    failing = {
        name: explanations(published.entries[name])
        for name, counts in recomputed.items()
        if not any(fit.rounding for _, fit in counts)
    }
    verdicts = {}
    for entry in entries:
        if entry.id in failing:
            verdict = _not_reproduced(entry, recomputed[entry.id], failing)
        elif entry.id in recomputed:
            verdict = _reproduced(entry, recomputed[entry.id], usual)
        elif entry.formula:
            verdict = _formula(entry)
        elif entry.quantity == "accuracy":
            verdict = _accuracy(entry, published, runs)
        elif entry.quantity == "throughput":
            verdict = _throughput(entry, published)
        elif entry.quantity == "saving":
            verdict = _saving(entry)
        else:
            reason = f"A model that this book does not build; borrowed from {entry.borrowed}."
            verdict = Verdict(CANNOT_BE_CHECKED, reason)
        verdicts[entry.id] = verdict
    return {
        name: replace(verdict, remarks=_remarks(published.entries[name], published, verdicts))
        for name, verdict in verdicts.items()
    }


def _recomputed(entry: Entry) -> list[tuple[Configuration, Alternative]]:
    """The number in every convention, for the stated model or for each that may be meant."""
    return [
        (stated, fit)
        for stated in configurations(entry)
        for fit in compare(stated.title, stated, CONVENTIONS[entry.quantity], entry)
    ]


def _reproduced(
    entry: Entry, recomputed: list[tuple[Configuration, Alternative]], usual: Counter
) -> Verdict:
    """The convention that most numbers of the same document have stands first."""
    fitting = [(stated, fit) for stated, fit in recomputed if fit.rounding]
    stated, best = max(fitting, key=lambda one: usual[entry.document, one[1].convention])
    also = [fit.convention for other, fit in fitting if other is stated and fit is not best]
    reason = f"As {best.convention}: {shown(best.value, entry)}, {best.rounding}."
    if entry.unstated:
        meant = " or ".join(dict.fromkeys(fit.text for _, fit in fitting))
        reason = f"The source does not say which model; {meant} has it. {reason}"
    if also:
        reason += f" {' and '.join(also)} would do as well."
    return Verdict(REPRODUCED, reason, best.convention, best.rounding or "", best.value)


def _not_reproduced(
    entry: Entry,
    recomputed: list[tuple[Configuration, Alternative]],
    failing: Mapping[str, tuple[list[Alternative], int]],
) -> Verdict:
    """Of the alternatives, those stand first that explain the most failing numbers of the table."""
    fitting, tried = failing[entry.id]
    table = [other for other in failing if other.split("/")[0] == entry.table]
    support = Counter(text for other in table for text in {a.text for a in failing[other][0]})
    fitting = sorted(fitting, key=lambda alternative: -support[alternative.text])
    values = "; ".join(f"{fit.convention} {shown(fit.value, entry)}" for _, fit in recomputed)
    reason = "No size gives these digits." if entry.unstated else f"The stated model: {values}."
    if not fitting:
        return Verdict(NOT_REPRODUCED, f"{reason} Nor does any of {tried} alternatives.")
    named = {a.text: f"{a.text} ({shown(a.value, entry)})" for a in reversed(fitting)}
    reason += f" These digits would be right for: {'; '.join(list(reversed(named.values()))[:3])}."
    if support[fitting[0].text] > 1:
        reason += (
            f" The first explains {support[fitting[0].text]} of the {len(table)} numbers of this "
            "table that fail."
        )
    reason += f" ({len(fitting)} of {tried} alternatives fit.)"
    exact = recomputed[0][1].value if not entry.unstated else None
    return Verdict(NOT_REPRODUCED, reason, exact=exact, explained=tuple(fitting))


# --- accuracy and throughput ----------------------------------------------------------------------


def _accuracy(entry: Entry, published: Published, runs: Sequence[records.Record]) -> Verdict:
    if not entry.model:
        reason = f"Another model, or one of unknown size, and borrowed from {entry.borrowed}."
        return Verdict(CANNOT_BE_CHECKED, reason)
    if row := row_of(entry, published):
        elsewhere = Counter(o.printed for o in published.others(entry) if not agree(entry, o))
        (usual, _), *_ = elsewhere.most_common(1)
        reason = f"On the wrong row: later tables have {usual} here, and this for {row.name}."
        return Verdict(NOT_REPRODUCED, reason)
    data = entry.training["dataset"]
    data = DATA.get(data, data.capitalize())
    ours = matching(entry, runs)
    if not ours:
        how = f" ({entry.change})" if entry.change else ""
        return Verdict(NEEDS_TRAINING, f"On {data}{how}; we have no record of it yet.")
    values = [run.test_top5 if entry.metric == "top-5" else run.test_accuracy for run in ours]
    mean = sum(values) / len(values)
    spread = f", {min(values):.2%} to {max(values):.2%}" if len(values) > 1 else ""
    runs_made = f"{len(values)} run{'s' * (len(values) > 1)}"
    reason = f"Our record {ours[0].recipe}: {mean:.2%} on {data} ({runs_made}{spread})."
    return Verdict(NEEDS_TRAINING, reason, exact=Fraction(mean))


def matching(entry: Entry, runs: Sequence[records.Record]) -> list[records.Record]:
    """The runs of the very model that an accuracy is of, with every stated setting the same."""
    models = configurations(entry)
    if entry.change or len(models) != 1 or "epochs" not in entry.training:
        return []
    same = []
    for run in runs:
        if family_of(run.settings["model"]) in costs.MEASURED_ONLY:
            continue  # an ablation
        options = model_entry(run.settings["model"]).defaults | run.settings["model_options"]
        model = Configuration(family_of(run.settings["model"]), options, None)
        unknown = {key: v for key, v in options.items() if key not in costs.OPTIONS[model.family]}
        plain = replace(model, options={k: v for k, v in options.items() if k not in unknown})
        same_model = identity(plain, by_data=True) == identity(models[0], by_data=True)
        settings = all(run.settings.get(key) == v for key, v in entry.training.items())
        if same_model and settings and not any(unknown.values()):  # such as a shuffle that is on
            same.append(run)
    return same


def _throughput(entry: Entry, published: Published) -> Verdict:
    if entry.against:
        return _ratio(entry, published)
    rivals = [other for other in published.others(entry) if not agree(entry, other)]
    if rivals and (twins := parameter_twins(entry)):
        millions = f"{float(twins[0].value) / 1e6:.4f} M"
        reason = (
            f"{rivals[0].printed} {rivals[0].unit} elsewhere. {entry.printed} is the parameter "
            f"count of {twins[0].text} at this size in millions: {millions}, {twins[0].rounding}."
        )
        return Verdict(NOT_REPRODUCED, reason, explained=tuple(twins))
    owner = entry.borrowed or "the authors"
    return Verdict(CANNOT_BE_CHECKED, f"A speed belongs to a machine, here that of {owner}.")


def _ratio(entry: Entry, published: Published) -> Verdict:
    """A ratio that a source draws from its own table: of all other rows to one of them."""
    below = published.entries[entry.against or ""]
    rows = [e for e in published.entries.values() if e.table == below.table and e is not below]
    ratios = [row.value / below.value for row in rows]
    mean = sum(ratios, Fraction()) / len(ratios)
    least, most = float(min(ratios)), float(max(ratios))
    reason = f"The table has {least:.2f} to {most:.2f} times, on average {float(mean):.2f}."
    how = fits(entry, mean)
    kind = REPRODUCED if how else NOT_REPRODUCED
    return Verdict(kind, reason, "from the printed table" if how else "", how or "", mean)


# --- savings and formulas -------------------------------------------------------------------------

_LETTERS = {str(symbol): symbol for symbol in costs.SYMBOLS}


def plain(expression: sympy.Expr) -> str:
    """An expression as text, with the notation page's letters."""
    text = str(expression).replace("**2", "²").replace("*", "·")
    return text.replace("alpha", "α").replace(" - ", " − ")


def _formula(entry: Entry) -> Verdict:
    """A printed formula against the exact one, then against a weaker reading: without biases, or in
    the limit of a wide model."""
    assert entry.model is not None and entry.part is not None  # as `load` has made sure
    family, part, cost = family_of(entry.model), entry.part, entry.cost

    def per_block(family: str, part: str, biases: bool) -> sympy.Expr:
        if biases or cost != "params":
            return getattr(costs.formulas(family), cost)[part] / _LETTERS["d"]
        # a place's multiplications: one for each weight
        return costs.formulas(family).macs[part] / (_LETTERS["d"] * _LETTERS["T"])

    def form(biases: bool) -> sympy.Expr:
        if entry.quantity == "saving":  # so many times less
            return per_block("convmixer", part, biases) / per_block(family, part, biases)
        below = per_block(family, entry.against, biases) if entry.against else 1
        return per_block(family, part, biases) / below

    if entry.unit == "share":
        exact = costs.saving(family, part, cost)
        forms = {"exactly": exact, "in the wide limit": costs.wide_saving(family, part, cost)}
        correct = f"1 − {plain(1 - exact)}"
    else:
        forms = {"exactly": form(biases=True), "without biases": form(biases=False)}
        correct = plain(sympy.factor(forms["exactly"]))
    printed = sympy.sympify(entry.formula, locals=_LETTERS)
    sizes = {"dim": _LETTERS["h"], "kernel_size": _LETTERS["k"]}
    values = {sizes[option]: value for option, value in entry.options.items()}
    for name, reading in forms.items():
        if sympy.cancel(reading.subs(values) - printed) == 0:
            reason = f"Right for the {part}, {name}"
            reason += "." if name == "exactly" else f"; exactly {correct}."
            return Verdict(REPRODUCED, reason, name, "exact")
    return Verdict(NOT_REPRODUCED, f"For the {part} it is {correct}.")


def whole_saving(model: Configuration, cost: str) -> Fraction:
    """The share of ConvMixer's cost that a SplitMixer of the same sizes saves as a whole."""
    ways = costs.CONVENTIONS | {"params": CONVENTIONS["parameters"]["trainable parameters"]}
    return 1 - model.count(ways[cost]) / model.become("convmixer").count(ways[cost])


def _saving(entry: Entry) -> Verdict:
    (model,) = configurations(entry)
    if entry.part is None:
        readings = {"whole model": whole_saving(model, entry.cost)}
    else:
        forms = {
            f"{entry.part}, exactly": costs.saving(model.family, entry.part, entry.cost),
            "in the wide limit": costs.wide_saving(model.family, entry.part, entry.cost),
        }
        readings = {
            name: Fraction(costs.value_of(form, model.family, model.options))
            for name, form in forms.items()
        }
    reason = "; ".join(f"{name}: {shown(value, entry)}" for name, value in readings.items())
    reason = reason[0].upper() + reason[1:]
    for name, value in readings.items():
        if how := fits(entry, value):
            return Verdict(REPRODUCED, f"{reason}; {how}.", name, how, value)
    return Verdict(NOT_REPRODUCED, f"{reason}.", exact=next(iter(readings.values())))


# --- remarks --------------------------------------------------------------------------------------


def _remarks(
    entry: Entry, published: Published, verdicts: Mapping[str, Verdict]
) -> tuple[str, ...]:
    """What other prints say about this one."""
    remarks = [entry.note] if entry.note else []
    others = published.others(entry)
    rivals = Counter(f"{o.printed} {o.unit}" for o in others if not agree(entry, o))
    if rivals:
        listed = ", ".join(f"{value} ({n}×)" for value, n in rivals.items())
        remarks.append(f"Printed differently elsewhere: {listed}.")
    wrong = {
        other.printed
        for other in others
        if other.decimals > entry.decimals and agree(entry, other)
        if verdicts[other.id].kind == NOT_REPRODUCED
    }
    if wrong and verdicts[entry.id].kind == REPRODUCED:
        remarks.append(f"With more digits elsewhere, {' and '.join(wrong)}, it is not reproduced.")
    if row := repeated_row(entry, published):
        remarks.append(f"This row repeats all accuracies of {row}.")
    return tuple(remarks)
