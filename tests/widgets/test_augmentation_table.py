"""The table of augmentations: its pictures against the operations one by one."""

import re

import numpy as np
import pytest
import torch
from test_explore import drawn

from mixerlib.data import OPERATIONS, apply_operations
from mixerlib.widgets import AugmentationTable

pytest.importorskip("ipywidgets", reason="needs the extra `widgets`")


@pytest.fixture
def table():
    images = torch.randint(256, (2, 3, 12, 12), generator=torch.Generator().manual_seed(0))
    return AugmentationTable(images.byte(), ["Rotate", "Color"])


def shown(table: AugmentationTable, **values) -> str:
    for name, value in values.items():
        table.controls[name].value = value
    return table.box.children[-1].value


def test_a_row_is_the_operation_at_each_magnitude(table):
    html = shown(table, magnitudes=(0, 30), sign=-1, image=1)
    tiles = drawn(html)  # of Rotate
    for column, degrees in enumerate((0, -6, -12, -18, -24, -30)):
        after = apply_operations(
            table.images[1:],
            torch.tensor([[OPERATIONS.index("Rotate")]]),
            torch.tensor([[degrees]]),
        )
        tile = tiles[:, 14 * column : 14 * column + 12, :3]
        assert np.array_equal(tile, after[0].permute(1, 2, 0).numpy())
    assert table.arguments("Color") == pytest.approx([1 - 0.9 * m / 30 for m in range(0, 31, 6)])


def test_rows_columns_and_scale_follow_the_controls(table):
    html = shown(table, operations=("Solarize", "Equalize", "Rotate"), magnitudes=(3, 5))
    assert re.findall(r'<th scope="row">(\w+)', html) == ["Solarize", "Equalize", "Rotate"]
    assert "at magnitudes 3, 4 and 5" in html
    assert table.arguments("Rotate") == [3, 4, 5]
    shown(table, policy="trivialaugment")
    assert table.arguments("Rotate") == pytest.approx([4.5 * m for m in (3, 4, 5)])


def test_no_operation_is_said(table):
    assert "`operations`=() must name one at least" in shown(table, operations=())


def test_grey_images_and_the_photographs():
    digits = AugmentationTable(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    assert drawn(shown(digits)).shape[2] == 4
    assert AugmentationTable().images.shape == (2, 3, 64, 64)


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 8, 8, dtype=torch.uint8), [1]]
)
def test_it_refuses_other_images(images):
    with pytest.raises(ValueError, match="must be uint8"):
        AugmentationTable(images)


def test_it_refuses_an_operation_that_no_policy_has():
    with pytest.raises(ValueError, match="`operations`='Invert'"):
        AugmentationTable(operations=["Invert"])


def test_the_still_has_the_first_rows(table):
    assert re.findall(r'<th scope="row">(\w+)', table.still()) == ["Rotate", "Color"]
