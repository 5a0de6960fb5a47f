"""The library's page holds every public name of every room."""

import importlib
import re
from types import ModuleType

import pytest
import sympy
from helpers import ROOT
from test_imports import PUBLIC

PAGE = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
ELSEWHERE = {"import_torchvision"}  # for the book's own notebooks, not for users


def shown(page: str) -> dict[str, set[str]]:
    """The rooms whose names a page shows, each with the names that it leaves out."""
    rooms = {}
    for room, options in re.findall(r"automodule:: mixerlib\.(\w+)\n((?:   :.*\n)*)", page):
        if ":members:\n" in options and ":undoc-members:\n" in options:
            excluded = re.search(r":exclude-members: (.*)", options)
            rooms[room] = set(excluded[1].split(", ")) if excluded else set()
    return rooms


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_on_the_page(name):
    room, left_out = importlib.import_module(f"mixerlib.{name}"), shown(PAGE)[name]
    for excluded in left_out - ELSEWHERE:  # files, and the symbols of the notation page
        assert isinstance(getattr(room, excluded), ModuleType | sympy.Symbol)
    assert left_out <= set(room.__all__)


def test_a_room_without_its_members_does_not_count():
    page = ".. automodule:: mixerlib.a\n   :members:\n   :undoc-members:\n\n"
    assert shown(page + ".. automodule:: mixerlib.b\n   :members: one\n") == {"a": set()}


# Examples and chapters in docstrings


@pytest.fixture
def docstrings(monkeypatch) -> ModuleType:
    pytest.importorskip("sphinx_book_theme", reason="needs the extra `book`")
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    return importlib.import_module("docstrings")


def test_commands_are_code_and_chapters_are_links(docstrings):
    lines = [
        "A race.",
        "",
        "    mixerlib list",
        "",
        "Chapter 19, chapter 99.",
        "",
        ">>> chapter 19",
    ]
    assert docstrings.marked_up(lines) == [
        *("A race.", "", ".. code-block:: bash", "", "   mixerlib list", ""),
        *(":doc:`Chapter 19 </notebooks/19-making-it-fast>`, chapter 99.", "", ">>> chapter 19"),
    ]


def test_a_sentence_that_begins_like_a_command_is_none(docstrings):
    assert docstrings.are_commands(["mixerlib train digits", "torchrun -m mixerlib"])
    assert not docstrings.are_commands(["mixerlib train digits", "trains in seconds."])


def test_the_chapters_that_docstrings_name_are_there(docstrings):
    for path in (ROOT / "mixerlib").rglob("*.py"):
        for _, number in docstrings.NUMBER.findall(path.read_text(encoding="utf-8")):
            assert number in docstrings.CHAPTERS, path
