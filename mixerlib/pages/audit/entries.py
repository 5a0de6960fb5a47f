"""What is printed, and what it is said to describe: `book/published.yaml`, read and checked."""

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mixerlib import costs
from mixerlib.files import read_yaml
from mixerlib.models import list_relatives, model_entry
from mixerlib.pages.audit.logs import PublishedLog, read_logs

QUANTITIES = (
    "parameters",
    "flops",
    "file size",
    "accuracy",
    "throughput",
    "saving",
    "statement",
)
# unit: how many ones it stands for; accuracies are kept as shares of one
SCALES: dict[str, int | Fraction] = {
    "": 1,
    "M": 10**6,
    "G": 10**9,
    "MB": 10**6,
    "%": Fraction(1, 100),
    "share": 1,
    "times": 1,
    "img/s": 1,
}
# what `cost` may be: parameters, MACs, thop's count; parameters without the classifier
COSTS = ("params", "macs", "thop", "body")
AT_LEAST = " or more"  # "80 % or more" is a bound, not a value

Count = costs.Counts[int]
Way = Callable[[Count], int]  # a way of counting


@dataclass(frozen=True)
class Entry:
    """One printed number, and what it is said to describe.

    Args:
        id: TABLE/ROW/COLUMN, or the name of a number in running text.
        table: its table's name; of a number in running text, its own id.
        document: where it is printed.
        where: inside the document.
        name: the row, or the words, that it stands with.
        quantity: one of `QUANTITIES`.
        printed: the number as text, so that its decimals are known; of a statement, its words.
        unit: "M", "G", "%" or the like.
        column: the head of its column.
        about: whether it is printed with "about" or "around".
        note: a remark on it.
        model: a registered name; None where it describes no model of this book.
        options: those of `create_model` that are stated.
        unstated: options that the source leaves open, each with the values that are tried.
        image_size: pixels.
        training: what it was trained on and how, as settings of a recipe: `dataset` at least.
        change: what was done to the model or to its training, in words.
        replaced: the settings, or options of the ablated model, that the change replaces.
        metric: of an accuracy: "top-1" or "top-5".
        weights: where the trained weights lie whose accuracy it is, when they are published.
        borrowed: whose number it is, when the source took it from elsewhere.
        other: the name of a model in the record of counts of those that mixers are compared with; a
            pattern with shell wildcards stands for all that it fits.
        preset: of an accuracy of such a model, the name under which this book builds it.
        searched: whether the source leaves that model's configuration open, and we searched it.
        part: of a saving, the part of the model.
        cost: what is counted, where the source says so: one of `COSTS`.
        formula: of a saving, the expression.
        against: what the number is compared with: the id of another, or a model.
        below: whether it is said to be a little more than the true one, with "almost".
        registered: of a statement, the word that timm's names of models should hold.
        higher: of a statement, pairs of ids: the first number of each should exceed the second.
    """

    id: str
    table: str
    document: str
    where: str
    name: str
    quantity: str
    printed: str
    unit: str
    column: str = ""
    about: bool = False
    note: str = ""
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    unstated: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    image_size: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    change: str = ""
    replaced: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "top-1"
    weights: str = ""
    borrowed: str = ""
    other: str | None = None
    preset: str | None = None
    searched: bool = False
    part: str | None = None
    cost: str = "params"
    formula: str | None = None
    against: str | None = None
    below: bool = False
    registered: str = ""
    higher: Sequence[Sequence[str]] = ()

    @property
    def row(self) -> str:
        """The row of its table that it stands in; entries of one row describe one model."""
        return self.id.rpartition("/")[0] or self.id

    @property
    def scale(self) -> Fraction:
        """How many ones the unit stands for."""
        return Fraction(SCALES[self.unit.removesuffix(AT_LEAST)])

    @property
    def decimals(self) -> int:
        """Digits after the point, as printed."""
        return len(self.printed.partition(".")[2])

    @property
    def value(self) -> Fraction:
        """The printed number in ones, or as a share. A formula has none."""
        return Fraction(self.printed) * self.scale


@dataclass(frozen=True)
class Published:
    """Documents by name (title and url), every entry by its id, and whole logs by name."""

    documents: Mapping[str, Mapping[str, str]]
    entries: Mapping[str, Entry]
    logs: Mapping[str, PublishedLog] = field(default_factory=dict)

    @cached_property
    def groups(self) -> Mapping[tuple, list[Entry]]:
        """The entries that claim to tell the same number, by what it is the number of."""
        groups: dict[tuple, list[Entry]] = defaultdict(list)
        for entry in self.entries.values():
            if (key := claim(entry)) is not None:
                groups[key].append(entry)
        return groups

    def others(self, entry: Entry) -> list[Entry]:
        """The other prints of the same number."""
        same = self.groups.get(claim(entry) or (), [])
        return [other for other in same if other is not entry]


_OPTIONS = {option for known in costs.OPTIONS.values() for option in known} - {"image_size"}
_KEYS = {f.name for f in fields(Entry)} - {"id", "table", "options"} | _OPTIONS


