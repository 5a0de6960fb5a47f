"""Every interactive of the book as a page of its own, driven by keyboard in a Chromium.

    python tests/every_interactive.py FOLDER [--numbers] [NAME ...]

drives them (all, where none is named) by keyboard and by mouse, and leaves pictures, light, dark
and on a phone, and a log: which key was pressed where, and what the page then said. Two tables end
it, in numbers.txt too: the bytes of each interactive, and how far the logits of each kept network
are from PyTorch's, in Chromium and in Node, with the milliseconds of one image. --numbers makes the
tables alone.
"""

import functools
import importlib
import inspect
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = """<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8">
<title>A page</title><meta name="viewport" content="width=device-width">
<style>body { background: #fff; color: #222; font-family: sans-serif }
[data-theme=dark] body { background: #121212; color: #ddd }</style><main><h1>A page</h1>%s</main>"""
MODULES = ("mixerlib.pages", "mixerlib.speed")  # where a reader finds them


class Offline:
    """What stands on a page in the place of a widget."""

    def __init__(self, widget: Any):
        self._repr_html_ = widget.offline


def needs_nothing() -> dict[str, Callable]:
    """What can be called without arguments and shows an interactive: found, not listed."""
    from mixerlib.pages import Explorer, Interactive

    found: dict[str, Callable] = {}
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            maker = vars(module).get(name)  # not what a room loads when it is asked for
            if maker is not Explorer:
                if not inspect.isfunction(maker):
                    continue
                if inspect.signature(maker).return_annotation is not Interactive:
                    continue
            taken = inspect.signature(maker).parameters.values()
            if all(one.default is not one.empty for one in taken):
                found[name] = maker
    return found


def conventions() -> Any:
    from mixerlib.pages import audit, which_convention

    return which_convention(audit.load(ROOT / "book/published.yaml"))


def mixer() -> Any:
    """The two mixers of chapter 02."""
    from mixerlib.pages import live_mixer, shuffle_guess
    from mixerlib.training import trained_model

    names = {"MLP-Mixer": "digits/mlp_mixer_24_4", "ConvMixer": "digits/convmixer_64_4"}
    models = {title: trained_model(name) for title, name in names.items()}
    return live_mixer(models, shuffle_guess(models, bits=6), bits=6)


def pictures() -> Any:
    """The network of chapter 20 for colour pictures."""
    from mixerlib.pages import Guess, live_pictures
    from mixerlib.training import trained_model

    models = {"ConvMixer": trained_model("cpu/convmixer_64_4")}
    return live_pictures(models, Guess("How many?", ("half", "most"), "most", "It is most."))


def seeds() -> Any:
    from mixerlib.pages import how_many_seeds

    return how_many_seeds(0.26, 0.72)


def folded() -> Any:
    from mixerlib.pages import news_travels

    return news_travels("splitmixer_3d", folded=True)


def explored() -> Offline:
    from mixerlib.models import create_model
    from mixerlib.widgets import Explore

    return Offline(Explore(create_model("splitmixer_i", dim=24, depth=8, patch_size=4)))


def table() -> Offline:
    from mixerlib.widgets import AugmentationTable

    return Offline(AugmentationTable())


def desk() -> Offline:
    from mixerlib.records import read_record
    from mixerlib.training import load_recipe
    from mixerlib.widgets import TrainingDesk

    runs = ("convmixer_64_4", "splitmixer_i_64_4")
    records = [read_record(ROOT / f"book/records/cpu/{run}/seed0.json") for run in runs]
    return Offline(TrainingDesk(load_recipe("digits"), records=records))


# Those that need something to be made of. An interactive that is neither here nor found fails
# `test_every_script_that_starts_is_driven`.
GIVEN = (conventions, mixer, pictures, seeds, folded, explored, table, desk)
EVERY: dict[str, Callable] = needs_nothing() | {maker.__name__: maker for maker in GIVEN}


@functools.cache
def made(name: str) -> Any:
    """An interactive, made when it is first asked for."""
    return EVERY[name]()


@functools.cache
def html_of(name: str) -> str:
    return made(name)._repr_html_()


def kind_of(name: str) -> str:
    """The name that its script starts it by."""
    return re.findall(r'data-interactive="(\w+)"', html_of(name))[0]


# --- driving --------------------------------------------------------------------------------------

