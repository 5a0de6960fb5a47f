"""Who talks to whom, against the zeros of the model's own Jacobian."""

import numpy as np
import pytest
import torch

from mixerlib import create_model
from mixerlib.costs.channel_reach import mixing_steps, reach

CASES = [
    ("convmixer", {}),
    ("splitmixer_i", {"ratio": "2/3"}),
    ("splitmixer_i", {"ratio": "4/7"}),
    ("splitmixer_ii", {"segments": 3}),
    ("splitmixer_ii", {"segments": 5}),  # ragged
    ("splitmixer_ii", {"segments": 2, "shuffle": True}),
    ("splitmixer_ii", {"segments": 3, "shuffle": True}),
    ("splitmixer_iii", {"segments": 2}),
    ("splitmixer_iii", {"segments": 3, "shuffle": True}),
    ("splitmixer_iv", {"segments": 5}),
    ("splitmixer_iv", {"segments": 4, "shuffle": True}),
    ("splitmixer_v", {"ratio": "3/5"}),
    ("splitmixer_3d", {"segments": 2}),
    ("splitmixer_3d", {"segments": 3}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_reach_is_the_zero_pattern_of_the_jacobian(name, options, depth):
    torch.manual_seed(0)
    model = create_model(name, dim=12, depth=depth, kernel_size=1, patch_size=1, **options)
    model = model.double().eval()
    z = torch.randn(1, 12, 1, 1, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: model.blocks(x).flatten(), z)
    measured = jacobian.reshape(12, 12).numpy() != 0
    assert np.array_equal(reach(12, mixing_steps(model)), measured)


def test_nothing_is_heard_but_oneself_before_the_first_block():
    assert np.array_equal(reach(5, []), np.eye(5, dtype=bool))


@pytest.mark.parametrize("parts", [2, 3, 4, 5, 6])
def test_two_blocks_of_strategy_i_leave_the_square_of_one_minus_alpha_unheard(parts):
    """With α = i/(2i−1) and h a multiple of 2i−1, the share (1−α)² is exact."""
    whole = 2 * parts - 1
    model = create_model("splitmixer_i", dim=4 * whole, depth=2, ratio=f"{parts}/{whole}")
    unheard = 1 - reach(4 * whole, mixing_steps(model)).mean()
    assert unheard == pytest.approx((1 - parts / whole) ** 2, abs=1e-12)


def test_disjoint_segments_never_meet_and_a_shuffle_makes_them():
    for name in ("splitmixer_ii", "splitmixer_iii", "splitmixer_iv"):
        unshuffled = reach(12, mixing_steps(create_model(name, dim=12, depth=12, segments=3)))
        assert not unshuffled[:4, 4:].any() and not unshuffled[4:, :4].any()
        model = create_model(name, dim=12, depth=12, segments=3, shuffle=True)
        assert reach(12, mixing_steps(model)).all()
