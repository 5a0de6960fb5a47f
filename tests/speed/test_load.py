"""What else a machine does while something is timed, and what is not recorded then."""

import math
from dataclasses import dataclass, replace

import pytest

from mixerlib.speed import load as module
from mixerlib.speed.load import Load, Watch, load_now, recordable, require_quiet

QUIET, BUSY = Load(0.1, 2, 0.02), Load(3.0, 2, 0.4)
SILENT = Load(None, 2, None)  # a system that says nothing


@dataclass(frozen=True)
class Report:
    load: Load | None


def stat(tmp_path, monkeypatch, *numbers: int):
    """A machine of our own: what all its processors have done, in hundredths of a second."""
    path = tmp_path / "stat"
    path.write_text("cpu  " + " ".join(map(str, numbers)) + " 0 0\ncpu0 1 2 3\n")
    monkeypatch.setattr(module, "STAT", path)
    monkeypatch.setattr(module.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)


def test_the_share_of_others_by_hand(tmp_path, monkeypatch):
    """10 seconds of two processors; all worked for 9 seconds, this program and its child for 5."""
    clock, own = iter((100.0, 110.0)), iter(((1, 1, 0, 0, 0), (3, 2, 1, 1, 0)))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module.os, "times", lambda: next(own))
    stat(tmp_path, monkeypatch, 1000, 0, 0, 5000, 70, 0, 0, 0)
    watch = Watch()
    stat(tmp_path, monkeypatch, 1300, 200, 150, 6000, 90, 50, 50, 150)  # idle and waiting: no work
    load = watch.load()
    assert load.others == pytest.approx((9 - 5) / (10 * 2))
    assert load.processors == 2 and load.busy


def test_where_the_system_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STAT", tmp_path / "nowhere")
    assert math.isnan(module._used()[1])
    assert Watch().load().others is None
    monkeypatch.delattr(module.os, "getloadavg", raising=False)
    load = Watch().load()
    assert (load.average, load.others, load.busy) == (None, None, False)
    assert str(load) == "this system does not say what else it does"


def test_without_a_share_the_average_decides():
    assert Load(0.5, 2, None).busy and not Load(0.1, 2, None).busy
    assert not Load(9.0, 2, 0.0).busy  # the average also holds what this program did before


def test_a_glance_at_the_machine(monkeypatch):
    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    assert load_now().processors >= 1 and slept == [module.GLANCE]


def test_a_busy_machine_is_refused_and_forced():
    with pytest.raises(ValueError, match=r"busy: other programs took 40% .* may be 10%.*--force"):
        recordable(Report(BUSY))
    assert recordable(Report(BUSY), force=True) == Report(replace(BUSY, forced=True))
    for load in (QUIET, SILENT, None):  # nothing had to be forced
        assert recordable(Report(load), force=True) == recordable(Report(load)) == Report(load)
    require_quiet(QUIET)
    with pytest.raises(ValueError, match=r"3\.0 programs wanted the 2 processors"):
        require_quiet(Load(3.0, 2, None))
