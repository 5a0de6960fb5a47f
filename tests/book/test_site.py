"""The built pages in a real browser: every page, light and dark, on a desk and on a phone.

    make book site-tested                                  # the pages of _build/html
    SITE=some/folder python -m pytest tests/test_site.py   # the pages of another folder

Chromium opens the files themselves, with no server and no network. One visit to a page notes what
there is to know about it, and the tests ask the notes.
"""

import base64
import importlib
import json
import re
import urllib.parse
import zlib
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import sympy
from helpers import OPENED
from site_pages import CHAPTERS, DESK, NAMES, PHONE, SITE, VISITED, come_in, needs_pages, open_tab
from test_imports import PUBLIC

pytestmark = needs_pages
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


# --- what can be read without a browser -----------------------------------------------------------


@dataclass
class Written:
    """What the HTML of a page says."""

    anchors: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)  # "" for one that nothing is said of
    relations: dict[str, str] = field(default_factory=dict)
    language: str = ""
    title: str = ""


class Reader(HTMLParser):
    """Fills a `Written` from a page's text."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.inside = Written(), []

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        at = {key: value or "" for key, value in given}
        written = self.written
        written.anchors += [at[key] for key in ("id", "name") if key in at and tag != "meta"]
        if tag == "a" and "href" in at:
            written.links.append(at["href"])
        elif tag == "link":
            written.relations[at.get("rel", "")] = at["href"]
            if at.get("rel") not in ("canonical", "next", "prev", "search", "index"):
                written.sources.append(at["href"])
        elif tag in ("img", "script", "iframe", "source", "video", "audio") and "src" in at:
            written.sources.append(at["src"])
        if tag == "img" and at.get("alt") is not None and at.get("role") != "presentation":
            written.pictures.append(at.get("alt", ""))
        elif tag == "img":
            written.pictures.append("")
        elif tag == "svg" and at.get("aria-hidden") != "true" and not self.inside:
            written.pictures.append(
                at.get("aria-label", "") if at.get("role") in ("img", "application") else ""
            )
        elif tag == "html":
            written.language = at.get("lang", "")
        if tag in ("svg", "button", "title"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            self.inside.remove(tag)

    def handle_data(self, data: str) -> None:
        if "title" in self.inside and "svg" not in self.inside:
            self.written.title += data


def entries() -> set[str]:
    """What other sites can link to by name: the inventory that Sphinx writes."""
    *_, packed = (SITE / "objects.inv").read_bytes().split(b"\n", 4)  # after four lines of text
    return {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}


@pytest.mark.parametrize("room", PUBLIC)
def test_every_public_name_has_an_entry(room):
    """But for files, the symbols of the notation page, and one help of the notebooks."""
    module = importlib.import_module(f"mixerlib.{room}")
    names = {n for n in module.__all__ if n != "import_torchvision"}
    names -= {n for n in names if isinstance(getattr(module, n), ModuleType | sympy.Symbol)}
    fetched = {"mixerlib.weights.HubModel"}  # when first used: its entry has the name of its file
    assert {f"mixerlib.{room}.{n}" for n in names} - entries() - fetched == set()
    assert "mixerlib.weights.hub.HubModel" in entries()


@cache
def read(page: Path) -> Written:
    reader = Reader()
    reader.feed(page.read_text())
    return reader.written


def inside(page: Path, link: str) -> tuple[Path, str] | None:
    """The file and the anchor that a link of a page leads to; None if it leaves the book."""
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = urllib.parse.unquote(parts.path)
    target = (page.parent / path).resolve() if path else page
    return target, urllib.parse.unquote(parts.fragment)


@pytest.mark.parametrize("name", NAMES)
class TestWritten:
    def test_every_link_leads_somewhere(self, name):
        page, dead = SITE / name, []
        for link in read(page).links + read(page).sources:
            if (actual := inside(page, link)) is None:
                continue
            target, anchor = actual
            present = target.is_file() and target.is_relative_to(SITE)
            if present and anchor and target.suffix == ".html":
                present = anchor in read(target).anchors
            if not present:
                dead.append(link)
        assert dead == []

    def test_nothing_is_loaded_from_elsewhere(self, name):
        assert [s for s in read(SITE / name).sources if re.match(r"(\w+:)?//", s)] == []

    def test_every_picture_says_what_it_shows(self, name):
        said = read(SITE / name).pictures
        enough = 1 if name == "py-modindex.html" else 3  # that one has signs to unfold its lists
        assert all(len(text.split()) >= enough for text in said), said
        assert not [text for text in said if re.search(r"\.(png|svg|jpe?g)$", text)]

    def test_no_output_is_an_object_without_a_form(self, name):
        """Such as `Markdown("")`, of which only the class would be printed."""
        assert "&lt;IPython.core" not in (SITE / name).read_text()

    def test_page_has_a_language_and_a_title_of_its_own(self, name):
        page = read(SITE / name)
        assert page.language == "en"
        assert page.title.strip()
        same = [other for other in NAMES if read(SITE / other).title == page.title]
        assert same == [name]


@pytest.mark.parametrize("name", NAMES)
def test_no_page_prints_a_warning(name):
    assert 'class="output stderr"' not in (SITE / name).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_number_that_leads_to_it(name):
    text = (SITE / name).read_text()
    expected = re.match(r"notebooks/(\d\d)([a-z]?)-", name)
    first = f"{int(expected[1])}{expected[2]}." if expected else ""
    count = text.count('class="mixer-figure"')
    shown = re.findall(r'<a class="figure-number" href="#([^"]+)">Figure ([\w.]+)</a>', text)
    assert [number for _, number in shown] == [f"{first}{place + 1}" for place in range(count)]
    assert all(text.count(f'id="{anchor}"') == 1 for anchor, _ in shown)


def test_every_page_leads_to_the_next_and_to_the_previous_one():
    for place, name in enumerate(CHAPTERS):
        page = SITE / f"{name}.html"
        for relation, other in (("prev", place - 1), ("next", place + 1)):
            link = read(page).relations.get(relation)
            if 0 <= other < len(CHAPTERS):
                assert inside(page, link)[0] == SITE / f"{CHAPTERS[other]}.html"
                assert link in read(page).links  # for the reader, not only in the page's head
            else:
                assert link is None


# --- the browser ----------------------------------------------------------------------------------

UNFOLD = """() => {
  document.querySelectorAll("details").forEach(fold => { fold.open = true; });
  document.querySelectorAll(".toggle-hidden .toggle-button").forEach(button => button.click());
}"""

# Formulas that MathJax has not set, or has set as an error.
UNSET = """() => [...document.querySelectorAll("span.math, div.math")]
  .filter(e => !e.querySelector("mjx-container") || e.querySelector("mjx-merror"))
  .map(e => e.textContent.trim().slice(0, 80))"""

HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
  .filter(e => e.checkVisibility()).map(e => Number(e.tagName[1]))"""

