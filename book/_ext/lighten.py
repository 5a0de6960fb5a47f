"""A light site: when all is written, each page and each folder loses what its readers do not need.

A page keeps the scripts it uses, at its end, where they hold up nothing; its icons are drawn in the
page; MathJax comes only where there is a formula. Style sheets lose the rules of classes that are
nowhere. Files that nothing leads to go. Everything here may be done twice.
"""

import hashlib
import re
import urllib.parse
from functools import cache
from pathlib import Path

import pydata_sphinx_theme
from sphinx.application import Sphinx
from sphinx.config import Config

THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"

# What a page's tags say of scripts and styles that the book does without: the live code of thebe,
# which asks a server on the network; Sphinx's search, which finding.py replaces; the icons' script.
UNUSED = (
    r"<script[^>]*(?:sphinx-thebe|fontawesome|searchtools|language_data|searchindex)[^>]*></script>",
    r"<script[^>]*>[^<]*THEBE_JS_URL[^<]*</script>",
    r'<script type="text/x-thebe-config">[^<]*</script>',
    r"<script>\s*kernelName = [^<]*</script>",
    r"<link[^>]*sphinx-thebe[^>]*>",
    r'<link rel="preload" as="script"[^>]*>',
    r'<meta name="docsearch:[^>]*>',
)
MATHJAX = r"<script[^>]*/mathjax/[^>]*></script>"  # its settings stay: mixerbook.js may need it
FORMULA = re.compile(r'class="math|class="[^"]*mathjax_process')
SCRIPT = re.compile(r"<script(?![^>]*data-cfasync)[^>]*>.*?</script>\s*", re.S)
ICON = re.compile(r'<(i|span) class="([^"]*\bfa-[^"]*)"([^>]*)></\1>')
# The solid drawing of an icon in the script that the theme brings: width, height, other names, the
# place in a font, the outline. Where there are two, the solid one is the last.
DRAWING = r'[,{{]"?{name}"?:\[(\d+),(\d+),\[[^\]]*\],"\w+","([^"]+)"\]'


@cache
def icon(name: str) -> tuple[str, str, str]:
    """The width, the height and the outline of an icon of the theme.

    Raises `ValueError` for a name that the theme does not have.
    """
    script = (THEME / "scripts" / "fontawesome.js").read_text(encoding="utf-8")
    if not (drawings := re.findall(DRAWING.format(name=re.escape(name)), script)):
        raise ValueError(f"`name`={name!r} must be an icon of the theme")
    return drawings[-1]


def drawn(match: re.Match) -> str:
    """An icon's tag → its drawing, with the tag's classes and attributes."""
    classes, rest = " ".join(match[2].split()), match[3]
    name = next(re.finditer(r"\bfa-(?!solid\b|lg\b)([\w-]+)", classes))[1]
    width, height, outline = icon(name)
    rest = re.sub(r'\s+title="[^"]*"', "", rest)  # the button around it says what it does
    return (
        f'<svg class="svg-inline--fa {classes}"{rest} aria-hidden="true" '
        f'viewBox="0 0 {width} {height}"><path fill="currentColor" d="{outline}"/></svg>'
    )


def light(page: str) -> str:
    """The page's HTML without what it does not use, and its scripts at its end."""
    head, opening, body = page.partition("<body")
    if "data-content_root" not in head:  # 404.html and the front door bring no other file
        return page
    for pattern in UNUSED:
        head, body = re.sub(pattern, "", head, flags=re.S), re.sub(pattern, "", body, flags=re.S)
    if not FORMULA.search(body):
        head, body = re.sub(MATHJAX, "", head), re.sub(MATHJAX, "", body)
    scripts = "".join(SCRIPT.findall(head))
    head = SCRIPT.sub("", head)
    body = SCRIPT.sub(lambda match: quiet(match[0]), ICON.sub(drawn, body))
    before, end, after = body.rpartition("</body>")
    return head + opening + before + scripts + end + after


# --- style sheets ---------------------------------------------------------------------------------


def words_of(site: Path) -> set[str]:
    """Every word in the pages and scripts of a site that may be a class."""
    words: set[str] = set()
    for path in (*site.rglob("*.html"), *site.joinpath("_static").rglob("*.js")):
        if "mathjax" not in path.parts:
            words |= set(re.findall(r"[\w-]+", path.read_text(encoding="utf-8")))
    return words


def blocks(css: str) -> list[tuple[str, str]]:
    """A style sheet's rules: (what stands before the braces, what stands within).

    What has no braces, as an @import, has nothing within.
    """
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    rules, start, depth, opened, quote = [], 0, 0, 0, ""
    for place, sign in enumerate(css):
        if quote or sign in "\"'":
            quote = "" if sign == quote and css[place - 1] != "\\" else quote or sign
        elif sign == ";" and depth == 0:
            rules.append((css[start : place + 1].strip(), ""))
            start = place + 1
        elif sign == "{":
            depth += 1
            opened = place if depth == 1 else opened
        elif sign == "}":
            depth -= 1
            if depth == 0:
                rules.append((css[start:opened].strip(), css[opened + 1 : place]))
                start = place + 1
    return rules


def slim(css: str, words: set[str]) -> str:
    """The style sheet without the selectors that name a class which is no word of the site."""
    kept = []
    for head, inside in blocks(css):
        if not inside:
            kept += [head] if head.endswith(";") else []
        elif head.startswith(("@media", "@supports", "@layer")):
            kept += [f"{head}{{{rest}}}"] if (rest := slim(inside, words)) else []
        elif head.startswith("@"):
            kept.append(f"{head}{{{inside}}}")
        else:
            selectors = re.split(r",(?![^(]*\))", head)
            used = [s for s in selectors if {*re.findall(r"\.(-?[a-zA-Z_][\w-]*)", s)} <= words]
            kept += [f"{','.join(used)}{{{inside.strip()}}}"] if used else []
    return "\n".join(kept)


