"""Every interactive in a Chromium, from a file: by keyboard, without motion, without a script, on
paper, in light and dark, on a phone."""

import json
import re

import pytest

from mixerlib.pages import Explorer, news_travels, tweet_under_glass

EVERY = {"explorer": Explorer, "news": news_travels, "tweet": tweet_under_glass}
PAGE = """<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8">
<title>A page</title><meta name="viewport" content="width=device-width">
<style>body { background: #fff; color: #222 }
[data-theme=dark] body { background: #121212; color: #ddd }</style><main><h1>A page</h1>%s</main>"""


@pytest.fixture
def opened(tab, tmp_path, request):
    """A page with one interactive, opened from a file."""
    page = tmp_path / "page.html"
    page.write_text(PAGE % EVERY[request.param]()._repr_html_(), encoding="utf-8")
    tab.goto(page.as_uri())
    yield tab
    assert tab.failed == [] and tab.left == [] and tab.said == []


every = pytest.mark.parametrize("opened", EVERY, indirect=True)


@every
def test_a_guess_is_answered_and_every_control_is_used_by_keyboard(opened):
    said, verdict = opened.locator(".said"), opened.locator(".verdict")
    assert verdict.inner_text() == "" and said.inner_text() != ""
    answers = opened.locator(".guess button")
    for place in range(answers.count()):
        answers.nth(place).focus()
        opened.keyboard.press("Enter")
        assert re.match(r"✓ Right\. |✗ Not so\. ", verdict.inner_text())
        assert answers.nth(place).get_attribute("aria-pressed") == "true"

    def told():
        return said.inner_text(), opened.locator("tbody").all_inner_texts()

    controls = opened.locator("input:enabled, select:enabled").element_handles()
    for control in reversed(controls):  # the first, a strategy, switches others off
        before, states = told(), []
        control.focus()
        for key in ("ArrowRight", "ArrowLeft", "ArrowLeft"):
            opened.keyboard.press(key)
            states.append(told())
        assert set(map(str, states)) != {str(before)}, control.get_attribute("data-name")
    drawing = opened.locator(".drawing")
    assert drawing.get_attribute("aria-label") == said.text_content()


@every
def test_right_and_wrong_guesses_are_told_apart(opened):
    rights = []
    for button in opened.locator(".guess button").all():
        button.click()
        rights.append(opened.locator(".guess").get_attribute("data-right"))
    assert {"true", "false"} == set(rights) and rights.count("true") <= 2


@every
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_keeps_anyone_out_or_is_wider_than_a_phone(opened, theme):
    from axe_playwright_python.sync_playwright import Axe

    opened.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    opened.set_viewport_size({"width": 390, "height": 844})
    opened.locator(".guess button").first.click()
    assert opened.evaluate("() => document.documentElement.scrollWidth") == 390
    assert [fault["id"] for fault in Axe().run(opened).response["violations"]] == []
    small = """() => [...document.querySelectorAll("svg.drawing text")].filter(text =>
        parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a < 9).length"""
    assert opened.evaluate(small) == 0


@every
def test_on_paper_stands_the_figure(opened):
    still, live = opened.locator(".still"), opened.locator(".live")
    assert live.is_visible() and not still.is_visible()
    opened.emulate_media(media="print")
    assert still.is_visible() and not live.is_visible()


@pytest.mark.parametrize("name", EVERY)
def test_without_a_script_stands_the_figure(browser, tmp_path, name):
    page = tmp_path / "page.html"
    page.write_text(PAGE % EVERY[name]()._repr_html_(), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert tab.locator(".still svg").is_visible() and not tab.locator(".live").is_visible()
    context.close()


@pytest.mark.parametrize("opened", ["news"], indirect=True)
def test_who_wants_no_motion_sees_the_end_at_once(opened):
    opened.emulate_media(reduced_motion="reduce")
    opened.locator("[data-name=play]").click()
    assert "after 3 of 8 blocks: 24 of 24" in opened.locator(".said").inner_text()
    opened.locator("[data-name=again]").click()
    assert "after 0 of 8 blocks: 1 of 24" in opened.locator(".said").inner_text()


@pytest.mark.parametrize("opened", ["news"], indirect=True)
def test_the_news_is_played_in_steps_and_a_channel_is_touched(opened):
    box = opened.locator(".drawing").bounding_box()
    opened.mouse.click(box["x"] + box["width"] / 2, box["y"] + 8)
    channel = int(opened.locator("[data-name=channel]").input_value())
    assert channel in (12, 13)
    opened.locator("[data-name=play]").click()
    opened.wait_for_function("() => document.querySelector('[data-name=blocks]').value === '2'")
    assert (
        f"24 of 24 channels have heard of channel {channel}."
        in opened.locator(".said").inner_text()
    )


@pytest.mark.parametrize("opened", ["news"], indirect=True)
def test_the_browser_computes_what_node_does(opened):
    from in_node import NODE, run_script

    if NODE is None:
        pytest.skip("Node.js is not here")
    fields = {"h": 24, "d": 8, "s": 3, "shuffle": 1, "alpha_num": 2, "alpha_den": 3}
    asked = f'["splitmixer_ii", {json.dumps(fields)}, 23, 8]'
    there = run_script(news_travels(), f"console.log(JSON.stringify(api.news(...{asked})))")
    assert opened.evaluate(f"() => mixerKit.api.news.news(...{asked})") == there
