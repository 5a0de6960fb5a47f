"""The commands and tables of the five documents that the book started from, and what ours need.

>>> from assets import command_rows
>>> rows = command_rows.read_rows(command_rows.BOOK / "commands.yaml")
>>> rows["evaluate"].recipes
('imagenet/convmixer_1536_20',)
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
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
from mixerlib.training import Recipe, list_recipes, load_recipe

BOOK = Path(__file__).parents[1]
DAY = 24 * 3600
UNITS = (("E", 1e18), ("P", 1e15), ("T", 1e12))
SPEEDS = "slides-throughput"  # the published table of such networks' images a second


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
    data: str = ""
    benchmark: str = ""
    device: str = ""

    @cached_property
    def commands(self) -> tuple[list[str], ...]:
        """Our commands as words."""
        return tuple(shlex.split(line) for line in self.ours.splitlines())

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes that our commands name, each once."""
        return recipes_in(self.commands)

    @property
    def trained(self) -> tuple[str, ...]:
        """The recipes that our commands train."""
        return recipes_in(command for command in self.commands if "train" in command)

    @property
    def gpus(self) -> int:
        """How many devices our commands ask for."""
        return max([processes_of(command) for command in self.commands] or [1])

    @property
    def trains(self) -> bool:
        return any("train" in command for command in self.commands)

    @property
    def by_timm(self) -> bool:
        """Whether our commands start scripts of timm's."""
        return any("mixerlib.timm" in command for command in self.commands)

    @property
    def asks_for_nothing(self) -> bool:
        """Whether it runs as it stands: without data, weights or a device of its own."""
        return not any((*self.recipes, self.weights, self.data, self.device))


def recipes_in(commands: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The recipes that commands name, each once."""
    known = set(list_recipes())
    words = (word for command in commands for word in command)
    return tuple(dict.fromkeys(word for word in words if word in known))


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


def datasets_of(row: Row) -> list[str]:
    """The data sets that a row needs: those of its recipes, and the one that is said of it."""
    names = [*(load_recipe(name).dataset for name in row.recipes), row.data]
    return [name for name in dict.fromkeys(names) if name]


def needs(row: Row) -> list[str]:
    """Data, weights, devices and time that a row needs, in words, from its recipes."""
    titles = [DATA[name].title for name in datasets_of(row)]
    form = "Data: your own, laid out as {} is." if row.own_data else "Data: {}."
    texts = [form.format(listed(titles))] if titles else []
    texts += [f"Weights: {marked(row.weights)}."] if row.weights else []
    texts += [f"Device: a {row.device}, for the numbers as printed."] if row.device else []
    scripts = "Scripts: timm’s own, which lie in its repository and not in its package."
    texts += [scripts] if row.by_timm else []
    if row.trains:
        texts.append(time_needed(row))
    if row.took:
        texts[-1] += (
            f' Its authors <a href="{row.took["url"]}">report</a> about {row.took["days"]} days on '
            f"{row.took['gpus']} {row.took['device']}, that is {digits(rate_of(row) / 1e12, 2)}"
            "&nbsp;TFLOP/s each."
        )
    return texts


def marked(text: str) -> str:
    """Text in which what stands between backticks is code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", plain(text))


def plain(text: str) -> str:
    """Running text, with the apostrophe of print."""
    return escape(text.replace("'", "’"))
