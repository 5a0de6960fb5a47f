"""What the built pages weigh, as a server sends them, packed by gzip; and that nothing lies idle.

SITE=some/folder weighs the pages of another folder.
"""

import functools
import gzip
import mimetypes
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from site_pages import DESK, PAGES, SITE, VISITED, needs_pages

pytestmark = needs_pages

LIMIT = 400_000  # bytes: page, styles, scripts and MathJax, without the pictures in the page
FONTS = 150_000  # bytes: the fonts of MathJax that a page may ask for on top of that
INDEX = 650_000  # bytes: what the page that searches asks for on top, and no other page does
FIRST_PAINT = 2.0  # seconds, at 1.6 Mbit/s and 150 ms, as on a slow phone
SLOW = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 90_000}
PACKED = (".woff", ".woff2", ".png", ".jpg")  # as they are


def drawings(text: str) -> str:
    """The page without its pictures; icons are no pictures."""
    text = re.sub(r"<svg(?![^>]*svg-inline).*?</svg>", "", text, flags=re.S)
    return re.sub(r'src="data:[^"]*"', "", text)


def packed(text: str) -> int:
    return len(gzip.compress(text.encode(), 6, mtime=0))


class Packing(SimpleHTTPRequestHandler):
    """Serves a folder as hosts of pages do: packed, over connections that stay open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        present = path.is_file()
        body = path.read_bytes() if present else b""
        self.send_response(200 if present else 404)
        if present and path.suffix not in PACKED:
            body = gzip.compress(body, 6)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", mimetypes.guess_type(path.name)[0] or "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    handler = functools.partial(Packing, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()


PAINTS = "performance.getEntriesByName('first-contentful-paint')"


def load(browser: object, address: str, slow: bool = False) -> tuple[dict[str, int], list, float]:
    """What one visit brings: (bytes of each address, what the console says, the first paint)."""
    context = browser.new_context(viewport=DESK, service_workers="block")
    context.set_default_timeout(180_000)
    tab, said, sizes, names = context.new_page(), [], {}, {}
    tab.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: said.append(str(error)))
    wire = context.new_cdp_session(tab)
    wire.send("Network.enable")
    wire.on(
        "Network.responseReceived",
        lambda event: names.update({event["requestId"]: event["response"]["url"]}),
    )
    wire.on(
        "Network.loadingFinished",
        lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}),
    )
    if slow:
        wire.send("Network.emulateNetworkConditions", SLOW)
    tab.goto(address)
    tab.evaluate("() => window.MathJax?.startup?.promise?.then(() => null)")
    tab.evaluate("() => document.fonts.ready.then(() => null)")
    tab.wait_for_function(f"() => {PAINTS}.length")
    paint = tab.evaluate(f"() => {PAINTS}[0].startTime")
    context.close()
    brought = {names[key]: size for key, size in sizes.items() if names[key].startswith("http")}
    return brought, said, paint / 1000


@pytest.mark.parametrize("name", [name for name in VISITED if name != "404.html"])
def test_a_page_is_light_and_the_console_is_silent(browser, server, name):
    brought, said, _ = load(browser, f"{server}/{name}")
    assert said == []
    text = (SITE / name).read_text()
    pictures = packed(text) - packed(drawings(text))
    index = sum(size for url, size in brought.items() if "/sections.js" in url)
    fonts = sum(size for url, size in brought.items() if url.endswith(".woff"))
    rest = sum(brought.values()) - pictures - fonts - index
    assert rest < LIMIT, sorted(brought.items(), key=lambda item: -item[1])[:6]
    assert index < INDEX
    assert fonts < FONTS
    has_formula = 'class="math' in text
    assert any("/mathjax/" in url for url in brought) == has_formula


# The first page, the lightest and the heaviest chapters, and the longest pages of another kind
FIRST = r"book/(index|audit|api)|notebooks/(01|12|13|14)-"


@pytest.mark.parametrize("name", [name for name in VISITED if re.match(FIRST, name)])
def test_a_page_is_there_within_two_seconds_on_a_slow_line(browser, server, name):
    best = min(load(browser, f"{server}/{name}", slow=True)[2] for _ in range(3))
    assert best < FIRST_PAINT  # the best of three: this machine may be busy


def test_nothing_in_the_site_is_there_for_nothing():
    """Every file is named by a page, by a style sheet or by a script, but for a few."""
    pages = "".join(path.read_text() for path in PAGES)
    static = [*(SITE / "_static").rglob("*.css"), *(SITE / "_static").rglob("*.js")]
    texts = pages + "".join(path.read_text() for path in static)
    idle = []
    for path in SITE.rglob("*"):
        known = path.suffix == ".woff" or path.name in {"objects.inv", ".buildinfo", "sitemap.xml"}
        if path.is_dir() or known or path in PAGES or "LICENSE" in path.name:
            continue
        if path.name not in texts and path.stem not in texts:
            idle.append(path.relative_to(SITE).as_posix())
    assert idle == []
    assert not [*SITE.rglob("*.py")] and not [*SITE.rglob("*.map")]
    for script in ("THEBE_JS_URL", "sphinx-thebe.js", "fontawesome.js", "searchindex.js"):
        assert script not in pages