UNSAID = """() => [...document.querySelectorAll("canvas")]
  .filter(e => !["img", "application"].includes(e.getAttribute("role")) || !e.ariaLabel)
  .map(e => e.outerHTML)"""

BROKEN = """() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"""

# What sticks out to the right of the window, unless it lies in a box of its own that scrolls.
WIDE = """() => {
  const edge = document.documentElement.clientWidth, out = [];
  const scrolls = e => e && e !== document.body &&
    (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const whole = document.documentElement.scrollWidth;
  if (whole > edge) out.push(`the page: ${whole}`);
  for (const e of document.querySelectorAll("main *:not(svg *, mjx-container *)"))
    if (e.getBoundingClientRect().right > edge + 1 && e.checkVisibility() && !scrolls(e))
      out.push(`${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 40)}`);
  return out.slice(0, 5);
}"""

# The smallest letter of each drawing that is shown, in pixels of the screen: text and pixels.
LETTERS = """() => [...document.querySelectorAll(".mixer-figure svg")].flatMap(drawing => {
  if (!drawing.checkVisibility()) return [];  // one of two, for another width of the window
  const texts = [...drawing.querySelectorAll("text")].filter(t => t.textContent.trim());
  return texts.map(t => {
    const {a, b} = t.getScreenCTM();
    return [parseFloat(getComputedStyle(t).fontSize) * Math.hypot(a, b), t.textContent.trim()];
  }).sort((x, y) => x[0] - y[0]).slice(0, 1);
})"""

