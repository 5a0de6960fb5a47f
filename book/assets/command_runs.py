"""Which of the commands of the five documents have been run here, by the records of the book.

>>> from assets import command_rows, command_runs
>>> rows = command_rows.read_rows(command_rows.BOOK / "commands.yaml")
>>> command_runs.runs_here(rows["evaluate"], [])[1]
'As it is: not yet.'
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assets.command_rows import BOOK, Row, datasets_of
from assets.timm_run import ANCHOR, read_timm_run

from mixerlib.pages import Published, device_label, listed
from mixerlib.records import Record
from mixerlib.speed import Benchmark, read_benchmark, read_by_device

RECORDS = BOOK / "records"


def runs_of(row: Row, records: Sequence[Record]) -> list[Record]:
    """The runs of the very recipes that a row trains, on all of their data."""
    return [record for record in records if record.recipe in row.trained]


def benchmarks_of(row: Row, folder: Path = RECORDS) -> tuple[list[Benchmark], list[Benchmark]]:
    """The records of a row's benchmark: those of the document's own device, and of others, a GPU
    before a CPU."""
    if not row.benchmark:
        return [], []
    found = read_by_device(folder / "bench", f"{row.benchmark}.json", read_benchmark)
    sides: dict[bool, list[Benchmark]] = {True: [], False: []}
    for report in [report for of_device in found.values() for report in of_device.values()]:
        sides[row.device in report.provenance.device_name].append(report)
    return sides[True], sides[False]


def is_whole(row: Row, records: Sequence[Record], folder: Path = RECORDS) -> bool:
    """Whether a row has been run as it is: a record of its recipe shows it, or for a benchmark one
    of its device; or it asks for nothing, so that the tests do it."""
    return row.asks_for_nothing or bool(runs_of(row, records) or benchmarks_of(row, folder)[0])


def is_smaller(row: Row, records: Sequence[Record], folder: Path = RECORDS) -> bool:
    """Whether a record at a size for a CPU, or of another device, stands in a row's place."""
    names = {record.recipe for record in records}
    return bool(names & {*row.smaller} or benchmarks_of(row, folder)[1])


def runs_here(row: Row, records: Sequence[Record], folder: Path = RECORDS) -> list[str]:
    """What has been run here of a row, in words: by the tests, as it is, and smaller."""
    if row.asks_for_nothing:
        return ["As it is, by the book’s tests."]
    texts = [_by_tests(row, folder)]
    own, other = benchmarks_of(row, folder)
    if row.benchmark:
        texts.append(f"As it is, on a {row.device}: {_measured(own)}.")
        texts += [f"On another device: {_measured(other)}."] if other else []
    else:
        texts.append(f"As it is: {_counted(runs_of(row, records))}.")
    if row.smaller:
        small = [record for record in records if record.recipe in row.smaller]
        texts.append(f"At a size for a CPU: {_counted(small)}.")
    return texts


def _by_tests(row: Row, folder: Path) -> str:
    if row.by_timm:
        timm = read_timm_run(folder / "timm").timm
        shown = f'<a href="#{ANCHOR}">as shown below</a>'
        small = f"Small, with timm {timm} on a made-up ImageNet, {shown}"
        return f"{small}; and by the book’s tests, where timm’s scripts are."
    if not datasets_of(row):
        untrained = ", with weights that were never trained" if row.weights else ""
        return f"Small, by the book’s tests{untrained}."
    small = "by the book’s tests, on made-up images of the same layout."
    if any(command[:2] == ["mixerlib", "cost"] for command in row.commands):
        return f"<code>mixerlib cost</code> as it is; the rest small, {small}"
    return f"Small, {small}"


def _measured(reports: Sequence[Benchmark]) -> str:
    """Where and when, and in batches of how many images."""
    texts = []
    for report in reports:
        where = device_label(report.provenance, report.settings)
        batches = sorted({result.case.batch for result in report.results})
        day = report.provenance.date[:10]
        texts.append(f"{where}, in batches of {listed(map(str, batches))} ({day})")
    return listed(texts) or "not yet"


def _counted(records: Sequence[Record]) -> str:
    if not records:
        return "not yet"
    shares = [record.test_accuracy for record in records]
    low, high = f"{min(shares):.1%}", f"{max(shares):.1%}"
    span = low if low == high else f"{low} to {high}"
    number = "one run" if len(records) == 1 else f"{len(records)} runs"
    return f"{number} with a record, {span} right"


def summary(
    rows: Mapping[str, Row], published: Published, records: Sequence[Record]
) -> list[list[Any]]:
    """For each document: link, rows, our lines, and its rows with a run as it is, or smaller."""
    table = []
    for seed in seeds_of(rows):
        mine = [row for row in rows.values() if seed in row.seeds]
        document = published.documents[seed]
        lines = sum(len(row.commands) + bool(row.python) for row in mine)
        whole = sum(is_whole(row, records) for row in mine)
        small = sum(is_smaller(row, records) for row in mine)
        link = f"[{document['title']}]({document['url']})"
        table.append([link, len(mine), lines, whole, small])
    return table


def seeds_of(rows: Mapping[str, Row]) -> list[str]:
    """The documents, in the order in which the rows name them."""
    return list(dict.fromkeys(seed for row in rows.values() for seed in row.seeds))
