"""What `make test` need not run again: for each part of it, a list of the files that it depends on.

    python tests/stamps.py library      # writes .tested/library.inputs, if it has changed
    python tests/stamps.py notebooks    # and .tested/NOTEBOOK.inputs for each of the notebooks

A part is `library`, which are the tests that read no prose, or a notebook. Its list has a line for
each file, with a hash of it. Where a list changes, `.tested/PART.passed` is removed, which Make
writes after a part has passed; so Make runs the part. What is printed says why, or why not.

Of a notebook, the header and the cells count, not the words between them; of all else every byte,
and the Python and the packages too. To the library belong also Chromium and Node, without which
some of its tests are skipped.
"""

import hashlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROSE = (".md", ".bib")  # what the tests of the library may not read: tests/conftest.py sees to it
SKIPPED = {"__pycache__", ".pytest_cache", ".hypothesis", ".ruff_cache", ".mypy_cache"}
# beside the checkout, where they exist: weights and texts that some tests compare with
BESIDE = ("fixtures", "seeds")
# that the interactives of the pages are tested in; CHROMIUM names another
PROGRAMS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    "node",
)
RUN_BY_NOTEBOOKS = (
    "mixerlib",
    "book",
    "tests/like_colab.py",
    "tests/like_colab.txt",
    "tests/twice.py",
)
# the pages' own; how long each notebook took, which its prose tells; and what a page times, which a
# test measures anew
NOT_BY_NOTEBOOKS = ("book/_ext/", "book/assets/", "book/records/notebooks/", "book/records/pages/")
SETTINGS = ("pyproject.toml", "constraints.txt")
CELL = re.compile(r"^(`{3,}|:{3,})\{code-cell\}.*?^\1[ \t]*$", re.M | re.S)
HEADER = re.compile(r"\A---\n.*?^---$", re.M | re.S)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def files(root: Path, places: Iterable[str]) -> dict[str, str]:
    """Of each file in these places below `root` that is no prose: its path, and its hash."""
    hashes = {}
    for place in places:
        top = root / place
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            known = SKIPPED.isdisjoint(path.parts) and path.suffix not in PROSE
            if known and path.is_file():
                hashes[path.relative_to(root).as_posix()] = digest(path.read_bytes())
    return hashes


def code_of(text: str) -> str:
    """Of a notebook in MyST Markdown its header and its code cells, as they stand."""
    header = HEADER.match(text)
    cells = [cell.group() for cell in CELL.finditer(text)]
    return "\n\n".join([header.group() if header else "", *cells])


def signed(path: Path) -> str:
    """What tells a large file from another without reading it."""
    at = path.stat()
    return f"{at.st_size} bytes of {at.st_mtime_ns}"


def environment() -> dict[str, str]:
    packages = sorted(f"{package.name} {package.version}" for package in distributions())
    return {
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "the installed packages": digest("\n".join(packages).encode()),
    }


def programs() -> dict[str, str]:
    """Of each program that some tests need: its place, size and age, or that it is not here."""
    found = {}
    for name in (*PROGRAMS, *filter(None, [os.environ.get("CHROMIUM")])):
        path = shutil.which(name)
        found[f"the program {name}"] = f"{path}, {signed(Path(path))}" if path else "is not here"
    return found


def library_inputs(root: Path) -> dict[str, str]:
    """All that the tests that read no prose may read: whatever is neither prose nor made."""
    tops = [path.name for path in sorted(root.iterdir()) if path.is_file() and path.name != ".git"]
    hashes = files(root, ["mixerlib", "tests", "book", ".ci", ".github", *tops])
    for place in BESIDE:
        for path in sorted((root.parent / "shared" / place).rglob("*")):
            if path.is_file():
                hashes[f"../{place}/{path.name}"] = signed(path)
    return hashes | environment() | programs()


def notebook_inputs(root: Path) -> dict[str, dict[str, str]]:
    """By the stem of each notebook: the code in it, and what that code may run and read."""
    common = files(root, [*RUN_BY_NOTEBOOKS, *SETTINGS]) | environment()
    common = {p: h for p, h in common.items() if not p.startswith(NOT_BY_NOTEBOOKS)}
    return {
        path.stem: common | {f"notebooks/{path.name}": digest(code_of(path.read_text()).encode())}
        for path in sorted((root / "notebooks").glob("*.md"))
    }


def differences(old: str, new: str) -> list[str]:
    """The paths whose lines two lists do not share."""
    lines = set(old.splitlines()) ^ set(new.splitlines())
    return sorted({line.partition("\t")[2] for line in lines})


def update(folder: Path, part: str, hashes: dict[str, str]) -> str:
    """Write a part's list if it has changed; the line that says what Make will do, and why."""
    listed, passed = folder / f"{part}.inputs", folder / f"{part}.passed"
    new = "".join(f"{hashes[path]}\t{path}\n" for path in sorted(hashes))
    old = listed.read_text() if listed.is_file() else ""
    if new != old:
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text(new)
        passed.unlink(missing_ok=True)
    elif passed.is_file():
        return f"{part}: passed, and nothing that it reads has changed since"
    if not old or new == old:
        return f"{part}: runs, as it has not passed yet"
    first, *others = differences(old, new)
    more = f" and {len(others)} more" if others else ""
    return f"{part}: runs, as {first}{more} changed"


def main() -> None:
    folder = ROOT / ".tested"
    if sys.argv[1] == "library":
        print(update(folder, "library", library_inputs(ROOT)))
    else:
        for stem, hashes in notebook_inputs(ROOT).items():
            print(update(folder, stem, hashes))


if __name__ == "__main__":
    main()
