"""Chapters have the numbers of their files, also where some are not written yet."""

import sys
from types import SimpleNamespace

import pytest
from helpers import ROOT

pytest.importorskip("sphinx_book_theme", reason="needs the extra `book`")
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import mixerbook
from docutils import nodes


def page(*numbers):
    """A page's table of contents and its title, with section numbers."""
    toc = nodes.bullet_list()
    toc += [nodes.reference("", "", secnumber=number) for number in numbers]
    return toc, nodes.title("", "", secnumber=numbers[0])


def test_a_chapter_takes_the_number_of_its_file():
    pages = {
        "notebooks/14-results": page([14], [14, 1]),
        "notebooks/13b-whole-run": page([14], [14, 1]),
        "notebooks/17-throughput": page([15], [15, 1], [15, 2, 1]),
        "book/audit": page([3], [3, 1]),
    }
    env = SimpleNamespace(
        tocs={name: toc for name, (toc, _) in pages.items()},
        titles={name: title for name, (_, title) in pages.items()},
        toc_secnumbers={
            name: {str(i): tuple(n["secnumber"]) for i, n in enumerate(toc)}
            for name, (toc, _) in pages.items()
        }
        | {"notebooks/18-roofline": {"": None}},  # deeper than what is numbered
    )
    pages["notebooks/18-roofline"] = toc, title = nodes.bullet_list(), nodes.title()
    env.tocs["notebooks/18-roofline"], env.titles["notebooks/18-roofline"] = toc, title
    mixerbook.number_by_name(env)
    actual = {name: list(numbers.values()) for name, numbers in env.toc_secnumbers.items()}
    assert actual == {
        "notebooks/14-results": [("14",), ("14", 1)],
        "notebooks/13b-whole-run": [("13b",), ("13b", 1)],
        "notebooks/17-throughput": [("17",), ("17", 1), ("17", 2, 1)],
        "book/audit": [(3,), (3, 1)],
        "notebooks/18-roofline": [None],
    }
    for name, numbers in env.toc_secnumbers.items():
        shown = [tuple(node["secnumber"]) for node in env.tocs[name]]
        assert shown == [tuple(number) for number in numbers.values() if number]
    assert env.titles["notebooks/17-throughput"]["secnumber"] == ["17"]
    assert "secnumber" not in title