# What scrolls sideways: whether it shows that, and whether the Tab key reaches it; and what the Tab
# key reaches for nothing.
SCROLLERS = """() => [...document.querySelectorAll("article *")].flatMap(e => {
  if (!e.checkVisibility() || e.closest("svg, mjx-container *, .audit form")) return [];
  const wider = e.scrollWidth > e.clientWidth + 1;
  const scrolls = wider && /auto|scroll/.test(getComputedStyle(e).overflowX);
  const faults = [];
  if (scrolls && !e.classList.contains("goes-on")) faults.push("does not show that it goes on");
  if (e.matches(".goes-on") && !getComputedStyle(e).maskImage.includes("gradient"))
    faults.push("has no fade");
  if (scrolls && e.tabIndex < 0) faults.push("is out of the Tab key's reach");
  if (!scrolls && e.matches("mjx-container") && e.tabIndex >= 0) faults.push("is a Tab stop");
  if (!scrolls && e.matches(".goes-on, .goes-back")) faults.push("fades where nothing goes on");
  if (e.matches("mjx-container.long")) {
    const letters = e.querySelector("mjx-math").getBoundingClientRect().width;
    if (letters <= e.closest("p").getBoundingClientRect().width + 1) faults.push("has room");
  }
  const space = e.matches(".mixer-figure.goes-on") && e.querySelector("figcaption");
  if (space && parseFloat(getComputedStyle(space).paddingRight) < 20)
    faults.push("fades its caption");
  const name = `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 40)}`;
  return faults.map(fault => `${name} ${fault}`);
})"""

# Signs of an icon font that no letter of the book's fonts stands for: they would be empty boxes.
# What MathJax builds of such signs is in the fonts that it brings.
STRANGE = """() => [...document.querySelectorAll("body *:not(svg, mjx-container *)")].flatMap(e =>
  ["::before", "::after"].map(place => getComputedStyle(e, place).content)
    .filter(sign => /[\\ue000-\\uf8ff]/.test(sign) && e.checkVisibility())
    .map(() => `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 40)}`))"""

# On a phone a drawing whose panels can be stacked is, an equation's number stands in a line of its
# own, and a table that scrolls keeps its first column, and one that decides.
NARROW = """() => {
  const faults = [];
  for (const drawing of document.querySelectorAll(".mixer-figure > svg.narrow")) {
    const figure = drawing.parentElement, shown = [...figure.querySelectorAll(":scope > svg")];
    if (shown.filter(e => e.checkVisibility()).length !== 1 || !drawing.checkVisibility())
      faults.push(`${figure.id} is not stacked`);
    else if (figure.scrollWidth > figure.clientWidth + 1 && !figure.closest(".solution"))
      faults.push(`${figure.id} has no room`);  // the box of a solution has less
  }
  for (const number of document.querySelectorAll("article .math .eqno")) {
    const formula = number.parentElement.querySelector("mjx-container");
    if (formula && number.checkVisibility() &&
        number.getBoundingClientRect().top < formula.getBoundingClientRect().bottom - 1)
      faults.push(number.textContent);
  }
  for (const cell of document.querySelectorAll("article tr > :first-child"))
    if (!cell.closest(".audit, .indextable") && getComputedStyle(cell).position !== "sticky")
      faults.push(cell.textContent.trim().slice(0, 40));
  for (const sign of document.querySelectorAll("article th .decides"))
    for (const row of sign.closest("table").rows) {
      const cell = row.lastElementChild, box = cell.getBoundingClientRect();
      if (!cell.checkVisibility()) continue;
      if (getComputedStyle(cell).position !== "sticky" || box.right > innerWidth + 1)
        faults.push(`${cell.textContent.trim().slice(0, 40)} does not stay`);
    }
  return faults.slice(0, 5);
}"""

# Axe takes long on long pages. What only repeats, or what it does not judge, can go: coloured words
# of code after the first of their kind, rows and paragraphs that are built alike in the same place,
# formulas after the first two, the insides of drawings.
THIN = """() => {
  const seen = new Set();
  for (const word of document.querySelectorAll(".highlight pre span")) {
    const box = word.closest("div.highlight").parentElement.parentElement;
    const kind = word.className + "/" + box.className;
    if (seen.has(kind)) word.replaceWith(...word.childNodes);
    seen.add(kind);
  }
  const path = e => e ? path(e.parentElement) + "/" + e.tagName + "." + e.className : "";
  for (const part of document.querySelectorAll("tr, p, li, dt.sig")) {
    const kind = [path(part), ...[...part.querySelectorAll("*")].map(path)].join();
    if (seen.has(kind)) part.tagName === "DT" ? part.replaceChildren() : part.remove();
    seen.add(kind);
  }
  [...document.querySelectorAll("mjx-container")].slice(2).forEach(e => e.replaceChildren());
  document.querySelectorAll(".mixer-figure svg").forEach(e => e.replaceChildren());
  const still = document.createElement("style");  // colours change at once
  still.textContent = "* { transition: none !important; }";
  document.head.append(still);
}"""

