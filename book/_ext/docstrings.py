"""Docstrings on the library's page: examples become code blocks, and a chapter's number a link.

In a docstring an example is a paragraph of Python, or of commands, that stands by itself. So it
reads well under `help()`, and needs no markup there.
"""

import ast
import re
from itertools import groupby
from textwrap import dedent
from typing import Any

from mixerbook import ROOT
from sphinx.application import Sphinx

COMMANDS = ("mixerlib ", "torchrun ")
CHAPTERS = {path.stem[:2]: path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]-*.md")}
NUMBER = re.compile(r"\b([Cc]hapter) (\d\d)\b")


def language_of(paragraph: list[str]) -> str | None:
    """The language of an example, None for prose: Python does something, a command begins so."""
    text = dedent("\n".join(paragraph))
    if text.startswith(COMMANDS):
        return "bash"
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return None
    does = (ast.Call, ast.Assign, ast.Import, ast.ImportFrom, ast.Subscript)
    return "python" if any(isinstance(n, does) for s in body for n in ast.walk(s)) else None


def linked(line: str) -> str:
    """A line whose "chapter 19" leads there; a chapter that is not there stays a number."""

    def link(match: re.Match[str]) -> str:
        place = CHAPTERS.get(match[2])
        return f":doc:`{match[0]} </notebooks/{place}>`" if place else match[0]

    return NUMBER.sub(link, line)


def marked_up(lines: list[str]) -> list[str]:
    """The lines of a docstring with its examples marked as code and its chapters linked."""
    result: list[str] = []
    for blank, group in groupby(lines, key=lambda line: not line.strip()):
        paragraph = list(group)
        language = None if blank else language_of(paragraph)
        if language:
            code = dedent("\n".join(paragraph)).split("\n")
            result += [f".. code-block:: {language}", "", *(f"   {line}" for line in code)]
        else:
            result += [linked(line) for line in paragraph]
    return result


def mark_up(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = marked_up(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", mark_up, priority=100)  # before napoleon reads them
    return {"parallel_read_safe": True, "parallel_write_safe": True}
