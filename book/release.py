"""A release: the site, the Colab notebooks, the package and a PDF, each with its checksum.

    make release                 # for the tag of the current commit, into _build/release/
    make release VERSION=dev     # the same for any commit, to try it out

`make release` builds the pages and the notebooks first; this file packs what is there.
"""

import gzip
import hashlib
import html
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NO_BROWSER = (
    "The PDF is printed by Chromium, and none is here. Install chromium or Google Chrome, "
    "or name its program: CHROMIUM=/path/to/chromium make release"
)


def git(root: Path, *words: str) -> str:
    """What git answers, or an empty string where it refuses."""
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def package_version(root: Path = ROOT) -> str:
    """`__version__` of mixerlib, read without importing torch."""
    text = (root / "mixerlib" / "__init__.py").read_text()
    return re.search(r'^__version__ = "(.+)"$', text, re.M).group(1)


def release_version(root: Path = ROOT) -> str:
    """The version to release: that of the current commit's tag, or `dev` where VERSION=dev.

    ValueError if the commit has no tag, if the tag is not that of mixerlib's version, if files are
    changed since the commit, or if CHANGELOG.md does not tell of that version.
    """
    asked = os.environ.get("VERSION", "")
    if asked == "dev":
        return asked
    if asked:
        raise ValueError(f"`VERSION`={asked!r} must be dev or absent: a release has its tag's name")
    wanted = f"v{package_version(root)}"
    tag = git(root, "describe", "--tags", "--exact-match", "--match", wanted)
    if not tag:
        raise ValueError(
            f"This commit does not have the tag {wanted}, the version of mixerlib. "
            f"Tag it (git tag {wanted}), or try a release out: make release VERSION=dev"
        )
    if changed := git(root, "status", "--porcelain"):
        raise ValueError(f"These files differ from what {tag} names; commit them:\n{changed}")
    version = tag.removeprefix("v")
    told = rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$"
    if not re.search(told, (root / "CHANGELOG.md").read_text(), re.M):
        raise ValueError(
            f"CHANGELOG.md needs a heading for this version: ## {version} - YYYY-MM-DD"
        )
    return version


def commit_time(root: Path = ROOT) -> int:
    """When the commit was made, in seconds since 1970: the date of everything in the release."""
    return int(git(root, "log", "-1", "--format=%ct") or 0)


def write_zip(folder: Path, target: Path, inside: str, seconds: int, pattern: str = "*") -> None:
    """The files of a folder as a zip whose bytes depend on nothing but them and `seconds`.

    Everything lies in one folder called `inside`. Files whose names begin with a dot, which are
    the build's own notes, stay out.
    """
    files = sorted(p for p in folder.rglob(pattern) if p.is_file())
    # a zip's dates begin in 1980
    date = datetime.fromtimestamp(max(seconds, 315532800), UTC).timetuple()[:6]
    with zipfile.ZipFile(target, "w") as archive:
        for path in files:
            name = path.relative_to(folder)
            if any(part.startswith(".") for part in name.parts):
                continue
            entry = zipfile.ZipInfo(f"{inside}/{name.as_posix()}", date)
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes(), compresslevel=9)


def write_checksums(folder: Path) -> None:
    """SHA256SUMS of the folder's files, in the form that `sha256sum --check` reads."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def chapters(root: Path = ROOT) -> list[tuple[str, list[str]]]:
    """The pages in their order, by part: caption and names. The first part is the landing page."""
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    parts = [("", [toc["root"]])]
    for part in toc["parts"]:
        parts.append((part["caption"], [chapter["file"] for chapter in part["chapters"]]))
    return parts


def find_chromium() -> str:
    """The program that prints the pages: CHROMIUM, or the first browser found; empty if none."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named) or ""
    return next((found for name in BROWSERS if (found := shutil.which(name))), "")


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


