"""A file that a text of the project names is there."""

import re

import pytest
from helpers import ROOT

TEXTS = [
    *sorted((ROOT / "notebooks").glob("*.md")),
    *sorted((ROOT / "book").rglob("*.md")),
    *sorted((ROOT / "book").rglob("*.py")),
    *sorted((ROOT / "mixerlib").rglob("*.py")),
    *sorted((ROOT / "mixerlib").rglob("*.yaml")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")),
]
# a path below one of the project's folders, with an ending; not one with a part to be filled in
PATH = re.compile(
    r"(?<![\w/.-])(?:mixerlib|tests|book|notebooks)/[\w/.-]*\.(?:py|yaml|yml|md|js)\b"
)
MADE_UP = {"book/sweeps/my.yaml"}  # what a reader may call a file


def missing(text: str) -> list[str]:
    """The paths named in a text that lead to no file."""
    paths = sorted({match[0] for match in PATH.finditer(text)} - MADE_UP)
    return [path for path in paths if not (ROOT / path).is_file()]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_is_named_is_there(path):
    assert missing(path.read_text(encoding="utf-8")) == []


def test_a_stale_path_is_found():
    text = "see `mixerlib/train.py`, mixerlib/checks.py, runs/mixerlib/x.py and book/RECIPE.yaml"
    assert missing(text) == ["book/RECIPE.yaml", "mixerlib/train.py"]
