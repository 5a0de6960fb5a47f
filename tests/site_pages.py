"""The built pages, for the tests that look at them: which there are, how a browser opens them."""

import os
import re
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

SITE = Path(os.environ.get("SITE", ROOT / "_build" / "html")).resolve()
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
CHAPTERS = [TOC["root"], *(c["file"] for part in TOC["parts"] for c in part["chapters"])]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def why_not() -> str:
    """Why these pages cannot be tested; empty if they can."""
    stamp = SITE / "_static" / "tips.js"  # written by every build
    if not stamp.is_file():
        return f"there are no pages in {SITE}: make book"
    if "SITE" in os.environ:
        return ""
    written = [ROOT / "_config.yml", ROOT / "_toc.yml", *(ROOT / "notebooks").glob("*.md")]
    written += [p for p in (ROOT / "book").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    newer = [p.name for p in written if p.stat().st_mtime > stamp.stat().st_mtime]
    return f"the pages are older than {newer[0]}: make book" if newer else ""


WHY_NOT = why_not()
needs_pages = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
# The page of the search index and the front door are pages too; what _static holds is not.
PAGES = [] if WHY_NOT else sorted(p for p in SITE.rglob("*.html") if "_static" not in p.parts)
NAMES = [page.relative_to(SITE).as_posix() for page in PAGES]
VISITED = [name for name in NAMES if name != "index.html"]  # that one leads on at once


def open_tab(context: object) -> object:
    context.set_default_timeout(180_000)  # milliseconds; a machine may be busy with other things
    tab = context.new_page()
    tab.left, tab.failed, tab.said = [], [], []

    def refuse(route: object) -> None:
        tab.left.append(route.request.url)
        route.abort()

    tab.route(re.compile(r"^(?!file:|data:|blob:)"), refuse)
    tab.on("pageerror", lambda error: tab.failed.append(str(error)))
    tab.on("console", lambda message: tab.said.append(f"{message.type}: {message.text}"))
    return tab


def come_in(tab: object, name: str) -> None:
    """Open a page and wait until its mathematics stands."""
    tab.goto((SITE / name).as_uri())
    tab.evaluate("() => window.MathJax?.startup?.promise?.then(() => null)")
