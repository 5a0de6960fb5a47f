"""`make page-times`, and the records that it writes: which pages time something, and what."""

import re
from types import SimpleNamespace

import pytest
from helpers import ROOT

from book.tools import page_times, quiet
from mixerlib.records import provenance, write_record
from mixerlib.speed import PageRecord, read_page_record
from mixerlib.speed.load import Load

TEXT = '{}\n```{{code-cell}} ipython3\nlive = PageTimes("{}", FOLDER, DEVICE)\n```\n'


@pytest.fixture
def ran(monkeypatch, tmp_path) -> list[tuple[str, str]]:
    """The notebooks that would run, of three of which two time something, and in which mode."""
    done: list[tuple[str, str]] = []
    every = {"one": ["a", "b"], "two": ["c"]}
    monkeypatch.setattr(page_times, "FOLDER", tmp_path)
    monkeypatch.setattr(page_times, "timed_pages", lambda: every)
    monkeypatch.setattr(page_times, "run", lambda *run: done.append(run))
    monkeypatch.setattr(quiet, "load_now", lambda: Load(0.0, 2, 0.0))
    stamp = SimpleNamespace(commit="a", dirty=False)
    monkeypatch.setattr(page_times, "provenance", lambda device: stamp)
    return done


def record_of(page: str, *names: str) -> PageRecord:
    taken = dict.fromkeys(names, 1)
    return PageRecord(page, taken, {}, provenance("cpu"), Load(0.1, 2, 0.01))


def test_the_pages_that_time_something_are_found(tmp_path):
    (tmp_path / "one.md").write_text(TEXT.format('live("a", f)\nlive(\n    "b c", f)', "one"))
    (tmp_path / "two.md").write_text('alive("a", f)\n')
    assert page_times.timed_pages(tmp_path) == {"one": ["a", "b c"]}


def test_what_has_its_whole_record_is_left_out(ran, tmp_path):
    write_record(record_of("one", "a", "b"), tmp_path / "one.json")
    assert page_times.main([]) == 0 and ran == [("two", "record")]
    write_record(record_of("one", "a"), tmp_path / "one.json")  # it was stopped halfway
    assert page_times.main(["one", "--force"]) == 0 and ran[1:] == [("one", "record-forced")]


def test_not_on_a_busy_machine_or_a_changed_library(ran, monkeypatch, capsys):
    for module, fault, said in (
        (quiet, ("load_now", lambda: Load(2.0, 2, 0.5)), "other programs took 50%"),
        (
            page_times,
            ("provenance", lambda _: SimpleNamespace(commit="a", dirty=True)),
            "commit what has",
        ),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, *fault)
            with pytest.raises(SystemExit):
                page_times.main([])
            assert said in capsys.readouterr().err and not ran
    with pytest.raises(SystemExit):
        page_times.main(["three"])
    assert "three: times nothing; there are one, two" in capsys.readouterr().err


def test_a_notebook_that_breaks_is_told_and_the_others_run(ran, monkeypatch, capsys):
    def run(stem, mode):
        ran.append((stem, mode))
        if stem == "one":
            raise RuntimeError("a cell failed")

    monkeypatch.setattr(page_times, "run", run)
    assert page_times.main([]) == 1 and [stem for stem, _ in ran] == ["one", "two"]
    assert "one broke: a cell failed" in capsys.readouterr().err


@pytest.mark.prose
def test_every_page_that_times_something_can_print_it_from_a_record():
    clock = re.compile(r"perf_counter|process_time|\brace\(|stopwatch\(")
    texts = {path.stem: path.read_text("utf-8") for path in ROOT.glob("notebooks/*.md")}
    timing = {stem for stem, text in texts.items() if clock.search(text)}
    assert timing == set(page_times.timed_pages())


@pytest.mark.prose
@pytest.mark.parametrize("page", page_times.timed_pages())
def test_what_a_page_times_has_a_name_of_its_own_and_stands_in_its_record(page: str):
    text = (ROOT / "notebooks" / f"{page}.md").read_text(encoding="utf-8")
    names = page_times.timed_pages()[page]
    assert text.count("PageTimes(") == 1 and f'PageTimes("{page}", ' in text
    assert names and sorted(names) == sorted(set(names))
    assert text.count(" live(") + text.count("(live(") == len(names)  # none is made up in a loop
    record = read_page_record(page_times.FOLDER / f"{page}.json")
    assert sorted(record.taken) == sorted(names)
    assert not record.load.forced and not record.load.busy, f"{page}: {record.load}"


# Where a record is a kept one wherever there is one: the exercise on a record of the reader's own.
READS_A_KEPT_ONE = {"14-results"}


@pytest.mark.prose
def test_no_page_prints_the_speed_of_a_training_that_it_has_just_run():
    speeds = {}
    for path in [*ROOT.glob("notebooks/*.md"), *ROOT.glob("book/*.md")]:
        text = path.read_text(encoding="utf-8")
        names = {"record", *re.findall(r"^[^\S\n]*(?:\w+, )*(\w+) = .*\btrain\(", text, re.M)}
        words = "|".join(sorted(names))
        speed = rf"\b(?:{words})\.(?:total_seconds|training_seconds|images_per_second)\b"
        speeds[path.stem] = re.findall(speed, text)
    assert {stem for stem, found in speeds.items() if found} == READS_A_KEPT_ONE
