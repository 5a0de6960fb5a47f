"""What a mixing must keep, asked of this one; and that mixerlib finds it where it is installed."""

import subprocess
import sys

import pytest
import torch
from carousel_mixing import MACS, NAME, PARAMS, TurnedSegment

from mixerlib.costs import measured_directions, mixing_steps, reach
from mixerlib.models import check_mixing, create_model


@pytest.mark.parametrize("ratio", ["1", "2/3", "4/7", "6/11"])
@pytest.mark.parametrize("dim, depth", [(12, 4), (14, 3), (25, 7), (9, 1)])
def test_it_keeps_the_rules_and_costs_what_its_formulas_say(dim, depth, ratio):
    check_mixing("carousel", dim=dim, depth=depth, ratio=ratio, params=PARAMS, macs=MACS)


@pytest.mark.parametrize("start, width", [(0, 5), (3, 6), (3, 7), (6, 5), (8, 9), (4, 9)])
def test_it_is_one_matrix_that_is_the_identity_elsewhere(start, width):
    mixing = TurnedSegment(9, start, width).double()
    members = torch.arange(start, start + width) % 9
    matrix, bias = torch.eye(9, dtype=torch.float64), torch.zeros(9, dtype=torch.float64)
    matrix[members[:, None], members] = mixing.mixer.weight.detach()[:, :, 0, 0]
    bias[members] = mixing.mixer.bias.detach()
    x = torch.randn(2, 9, 3, 4, dtype=torch.float64)
    expected = torch.einsum("oi,bihw->bohw", matrix, x) + bias[:, None, None]
    torch.testing.assert_close(mixing(x), expected)


@pytest.mark.parametrize("dim, ratio", [(9, "5/9"), (14, "4/7"), (15, "3/5"), (13, "7/13")])
def test_five_blocks_are_enough_for_every_direction(dim, ratio):
    model = create_model(NAME, dim=dim, depth=5, ratio=ratio)
    assert reach(dim, mixing_steps(model)).all()
    assert measured_directions(model) == dim**2


def test_mixerlib_finds_it_without_an_import():
    code = "import mixerlib; print(mixerlib.create_model('splitmixer_carousel', dim=9).strategy)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "carousel", done.stderr
