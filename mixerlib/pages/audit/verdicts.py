"""The verdict on every printed number, from code alone."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch

from mixerlib import records
from mixerlib.pages.audit.accuracy import accuracy
from mixerlib.pages.audit.alternatives import Alternative, compare, explanations
from mixerlib.pages.audit.claims import formula_verdict, saving_verdict, statement, throughput
from mixerlib.pages.audit.counting import (
    CONVENTIONS,
    TWICE,
    exchanged,
    fits,
    rounded_again,
    shown,
    ways_of,
)
from mixerlib.pages.audit.entries import Entry, Published, configurations
from mixerlib.pages.audit.others import OtherCounts
from mixerlib.pages.audit.outcome import (
    CANNOT_BE_CHECKED,
    NOT_REPRODUCED,
    REPRODUCED,
    Verdict,
)
from mixerlib.pages.audit.prints import agree, repeated_row


@dataclass(frozen=True)
class Recount:
    """A model that an entry may be of, with its number in each way of counting."""

    title: str
    numbers: tuple[Alternative, ...]

    def fitting(self, way: str) -> Alternative | None:
        """Its number in this way, if it has the printed digits."""
        return next((n for n in self.numbers if n.convention == way and n.rounding), None)


Recounts = Mapping[str, Sequence[Recount]]  # of every entry with counts, by its id


def check(
    published: Published,
    runs: Sequence[records.Record] = (),
    others: OtherCounts | None = None,
) -> dict[str, Verdict]:
    """The verdict on every entry, by its id.

    Args:
        published: what is printed.
        runs: our own training records, which decide accuracies.
        others: counts of the models that mixers are compared with.
    """
    entries = published.entries
    counted = [e for e in entries.values() if e.quantity in CONVENTIONS and not e.formula]
    recounts = {e.id: numbers for e in counted if (numbers := _recounts(e, published, others))}
    ways = _ways_in_use(published, recounts)
    fitting = _one_model_a_row(published, recounts, ways)
    failing = {name: explanations(entries[name]) for name in recounts if not fitting[name]}
    verdicts = {}
    for entry in entries.values():
        if entry.id in failing:
            verdict = _not_reproduced(entry, recounts[entry.id], ways[entry.id], failing)
        elif entry.id in recounts:
            verdict = _reproduced(entry, fitting[entry.id], ways[entry.id], published)
        elif entry.formula:
            verdict = formula_verdict(entry)
        elif entry.quantity == "accuracy":
            verdict = accuracy(entry, published, runs)
        elif entry.quantity == "throughput":
            verdict = throughput(entry, published)
        elif entry.quantity == "saving":
            verdict = saving_verdict(entry)
        elif entry.quantity == "statement":
            verdict = statement(entry, published, others)
        else:
            reason = f"A model whose configuration is not known; borrowed from {entry.borrowed}."
            verdict = Verdict(CANNOT_BE_CHECKED, reason)
        verdicts[entry.id] = verdict
    return {
        name: replace(verdict, remarks=_remarks(entries[name], published, verdicts))
        for name, verdict in verdicts.items()
    }


# --- counts ---------------------------------------------------------------------------------------


def _recounts(entry: Entry, published: Published, others: OtherCounts | None) -> list[Recount]:
    """The number in every way of counting, for the stated model or for each that may be meant."""
    models = [
        Recount(stated.title, tuple(compare(stated.title, stated, ways_of(entry), entry)))
        for stated in configurations(entry)
    ]
    for other in others.models if others else ():
        if entry.other and fnmatch(other.name, entry.other):
            numbers = other.in_conventions(entry.quantity).items()
            fits_of = [Alternative(other.title, v, way, fits(entry, v)) for way, v in numbers]
            models.append(Recount(other.title, tuple(fits_of)))
    if entry.unstated or entry.other:
        return models
    return [
        replace(m, numbers=tuple(_once_more(n, entry, published) for n in m.numbers))
        for m in models
    ]


def _once_more(number: Alternative, entry: Entry, published: Published) -> Alternative:
    """A number whose digits are not those to the nearest, beside a print with more digits, which a
    program may have printed again: then its digits are that print's, and right if it is right."""
    finer = _finer_print(entry, published)
    if number.rounding not in (None, "cut off") or finer is None:
        return number
    right = fits(finer, number.value) in ("exact", "to nearest")
    return replace(number, rounding=TWICE if right else None)


