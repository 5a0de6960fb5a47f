"""`make test` runs again whatever could have broken, and says what it does not run."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import conftest
import pytest
import stamps
from helpers import ROOT, Later

from book.tools import pdf

jupytext = Later("jupytext")

NOTEBOOK = """\
---
kernelspec:
  name: python3
---

# A chapter

Some words.

```{code-cell} python
:tags: [hide-input]

x = 1
```

````{admonition} A solution
```{code-cell} python
y = "```"
```
````

```python
z = 3  # is shown, not run
```
"""


def package(version: str) -> SimpleNamespace:
    return SimpleNamespace(name="torch", version=version)


@pytest.fixture
def book(tmp_path: Path, monkeypatch) -> Path:
    """A book of one notebook, in an environment of one package: to read all takes a second."""
    monkeypatch.setattr(stamps, "distributions", lambda: [package("1.0")])
    for name, text in {
        "notebooks/one.md": NOTEBOOK,
        "mixerlib/a.py": "a = 1",
        "mixerlib/recipe.yaml": "b: 2",
        "tests/test_a.py": "",
        "tests/like_colab.py": "",
        "book/records/run.json": "{}",
        "book/records/notebooks/cpu.json": "{}",
        "book/records/pages/one.json": "{}",
        "book/_ext/tips.py": "",
        "book/tools/colab.py": "",
        "book/preface.md": "Words.",
        "book/references.bib": "@book{a}",
        "README.md": "Words.",
        "pyproject.toml": "",
        "_toc.yml": "",
    }.items():
        path = tmp_path / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "checkout"


LIBRARY, NOTEBOOKS = {"library"}, {"one"}
TOUCHED = {
    "mixerlib/a.py": LIBRARY | NOTEBOOKS,
    "mixerlib/recipe.yaml": LIBRARY | NOTEBOOKS,
    "mixerlib/new.py": LIBRARY | NOTEBOOKS,
    "book/records/run.json": LIBRARY | NOTEBOOKS,
    "book/tools/colab.py": LIBRARY | NOTEBOOKS,
    "tests/like_colab.py": LIBRARY | NOTEBOOKS,
    "tests/twice.py": LIBRARY | NOTEBOOKS,
    "pyproject.toml": LIBRARY | NOTEBOOKS,
    "tests/test_a.py": LIBRARY,
    "book/_ext/tips.py": LIBRARY,
    "_toc.yml": LIBRARY,
    "setup.cfg": LIBRARY,
    "book/records/notebooks/cpu.json": LIBRARY,
    "book/records/pages/one.json": LIBRARY,
    "../shared/fixtures/logits.pt": LIBRARY,
    "notebooks/one.md": set(),  # where words are added
    "book/preface.md": set(),
    "book/references.bib": set(),
    "README.md": set(),
    "mixerlib/__pycache__/a.pyc": set(),
}


def lists(root: Path) -> dict[str, dict[str, str]]:
    return {"library": stamps.library_inputs(root)} | stamps.notebook_inputs(root)


@pytest.mark.parametrize("name", TOUCHED)
def test_a_change_touches_whatever_reads_the_file(book, name):
    before = lists(book)
    path = book / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "\nMore.\n")
    after = lists(book)
    assert {part for part in before if before[part] != after[part]} == TOUCHED[name]
    path.unlink()
    if TOUCHED[name] and name in ("mixerlib/a.py", "book/records/run.json"):
        assert lists(book) != before, "a file that is taken away is a change too"


@pytest.mark.parametrize(
    ("old", "new", "runs"),
    [
        ("Some words", "Other words", False),
        ("z = 3", "z = 4", False),
        ("# A chapter", "# A chapter\n\nMore.", False),
        ("x = 1", "x = 2", True),
        ('y = "```"', 'y = "```" * 2', True),
        ("hide-input", "remove-cell", True),
        ("name: python3", "name: python4", True),
        ("```python\nz", "```{code-cell} python\nz", True),
    ],
)
def test_of_a_notebook_the_code_counts(book, old, new, runs):
    before, path = stamps.notebook_inputs(book), book / "notebooks" / "one.md"
    assert NOTEBOOK.count(old) == 1
    path.write_text(NOTEBOOK.replace(old, new))
    assert (stamps.notebook_inputs(book) != before) == runs


@pytest.mark.prose
@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.md")), ids=lambda p: p.stem)
def test_the_cells_are_those_that_jupytext_sees(path):
    cells = [c.source.strip() for c in jupytext.read(path).cells if c.cell_type == "code"]
    kept = [cell.group() for cell in stamps.CELL.finditer(path.read_text())]
    assert len(kept) == len(cells) > 0
    assert all(source in text for source, text in zip(cells, kept, strict=True))


def test_another_package_or_python_is_a_change(book, monkeypatch):
    before = lists(book)
    monkeypatch.setattr(stamps, "distributions", lambda: [package("1.1")])
    assert all(before[part] != now for part, now in lists(book).items())
    monkeypatch.setattr(stamps, "distributions", lambda: [package("1.0")])
    assert lists(book) == before
    monkeypatch.setattr(stamps.platform, "python_version", lambda: "3.99.0")
    assert all(before[part] != now for part, now in lists(book).items())


def test_a_chromium_or_a_node_that_comes_is_a_change_for_the_library(book, monkeypatch, tmp_path):
    assert set(stamps.PROGRAMS) == {*pdf.BROWSERS, "node"}
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    before = lists(book)
    for name in ("node", "google-chrome", "named"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
        if name == "named":
            monkeypatch.setenv("CHROMIUM", str(tmp_path / name))
        after = lists(book)
        assert {part for part in before if before[part] != after[part]} == LIBRARY, name
        before = after


def test_a_part_runs_until_it_passes_and_then_when_its_files_change(tmp_path):
    passed = tmp_path / "part.passed"
    hashes = {"a.py": "1", "b.py": "2", "c.py": "3"}
    for _ in range(2):  # as it may have failed
        assert stamps.update(tmp_path, "part", hashes) == "part: runs, as it has not passed yet"
    passed.touch()
    written = (tmp_path / "part.inputs").stat().st_mtime_ns
    said = stamps.update(tmp_path, "part", hashes)
    assert said == "part: passed, and nothing that it reads has changed since"
    assert passed.exists() and (tmp_path / "part.inputs").stat().st_mtime_ns == written

    changed = hashes | {"b.py": "4"}
    assert stamps.update(tmp_path, "part", changed) == "part: runs, as b.py changed"
    assert not passed.exists()
    passed.touch()
    del changed["a.py"], changed["c.py"]
    assert stamps.update(tmp_path, "part", changed) == "part: runs, as a.py and 1 more changed"
    # back to files that have passed once: the list no longer says so, and the part runs
    assert stamps.update(tmp_path, "part", hashes).startswith("part: runs")
    assert not passed.exists()


PYTHON = """\
#!/bin/sh
echo "$@" >> calls.txt
case "$1" in tests/stamps.py) exec {python} "$@";; esac
case "$*" in *"$FAILS"*) exit 1;; esac
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_runs_what_has_not_passed(book, monkeypatch):
    """With a Python that notes what it is asked to run, and runs the stamps only."""
    for name in ("Makefile", "tests/stamps.py"):
        shutil.copy(ROOT / name, book / name)
    python = book / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    for name in ("constraints.txt", "tests/like_colab.txt", "ready", "like-colab", "driver"):
        (book / name).touch()

    def ran(fails: str = "nothing") -> tuple[int, set[str]]:
        """Exit status, and the parts that have been run, where what has `fails` in it fails."""
        calls = book / "calls.txt"
        calls.write_text("")
        monkeypatch.setenv("FAILS", fails)
        given = ("BIN=bin", "READY=ready", "LIKE_COLAB=like-colab", "DRIVER=driver", "-k")
        done = subprocess.run(
            ["make", *given, "library-tested", "notebooks-tested"], cwd=book, capture_output=True
        )
        said = {"library": "-m not prose", "one": "--nbmake"}
        return done.returncode, {part for part, words in said.items() if words in calls.read_text()}

    assert ran() == (0, {"library", "one"})
    assert ran() == (0, set())
    (book / "README.md").write_text("Other words.")
    (book / "notebooks" / "one.md").write_text(NOTEBOOK.replace("Some words", "Other words"))
    assert ran() == (0, set())
    (book / "tests" / "test_a.py").write_text("changed")
    assert ran() == (0, {"library"})
    (book / "mixerlib" / "a.py").write_text("a = 2")
    assert ran(fails="--nbmake") == (2, {"library", "one"})
    assert ran() == (0, {"one"}), "what has failed runs again"
    assert ran() == (0, set())


def test_a_test_that_reads_prose_without_the_mark_is_noticed():
    assert conftest.pages == []
    (ROOT / "pyproject.toml").read_text()
    assert conftest.pages == []
    (ROOT / "README.md").read_text()
    assert conftest.pages == ["README.md"]
    conftest.pages.clear()


@pytest.mark.prose
def test_with_the_mark_it_may():
    (ROOT / "README.md").read_text()
    assert conftest.pages is None


def test_collecting_the_tests_imports_nothing_that_takes_a_second():
    slow = {"torchvision", "timm", "torch._dynamo", "nbformat", "sklearn", "scipy.stats"}
    slow |= {"matplotlib.pyplot", "onnxruntime", "myst_nb"}
    assert "torch" in conftest.loaded
    assert sorted(slow & conftest.loaded) == []
