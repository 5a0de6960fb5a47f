"""What the build needs beyond _config.yml: a cache that notices the library, links to its home."""

import hashlib
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as TocTreeCollector

sys.path.append(str(Path(__file__).parents[2]))  # Sphinx does not start there

from book.tools import ROOT
from book.tools.repository import home
from book.tools.toc import chapter_number

# jupyter-cache looks at a notebook's own text only. These decide its outputs just as much.
PACKAGES = ("torch", "numpy", "scikit-learn", "matplotlib")


def sources_hash() -> str:
    """A hash of what decides a notebook's outputs besides its text: mixerlib, records, packages."""
    digest = hashlib.sha256()
    library = (p for p in (ROOT / "mixerlib").rglob("*") if p.is_file() and p.suffix != ".pyc")
    read = (*(ROOT / "book").glob("assets/*.py"), *(ROOT / "book").glob("*.yaml"))
    stored = ROOT / "book" / "records"
    records = set(stored.rglob("*.json")) - set(
        stored.glob("notebooks/*")
    )  # told, not computed with
    for path in sorted((*library, *read, *records)):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update(" ".join(f"{name}={version(name)}" for name in PACKAGES).encode())
    for name in ("MIXERLIB_DATA", "MIXERBOOK_TIMES"):
        digest.update(f"{name}={os.environ.get(name, '')}".encode())
    return digest.hexdigest()[:16]


def choose_cache(app: Sphinx, config: Config) -> None:
    """Keep executed notebooks in a folder named by that hash, and drop those of earlier hashes."""
    caches = ROOT / "_build" / "executed"
    current = caches / sources_hash()
    for old in caches.glob("*"):
        if old != current:
            shutil.rmtree(old)
    config["nb_execution_cache_path"] = str(current)


def say_that_it_is_a_page(app: Sphinx, config: Config) -> None:
    """Tell the kernels of this build that no reader's kernel will stand behind the page, so that
    `mixerlib.widgets` show still figures, and what the pages time is read from its records, unless
    `make book MIXERBOOK_TIMES=live` says otherwise."""
    os.environ["MIXERBOOK_PAGE"] = "1"
    os.environ.setdefault("MIXERBOOK_TIMES", "read")


def link_home(app: Sphinx, config: Config) -> None:
    """Give every page its source, edit and issue links, where the book's home is known."""
    if where := home():
        config["html_theme_options"] |= {
            "repository_url": f"https://github.com/{where}",
            "repository_branch": "main",
            "path_to_docs": "",
            "use_repository_button": True,
            "use_source_button": True,
            "use_edit_page_button": True,
            "use_issues_button": True,
        }


def where_to_get_it(where: str) -> str:
    """Where a clone or a release comes from, and where a mistake is told, as Markdown."""
    if not where:
        return (
            "These pages were built from a copy of the book that has no address on GitHub, so they "
            "cannot link to one. Whoever gave you the pages has the book's folder, which is all "
            "that `make` needs, and can make a release of it: `make release VERSION=dev`. They are "
            "also the ones to tell of a mistake."
        )
    url = f"https://github.com/{where}"
    return (
        f"The book lives at [{where}]({url}). `git clone {url}` makes a clone of it, which is the "
        f"book's folder; the [releases]({url}/releases) hold the pages, the notebooks and the "
        f"library as a wheel. A mistake is told as [an issue]({url}/issues)."
    )


class WhereToGetIt(SphinxDirective):
    """Puts that paragraph in its place, as if it had been written there."""

    def run(self) -> list[nodes.Node]:
        node = nodes.container(classes=["where-to-get-it"])
        lines = StringList([where_to_get_it(home())], source=__file__)
        self.state.nested_parse(lines, self.content_offset, node)
        return [node]


def how_to_run(page: str, where: str) -> str:
    """The line below a chapter's opening: a way to Colab, or, without a home, how to run it."""
    if where:
        url = f"https://colab.research.google.com/github/{where}/blob/colab/{page}.ipynb"
        button = "sd-btn sd-btn-outline-primary"  # sphinx-design's, which come with the book
        return f'<p class="run-here"><a class="{button}" href="{url}">Open in Colab</a></p>'
    name = page.rpartition("/")[2]
    return (
        '<p class="run-here">To run this chapter, type <code>make lab</code> in '
        '<a class="reference internal" href="../book/preface.html#get-the-book">the book\'s folder'
        f"</a> and open <code>{name}.md</code>.</p>"
    )


def say_how_to_run(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Put that line below the opening of every chapter, before its first section."""
    if page.startswith("notebooks/") and "body" in context:
        url = app.config.html_theme_options.get("repository_url", "")
        line = how_to_run(page, url.removeprefix("https://github.com/"))
        title, end, text = context["body"].partition("</h1>")
        context["body"] = title + end + text.replace("<section", f"{line}\n<section", 1)


def mend_roles(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Sphinx calls a bibliography a list but its entries no list items, and gives these a role
    that is no longer one; leave both out."""
    if "body" in context:
        body = context["body"].replace('<div role="list" class="citation', '<div class="citation')
        context["body"] = body.replace(' role="doc-biblioentry"', "")


def number_by_name(env: BuildEnvironment) -> None:
    """Give each chapter the number of its file, in place of its count among those that are there.

    So 17-throughput is chapter 17 before 16 is written, and its equations are (17.1), ….
    """
    for page, numbers in env.toc_secnumbers.items():
        first = chapter_number(page)
        if not first:
            continue
        for anchor, number in numbers.items():
            numbers[anchor] = number and (first, *number[1:])
        for node in (env.titles[page], *env.tocs[page].findall(nodes.reference)):
            if number := node.get("secnumber"):
                node["secnumber"] = [first, *number[1:]]


def number_chapters(app: Sphinx) -> None:
    """Do that whenever the sections have been numbered, before equations are."""
    count = TocTreeCollector.assign_section_numbers
    if getattr(count, "by_name", False):  # of an earlier build in this process
        return

    def assign(collector: TocTreeCollector, env: BuildEnvironment) -> list[str]:
        changed = count(collector, env)
        number_by_name(env)
        return changed

    assign.by_name = True
    TocTreeCollector.assign_section_numbers = assign


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("where-to-get-it", WhereToGetIt)
    app.connect("builder-inited", number_chapters)
    app.connect("config-inited", choose_cache, priority=100)  # before myst-nb reads the setting
    app.connect("config-inited", say_that_it_is_a_page)
    app.connect("config-inited", link_home)
    app.connect("html-page-context", mend_roles)
    app.connect("html-page-context", say_how_to_run)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
