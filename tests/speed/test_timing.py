"""The statistics of a timing, the clocks, and the order of a race, on a clock of our own.

No test asks how fast anything is.
"""

import statistics
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clock import Clock
from hypothesis import given
from hypothesis import strategies as st

from mixerlib.speed import timing
from mixerlib.speed.timing import Timing, coverage, race, ratios, stopwatch, warm_up


@pytest.fixture
def clock() -> Clock:
    return Clock()


# Statistics


@given(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=30))
def test_median_and_quartiles(runs):
    result = Timing.of(runs)
    lower, median, upper = statistics.quantiles(runs, n=4, method="inclusive")
    assert result.runs == runs and result.fastest == min(runs)
    assert result.median == pytest.approx(statistics.median(runs)) == pytest.approx(median)
    assert result.quartiles == pytest.approx([lower, upper])


def test_one_run_is_its_own_median():
    assert Timing.of([2.0]) == Timing(2.0, [2.0, 2.0], [2.0])
    with pytest.raises(ValueError, match="`runs` must hold at least one"):
        Timing.of([])


def test_ratios_are_taken_within_a_round():
    """A machine that slows down tenfold in the middle moves the medians, but not the ratios."""
    noise = [1.0, 1.0, 1.0, 10.0, 10.0]
    slow, fast = (Timing.of([seconds * x for x in noise]) for seconds in (3.0, 1.5))
    result = ratios(slow, fast)
    assert result.median == 2 and result.quartiles == [2, 2]
    assert ratios(fast, slow).runs == [0.5] * 5
    with pytest.raises(ValueError, match="`other` of 1 rounds must have as many as `base`: 5"):
        ratios(slow, Timing.of([1.0]))


@pytest.mark.parametrize("count", [6, 9, 15, 16, 31])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_the_interval_holds_the_median_as_often_as_it_says(count, confidence):
    """Simulated: lopsided noise, as real one is; one rank further in would not hold it so often."""
    draws = np.random.default_rng(count).exponential(size=(20_000, count))
    low, _ = Timing.of(list(range(count))).interval(confidence)
    rank = int(low) + 1
    ordered, median = np.sort(draws, axis=1), np.log(2)
    for i in (rank, rank + 1):
        inside = (ordered[:, i - 1] <= median) & (median <= ordered[:, count - i])
        assert inside.mean() == pytest.approx(max(0.0, coverage(count, i)), abs=0.012)
    assert coverage(count, rank) >= confidence > coverage(count, rank + 1)
    interval = Timing.of(draws[0].tolist()).interval(confidence)
    assert interval == (ordered[0, rank - 1], ordered[0, count - rank])


def test_intervals_of_few_runs():
    """Five are too few for 95 per cent: 1 − 2/32. Six are enough: 1 − 2/64."""
    assert coverage(5, 1) == 15 / 16 and coverage(6, 1) == 31 / 32
    assert Timing.of([3.0, 1.0, 2.0]).interval() == (1.0, 3.0)
    just = Timing.of([float(i) for i in range(15)]).interval(coverage(15, 4))
    assert just == (3.0, 11.0)  # at least that probable, not more
    assert Timing.of([3.0]).interval() == (3.0, 3.0)
    for count in (7, 8):  # never beyond the middle
        low, high = Timing.of([float(i) for i in range(count)]).interval(1e-9)
        assert low <= (count - 1) / 2 <= high
    for confidence in (0, 1, 1.5):
        with pytest.raises(ValueError, match=f"`confidence`={confidence} must lie between 0 and 1"):
            Timing.of([3.0]).interval(confidence)


# Races


def test_every_round_runs_each_once_and_another_one_first(clock):
    candidates = {name: clock.taking(name, [1.0]) for name in "abc"}
    race(candidates, rounds=4, clock=clock)
    warm = 1 + timing.STALE
    assert "".join(clock.calls[: 3 * warm]) == "a" * warm + "b" * warm + "c" * warm
    assert "".join(clock.calls[3 * warm :]) == "abc" + "bca" + "cab" + "abc"


def test_a_race_gives_seconds_of_warm_runs(clock):
    steady = [9.0, 4.0, 1.0, 1.0, 1.0]  # a compilation, a first touch; then two runs as before
    candidates = {
        "a": clock.taking("a", [*steady, 2.0, 1.0, 3.0]),
        "b": clock.taking("b", [5.0]),
    }
    result = race(candidates, rounds=3, clock=clock)
    assert result["a"].runs == [2.0, 1.0, 3.0] and result["a"].median == 2.0
    assert result["b"].runs == [5.0] * 3
    assert list(result) == ["a", "b"]


@pytest.mark.parametrize(
    ("seconds", "calls", "fastest"),
    [
        ([1.0], 3, 1.0),  # as quick from the start
        ([8.0, 1.0], 4, 1.0),
        ([8.0, 4.0, 2.0, 1.0], 6, 1.0),
        ([1.0, 0.96, 0.96], 3, 0.96),  # a little faster is no warming up
        ([1.0, 2.0, 0.9, 2.0, 2.0], 5, 0.9),  # one slow run does not end it
        ([0.9**n for n in range(99)], timing.LONGEST_WARM_UP, 0.9 ** (timing.LONGEST_WARM_UP - 1)),
    ],
)
def test_warm_up_lasts_until_nothing_gets_faster(clock, seconds, calls, fastest):
    result = warm_up(clock.taking("a", seconds), stopwatch("cpu", clock))
    assert len(clock.calls) == calls
    assert result == pytest.approx(fastest)


