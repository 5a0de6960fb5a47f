"""A book without solutions: on its pages, in its search, in its sources and its notebooks."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, Later

from book.tools.notebook import make_notebook
from book.tools.references import read_book
from book.tools.solutions import are_shown, without_solutions

jupytext = Later("jupytext")
CHAPTERS = sorted((ROOT / "notebooks").glob("*.md"))
PAGE = """# A page

Before.

:::{exercise} Add
:label: ex-add

What is the sum?
:::

:::{admonition} Hint
:class: dropdown

Count upwards.
:::

:::{solution-start} ex-add
:class: dropdown
:::

It is fortytwo.

```python
print("secretcode")
```

:::{solution-end}
:::

After.

```{exercise} Again
:label: ex-again

And now?
```

````{solution-start} ex-again
````

Twice as much, eightyfour.

````{solution-end}
````
"""
# What a stub's output says of a right answer: it is in no source, as the notebook makes it
OUTPUT = """
```{raw} html
<div><p>Ask.</p><details class="exercise-correct" hidden>It is ninetynine.
<svg role="img" aria-label="How it is drawn"></svg></details></div>
```
"""
CONF = """
import sys
sys.path.insert(0, {extensions!r})
project = "A book"
extensions = ["myst_parser", "sphinx_exercise", "solutions"]
myst_enable_extensions = ["colon_fence"]
html_theme = "basic"
suppress_warnings = ["config.cache"]
"""
SECRET = re.compile("fortytwo|secretcode|eightyfour|solution", re.I)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_loses_its_solutions_and_nothing_else(path):
    text = path.read_text()
    rest = without_solutions(text)
    assert not re.search(r"\{solution", rest)
    for sign in ("{exercise}", "} Hint", "\n## ", ":class: takeaway"):
        assert rest.count(sign) == text.count(sign), sign
    kept, inside, ending = [], False, False
    for line in text.splitlines(keepends=True):  # line by line, another way to say it
        if "{solution-start}" in line:
            inside = True
        if not inside:
            kept.append(line)
        if ending and line.strip() in (":::", "::::", "```", "````"):
            inside = ending = False
        ending |= "{solution-end}" in line
    assert rest == "".join(kept)
    assert text.count("{solution-start}") >= 1  # two halves of a chapter share theirs


def test_a_solution_without_an_end_is_refused():
    with pytest.raises(ValueError, match="begins or ends alone"):
        without_solutions(PAGE.replace(":::{solution-end}", ":::{solution}"))
    assert without_solutions("No exercise.\n") == "No exercise.\n"


@pytest.mark.parametrize(("word", "shown"), [("", True), ("yes", True), ("no", False)])
def test_the_word_that_decides(word, shown, monkeypatch):
    monkeypatch.setenv("SOLUTIONS", word)
    assert are_shown() is shown
    monkeypatch.setenv("SOLUTIONS", "none")
    with pytest.raises(ValueError, match="`SOLUTIONS`='none' must be yes or no"):
        are_shown()


def built(folder: Path, word: str) -> Path:
    """The small book, in a process of its own; built again where it is there already."""
    folder.mkdir(exist_ok=True)
    extensions = str(ROOT / "book" / "_ext")
    (folder / "conf.py").write_text(CONF.format(extensions=extensions))
    (folder / "index.md").write_text(PAGE + OUTPUT)
    command = [sys.executable, "-m", "sphinx", "-qW", "-b", "html", ".", "out"]
    here = {"PATH": "", "PYTHONPATH": str(ROOT), "SOLUTIONS": word}
    done = subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_a_small_book_is_built_with_them_without_them_and_with_them_again(tmp_path):
    pytest.importorskip("sphinx_exercise")
    for word in ("yes", "no", "yes"):
        out = built(tmp_path / "book", word)
        page = (out / "index.html").read_text()
        words = re.sub("<[^>]+>", "", page[page.index("Before.") : page.index("And now?") + 400])
        assert "What is the sum?" in words and "Count upwards." in words and "After." in words
        index = (out / "searchindex.js").read_text()
        index = re.sub(r'"\w+": ?\[\]', "", index)  # words that no page has any more
        source = (out / "_sources" / "index.md.txt").read_text()
        for text in (page, index, source):
            assert bool(re.search("fortytwo|secretcod|eightyfour", text)) == (word == "yes")
        assert "Ask." in page
        for right in ("ninetynine", "How it is drawn"):
            assert (right in page) == (word == "yes")
        assert word == "yes" or "ninetynin" not in index


def test_a_notebook_for_colab_has_none(monkeypatch):
    book = read_book("")
    sizes = {}
    for word in ("yes", "no"):
        monkeypatch.setenv("SOLUTIONS", word)
        cells = make_notebook("notebooks/01-patches", book, "", "0" * 40)["cells"]
        text = json.dumps([cell["source"] for cell in cells])
        assert ("Solution of exercise" in text) == (word == "yes")
        assert "### Exercise 1.1" in text and "Hint" in text
        sizes[word] = len(cells)
    assert sizes["no"] < sizes["yes"]


def test_make_hands_the_word_on():
    makefile = (ROOT / "Makefile").read_text()
    assert "export SOLUTIONS" in makefile and "book SOLUTIONS=no" in makefile
    assert "solutions: book/_ext" in (ROOT / "_config.yml").read_text()
