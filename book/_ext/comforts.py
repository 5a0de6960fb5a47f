"""Comforts of the site: terms that say what they mean, cards for links to it, a way back, a map.

_static/tips.js   what each term of the glossary means; mixerbook.js shows it at the links
index.html        leads to the first page; a link to the whole site shows its card
404.html          what a wrong address shows, at any depth
sitemap.xml       every page, for search engines; only where the book's home is known
"""

import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

sys.path.append(str(Path(__file__).parents[2]))  # Sphinx does not start there

from book.tools.repository import site_address

GLOSSARY = "book/glossary"
LOGO = Path(__file__).parents[1] / "assets" / "logo.svg"
CARD_TEXT = (
    "The Mixer Book. Seven drawings, ConvMixer and the six SplitMixer strategies: which channels "
    "each of four blocks mixes, and how many parameters are left."
)


def find_address(app: Sphinx, config: Config) -> None:
    """Take the site's address from the repository that mixerbook.py found, or have none."""
    home = (
        config["html_theme_options"].get("repository_url", "").removeprefix("https://github.com/")
    )
    config["html_baseurl"] = site_address(home)  # Sphinx gives each page its canonical link with it


def description(doctree: nodes.document) -> str:
    """What a page is about: its first paragraph, if that can be said without formulas."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split()).replace(r"\times", "×")
        return "" if "\\" in text or "{" in text else text
    return ""


def card(title: str, about: str, url: str, address: str) -> str:
    """The tags that make a link to a page show a card; only the description without an address."""
    tags = [("name", "description", about)] if about else []
    if address:
        tags += [("property", "og:description", about)] if about else []
        tags += [
            ("property", "og:type", "website"),
            ("property", "og:site_name", "The Mixer Book"),
            ("property", "og:title", title),
            ("property", "og:url", url),
            ("property", "og:image", f"{address}_static/card.png"),
            ("property", "og:image:width", "1200"),
            ("property", "og:image:height", "630"),
            ("property", "og:image:alt", CARD_TEXT),
            ("name", "twitter:card", "summary_large_image"),
        ]
    return "".join(f'<meta {k}="{n}" content="{html.escape(v)}" />\n' for k, n, v in tags)


def add_card(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Give a page its description and its card."""
    if isinstance(doctree, nodes.document):
        address = app.config.html_baseurl
        title = html.unescape(re.sub(r"<[^>]+>", "", context.get("title", "")))
        tags = card(title, description(doctree), f"{address}{page}.html", address)
        context["metatags"] = context.get("metatags", "") + tags


def meanings(app: Sphinx) -> dict[str, str]:
    """Each term's anchor on the glossary page → its definition as HTML without links."""
    if GLOSSARY not in app.env.found_docs:
        return {}
    doctree = app.env.get_and_resolve_doctree(GLOSSARY, app.builder)
    texts = {}
    for entry in doctree.findall(nodes.definition_list_item):
        text = "".join(
            app.builder.render_partial(part.deepcopy())["fragment"]
            for definition in entry.findall(nodes.definition)
            for part in definition.children
        )
        text = re.sub(r"</?a\b[^>]*>", "", text).strip()
        for term in entry.findall(nodes.term):
            texts |= {anchor: text for anchor in term["ids"]}
    return texts


def pages(app: Sphinx) -> Iterator[tuple[str, str]]:
    """The pages in the book's order: name, and title with the chapter's number."""
    waiting = [app.config.root_doc]
    while waiting:
        name = waiting.pop(0)
        waiting = app.env.toctree_includes.get(name, []) + waiting
        number = app.env.toc_secnumbers.get(name, {}).get("", ())
        title = app.env.titles[name].astext()
        yield name, f"{'.'.join(map(str, number))}. {title}" if number else title


STYLE = """
body { margin: 0; background: #fff; color: #1f2328; font: 1rem/1.6 system-ui, sans-serif; }
main { max-width: 40rem; margin: 0 auto; padding: 2rem 1rem; }
svg { width: 4rem; height: 4rem; }
a { color: #0d58c2; }
li { margin: .25rem 0; }
@media (prefers-color-scheme: dark) {
  body { background: #14181e; color: #ced6dd; }
  a { color: #7db4ff; }
}
"""


def plain_page(title: str, head: str, body: str) -> str:
    """A page that needs no other file: its style is inside."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n{head}<style>{STYLE}</style>\n</head>\n"
        f"<body><main>\n{LOGO.read_text()}{body}</main></body>\n</html>\n"
    )


def not_found(address: str, listed: list[tuple[str, str]]) -> str:
    """404.html: the server shows it at any depth, so its links begin with the whole address."""
    links = "".join(
        f'<li><a href="{address}{name}.html">{html.escape(title)}</a></li>\n'
        for name, title in listed
    )
    body = (
        "<h1>There is no page here</h1>\n<p>The address may have a slip, or come from an earlier "
        f"version of the book. These are its pages:</p>\n<ul>\n{links}</ul>\n"
    )
    head = '<meta name="robots" content="noindex">\n'
    return plain_page("No such page — The Mixer Book", head, body)


def front_door(root: str, about: str, address: str) -> str:
    """index.html: leads to the first page at once."""
    head = f'<meta http-equiv="refresh" content="0; url={root}.html">\n'
    head += card("The Mixer Book", about, address, address)
    body = f'<h1>The Mixer Book</h1>\n<p><a href="{root}.html">To the first page</a></p>\n'
    return plain_page("The Mixer Book", head, body)


def site_map(address: str, names: list[str]) -> str:
    """sitemap.xml of these pages."""
    places = "".join(f"<url><loc>{address}{name}.html</loc></url>\n" for name in names)
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{space}">\n{places}</urlset>\n'


def write_files(app: Sphinx, problem: Exception | None) -> None:
    """Write the files that are no pages of the book."""
    if problem or app.builder.name != "html":
        return
    out, address, listed = Path(app.outdir), app.config.html_baseurl, list(pages(app))
    root = app.config.root_doc
    tips = json.dumps(meanings(app), ensure_ascii=False, indent=0).replace("</", r"<\/")
    (out / "_static" / "tips.js").write_text(f"window.mixerBookTips = {tips};\n")
    (out / "404.html").write_text(not_found(address, listed))
    if root != "index":
        about = description(app.env.get_doctree(root))
        (out / "index.html").write_text(front_door(root, about, address))
    if address:
        (out / "sitemap.xml").write_text(site_map(address, [name for name, _ in listed]))
    else:
        (out / "sitemap.xml").unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_js_file("tips.js", loading_method="defer")
    app.add_js_file("mixerbook.js", loading_method="defer")
    app.connect("config-inited", find_address, priority=600)  # after mixerbook.py looked for it
    app.connect("html-page-context", add_card)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
