"""What the build needs beyond _config.yml: an execution cache that notices the library."""

import hashlib
import os
import shutil
from importlib.metadata import version
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

ROOT = Path(__file__).parents[2]
# jupyter-cache looks at a notebook's own text only. These decide its outputs just as much.
PACKAGES = ("torch", "numpy", "scikit-learn", "matplotlib")


def sources_hash() -> str:
    """A hash of what decides a notebook's outputs besides its text: mixerlib, records, packages."""
    digest = hashlib.sha256()
    library = (p for p in (ROOT / "mixerlib").rglob("*") if p.is_file() and p.suffix != ".pyc")
    read = (*(ROOT / "book").glob("assets/*.py"), *(ROOT / "book").glob("*.yaml"))
    records = (ROOT / "book" / "records").rglob("*.json")
    for path in sorted((*library, *read, *records)):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update(" ".join(f"{name}={version(name)}" for name in PACKAGES).encode())
    digest.update(f"MIXERLIB_DATA={os.environ.get('MIXERLIB_DATA', '')}".encode())
    return digest.hexdigest()[:16]


def choose_cache(app: Sphinx, config: Config) -> None:
    """Keep executed notebooks in a folder named by that hash, and drop those of earlier hashes."""
    caches = ROOT / "_build" / "executed"
    current = caches / sources_hash()
    for old in caches.glob("*"):
        if old != current:
            shutil.rmtree(old)
    config["nb_execution_cache_path"] = str(current)


def mend_roles(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Sphinx calls a bibliography a list but its entries no list items; leave the role out."""
    if "body" in context:
        context["body"] = context["body"].replace(
            '<div role="list" class="citation', '<div class="citation'
        )


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", choose_cache, priority=100)  # before myst-nb reads the setting
    app.connect("html-page-context", mend_roles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
