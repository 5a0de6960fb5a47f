"""The Colab notebooks: nothing of Sphinx reaches the reader raw, and the first cell sets them up.

Here they are made and read. `make notebooks-tested` runs every one of them, in a fresh environment
like Colab's into which its first cell installs mixerlib.
"""

import ast
import json
import re
import subprocess
import tomllib
import venv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import like_colab
import pytest
from helpers import ROOT, Later
from markdown_it import MarkdownIt

from book.tools import notebook, times, toc
from book.tools.colab import snapshot
from book.tools.notebook import RUNTIME, first_cell, make_notebook
from book.tools.plain import Page, Unknown
from book.tools.references import Book, Label, read_book

pytest.importorskip("myst_parser", reason="the notebooks are made with the book's parser")
pytest.importorskip("pybtex", reason="the notebooks cite with the book's bibliography")

jupytext = Later("jupytext")
HOME = "anna/leaves"
SITE = "https://anna.github.io/leaves/"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


CHAPTERS = [Path(page).name for page in toc.chapters()]


@pytest.fixture(scope="module")
def books():
    return {home: read_book(home) for home in (HOME, "")}


@pytest.fixture(scope="module")
def made(books):
    """Every chapter's notebook, of a book with a home and of one without."""
    return {
        (stem, home): make_notebook(f"notebooks/{stem}", book, home, COMMIT)
        for home, book in books.items()
        for stem in CHAPTERS
    }