SHEET = re.compile(r'<link(?=[^>]*rel="stylesheet")[^>]*href="([^"]*_static/[^"?]+)[^"]*"[^>]*>\s*')


def whole(path: Path, site: Path) -> str:
    """The text of a style sheet with those that it imports, its addresses as from _static."""

    def imported(match: re.Match) -> str:
        return whole((path.parent / match[1]).resolve(), site)

    def moved(match: re.Match) -> str:
        place = (path.parent / match[1]).resolve()
        inside = place.is_relative_to(site / "_static")
        return f"url({place.relative_to(site / '_static').as_posix()})" if inside else match[0]

    css = path.read_text(encoding="utf-8")
    css = re.sub(r"(?<!@import )url\([\"']?(?!data:|#)([^\"')?#]+)[^)]*\)", moved, css)
    return re.sub(r"@import\s+(?:url\()?[\"']([^\"':]+)[\"']\)?;", imported, css)


def bundle(site: Path, pages: list[Path]) -> None:
    """Write the style sheets as one, and let the pages ask for that: one request, not a dozen."""
    texts = {path: path.read_text(encoding="utf-8") for path in pages}
    lists = {path: SHEET.findall(text) for path, text in texts.items()}
    fresh = [path for path, sheets in lists.items() if len(sheets) > 1]
    if not fresh:  # nothing was written since the last time
        return
    longest = max(fresh, key=lambda path: len(lists[path]))
    css = "\n".join(whole((longest.parent / s).resolve(), site) for s in lists[longest])
    css = without_lost_fonts(slim(css, words_of(site)))
    (site / "_static" / "book.css").write_text(css, encoding="utf-8")
    digest = hashlib.sha256(css.encode()).hexdigest()[:8]
    for path, text in texts.items():
        if lists[path]:
            root = lists[path][0].partition("_static/")[0]
            link = f'<link rel="stylesheet" href="{root}_static/book.css?v={digest}">\n'
            place = SHEET.search(text).start()
            path.write_text(text[:place] + link + SHEET.sub("", text[place:]), encoding="utf-8")


def without_lost_fonts(css: str) -> str:
    """The style sheet without the faces of the icons' fonts, which the drawings replace."""
    return re.sub(r"@font-face\s*\{[^}]*(?:fa-|fontawesome)[^}]*\}", "", css, flags=re.I)


# --- files ----------------------------------------------------------------------------------------


def led_to(site: Path, path: Path) -> set[Path]:
    """The files of the site that a page or a style sheet names."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        links = re.findall(r'(?:href|src|og:image" content)="([^"]+)"', text)
    else:
        links = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", text)
    where = set()
    for link in links:
        if link.startswith("data:"):
            continue
        place = urllib.parse.unquote(urllib.parse.urlsplit(link).path)
        for target in (path.parent / place, site / place.rpartition("/_static/")[2]):
            if place and (target := target.resolve()).is_file():
                where.add(target)
    return where


def needed(site: Path, mathjax: list[str]) -> set[Path]:
    """The files that some page leads to, and those that its scripts ask for."""
    static = site / "_static"
    waiting = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    reached = {*waiting, *(static / "mathjax" / f"{name}.js" for name in mathjax)}
    reached |= {*static.glob("mathjax/output/chtml/fonts/woff-v2/*"), *static.rglob("*LICENSE*")}
    while waiting:
        path = waiting.pop()
        if path.suffix in (".html", ".css"):
            new = led_to(site, path) - reached
            reached |= new
            waiting += new
    return reached


def prune(site: Path, mathjax: list[str]) -> None:
    """Delete what no page needs from _static and _sources, and folders that are empty then."""
    keep = needed(site, mathjax)
    for folder in (site / "_static", site / "_sources", site / "_sphinx_design_static"):
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_file() and path not in keep:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def quiet(script: str) -> str:
    """The script without what it tells the console of its work; errors it may still report."""
    return re.sub(r"\bconsole\.log\(", "void(", script)


def components(config: Config) -> list[str]:
    """The files of MathJax that pages load: those that the settings name, and what these load."""
    named = config.mathjax3_config["loader"]["load"] if config.mathjax3_config else []
    files = [name.replace("[tex]/", "input/tex/extensions/") for name in named]
    return ["startup", *files, "output/chtml/fonts/tex"]


def lighten(app: Sphinx, problem: Exception | None) -> None:
    """Do all of this to the site that was built."""
    if problem or app.builder.name != "html":
        return
    site = Path(app.outdir).resolve()
    pages = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    for path in pages:
        page = path.read_text(encoding="utf-8")
        if (lighter := light(page)) != page:
            path.write_text(lighter, encoding="utf-8")
    prune(site, components(app.config))
    for path in (site / "_static").rglob("*.js"):
        path.write_text(quiet(path.read_text(encoding="utf-8")), encoding="utf-8")
    bundle(site, pages)
    prune(site, components(app.config))  # the sheets that are in that one, and the icons' fonts


def choose(app: Sphinx, config: Config) -> None:
    """Settings that extensions and the theme would have otherwise: MathJax in the parts that are
    named, and light or dark as the reader's system is (the theme complains where nothing says so).
    """
    config["mathjax_path"] = "mathjax/startup.js"
    config["html_context"] = {"default_mode": "auto"} | config["html_context"]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", choose)
    app.connect("build-finished", lighten, priority=900)  # after all who write files
    return {"parallel_read_safe": True, "parallel_write_safe": True}
