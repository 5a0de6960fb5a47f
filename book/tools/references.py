"""What the pages refer to, read from their sources and numbered as Sphinx numbers it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from book.tools import ROOT, toc
from book.tools.myst import blocks
from book.tools.repository import site_address

LABEL_IN_CODE = re.compile(r"(?<=[\"'(])eq-[\w-]+(?=[\"')])")  # an equation that a cell prints


@dataclass(frozen=True)
class Label:
    """What a reference leads to: the page, the place in it, its words, its number if it has one."""

    page: str
    anchor: str
    words: str
    number: str = ""


@dataclass
class Book:
    """What the pages refer to: titles, numbers, labels, citations, terms."""

    site: str  # with a slash at its end; empty where the book has no home
    titles: dict[str, str] = field(default_factory=dict)  # by page, such as notebooks/01-patches
    labels: dict[str, Label] = field(default_factory=dict)
    terms: dict[str, Label] = field(default_factory=dict)  # by the term in small letters
    citations: dict[str, str] = field(default_factory=dict)
    root: Path = ROOT  # where its sources are

    def link(self, words: str, page: str, anchor: str = "") -> str:
        """Words that lead to the site, or the words alone where there is none."""
        if not self.site:
            return words
        return f"[{words}]({self.site}{page}.html{f'#{anchor}' if anchor else ''})"


def surname(person: Any) -> str:
    from pybtex.richtext import Text

    return str(Text.from_latex(" ".join(person.prelast_names + person.last_names)))


def read_citations(path: Path) -> dict[str, str]:
    """How each entry of a bibliography is cited: the authors' names and the year."""
    from pybtex.database import parse_file

    citations = {}
    for key, entry in parse_file(str(path)).entries.items():
        names = [surname(p) for p in entry.persons.get("author", entry.persons.get("editor", []))]
        who = " and ".join(names) if len(names) < 3 else f"{names[0]} *et al.*"
        citations[key] = f"{who}, {entry.fields['year']}"
    return citations


def cells_of(page: str, root: Path) -> Iterator[tuple[str, str]]:
    """The cells of a page as pairs of kind and text; a page that runs nothing is one cell."""
    import jupytext

    path = root / f"{page}.md"
    if page.startswith("notebooks/"):
        for cell in jupytext.read(path).cells:
            yield cell.cell_type, cell.source
    else:
        yield "markdown", path.read_text()


class Counter:
    """What one page adds to the book's labels, with the page's counts of what has numbers."""

    def __init__(self, book: Book, page: str):
        self.book, self.page = book, page
        chapter = toc.chapter_number(page)
        self.before = f"{chapter}." if chapter else ""
        self.equations = self.exercises = 0
        self.waiting = ""  # a label that names the heading after it

    def name(self, label: str, words: str, number: str = "") -> None:
        from docutils.nodes import make_id

        prefix = "equation-" if words == "equation" else ""
        self.book.labels[label] = Label(self.page, make_id(prefix + label), words, number)

    def equation(self, label: str) -> None:
        self.equations += 1
        self.name(label, "equation", f"{self.before}{self.equations}")

    def heading(self, tag: str, words: str) -> None:
        words = re.sub(r"\s+", " ", words)
        if tag == "h1":
            self.book.titles.setdefault(self.page, words)
        if self.waiting:
            self.name(self.waiting, words)
            self.waiting = ""

    def directive(self, directive: Any) -> None:
        label = directive.options.get("label", "")
        if directive.name == "math":
            if label:
                self.equation(label)
        elif directive.name == "exercise":
            self.exercises += 1
            self.name(label, directive.argument, f"{self.before}{self.exercises}")
        elif directive.name == "glossary":
            self.glossary(directive.body)
        elif "name" in directive.options:
            self.name(directive.options["name"], directive.argument)

    def glossary(self, body: str) -> None:
        from sphinx.util.nodes import _make_id as place_of_term

        for line in re.findall(r"^([^\s:].*)$", body, re.M):
            term = Label(self.page, f"term-{place_of_term(line)}", line)
            self.book.terms[line.lower()] = term

    def markdown(self, text: str) -> None:
        tokens = list(blocks(text))
        for place, (token, directive) in enumerate(tokens):
            if token.type == "heading_open":
                self.heading(token.tag, tokens[place + 1][0].content)
            elif token.type == "myst_target":
                self.waiting = token.content
            elif token.type == "math_block_label":
                self.equation(token.info)
            elif directive:
                self.directive(directive)


def read_book(home: str, root: Path = ROOT) -> Book:
    """Read the whole book of this home for what its pages can refer to."""
    citations = read_citations(root / "book" / "references.bib")
    book = Book(site_address(home), citations=citations, root=root)
    for page in toc.pages(root):
        counter = Counter(book, page)
        for kind, text in cells_of(page, root):
            if kind == "markdown":
                counter.markdown(text)
            else:
                for label in LABEL_IN_CODE.findall(text):
                    counter.equation(label)
    return book