def test_a_warm_up_may_be_short(clock):
    falling = [2.0**-n for n in range(9)]
    assert warm_up(clock.taking("a", falling), stopwatch("cpu", clock), calls=4) == 1 / 8
    race({"b": clock.taking("b", falling)}, rounds=3, warm_up_calls=1, clock=clock)
    assert clock.calls == ["a"] * 4 + ["b"] * 4


def test_a_quick_function_is_called_several_times(clock):
    seconds = timing.SHORTEST_RUN / 7.5
    warm = [seconds] * 3
    candidates = {"a": clock.taking("a", [*warm, *[seconds] * 6, seconds * 9])}
    result = race(candidates, rounds=1, clock=clock)
    assert len(clock.calls) == 3 + 8
    assert result["a"].median == pytest.approx((6 + 9 + 9) / 8 * seconds)  # the mean of the run


def test_a_clock_too_coarse_for_a_function_does_not_stop_the_race(clock):
    assert race({"a": clock.taking("a", [0.0])}, rounds=2, clock=clock)["a"].median == 0


@pytest.mark.parametrize(("seconds", "rounds"), [(None, 9), (1e9, 9), (0.5, 3), (18.0, 6)])
def test_no_round_begins_when_the_time_is_up(clock, seconds, rounds):
    """Two candidates of a second each: six seconds to get warm, two for a round."""
    candidates = {name: clock.taking(name, [1.0]) for name in "ab"}
    result = race(candidates, rounds=9, seconds=seconds, clock=clock)
    assert [len(timing.runs) for timing in result.values()] == [rounds, rounds]


def test_who_falls_far_behind_is_not_run_to_the_end(clock):
    """c is slow, d only in its first round, disturbed; b is within the limit, just."""
    warm = [1.0] * 3
    seconds = {"a": [1.0], "b": [2.0], "c": [2.5], "d": [*warm, 9.0, 1.0]}
    candidates = {name: clock.taking(name, values) for name, values in seconds.items()}
    result = race(candidates, rounds=5, drop_behind=2.0, clock=clock)
    rounds = {name: len(timing.runs) for name, timing in result.items()}
    assert rounds == {"a": 5, "b": 5, "c": timing.ROUNDS_OF_ALL, "d": 5}
    last = "".join(clock.calls[-9:])  # those that are left take turns at being the first
    assert last == "dab" + "abd" + "bda"
    everyone = race(candidates, rounds=5, clock=clock)
    assert {len(timing.runs) for timing in everyone.values()} == {5}


@pytest.mark.parametrize(
    ("candidates", "options", "message"),
    [
        ({}, {}, "`candidates` must hold at least one function"),
        ({"a": int}, {"rounds": 0}, "`rounds`=0 must be at least 1"),
        ({"a": int}, {"warm_up_calls": 0}, "`warm_up_calls`=0 must be at least 1"),
        ({"a": int}, {"drop_behind": 0.5}, "`drop_behind`=0.5 must be at least 1"),
        ({"a": int}, {"drop_behind": float("nan")}, "`drop_behind`=nan must be at least 1"),
    ],
)
def test_races_that_cannot_be(candidates, options, message):
    with pytest.raises(ValueError, match=message):
        race(candidates, **options)


# Clocks


def test_the_clock_of_a_cpu_adds_up_the_calls(clock):
    assert stopwatch("cpu", clock)(clock.taking("a", [1.0, 2.0, 4.0]), 3) == 7.0
    assert stopwatch("cpu")(lambda: None, 1) > 0  # the real one


def test_on_cuda_the_clock_is_the_gpus(monkeypatch):
    """A GPU of our own: a call puts 3 ms of work into its queue; events are dated in the queue."""
    queue, waited = SimpleNamespace(ms=0.0), []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = queue.ms

        def synchronize(self):
            waited.append(self.at)

        def elapsed_time(self, end):
            assert waited == [end.at]  # an event that has not come yet has no time
            return end.at - self.at

    class OnDevice:
        def __init__(self, device):
            assert device == torch.device("cuda:1")

        __enter__ = __exit__ = lambda *_: None

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", OnDevice)

    def call():
        queue.ms += 3.0

    assert stopwatch("cuda:1")(call, 4) == pytest.approx(0.012)


def test_on_other_accelerators_the_clock_waits_for_the_queue(monkeypatch, clock):
    """Calls return at once; the work, 2 s each, is done when one waits for it."""
    queued = [5.0]  # what was there before, and must not count

    def synchronize(device):
        assert device == torch.device("mps")
        clock.now += sum(queued)
        queued.clear()

    monkeypatch.setattr(torch.accelerator, "synchronize", synchronize)
    assert stopwatch("mps", clock)(lambda: queued.append(2.0), 3) == pytest.approx(6.0)


def test_a_cpu_has_no_queue_to_wait_for(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "synchronize", None)
    timing.synchronize("cpu")