def _finer_print(entry: Entry, published: Published) -> Entry | None:
    """Another print of the same number that has more digits, and printed with fewer gives these."""
    for other in published.others(entry):
        finer = other.unit == entry.unit and other.decimals > entry.decimals
        if finer and rounded_again(other.printed, entry.decimals) == entry.printed:
            return other
    return None


def _ways_in_use(published: Published, recounts: Recounts) -> dict[str, str]:
    """For each entry the way of counting that gives the most numbers of its group: what a document
    has of its own, or has borrowed from one other. So no number picks a way for itself.

    Numbers of models that the source states count first: among many possible models every way finds
    one.
    """
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in recounts:
        entry = published.entries[name]
        groups[entry.document, entry.borrowed, entry.quantity, entry.cost].append(name)
    ways: dict[str, str] = {}
    for names in groups.values():
        stated = [name for name in names if not published.entries[name].unstated]
        fitting = Counter(
            {way.convention: 0 for way in recounts[names[0]][0].numbers}  # in their order
        )
        for name in stated or names:
            fitting.update({n.convention for m in recounts[name] for n in m.numbers if n.rounding})
        ways |= dict.fromkeys(names, fitting.most_common(1)[0][0])
    return ways


def _one_model_a_row(
    published: Published, recounts: Recounts, ways: Mapping[str, str]
) -> dict[str, list[tuple[Recount, Alternative]]]:
    """The models that have an entry's digits. Where the source leaves the model open, one and the
    same must have all numbers of the row."""
    fitting = {
        name: [(m, n) for m in models if (n := m.fitting(ways[name])) is not None]
        for name, models in recounts.items()
    }
    rows: dict[str, list[str]] = defaultdict(list)
    for name in recounts:
        entry = published.entries[name]
        if entry.unstated or entry.searched:
            rows[entry.row].append(name)
    for names in rows.values():
        common = set.intersection(*({m.title for m, _ in fitting[name]} for name in names))
        for name in names:
            fitting[name] = [(m, n) for m, n in fitting[name] if m.title in common]
    return fitting


def _reproduced(
    entry: Entry,
    fitting: Sequence[tuple[Recount, Alternative]],
    way: str,
    published: Published,
) -> Verdict:
    model, best = fitting[0]
    how = best.rounding or ""
    reason = f"As {way}: {shown(best.value, entry)}, {_in_steps(entry, best, published)}."
    if entry.cost == "body":
        reason = f"The source says so: {reason[0].lower()}{reason[1:]}"
    if entry.unstated or entry.searched:
        meant = " or ".join(dict.fromkeys(fit.text for _, fit in fitting))
        row = [e for e in published.entries.values() if e.row == entry.row]
        what = "both numbers" if sum(e.quantity in CONVENTIONS for e in row) > 1 else "it"
        reason = f"The source does not say which model; {meant} has {what}. {reason}"
    elif entry.other:
        reason = f"Counted is {model.title}. {reason}"
    also = [n.convention for n in model.numbers if n.rounding and n is not best]
    if also:
        reason += f" {' and '.join(also)} would do as well."
    return Verdict(REPRODUCED, reason, way, how, best.value, numbers=model.numbers)


def _in_steps(entry: Entry, number: Alternative, published: Published) -> str:
    """How the printed digits come about; of those rounded twice, both steps."""
    finer = _finer_print(entry, published)
    if number.rounding != TWICE or finer is None:
        return number.rounding or ""
    exact = f"{float(number.value / entry.scale):.{entry.decimals + 3}f}"
    steps = " → ".join((exact, finer.printed, entry.printed))
    return f"{TWICE}: {steps}, as a program prints {finer.printed} once more"