def load(path: str | Path) -> Published:
    """Read the printed numbers. Raises `ValueError` naming file, entry and what is wrong."""
    content = read_yaml(path)
    entries: dict[str, Entry] = {}
    try:
        for name, table, keys in _cells(content):
            if name in entries:
                raise ValueError(f"`{name}` is there twice")
            entries[name] = _entry(name, table, keys, content["documents"])
        logs = read_logs(content.get("logs", {}), content["documents"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:  # a part is missing, or is no table
        last = next(reversed(entries), "its beginning")
        raise ValueError(f"{path}: what follows {last} is not of its form: {error!r}") from None
    return Published(content["documents"], entries, logs)


def _cells(content: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every number of the file, with the keys of its table, column and row put together."""
    for table, printed in content["tables"].items():
        top = printed.get("common", {}) | {key: printed[key] for key in ("document", "where")}
        for row, keys in printed["rows"].items():
            of_row = {key: value for key, value in keys.items() if key != "values"}
            if len(keys["values"]) != len(printed["columns"]):
                raise ValueError(f"`{table}/{row}` must have {len(printed['columns'])} values")
            for (column, shared), value in zip(
                printed["columns"].items(), keys["values"], strict=True
            ):
                if value is not None:
                    head = shared | {"column": shared["name"], "printed": value}
                    yield (
                        f"{table}/{row}/{column}",
                        table,
                        top | head | of_row | _data(shared, of_row),
                    )
    for name, keys in content["numbers"].items():
        yield name, name, dict(keys)


def _data(column: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """The training of a row that was not trained as its table: of the column's, only the data."""
    if "training" not in row:
        return {}
    if "training" not in column:  # a column without accuracies
        return {"training": {}}
    return {"training": {"dataset": column["training"]["dataset"]} | row["training"]}


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
        "model": (not entry.formula or entry.model is not None, "the name of the formula's model"),
        "cost": (entry.cost in COSTS, f"one of {COSTS}"),
        "preset": (entry.preset in (None, *list_relatives()), "a name of `list_relatives`"),
        "searched": (not entry.searched or entry.other is not None, "false without `other`"),
        "part": (not entry.formula or entry.part is not None, "the part that the formula is of"),
        "printed": (_is_printed(entry), "a number, as text"),
        "replaced": (_is_known(entry), "settings, or options of the model with parts taken out"),
    }
    for key, (holds, rule) in rules.items():
        if not holds:
            raise ValueError(f"`{key}`={getattr(entry, key)!r} of {name} must be {rule}")
    for stated in configurations(entry):
        for option in stated.options:
            if option not in costs.OPTIONS[stated.family]:
                raise ValueError(f"`{option}` of {name} must be an option of {stated.family}")
    return entry


def _is_known(entry: Entry) -> bool:
    """Whether all that a change replaces is a setting, or an option of the ablated model."""
    options = entry.replaced.keys() - entry.training.keys()
    return not options or (
        entry.model is not None
        and (name := ablated(family_of(entry.model))) in costs.MEASURED_ONLY
        and options <= model_entry(name).defaults.keys()
    )


def ablated(family: str) -> str:
    """The name of a family of which parts can be taken out."""
    return f"{family}_ablated"


def _is_printed(entry: Entry) -> bool:
    if entry.formula is not None or entry.quantity == "statement":
        return isinstance(entry.printed, str)
    number = r"[0-9]{1,20}(\.[0-9]{1,20})?"
    return isinstance(entry.printed, str) and re.fullmatch(number, entry.printed) is not None


# --- what it describes ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Configuration:
    """A model as its costs need it. `num_classes` may be a list: the mean over data sets."""

    family: str
    options: Mapping[str, Any]
    image_size: int | None

    @property
    def title(self) -> str:
        """The model in words, "SplitMixer-I"; of an MLP-Mixer its scale and patch, "Mixer-S/4"."""
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
        return sum((Fraction(way(count)) for count in counts), Fraction()) / len(counts)

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
    models = []
    for choice in itertools.product(*entry.unstated.values()):
        keys = {**entry.options, **dict(zip(entry.unstated, choice, strict=True))}
        if model := keys.pop("model", entry.model):
            family, defaults = family_of(model), model_entry(model).defaults
            size = entry.image_size or defaults.get("image_size")
            options = {key: defaults[key] for key in costs.OPTIONS[family]} | keys
            if family == "mlp_mixer":
                options["image_size"] = size
            models.append(Configuration(family, options, size))
    return models


def claim(entry: Entry) -> tuple | None:
    """What an entry claims to be the number of, as a key; None for formulas and ratios."""
    if entry.formula or entry.against or entry.quantity in ("saving", "statement"):
        return None
    models = configurations(entry)
    what: tuple = (entry.name, entry.image_size)
    if len(models) == 1:
        what = identity(models[0], by_data=entry.quantity == "accuracy")
        what += (entry.image_size,) if entry.quantity == "flops" else ()
    trained = (entry.training.get("dataset"), entry.training.get("epochs"), entry.metric)
    return entry.quantity, what, *(trained if entry.quantity == "accuracy" else ()), entry.change


def identity(model: Configuration, by_data: bool) -> tuple:
    """A model's family and options, as a key. `by_data`: without those that a data set decides."""
    given = ("num_classes", "in_channels", "image_size") if by_data else ()
    options = {key: str(value) for key, value in model.options.items() if key not in given}
    return model.family, tuple(sorted(options.items()))
