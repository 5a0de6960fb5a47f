"""The book's folder is found from everywhere, and no notebook looks for it in another way."""

import re
import subprocess
import sys

import pytest
from helpers import ROOT

from mixerlib.pages import book_folder, place

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.md"))
# what only one working folder can mean: a path upwards, and a file of the checkout by a short path
RELATIVE = re.compile(r"""["'](?:\.\.(?:/|["'])|(?:book|notebooks|tests|mixerlib)/[^\s"']*["'])""")


def code(text: str) -> str:
    import jupytext  # here, as it takes a second

    cells = jupytext.reads(text, "md:myst").cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


@pytest.mark.parametrize("folder", ["", "notebooks", "tests/pages", "/"])
def test_it_is_this_checkouts_from_any_working_folder(monkeypatch, folder):
    monkeypatch.chdir(ROOT / folder)
    assert book_folder().resolve() == ROOT / "book"
    assert (book_folder() / "records").is_dir()


def test_of_two_checkouts_it_is_the_one_that_is_worked_in(tmp_path, monkeypatch):
    other = tmp_path / "My Drive" / 'it\'s "mine" é'
    for name in ("book", "notebooks"):
        (other / name).mkdir(parents=True)
    (other / "book" / place.MARK).touch()
    for folder in ("", "notebooks", "book"):
        monkeypatch.chdir(other / folder)
        assert book_folder().resolve() == (other / "book").resolve()


def test_without_a_book_it_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(place, "__file__", str(tmp_path / "site/mixerlib/pages/place.py"))
    with pytest.raises(
        FileNotFoundError, match=r"no folder book with .* beside mixerlib in .*site"
    ):
        book_folder()


@pytest.mark.prose
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_depends_on_its_working_folder(path):
    for line in code(path.read_text(encoding="utf-8")).splitlines():
        called = re.search(r"\b(?:Path|open|read_\w+|load\w*|\w*by_device)\(", line)
        assert not (called and RELATIVE.search(line)), line


def test_a_path_that_depends_on_it_is_found():
    for line in ('Path("../book")', 'Path("..", "book")', "open('book/x.yaml')"):
        assert RELATIVE.search(line)
    for line in ('load_recipe("cifar10/convmixer")', 'print("..., book/")', 'Path("x.onnx")'):
        assert not RELATIVE.search(line)


READS = re.compile(r'book_folder\(\)(?: / "[^"]+")*')


@pytest.mark.prose
def test_what_the_notebooks_read_is_found_from_the_root_folder():
    """The paths in the book's folder, looked for where nothing of the checkout is."""
    paths = {
        path
        for notebook in NOTEBOOKS
        for path in READS.findall(code(notebook.read_text(encoding="utf-8")))
    }
    assert len(paths) > 3
    found = ", ".join(f"({path}).exists()" for path in sorted(paths))
    program = f"from mixerlib.pages import book_folder\nassert all([{found}])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd="/",
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
