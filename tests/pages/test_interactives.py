"""What every interactive must have, and what some of them compute, against Python."""

import functools
import itertools
import json
import re

import every_interactive
import numpy as np
import pytest
import torch
from interactive_numbers import sizes
from run_scripts import script_of

from mixerlib import costs, create_model
from mixerlib.models import model_entry, tweet
from mixerlib.pages import (
    Guess,
    Interactive,
    news_travels,
    tweet_under_glass,
    where_a_pixel_goes,
)
from mixerlib.pages.interactives import LABELS, choice, glass, guess, pixel
from mixerlib.pages.interactives.frames import Turn, frames
from mixerlib.pages.interactives.replay import replay

NEWS = {f"news of {family}": functools.partial(news_travels, family) for family in LABELS}
EVERY = {**every_interactive.EVERY, **NEWS}
HEAVY = 20_000  # bytes, of the HTML and of the script


def made(name: str) -> Interactive:
    return NEWS[name]() if name in NEWS else every_interactive.made(name)


@pytest.mark.parametrize("name", EVERY)
def test_an_interactive_is_light_and_needs_nothing_from_elsewhere(name):
    page = made(name)._repr_html_()
    assert max(sizes(made(name))) < HEAVY
    page = re.sub(r'src="data:image/png;base64,[^"]*"', "", page)  # a picture is not fetched
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|src=|@import|fetch\(", page)
    assert page.count("<script>") == 1


@pytest.mark.parametrize("name", EVERY)
def test_an_interactive_asks_first_says_its_state_and_has_a_still_figure(name):
    page = made(name)._repr_html_()
    places = [page.index(part) for part in ('class="still"', 'class="guess"', 'class="said"')]
    assert places == sorted(places)
    still = page[places[0] : page.index('class="live"')]
    assert re.search(r'<svg[^>]* role="img" aria-label="[^"]{20,}"|<img [^>]*alt="[^"]{20,}', still)
    assert page.count('aria-live="polite"') == 2 and "@media print" in page


@pytest.mark.parametrize("name", EVERY)
def test_every_control_has_a_label_and_a_name(name):
    page = made(name)._repr_html_()
    for control in re.findall(r"<(?:input|select)[^>]*>", page):
        before = page[: page.index(control)]
        assert before.rindex("<label>") > before.rfind("</label>"), control
        assert "data-name=" in control
    for button in re.findall(r"<button[^>]*>([^<]*)</button>", page):
        assert button.strip()


def test_what_cannot_be_an_interactive_is_refused():
    with pytest.raises(ValueError, match="`name`='Two words'"):
        Interactive("Two words", "", "", "", still="<svg></svg>")
    with pytest.raises(ValueError, match="`still`=' '"):
        Interactive("thing", "", "", "", still=" ")
    with pytest.raises(ValueError, match="`chosen`='3'"):
        choice("s", "Segments", {"1": "1"}, "3")
    with pytest.raises(ValueError, match="`family`='mlp_mixer'"):
        news_travels("mlp_mixer")
    asked, turns = Guess("?", ("1", "2"), "1", "."), [Turn("n", "N", {"1": "1", "2": "2"}, "1")]
    for made in ({("1",): ("", "")}, {("1",): ("", ""), ("*",): ("", "")}):
        with pytest.raises(ValueError, match=r"`made` must have one frame for \('[12]',\)"):
            frames("It", asked, turns, made, still="<svg></svg>")
    with pytest.raises(ValueError, match=r"`records`=\[\] must hold a run"):
        replay([], ["", ""], (0, 1, 1), "", still="<svg></svg>")
    assert guess("a < b", {"<": "less"}).count("&lt;") == 1  # answers are words, questions HTML


# --- news travels ---------------------------------------------------------------------------------

CASES = [
    (family, int(s), shuffle)
    for family, s, shuffle in itertools.product(LABELS, "234", (0, 1))
    if (s == "2" or "segments" in costs.OPTIONS[family])
    and (not shuffle or "shuffle" in costs.OPTIONS[family])
]


def model_of(family, s, shuffle, depth):
    """The model that the controls mean, and the fields of the script."""
    options = {"dim": 24, "depth": depth}
    if "segments" in costs.OPTIONS[family]:
        options["segments"] = s
    elif family != "convmixer":
        options["ratio"] = "2/3"
    if shuffle:
        options["shuffle"] = True
    fields = {"h": 24, "d": depth, "s": options.get("segments", 1), "shuffle": shuffle}
    return create_model(family, **options), fields | {"alpha_num": 2, "alpha_den": 3}


def test_news_travels_as_in_the_models(run_script):
    asked, expected = [], []
    for case in CASES:
        model, fields = model_of(*case, depth=8)
        steps = costs.mixing_steps(model)
        for blocks in (1, 2, 3, 8):
            heard = costs.reach(24, steps[:blocks])
            for channel in (0, 11, 23):
                asked.append([case[0], fields, channel, blocks])
                expected.append([heard[:, channel].tolist(), round(float(heard.mean()), 9)])
    answers = run_script(
        news_travels(),
        f"return {json.dumps(asked)}.map(([f, o, c, b]) => "
        "[api.news(f, o, c, b)[b - 1].heard, Number(api.hears(f, o, b).toFixed(9))])",
    )
    assert len(asked) > 200 and answers == expected


def test_when_all_have_heard_is_right_also_where_it_is_never(run_script):
    asked, expected = [], []
    for case in CASES:
        model, fields = model_of(*case, depth=30)
        needed, heard = {}, np.eye(24, dtype=bool)
        for blocks, step in enumerate(costs.mixing_steps(model), start=1):
            heard = costs.reach(24, [step]) @ heard
            for channel in (0, 11, 23):
                if heard[:, channel].all():
                    needed.setdefault(channel, blocks)
        asked += [[case[0], fields, channel] for channel in (0, 11, 23)]
        expected += [needed.get(channel) for channel in (0, 11, 23)]
    answers = run_script(
        news_travels(),
        f"return {json.dumps(asked)}.map(a => api.all_heard(...a))",
    )
    assert answers == expected
    assert None in expected and 1 in expected and max(n for n in expected if n) > 4


def test_the_parameters_that_count_beside_the_news_are_those_of_the_mixing(run_script):
    asked, expected = [], []
    for case, depth in itertools.product(CASES, (1, 3, 8)):
        model, fields = model_of(*case, depth)
        asked.append([case[0], fields])
        mixings = [getattr(block, "mixing", None) or block[1] for block in model.blocks]
        expected.append(sum(weight.numel() for m in mixings for weight in m.parameters()))
    answers = run_script(
        news_travels(),
        f"return {json.dumps(asked)}.map(([f, o]) => api.formulas[f](o).params)",
    )
    assert answers == expected


# --- the tweet under glass ------------------------------------------------------------------------


def test_the_pieces_are_the_tweet():
    assert "".join(text for text, *_ in glass.PIECES) == glass.tweet_text()
    assert len(glass.tweet_text()) <= 280
    drawn = re.findall(r"\[\"([a-z]+)\", \d", code := script_of(made("tweet_under_glass")))
    drawn += [f"{a} {b}" for a in ("stem", "spatial", "channel") for b in ("conv", "gelu", "norm")]
    assert {box for _, boxes, *_ in glass.PIECES for box in boxes} == {*drawn, "block"}
    assert all(f'layers("{a}"' in code for a in ("stem", "spatial", "channel"))


def test_the_letters_count_as_in_the_tweet_itself(run_script):
    sizes = [
        {"h": 256, "d": 8, "k": 5, "p": 2, "n": 10},
        {"h": 33, "d": 2, "k": 4, "p": 8, "n": 7},
        {"h": 8, "d": 1, "k": 1, "p": 1, "n": 100},
    ]

    def count(size):
        return sum(weight.numel() for weight in tweet.ConvMixer(*size.values()).parameters())

    answers = run_script(
        tweet_under_glass(),
        f"return {json.dumps(sizes)}.map(v => "
        "[Object.values(api.params(v)).reduce((a, b) => a + b), api.doubled(v)])",
    )
    for size, (total, doubled) in zip(sizes, answers, strict=True):
        assert total == count(size)
        for letter, factor in doubled.items():
            twice = size | {letter: 2 * size[letter]}
            assert factor == pytest.approx(count(twice) / count(size), rel=1e-12)


def test_no_number_is_missing_from_what_a_piece_says(run_script):
    told = run_script(
        tweet_under_glass(),
        "const v = {h: 256, d: 8, k: 5, p: 2, n: 10};"
        "return api.pieces.map(piece => api.told(piece, v))",
    )
    assert len(told) == len(glass.PIECES)
    assert not [words for words in told if re.search(r"[{}]|undefined|NaN", words)]
    (same,) = [words for words in told if "padding" in words]
    model = tweet.ConvMixer(16, 1, 5, 2, 10)
    side = model[0](torch.zeros(1, 3, 32, 32)).shape[-1]
    assert f"{side} × {side}" in same


# --- where a pixel goes ---------------------------------------------------------------------------


@pytest.mark.parametrize("p", pixel.PATCHES)
def test_a_pixel_goes_where_unfold_puts_it(run_script, p):
    addresses = torch.arange(3.0 * 32 * 32).reshape(1, 3, 32, 32)
    table = torch.nn.functional.unfold(addresses, p, stride=p)[0].T
    every = [(q, u, v) for q in range(3) for u in range(0, 32, 5) for v in range(1, 32, 3)]
    asked = [{"q": q, "u": u, "v": v, "p": p} for q, u, v in every]
    answers = run_script(
        where_a_pixel_goes(),
        f"return [{json.dumps(asked)}.map(api.place), api.macs({p})]",
    )
    for (q, u, v), place in zip(every, answers[0], strict=True):
        assert table.shape == (place["rows"], place["columns"])
        assert table[place["t"], place["j"]] == addresses[0, q, u, v]
    settings = dict(model_entry("convmixer_256_8").defaults) | {"patch_size": p}
    macs = costs.formulas("convmixer").counts(settings, 32).macs
    blocks = macs["spatial mixing"] + macs["channel mixing"]
    assert answers[1] == {"embedding": macs["stem"], "blocks": blocks}
