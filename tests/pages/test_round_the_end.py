"""A segment past the last channel goes on at channel 0: its reach, its rules, its drawings."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from helpers import Later, registrations_undone
from torch import nn

from mixerlib.costs import measured_reach, mixing_steps, reach
from mixerlib.models import OneSegment, check_mixing, create_model, register_mixing
from mixerlib.pages import steps
from mixerlib.pages.interactives.network_script import network_script

patches = Later("matplotlib.patches")
networks = Later("mixerlib.pages.networks")
plots = Later("mixerlib.pages.plots")
SIZE = {"dim": 12, "depth": 3, "kernel_size": 3, "segments": 2}


class Round(nn.Module):
    """Six channels from `start` on, whose last two are the first two of the strip."""

    def __init__(self, dim: int, start: int, width: int):
        super().__init__()
        self.start, self.mixed = start, [(start, width)]
        self.first = OneSegment(dim, 0, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x.roll(-self.start, dims=1)).roll(self.start, dims=1)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with registrations_undone():
        register_mixing("round", lambda block, dim, s: Round(dim, dim * 2 // 3, dim // s))
        yield


def test_the_reach_is_that_of_the_running_model():
    check_mixing("round", segments=2)
    model = create_model("splitmixer_round", **SIZE).eval()
    heard = reach(12, mixing_steps(model)[:1])
    ring = [8, 9, 10, 11, 0, 1]
    assert heard[np.ix_(ring, ring)].all() and heard.sum() == 36 + 6
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.randn(1, 3, 8, 8)
    assert np.array_equal(measured_reach(model, images, 3), reach(12, mixing_steps(model)))


def test_a_mixing_that_does_not_go_round_as_it_says_is_refused():
    def build(block: int, dim: int, segments: int) -> nn.Module:
        mixing = OneSegment(dim, 6, 6)
        mixing.mixed = [(8, 6)]
        return mixing

    register_mixing("square", build)
    with pytest.raises(ValueError, match=r"must hear what `mixed`=\[\(8, 6\)\] says"):
        check_mixing("square")


def test_it_is_named_and_drawn_at_both_ends():
    model = create_model("splitmixer_round", **SIZE)
    mixed = [step for step in steps(model, 32) if step.label.startswith("1×1")]
    assert [step.label for step in mixed] == ["1×1, channels 8–11, 0–1"] * 3
    figure = networks.draw_block(model, 32)
    boxes = [p for p in figure.axes[0].patches if isinstance(p, patches.Rectangle)]
    *_, right, left = boxes
    assert len(boxes) == 2 * networks.TEETH + 2
    assert right.get_width() == pytest.approx(2 * left.get_width())
    unit = left.get_width() / 2
    assert right.get_x() == pytest.approx(left.get_x() + 8 * unit)


def test_strips_of_blocks_are_filled_at_both_ends_and_not_beyond():
    _, axes = plots.canvas(1, 1)
    place = plots.channel_blocks(axes[0, 0], 12, [[[(8, 6, 0.5)]], [[(6, 6, 0.5)]]], "#E69F00")
    filled = [p for p in place.patches if p.get_fill()]
    assert [(p.get_x(), p.get_width()) for p in filled] == [(8, 4), (0, 2), (6, 6)]
    assert {p.get_alpha() for p in filled} == {0.5}


def test_the_page_s_own_arithmetic_refuses_it():
    model = create_model("splitmixer_round", patch_size=2, in_channels=1, **SIZE).eval()
    with pytest.raises(ValueError, match="cannot compute: 1×1, channels 8–11, 0–1"):
        network_script(model, 8)
