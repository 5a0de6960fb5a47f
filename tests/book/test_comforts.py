"""What the site has besides its pages: cards, the map, the way back, the terms' meanings."""

import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, load_file

from book.tools.repository import site_address

pytest.importorskip("sphinx_book_theme", reason="needs the extra `book`")


@pytest.mark.parametrize(
    ("home", "address"),
    [
        ("", ""),
        ("someone/leaves", "https://someone.github.io/leaves/"),
        ("SomeOne/My.Leaves", "https://someone.github.io/My.Leaves/"),
        ("someone/someone.github.io", "https://someone.github.io/"),
        ("SomeOne/someone.github.io", "https://someone.github.io/"),
        ("someone/else.github.io", "https://someone.github.io/else.github.io/"),
    ],
)
def test_the_address_of_the_site_follows_from_its_home(home, address):
    assert site_address(home) == address


CONF = """
import sys
sys.path.insert(0, {extensions!r})
from pathlib import Path
import mixerbook
mixerbook.ROOT = Path(__file__).parent  # so that no cache but this folder's is touched
project = "A book"
extensions = ["myst_parser", "sphinx_design", "mixerbook", "comforts"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
root_doc = "book/index"
html_theme = "sphinx_book_theme"
html_static_path = [{assets!r}]
numfig = True
suppress_warnings = ["config.cache"]
"""
FILES = {
    "book/index.md": '# A book, 1 \\< 2 & more\n\nIts first words, "so to speak" & not much more.'
    "\n\n```{toctree}\n:numbered:\n../notebooks/01-first\n```\n"
    "```{toctree}\nglossary\n```\n",
    "notebooks/01-first.md": "# The first\n\nA {term}`place` in a $3 \\times 3$ map.\n",
    "book/glossary.md": "# Glossary\n\n:::{glossary}\nPlace\nSpot\n"
    "  One of $T = HW/p^2$, see {term}`map`.\n\nMap\n  All places, < nothing > else.\n:::\n",
}


def build(folder: Path, home: str) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    book = ROOT / "book"
    conf = CONF.format(extensions=str(book / "_ext"), assets=str(book / "assets"))
    (folder / "conf.py").write_text(conf)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "-b", "html", ".", "out"],
        cwd=folder,
        env={**os.environ, "GITHUB_REPOSITORY": home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def at_home(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("at_home"), "A-Fork/leaves")


@pytest.fixture(scope="module")
def homeless(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("homeless"), "")


def tags(page: Path) -> dict[str, str]:
    actual = re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)"', page.read_text())
    return dict(actual)


ADDRESS = "https://a-fork.github.io/leaves/"


def test_with_a_home_a_link_to_a_page_shows_a_card(at_home):
    shown = tags(at_home / "notebooks" / "01-first.html")
    assert shown["og:url"] == f"{ADDRESS}notebooks/01-first.html"
    assert shown["og:title"] == "1. The first"
    assert shown["og:description"] == shown["description"] == "A place in a 3 × 3 map."
    assert shown["og:image"] == f"{ADDRESS}_static/card.png"
    assert shown["twitter:card"] == "summary_large_image"
    assert (at_home / "_static" / "card.png").is_file()
    page = (at_home / "notebooks" / "01-first.html").read_text()
    assert f'<link rel="canonical" href="{ADDRESS}notebooks/01-first.html"' in page


def test_words_are_escaped_in_a_card(at_home):
    shown = tags(at_home / "book" / "index.html")
    assert shown["og:title"] == "A book, 1 &lt; 2 &amp; more"
    assert shown["description"].startswith("Its first words, ")
    assert shown["description"].endswith(" &amp; not much more.")


def test_the_front_door_leads_to_the_first_page(at_home, homeless):
    for site in (at_home, homeless):
        page = (site / "index.html").read_text()
        assert '<meta http-equiv="refresh" content="0; url=book/index.html">' in page
        assert '<a href="book/index.html">' in page
    assert tags(at_home / "index.html")["og:url"] == ADDRESS
    assert not [name for name in tags(homeless / "index.html") if name.startswith("og:")]


def test_the_map_lists_every_page_where_the_address_is_known(at_home, homeless):
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    tree = ElementTree.parse(at_home / "sitemap.xml").getroot()
    assert tree.tag == f"{space}urlset"
    assert [place.text for place in tree.iter(f"{space}loc")] == [
        f"{ADDRESS}{name}.html" for name in ("book/index", "notebooks/01-first", "book/glossary")
    ]
    assert not (homeless / "sitemap.xml").exists()


def test_the_way_back_holds_at_any_depth(at_home, homeless):
    page = (at_home / "404.html").read_text()
    links = re.findall(r'<a href="([^"]+)">([^<]+)</a>', page)
    assert links == [
        (f"{ADDRESS}book/index.html", "A book, 1 &lt; 2 &amp; more"),
        (f"{ADDRESS}notebooks/01-first.html", "1. The first"),
        (f"{ADDRESS}book/glossary.html", "Glossary"),
    ]
    assert not re.search(r"\bsrc=|<link", page)  # it brings its style along
    assert 'href="book/index.html"' in (homeless / "404.html").read_text()


def test_without_a_home_nothing_names_an_address(homeless):
    page = (homeless / "notebooks" / "01-first.html").read_text()
    assert tags(homeless / "notebooks" / "01-first.html")["description"]
    assert "og:" not in page and "canonical" not in page and "github.io" not in page


def test_every_term_has_its_meaning_in_one_file(homeless):
    text = (homeless / "_static" / "tips.js").read_text()
    assert "</" not in text.replace(r"<\/", "")  # safe inside a page as well
    meanings = json.loads(text.removeprefix("window.mixerBookTips = ").rstrip(";\n"))
    assert set(meanings) == {"term-Place", "term-Spot", "term-Map"}
    assert meanings["term-Place"] == meanings["term-Spot"]
    assert r"\(T = HW/p^2\)" in meanings["term-Place"] and "<a" not in meanings["term-Place"]
    assert "All places, &lt; nothing &gt; else." in meanings["term-Map"]
    page = (homeless / "notebooks" / "01-first.html").read_text()
    assert re.findall(r'href="[^"#]*#(term-\w+)"', page) == ["term-Place"]


def test_the_card_is_what_the_code_draws():
    from matplotlib import image

    kept = image.imread(ROOT / "book" / "assets" / "card.png")
    drawn = image.imread(io.BytesIO(load_file(ROOT / "book" / "assets" / "draw.py").card()))
    assert kept.shape == drawn.shape == (630, 1200, 4)
    # another matplotlib may set letters a little differently
    assert np.abs(kept - drawn).mean() < 0.01, "the card is old: run python book/assets/draw.py"
