"""The commands and tables of the five documents that the book started from, beside ours, as a page.

>>> from assets import command_table
>>> rows = command_table.read_rows(command_table.BOOK / "commands.yaml")
>>> rows["evaluate"].recipes
('imagenet/convmixer_1536_20',)
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mixerlib import costs
from mixerlib.files import read_yaml
from mixerlib.models import create_model, model_entry
from mixerlib.pages import Entry, Published, audit, digits, listed
from mixerlib.records import Record
from mixerlib.training import Recipe, list_recipes, load_recipe

BOOK = Path(__file__).parents[1]
DAY = 24 * 3600
UNITS = (("E", 1e18), ("P", 1e15), ("T", 1e12))
SPEEDS = "slides-throughput"  # the published table of such networks' images a second
FEW = 6  # published numbers that are shown without being folded


class Data(NamedTuple):
    """A data set of the documents: its name, training images, classes, and side if there is one."""

    title: str
    images: int
    classes: int
    side: int = 0


DATA = {
    "cifar10": Data("CIFAR-10", audit.IMAGES["cifar10"][0], 10, 32),
    "cifar100": Data("CIFAR-100", audit.IMAGES["cifar100"][0], 100, 32),
    "flowers102": Data("Flowers102", audit.IMAGES["flowers102"][0], 102),
    "food101": Data("Food101", audit.IMAGES["food101"][0], 101),
    "imagenet": Data("ImageNet", 1_281_167, 1000),
}


@dataclass(frozen=True)
class Row:
    """What a document has a user do, and what does the same here; `commands.yaml` says how."""

    name: str
    seeds: Sequence[str]
    where: str
    title: str
    theirs: str
    ours: str = ""
    python: str = ""
    weights: str = ""
    expects: Sequence[str] = ()
    smaller: Sequence[str] = ()
    took: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    also: Mapping[str, str] = field(default_factory=dict)
    own_data: bool = False

    @cached_property
    def commands(self) -> tuple[list[str], ...]:
        """Our commands as words."""
        return tuple(shlex.split(line) for line in self.ours.splitlines())

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes that our commands name, each once."""
        known = set(list_recipes())
        words = (word for command in self.commands for word in command)
        return tuple(dict.fromkeys(word for word in words if word in known))

    @property
    def gpus(self) -> int:
        """How many devices our commands ask for."""
        return max([processes_of(command) for command in self.commands] or [1])

    @property
    def trains(self) -> bool:
        return any("train" in command for command in self.commands)


def processes_of(command: Sequence[str]) -> int:
    """How many processes a command starts: those that torchrun is told, else one."""
    flag = "--nproc_per_node"
    return int(command[command.index(flag) + 1]) if flag in command else 1


def read_rows(file: Path) -> dict[str, Row]:
    """The rows of the file by their names. An unknown field is a `TypeError`."""
    return {name: Row(name=name, **values) for name, values in read_yaml(file)["rows"].items()}


def numbers_of(row: Row, published: Published) -> list[Entry]:
    """The published numbers that a row is expected to give.

    Raises `ValueError` for a name that is neither an entry nor a table.
    """
    found: list[Entry] = []
    for name in row.expects:
        entries = [e for e in published.entries.values() if name in (e.id, e.table)]
        if not entries:
            raise ValueError(f"`expects`={name!r} of {row.name} must be an entry, or a table")
        found += entries
    return found


def macs_of(recipe: Recipe) -> int:
    """Multiply-adds of a recipe's model for one image of its data."""
    entry, data = model_entry(recipe.model), DATA[recipe.dataset]
    options = recipe.model_options | {"num_classes": data.classes}
    size = recipe.image_size or data.side
    if "image_size" in entry.defaults:
        options["image_size"] = size
    if entry.family not in costs.MEASURED_ONLY:
        counts = costs.formulas(entry.family).counts(dict(entry.defaults) | options, size)
        return costs.macs(counts)
    with torch.device("meta"):
        return costs.macs(costs.measure(create_model(entry.name, **options), size))


def operations_of(name: str) -> float:
    """Additions and multiplications of a recipe's whole training, from its formulas: forward, and
    twice as much backward, which a frozen body does not have."""
    recipe = load_recipe(name)
    passes = 1 if recipe.frozen else 3
    return 2.0 * passes * macs_of(recipe) * DATA[recipe.dataset].images * recipe.epochs


