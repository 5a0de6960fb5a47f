"""Which convention? A printed number, and what to count: tick until the printed digits come out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from mixerlib.costs import mixing_steps
from mixerlib.models import create_model
from mixerlib.pages import audit
from mixerlib.pages.audit import Configuration, Entry, Published
from mixerlib.pages.audit.entries import Way
from mixerlib.pages.colors import ACCENT, GREY, WARM
from mixerlib.pages.interactives.base import (
    Interactive,
    buttons,
    choice,
    controls,
    guess,
    part,
    script,
    tick,
)
from mixerlib.pages.tables import listed

# The printed numbers, by their names in the audit; of the last no choice of ours has the digits.
PUZZLES = (
    "readme-cifar10/convmixer/flops",
    "mixer-paper/l16/params",
    "convmixer-readme-weights/convmixer-768-32/size",
    "timm-benchmark/mixer-s32/gmacs",
    "timm-benchmark/convmixer-768-32/gmacs",
    "keras-params",
)
ANSWERS = {"fewer": "fewer", "same": "just those", "twice": "twice those", "more": "some more"}


@dataclass(frozen=True)
class Part:
    """Something in a model that may be counted, and how many times: 0 is not at all."""

    name: str
    label: str
    times: tuple[int, ...]
    scaled: bool = False  # whether the factor of its kind multiplies it
    color: str = GREY


@dataclass(frozen=True)
class Kind:
    """A kind of count: its parts, what a guess compares it with, and a factor on some parts."""

    base: str
    factor: Part  # of its two times, the second is the factor
    parts: tuple[Part, ...]


ALWAYS, MAYBE = (1,), (0, 1)
KINDS = {
    "work": Kind(
        "multiply-accumulates (MACs)",
        Part("twice", "A MAC is two operations", (1, 2)),
        (
            Part("full", "MACs of all other layers", ALWAYS, True, ACCENT),
            Part("spatial", "MACs of depthwise convolutions", MAYBE, True, WARM),
            Part("biases", "Sums with a bias", MAYBE, color="#56B4E9"),
            Part("norms", "Elements that pass a norm", (0, 1, 2, 4, 5), color="#E69F00"),
            Part("gelu", "Elements that pass a GELU", (0, 1, 2), color="#009E73"),
            Part("mean", "The final mean", MAYBE, color="#CC79A7"),
        ),
    ),
    "size": Kind(
        "trained parameters",
        Part("bytes", "Four bytes for each number", (1, 4)),
        (
            Part("weights", "Weights before the classifier", ALWAYS, True, ACCENT),
            Part("bias", "Biases before the classifier", MAYBE, True, "#56B4E9"),
            Part("scales", "The norms' scales and shifts", MAYBE, True, "#E69F00"),
            Part("head", "The classifier", MAYBE, True, WARM),
            Part("running", "The norms' running statistics", MAYBE, True, "#009E73"),
        ),
    ),
}


def kind_of(entry: Entry) -> str:
    """The kind of a printed count: "work" or "size"."""
    return "work" if entry.quantity == "flops" else "size"


@cache
def _elements(family: str, options: tuple[tuple[str, Any], ...], side: int) -> dict[str, int]:
    """Of a model: outputs with a bias, elements that pass a GELU, and biases before the head."""
    its = dict(options)
    with torch.device("meta"):  # shapes without memory
        model = create_model(family, **its)
    h, d, places = its["dim"], its["depth"], (side // its["patch_size"]) ** 2
    mixings = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if family == "mlp_mixer":
        hidden = d * (its["tokens_dim"] * h + its["channels_dim"] * places)
        outputs = hidden + (1 + 2 * d) * h * places
    else:  # each stage ends with an activation and a norm of all channels
        depthwise = sum(isinstance(m, nn.Conv2d) and m.groups > 1 for m in mixings)
        mixed = sum(width for segments, _ in mixing_steps(model) for _, width in segments)
        hidden = (1 + depthwise + d) * h * places
        outputs = ((1 + depthwise) * h + mixed) * places
    biases = sum(m.out_channels if isinstance(m, nn.Conv2d) else m.out_features for m in mixings)
    return {
        "biases": outputs + its["num_classes"],
        "gelu": hidden if its["activation"] == "gelu" else 0,
        "bias": biases - its["num_classes"],
    }


def counts_of(stated: Configuration, kind: str) -> list[int]:
    """How many there are of each part of a kind, for one image."""
    size = stated.image_size
    if size is None:
        raise ValueError(f"`stated`={stated} must have an image size")
    seen = _elements(stated.family, tuple(sorted(stated.options.items())), size)

    def number(way: Way) -> int:
        return int(stated.count(way))

    if kind == "work":
        spatial = number(lambda c: c.macs.get("spatial mixing", 0))
        return [
            number(lambda c: c.total("macs")) - spatial,
            spatial,
            seen["biases"],
            number(lambda c: c.total("normalized")),
            seen["gelu"],
            number(lambda c: c.total("pooling")),
        ]
    scales, head = number(lambda c: c.params["normalisation"]), number(lambda c: c.params["head"])
    whole = number(lambda c: c.total("params"))
    running = number(lambda c: c.total("buffers"))
    return [whole - seen["bias"] - scales - head, seen["bias"], scales, head, running]


def siblings(entry: Entry, published: Published) -> list[Entry]:
    """The numbers of the same source that are counted alike: of one quantity, and either all of
    MLP-Mixers or none. The audit asks of a convention that it gives the most of them."""

    def alike(one: Entry) -> tuple[object, ...]:
        mixer = one.model is not None and audit.family_of(one.model) == "mlp_mixer"
        return one.document, one.borrowed, one.quantity, one.cost, one.formula, mixer

    return [
        other
        for other in published.entries.values()
        if alike(other) == alike(entry) and len(audit.configurations(other)) == 1
    ]


def _puzzle(entry: Entry, published: Published) -> dict[str, Any]:
    """A printed number as the script needs it, with its siblings and the audit's explanation."""
    kind, family = kind_of(entry), siblings(entry, published)
    verdict = audit.check(Published(published.documents, {e.id: e for e in [entry, *family]}))
    found = verdict[entry.id]
    explained = [found.convention] if found.convention else [e.text for e in found.explained]
    rows = [
        [e.printed, int(e.scale), *counts_of(audit.configurations(e)[0], kind)]
        for e in [entry, *(other for other in family if other is not entry)]
    ]
    return {
        "kind": kind,
        "name": entry.name,
        "unit": entry.unit,
        "what": entry.column or entry.quantity,
        "source": published.documents[entry.document]["title"],
        "rows": rows,
        "audit": explained[0],
    }


