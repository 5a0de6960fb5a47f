"""The kept run of timm's own scripts: of the commands on the page, and without the machine's names.

tests/training/test_against_timm.py runs the scripts again, where they are.
"""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import ROOT

from book.assets import timm_run
from book.tools import timm_scripts
from mixerlib.records import write_record

FOLDER = ROOT / "book" / "records" / "timm"


def test_the_record_is_of_the_commands_on_the_page():
    record = timm_run.read_timm_run(FOLDER)
    commands, recipe = timm_scripts.plan()
    assert record.commands == [shlex.join(words) for words in commands]
    assert recipe == {
        "base": "imagenet/splitmixer_i_1536_20",
        "model_options": {"dim": 8, "depth": 1},
    }
    assert record.provenance.dirty is False and record.provenance.commit


def test_timm_and_mixerlib_print_the_same_numbers():
    record = timm_run.read_timm_run(FOLDER)
    assert record.as_printed() == record.theirs
    top1, top5 = (float(record.theirs[name]) for name in ("top1", "top5"))
    assert 0 < top1 < top5 < 100  # so that a mistake would show


@pytest.mark.parametrize("file", timm_run.PRINTED.values())
def test_what_was_printed_tells_nothing_of_the_machine(file):
    text = (FOLDER / file).read_text(encoding="utf-8")
    assert len(text) > 500
    assert re.findall(r"(?<![\w.\]])/\w[\w.-]*", text) == []
    assert timm_scripts.trimmed(
        "/somewhere/run/x.pth in /somewhere/run", Path("/somewhere/run")
    ) == ("x.pth in .")


def test_the_loss_is_that_of_all_images():
    first = "Test: [   0/2]  Time: 0.1s (0.1s, 80/s)  Loss:  2.5000 (2.5000)  Acc@1: 12.5 ( 12.5)"
    last = first.replace("2.5000 (2.5000)", "2.0000 (2.2500)")
    assert timm_scripts.LOSS.findall(f"{first}\n{last}") == ["2.5000", "2.2500"]


def test_the_page_says_whether_they_agree(tmp_path):
    shown = timm_run.text(FOLDER)
    assert "equal to the last digit" in shown and shown.count("<details>") == 3
    record = timm_run.read_timm_run(FOLDER)
    for file in timm_run.PRINTED.values():
        (tmp_path / file).write_text("printed")
    other = replace(record, ours=record.ours | {"loss": record.ours["loss"] + 1e-3})
    write_record(other, tmp_path / timm_run.FILE)
    assert "The numbers are not equal" in timm_run.text(tmp_path)