def time_in_words(seconds: float) -> str:
    """A rough time in the unit that suits it: "6.8 days", "40 minutes"."""
    for unit, size in (("days", 2 * DAY), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{digits(seconds / {'days': DAY}.get(unit, size), 2)} {unit}"
    return "less than a minute"


def work_in_words(operations: float) -> str:
    """Operations with the prefix that suits them."""
    prefix, size = next(unit for unit in UNITS if operations >= unit[1] or unit == UNITS[-1])
    return f"{digits(operations / size, 2)}&nbsp;{prefix}FLOP"


def rate_of(row: Row) -> float:
    """Operations a second on each device of a training whose authors say how long it took."""
    work = sum(map(operations_of, row.recipes))
    return work / (row.took["days"] * DAY * row.took["gpus"])


@cache
def published_rates(imagenet: bool) -> tuple[float, float, str]:
    """The least and the greatest operations a second that published times of such networks imply,
    and whose they are: of whole trainings on ImageNet, else of the slides' table of throughputs."""
    if imagenet:
        rates = [rate_of(row) for row in read_rows(BOOK / "commands.yaml").values() if row.took]
        return min(rates), max(rates), "ConvMixer’s authors say of their trainings, on RTX 8000"
    entries = audit.load(BOOK / "published.yaml").entries.values()
    rates = [
        2 * float(audit.configurations(entry)[0].count(costs.macs)) * float(entry.printed)
        for entry in entries
        if entry.table == SPEEDS
    ]
    return min(rates), max(rates), "SplitMixer’s slides print of such networks, on a V100"


def time_needed(row: Row) -> str:
    """The work of a row's training, and how long it takes at the rates that are published."""
    recipes = [load_recipe(name) for name in row.recipes]
    work = sum(map(operations_of, row.recipes))
    if row.own_data:
        share = 1000 * work / len(recipes) / DATA[recipes[0].dataset].images
        return f"Time: {work_in_words(share)} for each thousand of its images, by the formulas."
    runs = "one run" if len(recipes) == 1 else f"{len(recipes)} runs together"
    text = f"Time: {work_in_words(work)} by the formulas ({runs})"
    if any(model_entry(recipe.model).family == "mlp_mixer" for recipe in recipes):
        return f"{text}; no speed of all these models is published there to reckon hours with."
    low, high, whose = published_rates(all(recipe.dataset == "imagenet" for recipe in recipes))
    fast, slow = (time_in_words(work / rate / row.gpus) for rate in (high, low))
    device = "one device" if row.gpus == 1 else f"{row.gpus} devices"
    return (
        f"{text}, {fast} to {slow} on {device} at {digits(low / 1e12, 2)} to "
        f"{digits(high / 1e12, 2)}&nbsp;TFLOP/s, as {whose}."
    )


def needs(row: Row) -> list[str]:
    """Data, weights, devices and time that a row needs, in words, from its recipes."""
    data = dict.fromkeys(DATA[load_recipe(name).dataset].title for name in row.recipes)
    form = "Data: your own, laid out as {} is." if row.own_data else "Data: {}."
    texts = [form.format(listed(data))] if data else []
    texts += [f"Weights: {_marked(row.weights)}."] if row.weights else []
    if row.trains:
        texts.append(time_needed(row))
    if row.took:
        texts[-1] += (
            f' Its authors <a href="{row.took["url"]}">report</a> about {row.took["days"]} days on '
            f"{row.took['gpus']} {row.took['device']}, that is {digits(rate_of(row) / 1e12, 2)}"
            "&nbsp;TFLOP/s each."
        )
    return texts


def runs_here(row: Row, records: Sequence[Record]) -> list[str]:
    """What has been run here of a row, in words: by the tests, as it is, and smaller."""
    texts = ["Small, by the book’s tests, on made-up images of the same layout."]
    if row.trains:
        whole = [record for record in records if record.recipe in row.recipes]
        texts.append(f"As it is: {_counted(whole)}.")
    if row.smaller:
        small = [record for record in records if record.recipe in row.smaller]
        texts.append(f"At a size for a CPU: {_counted(small)}.")
    return texts


def _counted(records: Sequence[Record]) -> str:
    if not records:
        return "not yet"
    shares = [record.test_accuracy for record in records]
    low, high = f"{min(shares):.1%}", f"{max(shares):.1%}"
    span = low if low == high else f"{low} to {high}"
    number = "one run" if len(records) == 1 else f"{len(records)} runs"
    return f"{number} with a record, {span} right"


def summary(
    rows: Mapping[str, Row], published: Published, records: Sequence[Record]
) -> list[list[Any]]:
    """For each document: link, rows, our lines, and its rows with a run as it is, or smaller."""
    trained = {record.recipe for record in records}
    table = []
    for seed in seeds_of(rows):
        mine = [row for row in rows.values() if seed in row.seeds]
        document = published.documents[seed]
        lines = sum(len(row.commands) + bool(row.python) for row in mine)
        whole = sum(bool(trained & {*row.recipes}) for row in mine)
        small = sum(bool(trained & {*row.smaller}) for row in mine)
        link = f"[{document['title']}]({document['url']})"
        table.append([link, len(mine), lines, whole, small])
    return table


def seeds_of(rows: Mapping[str, Row]) -> list[str]:
    """The documents, in the order in which the rows name them."""
    return list(dict.fromkeys(seed for row in rows.values() for seed in row.seeds))


STYLE = """
.commands section { border-top: 1px solid var(--pst-color-border); padding: 0.9rem 0 0.4rem; }
.commands .title { font-weight: 600; margin: 0; scroll-margin-top: 6rem; }
.commands .where { color: var(--pst-color-text-muted); font-size: 0.85rem; margin: 0 0 0.5rem; }
.commands .both { display: grid; gap: 0.2rem 1rem; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 900px) { .commands .both { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
.commands .side { font-size: 0.8rem; color: var(--pst-color-text-muted); margin: 0; }
.commands pre { margin: 0 0 0.5rem; padding: 0.5rem 0.6rem; font-size: 0.75rem; line-height: 1.5;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.commands pre span { display: block; padding-left: 1.6em; text-indent: -1.6em; }
.commands .both p, .commands dl { font-size: 0.9rem; }
.commands dl { display: grid; grid-template-columns: minmax(0, 1fr); margin: 0.4rem 0 0; }
@media (min-width: 600px) { .commands dl { grid-template-columns: 7rem minmax(0, 1fr); } }
.commands dt { font-weight: 600; } .commands dd { margin: 0 0 0.4rem; overflow-wrap: break-word; }
.commands dd p, .commands dd ul { margin: 0; }
"""


def html(
    rows: Mapping[str, Row], seed: str, published: Published, records: Sequence[Record]
) -> str:
    """The rows of a document. One of several is shown at the first, and linked from the others."""
    mine = [row for row in rows.values() if seed in row.seeds]
    cards = "".join(_card(row, published, records) for row in mine if row.seeds[0] == seed)
    again = [row for row in mine if row.seeds[0] != seed]
    links = listed(f'<a href="#{anchor(row)}">{_plain(row.title)}</a>' for row in again)
    also = f"<p>And, as in the document that it starts from: {links}.</p>" if again else ""
    return f'<div class="commands"><style>{STYLE}</style>{cards}{also}</div>'


def anchor(row: Row) -> str:
    return f"command-{row.name}"


def _card(row: Row, published: Published, records: Sequence[Record]) -> str:
    facts = {
        "Expected": _expected(numbers_of(row, published), published),
        "Needs": _paragraphs(needs(row)),
        "Run here": _paragraphs(runs_here(row, records)),
        "To know": _marked(row.note),
    }
    listing = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items() if text)
    return (
        f'<section><p class="title" id="{anchor(row)}">{_plain(row.title)}</p>'
        f'<p class="where">{_plain(row.where)}</p><div class="both">'
        f'<div><p class="side">There</p>{_theirs(row.theirs)}</div>'
        f'<div><p class="side">Here</p>{_code(row.ours or row.python)}</div></div>'
        f"<dl>{listing}</dl></section>"
    )


