"""Every interactive in a Chromium, from a file: by keyboard, without motion, without a script, on
paper, in light and dark, on a phone."""

import re

import every_interactive
import pytest
import torch
from every_interactive import EVERY, PAGE, html_of
from helpers import ROOT
from PIL import Image

from mixerlib.data import load_dataset
from mixerlib.pages.interactives import in_six_bits, pictures
from mixerlib.records import read_record
from mixerlib.training import trained_model

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def opened(tab, tmp_path, request):
    """A page with one interactive, opened from a file, and unfolded."""
    page = tmp_path / "page.html"
    page.write_text(PAGE % html_of(request.param), encoding="utf-8")
    tab.goto(page.as_uri())
    for fold in tab.locator("details.fold > summary").all():
        fold.press("Enter")
    yield tab
    assert tab.failed == [] and tab.left == [] and tab.said == []


every = pytest.mark.parametrize("opened", EVERY, indirect=True)


def test_every_script_that_starts_is_driven():
    """An interactive that no list names and that needs something to be made of fails here."""
    folder = ROOT / "mixerlib" / "pages" / "interactives"
    scripts = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.js"))
    started = set(re.findall(r'^kit\.start\("(\w+)"', scripts, re.M))
    assert started == {*map(every_interactive.kind_of, EVERY)}
    assert len(started) >= 12 and "conventions" not in every_interactive.needs_nothing()


@every
def test_every_control_is_reached_and_used_by_keyboard_on_a_phone(opened):
    """And the page says so, does not grow wider, and leaves what is used where it is."""
    opened.set_viewport_size(PHONE)
    opened.emulate_media(reduced_motion="reduce")
    said, verdict = opened.locator(".said"), opened.locator(".verdict")
    assert verdict.inner_text() == "" and said.inner_text() != ""
    assert every_interactive.tabbed(opened) == every_interactive.hands(opened)
    answers = opened.locator(".guess button")
    for place in range(answers.count()):
        answers.nth(place).press("Enter")
        assert re.match(r"✓ Right\. |✗ Not so\. ", verdict.inner_text())
        assert answers.nth(place).get_attribute("aria-pressed") == "true"
    presses = [*every_interactive.by_keyboard(opened)]
    assert every_interactive.unheard(presses) == []
    assert {press.width for press in presses} == {PHONE["width"]}
    assert [press for press in presses if press.jump > 1] == []
    for drawing in opened.locator(".drawing").all():
        assert drawing.get_attribute("aria-label") == said.text_content()


@every
def test_who_wants_no_motion_gets_none(opened):
    opened.emulate_media(reduced_motion="reduce")
    moving = opened.locator("[data-name=play], [data-name=race]")
    for button in [*opened.locator(".guess button").all(), *moving.all()]:
        button.press("Enter")
        assert opened.evaluate("() => document.getAnimations().length") == 0
    if moving.count():  # what plays goes on by itself, every 700 ms at the latest
        at_once = opened.locator(".live").inner_html()
        opened.wait_for_timeout(900)
        assert opened.locator(".live").inner_html() == at_once


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
    opened.set_viewport_size(PHONE)
    opened.locator(".guess button").first.click()
    assert opened.evaluate("() => document.documentElement.scrollWidth") == PHONE["width"]
    assert [fault["id"] for fault in Axe().run(opened).response["violations"]] == []
    small = """() => [...document.querySelectorAll("svg.drawing text")].filter(text =>
        parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a < 9).length"""
    assert opened.evaluate(small) == 0


@every
def test_on_paper_stands_the_figure(opened):
    still, live = opened.locator(".still"), opened.locator(".live, .fold")
    assert live.last.is_visible() and not still.is_visible()
    opened.emulate_media(media="print")
    assert still.is_visible() and not any(part.is_visible() for part in live.all())
    assert not any(hand.is_visible() for hand in opened.locator("button, input, select").all())


@every
def test_what_is_drawn_follows_the_theme(opened):
    """A drawing takes the page's ink, and a canvas, which cannot, is drawn again."""
    looks = """() => {
        const root = document.querySelector(".mixer-interactive");
        const pixels = [...root.querySelectorAll(".blocks canvas, canvas.drawing")];
        return [getComputedStyle(root).color, pixels.map(canvas => canvas.toDataURL())];
    }"""
    if opened.locator("canvas.drawing").count():  # the explorer's: ConvMixer has the page's ink
        opened.locator("[data-name=family]").select_option("convmixer")
    light, drawn = opened.evaluate(looks)
    opened.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    opened.wait_for_timeout(100)
    dark, drawn_again = opened.evaluate(looks)
    assert light != dark and all(map(str.__ne__, drawn, drawn_again))
    ink = """() => [...document.querySelectorAll(".mixer-interactive svg.drawing text")].filter(
        text => getComputedStyle(text).fill === "rgb(0, 0, 0)").length"""
    assert opened.evaluate(ink) == 0


