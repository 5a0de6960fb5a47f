"""Chapter 24 has all of every relative, and other pages lead to the map that it opens with."""

import re

import pytest
from helpers import CELL, ROOT

from mixerlib.models.relatives import FAMILIES

pytestmark = pytest.mark.prose

CHAPTER = (ROOT / "notebooks" / "24-relatives.md").read_text(encoding="utf-8")
CELLS = CELL.findall(CHAPTER)


def cells_with(words: str) -> str:
    """All code cells that hold one of these words, as one text."""
    return "\n".join(cell for cell in CELLS if re.search(words, cell))


@pytest.mark.parametrize("family", FAMILIES.values())
def test_every_relative_is_drawn_and_counted(family):
    assert f'"{family}"' in cells_with(r"plots\.show\(\s*(block_of|networks\.draw)")
    assert f'"{family}"' in cells_with(r"size_formulas\(family\)\.macs")


def test_every_relative_is_held_against_others_code_or_print():
    held = cells_with("THEIRS = |PRINTED = ")
    for family in set(FAMILIES.values()) - {"resnet_cifar", "s_fc"}:
        assert re.search(rf'"{family}[_"]', held), family
    assert "resnet20" in held and "S-FC" in held


def test_the_map_is_of_three_prices():
    first = CELLS[0]
    for price in ("thousand parameters", "million MACs an image", "milliseconds an image"):
        assert first.count(f'"{price}"') == 1


@pytest.mark.parametrize(
    "page",
    ["notebooks/02-mlp-mixer", "notebooks/11-design-space", "notebooks/14-results", "book/preface"],
)
def test_other_pages_lead_to_the_map(page):
    text = (ROOT / f"{page}.md").read_text(encoding="utf-8")
    sentences = re.split(r"(?<=[.:])\s+", text)
    assert any("24-relatives`" in s and re.search(r"\bmap\b", s) for s in sentences), page
