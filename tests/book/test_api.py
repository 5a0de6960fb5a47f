"""The library's page holds every public name of every room."""

import ast
import importlib
import inspect
import re
from types import ModuleType
from typing import Any

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


def test_every_constant_says_what_it_is(docstrings):
    described = 0
    for name in docstrings.ROOMS:
        room = importlib.import_module(name)
        names = getattr(room, "__all__", ())
        constants = [n for n in names if docstrings.is_constant(getattr(room, n))]
        described += len(constants)
        comments = {n: docstrings.comment_on(f"{name}.{n}") for n in constants}
        # Sphinx's Napoleon takes what stands before a colon for a type
        assert {n: c for n, c in comments.items() if not c or ":" in c} == {}
    assert described > 25
    assert docstrings.comment_on("mixerlib.data.MAGNITUDES").startswith("how many magnitudes")
    assert docstrings.comment_on("mixerlib.speed.PLAIN").startswith("What a case must have")


def test_what_comes_first_is_public():
    firsts = re.findall(r"automodule:: (\S+)\n(?:   :.*\n)*?   :first: (.*)\n", PAGE)
    assert len(firsts) > 5
    for room, names in firsts:
        assert {*names.split(", ")} <= {*importlib.import_module(room).__all__}


def test_a_room_without_its_members_does_not_count():
    page = ".. automodule:: mixerlib.a\n   :members:\n   :undoc-members:\n\n"
    assert shown(page + ".. automodule:: mixerlib.b\n   :members: one\n") == {"a": set()}


# What a docstring says of the arguments

MANY = 5  # from so many arguments on, a docstring lists them


def described(room: ModuleType) -> dict[str, Any]:
    """The public functions, classes and methods of a room, by their dotted names."""
    actual: dict[str, Any] = {}
    for name in room.__all__:
        thing = getattr(room, name)
        if callable(thing) and not isinstance(thing, sympy.Basic):
            actual[name] = thing
        if inspect.isclass(thing):
            for method, value in vars(thing).items():
                value = getattr(value, "__func__", value)  # of class and static methods
                if inspect.isfunction(value) and not method.startswith("_"):
                    actual[f"{name}.{method}"] = value
    return actual


def arguments(thing: Any) -> list[str]:
    """The names of what a function or a class is called with."""
    try:
        names = [*inspect.signature(thing).parameters.values()]
    except ValueError:  # of an exception
        return []
    return [f"{'**' if p.kind is p.VAR_KEYWORD else ''}{p.name}" for p in names if p.name != "self"]


def listed(docstring: str) -> list[str]:
    """The names that the section `Args:` of a docstring gives a line to."""
    section = re.search(r"^Args:\n((?:    .*\n|\n)+)", f"{inspect.cleandoc(docstring)}\n", re.M)
    return re.findall(r"^    (\S+): ", section[1], re.M) if section else []


def faults(name: str, thing: Any) -> list[str]:
    """What a docstring lacks: a sentence, or a line for each of many arguments."""
    docstring, names = thing.__doc__ or "", arguments(thing)
    if inspect.isclass(thing) and docstring.startswith(f"{thing.__name__}("):
        docstring = ""  # a dataclass writes itself this one
    hook = name.rpartition(".")[2] in ("forward", "extra_repr")  # the page leaves them out
    lines = [] if docstring or hook else [f"{name} says nothing"]
    in_args = listed(docstring)
    if in_args != names and (in_args or len(names) >= MANY):
        lines.append(f"{name} must list {names}, not {in_args}")
    return lines


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_list_many_arguments(name):
    room = importlib.import_module(f"mixerlib.{name}")
    things = described(room).items()
    wrong = {f"{name}.{public}": faults(public, thing) for public, thing in things}
    assert {public: lines for public, lines in wrong.items() if lines} == {}


def test_the_first_line_of_a_property_has_no_colon():
    """The page of names would take what stands before it for a type."""
    read = []
    for path in sorted((ROOT / "mixerlib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(
                "property" in ast.unparse(one) for one in node.decorator_list
            ):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                read.append(f"{path.name}: {node.name}")
                assert ":" not in first, f"{path}, {node.name}: {first}"
    assert len(read) > 20


def test_what_a_docstring_lacks_is_found():
    def few(a, b):
        pass

    def many(a, b, c, d, **e):
        """Many.

        Args:
            a: one, which takes
                two lines: here.
            b: another.
            c: another.
            d: another.

        Raises nothing.
        """

    assert faults("few", few) == ["few says nothing"]
    names = ["a", "b", "c", "d"]
    assert faults("many", many) == [f"many must list {[*names, '**e']}, not {names}"]
    many.__doc__ = many.__doc__.replace("d: another.", "d: another.\n            **e: more.")
    assert faults("many", many) == []
    few.__doc__ = "Few.\n\n    Args:\n        b: the first.\n"
    assert faults("few", few) == ["few must list ['a', 'b'], not ['b']"]


# What Sphinx makes of a room

A_ROOM = '''"""A room."""
from dataclasses import dataclass, field
__all__ = ["Large", "Layer", "first", "small"]
@dataclass
class Large:
    """Large.

    Args:
        side: in pixels.
        corners: of it.
    """
    side: int
    corners: list = field(default_factory=list)
    def area(self) -> int:
        """In pixels."""
class Layer:
    """A layer."""
    def forward(self, x):
        pass
    def extra_repr(self):
        """Its size."""
def first():
    """First, as `small` is small."""
def small():
    """Small."""
'''


@pytest.fixture
def page_of_a_room(docstrings, tmp_path, monkeypatch) -> str:
    """The page of that room as text."""
    from sphinx.application import Sphinx

    (tmp_path / "a_room.py").write_text(A_ROOM)
    options = "   :members:\n   :undoc-members:\n   :first: small, first\n"
    (tmp_path / "index.rst").write_text(f"Rooms\n=====\n\n.. automodule:: a_room\n{options}")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {"extensions": ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "docstrings"]}
    folders = (tmp_path, None, tmp_path / "out", tmp_path / "trees")
    Sphinx(*folders, "text", confoverrides=settings, status=None).build()
    return (tmp_path / "out" / "index.txt").read_text()