@pytest.mark.parametrize("name", EVERY)
def test_without_a_script_stands_the_figure(browser, tmp_path, name):
    page = tmp_path / "page.html"
    page.write_text(PAGE % html_of(name), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert tab.locator(".still").locator("svg, img").first.is_visible() and not any(
        part.is_visible() for part in tab.locator(".live, .fold").all()
    )
    context.close()


@pytest.mark.parametrize("opened", ["news_travels"], indirect=True)
def test_who_wants_no_motion_sees_the_end_at_once(opened):
    opened.emulate_media(reduced_motion="reduce")
    opened.locator("[data-name=play]").click()
    assert "after 3 of 8 blocks: 24 of 24" in opened.locator(".said").inner_text()
    opened.locator("[data-name=again]").click()
    assert "after 0 of 8 blocks: 1 of 24" in opened.locator(".said").inner_text()


@pytest.mark.parametrize("opened", ["news_travels"], indirect=True)
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


@pytest.mark.parametrize("opened", ["tweet_under_glass"], indirect=True)
def test_the_shape_that_leaves_a_box_lights_up_with_it(opened):
    lit = {
        "from torch.nn": [],
        "h,": ["image, 3 × 32 × 32", "256 × 16 × 16", "256 × 16 × 16", "256 numbers", "10 scores"],
        "A(3,h,p,p),": ["image, 3 × 32 × 32", "256 × 16 × 16"],
        "A(h,h,1))": ["256 × 16 × 16"],
        "AdaptiveAvgPool2d(1),": ["256 numbers"],
        "Linear(h,n))": ["10 scores"],
    }
    for piece, shapes in lit.items():
        opened.locator(".code span", has_text=piece).first.click()
        assert opened.locator(".drawing text.lit").all_text_contents() == shapes, piece
    maps = opened.locator(".drawing text", has_text="256 × 16 × 16")
    for place, piece in enumerate(("A(3,h,p,p),", "A(h,h,1))")):
        opened.locator(".code span", has_text=piece).first.click()
        assert maps.nth(place).get_attribute("class") == "lit"


@pytest.mark.parametrize("opened", ["where_a_pixel_goes"], indirect=True)
def test_a_pixel_is_touched(opened):
    box = opened.locator(".drawing image").bounding_box()
    opened.mouse.click(box["x"] + box["width"] * 10.5 / 32, box["y"] + box["height"] * 30.5 / 32)
    assert opened.locator(".said").inner_text().startswith("u = 30 = 4·7 + 2 and v = 10 = 4·2 + 2")


@every
def test_put_into_a_page_as_jupyter_does_it_works(opened, request):
    """JupyterLab and Colab set an element's HTML and then run its scripts anew."""
    opened.evaluate(
        """html => {
            const host = document.createElement("div");
            document.querySelector("main").replaceChildren(host);
            host.innerHTML = html;
            host.querySelectorAll("script").forEach(old => {
                const fresh = document.createElement("script");
                fresh.textContent = old.textContent;
                old.replaceWith(fresh);
            });
        }""",
        html_of(request.node.callspec.params["opened"]),
    )
    for fold in opened.locator("details.fold > summary").all():
        fold.click()
    opened.locator(".guess button").first.click()
    assert opened.locator(".verdict").inner_text() and opened.locator(".said").inner_text()


@pytest.mark.parametrize("opened", ["mixer"], indirect=True)
def test_a_digit_is_drawn_and_read_by_keyboard_and_by_mouse(opened):
    said, pad = opened.locator(".said"), opened.locator(".pad")
    digits = load_dataset("digits")
    three = digits.test_images[digits.test_labels == 3][:1]
    mlp_mixer = in_six_bits(trained_model("digits/mlp_mixer_24_4"))
    expected = mlp_mixer(digits.normalize(three))[0].tolist()
    opened.get_by_label("A 3 of the test set").press("Enter")
    label = opened.locator(".logits").get_attribute("aria-label")
    actual = [float(number) for number in re.findall(r"\d: (-?[\d.]+)", label)]
    assert actual == pytest.approx(expected, abs=0.0502)  # as rounded to a decimal
    plain = said.inner_text()
    assert plain.startswith("MLP-Mixer reads a 3 with")

    opened.locator("[data-name=shuffle]").press("Space")
    assert "The pixels are shuffled." in said.inner_text()
    opened.locator("[data-name=along]").press("Space")
    assert said.inner_text().startswith(plain)  # the same logits
    opened.locator("[data-name=network]").select_option(label="ConvMixer")
    assert "no weights for places" in said.inner_text()
    assert opened.locator("[data-name=along]").is_disabled()

    opened.locator("[data-name=reset]").press("Enter")
    opened.get_by_label("residual of block 2").press("Space")
    assert "Off: the residual of block 2." in said.inner_text()
    opened.locator("[data-name=clear]").press("Enter")
    pad.focus()
    for key in ("Space", "ArrowRight", "ArrowDown", "Space"):
        opened.keyboard.press(key)
    inks = (
        "() => [...document.querySelectorAll('.pad rect')].map(r => r.getAttribute('fill-opacity'))"
    )
    drawn = opened.evaluate(inks)
    assert [place for place, ink in enumerate(drawn) if ink == "1"] == [0, 9]
    box = pad.bounding_box()
    opened.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.2)
    opened.mouse.down()
    opened.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.8, steps=5)
    opened.mouse.up()
    drawn = opened.evaluate(inks)
    assert all(float(drawn[8 * row + 5]) > 0.5 for row in range(2, 6))