# Letters of a drawing whose colour is too near to what lies under them. Axe does not look at these.
FAINT_LETTERS = """() => {
  const numbers = colour => (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const over = (top, share, below) => below.map((v, i) => share * top[i] + (1 - share) * v);
  const page = numbers(getComputedStyle(document.body).backgroundColor).slice(0, 3);
  const found = [];
  for (const text of document.querySelectorAll("figure svg text")) {
    const style = getComputedStyle(text), ink = numbers(style.fill);
    const at = text.getBoundingClientRect();
    if (!at.width || !text.textContent.trim()) continue;
    const x = at.x + at.width / 2, y = at.y + at.height / 2;
    const covers = box => x >= box.x && x <= box.right && y >= box.y && y <= box.bottom;
    const images = [...text.closest("svg").querySelectorAll("image")];
    if (images.some(image => covers(image.getBoundingClientRect()))) continue;
    let below = page;
    for (const shape of [...text.closest("svg").querySelectorAll("path, rect, use, polygon")]) {
      if (!(shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING)) continue;
      if (shape.closest("defs, clipPath")) continue;
      if (!covers(shape.getBoundingClientRect())) continue;
      const s = getComputedStyle(shape), fill = numbers(s.fill);
      if (s.fill === "none") continue;
      if (shape.isPointInFill) {
        const point = new DOMPoint(x, y).matrixTransform(shape.getScreenCTM().inverse());
        if (!shape.isPointInFill(point)) continue;
      }
      below = over(fill, (fill[3] ?? 1) * Number(s.fillOpacity) * Number(s.opacity), below);
    }
    const share = (ink[3] ?? 1) * Number(style.fillOpacity) * Number(style.opacity);
    const ratio = contrast(light(over(ink, share, below)), light(below));
    if (ratio < 4.5) found.push(`${text.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""


@dataclass
class Visit:
    """What one visit to a page found, with everything unfolded."""

    left: list[str]
    failed: list[str]
    unset: list[str]
    headings: list[int]
    unsaid: list[str]
    broken: list[str]
    wide: list[str]
    letters: list[tuple[float, str]]
    scrollers: list[str]
    narrow: list[str]
    strange: list[str]
    violations: dict[str, list[str]]
    faint: dict[str, list[str]]


def examine(tab: object, rules: dict, part: str = "html") -> list[str]:
    """What axe-core finds wrong with a part of a page under these of its rules."""
    options = {"runOnly": rules, "resultTypes": ["violations"], "preload": False}
    answer = tab.evaluate("([part, options]) => axe.run(part, options)", [part, options])
    return [
        f"{actual['id']}, {len(actual['nodes'])} times: {actual['nodes'][0]['html'][:120]}"
        for actual in answer["violations"]
    ]


def put_on(tab: object, scheme: str) -> None:
    """Light or dark, as the reader's system asks for it; the page's theme follows."""
    tab.emulate_media(color_scheme=scheme)
    done = "scheme => (document.documentElement.dataset.theme ?? scheme) === scheme"
    tab.wait_for_function(done, arg=scheme)  # the page for wrong addresses has no theme to set


def visit(tab: object, name: str) -> Visit:
    from axe_playwright_python.sync_playwright import Axe

    come_in(tab, name)
    tab.evaluate(UNFOLD)
    asked = (UNSET, HEADINGS, UNSAID, BROKEN)
    answers = [tab.evaluate(question) for question in asked]
    faint = {}
    for scheme in ("dark", "light"):
        put_on(tab, scheme)
        faint[scheme] = tab.evaluate(FAINT_LETTERS)
    tab.set_viewport_size(PHONE)
    tab.wait_for_timeout(400)  # until the theme has seen what scrolls now
    asked = (WIDE, LETTERS, SCROLLERS, NARROW, STRANGE)
    answers += [tab.evaluate(question) for question in asked]

    tab.evaluate(THIN)
    tab.evaluate(Axe().axe_script)
    violations = {}
    rules = ["scrollable-region-focusable", "target-size"]
    violations["phone"] = examine(tab, {"type": "rule", "values": rules})
    tab.set_viewport_size(DESK)
    violations["light"] = examine(tab, {"type": "tag", "values": STANDARDS})
    put_on(tab, "dark")
    colors = ["color-contrast", "link-in-text-block"]  # the rest is the same in the dark
    violations["dark"] = examine(tab, {"type": "rule", "values": colors})
    return Visit(
        tab.left,
        tab.failed + tab.said,
        *answers,
        violations,
        faint,
    )


@pytest.fixture(scope="module")
def visited(browser, request) -> Visit:
    context = browser.new_context(viewport=DESK, color_scheme="light")
    try:
        return visit(open_tab(context), request.param)
    finally:
        context.close()


@pytest.mark.parametrize("visited", VISITED, indirect=True)
class TestPage:
    def test_no_request_leaves_the_page(self, visited):
        assert visited.left == []

    def test_the_console_is_silent_and_every_picture_loads(self, visited):
        assert visited.failed == []
        assert visited.broken == []

    def test_headings_are_in_order(self, visited):
        levels = visited.headings
        assert levels.count(1) == 1 and levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), levels

    def test_canvases_say_what_they_show(self, visited):
        assert visited.unsaid == []

    def test_mathematics_is_set(self, visited):
        assert visited.unset == []

    @pytest.mark.parametrize("scheme", ["light", "dark", "phone"])
    def test_axe_finds_nothing(self, visited, scheme):
        assert visited.violations[scheme] == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_letters_in_drawings_can_be_read(self, visited, scheme):
        assert visited.faint[scheme] == []

    def test_nothing_is_wider_than_a_phone(self, visited):
        assert visited.wide == []

    def test_letters_in_drawings_are_large_enough_on_a_phone(self, visited):
        assert [letter for letter in visited.letters if letter[0] < 9] == []

    def test_no_sign_is_of_a_font_that_is_not_there(self, visited):
        assert visited.strange == []

    def test_what_scrolls_shows_it_and_formulas_are_no_tab_stops(self, visited):
        assert visited.scrollers == []

    def test_drawings_equations_and_tables_are_laid_out_for_a_phone(self, visited):
        assert visited.narrow == []


# --- what readers do ------------------------------------------------------------------------------


def page_with(needle: str) -> str:
    """The first page in the book's order whose HTML holds something."""
    for name in CHAPTERS:
        if needle in (SITE / f"{name}.html").read_text():
            return f"{name}.html"
    raise AssertionError(f"no page holds {needle}")


