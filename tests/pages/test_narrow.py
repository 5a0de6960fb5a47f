"""Figures are drawn a second time for a phone: panels one below another, small pictures smaller."""

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


def a_diagram_without_axes():
    figure, axes = plots.canvas()
    plots.bare(axes[0, 0]).text(0.5, 0.5, "a box")
    return figure


def large_pictures():
    return plots.pictures(np.zeros((2, 120, 120)), columns=2)


def names_at_the_first_panel_alone():
    figure, axes = plots.canvas(1, 2)
    for place in axes.flat:
        place.barh([0, 1], [1, 2])
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
        a_diagram_without_axes,
        large_pictures,
        a_bar_of_colours,
        words_across_the_panels,
    ],
)
def test_what_cannot_be_stacked_is_drawn_once(make):
    figure = make()
    assert not stacking.can_be_narrow(figure)
    assert len(drawings(figure)) == 1


def test_what_fits_a_phone_is_drawn_once():
    figure = panels_in_a_small_drawing()
    assert stacking.can_be_stacked(figure)
    assert len(drawings(figure)) == 1


@pytest.mark.parametrize("make", [one_panel, panels_below_each_other])
def test_panels_with_axes_are_made_narrower(make):
    figure = make()
    wide, narrow = drawings(figure)
    assert sides(narrow)[0] < 0.7 * sides(wide)[0]
    assert sides(narrow)[1] == pytest.approx(sides(wide)[1])


def small_pictures():
    figure = plots.pictures(np.zeros((14, 8, 8)), columns=7, titles=list("abcdefg"))
    figure.axes[0].set_ylabel("one row")
    return figure


@pytest.mark.parametrize("make", [names_at_the_first_panel_alone, small_pictures])
def test_small_multiples_keep_their_grid(make):
    figure = make()
    places = [axes.get_subplotspec().colspan.start for axes in figure.axes]
    wide, narrow = drawings(figure)
    assert sides(narrow)[0] < 0.75 * sides(wide)[0]
    lower = sides(narrow)[1] < 0.95 * sides(wide)[1]
    assert lower == (make is small_pictures)
    assert not stacking.can_be_stacked(figure)
    assert [axes.get_subplotspec().colspan.start for axes in figure.axes] == places


def words_that_would_clash():
    """Five names side by side on a desk."""
    figure, axes = plots.canvas()
    axes[0, 0].plot([0, 5], [0, 1])
    for x in range(6):
        axes[0, 0].text(x, 0.5, "SplitMixer-III", ha="center")
    return figure


def a_legend_over_words():
    figure, axes = plots.canvas()
    axes[0, 0].plot([0, 1], [0, 1], label="a legend in the corner")
    axes[0, 0].text(0.45, 0.95, "words", va="top")
    axes[0, 0].legend(loc="upper right")
    return figure


def names_that_leave_no_room():
    figure, axes = plots.canvas()
    axes[0, 0].barh([0], [1])
    axes[0, 0].set_yticks([0], ["a name of some fifty-five letters, and more, in one line"])
    return figure


def titles_over_small_pictures_that_would_clash():
    return plots.pictures(
        np.zeros((8, 8, 8)), columns=4, titles=["a title of 27 letters at all"] * 8
    )


@pytest.mark.parametrize(
    "make",
    [
        seven_panels,
        words_that_would_clash,
        a_legend_over_words,
        names_that_leave_no_room,
        titles_over_small_pictures_that_would_clash,
    ],
)
def test_what_could_not_be_read_is_drawn_once(make):
    figure = make()
    assert stacking.can_be_narrow(figure)
    assert len(drawings(figure)) == 1


def legend_columns(figure) -> list[int]:
    return [len(legend._legend_handle_box.get_children()) for legend in figure.legends]


def test_long_titles_break_and_wide_legends_have_fewer_columns():
    figure, axes = plots.canvas()
    title = axes[0, 0].set_title(
        "a title that is about as long as the drawing is wide, if it is on a desk", loc="left"
    )
    for number in range(7):
        axes[0, 0].plot([0, number], label=f"a strategy {number}")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4)
    with stacking.made_narrow(figure, 4.5) as readable:
        assert readable and 1 <= legend_columns(figure)[0] < 4
        (legend,) = figure.legends
        assert legend.get_window_extent().width <= figure.bbox.width
        assert [text.get_text()[-1] for text in legend.get_texts()] == [*"0123456"]
        assert "\n" in title._get_wrapped_text()
    assert legend_columns(figure) == [4] and not title.get_wrap()
    assert len(drawings(figure)) == 2
