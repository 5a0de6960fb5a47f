"""The whole book as one PDF: every page of the site printed by Chromium, and joined."""

import html
import os
import re
import shutil
import subprocess
import tempfile
import urllib.parse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NO_BROWSER = (
    "The PDF is printed by Chromium, and none is here. Install chromium or Google Chrome, "
    "or name its program: CHROMIUM=/path/to/chromium make release"
)


def find_chromium() -> str:
    """The program that prints the pages: CHROMIUM, or the first browser found; empty if none."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named) or ""
    return next((path for name in BROWSERS if (path := shutil.which(name))), "")


def print_page(chromium: str, page: Path, target: Path, profile: Path) -> None:
    """Print one HTML page to PDF as a reader would, after its scripts have set the mathematics."""
    command = [
        chromium,
        "--headless",
        "--disable-gpu",
        "--no-pdf-header-footer",
        "--virtual-time-budget=20000",  # milliseconds of the page's time: MathJax has an end
        f"--user-data-dir={profile}",
        f"--print-to-pdf={target}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # as in a container
        command.append("--no-sandbox")
    done = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode or not target.is_file():
        raise RuntimeError(f"Chromium did not print {page.name}:\n{done.stderr[-2000:]}")


def words(markup: str) -> str:
    """The text of a heading, without its tags, its marks of mathematics and its link to itself."""
    markup = re.sub(r'<a class="headerlink".*?</a>', "", markup, flags=re.S)
    markup = re.sub(r"\\[()]", "", markup)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup)).split())


def headings(page: Path) -> tuple[str, list[tuple[str, str]]]:
    """A page's title with its number, and its sections as pairs of anchor and title."""
    text = page.read_text()
    opening = r'<section\b[^>]*\bid="([^"]+)"[^>]*>(?:\s*<span[^>]*></span>)*\s*'
    title = re.search(opening + r"<h1>(.*?)</h1>", text, re.S)
    sections = re.findall(opening + r"<h2>(.*?)</h2>", text, re.S)
    return words(title[2]) if title else page.stem, [(a, words(t)) for a, t in sections]


class Sheets:
    """The printed pages as the sheets of one PDF, and where in it each place of a page has come."""

    def __init__(self) -> None:
        from pypdf import PdfWriter

        self.writer = PdfWriter()
        self.owners: list[str] = []  # the page that each sheet belongs to
        # (page, anchor) → number of the sheet, distances from its left and from its bottom edge
        self.places: dict[tuple[str, str], tuple[int, Any, Any]] = {}

    def add(self, name: str, printed: Path) -> None:
        """Add the sheets of one page after those that are in already."""
        from pypdf import PdfReader

        reader, first = PdfReader(printed), len(self.owners)
        self.places[name, ""] = (first, None, None)
        for anchor, place in reader.named_destinations.items():
            number = first + (reader.get_destination_page_number(place) or 0)
            self.places[name, anchor.removeprefix("/")] = (number, place.left, place.top)
        for sheet in reader.pages:
            self.writer.add_page(sheet)
            self.owners.append(name)

    def destination(self, name: str, anchor: str) -> Any:
        """A place of a page as a PDF names it; the top of the page for an unknown anchor."""
        from pypdf.generic import ArrayObject, FloatObject, NameObject, NullObject

        number, left, top = self.places.get((name, anchor), self.places[name, ""])
        where = [NullObject() if x is None else FloatObject(x) for x in (left, top)]
        sheet = self.writer.pages[number].indirect_reference
        return ArrayObject([sheet, NameObject("/XYZ"), *where, NullObject()])

    def bookmark(self, title: str, name: str, anchor: str = "", above: Any = None) -> Any:
        """An entry of the outline, below another one or at the top."""
        number = self.places[name, anchor][0]
        return self.writer.add_outline_item(
            title=title, page_number=number, parent=above, is_open=above is None
        )


def print_site(chromium: str, site: Path, names: list[str]) -> Sheets:
    """Every page printed, in this order."""
    sheets = Sheets()
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            print(f"   {name}", flush=True)
            printed = Path(scratch) / f"{name.replace('/', '_')}.pdf"
            print_page(chromium, site / f"{name}.html", printed, Path(scratch) / "profile")
            sheets.add(name, printed)
    return sheets


def link_target(link: Any, owner: str, site: Path, root_page: str) -> tuple[str, str] | None:
    """The page and the anchor that a link leads to; None for a link out of the site."""
    if "/Dest" in link:
        return owner, str(link["/Dest"]).removeprefix("/")
    address = link.get("/A", {}).get("/URI", "")
    if not address.startswith("file:"):
        return None
    path, anchor = urllib.parse.urldefrag(address.removeprefix(f"{site.as_uri()}/"))
    name = urllib.parse.unquote(path).removesuffix(".html")
    return root_page if name == "index" else name, anchor


def turn_links_inside(sheets: Sheets, site: Path, root_page: str) -> None:
    """Links between pages lead to the place in the PDF; those to other files become words."""
    from pypdf.generic import ArrayObject, NameObject

    for sheet, owner in zip(sheets.writer.pages, sheets.owners, strict=True):
        kept = ArrayObject()
        for reference in sheet.get("/Annots", ()):
            link = reference.get_object()
            if target := link_target(link, owner, site, root_page):
                name, anchor = target
                if (name, "") not in sheets.places:
                    continue
                link.pop("/A", None)
                place = sheets.destination(name, urllib.parse.unquote(anchor))
                link[NameObject("/Dest")] = place
            kept.append(reference)
        if "/Annots" in sheet:
            sheet[NameObject("/Annots")] = kept


def add_bookmarks(sheets: Sheets, site: Path, parts: list[tuple[str, list[str]]]) -> None:
    """The outline: parts, pages and sections."""
    for caption, names in parts:
        above = sheets.bookmark(caption, names[0]) if caption else None
        for name in names:
            title, sections = headings(site / f"{name}.html")
            entry = sheets.bookmark(title, name, above=above)
            for anchor, section in sections:
                if (name, anchor) in sheets.places:
                    sheets.bookmark(section, name, anchor, entry)


def write_pdf(
    site: Path, target: Path, parts: list[tuple[str, list[str]]], title: str, seconds: int
) -> None:
    """The whole book as one PDF: every page of the site printed, joined, with bookmarks.

    Links between pages lead to the place in the PDF; links to other files of the site, which a
    reader of the PDF does not have, become plain words. RuntimeError where there is no Chromium.
    """
    chromium = find_chromium()
    if not chromium:
        raise RuntimeError(NO_BROWSER)
    site = site.resolve()
    names = [name for _, names in parts for name in names]
    sheets = print_site(chromium, site, names)
    turn_links_inside(sheets, site, names[0])
    add_bookmarks(sheets, site, parts)
    date = datetime.fromtimestamp(seconds, UTC).strftime("D:%Y%m%d%H%M%S+00'00'")
    facts = {"/Title": title, "/Author": "The Mixer Book authors", "/CreationDate": date}
    sheets.writer.add_metadata({**facts, "/Producer": "Chromium and pypdf"})
    sheets.writer.page_mode = "/UseOutlines"
    sheets.writer.write(target)