@pytest.mark.parametrize("name", [f"{CHAPTERS[0]}.html", f"{CHAPTERS[-1]}.html"])
def test_the_first_key_leads_past_the_menus(tab, name):
    come_in(tab, name)
    tab.keyboard.press("Tab")
    link = tab.locator("#pst-skip-link a")
    assert link.evaluate("link => link === document.activeElement")
    slid = "link => link.getBoundingClientRect().y >= 0"  # it comes into sight, gently
    tab.wait_for_function(slid, arg=link.element_handle())
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("() => !!document.activeElement.closest('main')")


def test_the_explorer_is_used_by_keyboard_and_says_its_result_in_words(tab):
    come_in(tab, page_with('data-interactive="explorer"'))
    explorer = tab.locator("[data-interactive=explorer]").first
    said, canvas = explorer.locator(".said"), explorer.locator("canvas")
    controls = explorer.locator(".guess button, input:enabled, select:enabled")
    assert said.get_attribute("aria-live") == "polite"

    controls.first.focus()
    for place in range(controls.count()):  # the Tab key goes through them in their order
        assert controls.nth(place).evaluate("control => control === document.activeElement")
        named = "() => (document.activeElement.labels[0] ?? document.activeElement).textContent"
        assert tab.evaluate(named).strip()
        tab.keyboard.press("Tab")

    for name, key in (("h", "ArrowLeft"), ("blocks", "ArrowLeft"), ("family", "ArrowDown")):
        before = said.inner_text(), explorer.locator("tbody").inner_text()
        explorer.locator(f"[data-name={name}]").focus()
        for _ in range(2):
            tab.keyboard.press(key)
        after = said.inner_text(), explorer.locator("tbody").inner_text()
        assert after != before, f"{key} on {name} changes nothing"
        assert canvas.get_attribute("aria-label") == said.inner_text()
    assert re.search(r"after \d+ of \d+ blocks: a channel hears [\d.]+ % of the channels", after[0])


