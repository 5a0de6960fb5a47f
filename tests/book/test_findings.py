"""The page of findings: its tables say what the audit, the models and the records say."""

import base64
import csv
import io
import json
import re

import pytest
import torch
from helpers import ROOT, Later, functions_of, run_cells

from mixerlib import costs
from mixerlib.models import create_model
from mixerlib.speed import read_benchmark

jupytext = Later("jupytext")
PAGE = ROOT / "book" / "findings.md"
RECIPES = ROOT / "mixerlib" / "training" / "recipes"


@pytest.fixture(scope="module")
def names():
    """What the cells of the page have defined."""
    return run_cells(PAGE)


def content(link) -> list[list[str]]:
    """The rows that a link for a download holds."""
    text = base64.b64decode(re.search(r"base64,([^\"]+)", link.data)[1]).decode()
    return list(csv.reader(io.StringIO(text)))


def test_what_does_not_reproduce_is_what_the_audit_says(names):
    verdicts, failed = names["verdicts"], names["failed"]
    kinds = [verdict.kind for verdict in verdicts.values()]
    assert len(failed) == kinds.count("not reproduced") > 20
    for entry in failed:
        line = names["line_of"](entry)
        assert line.startswith("- **") and line.count("**") == 2
        assert entry.printed in line and verdicts[entry.id].reason in line


def test_the_counts_are_those_of_the_models(names):
    rows = names["rows"]
    assert len({(row[0], row[1]) for row in rows}) == len(rows) > 40
    assert {row[0] for row in rows} == set(names["DATA"])
    for row in rows[:: len(rows) // 9]:
        _, name, side, classes, params, stored, macs, flops, thop = row
        with torch.device("meta"):
            model = create_model(name, num_classes=classes)
        assert params == sum(weights.numel() for weights in model.parameters())
        statistics = [b for n, b in model.named_buffers() if "num_batches" not in n]
        assert stored == params + sum(buffer.numel() for buffer in statistics)
        measured = costs.measure(model, side)
        assert (macs, flops, thop) == tuple(way(measured) for way in costs.CONVENTIONS.values())


def test_the_files_hold_their_rows_and_a_head(names):
    link = names["download"]("a.csv", ["name", "count"], [["a, b", 3], ["c", 4]])
    assert content(link) == [["name", "count"], ["a, b", "3"], ["c", "4"]]
    assert 'download="a.csv"' in link.data and "2 rows of name, count" in link.data


def test_every_measured_speed_is_in_the_file_and_no_ratio_is(names):
    folder = ROOT / "book" / "records" / "bench"
    paths = [p for p in sorted(folder.rglob("*.json")) if "roofline" not in p.parts]
    assert len(names["everything"]) == sum(len(read_benchmark(path).results) for path in paths)
    assert names["names"][0] == "data"  # the last table's; the speeds' is checked by its rows
    for row in names["everything"]:
        assert float(row[-1]) > 0 and row[-2] >= 1
    shown, left_out = ({line[0] for line in names["lines"]}, {*map(int, names["of_table"])})
    assert not shown & left_out and shown | left_out == {row[0] for row in names["everything"]}
    # two lines that look alike but for their speeds are of two hours
    told_apart = {(*line[1:7], line[-1]) for line in names["lines"]}
    assert len(told_apart) == len(names["lines"])


def test_a_line_names_its_device_and_how_it_computes(names):
    """A GPU gives no memory back to glibc, and has no instructions of a processor."""
    devices = {line[1] for line in names["lines"]}
    assert any("NVIDIA" in device for device in devices) and len(devices) > 1
    for line in names["lines"]:
        assert (line[4], line[5]) != ("", "")
        assert ("NVIDIA" in line[1]) == (line[5] == "") == ("TF32" in line[4])


def test_the_faults_of_the_table_are_told_for_a_gpu_first(names):
    for fault in names["faults"][:3]:
        cells = fault[1].split("<br>")
        assert "NVIDIA" in cells[0] and "memory" not in cells[0]
        assert all("memory" in cell for cell in cells[1:])
    first, means, together = (fault[1].split("<br>")[0] for fault in names["faults"][:3])
    gpu = names["tables"][0]
    assert f"× {gpu.bent_by_first_call:.2f}" in first and f"× {gpu.bent:.2f}" in together
    assert f"× {gpu.bent_by_mean:.2f}" in means  # of the later batches: the first is told above


def test_the_direction_of_a_fault():
    cells = [c.source for c in jupytext.read(PAGE).cells if "def towards" in c.source]
    source = re.search(r"def towards.*?(?=\n\n\ndef )", cells[0], re.S)[0]
    space: dict = {}
    exec(source, space)
    assert space["towards"](1.2) == "SplitMixer (× 1.20)"
    assert space["towards"](0.8) == "ConvMixer (× 0.80)"
    assert space["towards"](1.001) == "neither (× 1.00)"


def test_no_recipe_is_left_out(names):
    """Counted anew from the files: the recipes of a folder, and those that some record names."""
    files = {p.relative_to(RECIPES).with_suffix("").as_posix() for p in RECIPES.rglob("*.yaml")}
    records = [json.loads(p.read_text()) for p in (ROOT / "book" / "records").rglob("*.json")]
    named = {record.get("recipe") for record in records if isinstance(record, dict)}
    expected = {}
    for name in files:
        of_folder = expected.setdefault(name.partition("/")[0], [0, 0])
        of_folder[0] += 1
        of_folder[1] += name in named
    assert {row[0]: row[2:] for row in names["tried"]} == expected
    assert 0 < sum(done for _, done in expected.values()) < len(files)


def test_what_stands_beside_the_recipes(names):
    kept = [row for row in names["rows"] if "ablated" in row[1]]
    assert kept == [] and "splitmixer_i_ablated" in names["list_models"]()
    assert len(names["faults"]) == 6 and all(len(fault) == 3 for fault in names["faults"])


def test_the_three_laws_are_those_of_the_chapters(names):
    """Their numbers by the library's law and by the chapters' own functions."""
    page = functions_of(sorted((ROOT / "notebooks").glob("21*.md")))
    act = torch.nn.functional.gelu
    for variance in (1 / 3, 2 / 3):
        assert names["gamma"](variance) == pytest.approx(page["gamma"](act, variance), rel=1e-4)
    assert names["wide"] == pytest.approx(page["predicted_field"](8, 5), rel=1e-4)
    assert names["needed"] == {"2/3": 5, "3/5": 7, "4/7": 9, "5/9": 11, "6/11": 13}
    assert names["slow"] == ["4/7", "5/9", "6/11"] and names["seen"] == 33
    assert names["growing"]["without"] > names["growing"]["with"] > 1