def markdown(notebook: dict) -> list[str]:
    return [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def code(notebook: dict) -> list[str]:
    return [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]


def without_words(source: str) -> str:
    """What a cell does, whatever its texts say: numbers of equations and links come into them."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


PLAIN = MarkdownIt("commonmark").enable("table")  # knows neither directive nor role


def raw(text: str) -> list[str]:
    """What a reader without Sphinx would stumble over in a Markdown text."""
    actual = []
    for token in PLAIN.parse(text):
        if token.type == "fence" and token.info.strip().startswith("{"):
            actual.append(token.info)
        shown = "".join(
            {"code_inline": "`code`", "softbreak": "\n"}.get(child.type, child.content)
            for child in token.children or ()
        )
        shown = re.sub(r"\$\$.*?\$\$|\$[^$]+\$", "", shown, flags=re.S)
        for pattern in (
            r"\{[A-Za-z][\w:+.-]*\} ?`code`",
            r":::+",
            r"^\([\w-]+\)=$",
            r"\$\$ \([\w-]+\)",
            r"^:[\w-]+:",
            r"\beq-[\w-]+",
            r"\{\{.*?\}\}",
            r"^\+\+\+",
        ):
            actual += re.findall(pattern, shown, re.M)
    return actual


@pytest.mark.parametrize(
    "text",
    [
        "see {doc}`a`",
        ":::{note}\nwords\n:::",
        "```{note}\nwords\n```",
        "> - {eq}`eq-1`",
        "| a |\n|---|\n| {term}`patch` |",
        "(here)=\n\n# Title",
        "$$\na\n$$ (eq-1)",
        "words\n:class: tip",
        "a {{ number }}",
    ],
)
def test_the_search_for_raw_forms_finds_them(text):
    assert raw(text)
    assert raw("plain words, `{doc}` in code, $\\{a\\}`b`$ and\n\n```bash\n:::{x}\n```\n") == []


@pytest.mark.parametrize("home", [HOME, ""], ids=["home", "homeless"])
@pytest.mark.parametrize("stem", CHAPTERS)
class TestNotebook:
    def test_no_directive_or_role_reaches_the_reader_raw(self, made, stem, home):
        notebook = made[stem, home]
        assert [actual for text in markdown(notebook) for actual in raw(text)] == []
        for source in code(notebook):
            assert not re.search(r"\{(doc|eq|ref|numref|cite|term)\}`|\(eq-", source)

    def test_is_clean_and_holds_the_chapter_s_code(self, made, stem, home):
        cells = made[stem, home]["cells"]
        assert all(
            c["outputs"] == [] and c["execution_count"] is None for c in cells if "outputs" in c
        )
        written = [c for c in jupytext.read(ROOT / "notebooks" / f"{stem}.md").cells]
        theirs = [c for c in written if c.cell_type == "code"]
        ours = [c for c in cells if c["cell_type"] == "code"][1:]
        assert len(ours) == len(theirs)
        for mine, original in zip(ours, theirs, strict=True):
            assert without_words(mine["source"]) == without_words(original.source)
            folded = bool({"hide-input", "remove-input"} & set(original.metadata.get("tags", ())))
            assert (mine["metadata"].get("cellView") == "form") == folded
            assert mine["source"].startswith("#@title ") == folded

    def test_every_exercise_has_a_folded_hint_and_a_folded_solution(self, made, stem, home):
        notebook = made[stem, home]
        text = (ROOT / "notebooks" / f"{stem}.md").read_text()
        titles = re.findall(r"\{exercise\} (.*)", text)
        joined = "\n".join(markdown(notebook))
        shown = re.findall(r"^### Exercise (\d+[a-z]?)\.(\d+): ", joined, re.M)
        assert len(shown) == len(titles)
        assert [int(n) for _, n in shown] == list(range(1, len(titles) + 1))
        assert joined.count("<summary><b>Hint</b></summary>") == len(titles)
        assert joined.count("<details>") == joined.count("</details>")
        folds = notebook["metadata"]["colab"]["collapsed_sections"]
        solutions = [c for c in notebook["cells"] if c["source"].startswith("#### Solution")]
        assert [c["metadata"]["id"] for c in solutions] == folds
        assert len(folds) == len(titles)
        # what is folded ends before the next heading that is as high
        place = [notebook["cells"].index(cell) for cell in solutions]
        for start in place:
            inside = []
            for cell in notebook["cells"][start + 1 :]:
                if re.match(r"#{1,4} ", cell["source"]) and cell["cell_type"] == "markdown":
                    break
                inside.append(cell)
            assert any(cell["cell_type"] == "code" for cell in inside)

    def test_equations_keep_their_places_and_numbers(self, made, books, stem, home):
        source = jupytext.read(ROOT / "notebooks" / f"{stem}.md")
        text = "\n".join(c.source for c in source.cells if c.cell_type == "markdown")
        labels = re.findall(r"^\$\$ \(([\w-]+)\)$", text, re.M)
        joined = "\n".join(markdown(made[stem, home]))
        shown = re.findall(r"\\tag\{([\da-z.]+)\}", joined)
        assert labels and shown == [books[home].labels[label].number for label in labels]
        assert len(set(shown)) == len(shown)
        assert joined.count("$$") == text.count("$$")

    def test_links_lead_to_the_site_of_this_home(self, made, stem, home):
        texts = markdown(made[stem, home])
        inline = (t for text in texts for token in PLAIN.parse(text) for t in token.children or ())
        targets = [t.attrs.get("href", t.attrs.get("src")) for t in inline if t.attrs]
        links = [target for target in targets if target.startswith(SITE)]
        assert bool(links) == bool(home)
        assert all(re.match(r"https?://|data:", target) for target in targets)
        for target in links:
            page = re.fullmatch(re.escape(SITE) + r"([\w/-]+)\.html(?:#[\w.-]+)?", target)
            assert (ROOT / f"{page[1]}.md").is_file()

    def test_opens_with_the_title_the_time_and_a_short_first_cell(self, made, stem, home):
        opening, first = made[stem, home]["cells"][:2]
        assert re.match(r"# \S.*\n\n", opening["source"])
        assert re.search(r"seconds|minutes|not been timed", opening["source"])
        assert first["cell_type"] == "code"
        lines = first["source"].splitlines()
        assert len(lines) <= 25 and max(map(len, lines)) <= 92
        ast.parse(first["source"])
        assert f'COMMIT = "{COMMIT}"' in first["source"] and "--no-deps" in first["source"]
        assert f"runtime {RUNTIME}" in first["source"]
        assert (f'"https://github.com/{HOME}"' in first["source"]) == bool(home)

    def test_ids_are_unique(self, made, stem, home):
        ids = [cell["id"] for cell in made[stem, home]["cells"]]
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one) for one in ids)


@pytest.mark.parametrize("stem", CHAPTERS)
def test_a_chapter_has_one_switch_and_it_does_something(stem):
    cells = [c for c in jupytext.read(ROOT / "notebooks" / f"{stem}.md").cells]
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    joined = "\n".join(sources)
    line = re.findall(r'^FULL = os\.environ\.get\("MIXERBOOK_FULL"\) == "1".*$', joined, re.M)
    assert len(line) == 1
    rest = joined.replace(line[0], "")
    assert re.search(r"\bFULL\b", rest), "nothing asks for it"
    above = joined.partition(line[0])[0].rstrip("\n").rpartition("\n")[2]
    assert re.fullmatch(r"# True: .+; False: .+", above), "it does not say what it does"


class TestPlainForms:
    """One form after another, on a page of its own."""

    @pytest.fixture
    def page(self):
        book = Book(SITE, {"notebooks/a": "A", "notebooks/b": "About $b$", "book/c": "C"})
        book.labels["eq-1"] = Label("notebooks/b", "equation-eq-1", "equation", "2.1")
        book.labels["ex-1"] = Label("notebooks/b", "ex-1", "Count", "2.3")
        book.labels["place"] = Label("book/c", "place", "A section")
        book.terms["patch"] = Label("book/c", "term-patch", "patch")
        book.citations = {"a": "Ada, 1843", "b": "Bo *et al.*, 2001"}
        return Page(book, "notebooks/a")

    def plain(self, page, text: str) -> str:
        return "\n".join(page.lines(text))

    @pytest.mark.parametrize(
        "text, expected",
        [
            ("see {doc}`b`", f"see [About $b$]({SITE}notebooks/b.html)"),
            ("see {doc}`this <../book/c>`", f"see [this]({SITE}book/c.html)"),
            ("{eq}`eq-1`!", f"[(2.1)]({SITE}notebooks/b.html#equation-eq-1)!"),
            ("{ref}`ex-1`", f"[Exercise 2.3]({SITE}notebooks/b.html#ex-1)"),
            ("{ref}`one <ex-1>`", f"[one]({SITE}notebooks/b.html#ex-1)"),
            ("{ref}`place`", f"[A section]({SITE}book/c.html#place)"),
            (
                "{cite}`a,b`",
                f"([Ada, 1843]({SITE}book/bibliography.html); "
                f"[Bo *et al.*, 2001]({SITE}book/bibliography.html))",
            ),
            ("{term}`Patches <patch>`", f"[Patches]({SITE}book/c.html#term-patch)"),
            ("{math}`a^2`", "$a^2$"),
            ("`{doc}` and ``{eq}`x` `` stay", "`{doc}` and ``{eq}`x` `` stay"),
            (
                "`{eq}`, then {eq}`eq-1`",
                f"`{{eq}}`, then [(2.1)]({SITE}notebooks/b.html#equation-eq-1)",
            ),
            ("[c](../book/c.md#x)", f"[c]({SITE}book/c.html#x)"),
            ("[d](#place) <https://a.org>", f"[d]({SITE}book/c.html#place) <https://a.org>"),
            ("[x] [e `f`](b.md) [y]", f"[x] [e `f`]({SITE}notebooks/b.html) [y]"),
            ("(here)=\n## Title", "## Title"),
            ("a\n\n% note\n\nb", "a\n\n\nb"),
            (
                "- a {eq}`eq-1`\n  b\n- c",
                f"- a [(2.1)]({SITE}notebooks/b.html#equation-eq-1)\n  b\n- c",
            ),
            (
                "| a |\n|---|\n| {doc}`b` |",
                f"| a |\n|---|\n| [About $b$]({SITE}notebooks/b.html) |",
            ),
            ("$$\na = b\n$$ (eq-1)", "$$\na = b \\tag{2.1}\n$$"),
            ("$$\na = b\n$$", "$$\na = b\n$$"),
            ("- x\n\n  $$\n  a\n  $$ (eq-1)", "- x\n\n  $$\n  a \\tag{2.1}\n  $$"),
            ("```{math}\n:label: eq-1\na\n```", "$$\na \\tag{2.1}\n$$"),
            (":::{note}\nOne.\n\nTwo.\n:::", "> **Note**\n>\n> One.\n>\n> Two."),
            (
                ":::{admonition} The {eq}`eq-1` question\n:class: question\n$$\na\n$$ (eq-1)\n:::",
                f"> **The [(2.1)]({SITE}notebooks/b.html#equation-eq-1) question**\n>\n"
                "> $$a \\tag{2.1}$$",
            ),
            (
                "::::{tip}\n:::{admonition} In\nx\n:::\n::::",
                "> **Tip**\n>\n> > **In**\n> >\n> > x",
            ),
            ("```{code-block} python\nx = 1\n```", "```python\nx = 1\n```"),
            ("```python\n:::{x}\n```", "```python\n:::{x}\n```"),
        ],
    )
    def test_says_it_in_plain_markdown(self, page, text, expected):
        assert self.plain(page, text) == expected

    def test_without_a_home_words_stay_words(self, page):
        page.book.site = ""
        text = "{doc}`b`, {eq}`eq-1`, {cite}`a`, {term}`patch`, {ref}`x <ex-1>`, [y](b.md#z)"
        assert self.plain(page, text) == "About $b$, (2.1), (Ada, 1843), patch, x, y"

    def test_exercise_hint_and_solution_become_cells(self, page):
        text = (
            "Before.\n\n:::{exercise} Count\n:label: ex-1\nHow many?\n:::\n\n"
            ":::{admonition} Hint\n:class: dropdown tip\nFew.\n:::\n\n"
            ":::{solution-start} ex-1\n:class: dropdown\n:::\n\nTwo.\n\n"
            ":::{solution-end}\n:::\n\nAfter."
        )
        hint = "<details><summary><b>Hint</b></summary>\n\nFew.\n\n</details>"
        assert list(page.cells(text)) == [
            ("Before.", ""),
            (f"### Exercise 2.3: Count\n\nHow many?\n\n{hint}", ""),
            ("#### Solution of exercise 2.3", "ex-1"),
            ("Two.", ""),
            ("After.", ""),
        ]

    def test_a_picture_comes_along(self, page, tmp_path):
        (tmp_path / "notebooks").mkdir()
        (tmp_path / "dot.svg").write_text("<svg/>")
        page.book.root = tmp_path
        data = "data:image/svg+xml;base64,PHN2Zy8+"
        assert self.plain(page, "![a dot](../dot.svg)") == f"![a dot]({data})"
        figure = "```{figure} ../dot.svg\n:alt: a dot\nIts caption.\n```"
        assert self.plain(page, figure) == f"![a dot]({data})\n\nIts caption."

    @pytest.mark.parametrize(
        "text",
        [
            "{strange}`x`",
            "```{strange}\n```",
            "{eq}`eq-2`",
            "{doc}`nowhere`",
            "{cite}`nobody`",
            "{term}`nothing`",
            "![x](nowhere.png)",
            "[x](nowhere.md)",
            "[words]{.red}",
            "a {{ number }}",
            "word\n: meaning",
            "::::{note}\n:::{exercise} X\n:label: ex-1\ny\n:::\n::::",
        ],
    )
    def test_what_has_no_plain_form_stops_the_making(self, page, text):
        with pytest.raises(Unknown):
            self.plain(page, text)


def test_an_unknown_form_is_reported_with_its_file_and_cell(books, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "x.md").write_text("# X\n\nWords.\n\n```{strange}\n```\n")
    book = replace(books[HOME], root=tmp_path)
    with pytest.raises(ValueError, match=r"notebooks/x\.md, in the cell '# X': .*'strange'"):
        make_notebook("notebooks/x", book, HOME, COMMIT)


def test_the_time_is_told_from_records_only(tmp_path):
    message = times.running_time("a", tmp_path)
    assert message == "It has not been timed on a CPU or a T4 GPU yet."
    stamp = {"device_name": "Processor 7", "date": "2026-01-31T10:00:00+00:00"}
    record = {"provenance": stamp}
    (tmp_path / "cpu.json").write_text(json.dumps(record | {"seconds": {"a": 12.4, "b": 0.3}}))
    assert times.running_time("a", tmp_path) == (
        "It runs in 12 seconds on a CPU (Processor 7, 2026-01-31). "
        "It has not been timed on a T4 GPU yet."
    )
    (tmp_path / "cpu-full.json").write_text(json.dumps(record | {"seconds": {"a": 170.0}}))
    (tmp_path / "t4.json").write_text(
        json.dumps({"provenance": stamp | {"device_name": "Tesla T4"}, "seconds": {"a": 31}})
    )
    assert (
        times.running_time("a", tmp_path)
        == (
            "It runs in 12 seconds on a CPU (Processor 7, 2026-01-31), "
            "3 minutes on a CPU with `FULL = True`, 31 seconds on a T4 GPU (Tesla T4, 2026-01-31)."
        ).strip()
    )
    assert "not been timed on a CPU or a T4" in times.running_time("c", tmp_path)


def test_the_committed_times_name_chapters_and_say_where_they_were_measured():
    for path in sorted(times.TIMES.glob("*.json")):
        record = json.loads(path.read_text())
        assert set(record["seconds"]) <= set(CHAPTERS)
        assert all(0 < seconds < 7200 for seconds in record["seconds"].values())
        stamp = record["provenance"]
        assert record["schema"] == times.SCHEMA
        assert stamp["device_name"] and stamp["date"] and stamp["commit"] and not stamp["dirty"]
        assert path.stem.endswith("-full") == record["full"]


def test_a_first_cell_installs_versions_that_the_book_is_tested_with(tmp_path):
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    words = "".join(f"import {word}\n" for word in notebook.LACKING)
    cell = first_cell(words, HOME, COMMIT)
    [packages] = re.findall(r'extras = """([^"]*)"""\.split', cell)
    older = {"onnx==1.18.0"}  # for Colab's protobuf
    assert older < set(packages.split()) <= older | set(constraints)
    assert len(packages.split()) == sum(map(len, notebook.LACKING.values()))
    (tmp_path / "constraints.txt").write_text("thop2==1\n")
    with pytest.raises(ValueError, match=r"constraints\.txt has no version of thop"):
        notebook.pinned("thop", tmp_path)


def test_what_colab_lacks_is_added_only_where_a_chapter_asks_for_it():
    plain = first_cell("import torch", HOME, COMMIT)
    assert "lacks" not in plain and "needs none" in plain
    assert "onnxruntime" in first_cell("onnx_operators(path)", HOME, COMMIT)
    with_tools = first_cell("import thop\nx.to('cuda')", HOME, COMMIT)
    assert re.search(r'"thop==\S+"""\.split\(\)', with_tools) and "T4 GPU" in with_tools
    for text in (plain, with_tools):
        assert not re.search(r"\[[^]]*\"(torch|torchvision|numpy)\"", text)


class TestFirstCell:
    """In a fresh environment with a torch and a mixerlib that are quick to import."""

    @pytest.fixture
    def place(self, tmp_path):
        """An environment, a folder that stands for /content, and a repository of the book."""
        environment = tmp_path / "environment"
        venv.EnvBuilder(symlinks=True).create(environment)
        packages = next((environment / "lib").glob("python3*")) / "site-packages"
        like_colab.link(packages, {"pip", "setuptools"})
        (packages / "torch.py").write_text(
            "__version__ = '2.11.0'\nclass cuda:\n    is_available = staticmethod(lambda: False)\n"
        )
        book = tmp_path / "book"
        (book / "mixerlib").mkdir(parents=True)
        (book / "notebooks").mkdir()
        (book / "notebooks" / "a.md").write_text("# A\n")
        (book / "mixerlib" / "__init__.py").write_text('__version__ = "7.8.9"\n')
        (book / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
            '[project]\nname = "mixerlib"\nversion = "7.8.9"\ndependencies = ["torch>99"]\n'
            '[tool.setuptools]\npackages = ["mixerlib"]\n'
        )
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "All")):
            subprocess.run(["git", *words], cwd=book, check=True, capture_output=True)
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=book, check=True, capture_output=True, text=True
        )
        (tmp_path / "content").mkdir()
        cell = tmp_path / "cell.py"
        cell.write_text(
            first_cell("", HOME, head.stdout.strip()) + "print(os.getcwd(), mixerlib.__file__)\n"
        )
        return tmp_path

    def run(self, place, source: str, *flags: str) -> subprocess.CompletedProcess:
        python = place / "environment" / "bin" / "python"
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(place),
            "MIXERBOOK_SOURCE": source,
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_NO_INDEX": "1",
        }
        return subprocess.run(
            [python, *flags, place / "cell.py"],
            cwd=place / "content",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def packages(self, place) -> dict[str, int]:
        folder = next((place / "environment" / "lib").glob("python3*")) / "site-packages"
        return {p.name: p.lstat().st_mtime_ns for p in folder.iterdir() if p.name != "__pycache__"}

    def test_installs_mixerlib_and_nothing_else_and_once(self, place):
        before = self.packages(place)
        done = self.run(place, str(place / "book"))
        assert done.returncode == 0, done.stderr
        clone = place / "content" / "mixer-book"
        assert done.stdout.splitlines() == [
            "mixerlib 7.8.9, torch 2.11.0, no GPU, and this chapter needs none",
            f"{clone / 'notebooks'} {clone / 'mixerlib' / '__init__.py'}",
        ]
        after = self.packages(place)
        assert {name: after[name] for name in before} == before
        assert all("mixerlib" in name for name in set(after) - set(before))
        again = self.run(place, "/nowhere")  # a new kernel in the same runtime: nothing is fetched
        assert (again.returncode, again.stdout) == (0, done.stdout), again.stderr
        assert self.packages(place) == after

    def test_goes_on_where_it_was_interrupted(self, place):
        clone = place / "content" / "mixer-book"
        (clone / "mixerlib").mkdir(parents=True)
        (clone / "mixerlib" / "__init__.py").write_text("half a fi")
        done = self.run(place, str(place / "book"))
        assert done.returncode == 0, done.stderr
        assert "mixerlib 7.8.9" in done.stdout

    def test_says_what_is_wrong_without_a_network(self, place):
        before = self.packages(place)
        done = self.run(place, "https://127.0.0.1:1/nothing")
        assert done.returncode and done.stdout == ""
        assert "RuntimeError: mixerlib could not be fetched from GitHub. Is there a network?" in (
            done.stderr
        )
        assert self.packages(place) == before

    def test_does_nothing_where_mixerlib_is_importable(self, place):
        folder = next((place / "environment" / "lib").glob("python3*")) / "site-packages"
        (folder / "mixerlib.py").write_text('__version__ = "0.0.1"\n')
        before = self.packages(place)
        done = self.run(place, "/nowhere")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("mixerlib 0.0.1")
        assert done.stdout.splitlines()[1].startswith(str(place / "content"))  # and stays here
        assert list((place / "content").iterdir()) == [] and self.packages(place) == before


def test_a_trial_fetches_the_working_tree_and_the_same_tree_is_the_same_commit(tmp_path):
    book = tmp_path / "book"
    book.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=book, check=True)
    (book / ".gitignore").write_text("ignored\n")
    (book / "new.txt").write_text("not committed\n")
    (book / "ignored").write_text("x")
    first = snapshot(tmp_path / "a.git", book)
    assert snapshot(tmp_path / "b.git", book) == first
    listed = subprocess.run(
        ["git", "ls-tree", "--name-only", first],
        cwd=tmp_path / "a.git",
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.split() == [".gitignore", "new.txt"]
    (book / "new.txt").write_text("changed\n")
    assert snapshot(tmp_path / "c.git", book) != first
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=book, capture_output=True, text=True, check=True
    )
    assert status.stdout == "?? .gitignore\n?? new.txt\n"  # its own index is untouched