def write_pdf(
    site: Path, target: Path, parts: list[tuple[str, list[str]]], title: str, seconds: int
) -> None:
    """The whole book as one PDF: every page of the site printed, joined, with bookmarks.

    Links between pages lead to the place in the PDF; links to other files of the site, which a
    reader of the PDF does not have, become plain words. RuntimeError where there is no Chromium.
    """
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import ArrayObject, FloatObject, NameObject, NullObject

    chromium = find_chromium()
    if not chromium:
        raise RuntimeError(NO_BROWSER)
    site = site.resolve()
    writer = PdfWriter()
    places = {}  # (page, anchor) → number of the sheet and distances from its left and bottom edge
    owners = []  # the page that each sheet belongs to
    with tempfile.TemporaryDirectory() as scratch:
        for name in (name for _, names in parts for name in names):
            print(f"   {name}", flush=True)
            printed = Path(scratch) / f"{name.replace('/', '_')}.pdf"
            print_page(chromium, site / f"{name}.html", printed, Path(scratch) / "profile")
            reader = PdfReader(printed)
            places[name, ""] = (len(owners), None, None)
            for anchor, place in reader.named_destinations.items():
                sheet = len(owners) + reader.get_destination_page_number(place)
                places[name, anchor.removeprefix("/")] = (sheet, place.left, place.top)
            for sheet in reader.pages:
                writer.add_page(sheet)
                owners.append(name)

    def spot(name: str, anchor: str) -> ArrayObject:
        number, left, top = places.get((name, anchor), places[name, ""])
        where = [NullObject() if x is None else FloatObject(x) for x in (left, top)]
        sheet = writer.pages[number].indirect_reference
        return ArrayObject([sheet, NameObject("/XYZ"), *where, NullObject()])

    start = f"{site.as_uri()}/"
    for sheet, owner in zip(writer.pages, owners, strict=True):
        kept = ArrayObject()
        for reference in sheet.get("/Annots", ()):
            link = reference.get_object()
            address = link.get("/A", {}).get("/URI", "")
            name, anchor = None, ""
            if "/Dest" in link:
                name, anchor = owner, str(link["/Dest"]).removeprefix("/")
            elif address.startswith("file:"):
                path, anchor = urllib.parse.urldefrag(address.removeprefix(start))
                name = urllib.parse.unquote(path).removesuffix(".html")
                name = parts[0][1][0] if name == "index" else name
                if (name, "") not in places:
                    continue
            if name is not None:
                link.pop("/A", None)
                link[NameObject("/Dest")] = spot(name, urllib.parse.unquote(anchor))
            kept.append(reference)
        if "/Annots" in sheet:
            sheet[NameObject("/Annots")] = kept

    def bookmark(title: str, name: str, anchor: str, above: object) -> object:
        number = places[name, anchor][0]
        return writer.add_outline_item(
            title=title, page_number=number, parent=above, is_open=above is None
        )

    for caption, names in parts:
        above = bookmark(caption, names[0], "", None) if caption else None
        for name in names:
            heading, sections = headings(site / f"{name}.html")
            entry = bookmark(heading, name, "", above)
            for anchor, section in sections:
                if (name, anchor) in places:
                    bookmark(section, name, anchor, entry)
    date = datetime.fromtimestamp(seconds, UTC).strftime("D:%Y%m%d%H%M%S+00'00'")
    facts = {"/Title": title, "/Author": "The Mixer Book authors", "/CreationDate": date}
    writer.add_metadata({**facts, "/Producer": "Chromium and pypdf"})
    writer.page_mode = "/UseOutlines"
    writer.write(target)


def settle_sdist(path: Path, seconds: int) -> None:
    """Write a source distribution anew without the moment, the user and the order of its making."""
    part = path.with_suffix(".part")
    with (
        tarfile.open(path) as old,
        part.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=seconds) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for entry in sorted(old.getmembers(), key=lambda member: member.name):
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = seconds, 0, 0, "", ""
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            entry.pax_headers = {}
            new.addfile(entry, old.extractfile(entry) if entry.isfile() else None)
    part.replace(path)


def build_package(root: Path, folder: Path, seconds: int) -> None:
    """Wheel and sdist of mixerlib, with fixed times, looked over by twine."""
    fixed = {"SOURCE_DATE_EPOCH": str(seconds), "PIP_CONSTRAINT": str(root / "constraints.txt")}
    builder = [sys.executable, "-m", "build", "--outdir", str(folder), str(root)]
    done = subprocess.run(
        builder, env={**os.environ, **fixed}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The package was not built:\n{done.stdout}\n{done.stderr}")
    for path in folder.glob("*.tar.gz"):
        settle_sdist(path, seconds)
    made = sorted(map(str, [*folder.glob("*.whl"), *folder.glob("*.tar.gz")]))
    check = [sys.executable, "-m", "twine", "check", "--strict", *made]
    if subprocess.run(check, check=False).returncode:
        raise RuntimeError("twine finds fault with the package")


def look_before(root: Path = ROOT) -> str:
    """The version, after a look at what could stop the release later; ValueError says what."""
    version = release_version(root)
    missing = [name for name in ("build", "twine", "pypdf") if not importlib.util.find_spec(name)]
    if missing:
        raise ValueError(f"{', '.join(missing)} is not installed: pip install -e '.[release]'")
    if not find_chromium():
        if version != "dev":
            raise ValueError(NO_BROWSER)
        print(f"== No PDF. {NO_BROWSER}")
    return version


def release(root: Path = ROOT) -> Path:
    """Pack what `make book` and `make notebooks` made; return the folder."""
    site, colab = root / "_build" / "html", root / "_build" / "colab"
    if not (site / "index.html").is_file():
        raise ValueError("There are no pages in _build/html: make book")
    if not any(colab.rglob("*.ipynb")):
        raise ValueError("There are no notebooks in _build/colab: make notebooks")
    version, seconds = look_before(root), commit_time(root)
    name = f"mixer-book-{version}"
    folder, part = root / "_build" / "release", root / "_build" / "release.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    print("== The site and the notebooks as zips")
    write_zip(site, part / f"{name}-site.zip", name, seconds)
    write_zip(colab, part / f"{name}-notebooks.zip", f"{name}-notebooks", seconds, "*.ipynb")
    print("== The package")
    build_package(root, part, seconds)
    if find_chromium():
        print("== The PDF, page by page")
        title = f"The Mixer Book, {version}"
        write_pdf(site, part / f"{name}.pdf", chapters(root), title, seconds)
    write_checksums(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def main() -> int:
    """`release.py` packs; `release.py --check` only looks whether it could."""
    try:
        if sys.argv[1:] == ["--check"]:
            print(f"== Release {look_before()}")
            return 0
        folder = release()
    except (ValueError, RuntimeError) as problem:
        print(problem, file=sys.stderr)
        return 1
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>12,}  {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