# What a reader can use now, in the order of the page
HANDS = """() => [...document.querySelectorAll(
    ".live :is(button, input, select, textarea, a[href], summary, [tabindex='0'])")].filter(
    one => !one.disabled && one.checkVisibility({visibilityProperty: true}))"""
# What a screen reader can say beside the values of the controls themselves
TOLD = """() => {
    const live = document.querySelector(".live").cloneNode(true);
    live.querySelectorAll("option, .value, .time").forEach(one => one.remove());
    const labels = [...document.querySelectorAll(".live [aria-label], .live [aria-pressed]")];
    return live.textContent.replace(/\\s+/g, " ") + labels.map(
        one => `${one.ariaLabel} ${one.ariaPressed}`).join();
}"""
# A name that stays while the control's value, and what its label says of it, changes
NAME = """one => {
    const label = one.labels?.[0]?.cloneNode(true);
    label?.querySelectorAll("select, .value").forEach(part => part.remove());
    const name = one.getAttribute("role") === "application" ? one.getAttribute("class")
        : label?.textContent || one.ariaLabel || one.textContent || one.tagName;
    return name.trim().replace(/\\s+/g, " ").slice(0, 60);
}"""


class Press(NamedTuple):
    """A key that was pressed, and what came of it.

    Args:
        control: its name.
        key: that was pressed.
        said: the sentence that says the state, and what the guess was answered.
        heard: whether anything else is told than before.
        jump: by how many pixels the control has moved on the page.
        width: of the page.
    """

    control: str
    key: str
    said: str
    heard: bool
    jump: float
    width: int


def tabbed(tab: Any) -> list[str]:
    """The controls that the key Tab comes to, one by one."""
    tab.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    reached = []
    for _ in range(200):
        tab.keyboard.press("Tab")
        name = tab.evaluate(
            f"() => document.activeElement.closest('.live') ? "
            f"({NAME})(document.activeElement) : null"
        )
        if name is None:
            return reached
        reached.append(name)
    raise AssertionError(f"Tab does not leave the interactive: {reached[-5:]}")


def hands(tab: Any) -> list[str]:
    """The names of all controls that can be used now."""
    return tab.evaluate(f"() => ({HANDS})().map({NAME})")


def keys_of(control: Any) -> tuple[str, ...]:
    """The keys that use a control and, where they can, leave it as it was."""
    tag, kind, last = control.evaluate(
        "one => [one.tagName, one.type, one.selectedIndex === one.length - 1]"
    )
    if tag == "SELECT":
        return ("ArrowUp", "ArrowDown") if last else ("ArrowDown", "ArrowUp")
    if tag == "INPUT":
        keys = {"range": ("ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowRight"), "file": ()}
        return keys.get(kind, ("Space", "Space"))
    if tag == "BUTTON":
        return ("Enter",)
    drawn = control.get_attribute("role") == "application"  # and other places only scroll
    return ("ArrowRight", "Space", "ArrowDown", "Space") if drawn else ()


def by_keyboard(tab: Any) -> Iterator[Press]:
    """Uses every control by its keys: in the order of the page, and once more from its end."""
    for way in (1, -1):
        places = [*range(len(hands(tab)))][::way]
        for place in places:
            control = tab.evaluate_handle(f"place => ({HANDS})()[place]", place).as_element()
            if control is None:  # another control has switched it off
                continue
            name = control.evaluate(NAME)
            control.focus()
            for key in keys_of(control):
                before, top = tab.evaluate(TOLD), place_of(control)
                tab.keyboard.press(key)
                after = place_of(control)
                jump = 0.0 if None in (top, after) else abs(after - top)
                yield Press(
                    name,
                    key,
                    said_by(tab),
                    tab.evaluate(TOLD) != before,
                    jump,
                    wide(tab),
                )


def said_by(tab: Any) -> str:
    """The sentence that says the state, and what the guess was answered."""
    return " ".join(" ".join(tab.locator(".said, .verdict").all_inner_texts()).split())


def wide(tab: Any) -> int:
    """How many pixels wide the page is."""
    return tab.evaluate("() => document.documentElement.scrollWidth")


def place_of(control: Any) -> float | None:
    """How far below the top of its interactive a control lies; None where it is gone."""
    return control.evaluate(
        "one => one.isConnected ? one.getBoundingClientRect().top - "
        "document.querySelector('.mixer-interactive').getBoundingClientRect().top : null"
    )