def test_an_exercise_is_answered_by_keyboard_and_says_so_in_words(tab):
    come_in(tab, page_with("data-exercise="))
    form = tab.locator("form[data-exercise]").first
    packed = json.loads(base64.b64decode(form.get_attribute("data-exercise")))
    for wrong in (True, False):
        form.locator("input, select").first.focus()
        for place, asked in enumerate(packed["fields"]):
            value = asked["value"]
            if isinstance(value, bool):
                form.locator("select").nth(place).select_option("yes" if value else "no")
            else:
                tab.keyboard.press("Control+a")
                tab.keyboard.type("-77" if wrong else str(value))
            tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        said = form.locator("output").inner_text()
        assert said.startswith("Not yet." if wrong else "Right.")
    assert tab.locator("details.exercise-correct summary").first.is_visible()
    assert not tab.locator(".exercise-open > .exercise-message").first.is_visible()


def test_the_explorer_draws_in_the_ink_of_the_page_when_its_theme_changes(tab):
    come_in(tab, page_with('data-interactive="explorer"'))
    tab.locator("[data-interactive=explorer] [data-name=family]").select_option("convmixer")
    first = """() => {
        const canvas = document.querySelector('[data-interactive=explorer] canvas');
        return [...canvas.getContext('2d').getImageData(0, 0, 1, 1).data].join();
    }"""
    inks = []
    for theme in ("light", "dark", "light"):
        tab.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        tab.wait_for_timeout(100)
        inks.append(tab.evaluate(first))
    assert inks[0] == inks[2] != inks[1]


@pytest.mark.parametrize(
    "link", ["a:has(> .std-term)", ".bibtex-citation a"], ids=["term", "citation"]
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_link_says_what_it_leads_to(tab, link, scheme):
    from axe_playwright_python.sync_playwright import Axe

    come_in(tab, page_with("std-term"))
    put_on(tab, scheme)
    link, tip = tab.locator(f"article {link}").first, tab.get_by_role("tooltip")
    assert tip.count() == 0  # none is there before it is asked for

    tab.keyboard.press("Tab")
    link.focus()
    tip.wait_for()
    assert len(tip.inner_text().split()) > 4
    assert link.get_attribute("aria-describedby") == tip.get_attribute("id")
    assert link.get_attribute("title") is None  # or a second box would come
    tab.evaluate(Axe().axe_script)
    assert examine(tab, {"type": "tag", "values": STANDARDS}, ".link-tip") == []
    box = tip.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= DESK["width"]
    tab.keyboard.press("Escape")
    assert tip.count() == 0
    assert link.get_attribute("aria-describedby") is None
    assert link.evaluate("link => link === document.activeElement")  # and the place is kept

    link.hover()
    tip.wait_for()
    tip.hover()  # the pointer may move onto it, to read or to select
    tab.wait_for_timeout(600)
    assert tip.count() == 1
    tab.mouse.move(5, 5)
    tip.wait_for(state="detached")


def test_code_can_be_copied_by_keyboard(tab):
    come_in(tab, page_with("cell_input"))
    button = tab.locator(".cell_input:visible").first.get_by_role("button", name="Copy")
    code = tab.locator(".cell_input:visible pre").first.inner_text()
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button.focus()
    tab.keyboard.press("Enter")
    copied = tab.evaluate("() => navigator.clipboard.readText()")
    assert copied.split() == code.split()


def test_a_page_prints_whole_and_without_its_menus(tab, tmp_path):
    """The hints and solutions, which are folded away on the screen, are on the paper."""
    pypdf = pytest.importorskip("pypdf")
    come_in(tab, page_with("dropdown tip admonition"))
    hint = tab.locator(".admonition.dropdown.tip p").nth(1)
    words = hint.evaluate("p => [...p.childNodes].find(n => n.nodeType === 3).textContent.trim()")
    assert not hint.is_visible()
    tab.pdf(path=tmp_path / "page.pdf")
    sheets = pypdf.PdfReader(tmp_path / "page.pdf").pages
    text = "".join("".join(sheet.extract_text() for sheet in sheets).split())
    assert "".join(words.split()) in text
    shut = tab.locator(".tag_hide-input details.above-input:not([open]) pre").all_text_contents()
    lines = {
        line
        for code in shut
        for line in code.splitlines()
        if "plots.show(" in line or "figure, axes =" in line
    }
    assert lines and not [line for line in lines if "".join(line.split()) in text]
    title = tab.locator("main h1").filter(visible=True).inner_text().rstrip("#")
    assert text.startswith("".join(title.split()))
    assert "Skiptomaincontent" not in text and "Searchthisbook" not in text
    assert not hint.is_visible()  # and the page is folded again
    tab.emulate_media(media="print")
    figure = tab.locator(".mixer-figure").first
    assert figure.evaluate("figure => getComputedStyle(figure).breakInside") == "avoid"
    for menu in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".bd-header-article"):
        assert not tab.locator(menu).first.is_visible()


