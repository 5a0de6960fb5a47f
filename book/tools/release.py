"""A release: the site, the Colab notebooks, the package and a PDF, each with its checksum.

    make release                 # for the tag of the current commit, into _build/release/
    make release VERSION=dev     # the same for any commit, to try it out

`make release` builds the pages and the notebooks first; this program packs what is there. With
`--check` it only looks whether it could.
"""

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

from book.tools import ROOT, exit_status, toc
from book.tools.packing import build_package, write_checksums, write_zip
from book.tools.pdf import NO_BROWSER, find_chromium, write_pdf
from book.tools.repository import git


def package_version(root: Path = ROOT) -> str:
    """`__version__` of mixerlib, read without importing torch."""
    text = (root / "mixerlib" / "__init__.py").read_text()
    return re.findall(r'^__version__ = "(.+)"$', text, re.M)[0]


def release_version(root: Path = ROOT) -> str:
    """The version to release: that of the current commit's tag, or `dev` where VERSION=dev.

    ValueError if the commit has no tag, if the tag is not that of mixerlib's version, if files are
    changed since the commit, or if CHANGELOG.md has no heading for that version.
    """
    asked = os.environ.get("VERSION", "")
    if asked == "dev":
        return asked
    if asked:
        raise ValueError(f"`VERSION`={asked!r} must be dev or absent: a release has its tag's name")
    expected = f"v{package_version(root)}"
    tag = git(root, "describe", "--tags", "--exact-match", "--match", expected, check=False)
    if not tag:
        raise ValueError(
            f"This commit does not have the tag {expected}, the version of mixerlib. "
            f"Tag it (git tag {expected}), or try a release out: make release VERSION=dev"
        )
    if changed := git(root, "status", "--porcelain"):
        raise ValueError(f"These files differ from what {tag} names; commit them:\n{changed}")
    version = tag.removeprefix("v")
    heading = rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, (root / "CHANGELOG.md").read_text(), re.M):
        raise ValueError(
            f"CHANGELOG.md needs a heading for this version: ## {version} - YYYY-MM-DD"
        )
    return version


def commit_time(root: Path = ROOT) -> int:
    """When the commit was made, in seconds since 1970: the date of everything in the release."""
    return int(git(root, "log", "-1", "--format=%ct", check=False) or 0)


def look_before(root: Path = ROOT) -> str:
    """The version, after a look at what could stop the release later; ValueError says what."""
    version = release_version(root)
    missing = [name for name in ("build", "twine", "pypdf") if not importlib.util.find_spec(name)]
    if missing:
        raise ValueError(f"{', '.join(missing)} is not installed: pip install -e '.[release]'")
    if not find_chromium():
        if version != "dev":
            raise ValueError(NO_BROWSER)
        print(f"== No PDF. {NO_BROWSER}")
    return version


def make_release(root: Path = ROOT) -> Path:
    """Pack what `make book` and `make notebooks` made; return the folder."""
    site, colab = root / "_build" / "html", root / "_build" / "colab"
    if not (site / "index.html").is_file():
        raise ValueError("There are no pages in _build/html: make book")
    if not any(colab.rglob("*.ipynb")):
        raise ValueError("There are no notebooks in _build/colab: make notebooks")
    version, seconds = look_before(root), commit_time(root)
    name = f"mixer-book-{version}"
    folder, part = root / "_build" / "release", root / "_build" / "release.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    print("== The site and the notebooks as zips")
    write_zip(site, part / f"{name}-site.zip", name, seconds)
    write_zip(colab, part / f"{name}-notebooks.zip", f"{name}-notebooks", seconds, "*.ipynb")
    print("== The package")
    build_package(root, part, seconds)
    if find_chromium():
        print("== The PDF, page by page")
        title = f"The Mixer Book, {version}"
        write_pdf(site, part / f"{name}.pdf", toc.parts(root), title, seconds)
    write_checksums(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def show() -> None:
    folder = make_release()
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>12,}  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    check = sys.argv[1:] == ["--check"]
    sys.exit(exit_status((lambda: print(f"== Release {look_before()}")) if check else show))
