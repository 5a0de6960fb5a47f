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
