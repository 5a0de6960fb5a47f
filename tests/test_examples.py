"""The examples in the library's docstrings run, and print what they say.

Each begins with nothing imported, in a folder of its own that has the book's records in it, as the
checkout has.
"""

import ast
import doctest
import importlib
from itertools import groupby
from pathlib import Path
from textwrap import dedent

import pytest
from helpers import ROOT, registrations_undone

MODULES = sorted((ROOT / "mixerlib").rglob("*.py"))
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def name_of(path: Path) -> str:
    """mixerlib/costs/__init__.py → mixerlib.costs"""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def docstrings(source: str) -> list[str]:
    """The docstrings of a module, its classes and its functions."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    return [text for text in map(ast.get_docstring, nodes) if text]


def failures(docstring: str) -> str:
    """What is wrong with the examples of a docstring; empty where they print what they say."""
    test = doctest.DocTestParser().get_doctest(docstring, {}, "example", None, 0)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    return "".join(report)


def silent_code(docstring: str) -> list[str]:
    """The paragraphs that are Python, do something, and are no examples that run."""
    does = (ast.Call, ast.Assign, ast.Import, ast.ImportFrom, ast.Subscript)
    paragraphs = groupby(docstring.split("\n"), key=lambda line: not line.strip())
    texts = [dedent("\n".join(lines)) for blank, lines in paragraphs if not blank]
    code = []
    for text in texts:
        try:
            body = ast.parse(text).body
        except SyntaxError:
            continue
        if any(isinstance(node, does) for part in body for node in ast.walk(part)):
            code.append(text)
    return code


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_examples_print_what_they_say(path, tmp_path, monkeypatch):
    (tmp_path / "book").symlink_to(ROOT / "book")
    monkeypatch.chdir(tmp_path)
    texts = docstrings(path.read_text(encoding="utf-8"))
    assert [code for text in texts for code in silent_code(text)] == []
    with registrations_undone():
        for text in texts:
            if ">>>" in text:
                assert failures(text) == ""


def test_what_every_user_needs_has_an_example():
    """The names that README and chapters begin with."""
    needed = {
        "models": ("create_model", "list_models"),
        "weights": ("load_weights", "save_weights"),
        "costs": ("formulas", "measure", "macs", "flops", "thop", "value_of", "saving"),
        "records": ("read_records",),
        "data": ("load_dataset",),
        "training": ("train", "load_recipe", "evaluate", "load_trained", "Scale", "spread"),
        "inside": ("feature_maps", "linear_cka", "linear_probe", "separable_share"),
        "speed": ("optimize_for_inference", "race", "Roofline", "benchmark", "Timing"),
        "pages": ("table", "digits", "Explorer"),
    }
    for room, names in needed.items():
        module = importlib.import_module(f"mixerlib.{room}")
        for name in names:
            assert ">>>" in (getattr(module, name).__doc__ or ""), f"{room}.{name}"


def test_a_wrong_example_and_silent_code_are_found():
    assert "Expected:\n    3" in failures("Two.\n\n    >>> 1 + 1\n    3\n")
    assert "NameError" in failures(">>> torch.zeros(1)\ntensor([0.])\n")  # each imports its own
    assert failures(">>> 1 + 1\n2\n") == ""
    assert silent_code("A race.\n\n    race(x)\n\n>>> race(y)\n") == ["race(x)"]
    assert silent_code("Words (in brackets) count.\n\nOne") == []
