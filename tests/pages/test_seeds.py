"""How many seeds?: its random numbers, its intervals and its power curve, against Python."""

import functools
import json
import math

import numpy as np
import pytest
from helpers import Later

from mixerlib.pages import how_many_seeds
from mixerlib.pages.interactives import seeds
from mixerlib.training import Difference, Spread, power, seeds_needed, spread

stats = Later("scipy.stats")


def test_a_gap_or_a_deviation_that_no_slider_reaches_is_refused():
    with pytest.raises(ValueError, match=r"`gap`=3\.5 must"):
        how_many_seeds(3.5, 0.7)
    with pytest.raises(ValueError, match="`deviation`=0 must"):
        how_many_seeds(0.3, 0)


@functools.cache
def piece():
    return how_many_seeds(0.26, 0.72)


@pytest.fixture
def ask(run_script):
    """The value of an expression, after the script."""
    return lambda expression: run_script(piece(), f"return {expression}")


def drawn(i):
    """A number from 0 to 1: the hash of a counter, in whole numbers of 32 bits."""
    x = (i + 1) * 0x9E3779B9 % 2**32
    x = (x ^ (x >> 16)) * 0x21F0AAAD % 2**32
    x = (x ^ (x >> 15)) * 0x735A2D97 % 2**32
    return ((x ^ (x >> 15)) + 0.5) / 2**32


def normally(i):
    return math.sqrt(-2 * math.log(drawn(2 * i))) * math.cos(2 * math.pi * drawn(2 * i + 1))


def test_the_random_numbers_are_the_same_everywhere_and_look_drawn(ask):
    numbers = ask("[...Array(20000).keys()].map(i => [api.uniform(i), api.normal(i)])")
    uniform, normal = np.array(numbers).T
    assert uniform.tolist() == [drawn(i) for i in range(20_000)]
    assert normal.tolist() == pytest.approx([normally(i) for i in range(20_000)], abs=1e-12)
    assert stats.kstest(uniform, "uniform").pvalue > 0.01
    assert stats.kstest(normal, "norm").pvalue > 0.01
    assert abs(np.corrcoef(normal[:-1], normal[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(normal[0::2], normal[1::2])[0, 1]) < 0.04  # the runs of A and of B


SETTINGS = [
    {"gap": 0.26, "spread": 0.72, "n": 3},
    {"gap": 0, "spread": 0.3, "n": 2},
    {"gap": 2.5, "spread": 1.0, "n": 6},
    {"gap": 0.01, "spread": 2.0, "n": 20},
]


@pytest.mark.parametrize("v", SETTINGS, ids=str)
def test_an_experiment_shows_what_the_books_statistics_say(ask, v):
    answers = ask(
        "[0, 1].flatMap(series => [...Array(30).keys()].map(number => "
        f"api.experiment({json.dumps(v)}, series, number)))"
    )
    for number, answer in enumerate(answers):
        places = [(number // 30 * 100 + number % 30) * 20 + j for j in range(v["n"])]
        a = [v["gap"] + v["spread"] * normally(2 * place) for place in places]
        b = [v["spread"] * normally(2 * place + 1) for place in places]
        assert answer["a"] == pytest.approx(a, abs=1e-12)
        assert answer["b"] == pytest.approx(b, abs=1e-12)
        its = spread([a, b])
        half = its.half_width_of_difference(v["n"], v["n"])
        points = float(np.mean(a) - np.mean(b))
        assert answer["half"] == pytest.approx(half, rel=1e-9)
        assert answer["difference"] == pytest.approx(points, abs=1e-12)
        above = "right" if v["gap"] else "wrong"
        verdict = Difference(points, half).verdict(above, "wrong", "undecided")
        assert answer["outcome"] == verdict


def test_more_runs_are_further_runs(ask):
    few, many = ask("[3, 9].map(n => api.experiment({gap: 0.5, spread: 1, n}, 2, 7).a)")
    assert many[:3] == few


def test_the_exported_quantiles_are_those_of_the_books_intervals():
    for n in seeds.RUNS:
        half = Spread(1.0, 2 * n - 2).half_width_of_difference(n, n)
        assert seeds.quantile(n) * math.sqrt(2 / n) == pytest.approx(half, rel=1e-12)


RATIOS = (0, 0.01, 0.36, 1, 2, 4, 9)


def test_the_power_curve_is_the_librarys(ask):
    points = [x / 4 for x in range(-24, 25)]
    assert ask(f"{points}.map(api.phi)") == pytest.approx(stats.norm.cdf(points), abs=1e-7)
    answers = ask(
        f"{list(RATIOS)}.map(r => {list(seeds.RUNS)}.map(n => [api.shown(r, n), api.odds(r, n)]))"
    )
    for ratio, row in zip(RATIOS, answers, strict=True):
        for n, (shown, odds) in zip(seeds.RUNS, row, strict=True):
            assert shown == pytest.approx(power(ratio, n), abs=1e-6)
            t, shift = stats.t.ppf(0.975, 2 * n - 2), ratio * math.sqrt(n / 2)
            wrong = stats.nct.cdf(-t, 2 * n - 2, shift) if ratio else 0.05
            if ratio < 4:  # scipy has no number for what is smaller still
                assert odds["wrong"] == pytest.approx(wrong, abs=1e-6)


def test_the_runs_that_are_needed_are_the_librarys(ask):
    ratios = [0.05, 0.1, 0.26 / 0.72, 0.5, 0.8, 1, 1.3, 2, 3, 5]
    assert ask(f"{ratios}.map(api.needed)") == [seeds_needed(ratio) for ratio in ratios]
    assert ask("api.needed(0)") is None


@pytest.mark.parametrize("v", SETTINGS[:3], ids=str)
def test_the_tally_of_many_experiments_is_what_the_curve_says(ask, v):
    outcomes = ask(
        f"[...Array(4000).keys()].map(i => api.experiment({json.dumps(v)}, i % 40, "
        "Math.floor(i / 40)).outcome)"
    )
    shown = sum(outcome != "undecided" for outcome in outcomes) / len(outcomes)
    expected = power(v["gap"] / v["spread"], v["n"])
    assert abs(shown - expected) < 4 * math.sqrt(expected * (1 - expected) / len(outcomes))
