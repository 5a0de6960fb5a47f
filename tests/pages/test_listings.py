"""Code in colours."""

import html
import re
from pathlib import Path

import pytest

from mixerlib.models import tweet
from mixerlib.pages import colored_code
from mixerlib.pages.colors import INK

COLORS = {"weight": "#D55E00", "rest": INK}


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def lines_of(listing: object) -> str:
    return re.search(r"<pre[^>]*>(.*)</pre>", listing._repr_html_(), re.S)[1]


def test_the_code_stays_letter_for_letter_what_it_is():
    code = Path(tweet.__file__).read_text(encoding="utf-8")
    shown = colored_code(code, [("A(3,h,p,p)", "weight"), ("A(h,h,1)", "rest")], COLORS, "A tweet.")
    assert text_of(lines_of(shown)) == code
    assert repr(shown) == code


def test_each_piece_is_marked_where_it_stands_after_the_one_before():
    marked = re.findall(
        r"<span[^>]*(#D55E00|currentColor); color[^>]*>([^<]*)<",
        lines_of(colored_code("a<b & a", [("<b", "weight"), ("a", "rest")], COLORS, "Two.")),
    )
    assert [(color, html.unescape(piece)) for color, piece in marked] == [
        ("#D55E00", "<b"),
        ("currentColor", "a"),
    ]
    first = lines_of(colored_code("a a", [("a", "weight")], COLORS, "One."))
    assert first.startswith("<span") and first.endswith("</span> a")


def test_the_key_names_every_part_and_the_caption_is_words():
    page = colored_code("x", [("x", "weight")], COLORS, "p < q")._repr_html_()
    assert text_of(page.partition("<figcaption>")[2]) == "weight · restp < q"


def test_a_piece_out_of_order_and_an_empty_caption_are_refused():
    with pytest.raises(ValueError, match="'a' must stand in the code, after the one before it"):
        colored_code("a b", [("b", "weight"), ("a", "rest")], COLORS, "None.")
    with pytest.raises(ValueError, match="'other', the part of 'a', must be in `colors`"):
        colored_code("a", [("a", "other")], COLORS, "None.")
    with pytest.raises(ValueError, match="`caption`='' must say"):
        colored_code("a", [], COLORS, "")
