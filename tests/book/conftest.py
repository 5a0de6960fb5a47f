"""A browser for the tests that look at the built pages."""

import os
from collections.abc import Iterator

import pytest
from site_pages import DESK, open_tab

from book.tools.pdf import find_chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `site`")
    pytest.importorskip("axe_playwright_python", reason="needs the extra `site`")
    if not (chromium := find_chromium()):
        pytest.skip("no Chromium here, and none is named by CHROMIUM")
    given = ["--disable-dev-shm-usage"]  # in a container that folder is small
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        given.append("--no-sandbox")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=given)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser) -> Iterator[object]:
    """An empty page of a fresh browser, offline, that keeps the requests it was refused."""
    context = browser.new_context(viewport=DESK, color_scheme="light")
    yield open_tab(context)
    context.close()
