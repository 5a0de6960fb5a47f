"""No file is longer than a sitting, no function than a screen."""

import ast

import pytest
from helpers import ROOT

LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 350, 60
LINES_OF_A_RELATIVE = 120
SOURCES = [
    path
    for folder in ("mixerlib", "book")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "records" not in path.parts
]


def long_functions(source: str) -> list[str]:
    """The names of functions, methods too, with more lines than fit a screen."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and node.end_lineno - node.lineno + 1 > LINES_OF_A_FUNCTION
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_are_short(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= LINES_OF_A_FILE
    assert long_functions(source) == []


def test_a_long_function_is_found_also_in_a_class():
    body = "        x = 1\n" * LINES_OF_A_FUNCTION
    assert long_functions(f"class A:\n    def f(self):\n{body}") == ["f"]
    assert long_functions(f"class A:\n    def f(self):\n{body[:-14]}") == []


RELATIVES = sorted((ROOT / "mixerlib" / "models" / "relatives").glob("*.py"))


@pytest.mark.parametrize("path", RELATIVES, ids=lambda path: path.stem)
def test_a_relative_is_read_at_a_glance(path):
    """Each network of chapter 24, and each file of what several share, has under 120 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) < LINES_OF_A_RELATIVE
