"""Chapters run ahead, several at a time, and the build finds them in its cache."""

from types import SimpleNamespace

import pytest
from helpers import ROOT, load_file

PAGE = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

```{code-cell} ipython3
print(6 * 7)
```
"""


@pytest.fixture(scope="module")
def ahead():  # it imports what takes a second
    return load_file(ROOT / "book" / "_ext" / "ahead.py")


@pytest.fixture
def env(tmp_path):
    from jupyter_cache import get_cache
    from myst_nb.core.config import NbParserConfig
    from myst_parser.config.main import MdParserConfig

    config = NbParserConfig(
        execution_mode="cache",
        execution_cache_path=str(tmp_path / "cache"),
        execution_raise_on_error=True,
    )
    return SimpleNamespace(
        mystnb_config=config,
        myst_config=MdParserConfig(),
        doc2path=lambda name: str(tmp_path / f"{name}.md"),
        cached=lambda: len(get_cache(str(tmp_path / "cache")).list_cache_records()),
    )


def test_pages_with_cells_are_run_into_the_cache(ahead, env, tmp_path, monkeypatch):
    for name, text in {"a": PAGE, "b": PAGE.replace("6 * 7", "7 * 7"), "c": "# No cell\n"}.items():
        (tmp_path / f"{name}.md").write_text(text)
    monkeypatch.delenv("JOBS", raising=False)
    ahead.run_ahead(None, env, ["a", "b", "c"])
    assert env.cached() == 0
    monkeypatch.setenv("JOBS", "2")
    ahead.run_ahead(None, env, ["a", "b", "c"])
    assert env.cached() == 2


def test_a_page_that_fails_ends_the_build(ahead, env, tmp_path, monkeypatch):
    from myst_nb.core.execute.base import ExecutionError

    (tmp_path / "a.md").write_text(PAGE.replace("6 * 7", "6 / 0"))
    monkeypatch.setenv("JOBS", "2")
    with pytest.raises(ExecutionError):
        ahead.run_ahead(None, env, ["a"])


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_what_is_no_count_is_refused(ahead, monkeypatch, text):
    monkeypatch.setenv("JOBS", text)
    with pytest.raises(ValueError, match=f"`JOBS`='{text}' must be a whole number above 0"):
        ahead.jobs()
