"""The panels that the chapters on the strategies share."""

import numpy as np
import pytest
from helpers import Later

from mixerlib import costs, create_model
from mixerlib.pages import accuracy_rows, change_rows, reach_panel
from mixerlib.pages.colors import COLORS, GREY
from mixerlib.pages.panels import rectangles

plots = Later("mixerlib.pages.plots")


def painted(drawn: list[tuple[int, int, int, int]], side: int) -> np.ndarray:
    """How often each square is covered by rectangles (row, column, rows, columns)."""
    counts = np.zeros((side, side), dtype=int)
    for row, column, rows, columns in drawn:
        counts[row : row + rows, column : column + columns] += 1
    return counts


@pytest.mark.parametrize("seed", range(20))
def test_rectangles_cover_what_is_filled_once_and_nothing_else(seed):
    heard = np.random.default_rng(seed).random((9, 9)) < (0.1, 0.5, 0.9, 0.0, 1.0)[seed % 5]
    assert np.array_equal(painted(rectangles(heard), 9), heard.astype(int))


def test_blocks_of_equal_rows_take_one_rectangle_each():
    steps = costs.mixing_steps(create_model("splitmixer_iv", dim=12, depth=2, segments=3))
    squares = [(0, 0, 4, 4), (4, 4, 4, 4), (8, 8, 4, 4)]
    assert rectangles(costs.reach(12, steps)) == squares


def test_a_panel_has_the_colour_of_its_strategy():
    heard = np.eye(6, dtype=bool)
    for family in ("convmixer", "splitmixer_iii"):
        _, axes = plots.canvas()
        reach_panel(axes[0, 0], heard, family)
        bars = axes[0, 0].patches
        assert len(bars) == 6
        assert {plots.mpl.colors.to_hex(bar.get_facecolor()).upper() for bar in bars} == {
            COLORS[family].upper()
        }


def test_a_row_shows_every_run_its_mean_and_its_interval():
    runs = {
        "splitmixer_ii": np.array([68.0, 70.0]),
        "splitmixer_ii_shuffle": np.array([71.0]),
        "thin": np.array([60.0, 61.0, 62.0]),
    }
    _, axes = plots.canvas()
    place = accuracy_rows(axes[0, 0], runs, lambda n: 3 / n, {"splitmixer_ii": "II", "thin": "few"})
    assert [t.get_text() for t in place.get_yticklabels()] == ["II", "II, shuffled", "few"]
    assert [list(line.get_xdata()) for line in place.lines] == [list(v) for v in runs.values()]
    assert [line.get_fillstyle() for line in place.lines] == ["full", "none", "full"]
    assert [line.get_color() for line in place.lines] == [COLORS["splitmixer_ii"]] * 2 + [GREY]
    bands = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in place.patches]
    np.testing.assert_allclose(bands, [(67.5, 70.5), (68, 74), (60, 62)])


def test_changes_stand_one_below_the_other_with_their_intervals():
    _, axes = plots.canvas()
    place = change_rows(axes[0, 0], {"more": (2.0, 0.5), "less": (-1.0, None)})
    assert [label.get_text() for label in place.get_yticklabels()] == ["more", "less"]
    dots = [tuple(np.ravel(line.get_xydata())) for line in place.lines if line.get_marker() == "o"]
    assert dots == [(2.0, 0.0), (-1.0, 1.0)]
    (interval,) = [path for group in place.collections for path in group.get_paths()]
    assert sorted(interval.vertices[:, 0]) == [1.5, 2.5]
    assert place.get_ylim()[0] > place.get_ylim()[1]  # the first is above
