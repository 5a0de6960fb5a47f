"""The tests of the book itself: its environment, its drawings, its chapters, its words."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from helpers import ROOT, Later, load_file

from mixerlib.pages import SHORT_LABELS

jupytext = Later("jupytext")
plots = Later("mixerlib.pages.plots")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.md"))


def names(requirements: list[str]) -> set[str]:
    """The packages of requirement lines, without versions; `mixerlib[…]` itself left out."""
    packages = {re.match(r"[\w.-]+", line).group().lower() for line in requirements}
    return {name.replace("_", "-") for name in packages} - {"mixerlib"}


def extras_in(text: str) -> set[str]:
    return set(re.search(r"\[([\w,]+)\]", text).group(1).split(","))


def test_conda_users_get_the_extras_that_the_makefile_installs():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    editable = next(line for line in pip if line.startswith("-e"))
    makefile = (ROOT / "Makefile").read_text()
    installed = set(re.search(r"^EXTRAS := (.+)$", makefile, re.M).group(1).split(","))
    assert extras_in(editable) == installed
    assert installed <= set(PROJECT["optional-dependencies"])
    assert "-c constraints.txt" in pip and "-c constraints.txt" in makefile


def test_the_python_of_the_environments_is_one_that_mixerlib_supports():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(d for d in conda["dependencies"] if str(d).startswith("python="))
    assert python.removeprefix("python=") in ("3.11", "3.12")
    assert PROJECT["requires-python"] == ">=3.11,<3.14"


def test_every_dependency_is_pinned_and_has_its_reason():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    required = set().union(*(names(group) for group in groups))
    pinned = {
        line.split("==")[0].lower().replace("_", "-").replace(".", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert {name.replace(".", "-") for name in required} <= pinned
    reasons = (ROOT / "book" / "contributing.md").read_text().lower()
    table = reasons[reasons.index("## dependencies") :]
    assert [name for name in sorted(required) if name not in table] == []


def test_logo_and_favicon_are_what_the_code_draws():
    draw = load_file(ROOT / "book" / "assets" / "draw.py")
    for name, text in draw.files().items():
        kept = (ROOT / "book" / "assets" / name).read_text()
        if name == "cover.svg":  # matplotlib may place letters differently in another version
            text, kept = (sorted(re.findall(r">([^<>]+)</text>", t)) for t in (text, kept))
        assert kept == text, f"{name} is old: run python book/assets/draw.py"


BAR = re.compile(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h-([\d.]+)z")


def test_the_cover_is_small_and_every_bar_in_it_is_where_the_figure_has_it():
    draw = load_file(ROOT / "book" / "assets" / "draw.py")
    whole = plots.svg(draw.cover(), "The cover.")
    small = draw.compact(whole)
    assert len(small) < 15_000 and small.count("\n") < 100
    corners = re.findall(r"M ([\d.]+) ([\d.]+) \nL ([\d.]+) [\d.]+ \nL [\d.]+ ([\d.]+) ", whole)
    bars = [[float(number) for number in bar] for bar in BAR.findall(small)]
    assert len(bars) == len(corners[1:]) > 7 * 8 * 2  # the first is the whole picture
    for (x, y, wide, high, back), edges in zip(bars, corners[1:], strict=True):
        assert wide == back
        assert [x, y, x + wide, y + high] == pytest.approx([*map(float, edges)], abs=0.011)
    assert ">ConvMixer</text>" in small and "<g" not in small


def test_the_cover_names_every_strategy_and_counts_it():
    words = re.findall(r">([^<>]+)</text>", (ROOT / "book" / "assets" / "cover.svg").read_text())
    assert {"ConvMixer", "I", "II", "III", "IV", "V", "3-D"} <= set(words)
    assert {"594 k", "276 k"} <= set(words)
    assert set(SHORT_LABELS) == set(plots.COLORS) - {"mlp_mixer"}


def test_the_table_of_contents_holds_every_notebook_and_every_page():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [toc["root"]] + [c["file"] for part in toc["parts"] for c in part["chapters"]]
    assert len(files) == len(set(files))
    written = [p.relative_to(ROOT).with_suffix("").as_posix() for p in NOTEBOOKS]
    written += [
        p.relative_to(ROOT).with_suffix("").as_posix() for p in (ROOT / "book").glob("*.md")
    ]
    assert sorted(files) == sorted(written)


def code_cells(path: Path) -> list:
    return [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def undefined_names(cells: list) -> set[str]:
    """The names that the code a page shows uses and does not define, in order.

    Folded code is there to be opened, so it counts as shown.
    """
    shown = [cell.source for cell in cells if not tags(cell) & {"remove-input", "remove-cell"}]
    code = re.sub(r"^([%!].*)$", r"pass  # \1", "\n\n".join(shown), flags=re.M)
    command = "ruff check --isolated --select F821 --output-format json --stdin-filename page.py -"
    result = subprocess.run(
        [sys.executable, "-m", *command.split()], input=code, capture_output=True, text=True
    )
    assert result.returncode in (0, 1), result.stderr
    return {re.search("`(.+)`", fault["message"]).group(1) for fault in json.loads(result.stdout)}


def test_a_name_that_only_a_removed_cell_defines_is_undefined():
    def cell(source: str, *tags: str) -> SimpleNamespace:
        return SimpleNamespace(source=source, metadata={"tags": list(tags)})

    hidden = cell("import math\nx = 1", "remove-input")
    late = [cell("print(f'{y}')\ny = 1"), cell("def f(): return z\nz = 2")]
    assert undefined_names([cell("%timeit 1"), hidden, cell("math.sqrt(x)")]) == {"math", "x"}
    assert (
        undefined_names([cell("import math\nx = 1", "hide-input"), cell("math.sqrt(x)")]) == set()
    )
    assert undefined_names(late) == {"y"}


PAGES = [path for path in sorted((ROOT / "book").glob("*.md")) if "{code-cell}" in path.read_text()]
PAGES = [path for path in PAGES if path.read_text().startswith("---")]  # the others show an example
SHOWN = [pytest.param(path, id=path.stem) for path in NOTEBOOKS + PAGES]


@pytest.mark.parametrize("path", SHOWN)
def test_every_cell_shown_runs_as_shown(path):
    assert undefined_names(code_cells(path)) == set()


@pytest.mark.parametrize("path", SHOWN)
def test_folded_cells_are_short_too(path):
    for cell in code_cells(path):
        lines = cell.source.strip().splitlines()
        assert len(lines) <= 40, f"{path.name}: a cell of {len(lines)} lines: {lines[0]}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestChapter:
    def test_has_the_parts_of_a_chapter(self, path):
        text = path.read_text()
        for part in (
            r"\{admonition\} The question\n:class: question",
            r"\{admonition\} Takeaway\n:class: takeaway",
            r"^## What the papers? says? and what we found",
            r"^## Exercises",
            r"\(eq-[\w-]+\)",
            r"plots\.show\(",
        ):
            assert re.search(part, text, re.M), f"{path.name} lacks {part}"

    def test_every_exercise_has_a_hint_and_a_solution_that_runs(self, path):
        text = path.read_text()
        exercises = re.findall(r"\{exercise\}.*\n:label: (\S+)", text)
        halves = path.parent.glob(f"{path.stem[:2]}*.md")  # as 13 and 13b
        assert exercises and sum(one.read_text().count("{exercise}") for one in halves) >= 3
        assert len(re.findall(r"\{admonition\} Hint\n:class: dropdown tip", text)) == len(exercises)
        for label in exercises:
            solution = re.search(
                rf"\{{solution-start\}} {label}\n(.*?)\{{solution-end\}}", text, re.S
            )
            assert solution, f"{label} has no solution"
            assert "{code-cell}" in solution.group(1), f"the solution of {label} runs nothing"

    def test_cells_are_short_and_fit_the_page(self, path):
        for cell in code_cells(path):
            lines = cell.source.splitlines()
            assert lines, f"{path.name} has an empty cell"
            seen = not {"hide-input", "remove-input"} & tags(cell)
            assert max(map(len, lines)) <= (84 if seen else 100), max(lines, key=len)
            if seen:
                assert len(lines) <= 25, f"{path.name}: a cell of {len(lines)} lines: {lines[0]}"

    def test_plotting_code_is_folded_away(self, path):
        for cell in code_cells(path):
            if "plots.canvas" in cell.source:
                assert {"hide-input", "remove-input"} & tags(cell)

    def test_what_is_folded_whole_says_what_it_shows(self, path):
        whole = [cell for cell in code_cells(path) if "hide-cell" in tags(cell)]
        said = [cell.metadata.get("mystnb", {}).get("code_prompt_show", "") for cell in whole]
        assert all(len(words.split()) > 3 for words in said), said
        assert len(set(said)) == len(said)  # no two lines of a page promise the same
        assert all("hide-input" in tags(cell) for cell in whole)  # so that Colab folds its code

    def test_no_count_or_accuracy_is_typed_into_the_text(self, path):
        prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
        prose = re.sub(r"^---.*?^---", "", prose, flags=re.S | re.M)
        prose = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]*`", "", prose, flags=re.S)
        typed = re.findall(r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)? ?(?:M|k|G)\b|\d+\.\d+ ?%", prose)
        assert typed == []


def test_nothing_speaks_of_the_place_where_it_was_written():
    """Paths of one person's machine must not reach the reader."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".md", ".py", ".yml", ".yaml", ".toml", ".css", ".json", ".txt", ".bib"}:
            personal = re.search(r"/(?:home|Users|root|work|tmp)/\w+", path.read_text())
            assert not personal, f"{name}: {personal.group()}"


def test_the_cache_key_notices_a_change_of_the_library_and_of_records(tmp_path, monkeypatch):
    pytest.importorskip("sphinx")
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        import mixerbook
    finally:
        sys.path.pop(0)
    (tmp_path / "mixerlib").mkdir()
    code = tmp_path / "mixerlib" / "a.py"
    code.write_text("x = 1\n")
    monkeypatch.setattr(mixerbook, "ROOT", tmp_path)
    before = mixerbook.sources_hash()
    assert mixerbook.sources_hash() == before
    code.write_text("x = 2\n")
    assert (second := mixerbook.sources_hash()) != before
    (tmp_path / "book" / "records" / "pages").mkdir(parents=True)
    (tmp_path / "book" / "records" / "pages" / "17-throughput.json").write_text("{}")
    assert (third := mixerbook.sources_hash()) != second
    monkeypatch.setenv("MIXERBOOK_TIMES", "live")
    assert mixerbook.sources_hash() != third
