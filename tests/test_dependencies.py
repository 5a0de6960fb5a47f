"""Every package that mixerlib, the book, its tests or its notebooks import is declared."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator

import pytest
from helpers import ROOT

pytestmark = pytest.mark.prose  # it reads the chapters

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Where an import's name is not the package's; elsewhere `_` becomes `-`
PACKAGE_OF = {
    "PIL": "pillow",
    "markdown_it": "markdown-it-py",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# What may be imported where, beside the dependencies that every user has: extras
EXTRAS_OF = {
    "mixerlib": ("plots", "onnx", "tensorboard", "timm", "hub", "widgets"),
    "notebooks": ("book", "count", "timm"),  # what a chapter of them shows, it leaves out without
    "book": ("book", "release", "test", "count"),  # `book.tools.other_models` counts with them
    "tests": ("book", "test", "site"),
}


def declared(requirements: list[str]) -> set[str]:
    """The packages of a list of requirements, with those of the extras of mixerlib in it."""
    packages = set()
    for requirement in requirements:
        name, extras = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", requirement).groups()
        if name == "mixerlib":
            packages |= declared([r for extra in extras.split(",") for r in EXTRAS[extra]])
        else:
            packages.add(name.lower().replace("_", "-"))
    return packages


def sources(folder: str) -> Iterator[str]:
    """The Python of a folder: its files, or the code cells of its notebooks."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.read_text(encoding="utf-8")
    if folder == "notebooks":
        for path in sorted((ROOT / folder).glob("*.md")):
            text = path.read_text(encoding="utf-8")
            for cell in re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```", text, re.M | re.S):
                cell = re.sub(r"\A---\n.*?^---\n", "", cell, flags=re.M | re.S)  # its options
                yield re.sub(r"^(?::|%|!).*\n", "", cell, flags=re.M)


def imported(source: str) -> set[str]:
    """The first part of every absolute import of a source, those inside functions too."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module)
    return {name.split(".")[0] for name in names}


def ours() -> set[str]:
    """The names of the checkout's own modules."""
    return {"mixerlib", "book", "tests"} | {
        name
        for folder in ("book", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for name in (path.stem, path.parent.name)
    }


def undeclared(folder: str, names: set[str]) -> list[str]:
    """Those of the imported names that the folder's extras do not declare."""
    allowed = declared(PROJECT["dependencies"])
    allowed |= declared([r for extra in EXTRAS_OF[folder] for r in EXTRAS[extra]])
    foreign = names - set(sys.stdlib_module_names) - ours()
    packages = {name: PACKAGE_OF.get(name, name.lower().replace("_", "-")) for name in foreign}
    return sorted(name for name, package in packages.items() if package not in allowed)


@pytest.mark.parametrize("folder", EXTRAS_OF)
def test_every_import_is_declared(folder: str):
    names = set().union(*(imported(source) for source in sources(folder)))
    assert "torch" in names, "nothing was read"
    assert undeclared(folder, names) == []


@pytest.mark.parametrize("line", ["import requests", "def f():\n    from requests.auth import A"])
def test_an_undeclared_import_is_recognized(line: str):
    assert undeclared("book", imported(line)) == ["requests"]
    assert undeclared("mixerlib", {"pybtex"}) == ["pybtex"]
    assert undeclared("mixerlib", {"torch", "PIL", "sys"}) == []
