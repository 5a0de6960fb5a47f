"""How a chapter opens: a question, a picture, the answer in a sentence, and then the rest.

The shape is described in book/contributing.md under "A chapter".
"""

import ast
import re

import pytest
from helpers import OPENED, ROOT, Later

jupytext = Later("jupytext")
FIGURES = ("plots.show(", "colored_code(")  # what puts a figure into the page
FOLDED = {"hide-input", "remove-input"}
QUESTION = re.compile(r":::\{admonition\} The question\n:class: question\n+(.+?)\n:::", re.S)
SWITCH = 'FULL = os.environ.get("MIXERBOOK_FULL")'


def cells_of(stem: str) -> list:
    (path,) = (ROOT / "notebooks").glob(f"{stem}-*.md")
    return jupytext.read(path).cells


def opening(stem: str) -> list:
    """The cells before the first section; a cell of text that begins one is cut there."""
    cells = []
    for cell in cells_of(stem):
        if cell.cell_type == "markdown" and (heading := re.search(r"^## ", cell.source, re.M)):
            cell.source = cell.source[: heading.start()]
            return [*cells, cell]
        cells.append(cell)
    raise AssertionError(f"{stem} has no section")


def code(cells: list) -> list:
    return [cell for cell in cells if cell.cell_type == "code"]


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def answers(source: str) -> list[tuple[str, int]]:
    """The paragraphs that code writes after "The answer.": (its words, how many values code puts
    into it)."""
    stated = []
    for text in [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)]:
        parts = [p.value if isinstance(p, ast.Constant) else "\0" for p in text.values]
        _, found, rest = "".join(map(str, parts)).partition("**The answer.**")
        if found:
            words = rest.split("\n\n")[0].strip()
            stated.append((words, words.count("\0")))
    return stated


def test_the_answer_is_found_in_what_code_writes():
    source = 'f"**The answer.** It is **{1 + 1}** " "in all." + x + f"\\n\\n{more}"'
    assert answers(source) == [("It is **\0** in all.", 1)]
    assert answers('f"**The answer.** Two.\\n\\n{x}"') == [("Two.", 0)]
    assert answers('print(f"{x}")') == []


@pytest.mark.parametrize("stem", OPENED)
class TestOpening:
    def test_first_comes_a_question_about_the_world(self, stem):
        title, _, rest = opening(stem)[0].source.partition("\n")
        assert title.startswith("# ")
        question = QUESTION.match(rest.strip())
        assert question, f"{stem} does not begin with its question"
        words = question[1]
        assert words.rstrip().endswith("?"), f"{stem}: {words!r} asks nothing"
        assert len(words.split()) <= 60, f"{stem}: a question of {len(words.split())} words"
        assert not re.search(r"you can|this chapter", words, re.I), f"{stem} lists abilities"
        assert not rest.strip()[question.end() :].strip(), f"{stem}: the picture comes next"

    def test_a_figure_is_the_next_thing(self, stem):
        first = opening(stem)[1]
        assert first.cell_type == "code" and tags(first) & FOLDED
        assert any(draws in first.source for draws in FIGURES), f"{stem} opens without a figure"

    def test_the_answer_is_one_sentence_with_a_number_from_code(self, stem):
        cells = code(opening(stem))
        stated = [(cell, *answer) for cell in cells[:2] for answer in answers(cell.source)]
        assert len(stated) == 1, f"{stem} has {len(stated)} answers under its figure"
        cell, words, computed = stated[0]
        assert tags(cell) & FOLDED and computed >= 1, f"{stem}: no number comes from code"
        assert re.fullmatch(r"(?:[^.]|\.\d|\.\0)+\.", words), f"{stem}: {words!r} is no sentence"
        assert len(re.findall(r"\*\*.+?\*\*", words, re.S)) == 1, f"{stem}: one thing to remember"

    def test_then_what_it_builds_on_and_how_long_it_takes(self, stem):
        text = "\n".join(cell.source for cell in opening(stem) if cell.cell_type == "markdown")
        assert re.search(r"^Reading takes .+ notebook runs in under .+ builds on ", text, re.M)

    def test_nothing_of_the_opening_shows_its_code(self, stem):
        shown = [cell.source for cell in code(opening(stem)) if not tags(cell) & FOLDED]
        assert shown == [], f"{stem} shows code before its first section"
        assert any(SWITCH in cell.source for cell in code(opening(stem))), "the switch comes later"

    def test_what_builds_something_is_shown(self, stem):
        shown = [cell for cell in code(cells_of(stem)) if not tags(cell)]
        assert any(re.search(r"^(def|class) ", cell.source, re.M) for cell in shown)


def sections(stem: str) -> list[tuple[str, str]]:
    """A chapter's sections: (heading, its first line where that is in italics)."""
    (path,) = (ROOT / "notebooks").glob(f"{stem}-*.md")
    return re.findall(r"^#{2,3} (.+)\n\n(?:\*([^*\n]+)\*\n)?", path.read_text("utf-8"), re.M)


RESTS = re.compile(r"\b(rests?|needs? it|nothing|returns)\b")


@pytest.mark.parametrize("stem", OPENED)
def test_what_can_be_skipped_says_so_and_what_rests_on_it(stem):
    marked, also = {}, False
    for heading, said in sections(stem):
        skips = re.search(r"can be skipped|may skip", said)
        if skips:
            marked[heading] = said
            assert RESTS.search(said), f"{stem}, {heading}: {said!r} says not what rests on it"
        elif also:
            marked[heading] = said
        also = bool(skips and "and the next" in said)
    text = "\n".join(cell.source for cell in opening(stem) if cell.cell_type == "markdown")
    for sentence in re.findall(r"[^.]*can be skipped[^.]*\.", text):
        named = re.findall(r"\*([^*]+)\*", sentence)
        assert named and {*named} <= {*marked}, f"{stem}: {named} have no line of their own"


@pytest.mark.parametrize("stem", [f"{number:02}" for number in range(6, 11)])
def test_a_strategys_chapter_shows_how_well_it_learns(stem):
    text = "\n".join(
        cell.source if cell.cell_type == "markdown" else f"\0{cell.source}\0"
        for cell in cells_of(stem)
    )
    parts = [part for part in re.split(r"^## ", text, flags=re.M) if part.startswith("How well ")]
    assert len(parts) == 1 and re.match(r"How well .+ learns?\n", parts[0])
    assert "plots.show(" in parts[0]
    assert re.search(r"\{doc\}`14-results` .*compares all strategies", parts[0])