def _not_reproduced(
    entry: Entry,
    recounts: Sequence[Recount],
    way: str,
    failing: Mapping[str, tuple[list[Alternative], int]],
) -> Verdict:
    """Of the alternatives, those stand first that explain the most failing numbers of the table."""
    fitting, tried = failing[entry.id]
    table = [other for other in failing if other.split("/")[0] == entry.table]
    support = Counter(text for other in table for text in {a.text for a in failing[other][0]})
    fitting = sorted(fitting, key=lambda alternative: -support[alternative.text])
    numbers = [n for model in recounts for n in model.numbers]
    nearest = ""
    if entry.unstated or entry.searched:
        reason = "No one model has all numbers of this row." + _alone(entry, recounts, way)
        nearest = _nearest(entry, recounts, way)
    else:
        values = "; ".join(shown(n.value, entry) for n in numbers if n.convention == way)
        reason = f"The stated model, as {way}: {values}."
        if others := [n.convention for n in numbers if n.rounding]:
            reason += f" It has these digits as {' and '.join(others)}, unlike the rest of its "
            reason += "source."
    if not fitting:
        tries = f" Nor does any of {tried} alternatives." if tried else ""
        return Verdict(NOT_REPRODUCED, reason + tries + nearest)
    named = {a.text: f"{a.text} ({shown(a.value, entry)})" for a in reversed(fitting)}
    reason += f" These digits would be right for: {'; '.join(list(reversed(named.values()))[:3])}."
    if (explained := support[fitting[0].text]) > 1:
        alike = sum(support[text] == explained for text in [*named][::-1][:3])
        reason += (
            f" The first {f'{alike} explain' if alike > 1 else 'explains'} {explained} of the "
            f"{len(table)} counts of this table that fail{', each' * (alike > 1)}."
        )
    reason += f" ({len(fitting)} of {tried} alternatives fit.){nearest}"
    exact = None if entry.unstated else next(n.value for n in numbers if n.convention == way)
    return Verdict(NOT_REPRODUCED, reason, exact=exact, explained=tuple(fitting))


def _alone(entry: Entry, recounts: Sequence[Recount], way: str) -> str:
    """Which of a row's models has this number alone; or would, but for a slip of who copied it."""
    fitting = [model.title for model in recounts if model.fitting(way)]
    if fitting:
        return f" {' or '.join(fitting)} has this one."
    for printed in exchanged(entry.printed) if entry.borrowed else ():
        slip = replace(entry, printed=printed)
        for model in recounts:
            for number in model.numbers:
                if number.convention == way and fits(slip, number.value) == "to nearest":
                    return f" {model.title} would have it with two digits exchanged, as {printed}."
    return ""


def _nearest(entry: Entry, recounts: Sequence[Recount], way: str) -> str:
    """What those of a row's models count that come nearest to the print, at most three of them."""
    ours = [(m.title, n.value) for m in recounts for n in m.numbers if n.convention == way]
    ours.sort(key=lambda counted: abs(counted[1] - entry.value))
    listed = "; ".join(f"{title}, with {shown(value, entry)}" for title, value in ours[:3])
    return f" The nearest that we know, as {way}: {listed}."


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
    if wrong and verdicts[entry.id].kind == NOT_REPRODUCED:
        remarks.append(f"It is {' and '.join(wrong)}, printed elsewhere, with fewer digits.")
    if wrong and verdicts[entry.id].kind == REPRODUCED:
        remarks.append(f"With more digits elsewhere, {' and '.join(wrong)}, it is not reproduced.")
    if verdicts[entry.id].rounding == "cut off" and _rounds_elsewhere(entry, published, verdicts):
        remarks.append("Other numbers of this column are rounded to the nearest.")
    if row := repeated_row(entry, published):
        remarks.append(f"This row repeats all accuracies of {row}.")
    return tuple(remarks)


def _rounds_elsewhere(entry: Entry, published: Published, verdicts: Mapping[str, Verdict]) -> bool:
    """Whether a number of the same column is rounded up, so that its author does not cut off."""
    column: Iterable[Entry] = (e for e in published.entries.values() if e.table == entry.table)
    return any(
        (exact := verdicts[e.id].exact) is not None and exact < e.value
        for e in column
        if e.column == entry.column and verdicts[e.id].rounding == "to nearest"
    )
