"""The audit of the published numbers: each is recomputed, and code alone gives the verdict.

published = load("book/published.yaml")             # what is printed, where, and of what
verdicts = audit(published, read_records("book/records"))
verdicts["readme-cifar10/convmixer/flops"]          # Verdict(kind="reproduced", …)

A number counts as reproduced when the recomputed one, rounded or cut off at the printed decimals,
has the printed digits. Where it has not, a declared list of alternatives is tried
(`alternatives`): another kernel, another strategy, a tool's own way of counting. Shown on the
book's page *Audit of the published numbers*.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import cache, cached_property
from math import floor
from pathlib import Path
from typing import Any

import sympy
import yaml

from mixerlib import costs, records
from mixerlib.models import model_entry

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NEEDS_TRAINING, CANNOT_BE_CHECKED = "needs training", "cannot be checked"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, NEEDS_TRAINING, CANNOT_BE_CHECKED)
QUANTITIES = ("parameters", "flops", "accuracy", "throughput", "saving")
# unit: how many ones it stands for; accuracies are kept as shares of one
SCALES = {"": 1, "M": 10**6, "G": 10**9, "%": Fraction(1, 100), "share": 1, "times": 1, "img/s": 1}
AT_LEAST = " or more"  # "80 % or more" is a bound, not a value
DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}

Count = costs.Counts[int]
Way = Callable[[Count], int]  # a way of counting


# --- what is printed ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One printed number, and what it is said to describe. `book/published.yaml` tells the keys."""

    id: str
    table: str  # its table's name; of a number in running text, its own id
    document: str
    where: str  # inside the document
    name: str  # the row, or the words, that it stands with
    quantity: str
    printed: str
    unit: str
    column: str = ""
    about: bool = False  # printed with "about" or "around"
    note: str = ""
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    unstated: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    image_size: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    change: str = ""
    metric: str = "top-1"
    borrowed: str = ""
    part: str | None = None
    cost: str = "params"
    formula: str | None = None
    against: str | None = None

    @property
    def scale(self) -> Fraction:
        return Fraction(SCALES[self.unit.removesuffix(AT_LEAST)])

    @property
    def decimals(self) -> int:
        return len(self.printed.partition(".")[2])

    @property
    def value(self) -> Fraction:
        """The printed number in ones, or as a share. A formula has none."""
        return Fraction(self.printed) * self.scale


@dataclass(frozen=True)
class Published:
    """Documents by name (title and url), and every entry by its id."""

    documents: Mapping[str, Mapping[str, str]]
    entries: Mapping[str, Entry]

    @cached_property
    def groups(self) -> Mapping[tuple, list[Entry]]:
        """The entries that claim to tell the same number, by what it is the number of."""
        groups: dict[tuple, list[Entry]] = defaultdict(list)
        for entry in self.entries.values():
            if (key := _what(entry)) is not None:
                groups[key].append(entry)
        return groups

    def others(self, entry: Entry) -> list[Entry]:
        """The other prints of the same number."""
        return [other for other in self.groups.get(_what(entry), ()) if other is not entry]


_OPTIONS = {option for known in costs.OPTIONS.values() for option in known} - {"image_size"}
_KEYS = {f.name for f in fields(Entry)} - {"id", "table", "options"} | _OPTIONS


def load(path: str | Path) -> Published:
    """Read the printed numbers. Raises `ValueError` naming the entry and what is wrong with it."""
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    entries: dict[str, Entry] = {}
    for name, table, keys in _cells(content):
        if name in entries:
            raise ValueError(f"`{name}` is there twice")
        entries[name] = _entry(name, table, keys, content["documents"])
    return Published(content["documents"], entries)


