"""Docstrings on the library's page: commands become code blocks; chapters and names become links.

Examples in Python begin with `>>>`, which Sphinx knows by itself. Commands are a paragraph that
stands by itself: it reads well under `help()`, and needs no markup there.

A room begins with the names that its option `:first:` lists. A class shows its methods; its fields
stand in its signature and its `Args:`. A constant is described by the comment at its definition.
"""

import ast
import dataclasses
import importlib
import itertools
import re
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import sympy
from mixerbook import ROOT
from sphinx.application import Sphinx
from sphinx.ext.autodoc import ClassDocumenter, DataDocumenter, Documenter, ModuleDocumenter
from sphinx.ext.autodoc import members_option as names_option

ROOMS = re.findall(r"automodule:: (mixerlib\.\w+)\n", (ROOT / "book" / "api.md").read_text("utf-8"))
HOOKS = ("forward", "extra_repr")  # of nn.Module: without words of their own they say nothing
NAME = re.compile(r"(?<![`\w])`(\w+)`(?!`)")
COMMANDS = ("mixerlib ", "torchrun ")
ARGUMENTS = re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*</dd>\n)+)</dl>')
ARGUMENT = re.compile(r"<dd>(.*)</dd>")
CHAPTERS = {path.stem.partition("-")[0]: path.stem for path in (ROOT / "notebooks").glob("*.md")}
NAMED = re.compile(r"\b[Cc]hapters?((?:,? (?:and |to )?\d\d[a-z]?\b)+)")  # chapters 06 and 13b


def are_commands(paragraph: list[str]) -> bool:
    """Whether a paragraph is one of commands, each on a line."""
    return all(line.lstrip().startswith(COMMANDS) for line in paragraph)


@cache
def places() -> dict[str, str]:
    """Each public name that the page describes → where it is described."""
    names: dict[str, str] = {}
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in getattr(module, "__all__", ()):
            if not isinstance(getattr(module, name), ModuleType | sympy.Symbol):
                names[name] = f"{room}.{name}"
    return names


def is_constant(value: Any) -> bool:
    """Whether a public name of a room stands for data: no module, function, class or symbol."""
    return not (callable(value) or isinstance(value, ModuleType | sympy.Symbol))


def comment_on(name: str) -> str:
    """The comment at the definition of a room's constant, such as "mixerlib.data.MAGNITUDES":
    the lines above it and what follows its first line. Empty where there is none.
    """
    room, _, constant = name.rpartition(".")
    source = Path(importlib.import_module(room).__file__ or "").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and constant in {alias.name for alias in node.names}:
            return comment_on(f"{node.module}.{constant}")
    lines = source.split("\n")
    starts = [i for i, line in enumerate(lines) if re.match(rf"{constant}(:[^=]*)? = ", line)]
    if not starts:
        return ""
    above = itertools.takewhile(lambda line: line.startswith("# "), reversed(lines[: starts[0]]))
    comments = [line[2:] for line in above][::-1]
    return " ".join([*comments, *lines[starts[0]].split("  # ")[1:]])


def linked(line: str) -> str:
    """A line whose "chapter 19" and names of the library lead there; others stay as they are."""

    def to_chapter(match: re.Match[str]) -> str:
        place = CHAPTERS.get(match[0].split()[-1])
        return f":doc:`{match[0]} </notebooks/{place}>`" if place else match[0]

    def to_chapters(match: re.Match[str]) -> str:  # of several, each number is a link
        one = match[0][7] == " "
        return to_chapter(match) if one else re.sub(r"\d\d[a-z]?", to_chapter, match[0])

    def to_name(match: re.Match[str]) -> str:
        place = places().get(match[1])
        return f":py:obj:`{match[1]} <{place}>`" if place else match[0]

    return NAMED.sub(to_chapters, NAME.sub(to_name, line))


def chapters_named(text: str) -> set[str]:
    """The numbers of the chapters that a docstring names; "06 to 09" are four."""
    numbers: set[str] = set()
    for match in NAMED.finditer(" ".join(text.split())):
        numbers |= {*re.findall(r"\d\d[a-z]?", match[1])}
        for first, last in re.findall(r"(\d\d) to (\d\d)", match[1]):
            numbers |= {f"{number:02d}" for number in range(int(first), int(last) + 1)}
    return numbers


def marked_up(lines: list[str]) -> list[str]:
    """The lines of a docstring with its commands marked as code and its chapters linked."""
    result: list[str] = []
    for blank, group in itertools.groupby(lines, key=lambda line: not line.strip()):
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


class Room(ModuleDocumenter):
    """A module whose members begin with those of its option `:first:`."""

    option_spec = ModuleDocumenter.option_spec | {"first": names_option}

    def sort_members(
        self, documenters: list[tuple[Documenter, bool]], order: str
    ) -> list[tuple[Documenter, bool]]:
        first = self.options.get("first", [])
        ordered = super().sort_members(documenters, order)
        names = [documenter.name.partition("::")[2] for documenter, _ in ordered]
        ranks = [first.index(name) if name in first else len(first) for name in names]
        return [ordered[i] for i in sorted(range(len(ordered)), key=ranks.__getitem__)]

    def filter_members(self, members: list[Any], want_all: bool) -> list[tuple[str, Any, bool]]:
        kept = super().filter_members(members, want_all)
        return [(name, value, data or is_constant(value)) for name, value, data in kept]


class Constant(DataDocumenter):
    """A constant with the comment at its definition in place of what its class says."""

    def get_doc(self) -> list[list[str]] | None:
        words = comment_on(self.fullname)
        return [[f"{words[:1].upper()}{words[1:]}.", ""]]


class Class(ClassDocumenter):
    """A class without the fields that its signature shows, and hooks that say nothing."""

    def filter_members(self, members: list[Any], want_all: bool) -> list[tuple[str, Any, bool]]:
        kept = super().filter_members(members, want_all)
        hidden = set()
        if dataclasses.is_dataclass(self.object):
            hidden = {field.name for field in dataclasses.fields(self.object)}
        hidden |= {name for name in HOOKS if not getattr(vars(self.object).get(name), "__doc__", 0)}
        return [member for member in kept if member[0] not in hidden]


def show_defaults(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, result: str
) -> tuple[str | None, str]:
    """Three dots for the default that a dataclass makes anew each time, as Sphinx can read them."""
    return signature and signature.replace("<factory>", "..."), result


def plain_lines(body: str) -> str:
    """A page whose long signatures have their arguments in lines of their own, and not in lists:
    Sphinx writes definitions without terms, which a screen reader cannot announce.
    """
    return ARGUMENTS.sub(
        lambda match: ARGUMENT.sub(r'<span class="sig-line">\1</span>', match[1]), body
    )


def without_lists(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    if "body" in context:
        context["body"] = plain_lines(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-signature", show_defaults)
    app.connect("html-page-context", without_lists)
    app.add_autodocumenter(Room, override=True)
    app.add_autodocumenter(Class, override=True)
    app.add_autodocumenter(Constant, override=True)
    app.connect("autodoc-process-docstring", mark_up, priority=100)  # before napoleon reads them
    return {"parallel_read_safe": True, "parallel_write_safe": True}