SHAPE = """() => {
  const top = e => e.getBoundingClientRect().top + scrollY;
  const figure = document.querySelector("article .mixer-figure");
  return [top(figure), top(document.getElementById("exercises"))];
}"""


@pytest.mark.parametrize("stem", OPENED)
def test_a_chapter_opens_with_a_figure_and_ends_in_time(tab, stem):
    (name,) = [name for name in NAMES if name.startswith(f"notebooks/{stem}-")]
    tab.set_viewport_size({"width": 1440, "height": 900})
    come_in(tab, name)
    figure, exercises = tab.evaluate(SHAPE)
    assert figure < 900, f"the first figure begins {figure:.0f} pixels down"
    assert exercises <= 15 * 900, f"{exercises / 900:.1f} screens before the exercises"


# Chapters whose first figure a phone scrolls, and why.
SCROLLED = {
    "01": "a photograph, and its patches beside their tokens",
    "03": "the tweet, whose lines are not to be broken",
    "12": "rows of photographs, too heavy to be stored twice",
    "12b": "rows of photographs",
    "19": "a diagram of boxes, which has no axes to make narrower",
    "22": "seven maps in a row, whose names would lie on one another",
}


@pytest.mark.parametrize("stem", OPENED)
def test_the_figure_that_opens_a_chapter_fits_a_phone(tab, stem):
    (name,) = [name for name in NAMES if name.startswith(f"notebooks/{stem}-")]
    tab.set_viewport_size(PHONE)
    come_in(tab, name)
    figure = tab.locator("article .mixer-figure").first
    wide = figure.evaluate("figure => figure.scrollWidth > figure.clientWidth + 1")
    assert wide == (stem in SCROLLED)


def test_the_audits_numbers_are_aligned_and_on_a_phone_it_is_a_list_of_cards(tab):
    come_in(tab, "book/audit.html")
    numbers = tab.locator(".audit :is(td.number, th:first-child)").evaluate_all(
        "cells => cells.map(cell => getComputedStyle(cell).textAlign)"
    )
    assert {*numbers} == {"right"}
    tab.set_viewport_size(PHONE)
    rows, box = tab.locator(".audit tbody tr:not([hidden])"), tab.locator(".audit-box")
    assert rows.count() > 100
    looks = rows.evaluate_all("rows => rows.map(row => getComputedStyle(row).display)")
    assert {*looks} == {"grid"}
    assert not tab.locator(".audit thead").is_visible()
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight + 1")  # the page scrolls


def test_the_landing_page_is_as_wide_as_a_large_screen(tab):
    tab.set_viewport_size({"width": 1920, "height": 1080})
    come_in(tab, "book/index.html")
    front = tab.locator(".front").bounding_box()
    assert front["width"] > 1100
    drawing, findings = (
        tab.locator(f".front > {part}").bounding_box() for part in (".mixer-figure", ".findings")
    )
    assert drawing["x"] + drawing["width"] <= findings["x"]  # side by side


def test_a_wrong_address_leads_back(tab):
    page = (SITE / "404.html").read_text()
    assert read(SITE / "404.html").sources == []  # nothing that another depth could miss
    tab.route("https://book.example/**", lambda route: route.fulfill(status=404, body=page))
    tab.goto("https://book.example/mixers/some/where/deep.html")
    assert tab.get_by_role("heading", level=1).inner_text() == "There is no page here"
    links = tab.locator("li a").evaluate_all("links => links.map(a => a.getAttribute('href'))")
    assert len(links) == len(CHAPTERS)
    assert all(link.endswith(f"{name}.html") for link, name in zip(links, CHAPTERS, strict=True))