def test_the_environment_like_colab_has_what_colab_ships_and_not_mixerlib():
    expected = like_colab.needed(like_colab.installed(), like_colab.SHIPPED)
    assert {"torch", "torchvision", "numpy", "mpmath", "filelock"} <= expected
    assert not expected & {"mixerlib", "jupytext", "fvcore", "thop", "onnxruntime", "pytest"}
    pins = (ROOT / "tests" / "like_colab.txt").read_text()
    for pin in ("ipywidgets==7.7.1", "anywidget==0.9.21", "ipython==7.34.0"):
        assert f"\n{pin} \\\n" in pins


def test_the_notebooks_cells_run_twice():
    """An import that the same cell takes away shows when the cell runs again."""
    nbclient = pytest.importorskip("nbclient", reason="it runs the notebooks")
    nbformat = pytest.importorskip("nbformat", reason="it runs the notebooks")
    good = ["count = 0", "count += 1", "assert count == 2"]  # the second cell, twice
    bad = ["from math import floor", "floor = floor(1.5)"]
    start = [f"--IPKernelApp.exec_files={[str(like_colab.TWICE)]!r}"]

    def run(cells):
        notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
        nbclient.NotebookClient(notebook, kernel_name="python3", extra_arguments=start).execute()

    run(good)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="not callable"):
        run(bad)
    right, stub, solution = (
        "from mixerlib.pages import check",
        *(f'check("01-1", {answer})' for answer in ("...", "{'tokens': 1}")),
    )
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="solution does not pass"):
        run([right, stub, solution])


