"""What a page times, live or from its record: the codec, the modes, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixerlib.records import write_record
from mixerlib.speed import PageTimes, Timing, page_times, read_page_record, roofline_race
from mixerlib.speed.load import Load
from mixerlib.speed.page_times import VARIABLE, decode, encode

QUIET, BUSY = Load(0.1, 2, 0.02), Load(3.0, 2, 0.4)
RUNS = {("convmixer", 4): Timing.of([0.3, 0.1, 0.2]), ("convmixer", 8): Timing.of([0.5])}


@pytest.fixture
def others(monkeypatch):
    """The load of this machine is a given one, quiet until it is set; nothing is waited for."""
    now = [QUIET]
    monkeypatch.setattr(page_times, "load_now", lambda: now[0])
    monkeypatch.setattr(page_times, "load_of", lambda *_: now[0])
    return now


@pytest.fixture
def live(others, monkeypatch, tmp_path):
    """The times of a page in a mode, with the records in a folder of this test."""

    def make(mode: str | None, device: str = "cpu", full: bool = False, page: str = "a-page"):
        if mode is None:
            monkeypatch.delenv(VARIABLE, raising=False)
        else:
            monkeypatch.setenv(VARIABLE, mode)
        return PageTimes(page, tmp_path, device, full)

    return make


SCALARS = st.none() | st.booleans() | st.integers() | st.text()
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.one_of(SCALARS, NUMBERS, st.tuples(SCALARS, st.tuples(SCALARS)))
TIMINGS = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=5).map(Timing.of)
VALUES = st.recursive(
    SCALARS | NUMBERS | TIMINGS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)


def kinds(value) -> object:
    """The types in a value, for 1, 1.0 and True are equal."""
    if isinstance(value, dict):
        return [(kinds(key), kinds(of)) for key, of in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [kinds(one) for one in value]
    return type(value)


@given(VALUES)
def test_what_is_taken_comes_back_as_it_was(value):
    back = decode(json.loads(json.dumps(encode(value, "it"))), "it.json")
    assert back == value and kinds(back) == kinds(value)


def test_arrays_and_numbers_of_numpy_come_back_as_well():
    array = decode(encode(np.array([[0.1, 0.2]]), "it"), "it.json")
    assert isinstance(array, np.ndarray) and array.tolist() == [[0.1, 0.2]]
    assert encode((np.int64(3), np.bool_(True), np.float32(0.5)), "it") == {"tuple": [3, True, 0.5]}


def test_what_cannot_be_recorded_is_named():
    with pytest.raises(ValueError, match=r"`times` holds .*object.*can be recorded"):
        encode({"a": [object()]}, "times")
    with pytest.raises(ValueError, match=r"`times` holds nan.*must be finite"):
        encode([float("nan")], "times")


def test_live_measures_and_writes_nothing(live, tmp_path):
    for mode in (None, "live"):
        times = live(mode)
        assert times("runs", lambda: RUNS) is RUNS and not times.recorded
        assert "timed live" in times.sentence and times.where in times.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_page_without_a_record_is_live(live, tmp_path):
    times = live("read")
    assert times("runs", lambda: RUNS) is RUNS and not times.recorded
    assert list(tmp_path.iterdir()) == []


def test_what_was_recorded_is_read_and_not_measured(live, tmp_path):
    times = live("record")
    assert times("runs", lambda: RUNS) == RUNS
    assert times("more", lambda: 1) == 1 and times("more", lambda: 2) == 2  # a cell run twice
    record = read_page_record(tmp_path / "a-page.json")
    assert list(record.taken) == ["runs", "more"] and record.load == QUIET

    read = live("read")
    assert read.recorded and (read("runs", pytest.fail), read("more", pytest.fail)) == (RUNS, 2)
    assert (read.provenance, read.settings) == (record.provenance, record.settings)
    assert read.load == QUIET
    for word in (record.provenance.date[:10], read.where, str(QUIET), "quick setting"):
        assert word in read.sentence


def test_a_race_of_rooflines_and_a_machine_are_kept(live):
    race = roofline_race(["convmixer"], {"dim": 8, "depth": 1}, batch=1, rounds=1)
    live("record")("both", lambda: (race, race.reports[0].machine))
    assert live("read")("both", pytest.fail) == (race, race.reports[0].machine)


def test_a_record_begins_anew(live, tmp_path):
    live("record")("old", lambda: 1)
    live("record")("new", lambda: 1)
    assert list(read_page_record(tmp_path / "a-page.json").taken) == ["new"]


def test_a_cpus_record_is_not_read_elsewhere_or_for_the_full_setting(live, monkeypatch):
    live("record")("runs", lambda: 1)
    here = page_times.provenance("cpu")
    monkeypatch.setattr(page_times, "provenance", lambda device: here)  # there may be no GPU
    monkeypatch.setattr(page_times, "settings_here", lambda device: {})
    assert not live("read", full=True).recorded and not live("read", device="cuda").recorded
    for values in ({"full": True}, {"device": "cuda"}):
        with pytest.raises(ValueError, match="quick setting on a CPU alone"):
            live("record", **values)
    assert "quick" not in live("read", device="cpu", full=True).sentence


def test_a_busy_machine_is_refused_unless_it_is_forced(live, others, tmp_path):
    times = live("record")
    others[0] = BUSY
    with pytest.raises(ValueError, match="busy: other programs took 40%"):
        times("runs", lambda: 1)
    with pytest.raises(ValueError, match="busy: other programs took 40%"):
        live("record")
    assert list(tmp_path.iterdir()) == []
    live("record-forced")("runs", lambda: 1)
    assert read_page_record(tmp_path / "a-page.json").load == replace(BUSY, forced=True)
    assert live("read")("runs", pytest.fail) == 1


def test_the_load_is_that_of_what_was_measured(monkeypatch, tmp_path):
    """Others worked for all of the 4 seconds of two measurements, and what is between is none."""
    used = iter([(1.0, 2.0, 1.0), (3.0, 5.0, 2.0)])
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(page_times.Watch, "used", lambda self: next(used))
    monkeypatch.setattr("mixerlib.speed.load.os.cpu_count", lambda: 2)
    times = PageTimes("a-page", tmp_path, "cpu")
    assert times.load.others is None  # nothing yet
    times("one", lambda: 1), times("two", lambda: 2)
    assert times.load.others == (7 - 3) / (4 * 2)


def test_a_name_that_the_record_lacks_is_refused(live):
    live("record")("runs", lambda: 1)
    with pytest.raises(ValueError, match=r"`name`='other' .*record of a-page.*make page-times"):
        live("read")("other", lambda: 1)


def test_a_damaged_record_and_one_of_another_page_are_refused(live, tmp_path):
    live("record")("runs", lambda: 1)
    path = tmp_path / "a-page.json"
    (tmp_path / "other.json").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="`page`='a-page' must be 'other'"):
        live("read", page="other")
    strange = replace(read_page_record(path), taken={"runs": {"Timings": [1]}})
    write_record(strange, path)
    with pytest.raises(ValueError, match=r"Timings.* is nothing that a page has taken"):
        live("read")("runs", lambda: 1)
    for wrong in ({"Timing": ["fast"]}, {"dict": [[[1], 2]]}, {"Machine": {"speed": 1}}):
        write_record(replace(strange, taken={"runs": wrong}), path)
        with pytest.raises(ValueError, match=r"a-page.json: `runs` is not of a page"):
            live("read")("runs", lambda: 1)
    write_record(strange, path)
    path.write_text(path.read_text().replace("Timings", "timings"))
    with pytest.raises(ValueError, match="was changed after it was written"):
        live("read")


def test_an_unknown_mode_is_refused(live):
    with pytest.raises(ValueError, match="`MIXERBOOK_TIMES`='fast' must be one of 'live', 'read'"):
        live("fast")