def test_a_room_begins_with_what_is_named_first(page_of_a_room):
    names = re.findall(r"a_room\.(\w+)", page_of_a_room)
    assert names == ["small", "first", "Large", "Layer"]


def test_a_class_shows_methods_that_say_something(page_of_a_room):
    assert "area()" in page_of_a_room and "extra_repr()" in page_of_a_room
    assert "forward" not in page_of_a_room
    assert "Large(side: int, corners: list = ...)" in page_of_a_room
    assert len(re.findall(r"\bside\b", page_of_a_room)) == 2  # in the signature and its line


# Examples and chapters in docstrings


@pytest.fixture
def docstrings(monkeypatch) -> ModuleType:
    pytest.importorskip("sphinx_book_theme", reason="needs the extra `book`")
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    return importlib.import_module("docstrings")


def test_arguments_in_lines_are_no_list(docstrings):
    one = '<em class="sig-param"><span class="n">x</span></em>,'
    body = f"<dt>f(\n\n<dl>\n<dd>{one}</dd>\n<dd>{one}</dd>\n</dl>\n\n)</dt>"
    line = f'<span class="sig-line">{one}</span>\n'
    assert docstrings.plain_lines(body) == f"<dt>f(\n\n{line}{line}\n\n)</dt>"
    other = "<dl>\n<dt>a</dt>\n<dd>b</dd>\n</dl>"
    assert docstrings.plain_lines(other) == other


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


def test_several_chapters_and_names_are_links(docstrings):
    assert docstrings.linked("Chapters 18 and 99.") == (
        "Chapters :doc:`18 </notebooks/18-roofline>` and 99."
    )
    assert docstrings.linked("as `race` has `rounds`") == (
        "as :py:obj:`race <mixerlib.speed.race>` has `rounds`"
    )


def test_a_sentence_that_begins_like_a_command_is_none(docstrings):
    assert docstrings.are_commands(["mixerlib train digits", "torchrun -m mixerlib"])
    assert not docstrings.are_commands(["mixerlib train digits", "trains in seconds."])


def test_the_chapters_that_docstrings_name_are_there(docstrings):
    for path in (ROOT / "mixerlib").rglob("*.py"):
        named = docstrings.chapters_named(path.read_text(encoding="utf-8"))
        assert named <= {*docstrings.CHAPTERS}, path


def names_back(chapter: str, name: str) -> bool:
    """Whether the text of a chapter has a name of the library, a method's without its class."""
    return re.search(rf"\b{name.rpartition('.')[2]}\b", chapter) is not None


def test_a_chapter_names_what_sends_its_readers_there(docstrings):
    silent, asked = set(), 0
    for room in PUBLIC:
        module = importlib.import_module(f"mixerlib.{room}")
        things = {f"{room}.{name}": thing for name, thing in described(module).items()}
        things[f"{room}.mixerlib.{room}"] = module
        for name, thing in things.items():
            for number in docstrings.chapters_named(thing.__doc__ or ""):
                path = ROOT / "notebooks" / f"{docstrings.CHAPTERS[number]}.md"
                asked += 1
                if not names_back(path.read_text(encoding="utf-8"), name):
                    silent.add((name, number))
    assert not silent
    assert asked > 30


def test_chapters_in_words(docstrings):
    assert docstrings.chapters_named("Chapters 06 to 09, not 11. See chapter 13") == {
        *("06", "07", "08", "09", "13")
    }
    assert docstrings.chapters_named("chapters 06, 08\n    and 09 of 14 chapters") == {
        *("06", "08", "09")
    }
    assert docstrings.chapters_named("chapters 13 and 13b") == {"13", "13b"}
    assert names_back("call `race(x)`", "speed.race") and names_back(
        "the interval", "Timing.interval"
    )
    assert not names_back("traces", "speed.race")
