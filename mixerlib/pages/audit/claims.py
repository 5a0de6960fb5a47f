"""Verdicts on what is no count of one model: speeds, ratios, savings, formulas and statements."""

from fractions import Fraction

import sympy

from mixerlib import costs
from mixerlib.pages.audit.alternatives import parameter_twins
from mixerlib.pages.audit.counting import CONVENTIONS, fits, shown
from mixerlib.pages.audit.entries import (
    Configuration,
    Entry,
    Published,
    configurations,
    family_of,
)
from mixerlib.pages.audit.others import OtherCounts
from mixerlib.pages.audit.outcome import (
    CANNOT_BE_CHECKED,
    NOT_REPRODUCED,
    REPRODUCED,
    Verdict,
)
from mixerlib.pages.audit.prints import agree


def throughput(entry: Entry, published: Published) -> Verdict:
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
    """A ratio that a source draws from its own table: of all other rows to one of them.

    The source does not say of which rows it speaks. The reading here is the mean of all; the reason
    gives the others.
    """
    below = published.entries[entry.against or ""]
    rows = [e for e in published.entries.values() if e.table == below.table and e is not below]
    ratios = {row.id: row.value / below.value for row in rows}
    mean = sum(ratios.values(), Fraction()) / len(ratios)
    least, most = min(ratios.values()), max(ratios.values())
    families = dict.fromkeys(family_of(row.model) for row in rows if row.model)
    means = []
    for family in families:
        own = [ratios[row.id] for row in rows if row.model and family_of(row.model) == family]
        title = configurations(
            next(
                row
                for row in rows
                if row.model and row.id in ratios and family_of(row.model) == family
            )
        )[0].title
        means.append(f"{title} {float(sum(own, Fraction()) / len(own)):.2f}")
    reason = (
        f"Which rows it speaks of is not said. The mean of all {len(rows)} is "
        f"{float(mean):.2f}, the least {float(least):.2f}, the most {float(most):.2f}; "
        f"means by strategy: {', '.join(means)}."
    )
    how = fits(entry, mean)
    kind = REPRODUCED if how else NOT_REPRODUCED
    reading = "the mean of all rows of the printed table"
    return Verdict(kind, reason, reading if how else "", how or "", mean)


def statement(entry: Entry, published: Published, others: OtherCounts | None) -> Verdict:
    """A claim in words: that a model is registered in timm, or that numbers are higher than others
    of the same source."""
    if entry.registered:
        return _registered(entry, others)
    pairs = [tuple(published.entries[name] for name in pair) for pair in entry.higher]
    higher = sum(one.value > other.value for one, other in pairs)
    listed = "; ".join(
        f"{one.printed} against {other.printed} {one.unit}, {one.column}" for one, other in pairs
    )
    reason = f"In the same source's table it is so in {higher} of {len(pairs)} cases: {listed}."
    if higher:
        return Verdict(REPRODUCED, reason, "from the printed table")
    return Verdict(NOT_REPRODUCED, reason)


def _registered(entry: Entry, others: OtherCounts | None) -> Verdict:
    if others is None or entry.registered not in others.registered:
        return Verdict(CANNOT_BE_CHECKED, "It has not been looked up among the names of timm.")
    names, version = others.registered[entry.registered], others.versions["timm"]
    count = {0: "No name", 1: "One name"}.get(names, f"{names} names")
    hold = "hold" if names > 1 else "holds"
    reason = f'{count} in the list of timm {version} {hold} "{entry.registered}".'
    if names:
        return Verdict(REPRODUCED, reason, "registered in timm")
    return Verdict(NOT_REPRODUCED, reason)


# --- savings and formulas -------------------------------------------------------------------------

_LETTERS = {str(symbol): symbol for symbol in costs.SYMBOLS}


def plain(expression: sympy.Expr) -> str:
    """An expression as text, with the notation page's letters."""
    text = str(expression).replace("**2", "²").replace("*", "·")
    return text.replace("alpha", "α").replace(" - ", " − ")


def formula_verdict(entry: Entry) -> Verdict:
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


def saving_verdict(entry: Entry) -> Verdict:
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