def _code(text: str) -> str:
    lines = text.rstrip().splitlines()
    return "<pre>" + "".join(f"<span>{escape(line) or ' '}</span>" for line in lines) + "</pre>"


def _theirs(text: str) -> str:
    """What a document has: its command, or what stands in the place of one, in words."""
    return _code(text) if text.endswith("\n") else f"<p>{_marked(text)}</p>"


def _marked(text: str) -> str:
    """Text in which what stands between backticks is code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", _plain(text))


def _plain(text: str) -> str:
    """Running text, with the apostrophe of print."""
    return escape(text.replace("'", "’"))


def _paragraphs(texts: Sequence[str]) -> str:
    return "".join(f"<p>{text}</p>" for text in texts)


def _expected(entries: Sequence[Entry], published: Published) -> str:
    """The numbers, each with its source; many of them folded."""
    if not entries:
        return ""
    items = "".join(f"<li>{_number(entry, published)}</li>" for entry in entries)
    if len(entries) <= FEW:
        return f"<ul>{items}</ul>"
    return f"<details><summary>{len(entries)} numbers</summary><ul>{items}</ul></details>"


def _number(entry: Entry, published: Published) -> str:
    unit = {"share": "", "times": "×"}.get(entry.unit, entry.unit)
    about = "about " if entry.about else "almost " if entry.below else ""
    what = f"{entry.name}: {entry.column}" if entry.column else entry.name
    what += f", {entry.change}" if entry.change else ""
    source = f"({_plain(published.documents[entry.document]['title'])})"
    if entry.quantity == "statement":  # a sentence, and no number in it
        return f"“{_plain(what)}” {source}"
    return f"{escape(f'{about}{entry.printed} {unit}'.rstrip())}, {_plain(what)} {source}"
