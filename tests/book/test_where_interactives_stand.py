"""Each interactive stands where the book's design has it: in its chapters' cells, and, where the
pages are built, on the pages."""

import re

import every_interactive
import pytest
from helpers import ROOT
from site_pages import CHAPTERS, SITE, needs_pages
from stamps import CELL

# The name that a script starts by: what makes it in a chapter's cells, and the pages that show it
PLACES = {
    "pixel": ("where_a_pixel_goes", ["01"]),
    "mixer": ("live_mixer", ["02", "03", "25"]),
    "tweet": ("tweet_under_glass", ["03"]),
    "convention": ("which_convention", ["04", "audit"]),
    "kernel": ("kernel_workshop", ["05"]),
    "news": ("news_travels", ["index", "06", "07", "08", "09", "10", "11"]),
    "explorer": ("Explorer", ["11"]),
    "frames": ("Explore|AugmentationTable", ["11", "12"]),  # what a page has in a widget's place
    "replay": ("TrainingDesk", ["13"]),
    "seeds": ("how_many_seeds", ["14"]),
    "roof": ("roofline_machine", ["18"]),
    "pictures": ("live_pictures", ["20"]),
}


def short(name: str) -> str:
    """A page by its number, or, where it has none, by its name."""
    stem = name.rpartition("/")[2].removesuffix(".html")
    number = re.match(r"\d+b?(?=-)", stem)
    return number[0] if number else stem


def test_every_kind_has_a_place():
    assert {*map(every_interactive.kind_of, every_interactive.EVERY)} == set(PLACES)


@pytest.mark.parametrize("kind", PLACES)
def test_the_cells_of_these_chapters_make_it_and_no_others(kind):
    maker, pages = PLACES[kind]
    found = []
    for name in CHAPTERS:
        cells = CELL.finditer((ROOT / f"{name}.md").read_text(encoding="utf-8"))
        if any(re.search(rf"\b(?:{maker})\(", cell.group()) for cell in cells):
            found.append(short(name))
    assert found == pages


@needs_pages
@pytest.mark.parametrize("kind", PLACES)
def test_these_pages_show_it_and_no_others(kind):
    root = f'class="mixer-interactive" data-interactive="{kind}"'
    names = [name for name in CHAPTERS if root in (SITE / f"{name}.html").read_text("utf-8")]
    assert sorted(map(short, names)) == sorted(PLACES[kind][1])
