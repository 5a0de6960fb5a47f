"""Records: what is written is read back, and nothing else is."""

import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import pytest
import torch
from helpers import ROOT, git, values_to_change

from mixerlib.pages.audit import read_others
from mixerlib.records import (
    Epoch,
    Part,
    Record,
    here,
    peak_memory,
    provenance,
    read_record,
    read_records,
    write_record,
)
from mixerlib.speed import read_benchmark, read_roofline_race


@pytest.fixture
def record() -> Record:
    return Record(
        recipe="digits",
        settings={"epochs": 2, "clip_norm": None, "model_options": {"dim": 8}},
        seed=3,
        parameters=1234,
        train_images=100,
        test_images=10,
        curve=[
            Epoch(1, 0.5, 2.5, 0.25, None, None, 1.5),
            Epoch(2, 0.0, 1.5, 0.75, 2.0, 0.5, 1.25),
        ],
        test_loss=2.0,
        test_accuracy=0.5,
        test_top5=1.0,
        training_seconds=2.75,
        total_seconds=3.0,
        images_per_second=72.7,
        peak_memory_bytes=123_456_789,
        processes=2,
        continued=1,
        provenance=provenance("cpu"),
    )


def test_round_trip(record, tmp_path):
    write_record(record, tmp_path / "new" / "record.json")
    assert read_record(tmp_path / "new" / "record.json") == record
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["record.json"]


def test_a_record_of_an_older_version_has_no_parts(record, tmp_path):
    path = tmp_path / "record.json"
    write_record(replace(record, parts=[Part(1, 2, 4, "2.11.0", "cpu", "a CPU")]), path)
    values = values_to_change(path)
    assert read_record(path).parts[0].threads == 4
    del values["parts"]
    path.write_text(json.dumps(values))
    assert read_record(path) == record


@pytest.mark.parametrize("read", [read_record, lambda path: read_records(path.parent)])
def test_no_bit_changes_unseen(record, tmp_path, read):
    """A bit of every byte. That of the key of the digest makes it a key that no record has."""
    path = tmp_path / "record.json"
    write_record(replace(record, test_top5=1e-05), path)
    whole = path.read_bytes()
    assert len(whole) < 2000
    for place in range(len(whole)):
        changed = whole[place] ^ 1 << place * 5 % 8
        path.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"record\.json"):
            read(path)
    path.write_bytes(whole)
    read(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"seed": 3', '"seed": 4'),
        lambda text: text.replace("1e-05", "1E-05"),  # the same number
        lambda text: text.replace('"schema": "mixerlib training 2"', '"schema": "mixerlib 2"'),
        lambda text: re.sub('"[0-9a-f]{64}"', "null", text),
        lambda text: json.dumps(json.loads(text)),
    ],
)
def test_a_change_is_refused(record, tmp_path, change):
    path = tmp_path / "record.json"
    write_record(replace(record, test_top5=1e-05), path)
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    message = r"record\.json was changed after it was written: `record_sha256`="
    for read in (read_record, lambda path: read_records(path.parent)):
        with pytest.raises(ValueError, match=message):
            read(path)


def test_the_digest_is_that_of_the_text_without_it(record, tmp_path):
    path = tmp_path / "record.json"
    write_record(record, path)
    *lines, last, brace = path.read_text().splitlines()
    (digest,) = json.loads(f"{{{last}}}").values()
    text = "\n".join(lines).removesuffix(",") + "\n" + brace
    assert digest == hashlib.sha256(text.encode()).hexdigest()


def test_a_record_of_before_the_digest_is_read(record, tmp_path):
    path = tmp_path / "record.json"
    write_record(record, path)
    path.write_text(json.dumps(values_to_change(path)))
    assert "sha256" not in path.read_text().replace("weights_sha256", "")
    assert read_record(path) == record and read_records(tmp_path) == [record]


@pytest.mark.parametrize(
    ("read", "place"),
    [
        (read_record, "cpu/convmixer_64_4/seed0.json"),
        (read_benchmark, "bench/amd-epyc/table3.json"),
        (read_roofline_race, "bench/amd-epyc/roofline/*.json"),
        (read_others, "counts/others.json"),
    ],
)
def test_a_record_of_any_kind_has_one(tmp_path, read, place):
    committed = next((ROOT / "book" / "records").glob(place))
    path = tmp_path / "record.json"
    write_record(read(committed), path)
    whole = path.read_text(encoding="utf-8")
    assert '"record_sha256": "' in whole and read(path) == read(committed)
    path.write_text(whole.replace('"date": "20', '"date": "21'), encoding="utf-8")
    with pytest.raises(ValueError, match="was changed after it was written"):
        read(path)


