"""For all tests: one thread, no haste, and a data set of few images."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT, few_digits, missing
from hypothesis import HealthCheck, settings
from stamps import PROSE

from mixerlib.data import Dataset

torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for each other
# On a busy machine an example may take long for no fault of its own. In CI too examples are new.
settings.register_profile(
    "busy",
    deadline=None,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """70 training and 30 test images: three batches of 32, the last of them of 6."""
    return few_digits()


# A browser, for the tests that look at the built pages; what it needs is imported by these alone.


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    from book.tools.pdf import find_chromium

    if not (chromium := find_chromium()):
        missing("needs a Chromium; none is here, and none is named by CHROMIUM")
    for package in ("playwright", "axe_playwright_python"):
        if not find_spec(package):
            missing("needs the extra `site`")
    from playwright.sync_api import sync_playwright

    given = ["--disable-dev-shm-usage"]  # in a container that folder is small
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        given.append("--no-sandbox")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=given)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser) -> Iterator[object]:
    """An empty page of a fresh browser, offline, that keeps the requests it was refused."""
    from site_pages import DESK, open_tab

    context = browser.new_context(viewport=DESK, color_scheme="light")
    yield open_tab(context)
    context.close()


@pytest.fixture(params=["node", "chromium"])
def run_script(request) -> Callable[[Any, str], Any]:
    """Runs a program after the script of an interactive: `run_scripts` says how. A test that asks
    for it runs twice, in Node and in a Chromium, for the reader has the second."""
    from run_scripts import in_browser, in_node

    if request.param == "node":
        return in_node
    return partial(in_browser, request.getfixturevalue("tab"))


loaded: frozenset[str] = frozenset()  # the modules that collecting the tests has imported

# `make test` skips tests that read no prose where nothing but prose has changed. Those of the book
# read it, and others say so by the mark `prose`; a test that opens a page without it fails.


def pytest_collection_finish() -> None:
    global loaded
    loaded = frozenset(sys.modules)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ROOT / "tests" / "book" in item.path.parents:
            item.add_marker("prose")
        # One visit to a page serves all tests that ask it, so they run in one process.
        parameters = getattr(item, "callspec", None)
        if parameters and (page := parameters.params.get("visited")):
            item.add_marker(pytest.mark.xdist_group(page))


pages: list[str] | None = None  # which the test now running has opened, if it has no mark


def _note_page(event: str, arguments: tuple) -> None:
    if event == "open" and pages is not None and isinstance(arguments[0], str | os.PathLike):
        path = Path(os.path.abspath(arguments[0]))  # noqa: PTH100 — resolve() would open folders
        if path.suffix in PROSE and ROOT in path.parents and ".venv" not in path.parts:
            pages.append(str(path.relative_to(ROOT)))


sys.addaudithook(_note_page)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    global pages
    pages = None if item.get_closest_marker("prose") else []
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield
    assert not pages, f"needs the mark `prose`, as it opens {pages}"