@pytest.mark.parametrize("opened", ["conventions"], indirect=True)
def test_what_was_counted_is_ticked_until_the_digits_come_out(opened):
    said = opened.locator(".said")
    assert "too little. Solved: 0 of 6." in said.inner_text()
    opened.get_by_label("MACs of depthwise convolutions").press("Space")
    opened.get_by_label("Elements that pass a norm").select_option("4")
    assert "152.5704\u00a0M: the printed digits" in said.inner_text()
    assert "But of the 20 such numbers" in said.inner_text()
    opened.get_by_label("The final mean").press("Space")
    assert "Your choice gives 20 of the 20" in said.inner_text()
    assert said.inner_text().endswith("The audit's name for it: thop. Solved: 1 of 6.")
    for _ in range(5):
        opened.locator("[data-name=next]").press("Enter")
        assert opened.locator("table:visible").count() == 1
    opened.locator("[data-name=none]").press("Enter")
    assert re.match("Right: none of the 32 choices .* Solved: 2 of 6.", said.inner_text())
    opened.locator("[data-name=next]").press("Enter")
    opened.locator("[data-name=none]").press("Enter")
    assert said.inner_text().startswith("Not so: 8 of the 240 choices")


@pytest.mark.parametrize("opened", ["seeds"], indirect=True)
def test_experiments_are_run_one_by_one_and_counted(opened):
    said, cells = opened.locator(".said"), opened.locator("tbody td:nth-child(2)")
    assert said.inner_text().startswith("Nothing has been run yet")
    assert opened.locator("tbody td:last-child").all_inner_texts() == ["–"] * 3  # no answer yet
    for _ in range(3):
        opened.locator("[data-name=step]").press("Enter")
    assert said.inner_text().startswith("Experiment 3: the means differ by ")
    assert sum(map(int, cells.all_inner_texts())) == 3
    opened.emulate_media(reduced_motion="reduce")
    opened.locator("[data-name=play]").press("Enter")  # to the end at once
    assert said.inner_text().startswith("Experiment 100: ")
    counts = [int(text) for text in cells.all_inner_texts()]
    wide = opened.locator("[data-name=gap]")
    wide.focus()
    opened.keyboard.press("End")  # the same runs, but A is better by three points
    assert sum(counts) == 100 and int(cells.first.inner_text()) > 80 > counts[0]
    opened.locator("[data-name=again]").press("Enter")
    assert cells.all_inner_texts() == ["0", "0", "0"]


