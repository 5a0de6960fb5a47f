"""The search of the built pages: thirty questions in readers' words, and the page that answers.

SITE=some/folder asks the pages of another folder.
"""

import json
import subprocess
import urllib.parse

import pytest
from helpers import missing
from site_pages import CHAPTERS, SITE, come_in, needs_pages

pytestmark = needs_pages

# A question → the pages that answer it, by the beginnings of their names.
QUESTIONS = {
    "how many parameters does ConvMixer have": ["04", "03"],
    "FLOPs vs MACs": ["04"],
    "channel shuffle": ["10", "11"],
    "package for a mixing of my own": ["26", "own-strategy"],
    "install": ["use-it", "preface"],
    "load pretrained weights": ["use-it", "03", "api"],
    "load_weights": ["api"],
    "mixerlib.costs.measure": ["api"],
    "SplitMixer-II": ["07"],
    "SplitMixer-IV": ["09"],
    "3-D form": ["10"],
    "colab": ["contributing", "preface", "use-it"],
    "ensemble": ["11"],
    "separate networks": ["11"],
    "effective receptive field": ["21b", "03"],
    "594,186": ["03", "04", "audit"],
    "594186": ["03", "04", "audit"],
    "152.6": ["04", "audit", "06"],
    "602890": ["04", "audit"],
    "train on two GPUs": ["13", "use-it"],
    "segments that are never mixed": ["07"],
    "OneCycle": ["13"],
    "learning rate schedule": ["13"],
    "resume training after a crash": ["13", "use-it"],
    "fold batch norm into convolution": ["19"],
    "images per second": ["17"],
    "what is a roofline": ["18"],
    "mixup and cutmix": ["12"],
    "what is GELU": ["glossary"],
    "confidence interval over seeds": ["14"],
    "which published numbers do not reproduce": ["audit", "findings"],
    "separable kernel": ["05"],
    "what is a patch embedding": ["01"],
    "what does ± mean in the table of results": ["14"],
    "ViT and gMLP compared with ConvMixer": ["24"],
    "int8 quantization": ["25"],
    "AOTInductor": ["25", "api"],
}
assert len(QUESTIONS) >= 30


def short(page: str) -> str:
    return page.rpartition("/")[2]


def shown(tab: object) -> list[str]:
    """The pages that the search shows, in its order."""
    links = tab.locator("#search-results .search-page")
    links.first.wait_for()
    return links.evaluate_all("links => links.map(link => link.getAttribute('href'))")


def ask(tab: object, question: str) -> list[str]:
    tab.goto(f"{(SITE / 'search.html').as_uri()}?q={urllib.parse.quote(question)}")
    return shown(tab)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_finds_its_page_among_the_first_three(tab, question):
    first = ask(tab, question)[:3]
    answers = tuple(QUESTIONS[question])
    assert any(short(page).startswith(answers) for page in first), first
    assert tab.left == tab.failed == tab.said == []


def test_a_hit_leads_to_its_section_and_says_some_of_its_words(tab):
    ask(tab, "how far a block sees")
    hits = tab.locator("#search-results li li")
    assert hits.count() > 3
    for place in range(hits.count()):
        link = hits.nth(place).locator("a").get_attribute("href")
        page, _, anchor = link.partition("#")
        assert f'id="{urllib.parse.unquote(anchor)}"' in (SITE / page).read_text()
    assert hits.first.locator("mark").count() >= 1
    assert len(hits.first.locator(".excerpt").inner_text().split()) > 5
    hits.first.locator("a").click()
    tab.wait_for_load_state()
    assert tab.evaluate("() => document.getElementById(location.hash.slice(1)) !== null")


@pytest.mark.parametrize(
    ("page", "question", "answer"),
    [(CHAPTERS[0], "separable", "05"), (CHAPTERS[1], "SplitMixer-II", "07")],
)
def test_the_search_field_of_a_page_leads_to_the_answer(tab, page, question, answer):
    come_in(tab, f"{page}.html")
    tab.keyboard.press("Control+k")
    tab.keyboard.type(question)
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"**/search.html?q={question}*")
    assert any(short(link).startswith(answer) for link in shown(tab)[:3])
    assert tab.locator("main .bd-search input").input_value() == question


def test_a_word_that_is_nowhere_says_so(tab):
    tab.goto(f"{(SITE / 'search.html').as_uri()}?q=zyzzyva")
    tab.get_by_text("No page has any of these words").wait_for()


def test_words_that_say_nothing_are_no_hits(tab):
    """Nor are they marked where the others are."""
    ask(tab, "how many parameters does ConvMixer have")
    marked = tab.locator("#search-results mark").all_inner_texts()
    assert marked
    assert not {"how", "many", "does", "have"} & {word.lower().strip(" .,") for word in marked}


def test_only_the_page_that_searches_brings_the_index():
    for path in SITE.rglob("*.html"):
        assert ("sections.js" in path.read_text()) == (path.name == "search.html"), path.name


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("count", ["counts", "counted", "counting", "Counted"]),
        ("segment", ["segments", "segmented"]),
        ("split", ["splits", "splitting"]),
        ("class", ["classes"]),
        ("policy", ["policies"]),
    ],
)
def test_the_forms_of_a_word_are_one(word, forms):
    script = (SITE / "_static" / "search.js").as_posix()
    asked = f"require({json.dumps(script)}); const s = globalThis.mixerBookSearch;"
    asked += f"console.log(JSON.stringify({json.dumps([word, *forms])}.map(w => s.words(w))))"
    try:
        done = subprocess.run(["node", "-e", asked], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        missing("needs Node.js")
    first, *rest = json.loads(done.stdout)
    assert rest == [first] * len(forms)
