"""What a page and a site lose that their readers do not need, and what they keep."""

import sys
from pathlib import Path

import pytest
from helpers import ROOT, Later

pytest.importorskip("sphinx_book_theme", reason="needs the extra `book`")
sys.path.insert(0, str(ROOT / "book" / "_ext"))

lighten = Later("lighten")

PAGE = """<!DOCTYPE html>
<html lang="en" data-content_root="../" >
<head>
<script data-cfasync="false">theme();</script>
<link rel="stylesheet" href="../_static/styles/one.css?v=1" />
<link rel="stylesheet" href="../_static/two.css" />
<link rel="preload" as="script" href="../_static/scripts/b.js" />
<script src="../_static/doctools.js?v=1"></script>
<script>let hint = 'Click';</script>
<script>const THEBE_JS_URL = "https://unpkg.com/thebe"; const x = 1</script>
<script async="async" src="../_static/sphinx-thebe.js?v=1"></script>
<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>
<script>window.MathJax = {"tex": {}}</script>
<script defer="defer" src="../_static/mathjax/startup.js"></script>
<script src="../searchindex.js"></script>
</head>
<body>
<main><i class="fa-solid fa-magnifying-glass fa-lg"></i>
<i class="theme-switch fa-solid fa-sun    fa-lg" data-mode="light" title="Light"></i>
<span class="fas fa-download"></span>
<script>console.log("here");</script>BODY</main>
</body>
</html>
"""
LINKED = '<p class="a b"></p><a href="../_sources/book/page.md">source</a>'
FORMULA = r'<span class="math notranslate">\(h\)</span>'


@pytest.fixture
def light() -> str:
    return lighten.light(PAGE)


def test_scripts_that_a_page_does_not_need_are_gone(light):
    for name in ("thebe", "THEBE", "fontawesome", "searchindex", "preload", "mathjax/"):
        assert name not in light, name


def test_mathjax_comes_where_there_is_a_formula():
    assert "mathjax/startup.js" in lighten.light(PAGE.replace("BODY", FORMULA))
    assert "mathjax/startup.js" not in lighten.light(PAGE)
    assert "window.MathJax = " in lighten.light(PAGE)  # for a term whose meaning has a formula


def test_scripts_stand_at_the_end_in_their_order_but_for_the_theme(light):
    head, _, body = light.partition("<body>")
    assert head.count("<script") == 1 and "theme();" in head
    places = [body.index(part) for part in ("</main>", "doctools.js", "let hint", "window.MathJax")]
    assert places == sorted(places)


def test_icons_are_drawn_with_the_outlines_of_the_theme(light):
    assert "<i" not in light and 'class="fas fa-download"></span>' not in light
    assert light.count("<svg") == 3 == light.count('aria-hidden="true"')
    assert 'class="svg-inline--fa theme-switch fa-solid fa-sun fa-lg" data-mode="light"' in light
    assert len({lighten.icon(name) for name in ("sun", "moon", "bars", "file", "file-pdf")}) == 5


def test_an_icon_that_the_theme_lacks_is_refused():
    with pytest.raises(ValueError, match="no-such-icon"):
        lighten.icon("no-such-icon")


def test_a_page_tells_the_console_nothing(light):
    assert "console.log" not in light
    assert lighten.quiet("console.log('a'),b(console.error(1))") == "void('a'),b(console.error(1))"


def test_a_page_is_lightened_once(light):
    assert lighten.light(light) == light


def test_a_page_that_brings_its_style_stays_as_it_is():
    page = "<html><head><script>a()</script></head><body></body></html>"
    assert lighten.light(page) == page


CSS = """
/* a { comment } */
@import "basic.css";
.used, .gone > a { color: red; }
.gone { content: "}"; }
.used::after { content: "{"; }
@media (max-width: 600px) { .gone { top: 0 } .used { top: 1px } }
@media print { .gone { top: 0 } }
@font-face { font-family: "Text"; src: url(text.woff); }
:is(.used, p):not(.also) { color: blue; }
"""


def test_a_style_sheet_keeps_the_rules_of_classes_that_are_there():
    slim = lighten.slim(CSS, {"used", "also"})
    assert "gone" not in slim and "comment" not in slim and "print" not in slim
    for kept in (".used{", '"{"', "top: 1px", "@font-face", ":not(.also)", '@import "basic.css";'):
        assert kept in slim, kept
    assert slim.count("{") - 1 == slim.count("}")  # one stands in a text


@pytest.fixture
def site(tmp_path: Path) -> Path:
    static = tmp_path / "_static"
    for name, text in {
        "_static/styles/one.css": '@import "../basic.css"; .a { background: url("dot.png"); }',
        "_static/basic.css": ".b { background: url(minus.png); } .c { top: 0 }",
        "_static/two.css": "@font-face { font-family: FontAwesome; src: url(fa-solid.ttf); }",
        "_static/doctools.js": "console.log(1)",
        "_static/draw.py": "print()",
        "_static/fa-solid.ttf": "",
        "_static/minus.png": "",
        "_static/styles/dot.png": "",
        "_static/locales/de/a.mo": "",
        "_static/mathjax/startup.js": "",
        "_static/mathjax/tex-svg.js": "",
        "_sources/book/page.md": "",
        "book/page.html": PAGE.replace(
            "BODY", '<p class="a b"></p><a href="../_sources/book/page.md">'
        ),
        "book/other.html": PAGE,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert static.is_dir()
    return tmp_path


class Builder:
    name = "html"


class App:
    def __init__(self, site: Path):
        self.outdir, self.builder, self.config = str(site), Builder(), self
        self.mathjax3_config = {"loader": {"load": ["core"]}}


def files(site: Path) -> set[str]:
    return {p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()}


def test_a_site_keeps_what_its_pages_lead_to(site):
    lighten.lighten(App(site), None)
    assert files(site) == {
        "book/page.html",
        "book/other.html",
        "_sources/book/page.md",
        "_static/book.css",
        "_static/doctools.js",
        "_static/minus.png",
        "_static/styles/dot.png",
        "_static/mathjax/startup.js",
    }
    assert not (site / "_static" / "locales").exists()
    css = (site / "_static" / "book.css").read_text()
    assert "url(styles/dot.png)" in css and "url(minus.png)" in css and ".c" not in css
    assert "FontAwesome" not in css
    page = (site / "book" / "page.html").read_text()
    assert page.count("stylesheet") == 1 and 'href="../_static/book.css?v=' in page


def test_a_site_is_lightened_once(site):
    lighten.lighten(App(site), None)
    before = {name: (site / name).read_text() for name in files(site)}
    lighten.lighten(App(site), None)
    assert {name: (site / name).read_text() for name in files(site)} == before


def test_a_build_that_failed_is_left_alone(site):
    before = files(site)
    lighten.lighten(App(site), RuntimeError("a page is wrong"))
    assert files(site) == before


def test_mathjax_comes_in_its_parts_and_the_theme_follows_the_system():
    config = {"html_context": {"other": 1}, "mathjax_path": "mathjax/tex-chtml.js"}
    lighten.choose(None, config)
    assert config["mathjax_path"] == "mathjax/startup.js"
    assert config["html_context"] == {"default_mode": "auto", "other": 1}
