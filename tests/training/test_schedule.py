"""Learning rates over a run, against the papers' knots and against torch's own schedulers."""

import itertools
import math
import warnings
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from mixerlib.training.schedule import cosine, one_cycle, piecewise_linear

SHARES = st.floats(0, 1)
LONG = 5000  # steps of a run: torch's schedulers are off by one step where they begin and turn


def rates_of(scheduler_for, steps: int) -> list[float]:
    """The learning rates, of at most 1, that one of torch's schedulers gives the optimizer."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = scheduler_for(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():  # SequentialLR calls its own parts in a way it warns about
            warnings.filterwarnings("ignore", "The epoch parameter in `scheduler.step")
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("progress", "share"),
    [(0, 0), (0.2, 0.5), (0.4, 1), (0.6, 0.525), (0.8, 0.05), (0.9, 0.025), (1, 0)],
)
def test_piecewise_linear_at_and_between_its_knots(progress, share):
    assert piecewise_linear(progress) == pytest.approx(share, abs=1e-12)


@given(st.integers(1, 200), st.integers(1, 50))
def test_piecewise_linear_is_the_seeds_formula(epochs, steps):
    """As their scripts have it: np.interp over epochs, with knots at 0, 2/5, 4/5 and 5/5."""
    knots = [Fraction(epochs * n, 5) for n in (0, 2, 4, 5)]
    values = [Fraction(0), Fraction(1), Fraction(1, 20), Fraction(0)]
    for done in range(1, epochs * steps + 1, max(1, epochs * steps // 20)):
        epoch = Fraction(done, steps)
        (x0, y0), (x1, y1) = next(
            pair
            for pair in itertools.pairwise(zip(knots, values, strict=True))
            if pair[0][0] <= epoch <= pair[1][0]
        )
        expected = y0 + (y1 - y0) * (epoch - x0) / (x1 - x0)
        actual = piecewise_linear(done / (epochs * steps))
        assert actual == pytest.approx(float(expected), abs=1e-12)


def test_one_cycle_is_torch_s():
    def scheduler(optimizer):
        return lr_scheduler.OneCycleLR(
            optimizer, max_lr=1.0, total_steps=LONG, cycle_momentum=False
        )

    torch_s = rates_of(scheduler, LONG)
    ours = [one_cycle((step + 1) / LONG) for step in range(LONG)]
    assert ours == pytest.approx(torch_s, abs=3 / LONG)
    # the same turning points and ends, exactly
    assert one_cycle(0) == pytest.approx(torch_s[0], rel=1e-9) == pytest.approx(1 / 25)
    assert one_cycle(0.3) == 1.0 == max(torch_s)
    assert torch_s.index(1.0) == 0.3 * LONG - 1
    assert one_cycle(1) == pytest.approx(torch_s[-1], rel=1e-9) == pytest.approx(4e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_cosine_is_torch_s(warmup):
    rise = int(LONG * warmup)

    def scheduler(optimizer):
        fall = lr_scheduler.CosineAnnealingLR(optimizer, T_max=LONG - rise)
        if not rise:
            return fall
        # its first factor may not be 0, so it begins one step later
        line = lr_scheduler.LinearLR(optimizer, 1 / rise, 1.0, total_iters=rise - 1)
        return lr_scheduler.SequentialLR(optimizer, [line, fall], milestones=[rise])

    torch_s = rates_of(scheduler, LONG)
    ours = [cosine((step + 1) / LONG, warmup) for step in range(LONG)]
    assert ours[:rise] == pytest.approx(torch_s[:rise], rel=1e-9)  # the rise is the same
    # in the fall torch counts steps from 0
    assert ours[rise:-1] == pytest.approx(torch_s[rise + 1 :], abs=1e-9)
    assert ours[-1] == 0


@given(SHARES)
def test_cosine_without_a_warm_up(progress):
    assert cosine(progress) == pytest.approx((1 + math.cos(math.pi * progress)) / 2, abs=1e-12)


@given(SHARES, st.floats(0, 0.99))
def test_shares_of_the_largest_rate(progress, warmup):
    for share in (piecewise_linear(progress), one_cycle(progress), cosine(progress, warmup)):
        assert 0 <= share <= 1


@given(st.floats(0.001, 0.99))
def test_cosine_is_highest_where_the_warm_up_ends(warmup):
    assert cosine(warmup, warmup) == 1
    assert cosine(warmup / 2, warmup) == pytest.approx(0.5)
    assert cosine((1 + warmup) / 2, warmup) == pytest.approx(0.5)
    assert cosine(0, warmup) == 0


@pytest.mark.parametrize("schedule", [piecewise_linear, one_cycle, cosine])
@pytest.mark.parametrize("progress", [-0.01, 1.01, float("nan")])
def test_a_schedule_ends_where_the_run_does(schedule, progress):
    with pytest.raises(ValueError, match=r"`progress`=.* must lie between 0 and 1"):
        schedule(progress)


@pytest.mark.parametrize("warmup", [-0.1, 1.0, float("nan")])
def test_a_warm_up_is_a_part_of_the_run(warmup):
    with pytest.raises(ValueError, match=r"`warmup`=.* must be at least 0 and below 1"):
        cosine(0.5, warmup)
