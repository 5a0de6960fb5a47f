"""The order of the pages, from _toc.yml."""

import re
from pathlib import Path

import yaml

from book.tools import ROOT


def parts(root: Path = ROOT) -> list[tuple[str, list[str]]]:
    """The pages by part: caption and names, such as notebooks/01-patches.

    The first part is the landing page alone, without a caption.
    """
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    rest = [(part["caption"], [page["file"] for page in part["chapters"]]) for part in toc["parts"]]
    return [("", [toc["root"]]), *rest]


def pages(root: Path = ROOT) -> list[str]:
    """All pages in their order."""
    return [page for _, names in parts(root) for page in names]


def chapters(root: Path = ROOT) -> list[str]:
    """The pages that are notebooks, in their order."""
    return [page for page in pages(root) if page.startswith("notebooks/")]


def chapter_number(page: str) -> str | None:
    """The number in a chapter's name, which is its number on the site; None for another page.

    A letter may follow it, as in 13b-whole-run: what became two chapters keeps its place, and the
    chapters after it keep their numbers.
    """
    match = re.match(r"notebooks/0?(\d+[a-z]?)-", page)
    return match[1] if match else None
