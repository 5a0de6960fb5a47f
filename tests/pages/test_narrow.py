"""Figures with panels side by side are drawn a second time for a phone, one panel below another."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from helpers import Later

plots, stacking = Later("mixerlib.pages.plots"), Later("mixerlib.pages.narrow")


def two_panels(columns: int = 2, rows: int = 1):
    """Two curves, the label of the height at the first alone."""
    figure, axes = plots.canvas(rows, columns, height=2.8)
    for number, place in enumerate(axes.flat):
        place.plot([0, 1], [number, 2])
        place.set_title(f"panel {number}")
    axes[0, 0].set_ylabel("seconds")
    return figure, axes


def drawings(figure) -> list[ET.Element]:
    return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html_of(figure), re.S)]


def html_of(figure) -> str:
    return plots.show(figure, "What it shows.")._repr_mimebundle_()["text/html"]


def sides(drawing: ET.Element) -> tuple[float, float]:
    """Width and height of a drawing in points."""
    return tuple(map(float, drawing.get("viewBox").split()[2:]))


def test_panels_side_by_side_are_drawn_again_one_below_the_other():
    figure, _ = two_panels()
    wide, narrow = drawings(figure)
    assert wide.get("class") is None and narrow.get("class") == "narrow"
    assert sides(narrow)[0] < sides(wide)[0] and sides(narrow)[1] > 1.9 * sides(wide)[1]
    assert narrow.get("role") == "img" and narrow.get("aria-label") == wide.get("aria-label")
    assert "display: none" in narrow.get("style")  # until the page's style sheet shows it


@pytest.mark.parametrize("columns", [2, 3])
def test_the_letters_of_the_stacked_drawing_can_be_read_on_a_phone(columns):
    figure, _ = two_panels(columns)
    _, narrow = drawings(figure)
    styles = [text.get("style") for text in narrow.iter() if text.tag.endswith("text")]
    sizes = [float(re.search(r"([\d.]+)px", style)[1]) for style in styles]
    assert min(sizes) * stacking.COLUMN / sides(narrow)[0] >= 9


def test_ids_of_the_two_drawings_differ():
    figure, _ = two_panels()
    ids = re.findall(r'\bid="([^"]+)"', html_of(figure))
    assert len(set(ids)) == len(ids) > 0


def test_every_stacked_panel_says_what_its_height_means():
    figure, axes = two_panels()
    with stacking.panels_stacked(figure, 4.5):
        assert [place.get_ylabel() for place in axes.flat] == ["seconds", "seconds"]
        assert [place.get_subplotspec().rowspan.start for place in axes.flat] == [0, 1]
        assert tuple(figure.get_size_inches()) == pytest.approx((4.5, 2 * 2.8))
    assert [place.get_ylabel() for place in axes.flat] == ["seconds", ""]


def test_a_shared_axis_has_its_numbers_at_every_stacked_panel():
    figure, axes = plots.canvas(1, 2, sharey=True)
    axes[0, 0].plot([1, 2])
    figure.draw_without_rendering()
    ticks = axes[0, 1].yaxis
    assert stacking.can_be_stacked(figure) and not ticks.get_tick_params()["labelleft"]
    with stacking.panels_stacked(figure, 4.5):
        assert ticks.get_tick_params()["labelleft"]
    assert not ticks.get_tick_params()["labelleft"]


def test_the_figure_is_as_it_was_after_a_fault_too():
    figure, _ = two_panels(columns=3, rows=2)
    before = figure.get_size_inches().tolist(), [p[2:] for p in stacking.panels_of(figure)]
    with pytest.raises(KeyError), stacking.panels_stacked(figure, 4.5):
        raise KeyError
    assert (
        figure.get_size_inches().tolist(),
        [p[2:] for p in stacking.panels_of(figure)],
    ) == before


def one_panel():
    return two_panels(columns=1)[0]


def panels_below_each_other():
    return two_panels(columns=1, rows=2)[0]


def seven_panels():
    return two_panels(columns=7)[0]


def large_pictures():
    return plots.pictures(np.zeros((2, 120, 120)), columns=2)


def names_at_the_first_panel_alone():
    figure, axes = plots.canvas(1, 2)
    axes[0, 0].set_yticks([0, 1], ["ConvMixer", "SplitMixer-I"])
    axes[0, 1].set_yticks([])
    figure.draw_without_rendering()
    return figure


def a_bar_of_colours():
    figure, axes = plots.canvas(1, 2)
    figure.colorbar(axes[0, 0].imshow(np.eye(3)), ax=axes[0, 0])
    return figure


def words_across_the_panels():
    figure, _ = two_panels()
    figure.text(0.5, 0.5, "both")
    return figure


def panels_in_a_small_drawing():
    figure, _ = plots.canvas(1, 2, width=3.0)
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize(
    "make",
    [
        one_panel,
        panels_below_each_other,
        seven_panels,
        large_pictures,
        names_at_the_first_panel_alone,
        a_bar_of_colours,
        words_across_the_panels,
    ],
)
def test_what_cannot_be_stacked_is_drawn_once(make):
    figure = make()
    assert not stacking.can_be_stacked(figure)
    assert len(drawings(figure)) == 1


def test_what_fits_a_phone_is_drawn_once():
    figure = panels_in_a_small_drawing()
    assert stacking.can_be_stacked(figure)
    assert len(drawings(figure)) == 1
