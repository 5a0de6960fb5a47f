"""The links to where the book lives: taken from the surroundings, right in a fork, never typed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, git, load_file

from book.tools.repository import home

pytest.importorskip("sphinx", reason="needs the extra `book`")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git repository without a remote, where no variable names a home."""
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    folder = tmp_path / "book"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/some-one/my.mixers",
        "https://github.com/some-one/my.mixers.git",
        "https://github.com/some-one/my.mixers/",
        "https://token@github.com/some-one/my.mixers.git",
        "git@github.com:some-one/my.mixers.git",
        "ssh://git@github.com/some-one/my.mixers.git",
    ],
)
def test_the_home_is_read_from_every_form_of_the_remote(checkout, url):
    git(checkout, "remote", "add", "origin", url)
    assert home(checkout) == "some-one/my.mixers"


@pytest.mark.parametrize(
    "url",
    [
        "https://gitlab.com/some-one/mixers",
        "https://github.com.evil.example/some-one/mixers",
        "https://github.com/some-one",
        "https://github.com/some-one/mixers/tree/main",
        "/srv/git/mixers.git",
    ],
)
def test_any_other_remote_is_no_home(checkout, url):
    git(checkout, "remote", "add", "origin", url)
    assert home(checkout) == ""


def test_without_a_remote_or_without_git_there_is_no_home(checkout, tmp_path, monkeypatch):
    assert home(checkout) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert home(checkout) == ""


def test_a_copy_inside_another_repository_does_not_take_its_home(checkout):
    git(checkout, "remote", "add", "origin", "https://github.com/some-one/else")
    inside = checkout / "copy"
    inside.mkdir()
    assert home(inside) == ""


def test_the_variable_comes_first_and_an_empty_one_means_no_links(checkout, monkeypatch):
    git(checkout, "remote", "add", "origin", "https://github.com/some-one/mixers")
    monkeypatch.setenv("GITHUB_REPOSITORY", "a-fork/mixers")
    assert home(checkout) == "a-fork/mixers"
    monkeypatch.setenv("GITHUB_REPOSITORY", "")
    assert home(checkout) == ""


NO_HOMES = ["mixers", "../..", "a/..", "./a", "a/.", ".a/b", "a/b/c", "a b/c", "-a/b", "a-/b"]


@pytest.mark.parametrize("named", [*NO_HOMES, "é/b", "a/\u0661", "/a", "a/"])
def test_what_github_would_not_call_a_repository_is_no_home(checkout, monkeypatch, named):
    git(checkout, "remote", "add", "origin", f"https://github.com/{named}")
    assert home(checkout) == ""
    monkeypatch.setenv("GITHUB_REPOSITORY", named)
    with pytest.raises(ValueError, match=f"`GITHUB_REPOSITORY`='{named}' must have the form"):
        home(checkout)


CONF = """
import sys
from pathlib import Path
sys.path.insert(0, {extensions!r})
import mixerbook
mixerbook.ROOT = Path(__file__).parent  # so that no cache but this folder's is touched
project = "A book"
extensions = ["myst_parser", "sphinx_design", "mixerbook"]
html_theme = "sphinx_book_theme"
html_theme_options = {{"article_header_end": ["article-header-buttons"]}}
suppress_warnings = ["config.cache"]
"""


def build(folder: Path, home: str) -> dict[str, str]:
    """Two pages, one of them a chapter, built with the book's extension and theme."""
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "01-first.md").write_text(
        "# The first\n\nWords.\n\n## A section\n\nMore.\n"
    )
    toc = "```{toctree}\nnotebooks/01-first\n```\n"
    (folder / "index.md").write_text(f"# A page\n\nWords.\n\n{toc}")
    (folder / "conf.py").write_text(CONF.format(extensions=str(ROOT / "book" / "_ext")))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "-b", "html", ".", "out"],
        cwd=folder,
        env={**os.environ, "GITHUB_REPOSITORY": home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = ("index", "notebooks/01-first")
    return {name: (folder / "out" / f"{name}.html").read_text() for name in names}


def test_with_a_home_every_page_has_its_links_and_a_chapter_its_way_to_colab(tmp_path):
    pytest.importorskip("sphinx_book_theme")
    pages = build(tmp_path, "a-fork/mixers")
    hub = "https://github.com/a-fork/mixers"
    for name, page in pages.items():
        assert f'href="{hub}"' in page
        assert f'href="{hub}/blob/main/{name}.md?plain=1"' in page
        assert f'href="{hub}/edit/main/{name}.md"' in page
        assert f'href="{hub}/issues/new?title=Issue%20on%20page%20%2F{name}.html' in page
    colab = "https://colab.research.google.com/github/a-fork/mixers/blob/colab"
    assert f'href="{colab}/notebooks/01-first.ipynb">Open in Colab</a>' in pages[name]
    places = [pages[name].index(text) for text in ("</h1>", "Open in Colab", "<h2>A section")]
    assert places == sorted(places)  # below the opening, before the first section
    assert "colab" not in pages["index"]
    assert "make lab" not in pages[name]
    for page in pages.values():  # a badge is words in the page: nothing is fetched for it
        assert re.findall(r'(?:src|srcset)="https?://[^"]+"', page) == []


def test_without_a_home_there_are_no_links_and_a_chapter_says_how_to_run_it(tmp_path):
    pytest.importorskip("sphinx_book_theme")
    pages = build(tmp_path, "")
    for page in pages.values():
        assert "colab.research.google.com" not in page
        assert not re.search(r'href="[^"]*github\.com/[^"]*(?:issues|edit|blob)', page)
    chapter = pages["notebooks/01-first"]
    assert "<code>make lab</code>" in chapter and "<code>01-first.md</code>" in chapter
    assert "make lab" not in pages["index"]
    assert 'href="../book/preface.html#get-the-book"' in chapter


def test_where_a_clone_comes_from_is_said_with_a_home_and_without():
    where_to_get_it = load_file(ROOT / "book" / "_ext" / "mixerbook.py").where_to_get_it
    text = where_to_get_it("some-one/mixers")
    for place in ("", "/releases", "/issues"):
        assert f"](https://github.com/some-one/mixers{place})" in text
    assert "https://" not in where_to_get_it("") and "make release" in where_to_get_it("")
    assert "(get-the-book)=" in (ROOT / "book" / "preface.md").read_text()


def test_no_address_of_this_repository_is_typed_anywhere():
    """The settings name no repository, and no file links to a place inside one as its own."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    pattern = r"colab\.research\.google\.com/github/[\w.-]+/|[\w-]+\.github\.io/(?:mixer|the-mixer)"
    pattern += r"|github\.com[/:][\w.-]+/(?:the-?)?mixer(?:-?(?:book|lib))?\b"
    pattern += r"|raw\.githubusercontent\.com|repository-code:|repository_url:|project\.urls"
    if here := home():
        owner, name = here.split("/")
        pattern += rf"|github\.com[/:]{re.escape(here)}\b|{re.escape(owner)}\.github\.io/{name}"
    typed = {}
    for name in listed.stdout.split():
        path = ROOT / name
        if path == Path(__file__) or not path.is_file() or path.suffix in {".safetensors", ".pt"}:
            continue
        if actual := re.search(pattern, path.read_text(errors="ignore"), re.I):
            typed[name] = actual.group()
    assert typed == {}
