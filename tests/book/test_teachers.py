"""What the page for teachers says of the chapters is what stands in them."""

import re

import pytest
from helpers import ROOT, load_file, run_cells

chapters = load_file(ROOT / "book" / "assets" / "chapters.py")
FILES = sorted((ROOT / "notebooks").glob("*.md"))


@pytest.fixture(scope="module")
def read():
    return chapters.read_chapters()


def test_every_chapter_is_there_with_its_title_and_hours(read):
    assert [chapter.name for chapter in read] == [path.stem for path in FILES]
    for chapter, path in zip(read, FILES, strict=True):
        assert f"\n# {chapter.title}\n" in path.read_text()
        assert chapter.minutes is not None and 15 <= chapter.minutes <= 120
        assert path.name == f"{chapter.number}-{path.stem.partition('-')[2]}.md"


def test_every_exercise_is_there(read):
    for chapter, path in zip(read, FILES, strict=True):
        labels = re.findall(r"\{exercise\}.*\n:label: (\S+)", path.read_text())
        assert [exercise.label for exercise in chapter.exercises] == labels
        for exercise in chapter.exercises:
            assert exercise.title and exercise.text and "{solution" not in exercise.text
            assert not re.search(r"^:\w+:", exercise.text, re.M)
            for target in re.findall(r"\{doc\}`([^`<]+)`", exercise.text):
                assert (ROOT / "book" / f"{target}.md").is_file(), target


def test_no_arc_of_the_drawing_leaves_it(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "book")  # where its cells run
    names = run_cells(ROOT / "book" / "teachers.md")
    drawing = names["axes"][0, 0]
    left = min(min(line.get_xdata()) for line in drawing.lines)
    assert drawing.get_xlim()[0] < left < -1
    assert all(isinstance(row[2], int) for row in names["rows"])


def test_a_chapter_builds_on_earlier_ones_alone(read):
    for chapter in read:
        assert all(name < chapter.name for name in chapter.builds_on)
    assert sum(bool(chapter.builds_on) for chapter in read) > len(read) * 3 / 4
    assert chapters.read_chapters()[0].builds_on == ()


def test_the_second_of_two_that_were_one_is_a_chapter_too(tmp_path):
    for name in ("13-first", "13b-second", "14-third"):
        text = "# A title\n\nIt builds on {doc}`13b-second`.\n"
        (tmp_path / f"{name}.md").write_text(text)
    assert [(one.number, one.builds_on) for one in chapters.read_chapters(tmp_path)] == [
        ("13", ()),
        ("13b", ()),
        ("14", ("13b-second",)),
    ]


NAMES = ["01-a", "02-b", "03-c", "04-d", "05-e"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It builds on {doc}`01-a`. {doc}`02-b` helps, but is not needed.", ("01-a",)),
        ("It builds on {doc}`02-b` and stands before {doc}`05-e`.", ("02-b",)),
        ("It builds on the strategies, {doc}`01-a` to {doc}`03-c`.", ("01-a", "02-b", "03-c")),
        ("It builds on {doc}`01-a`, {doc}`02-b` and\n{doc}`03-c`.", ("01-a", "02-b", "03-c")),
        ("It builds on PyTorch, and on no other chapter.", ()),
        ("See {doc}`01-a`.", ()),
    ],
)
def test_what_a_sentence_says_it_builds_on(text, expected):
    assert chapters.builds_on(text, "04-d", NAMES) == expected


def test_hours_in_words():
    assert chapters.minutes_of("Reading takes about three quarters of an hour; it runs.") == 45
    assert chapters.minutes_of("Reading takes about an hour. The notebook") == 60
    assert chapters.minutes_of("Reading takes about 40 minutes; it runs.") == 40
    assert chapters.minutes_of("It runs in a minute.") is None
    with pytest.raises(ValueError, match="reading takes ages"):
        chapters.minutes_of("Reading takes ages.")


def test_an_exercise_is_read_without_its_options():
    text = ":::{exercise} Add\n:label: ex-add\n:class: hard\n\nSee {doc}`01-a`: $a$?\n:::\n"
    (one,) = chapters.exercises_of(text)
    assert (one.title, one.label, one.checked) == ("Add", "ex-add", False)
    (one,) = chapters.exercises_of(f'{text}\n```{{code-cell}}\ncheck("add", ...)\n```\n')
    assert one.checked
    assert one.text == "See {doc}`../notebooks/01-a`: $a$?"
