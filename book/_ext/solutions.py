"""Exercises on the pages: numbers are checked by a script, on the pages that have such exercises.

Where SOLUTIONS=no, the pages have no solutions: for a teacher who hands the book out before class.
The notebooks run as ever, so nothing has to be run again. The solutions are left out of the pages,
of the search, and of the sources that a reader can download, and so is what a right answer prints.
"""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx_exercise.nodes import solution_end_node, solution_node, solution_start_node

sys.path.append(str(Path(__file__).parents[2]))  # Sphinx does not start there

from book.tools.solutions import are_shown, without_solutions

CORRECT = re.compile(r'<details class="exercise-correct".*?</details>', re.S)


def choose(app: Sphinx, config: Config) -> None:
    """Take the setting from the environment, so that a change of it writes all pages anew."""
    config["mixerbook_solutions"] = are_shown()


def leave_out(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Remove the solutions of a page before it is written and indexed."""
    if app.config.mixerbook_solutions:
        return
    for kind in (solution_node, solution_start_node, solution_end_node):
        for node in list(doctree.findall(kind)):
            node.parent.remove(node)
    for raw in doctree.findall(nodes.raw):
        if (text := raw.astext()) != (rest := CORRECT.sub("", text)):
            raw.children = [nodes.Text(rest)]


def bring_checks(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Give the pages with exercises that ask for numbers the script that checks them."""
    if "data-exercise=" in context.get("body", ""):
        app.add_js_file("exercises.js", loading_method="defer")


def clean_sources(app: Sphinx, problem: Exception | None) -> None:
    """Remove them from the copies of the sources that the pages offer."""
    if problem or app.config.mixerbook_solutions:
        return
    for folder in ("_sources", "_downloads"):
        for path in (Path(app.outdir) / folder).rglob("*"):
            if path.is_file() and path.suffix in (".md", ".txt"):
                text = path.read_text(encoding="utf-8")
                path.write_text(without_solutions(text), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("mixerbook_solutions", True, "env")
    app.connect("config-inited", choose)
    app.connect("doctree-resolved", leave_out)
    app.connect("html-page-context", bring_checks)
    app.connect("build-finished", clean_sources)
    app.add_css_file("exercises.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