@pytest.mark.parametrize("opened", ["pictures"], indirect=True)
def test_a_picture_is_painted_opened_and_shuffled(opened, tmp_path):
    said, pad = opened.locator(".said"), opened.locator("canvas.pad")

    def logits():
        label = opened.locator(".logits").get_attribute("aria-label")
        return [float(number) for number in re.findall(r": (-?[\d.]+)", label)]

    def expected(picture):
        return trained_model("cpu/convmixer_64_4")(pictures.normalized(picture[None]))[0].tolist()

    drawn = pictures.drawn_pictures()
    opened.get_by_role("button", name="a drawn airplane").press("Enter")
    assert logits() == pytest.approx(expected(drawn["a drawn airplane"]), abs=0.0502)
    before = said.inner_text()
    assert before.startswith("ConvMixer sees a")
    opened.locator("[data-name=shuffle]").press("Space")
    assert said.inner_text().endswith("The pixels are shuffled.")
    opened.locator("[data-name=reset]").press("Enter")
    assert said.inner_text() == before
    opened.get_by_label("spatial mixing of block 2").press("Space")
    assert said.inner_text().endswith("Off: the spatial mixing of block 2.")
    opened.locator("[data-name=reset]").press("Enter")

    opened.locator("[data-name=color]").select_option("white")
    opened.locator("[data-name=fill]").press("Enter")
    white = torch.tensor(pictures.COLORS["white"], dtype=torch.uint8)
    picture = white.view(3, 1, 1).repeat(1, 32, 32)
    assert logits() == pytest.approx(expected(picture), abs=0.0502)
    opened.locator("[data-name=color]").select_option("red")
    pad.focus()
    for key in ("ArrowUp", "Space"):
        opened.keyboard.press(key)
    assert "red 190, green 40, blue 35" in pad.get_attribute("aria-label")
    one_dot = logits()
    box = pad.bounding_box()
    opened.mouse.move(box["x"] + 20, box["y"] + 20)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 150, box["y"] + 20, steps=3)
    opened.mouse.up()
    assert logits() != one_dot

    image = Image.new("RGB", (130, 96), (10, 200, 90))
    image.save(tmp_path / "mine.png")
    opened.locator("[data-name=file]").set_input_files(tmp_path / "mine.png")
    opened.wait_for_function("() => /green 200/.test(document.querySelector('.pad').ariaLabel)")
    picture = torch.tensor((10, 200, 90), dtype=torch.uint8).view(3, 1, 1).repeat(1, 32, 32)
    assert logits() == pytest.approx(expected(picture), abs=0.0502)
    (tmp_path / "mine.txt").write_text("no picture")
    opened.locator("[data-name=file]").set_input_files(tmp_path / "mine.txt")
    opened.wait_for_function("() => document.querySelector('.said').matches('.wrong')")
    assert said.inner_text() == "mine.txt cannot be read as a picture."


@pytest.mark.parametrize("opened", ["desk"], indirect=True)
def test_runs_are_played_again(opened):
    said = opened.locator(".said")
    assert said.inner_text().startswith("Nothing is trained yet.")
    opened.locator("[data-name=step]").press("Enter")
    assert "After epoch 1 of 5: cpu/convmixer_64_4, seed 0: training loss" in said.inner_text()
    opened.emulate_media(reduced_motion="reduce")
    opened.locator("[data-name=play]").press("Enter")  # to the end at once
    assert said.inner_text().startswith("After epoch 5 of 5")
    for run in ("convmixer_64_4", "splitmixer_i_64_4"):
        record = read_record(ROOT / f"book/records/cpu/{run}/seed0.json")
        assert f"{record.test_accuracy:.1%} of the test images right" in said.inner_text()
    edges = "[...document.querySelectorAll('clipPath rect')]"
    wide = f"() => {edges}.map(edge => Number(edge.getAttribute('width')))"
    assert min(opened.evaluate(wide)) > 500
    opened.locator("[data-name=again]").press("Enter")
    assert opened.evaluate(wide) == [0, 0]


@pytest.mark.parametrize("opened", ["explored"], indirect=True)
def test_a_control_without_effect_cannot_be_turned(opened):
    view, blocks = (opened.locator(f"[data-name={name}]") for name in ("view", "blocks"))
    assert "After 2 of 8 blocks" in opened.locator(".said").inner_text()
    assert opened.locator("[data-frame]:visible img").count() == 1
    view.select_option("costs")
    assert blocks.is_disabled() and opened.locator("[data-frame]:visible table").count() == 1
    view.select_option("footprint")
    blocks.select_option("8")
    assert "The middle of blocks.7 hears" in opened.locator(".said").inner_text()