def _row(one: Part, kind: Kind) -> str:
    """A part in the table: its control, how many there are, and what they add."""
    if one is kind.factor:
        control = tick(one.name, one.label)
    elif one.times == ALWAYS:
        control = f'<span class="always">{one.label}</span>'
    elif one.times == MAYBE:
        control = tick(one.name, one.label)
    else:
        times = {str(n): f"× {n}" if n else "not" for n in one.times}
        control = choice(one.name, one.label, times, "0")
    ink = "" if one is kind.factor else f'<i style="background:{one.color}"></i>'
    return f'<tr data-part="{one.name}"><th scope="row">{ink}{control}</th><td></td><td></td></tr>'


def _table(name: str, kind: Kind) -> str:
    rows = "".join(_row(one, kind) for one in (*kind.parts, kind.factor))
    return (
        f'<table data-kind="{name}"><thead><tr><th scope="col">What to count</th>'
        '<th scope="col">there are</th><th scope="col">counted</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _still(entry: Entry) -> str:
    """The first printed number beside the model's number in every way of counting."""
    (stated,) = audit.configurations(entry)
    ways: Mapping[str, Way] = audit.CONVENTIONS[entry.quantity]
    numbers = {name: stated.count(way) for name, way in ways.items()}
    scale, parts = 190 / float(max(numbers.values())), []
    for row, (name, number) in enumerate(numbers.items()):
        y, color = 20 * row + 20, ACCENT if audit.fits(entry, number) else GREY
        parts.append(
            f'<text x="0" y="{y + 11}">{name}</text><rect x="140" y="{y}" height="14" '
            f'width="{float(number) * scale:.1f}" fill="{color}"/>'
            f'<text x="{146 + float(number) * scale:.1f}" y="{y + 11}">'
            f"{audit.shown(number, entry)}</text>"
        )
    at = 140 + float(entry.value) * scale
    parts.append(f'<path d="M{at:.1f} 16V{20 * len(numbers) + 20}" stroke="currentColor"/>')
    parts.append(f'<text x="{at:.1f}" y="11" text-anchor="middle">printed: {entry.printed}</text>')
    fitting = listed(name for name, number in numbers.items() if audit.fits(entry, number))
    words = f"{entry.name} in several ways of counting: {fitting} gives the printed {entry.column}."
    return (
        f'<svg viewBox="0 0 400 {20 * len(numbers) + 24}" role="img" aria-label="{words}" '
        f'fill="currentColor" font-size="11">{"".join(parts)}</svg><p>{words}</p>'
    )


def which_convention(published: Published) -> Interactive:
    """Six printed numbers of the audit, and what may have been counted; chapter 04 names it all.

    The reader guesses how a number lies to the plain count, ticks what is counted until the printed
    digits come out, and sees how many other numbers of the same source the same ticks give. Raises
    `KeyError` where one of the numbers is not among the published ones.

    >>> from mixerlib.pages import audit, book_folder, which_convention
    >>> which_convention(audit.load(book_folder() / "published.yaml")).name
    'convention'
    """
    entries = [published.entries[name] for name in PUZZLES]
    puzzles = [_puzzle(entry, published) for entry in entries]
    titles = {
        str(i): f"{i + 1}. {p['name']}, {p['what']}: {entry.printed} {entry.unit}"
        for i, (p, entry) in enumerate(zip(puzzles, entries, strict=True))
    }
    kinds = {
        name: {
            "base": kind.base,
            "factor": {"name": kind.factor.name, "by": kind.factor.times[1]},
            "parts": [
                {"name": p.name, "times": p.times, "scaled": p.scaled, "color": p.color}
                for p in kind.parts
            ],
        }
        for name, kind in KINDS.items()
    }
    body = (
        controls(choice("puzzle", "A printed number", titles, "0"), buttons(next="Another number"))
        + guess("", ANSWERS)
        + '<svg class="drawing" viewBox="0 0 340 124" role="img" aria-label=""></svg>'
        + "".join(_table(name, kind) for name, kind in KINDS.items())
        + buttons(none="No choice gives it")
    )
    data = (json.dumps(kinds), json.dumps(puzzles, ensure_ascii=False))
    return Interactive(
        "convention",
        "Which convention? Tick what was counted",
        body,
        script(
            f"const kinds = {data[0]};\nconst puzzles = {data[1]};\n"
            f'const accent = "{ACCENT}", warm = "{WARM}";',
            part("convention.js"),
        ),
        still=_still(entries[0]),
        style=part("convention.css"),
    )
