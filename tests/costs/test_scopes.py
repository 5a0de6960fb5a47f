"""What a split saves in the part, in a block and in the model, against counts written anew."""

import pytest

from mixerlib import costs, create_model

DIM, DEPTH, PLACES, KERNEL, CLASSES = 12, 3, 64, 3, 10
SIZES = {"dim": DIM, "depth": DEPTH, "kernel_size": KERNEL, "patch_size": 1, "num_classes": CLASSES}


def test_scopes_of_a_convmixer():
    scopes = costs.by_scope(create_model("convmixer", **SIZES), image_size=8)
    mixing = (DIM**2 + DIM, DIM**2 * PLACES)  # parameters and MACs of one block's
    spatial = (DIM * (KERNEL**2 + 1), DIM * KERNEL**2 * PLACES)
    block = (
        mixing[0] + spatial[0] + 2 * 2 * DIM,
        mixing[1] + spatial[1],
    )  # and two norms
    stem = (DIM * (3 + 1) + 2 * DIM, DIM * 3 * PLACES)
    head = (DIM * CLASSES + CLASSES, DIM * CLASSES)
    assert list(scopes) == ["channel mixing", "a block", "the model"]
    assert scopes["channel mixing"] == (DEPTH * mixing[0], DEPTH * mixing[1])
    assert scopes["a block"] == block
    assert scopes["the model"] == tuple(DEPTH * block[i] + stem[i] + head[i] for i in range(2))


def test_what_is_saved_in_every_scope():
    whole = create_model("convmixer", **SIZES)
    split = create_model("splitmixer_iii", **SIZES, segments=3)
    saved = costs.saved_by_scope(whole, split, image_size=8)
    assert saved["channel mixing"] == pytest.approx((1 - (4**2 + 4) / (12**2 + 12), 1 - 1 / 3))
    one_block = (
        1 - (4**2 + 4 + 2 * DIM * (KERNEL + 1) + 3 * 2 * DIM) / (DIM**2 + DIM + 10 * DIM + 4 * DIM),
        1 - (3 * 4**2 + 2 * DIM * KERNEL) / (DIM**2 + DIM * KERNEL**2),
    )
    assert saved["a block"] == pytest.approx(one_block)
    assert set(costs.saved_by_scope(whole, whole, image_size=8).values()) == {(0.0, 0.0)}


@pytest.mark.parametrize("in_channels", [1, 4])
def test_a_model_is_given_images_of_its_own_channels(in_channels: int):
    scopes = costs.by_scope(create_model("convmixer", **SIZES, in_channels=in_channels), 8)
    coloured = costs.by_scope(create_model("convmixer", **SIZES), 8)
    assert scopes["the model"][0] - coloured["the model"][0] == DIM * (in_channels - 3)
    assert scopes["a block"] == coloured["a block"]
