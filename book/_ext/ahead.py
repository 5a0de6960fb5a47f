"""Chapters run several at a time, before the pages are read, where JOBS asks for it.

    make book JOBS=2

A build runs one after the other, so that no chapter measures beside another. What CI builds to look
at need not be measured in peace, and is there sooner.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_core.utils import ensure_event_loop
from myst_nb.core.execute import create_client
from myst_nb.core.read import create_nb_reader
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.logging import getLogger


def jobs() -> int:
    """How many chapters run at a time. `ValueError` for what is no count."""
    text = os.environ.get("JOBS") or "1"
    if not text.isdecimal() or text == "0":
        raise ValueError(f"`JOBS`={text!r} must be a whole number above 0")
    return int(text)


def run_ahead(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Run what has to be read and is not in the cache yet; the build then finds it there."""
    if jobs() > 1 and env.mystnb_config.execution_mode == "cache":
        cache = get_cache(env.mystnb_config.execution_cache_path)
        cache.list_cache_records()  # so that its tables are there
        with ThreadPoolExecutor(jobs()) as pool:
            list(pool.map(lambda name: run(env, name), names))


def run(env: BuildEnvironment, name: str) -> None:
    """Run a page as myst-nb does when it reads it, which puts its outputs into the cache."""
    path = env.doc2path(name)
    text = Path(path).read_text(encoding="utf-8")
    reader = create_nb_reader(path, env.myst_config, env.mystnb_config, text)
    if reader:
        notebook = reader.read(text)
        try:
            config, log = env.mystnb_config, getLogger(__name__)
            with create_client(notebook, path, config, log, reader.read_fmt):
                pass
        finally:
            ensure_event_loop().close()  # this thread's, which nbclient leaves open


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("env-before-read-docs", run_ahead)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
