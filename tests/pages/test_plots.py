"""The figures of the book: drawn in the page's ink, described in words, safe beside each other."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers import ROOT, Later

plots = Later("mixerlib.pages.plots")


def described(figure):
    return Later("mixerlib.pages.figure_style").described(figure)


colors = Later("matplotlib.colors")


def drawn(caption: str = "A line that rises.", alt: str | None = None) -> str:
    figure, axes = plots.canvas(1, 1, height=1.5)
    axes[0, 0].plot([0, 1], [0, 1], label="rising")
    axes[0, 0].grid(True)
    axes[0, 0].legend()
    return plots.show(figure, caption, alt)._repr_mimebundle_()["text/html"]


def test_a_figure_is_well_formed_and_says_its_caption_once():
    root = ElementTree.fromstring(drawn("It rises by <em>a half</em> &amp; more."))
    assert root.tag == "figure"
    picture = root.find("{http://www.w3.org/2000/svg}svg")
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == "Drawing of one panel. showing rising from 0 to 1"
    assert "".join(root.find("figcaption").itertext()) == "It rises by a half & more."


def test_a_drawing_is_described_by_its_titles_and_its_labels():
    figure, axes = plots.canvas(1, 2)
    axes[0, 0].set(xlabel="epoch", ylabel="loss", title="digits, $h = 64$")
    axes[0, 1].set(xlabel="epoch")
    assert described(figure) == "Drawing of 2 panels. digits, h = 64: loss over epoch; epoch"
    axes[0, 1].plot([1, 2])
    assert described(figure).startswith("Drawing of 2 panels")


def test_a_drawing_is_described_by_its_bars_and_its_words():
    figure, axes = plots.canvas(1, 3)
    axes[0, 0].bar(["one", "two"], [0.25, 3])
    axes[0, 1].barh([0, 1], [1, -2])
    axes[0, 1].set_yticks([0, 1], ["left", "right"])
    plots.bare(axes[0, 2]).text(0.5, 0.5, "folded")
    told = "bars one 0.25, two 3; bars left 1, right -2; the words folded"
    assert described(figure) == f"Drawing of 3 panels. {told}"


def test_a_line_is_described_by_its_first_and_last_number_and_may_go_over_names():
    figure, axes = plots.canvas(1, 2)
    axes[0, 0].plot([0, 1, 2], [np.nan, 1, 2], label="late")
    axes[0, 1].plot([1, 2], ["one", "two"], label="words")
    for place in axes.flat:
        place.legend()
    told = "showing late from 1 to 2; showing words from 0 to 1"
    assert described(figure) == f"Drawing of 2 panels. {told}"


def test_what_a_drawing_has_many_of_is_counted():
    figure, axes = plots.canvas(1, 1)
    axes[0, 0].bar(list("abcdefghijklmnopqrst"), range(20))
    assert described(figure).endswith(" and 12 more")


def test_bars_without_a_name_or_a_foot_at_zero_and_an_empty_panel_are_passed_over():
    figure, axes = plots.canvas(1, 2)
    axes[0, 0].bar(["one", "two"], [1, 2], bottom=[1, 1])
    plots.bare(axes[0, 1])
    assert described(figure) == "Drawing of one panel"
    axes[0, 1].bar([0.5, 1.5], [1, 2])
    assert described(figure) == "Drawing of 2 panels"


def test_rows_of_accuracies_are_described_by_their_means():
    figure, axes = plots.canvas(1, 1)
    values = {"convmixer": np.array([50.0, 52.0]), "splitmixer_i": np.array([49.0])}
    Later("mixerlib.pages.panels").accuracy_rows(axes[0, 0], values, lambda n: 1.0)
    assert described(figure) == (
        "Drawing of one panel. test accuracy, per cent: ConvMixer 51.0, I 49.0"
    )


def test_alt_text_replaces_that_for_screen_readers_and_is_escaped():
    assert 'aria-label="one &lt; &quot;two&quot;"' in drawn(alt='one < "two"')


def test_lines_and_letters_take_the_colour_and_the_font_of_the_page():
    text = drawn()
    assert "currentColor" in text
    for color in (plots.INK, plots.FAINT, "#000000"):
        assert color not in text
    assert "DejaVu" not in text
    assert "rising" in text  # letters stay letters


def test_two_drawings_on_a_page_share_no_id():
    ids = [set(re.findall(r'id="([^"]+)"', drawn())) for _ in range(2)]
    assert ids[0] and ids[0].isdisjoint(ids[1])
    text = drawn()
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert used <= set(re.findall(r'id="([^"]+)"', text))


def test_a_figure_without_a_caption_is_refused():
    figure, _ = plots.canvas()
    with pytest.raises(ValueError, match="caption"):
        plots.show(figure, " ")


def test_a_terminal_shows_the_caption_without_its_markup():
    figure, _ = plots.canvas()
    bundle = plots.show(figure, "The field is <em>five</em> wide.")._repr_mimebundle_()
    assert bundle["text/plain"] == "[Figure: The field is five wide.]"


def test_every_family_has_one_colour_of_its_own():
    assert len(set(plots.COLORS.values())) == len(plots.COLORS)
    assert all(re.fullmatch(r"#[0-9A-Fa-f]{6}", color) for color in plots.COLORS.values())


def lab(color: str) -> np.ndarray:
    """A colour's place in CIELAB (white D65), where distances are about those that the eye sees."""
    channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    shares = to_xyz @ linear / to_xyz.sum(axis=1)
    x, y, z = np.where(shares > (6 / 29) ** 3, np.cbrt(shares), shares * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_colours_lie_where_cielab_has_them():
    assert lab("#FFFFFF") == pytest.approx([100, 0, 0], abs=0.1)
    assert lab("#FF0000") == pytest.approx([53.2, 80.1, 67.2], abs=0.2)


def test_the_accents_are_no_strategys_colour_and_are_told_apart_from_all():
    accents = {"ACCENT": plots.ACCENT, "WARM": plots.WARM}
    for name, accent in accents.items():
        others = plots.COLORS | {other: c for other, c in accents.items() if other != name}
        near = {other for other, c in others.items() if np.linalg.norm(lab(accent) - lab(c)) < 25}
        assert near == set(), f"{name} looks like {near}"


def test_the_pages_own_boxes_have_no_strategys_colour():
    assets = ROOT / "book" / "assets"
    text = "".join((assets / name).read_text() for name in ("mixerbook.css", "audit_table.py"))
    assert [color for color in plots.COLORS.values() if color.upper() in text.upper()] == []


def test_pictures_fill_rows_and_leave_the_rest_empty():
    figure = plots.pictures(np.zeros((5, 4, 6)), columns=3, titles=["a", "b"])
    assert len(figure.axes) == 6
    assert [len(place.images) for place in figure.axes] == [1, 1, 1, 1, 1, 0]
    assert [place.get_title(loc="left") for place in figure.axes[:3]] == ["a", "b", ""]


def test_weights_have_zero_in_the_middle_of_the_scale():
    _, axes = plots.canvas()
    image = plots.weights(axes[0, 0], np.array([[-1.0, 0.5]])).images[0]
    assert image.get_clim() == (-1.0, 1.0)
    shared = plots.weights(axes[0, 0], np.array([[-1.0, 0.5]]), limit=2.5).images[-1]
    assert shared.get_clim() == (-2.5, 2.5)


def widths(text: str) -> dict[str, float]:
    """The three widths of a drawing: in % of the page, and in pixels."""
    return {name: float(value) for name, value in re.findall(r"((?:\w+-)?width): ([\d.]+)", text)}


@pytest.mark.parametrize("share", [0.5, 1, 2])
@pytest.mark.parametrize("size", [6, 9.5, 14])
def test_no_letter_of_a_figure_is_smaller_than_can_be_read(share, size):
    """It takes its share of the page, and a phone scrolls it rather than shrink its letters."""
    figure, axes = plots.canvas(width=share * plots.PAGE_WIDTH)
    axes[0, 0].text(0.5, 0.5, "small", fontsize=size)
    style = widths(re.search('style="([^"]+)"', plots.svg(figure, "letters"))[1])
    smallest = min(size, 9.5)  # those of the ticks
    assert style["width"] == min(100, 100 * share)
    pixels_a_point = style["min-width"] / (72 * share * plots.PAGE_WIDTH)
    assert 9 <= smallest * pixels_a_point < 9.5
    assert style["max-width"] == max(min(760, 760 * share), style["min-width"])


def test_a_picture_without_letters_fits_a_phone():
    figure, axes = plots.canvas()
    plots.picture(axes[0, 0], np.zeros((4, 4)))
    assert widths(re.search('style="([^"]+)"', plots.svg(figure, "no words"))[1])["min-width"] == 0


def test_confusion_prints_every_count_and_shades_mistakes_only():
    _, axes = plots.canvas()
    counts = np.array([[5, 1], [0, 7]])
    place = plots.confusion(axes[0, 0], counts, ["cat", "dog"])
    assert sorted(text.get_text() for text in place.texts) == ["1", "5", "7"]
    shades = [patch.get_alpha() for patch in place.patches]
    assert [shade > 0 for shade in shades] == [False, True, False, False]


def test_channel_blocks_fill_mixed_segments_and_outline_all_channels():
    _, axes = plots.canvas()
    blocks = [[[(0, 4, 1.0)]], [[(2, 4, 1.0)], [(0, 2, 0.5)]]]
    place = plots.channel_blocks(axes[0, 0], 6, blocks, "#E69F00")
    filled = [patch for patch in place.patches if patch.get_fill()]
    outlined = [patch for patch in place.patches if not patch.get_fill()]
    assert [(p.get_x(), p.get_width(), p.get_alpha()) for p in filled] == [
        (0, 4, 1.0),
        (2, 4, 1.0),
        (0, 2, 0.5),
    ]
    assert [p.get_width() for p in outlined] == [6, 6, 6]


def test_family_blocks_are_a_models_segments_in_the_familys_colour():
    _, axes = plots.canvas()
    mixed = [[(0, 4)], [(2, 4)], [(0, 4)]]
    place = plots.family_blocks(axes[0, 0], "splitmixer_i", 6, mixed, "a title", numbered=True)
    filled = [patch for patch in place.patches if patch.get_fill()]
    assert [(patch.get_x(), patch.get_width()) for patch in filled] == [(0, 4), (2, 4), (0, 4)]
    assert {colors.to_hex(patch.get_facecolor()).upper() for patch in filled} == {"#E69F00"}
    assert [text.get_text() for text in place.texts] == ["block 0", "block 1", "block 2"]
    assert place.get_title(loc="left") == "a title"
    plain = plots.family_blocks(plots.canvas()[1][0, 0], "splitmixer_i", 6, mixed)
    assert not plain.texts and not plain.get_title(loc="left")


def test_weights_of_their_own_alternate_and_what_comes_after_lies_below():
    pair, several = [(0, 4), (2, 4)], [(0, 2), (2, 2), (4, 2)]
    assert plots.block_strips("splitmixer_v", 6, [pair]) == [[[(0, 4, 1.0)], [(2, 4, 0.6)]]]
    assert plots.block_strips("splitmixer_iv", 6, [several]) == [
        [[(0, 2, 1.0), (2, 2, 0.6), (4, 2, 1.0)]]
    ]
    assert plots.block_strips("splitmixer_ii", 6, [[(2, 2)]]) == [[[(2, 2, 1.0)]]]
    strip, dealt = plots.block_strips("splitmixer_3d", 100, [[(0, 50), (50, 50)]])[0]
    assert strip == [(1.0, 48.0, 1.0), (51.0, 48.0, 1.0)]  # a gap on both sides of each
    assert len(dealt) == 12 and {opacity for _, _, opacity in dealt} == {0.45}


def test_curves_are_named_when_there_are_several():
    _, axes = plots.canvas(1, 2)
    x = np.arange(3)
    two = plots.curves(axes[0, 0], x, {"a": x, "b": 2 * x}, colors=["#010203", "#D55E00"])
    assert [line.get_color() for line in two.lines] == ["#010203", "#D55E00"]
    assert [text.get_text() for text in two.get_legend().get_texts()] == ["a", "b"]
    assert plots.curves(axes[0, 1], x, {"a": x}).get_legend() is None


def test_the_patch_grid_has_a_line_between_patches_and_none_at_the_border():
    place = plots.patch_grid(plots.canvas()[1][0, 0], height=6, width=9, patch=3)
    assert [line.get_ydata()[0] for line in place.lines[:1]] == [2.5]
    assert [line.get_xdata()[0] for line in place.lines[1:]] == [2.5, 5.5]


def test_a_bar_of_pieces_ends_where_the_last_one_does():
    _, axes = plots.canvas(1, 1)
    place = axes[0, 0]
    pieces = [(2.0, plots.INK, 1.0), (0.5, plots.WARM, 0.4), (1.0, plots.WARM, 0.2)]
    assert plots.stacked_bar(place, 3, pieces, height=0.5) == 3.5
    boxes = [patch.get_bbox().bounds for patch in place.patches]
    assert boxes == [(0, 2.75, 2, 0.5), (2, 2.75, 0.5, 0.5), (2.5, 2.75, 1, 0.5)]
    assert [patch.get_alpha() for patch in place.patches] == [1.0, 0.4, 0.2]
    assert plots.stacked_bar(place, 0, []) == 0


def test_the_key_of_a_drawing_shows_its_fills():
    _, axes = plots.canvas(1, 1)
    fills = {"BatchNorm": (plots.WARM, 1.0), "GELU": (plots.WARM, 0.5)}
    plots.key(axes[0, 0], fills, loc="upper right", title="pieces")
    legend = axes[0, 0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(fills)
    assert [square.get_alpha() for square in legend.legend_handles] == [1.0, 0.5]
    assert legend.get_title().get_text() == "pieces"


def test_logarithmic_axes_have_numbers_as_they_are_said():
    figure, axes = plots.canvas(1, 1)
    axes[0, 0].set(xscale="log", xlim=(0.05, 300), yscale="log", ylim=(1, 100))
    plots.plain_ticks(axes[0, 0].xaxis, (1,))
    plots.plain_ticks(axes[0, 0].yaxis)
    figure.canvas.draw()
    x, y = (
        [label.get_text() for label in axis.get_ticklabels()]
        for axis in (axes[0, 0].xaxis, axes[0, 0].yaxis)
    )
    assert {"0.1", "1", "10", "100"} <= set(x) and "5" not in x
    assert {"1", "2", "5", "10", "20", "50", "100"} <= set(y)