def test_line_ends_of_windows_change_nothing(record, tmp_path):
    path = tmp_path / "record.json"
    write_record(record, path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_record(path) == record


def test_a_fraction_among_the_settings_is_written_as_text(record, tmp_path):
    changed = replace(record, settings={"model_options": {"ratio": Fraction(2, 3)}})
    write_record(changed, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json").settings["model_options"]["ratio"] == "2/3"


def test_a_record_holds_no_nan(record, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_record(replace(record, test_loss=float("nan")), tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_record(record, tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_record(record, path)

    def full_disk(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_record(replace(record, seed=4), path)
    monkeypatch.undo()
    assert read_record(path) == record
    assert list(tmp_path.iterdir()) == [path]


def change(values: dict, key: str, value: object) -> None:
    """Set the key of the form a.b.0.c; the value `...` deletes it."""
    *parents, last = key.split(".")
    for parent in parents:
        values = values[int(parent) if parent.isdigit() else parent]
    if value is ...:
        del values[last]
    else:
        values[last] = value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("test_accuracy", ..., "`test_accuracy` is missing"),
        ("best_accuracy", 0.9, "`best_accuracy` is not a key of a record"),
        ("test_accuracy", "93 %", "`test_accuracy`='93 %' must be of type float"),
        ("test_accuracy", None, "`test_accuracy`=None must be of type float"),
        ("test_loss", float("nan"), "is not JSON: NaN is no number"),
        ("test_loss", float("inf"), "is not JSON: Infinity is no number"),
        ("test_loss", 10**400, "`test_loss`=1000.*… must be of type float"),
        ("test_accuracy", 7.0, r"`test_accuracy`=7\.0 must be between 0 and 1"),
        ("test_top5", -0.1, r"`test_top5`=-0\.1 must be between 0 and 1"),
        ("test_images", -1, "`test_images`=-1 must be at least 1"),
        ("parameters", 0, "`parameters`=0 must be at least 1"),
        ("processes", 0, "`processes`=0 must be at least 1"),
        ("continued", -1, "`continued`=-1 must be at least 0"),
        ("training_seconds", -1, r"`training_seconds`=-1\.0 must be at least 0"),
        ("images_per_second", 0, r"`images_per_second`=0\.0 must be above 0"),
        ("peak_memory_bytes", -1, "`peak_memory_bytes`=-1 must be at least 0"),
        ("recipe", "", "`recipe`='' must be more than nothing"),
        ("curve", [], "`settings.epochs`=2 must be 0"),
        ("curve.0.epoch", 2, "`curve` must have a row for every epoch"),
        ("curve.1.train_accuracy", 1.5, r"`curve\[1\]\.train_accuracy`=1\.5 must be between"),
        ("curve.1.test_accuracy", 0.25, "`test_accuracy`=0.5 must be that of the last epoch, 0.25"),
        ("settings.seed", 4, "`settings.seed`=4 must be 3"),
        ("settings.epochs", 3, "`settings.epochs`=3 must be 2"),
        ("provenance.date", "yesterday", r"`provenance\.date`='yesterday' must be a date"),
        ("provenance.threads", 0, r"`provenance\.threads`=0 must be at least 1"),
        ("seed", 1.5, r"`seed`=1\.5 must be of type int"),
        ("seed", True, "`seed`=True must be of type int"),
        ("settings", [], r"`settings`=\[\] must be of type dict"),
        ("curve", {}, "`curve` must be a list"),
        ("curve.1.train_loss", ..., r"`curve\[1\]\.train_loss` is missing"),
        ("curve.0.epoch", "one", r"`curve\[0\]\.epoch`='one' must be of type int"),
        ("provenance", "here", "`provenance` must be a table"),
        ("provenance.dirty", 1, r"`provenance\.dirty`=1 must be of type bool"),
        ("peak_memory_bytes", ..., "`peak_memory_bytes` is missing"),
        ("peak_memory_bytes", 1.5, r"`peak_memory_bytes`=1\.5 must be of type int"),
        ("processes", ..., "`processes` is missing"),
        ("processes", None, "`processes`=None must be of type int"),
        ("continued", True, "`continued`=True must be of type int"),
        ("provenance.torchvision", ..., r"`provenance\.torchvision` is missing"),
        ("schema", ..., "`schema`=None must be 'mixerlib training 2'"),
        ("schema", "mixerlib training 1", "`schema`='mixerlib training 1' must be"),
    ],
)
def test_schema(record, tmp_path, key, value, message):
    path = tmp_path / "record.json"
    write_record(record, path)
    values = values_to_change(path)
    change(values, key, value)
    path.write_text(json.dumps(values))
    for read in (read_record, lambda path: read_records(path.parent)):
        if key != "schema" or read is read_record:  # others are not of a training run
            with pytest.raises(ValueError, match=f"record.json:? {message}"):
                read(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"seed": 1, "seed": 2}'])
def test_not_a_record(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(ValueError, match=r"record\.json"):
        read_record(tmp_path / "record.json")


def test_a_whole_number_will_do_for_a_float(record, tmp_path):
    path = tmp_path / "record.json"
    write_record(replace(record, total_seconds=3), path)
    assert type(read_record(path).total_seconds) is float


def test_memory_may_be_unknown(record, tmp_path):
    changed = replace(record, peak_memory_bytes=None)
    write_record(changed, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == changed


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells what is in use")
def test_peak_memory_on_a_cpu_is_that_of_the_process():
    held = torch.ones(8_000_000)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    in_use = pages * os.sysconf("SC_PAGE_SIZE")
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert held.nbytes < 0.99 * in_use < peak_memory("cpu") < machine  # the system counts in lots


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_peak_memory_is_that_of_tensors_on_a_gpu():
    torch.cuda.reset_peak_memory_stats()
    tensor = torch.ones(50_000_000, device="cuda")
    assert peak_memory("cuda") >= torch.cuda.memory_allocated() >= 4 * len(tensor)


def test_provenance_says_what_is_here():
    here = provenance("cpu")
    assert here.torchvision == metadata.version("torchvision")
    assert here.torch == torch.__version__ and here.threads == torch.get_num_threads()
    assert here.device == "cpu" and here.device_name
    written = datetime.fromisoformat(here.date)
    assert timedelta(0) <= datetime.now(written.tzinfo) - written < timedelta(minutes=1)


def test_a_commit_may_be_named_where_the_files_have_travelled(monkeypatch):
    """As a copy without its history, or one whose history is older than its files."""
    named = "0123456789abcdef" * 2 + "01234567"
    monkeypatch.setenv("MIXERLIB_COMMIT", f" {named}\n")
    assert (provenance("cpu").commit, provenance("cpu").dirty) == (named, None)
    monkeypatch.setenv("MIXERLIB_COMMIT", "main")
    with pytest.raises(ValueError, match=r"`MIXERLIB_COMMIT`='main' must be a commit: 40 hex"):
        provenance("cpu")
    monkeypatch.setenv("MIXERLIB_COMMIT", "")
    assert provenance("cpu").commit == here._git_state()[0]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit_and_changes_are_those_of_mixerlib(tmp_path, monkeypatch):
    """In a repository of its own: under git's control, changed, and beside it but not under it."""
    package = tmp_path / "mixerlib"
    package.mkdir()
    for name in ("__init__.py", "train.py"):
        (package / name).write_text("")
    monkeypatch.setattr(here, "PACKAGE", package)
    assert here._git_state() == (None, None)  # no repository
    git(tmp_path, "init", "-q")
    assert here._git_state() == (None, None)  # a repository that does not hold mixerlib
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert here._git_state() == (commit, False)
    (tmp_path / "notes.txt").write_text("not mixerlib's")
    assert here._git_state() == (commit, False)
    (package / "train.py").write_text("changed")
    assert here._git_state() == (commit, True)


def test_a_file_s_name_that_is_no_utf8_is_written(record, tmp_path):
    """Weights may lie on an old disk, in a file with a Latin-1 name; Python's form is \\udcfc."""
    named = replace(record, settings=record.settings | {"weights": os.fsdecode(b"f\xfcr.pt")})
    write_record(named, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == named
