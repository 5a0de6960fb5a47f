"""Names beside points: none covers a point or another name, as long as there is room."""

import pytest

from mixerlib.pages.naming import FAR, NEAR, _box, name_points


@pytest.fixture
def canvas():
    from mixerlib.pages import plots

    figure, axes = plots.canvas(height=4)
    axes[0, 0].set(xlim=(0, 1), ylim=(0, 1))
    return figure, axes[0, 0]


def boxes(figure, axes, points):
    """What each name covers, in points of the figure."""
    found = {}
    for text in axes.texts:
        name = text.get_text()
        where = axes.transData.transform(points[name][:2]) * 72 / figure.dpi
        found[name] = _box(name, where, text.xyann)
    return found


def test_names_of_a_crowd_stand_apart(canvas):
    figure, axes = canvas
    points = {f"name {i}": (0.5 + 0.01 * (i % 3), 0.5 + 0.005 * i, "black") for i in range(9)}
    name_points(axes, points)
    covered = [*boxes(figure, axes, points).values()]
    assert len(covered) == 9
    for i, (left, bottom, right, top) in enumerate(covered):
        for l2, b2, r2, t2 in covered[:i]:
            assert left >= r2 or l2 >= right or bottom >= t2 or b2 >= top


def test_a_name_alone_stands_to_the_right_and_at_the_edge_to_the_left(canvas):
    _, axes = canvas
    name_points(axes, {"middle": (0.5, 0.2, "black"), "at the edge": (0.99, 0.8, "black")})
    offsets = {text.get_text(): text.xyann for text in axes.texts}
    assert offsets == {"middle": NEAR[0], "at the edge": NEAR[1]}


def test_a_name_further_away_has_a_line_to_its_point(canvas):
    _, axes = canvas
    points = {f"a long name {i}": (0.5, 0.5, "black") for i in range(9)}
    name_points(axes, points)
    lines = [text.arrow_patch is not None for text in axes.texts]
    assert lines == [text.xyann in FAR for text in axes.texts] and any(lines)
