"""The strip at the end of each page: which code made it, with which versions, where, in what time.

A page that runs says how long it ran, on what, and with which packages. A page that draws records
says where they were measured. Every page names the library's sources and the commit.
"""

import html
import json
import platform
import re
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mixerbook import PACKAGES, ROOT, sources_hash
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx

from book.tools.repository import git

RECORDS = ROOT / "book" / "records"
# How the source of a page that reads records says so, and below which folders these then lie
READS = {
    "training": re.compile(r"read_records\("),
    "benchmarks": re.compile(r"(read_(benchmark|roofline|by_device)|model_races)\("),
    "what pages time": re.compile(r"PageTimes\("),
}


def run_time(seconds: float) -> str:
    """Seconds as a reader would say them: 0.4 s, 12 s, 2 min 5 s."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def kind_of(schema: str) -> str | None:
    """Which of `READS` a record of this schema is for."""
    if schema.startswith("mixerlib training"):
        return "training"
    if schema.startswith("mixerbook page times"):
        return "what pages time"
    return "benchmarks" if schema.startswith(("mixerlib bench", "mixerlib roof")) else None


@cache
def measured_on(kind: str, records: Path = RECORDS) -> str:
    """Where the records of a kind were measured: "24 runs on AMD EPYC, torch 2.13 (2026-11-20)"."""
    machines: dict[tuple[str, str], list[str]] = {}
    for path in sorted(records.rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if kind_of(str(content.get("schema"))) == kind:
            stamp = content["provenance"]
            key = stamp["device_name"], stamp["torch"]
            machines.setdefault(key, []).append(stamp["date"][:10])
    parts = []
    for (device, torch), dates in machines.items():
        days = dates[0] if min(dates) == max(dates) else f"{min(dates)} to {max(dates)}"
        parts.append(f"{len(dates)} on {device}, torch {torch} ({days})")
    return "; ".join(parts)


@cache
def commit() -> str:
    """The commit that the book is built from, and whether anything differs; empty without git."""
    try:
        described = git(ROOT, "describe", "--always", "--dirty", "--exclude=*", check=False)
    except OSError:
        return ""
    name, _, dirty = described.partition("-")
    return f"{name}, with changes" if dirty else name


@cache
def device() -> str:
    """The processor that the notebooks run on here; with a GPU, that."""
    import torch

    from mixerlib.pages import device_label
    from mixerlib.records import provenance

    return device_label(provenance("cuda" if torch.cuda.is_available() else "cpu"))


def facts(source: str, ran: dict[str, Any] | None, records: Path = RECORDS) -> dict[str, str]:
    """What the strip says of a page with this source, by heading; `ran` is myst-nb's report."""
    stated = {"mixerlib": f"{version('mixerlib')}, sources {sources_hash()}"}
    if name := commit():
        stated["commit"] = name
    if ran is None:
        return stated
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    stated["with"] = f"Python {platform.python_version()}, {packages}"
    day = datetime.fromtimestamp(ran["mtime"], UTC).date().isoformat()
    seconds = "" if ran["runtime"] is None else f", in {run_time(ran['runtime'])}"
    stated["run"] = f"on {device()}{seconds} ({day})"
    for kind, reads in READS.items():
        if reads.search(source) and (where := measured_on(kind, records)):
            stated[f"records of {kind}"] = where
    return stated


def strip(stated: dict[str, str]) -> str:
    """The facts as a list that is small, and says what it is."""
    items = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in stated.items()
    )
    label = "How this page was made"
    return f'<section class="provenance" aria-label="{label}"><dl>{items}</dl></section>'


def add_strip(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Put the strip below the page's text; pages without a file, such as the search, have none."""
    if doctree is None or "body" not in context:
        return
    ran = NbMetadataCollector.get_exec_data(app.env, page)
    source = Path(app.env.doc2path(page)).read_text(encoding="utf-8")
    context["body"] += strip(facts(source, ran))


def in_words(table: str, titles: dict[str, str]) -> str:
    """myst-nb's table of runs with titles for file names, and words for its coloured marks."""
    for name, title in titles.items():
        table = table.replace(f'"doc">{name}</span>', f'"doc">{html.escape(title)}</span>')
    for mark, word in {"✅": "passed", "❌": "failed"}.items():
        table = table.replace(f"<p>{mark}</p>", f"<p>{word}</p>")
    return table.replace("<p>Document</p>", "<p>Notebook</p>").replace(
        "<p>Modified</p>", "<p>Last run</p>"
    )


def say_in_words(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Do that on the status page."""
    if page == "book/status" and "body" in context:
        titles = {name: title.astext() for name, title in app.env.titles.items()}
        context["body"] = in_words(context["body"], titles)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_strip)
    app.connect("html-page-context", say_in_words)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
