"""Numbers of figures, columns of numbers, letters of the glossary."""

import re
import sys

import pytest
from helpers import ROOT, Later

pytest.importorskip("sphinx_book_theme", reason="needs the extra `book`")
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from docutils import nodes

legible = Later("legible")
FIGURES = "".join(
    f'<figure class="mixer-figure"><svg></svg><figcaption>Caption {place}.</figcaption></figure>'
    for place in "ab"
)


@pytest.mark.parametrize(
    ("chapter", "numbers"), [(6, ["6.1", "6.2"]), (None, ["1", "2"])], ids=["chapter", "page"]
)
def test_figures_are_numbered_and_each_number_leads_to_its_figure(chapter, numbers):
    page = legible.number_figures(FIGURES, chapter)
    links = re.findall(r'<a class="figure-number" href="#([\w-]+)">Figure ([\d.]+)</a> Cap', page)
    assert [number for _, number in links] == numbers
    assert re.findall(r'<figure class="mixer-figure" id="([\w-]+)">', page) == [a for a, _ in links]
    assert "Caption a." in page and "Caption b." in page
    assert legible.number_figures(page, chapter) == page


@pytest.mark.parametrize(
    "text",
    [
        "3",
        "-0.5",
        "−0.50",
        "+1.24 ± 0.71",
        "93.9 %",
        "594,186",
        "1.5×",
        "12.0 ms",
        "~3",
        "2.3 GB/s",
    ],
)
def test_numbers_are_known(text):
    assert legible.is_number(text)


@pytest.mark.parametrize(
    "text", ["", "I", "ConvMixer 256/8", "3×3 kernel", "none", "2 GPUs in one box", "h", "T4"]
)
def test_words_are_no_numbers(text):
    assert not legible.is_number(text)


def table(rows: list[list[str]], classes: str = "text-left") -> nodes.table:
    """A table with a head."""
    built = nodes.table()
    group = nodes.tgroup(cols=len(rows[0]))
    built += group
    for part, lines in ((nodes.thead(), rows[:1]), (nodes.tbody(), rows[1:])):
        for line in lines:
            entries = [nodes.entry("", nodes.paragraph("", t), classes=[classes]) for t in line]
            part += nodes.row("", *entries)
        group += part
    return built


def test_columns_of_numbers_are_aligned_to_the_right_with_their_heads():
    built = table([["model", "params", "left"], ["I", "1,234", "–"], ["IV", "56", "none yet"]])
    legible.align(built)
    rows = [[cell["classes"] for cell in row] for row in built.findall(nodes.row)]
    assert rows == [[["text-left"], ["text-right"], ["text-left"]]] * 3


def test_a_gap_in_a_column_of_numbers_is_no_word():
    built = table([["model", "accuracy"], ["I", "93.2 %"], ["II", "–"], ["III", ""]])
    legible.align(built)
    assert [row.children[1]["classes"] for row in built.findall(nodes.row)] == [["text-right"]] * 4


def test_the_glossary_has_each_letter_once():
    body = '<dl class="simple glossary"><dt id="term-a">Act<a>#</a></dt><dt id="term-b">and</dt>'
    body += '<dt id="term-m">map</dt></dl>'
    links = re.findall(r'<a href="#([\w-]+)">(\w)</a>', legible.letters(body))
    assert links == [("term-a", "A"), ("term-m", "M")]
