"""The strip at the end of each page, and the words of the status page."""

import json
import re
import sys
from pathlib import Path

import pytest
from helpers import ROOT, Later

pytest.importorskip("sphinx_book_theme", reason="needs the extra `book`")
sys.path.insert(0, str(ROOT / "book" / "_ext"))

provenance = Later("provenance")

RAN = {"mtime": 1_760_000_000.0, "runtime": 12.34, "method": "cache", "succeeded": True}
STAMP = {"device_name": "GPU 9", "torch": "2.13.0", "date": "2026-11-20T10:00:00+00:00"}


@pytest.fixture
def records(tmp_path: Path) -> Path:
    for place, schema, date in (
        ("a/seed0", "mixerlib training 2", "2026-11-20"),
        ("a/seed1", "mixerlib training 2", "2026-11-19"),
        ("bench/gpu/forms", "mixerlib benchmark 1", "2026-11-18"),
        ("bench/gpu/roof", "mixerlib roofline 1", "2026-11-18"),
        ("pages/17", "mixerbook page times 1", "2026-11-21"),
        ("notes", "something else", "2020-01-01"),
    ):
        path = tmp_path / f"{place}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        stamp = STAMP | {"date": f"{date}T10:00:00+00:00"}
        path.write_text(json.dumps({"schema": schema, "provenance": stamp}))
    return tmp_path


def test_a_page_that_runs_says_where_with_what_and_how_long():
    message = provenance.facts("print(1)", RAN)
    assert list(message)[-2:] == ["with", "run"]
    assert re.fullmatch(r"[\w.]+, sources [0-9a-f]{16}", message["mixerlib"])
    assert re.search(r"Python 3\.\d+\.\d+.*, torch 2\.", message["with"])
    assert message["run"] == f"on {provenance.device()}, in 12 s (2025-10-09)"
    assert "in " not in provenance.facts("", RAN | {"runtime": None})["run"]


def test_a_page_that_does_not_run_names_the_code_alone():
    assert set(provenance.facts("{doc}`x`", None)) <= {"mixerlib", "commit"}


def test_records_say_where_they_were_measured(records):
    training = "2 on GPU 9, torch 2.13.0 (2026-11-19 to 2026-11-20)"
    message = provenance.facts("runs = read_records(BOOK)", RAN, records)
    assert message["records of training"] == training
    assert "records of benchmarks" not in message
    message = provenance.facts("read_roofline(path)", RAN, records)
    assert message["records of benchmarks"] == "2 on GPU 9, torch 2.13.0 (2026-11-18)"
    message = provenance.facts("live = PageTimes(page)", RAN, records)
    assert message["records of what pages time"] == "1 on GPU 9, torch 2.13.0 (2026-11-21)"
    assert "records of training" not in provenance.facts("print(1)", RAN, records)


def test_without_records_nothing_is_said_of_them(tmp_path):
    assert "records of training" not in provenance.facts("read_records(x)", RAN, tmp_path)


def test_every_chapter_that_reads_records_is_noticed():
    """Whoever reads them in another way must tell the strip about it."""
    for path in sorted(ROOT.glob("notebooks/*.md")):
        text = path.read_text(encoding="utf-8")
        cells = "\n".join(re.findall(r"^```\{code-cell\}.*?^```", text, re.M | re.S))
        if re.search(r"[\"']records[\"'/]", cells):
            assert any(reads.search(text) for reads in provenance.READS.values()), path.name


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (60, "1 min"), (125.4, "2 min 5 s")],
)
def test_run_times_in_words(seconds, words):
    assert provenance.run_time(seconds) == words


def test_what_is_told_is_escaped():
    assert "<dt>a&lt;b</dt><dd>c&amp;d</dd>" in provenance.strip({"a<b": "c&d"})


def test_the_status_page_has_titles_and_words():
    cell = '<span class="doc">{}</span>'
    table = cell.format("notebooks/01") + cell.format("notebooks/011") + "<p>✅</p><p>❌</p>"
    actual = provenance.in_words(table, {"notebooks/01": "A & B", "notebooks/011": "C"})
    assert actual == cell.format("A &amp; B") + cell.format("C") + "<p>passed</p><p>failed</p>"
