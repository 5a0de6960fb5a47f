"""In how many directions mixings move their product: the law of chapter 21 against Jacobians."""

import itertools

import pytest
import torch

from mixerlib import create_model
from mixerlib.costs import blocks_to_span, directions, measured_directions

WIDTHS = [(h, m) for h in range(3, 15) for m in range(h // 2 + 1, h)]  # overlaps of 1 to 12


@pytest.mark.parametrize(("dim", "width"), WIDTHS)
def test_the_law_is_the_rank_of_the_jacobian(dim, width):
    """Up to the first depth at which nothing is missing, and one beyond."""
    enough = blocks_to_span(dim, width)
    for depth in range(1, min(enough + 1, 9) + 1):
        model = create_model("splitmixer_i", dim=dim, depth=depth, ratio=f"{width}/{dim}")
        rank = measured_directions(model)
        assert rank == directions(dim, width, depth)
        assert (rank == dim**2) == (depth >= enough)


@pytest.mark.parametrize("parts", range(2, 9))
def test_the_ratios_of_the_paper_need_as_many_blocks_as_they_have_parts(parts):
    whole = 2 * parts - 1
    for times in (1, 2, 5):
        assert blocks_to_span(whole * times, parts * times) == whole


def test_no_overlap_is_never_enough_and_all_is_at_once():
    assert blocks_to_span(8, 4) is None and directions(8, 4, 100) == 8 * 8 - 2 * 4 * 4
    assert blocks_to_span(8, 8) == 1 and directions(8, 8, 1) == directions(8, 8, 5) == 64
    model = create_model("splitmixer_ii", dim=8, depth=4, segments=2)  # the same as no overlap
    assert measured_directions(model) == directions(8, 4, 4)


def test_another_way_to_the_rank():
    """Of the matrices that move one block's weight by one entry, stacked."""
    torch.manual_seed(3)
    h, m, d = 9, 5, 4
    blocks, rows = [], []
    for i in range(d):
        block = torch.eye(h, dtype=torch.float64)
        segment = slice(0, m) if i % 2 == 0 else slice(h - m, h)
        block[segment, segment] = torch.randn(m, m, dtype=torch.float64)
        blocks.append((block, segment.start))
    for i, (_, start) in enumerate(blocks):
        for a, b in itertools.product(range(start, start + m), repeat=2):
            moved = torch.zeros(h, h, dtype=torch.float64)
            moved[a, b] = 1
            product = torch.eye(h, dtype=torch.float64)
            for j, (block, _) in enumerate(blocks):
                product = (moved if i == j else block) @ product
            rows.append(product.flatten())
    assert torch.linalg.matrix_rank(torch.stack(rows), rtol=1e-11) == directions(h, m, d)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("convmixer", {}, [144, 144, 144]),
        ("splitmixer_iii", {"segments": 2}, [36, 36, 36]),  # one matrix, to a power
        ("splitmixer_iv", {"segments": 3}, [48, 48, 48]),  # its segments never meet
        ("splitmixer_iv", {"segments": 2, "shuffle": True}, [72, 108, 144]),
    ],
)
def test_other_strategies(name, options, expected):
    models = [create_model(name, dim=12, depth=depth, **options) for depth in (1, 2, 3)]
    assert [measured_directions(model) for model in models] == expected


def test_strategy_v_is_strategy_i_in_half_as_many_blocks():
    for depth in (1, 2, 3):
        model = create_model("splitmixer_v", dim=12, depth=depth, ratio="7/12")
        assert measured_directions(model) == directions(12, 7, 2 * depth)


def test_shared_matrices_of_as_many_segments_as_channels_stay_a_kronecker_product():
    """Strategy III dealt out, and the 3-D form, with s² channels: (A ⊗ B), whatever the depth."""
    for name, options in (("splitmixer_iii", {"shuffle": True}), ("splitmixer_3d", {})):
        for depth in (2, 3, 6):
            model = create_model(name, dim=9, depth=depth, segments=3, **options)
            assert measured_directions(model) == 2 * 9 - 1


def test_the_model_stays_as_it_is():
    model = create_model("splitmixer_iv", dim=6, depth=2, segments=2, shuffle=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert measured_directions(model, seed=1) == measured_directions(model, seed=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((9, 4, 2), "`width`=4 must lie between half of `dim`=9 and all of it"),
        ((9, 10, 2), "`width`=10 must lie between half"),
        ((0, 1, 2), "`dim`=0"),
        ((9, 5, 0), "`depth`=0"),
    ],
)
def test_refusals(values, words):
    with pytest.raises(ValueError, match=words):
        directions(*values)
