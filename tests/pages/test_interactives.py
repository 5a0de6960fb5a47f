"""What every interactive must have, and what some of them compute, against Python."""

import itertools
import json
import re

import pytest
from in_node import needs_node, run_script, script_of

from mixerlib import costs, create_model
from mixerlib.pages import Explorer, Interactive, news_travels
from mixerlib.pages.interactives import LABELS, choice, guess

EVERY = {"explorer": Explorer(), **{f"news of {f}": news_travels(f) for f in LABELS}}
HEAVY = 20_000  # bytes, of the HTML and of the script


@pytest.mark.parametrize("name", EVERY)
def test_an_interactive_is_light_and_needs_nothing_from_elsewhere(name):
    page, code = EVERY[name]._repr_html_(), script_of(EVERY[name])
    assert len(code.encode()) < HEAVY and len(page.encode()) - len(code.encode()) < HEAVY
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|src=|@import|fetch\(", page)
    assert page.count("<script>") == 1


@pytest.mark.parametrize("name", EVERY)
def test_an_interactive_asks_first_says_its_state_and_has_a_still_figure(name):
    page = EVERY[name]._repr_html_()
    places = [page.index(part) for part in ('class="still"', 'class="guess"', 'class="said"')]
    assert places == sorted(places)
    still = page[places[0] : page.index('class="live"')]
    assert re.search(r'<svg[^>]* role="img" aria-label="[^"]{20,}"', still)
    assert page.count('aria-live="polite"') == 2 and "@media print" in page


@pytest.mark.parametrize("name", EVERY)
def test_every_control_has_a_label_and_a_name(name):
    page = EVERY[name]._repr_html_()
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


@needs_node
def test_news_travels_as_in_the_models():
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
        f"console.log(JSON.stringify({json.dumps(asked)}.map(([f, o, c, b]) => "
        "[api.news(f, o, c, b)[b - 1].heard, Number(api.hears(f, o, b).toFixed(9))])))",
    )
    assert len(asked) > 200 and answers == expected


@needs_node
def test_when_all_have_heard_is_right_also_where_it_is_never():
    asked, expected = [], []
    for case in CASES:
        model, fields = model_of(*case, depth=60)
        steps, needed = costs.mixing_steps(model), {}
        for blocks in range(1, 61):
            heard = costs.reach(24, steps[:blocks])
            for channel in (0, 11, 23):
                if heard[:, channel].all():
                    needed.setdefault(channel, blocks)
        asked += [[case[0], fields, channel] for channel in (0, 11, 23)]
        expected += [needed.get(channel) for channel in (0, 11, 23)]
    answers = run_script(
        news_travels(),
        f"console.log(JSON.stringify({json.dumps(asked)}.map(a => api.all_heard(...a))))",
    )
    assert answers == expected
    assert None in expected and 1 in expected and max(n for n in expected if n) > 4


@needs_node
def test_the_parameters_that_count_beside_the_news_are_those_of_the_mixing():
    asked, expected = [], []
    for case, depth in itertools.product(CASES, (1, 3, 8)):
        model, fields = model_of(*case, depth)
        asked.append([case[0], fields])
        expected.append(costs.measure(model, 32).params["channel mixing"])
    answers = run_script(
        news_travels(),
        f"console.log(JSON.stringify({json.dumps(asked)}"
        ".map(([f, o]) => api.formulas[f](o).params)))",
    )
    assert answers == expected