def test_times_go_into_a_record_named_by_the_device(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="it runs the notebooks")
    ran = []

    class Client:
        def __init__(self, notebook, **settings):
            self.said = notebook["cells"][0]["source"]

        def execute(self):
            ran.append(self.said)

    monkeypatch.setattr(nbclient, "NotebookClient", Client)
    clock = SimpleNamespace(monotonic=iter([10.0, 12.04, 20.0, 20.5]).__next__)
    monkeypatch.setattr(times, "time", clock)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("MIXERBOOK_FULL", "1")
    with pytest.raises(ValueError, match="There are no notebooks"):
        times.time_all(tmp_path, tmp_path / "times")
    for name in ("b", "a"):
        cell = {"cell_type": "markdown", "source": name, "metadata": {}, "id": name}
        text = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(text))
    path = times.time_all(tmp_path, tmp_path / "times")
    assert ran == ["a", "b"] and path == tmp_path / "times" / "cpu-full.json"
    record = json.loads(path.read_text())
    assert record["seconds"] == {"a": 2.0, "b": 0.5} and record["full"] is True
    assert record["schema"] == times.SCHEMA and record["provenance"]["device"] == "cpu"


def test_colab_ships_all_that_mixerlib_needs():
    """Its first cell installs mixerlib without what it needs, so this must be there already."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["plots"]]
    names = {like_colab.plain(re.match(r"[\w.-]+", line)[0]) for line in asked}
    assert names <= like_colab.SHIPPED
