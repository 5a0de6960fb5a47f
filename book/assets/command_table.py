"""The commands and tables of the five documents that the book started from, beside ours, as a page.

>>> from assets import command_rows, command_table
>>> rows = command_rows.read_rows(command_rows.BOOK / "commands.yaml")
>>> command_table.anchor(rows["evaluate"])
'command-evaluate'
"""

from collections.abc import Mapping, Sequence
from html import escape

from assets.command_rows import Row, marked, needs, numbers_of, plain
from assets.command_runs import runs_here

from mixerlib.pages import Entry, Published, listed
from mixerlib.records import Record

FEW = 6  # published numbers that are shown without being folded
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
    links = listed(f'<a href="#{anchor(row)}">{plain(row.title)}</a>' for row in again)
    also = f"<p>And, as in the document that it starts from: {links}.</p>" if again else ""
    return f'<div class="commands"><style>{STYLE}</style>{cards}{also}</div>'


def anchor(row: Row) -> str:
    return f"command-{row.name}"


def _card(row: Row, published: Published, records: Sequence[Record]) -> str:
    facts = {
        "Expected": _expected(numbers_of(row, published), published),
        "Needs": _paragraphs(needs(row)),
        "Run here": _paragraphs(runs_here(row, records)),
        "To know": marked(row.note),
    }
    listing = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items() if text)
    return (
        f'<section><p class="title" id="{anchor(row)}">{plain(row.title)}</p>'
        f'<p class="where">{plain(row.where)}</p><div class="both">'
        f'<div><p class="side">There</p>{_theirs(row.theirs)}</div>'
        f'<div><p class="side">Here</p>{_code(row.ours or row.python)}</div></div>'
        f"<dl>{listing}</dl></section>"
    )


def _code(text: str) -> str:
    lines = text.rstrip().splitlines()
    return "<pre>" + "".join(f"<span>{escape(line) or ' '}</span>" for line in lines) + "</pre>"


def _theirs(text: str) -> str:
    """What a document has: its command, or what stands in the place of one, in words."""
    return _code(text) if text.endswith("\n") else f"<p>{marked(text)}</p>"


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
    source = f"({plain(published.documents[entry.document]['title'])})"
    if entry.quantity == "statement":  # a sentence, and no number in it
        return f"“{plain(what)}” {source}"
    return f"{escape(f'{about}{entry.printed} {unit}'.rstrip())}, {plain(what)} {source}"
