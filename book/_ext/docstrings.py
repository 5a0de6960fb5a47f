"""Docstrings on the library's page: commands become code blocks, and a chapter's number a link.

Examples in Python begin with `>>>`, which Sphinx knows by itself. Commands are a paragraph that
stands by itself: it reads well under `help()`, and needs no markup there.
"""

import re
from itertools import groupby
from textwrap import dedent
from typing import Any

from mixerbook import ROOT
from sphinx.application import Sphinx

COMMANDS = ("mixerlib ", "torchrun ")
CHAPTERS = {path.stem[:2]: path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]-*.md")}
NUMBER = re.compile(r"\b([Cc]hapter) (\d\d)\b")


def are_commands(paragraph: list[str]) -> bool:
    """Whether a paragraph is one of commands, each on a line."""
    return all(line.lstrip().startswith(COMMANDS) for line in paragraph)


def linked(line: str) -> str:
    """A line whose "chapter 19" leads there; a chapter that is not there stays a number."""

    def link(match: re.Match[str]) -> str:
        place = CHAPTERS.get(match[2])
        return f":doc:`{match[0]} </notebooks/{place}>`" if place else match[0]

    return NUMBER.sub(link, line)


def marked_up(lines: list[str]) -> list[str]:
    """The lines of a docstring with its commands marked as code and its chapters linked."""
    result: list[str] = []
    for blank, group in groupby(lines, key=lambda line: not line.strip()):
        paragraph = list(group)
        if not blank and are_commands(paragraph):
            code = dedent("\n".join(paragraph)).split("\n")
            result += [".. code-block:: bash", "", *(f"   {line}" for line in code)]
        elif paragraph[0].lstrip().startswith(">>>"):  # as it is, also where it names a chapter
            result += paragraph
        else:
            result += [linked(line) for line in paragraph]
    return result


def mark_up(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = marked_up(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", mark_up, priority=100)  # before napoleon reads them
    return {"parallel_read_safe": True, "parallel_write_safe": True}
