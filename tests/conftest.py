"""For all tests: one thread, no haste, and a data set of few images."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import ROOT, few_digits
from hypothesis import HealthCheck, settings
from stamps import PROSE

from mixerlib.data import Dataset

torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for each other
# On a busy machine an example may take long for no fault of its own.
settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """70 training and 30 test images: three batches of 32, the last of them of 6."""
    return few_digits()


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
