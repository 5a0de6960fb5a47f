"""The worked example of "A strategy of your own": its cells run, twice, and its mixing is right."""

import re

import pytest
import sympy
import torch
from helpers import ROOT, registrations_undone, run_cells
from torch.nn import functional as F

from mixerlib import costs
from mixerlib.models import check_mixing, create_model

PAGE = ROOT / "book" / "own-strategy.md"


@pytest.fixture(scope="module")
def names():
    """What the cells of the page have defined, after two runs from top to bottom."""
    with registrations_undone():
        yield run_cells(PAGE, times=2)


@pytest.mark.parametrize("dim, segments", [(12, 2), (12, 3), (8, 1), (40, 5)])
@pytest.mark.parametrize("shifted", [False, True])
def test_bricks_are_one_matrix_of_blocks(names, dim, segments, shifted):
    bricks = names["Bricks"](dim, segments, shifted).double()
    c = dim // segments
    widths = [c // 2, *[c] * (segments - 1), c // 2] if shifted else [c] * segments
    weights = [conv.weight[:, :, 0, 0] for conv in bricks.mixer]
    assert [len(weight) for weight in weights] == widths
    dense = torch.block_diag(*weights)[:, :, None, None]
    bias = torch.cat([conv.bias for conv in bricks.mixer])
    x = torch.randn(2, dim, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(bricks(x), F.conv2d(x, dense, bias))


@pytest.mark.parametrize("dim, segments", [(10, 2), (12, 4), (6, 2)])
def test_bricks_that_cannot_be_halved_are_refused_by_name(names, dim, segments):
    if dim % (2 * segments):
        with pytest.raises(ValueError, match=f"`segments`={segments} must divide half of `dim`"):
            create_model("splitmixer_brick", dim=dim, depth=2, segments=segments)


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
@pytest.mark.parametrize("dim, segments", [(12, 3), (16, 1), (64, 4)])
def test_the_formulas_of_the_page_count_the_model(names, depth, dim, segments):
    forms = {"params": names["params"], "macs": names["macs"]}
    assert all(isinstance(form, sympy.Expr) for form in forms.values())
    check_mixing("brick", dim=dim, depth=depth, segments=segments, **forms)
    with pytest.raises(ValueError, match="`params`"):
        check_mixing("brick", dim=dim, depth=depth, params=forms["params"] + 1)


def test_every_channel_hears_all_after_as_many_blocks_as_the_page_says(names):
    def blocks_until_full(dim: int, segments: int) -> int:
        c, hears = dim // segments, torch.eye(dim)
        for block in range(100):
            halves = [c // 2, *[c] * (segments - 1), c // 2]
            widths = halves if block % 2 else [c] * segments
            hears = torch.block_diag(*(torch.ones(w, w) for w in widths)) @ hears
            if (hears > 0).all():
                return block + 1
        raise AssertionError("never")

    for segments in (1, 2, 4):
        model = create_model("splitmixer_brick", dim=64, depth=8, segments=segments)
        steps = costs.mixing_steps(model)
        full = [costs.reach(64, steps[:b]).all() for b in range(1, 9)]
        assert full.index(True) + 1 == blocks_until_full(64, segments)
    assert [row[1] for row in names["rows"]] == [1, 3, None, blocks_until_full(256, 2)]


def test_the_page_says_how_a_mixing_is_entered_in_the_book():
    text = PAGE.read_text()
    for path in re.findall(r"`((?:mixerlib|tests)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
