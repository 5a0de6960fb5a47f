"""What makes a page easier to read and to speak of: figures have numbers, numbers stand in columns.

A figure of `plots.show` is "Figure 6.2" in chapter 6 and "Figure 2" on another page, and the number
is a link to it. In a table, a column of numbers is aligned to the right. The glossary has letters.
"""

import re
from itertools import count

from docutils import nodes
from sphinx.application import Sphinx

from book.tools.toc import chapter_number

GLOSSARY = "book/glossary"
FIGURE = re.compile(r'<figure class="mixer-figure">(.*?)<figcaption>', re.S)
# A number as the book prints it, perhaps with its sign, a unit or its interval
NUMBER = re.compile(
    r"[~≈<>≤≥]?\s?[+±−–-]?\d[\d,. \u00a0\u202f]*"
    r"(?:\s?(?:%|×|‰|[kMGT]?B(?:/s)?|[nµm]?s|[kMG]|px|points|images/s))?"
    r"(?:\s?±\s?[\d.,]+(?:\s?(?:%|×|[nµm]?s|points))?)?"
    r"(?:\s?(?:to|/|of)\s?[\d.,]+\s?%?)?"
)
NOTHING = re.compile(r"[–—-]?|none|none yet|all|n/a", re.I)


def number_figures(body: str, chapter: str | None) -> str:
    """The page's HTML with a number before each caption."""
    numbers = count(1)

    def numbered(match: re.Match) -> str:
        number = f"{chapter}.{next(numbers)}" if chapter else f"{next(numbers)}"
        anchor = f"figure-{number.replace('.', '-')}"
        return (
            f'<figure class="mixer-figure" id="{anchor}">{match[1]}<figcaption>'
            f'<a class="figure-number" href="#{anchor}">Figure {number}</a> '
        )

    return FIGURE.sub(numbered, body)


def is_number(text: str) -> bool:
    """Whether a table's cell holds a number and nothing else but its unit."""
    return NUMBER.fullmatch(text.strip()) is not None


def align(table: nodes.table) -> None:
    """Align to the right the columns of a table that hold numbers, with their heads."""
    for group in table.findall(nodes.tgroup):
        rows = [row.children for row in group.findall(nodes.row)]
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            continue  # cells that span others
        heads = sum(len(head.children) for head in group.findall(nodes.thead))
        for column in zip(*rows, strict=True):
            texts = [cell.astext().strip() for cell in column[heads:]]
            numbers = [is_number(text) for text in texts]
            nothing = [NOTHING.fullmatch(text) is not None for text in texts]
            if any(numbers) and all(a or b for a, b in zip(numbers, nothing, strict=True)):
                for cell in column:
                    kept = [name for name in cell["classes"] if not name.startswith("text-")]
                    cell["classes"] = [*kept, "text-right"]


def align_tables(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Do so in every table of a page."""
    for table in doctree.findall(nodes.table):
        align(table)


def letters(body: str) -> str:
    """The glossary with the letters of its terms above it, each a link to the first of them."""
    first: dict[str, str] = {}
    for anchor, text in re.findall(r'<dt id="([^"]+)">(.*?)<', body, re.S):
        first.setdefault(text.strip()[:1].upper(), anchor)
    links = " ".join(f'<a href="#{anchor}">{letter}</a>' for letter, anchor in first.items())
    nav = f'<nav class="letters" aria-label="Letters">{links}</nav>\n'
    return body.replace('<dl class="simple glossary">', f'{nav}<dl class="simple glossary">', 1)


def complete(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Number the page's figures; give the glossary its letters."""
    if "body" in context and doctree is not None:
        context["body"] = number_figures(context["body"], chapter_number(page))
        if page == GLOSSARY:
            context["body"] = letters(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", align_tables)
    app.connect("html-page-context", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
