"""`make speeds`: what is measured, in which order, into which records; and ratios on the pages."""

import ast
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT

from book.tools import quiet, speeds
from mixerlib.records import provenance
from mixerlib.speed import read_races
from mixerlib.speed.load import Load


@pytest.fixture
def ran(monkeypatch) -> list[tuple[list[str], dict[str, str]]]:
    """The commands that would run, and their environments; each writes its record."""
    commands = []

    def run(command, env, check):
        commands.append((command[3:], env))
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(speeds, "subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(quiet, "load_now", lambda: Load(0.0, 2, 0.0))
    clean = replace(provenance("cpu"), commit="a", dirty=False)
    monkeypatch.setattr(speeds, "provenance", lambda device: clean)
    return commands


def test_every_race_runs_with_memory_given_back_and_kept(ran, tmp_path, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert speeds.main(["--records", str(tmp_path)]) == 0
    assert len(ran) == 12
    for words, env in ran:
        kept = any("-kept" in word for word in words)
        if words[1] != "races":
            said = {key: value for key, value in env.items() if key.startswith("MALLOC_")}
            assert said == (speeds.KEEP if kept else {})
    only = [words[words.index("--only") + 1] for words, _ in ran if "--only" in words]
    assert set(only) == set(read_races(ROOT / "book" / "sweeps" / "bench_races.yaml"))
    of_races = [bool(speeds.KEEP.items() <= env.items()) for words, env in ran if "races" in words]
    assert of_races == [False, True] * 4
    assert ran[0][0][:4] == ["bench", "races", "--only", "plain"]  # what a page needs most


def test_a_step_with_a_record_is_left_out(ran, tmp_path, capsys):
    every = speeds.steps(tmp_path / "bench" / "device")
    assert len({step[1] for step in every.values()}) == len(every) == 12
    path = speeds.steps(tmp_path / "bench" / provenance("cpu").device_folder)["plain"][1]
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert speeds.main(["--records", str(tmp_path), "--only", "plain", "roofline"]) == 0
    ((words, _),) = ran
    assert words[1] == "roofline" and "convmixer_256_8" in words and "--force" not in words
    assert "1 steps, about 3 minutes" in capsys.readouterr().out


def test_not_on_a_busy_machine_or_a_changed_library(ran, tmp_path, monkeypatch, capsys):
    arguments = ["--records", str(tmp_path), "--only", "plain"]
    monkeypatch.setattr(quiet, "load_now", lambda: Load(2.0, 2, 0.5))
    with pytest.raises(SystemExit):
        speeds.main(arguments)
    assert "other programs took 50%" in capsys.readouterr().err and not ran
    changed = replace(provenance("cpu"), commit="a", dirty=True)
    monkeypatch.setattr(speeds, "provenance", lambda device: changed)
    with pytest.raises(SystemExit):
        speeds.main(arguments)
    assert "commit what has changed" in capsys.readouterr().err and not ran
    assert speeds.main([*arguments, "--force"]) == 0 and ran[0][0][-1] == "--force"
    with pytest.raises(SystemExit):
        speeds.main(["--only", "sleep"])
    assert "sleep: no such step" in capsys.readouterr().err


def test_the_commands_of_the_steps_are_those_of_mixerlib(tmp_path):
    """They parse; nothing is run."""
    import argparse

    from mixerlib.cli.bench import add_bench

    parser = argparse.ArgumentParser()
    add_bench(parser.add_subparsers())
    for words, _, _ in speeds.steps(tmp_path / "bench" / "device").values():
        parser.parse_args(["bench", *words, "--device", "cpu"])
    assert sys.executable


def divided(source: str) -> list[str]:
    """The divisions of a cell in which images a second stand on either side."""
    lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse("\n".join(lines)))
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div)
        and "images_per_second" in ast.unparse(node)
    ]


@pytest.mark.prose
@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/*.md")), ids=lambda path: path.stem)
def test_no_page_divides_speeds_that_may_be_of_two_races(path: Path):
    """`Benchmark.speedup` compares results of one race, and refuses others."""
    import jupytext  # here, as it takes a second

    cells = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    assert [line for cell in cells for line in divided(cell.source)] == []


def test_what_counts_as_such_a_division():
    assert divided("x = a.images_per_second / b['c'].images_per_second") != []
    assert divided("x = (2 * a.images_per_second) / 3") != []
    assert divided("x = a.speedup(b, c).median / 2") == []