def _cells(content: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every number of the file, with the keys of its table, column and row put together."""
    for table, printed in content["tables"].items():
        top = printed.get("common", {}) | {key: printed[key] for key in ("document", "where")}
        for row, keys in printed["rows"].items():
            own = {key: value for key, value in keys.items() if key != "values"}
            if len(keys["values"]) != len(printed["columns"]):
                raise ValueError(f"`{table}/{row}` must have {len(printed['columns'])} values")
            for (column, shared), value in zip(
                printed["columns"].items(), keys["values"], strict=True
            ):
                if value is not None:
                    head = shared | {"column": shared["name"], "printed": value}
                    yield f"{table}/{row}/{column}", table, top | head | own
    for name, keys in content["numbers"].items():
        yield name, name, dict(keys)


def _entry(name: str, table: str, keys: dict[str, Any], documents: Mapping[str, Any]) -> Entry:
    for key in keys:
        if key not in _KEYS:
            raise ValueError(f"`{key}`={keys[key]!r} of {name} must be one of {sorted(_KEYS)}")
    options = {key: keys.pop(key) for key in sorted(_OPTIONS & keys.keys())}
    try:
        entry = Entry(id=name, table=table, options=options, **keys)
    except TypeError as error:  # a key that every entry needs is not there
        raise ValueError(f"{name}: {error}") from None
    rules = {
        "document": (entry.document in documents, "one of `documents`"),
        "quantity": (entry.quantity in QUANTITIES, f"one of {QUANTITIES}"),
        "unit": (entry.unit.removesuffix(AT_LEAST) in SCALES, f"one of {[*SCALES]}"),
        "printed": (entry.formula is not None or _is_number(entry.printed), "a number, as text"),
    }
    for key, (holds, rule) in rules.items():
        if not holds:
            raise ValueError(f"`{key}`={getattr(entry, key)!r} of {name} must be {rule}")
    for stated in configurations(entry):
        for option in stated.options:
            if option not in costs.OPTIONS[stated.family]:
                raise ValueError(f"`{option}` of {name} must be an option of {stated.family}")
    return entry


def _is_number(text: Any) -> bool:
    try:
        return isinstance(text, str) and Fraction(text) >= 0
    except ValueError:
        return False


# --- what it describes ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Configuration:
    """A model as its costs need it. `num_classes` may be a list: the mean over data sets."""

    family: str
    options: Mapping[str, Any]
    image_size: int | None

    @property
    def title(self) -> str:
        """The model in words: "SplitMixer-I"; of an MLP-Mixer its scale and patch, "Mixer-S/4"."""
        if self.family == "mlp_mixer":
            scale = {512: "S", 768: "B", 1024: "L", 1280: "H"}[self.options["dim"]]
            return f"Mixer-{scale}/{self.options['patch_size']}"
        name, _, strategy = self.family.partition("_")
        return {"convmixer": "ConvMixer"}.get(name, f"SplitMixer-{strategy.upper()}")

    def count(self, way: Way) -> Fraction:
        """The exact number in a way of counting; `ValueError` where there is no such model."""
        classes = self.options["num_classes"]
        several = classes if isinstance(classes, list) else [classes]
        options = [tuple(sorted({**self.options, "num_classes": n}.items())) for n in several]
        counts = [_counts(self.family, one, self.image_size) for one in options]
        return sum(Fraction(way(count)) for count in counts) / len(counts)

    def become(self, family: str) -> "Configuration":
        """Another family at the same sizes, with its own defaults for what this one lacks."""
        known = model_entry(family).defaults | self.options
        return replace(
            self, family=family, options={option: known[option] for option in costs.OPTIONS[family]}
        )


@cache
def _counts(family: str, options: tuple, image_size: int | None) -> Count:
    return costs.formulas(family).counts(dict(options), image_size=image_size)


def family_of(model: str) -> str:
    """The family of a registered name."""
    return model_entry(model).family


def configurations(entry: Entry) -> list[Configuration]:
    """The models that an entry may describe: none, one, or every combination of what it leaves
    open."""
    found = []
    for choice in itertools.product(*entry.unstated.values()):
        keys = {**entry.options, **dict(zip(entry.unstated, choice, strict=True))}
        if model := keys.pop("model", entry.model):
            family, defaults = family_of(model), model_entry(model).defaults
            size = entry.image_size or defaults.get("image_size")
            options = {key: defaults[key] for key in costs.OPTIONS[family]} | keys
            if family == "mlp_mixer":
                options["image_size"] = size
            found.append(Configuration(family, options, size))
    return found


# --- ways of counting -----------------------------------------------------------------------------


def fvcore(count: Count) -> int:
    """What the tool fvcore adds up: MACs, and for each element that passes a norm with weights 2 (a
    BatchNorm in eval mode) or 5 (a LayerNorm)."""
    of_norm = 5 if "token mixing" in count.macs else 2
    return count.total("macs") + of_norm * count.total("normalized")


CONVENTIONS: dict[str, dict[str, Way]] = {
    "parameters": {"trainable parameters": lambda count: count.total("params")},
    "flops": {"thop": costs.thop, "MACs": costs.macs, "2 × MACs": costs.flops, "fvcore": fvcore},
}
# faults and habits of tools, tried as alternatives
HABITS: dict[str, dict[str, Way]] = {
    "parameters": {
        "the classifier left out": lambda c: c.total("params") - c.params["head"],
        "BatchNorm's running statistics counted in": lambda c: (
            c.total("params") + c.total("buffers")
        ),
    },
    "flops": {
        'fvcore, which misses the convolutions with padding="same"': lambda c: (
            fvcore(c) - c.macs.get("spatial mixing", 0)
        ),
        "thop before version 0.1.1": lambda c: costs.thop(c) - 2 * c.total("normalized"),
    },
}


# --- printed digits -------------------------------------------------------------------------------


def rounding(exact: Fraction, printed: Fraction, decimals: int) -> str | None:
    """How `exact` becomes `printed` at so many decimals, or None when it does not.

    "exact"; "to nearest", halves up; or "cut off", where only dropping the further digits will do.
    Both numbers are in the unit of the print.
    """
    shifted, digits = exact * 10**decimals, printed * 10**decimals
    if printed == exact:
        return "exact"
    if floor(shifted + Fraction(1, 2)) == digits:
        return "to nearest"
    return "cut off" if floor(shifted) == digits else None


def fits(entry: Entry, exact: Fraction) -> str | None:
    """How an exact number, in ones, becomes the printed one: see `rounding`. A number printed with
    "about" may also be off by one in its last digit ("about")."""
    printed, exact = Fraction(entry.printed), exact / entry.scale
    near = abs(exact - printed) <= Fraction(1, 10**entry.decimals)
    return rounding(exact, printed, entry.decimals) or ("about" if entry.about and near else None)


def shown(exact: Fraction, entry: Entry) -> str:
    """A recomputed number in the unit of the print, with three digits more than are printed."""
    return f"{float(exact / entry.scale):.{entry.decimals + 3}f} {entry.unit}".strip()


# --- alternatives ---------------------------------------------------------------------------------

MIXERS = tuple(family for family in costs.FAMILIES if family != "mlp_mixer")
CHANGES: dict[str, tuple[Any, ...]] = {
    "kernel_size": tuple(range(1, 16)),
    "patch_size": (1, 2, 4, 7, 8, 14, 16, 32),
    "num_classes": (10, 100, [10, 100], 101, 102, 1000),
    "ratio": tuple(str(Fraction(i, 2 * i - 1)) for i in range(2, 7)),
    "segments": tuple(range(2, 9)),
    "family": MIXERS,
}
_WORDS = {
    "kernel_size": "kernel size {}",
    "patch_size": "patch size {}",
    "num_classes": "{} classes",
    "ratio": "α = {}",
    "segments": "s = {}",
}


@dataclass(frozen=True)
class Alternative:
    """Something else that a number could be the number of."""

    text: str
    value: Fraction  # in ones
    convention: str
    rounding: str | None  # None: the printed digits do not come out


def _changed(option: str, stated: Configuration) -> Iterator[tuple[str, Configuration]]:
    """Every change of one option (or of the family) of a model, in words."""
    if option == "family":
        for family in MIXERS if stated.family in MIXERS else ():
            if family != stated.family:
                yield (other := stated.become(family)).title, other
    elif option in stated.options:
        for value in CHANGES[option]:
            if value != stated.options[option]:
                text = _WORDS[option].format(value).replace("[10, 100]", "a mean over 10 and 100")
                yield text, replace(stated, options={**stated.options, option: value})


def alternatives(entry: Entry, changes: int = 1) -> Iterator[Alternative]:
    """What else the number of an entry could be: a number with fewer digits and zeros added; tools'
    habits; the stated model with one option changed. With `changes` 2: with two options changed."""
    usual, habits = CONVENTIONS[entry.quantity], HABITS[entry.quantity]
    for stated in configurations(entry):
        if changes == 2:
            for first, second in itertools.combinations(CHANGES, 2):
                for text, once in _changed(first, stated):
                    for more, twice in _changed(second, once):
                        yield from _tried(f"{more}, {text}", twice, usual, entry)
            continue
        if entry.printed.endswith("0") and entry.decimals > 1:
            shorter = replace(entry, printed=entry.printed[:-1])
            which = f" of {stated.title}" if entry.unstated else ""
            yield from _tried(f"a digit fewer{which}, then a zero", stated, usual, shorter)
        for habit, way in habits.items():
            yield from _tried(habit, stated, {"": way}, entry)
        for option in CHANGES:
            for text, other in _changed(option, stated):
                yield from _tried(text, other, usual, entry)


def _tried(
    text: str, changed: Configuration, ways: Mapping[str, Way], entry: Entry
) -> Iterator[Alternative]:
    for convention, way in ways.items():
        try:
            value = changed.count(way)
        except ValueError:  # no model has these sizes: the patch divides the image, for one
            return
        yield Alternative(text, value, convention, fits(entry, value))


def explanations(entry: Entry) -> tuple[list[Alternative], int]:
    """The alternatives under which the printed digits come out, and how many were tried. Two
    changes at once are tried only when no single one will do."""
    tried, found = 0, []
    for changes in (1, 2):
        for alternative in alternatives(entry, changes):
            tried += 1
            if alternative.rounding:
                found.append(alternative)
        if found:
            break
    return found, tried


# --- verdicts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What became of one entry, and why."""

    kind: str  # one of VERDICTS
    reason: str
    convention: str = ""  # the reading, or way of counting, under which it is reproduced
    rounding: str = ""
    exact: Fraction | None = None  # the recomputed number of the stated model, in ones
    explained: tuple[Alternative, ...] = ()  # of a number that is not reproduced, the best first
    remarks: tuple[str, ...] = ()


def audit(published: Published, runs: Sequence[records.Record] = ()) -> dict[str, Verdict]:
    """The verdict on every entry, by its id. `runs` are our own training records."""
    entries = published.entries.values()
    counted = [e for e in entries if e.quantity in CONVENTIONS and not e.formula]
    recomputed = {e.id: _recomputed(e) for e in counted if configurations(e)}
    usual = Counter(  # how many numbers of a document each way of counting gives
        (published.entries[name].document, way)
        for name, found in recomputed.items()
        for way in {fit.convention for _, fit in found if fit.rounding}
    )
    failing = {
        name: explanations(published.entries[name])
        for name, found in recomputed.items()
        if not any(fit.rounding for _, fit in found)
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
        for fit in _tried(stated.title, stated, CONVENTIONS[entry.quantity], entry)
    ]


def _reproduced(
    entry: Entry, recomputed: list[tuple[Configuration, Alternative]], usual: Counter
) -> Verdict:
    """The convention that most numbers of the same document have stands first."""
    found = [(stated, fit) for stated, fit in recomputed if fit.rounding]
    stated, best = max(found, key=lambda one: usual[entry.document, one[1].convention])
    also = [fit.convention for other, fit in found if other is stated and fit is not best]
    reason = f"As {best.convention}: {shown(best.value, entry)}, {best.rounding}."
    if entry.unstated:
        meant = " or ".join(dict.fromkeys(fit.text for _, fit in found))
        reason = f"The source does not say which model; {meant} has it. {reason}"
    if also:
        reason += f" {' and '.join(also)} would do as well."
    return Verdict(REPRODUCED, reason, best.convention, best.rounding, best.value)


def _not_reproduced(
    entry: Entry,
    recomputed: list[tuple[Configuration, Alternative]],
    failing: Mapping[str, tuple[list[Alternative], int]],
) -> Verdict:
    """Of the alternatives, those stand first that explain the most failing numbers of the table."""
    found, tried = failing[entry.id]
    table = [other for other in failing if other.split("/")[0] == entry.table]
    support = Counter(text for other in table for text in {a.text for a in failing[other][0]})
    found = sorted(found, key=lambda alternative: -support[alternative.text])
    values = "; ".join(f"{fit.convention} {shown(fit.value, entry)}" for _, fit in recomputed)
    reason = "No size gives these digits." if entry.unstated else f"The stated model: {values}."
    if not found:
        return Verdict(NOT_REPRODUCED, f"{reason} Nor does any of {tried} alternatives.")
    named = {a.text: f"{a.text} ({shown(a.value, entry)})" for a in reversed(found)}
    reason += f" These digits would be right for: {'; '.join(list(reversed(named.values()))[:3])}."
    if support[found[0].text] > 1:
        reason += (
            f" The first explains {support[found[0].text]} of the {len(table)} numbers of this "
            "table that fail."
        )
    reason += f" ({len(found)} of {tried} alternatives fit.)"
    exact = recomputed[0][1].value if not entry.unstated else None
    return Verdict(NOT_REPRODUCED, reason, exact=exact, explained=tuple(found))


# --- accuracy and throughput ----------------------------------------------------------------------


def _what(entry: Entry) -> tuple | None:
    """What an entry claims to be the number of, as a key; None for formulas and ratios."""
    if entry.formula or entry.against or entry.quantity == "saving":
        return None
    models = configurations(entry)
    what: tuple = (entry.name, entry.image_size)
    if len(models) == 1:
        what = _identity(models[0], by_data=entry.quantity == "accuracy")
        what += (entry.image_size,) if entry.quantity == "flops" else ()
    trained = (entry.training.get("dataset"), entry.training.get("epochs"), entry.metric)
    return entry.quantity, what, *(trained if entry.quantity == "accuracy" else ()), entry.change


def _identity(model: Configuration, by_data: bool) -> tuple:
    """A model's family and options, as a key. `by_data`: without those that a data set decides."""
    given = ("num_classes", "in_channels", "image_size") if by_data else ()
    options = {key: str(value) for key, value in model.options.items() if key not in given}
    return model.family, tuple(sorted(options.items()))


def agree(one: Entry, other: Entry) -> bool:
    """Whether two printed numbers can be one and the same: the finer rounds to the coarser."""
    if AT_LEAST in one.unit + other.unit:
        return True
    coarse, fine = sorted((one, other), key=lambda e: -e.scale / 10**e.decimals)
    return fits(coarse, fine.value) is not None


def outvoted(entry: Entry, published: Published) -> bool:
    """Whether another value for the same number is printed more often than this one."""
    others = published.others(entry)
    rivals = [other for other in others if not agree(entry, other)]
    strongest = max((sum(agree(one, other) for other in rivals) for one in rivals), default=0)
    return strongest > 1 + len(others) - len(rivals)


def row_of(entry: Entry, published: Published) -> Entry | None:
    """For an accuracy that other prints contradict: the entry of another model, trained on the same
    data, whose accuracy it is."""
    quantity, own, *trained = _what(entry)
    if not outvoted(entry, published):
        return None
    for (other_quantity, what, *on), prints in published.groups.items():
        if (other_quantity, on) == (quantity, trained) and what != own:
            for other in prints:
                if other.printed == entry.printed and not outvoted(other, published):
                    return other
    return None


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
    found = []
    for run in runs:
        if family_of(run.settings["model"]) in costs.MEASURED_ONLY:
            continue  # an ablation
        options = model_entry(run.settings["model"]).defaults | run.settings["model_options"]
        model = Configuration(family_of(run.settings["model"]), options, None)
        unknown = {key: v for key, v in options.items() if key not in costs.OPTIONS[model.family]}
        plain = replace(model, options={k: v for k, v in options.items() if k not in unknown})
        same = _identity(plain, by_data=True) == _identity(models[0], by_data=True)
        settings = all(run.settings.get(key) == v for key, v in entry.training.items())
        if same and settings and not any(unknown.values()):  # such as a shuffle that is on
            found.append(run)
    return found


def parameter_twins(entry: Entry) -> list[Alternative]:
    """For a number that cannot be a throughput: the models of the same sizes whose parameters, in
    millions, have its digits."""
    as_parameters = replace(entry, quantity="parameters", unit="M")
    ways = CONVENTIONS["parameters"]
    return [
        fit
        for stated in configurations(entry)
        for text, model in [(stated.title, stated), *_changed("family", stated)]
        for fit in _tried(text, model, ways, as_parameters)
        if fit.rounding
    ]


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
    below = published.entries[entry.against]
    rows = [e for e in published.entries.values() if e.table == below.table and e is not below]
    ratios = [row.value / below.value for row in rows]
    mean = sum(ratios) / len(ratios)
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
        told = f"1 − {plain(1 - exact)}"
    else:
        forms = {"exactly": form(biases=True), "without biases": form(biases=False)}
        told = plain(sympy.factor(forms["exactly"]))
    printed = sympy.sympify(entry.formula, locals=_LETTERS)
    sizes = {"dim": _LETTERS["h"], "kernel_size": _LETTERS["k"]}
    values = {sizes[option]: value for option, value in entry.options.items()}
    for name, reading in forms.items():
        if sympy.cancel(reading.subs(values) - printed) == 0:
            reason = f"Right for the {part}, {name}"
            reason += "." if name == "exactly" else f"; exactly {told}."
            return Verdict(REPRODUCED, reason, name, "exact")
    return Verdict(NOT_REPRODUCED, f"For the {part} it is {told}.")


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
    found = [entry.note] if entry.note else []
    others = published.others(entry)
    rivals = Counter(f"{o.printed} {o.unit}" for o in others if not agree(entry, o))
    if rivals:
        listed = ", ".join(f"{told} ({n}×)" for told, n in rivals.items())
        found.append(f"Printed differently elsewhere: {listed}.")
    wrong = {
        other.printed
        for other in others
        if other.decimals > entry.decimals and agree(entry, other)
        if verdicts[other.id].kind == NOT_REPRODUCED
    }
    if wrong and verdicts[entry.id].kind == REPRODUCED:
        found.append(f"With more digits elsewhere, {' and '.join(wrong)}, it is not reproduced.")
    if row := repeated_row(entry, published):
        found.append(f"This row repeats all accuracies of {row}.")
    return tuple(found)


def repeated_row(entry: Entry, published: Published) -> str | None:
    """The earlier row of the same table with the same accuracies, two at least, if there is one."""
    rows: dict[str, list[Entry]] = defaultdict(list)
    for other in published.entries.values():
        if other.table == entry.table and other.quantity == "accuracy":
            rows[other.id.rpartition("/")[0]].append(other)
    own = rows.get(entry.id.rpartition("/")[0], [])
    for row in rows.values():
        if row is own or len(own) < 2:
            return None
        if [e.printed for e in row] == [e.printed for e in own]:
            return row[0].name
    return None
