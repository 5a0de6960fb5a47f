"""The book's search: an index of its sections, in a script, so that it works from a folder too.

_static/sections.js   every section of every page: its page, its anchor, its heading, its words
search.html           asks it, by book/assets/search.js; no other page carries the index

Sphinx's own index knows pages and not sections, no numbers with commas, and loads on every page.
"""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

# What is no text of the page, by tag and by class. A drawing's letters are no words either.
SILENT_TAGS = {"script", "style", "svg", "button", "nav", "noscript", "template", "math"}
SILENT_CLASSES = {
    "headerlink",
    "run-here",
    "provenance",
    "math",
    "toctree-wrapper",
    "viewcode-link",
}
CODE = {"pre"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
BLOCKS = {"p", "li", "div", "td", "th", "dd", "dt", "figcaption", "tr", "br", *HEADINGS}


class Sections(HTMLParser):
    """Cuts the article of a page into its sections.

    `found` holds [anchor, level, heading, text, code] for each, in their order. A term of the
    glossary and an object of the library begin a section too, with their name as its heading.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[Any]] = []
        self.open: list[str] = []  # the tags that are open, each with its role: "div", "h2 head"
        self.inside = False
        self.anchor = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {key: value or "" for key, value in attrs}
        classes = set(at.get("class", "").split())
        if tag == "article":
            self.inside = True
        if not self.inside or tag in VOID:
            return self.space(tag)
        if tag == "section":
            self.anchor = at.get("id", "")
        role = ""
        if tag in SILENT_TAGS or classes & SILENT_CLASSES:
            role = " silent"
        elif tag in CODE:
            role = " code"
        elif tag in HEADINGS and self.anchor:
            role = " head"
            self.found.append([self.anchor, int(tag[1]), "", "", ""])
            self.anchor = ""
        elif tag == "dt" and at.get("id"):
            role = " code" if "sig" in classes else " head"
            name = at["id"].removeprefix("mixerlib.") if "sig" in classes else ""
            self.found.append([at["id"], 7, name, "", ""])
        self.open.append(tag + role)
        self.space(tag)

    def space(self, tag: str) -> None:
        if tag in BLOCKS and self.found:
            self.put(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self.inside = False
        names = [opened.split()[0] for opened in self.open]
        if tag in names:
            del self.open[len(names) - 1 - names[::-1].index(tag) :]
        self.space(tag)

    def put(self, text: str) -> None:
        roles = {opened.partition(" ")[2] for opened in self.open}
        if "silent" not in roles and self.found:
            self.found[-1][2 if "head" in roles else 4 if "code" in roles else 3] += text

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.put(data)


def sections(page: str) -> list[list[Any]]:
    """The sections of a page's HTML: [anchor, level, heading, text, code]."""
    parser = Sections()
    parser.feed(page)
    for section in parser.found:
        section[2:] = (" ".join(text.split()) for text in section[2:])
    return parser.found


def entries(site: Path, names: list[str]) -> Iterator[dict[str, Any]]:
    """The pages, each with its title and its sections."""
    for name in names:
        path = site / f"{name}.html"
        if path.is_file() and (cut := sections(path.read_text(encoding="utf-8"))):
            yield {"page": f"{name}.html", "title": cut[0][2], "sections": cut}


def write_index(app: Sphinx, problem: Exception | None) -> None:
    """Write _static/sections.js from the pages as they are."""
    if problem or app.builder.name != "html":
        return
    site = Path(app.outdir)
    names = sorted(app.env.found_docs)  # a page of an earlier build may lie there too
    (site / "searchindex.js").unlink(missing_ok=True)  # Sphinx's, of an earlier build
    index = json.dumps([*entries(site, names)], ensure_ascii=False, separators=(",", ":"))
    index = index.replace("</", r"<\/")
    (site / "_static" / "sections.js").write_text(f"window.bookSections = {index};\n", "utf-8")


def without_sphinx_search(app: Sphinx) -> None:
    """Sphinx writes no index; the page for it is made below."""
    app.builder.search = False


def search_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The page that searches."""
    yield "search", {}, "search.html"


def bring_search(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Give that page the book's index and search."""
    if page == "search":
        for name in ("sections.js", "search.js"):
            app.add_js_file(name, loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", without_sphinx_search)
    app.connect("html-collect-pages", search_page)
    app.connect("html-page-context", bring_search)
    app.connect("build-finished", write_index, priority=800)  # lighten.py follows
    return {"parallel_read_safe": True, "parallel_write_safe": True}