def unheard(presses: list[Press]) -> list[str]:
    """The controls that no key has made the page say anything else by."""
    return sorted({p.control for p in presses} - {p.control for p in presses if p.heard})


def by_mouse(tab: Any) -> Iterator[Press]:
    """Clicks every button and box, draws every slider to its end, strokes over every drawing."""
    for place in range(len(hands(tab))):
        control = tab.evaluate_handle(f"place => ({HANDS})()[place]", place).as_element()
        if control is None or not (box := control.bounding_box()):
            continue
        name, before = control.evaluate(NAME), tab.evaluate(TOLD)
        kind = control.evaluate("one => one.type || one.getAttribute('role')")
        control.scroll_into_view_if_needed()
        box, top = control.bounding_box(), place_of(control)
        if kind == "select-one":
            other = "one => [...one.options].find(o => !o.disabled && !o.selected)?.value"
            control.select_option(control.evaluate(other))
        elif kind in ("range", "application"):
            row = box["y"] + box["height"] / 2
            tab.mouse.move(box["x"] + box["width"] / 2, row)
            tab.mouse.down()
            tab.mouse.move(box["x"] + box["width"] * 0.9, row, steps=3)
            tab.mouse.up()
        elif kind != "file":
            control.click()
        after = place_of(control)
        jump = 0.0 if None in (top, after) else abs(after - top)
        yield Press(name, "mouse", said_by(tab), tab.evaluate(TOLD) != before, jump, wide(tab))


# --- pictures and a log ---------------------------------------------------------------------------

VIEWS = (  # the name of a picture, its theme, how wide the page is, and what uses the controls
    ("light", "light", 1040, by_keyboard),
    ("dark", "dark", 760, by_mouse),
    ("phone", "light", 390, by_mouse),
    ("phone-dark", "dark", 390, None),
)


def show(browser: Any, name: str, folder: Path) -> None:
    """Drive one interactive in every view, with a picture of each, and write the log."""
    from site_pages import open_tab

    page = folder / f"{name}.html"
    page.write_text(PAGE % html_of(name), encoding="utf-8")
    log = []
    for view, theme, width, drive in VIEWS:
        context = browser.new_context(viewport={"width": width, "height": 900})
        tab = open_tab(context)
        tab.set_default_timeout(20_000)  # what is switched off is not waited for long
        tab.emulate_media(reduced_motion="reduce")
        tab.goto(page.as_uri())
        tab.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        log += [f"{name}, {view}, {width} pixels wide", f"  at first: {said_by(tab)}"]
        if drive is None:
            tab.screenshot(path=folder / f"{name}-{view}.png", full_page=True)
        else:
            for press in drive(tab):
                notes = [f"moved by {press.jump:.0f} pixels"] * (press.jump > 1)
                notes += [f"{press.width} pixels wide"] * (press.width > width)
                notes += ["nothing new is said"] * (not press.heard)
                told = f" ({', '.join(notes)})" if notes else ""
                log.append(f"  {press.control} · {press.key} → {press.said}{told}")
            tab.screenshot(path=folder / f"{name}-{view}.png", full_page=True)
        log += [f"  ERROR {fault}" for fault in (*tab.failed, *tab.left, *tab.said)]
        context.close()
    (folder / f"{name}.txt").write_text("\n".join(log) + "\n", encoding="utf-8")


def in_numbers(browser: Any, names: list[str]) -> str:
    """The tables of `interactive_numbers`, of the browser and, where it is, of Node."""
    from interactive_numbers import told
    from run_scripts import in_browser, in_node
    from site_pages import open_tab

    context = browser.new_context()
    runs = {"Chromium": functools.partial(in_browser, open_tab(context))}
    runs |= {"Node": in_node} if shutil.which("node") else {}
    text = told({name: made(name) for name in names}, runs)
    context.close()
    return text


def main(folder: str, names: list[str]) -> None:
    from playwright.sync_api import sync_playwright

    from book.tools.pdf import find_chromium

    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        chosen = [name for name in names if name != "--numbers"] or list(EVERY)
        for name in [] if "--numbers" in names else chosen:
            show(browser, name, where)
            print(where / f"{name}.txt", flush=True)
        numbers = in_numbers(browser, chosen)
        (where / "numbers.txt").write_text(numbers, encoding="utf-8")
        print(f"\n{numbers}", end="")
        browser.close()


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2:])
