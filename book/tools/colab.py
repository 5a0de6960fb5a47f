"""The Colab notebooks: each text notebook as plain Markdown, with a first cell that sets it up.

    python -m book.tools.colab                     # every chapter, clean, into _build/colab
    python -m book.tools.colab time FOLDER         # how long those in a folder run, into a record
    python -m book.tools.colab trial NAME FOLDER   # one chapter, to be run in a place like Colab

Colab knows nothing of the book's directives and roles. So the Markdown is parsed by the book's own
parser, and what only Sphinx understands is written anew: admonitions as block quotes, exercises
under headings, hints and solutions folded, references as links to the site. What has no form there
stops the making, with its file and line; so nothing of it can reach a reader raw.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from book.tools import ROOT, exit_status, toc
from book.tools.notebook import make_notebook, write_notebook
from book.tools.references import read_book
from book.tools.repository import git, home
from book.tools.times import time_all

NOTE = """# Notebooks for Colab

Made from commit {commit}; do not edit them here. The text notebooks in the folder `notebooks/` of
the branch `main` are what they are made from, and every push to it writes this branch anew.
"""


def make_all(root: Path = ROOT) -> list[Path]:
    """Every chapter as a notebook for Colab, in place of what the folder held; at this commit."""
    where = home(root)
    book = read_book(where, root)
    commit = git(root, "rev-parse", "HEAD")
    target = root / "_build" / "colab"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        part = Path(scratch, "colab")
        part.mkdir()
        (part / "README.md").write_text(NOTE.format(commit=commit))
        for page in toc.chapters(root):
            path = part / f"{Path(page).name}.ipynb"
            write_notebook(make_notebook(page, book, where, commit), path)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    return sorted(target.glob("*.ipynb"))


def snapshot(repository: Path, root: Path = ROOT) -> str:
    """Put the working tree, as it is now, into a new bare repository; return the commit."""
    git(root, "init", "--quiet", "--bare", str(repository))
    inside = {"GIT_DIR": str(repository), "GIT_WORK_TREE": str(root)}
    for who in ("AUTHOR", "COMMITTER"):
        inside |= {f"GIT_{who}_NAME": "The Mixer Book", f"GIT_{who}_EMAIL": "book@example.org"}
        inside |= {f"GIT_{who}_DATE": "2026-01-01T00:00:00Z"}
    git(root, "add", "--all", env=inside)
    tree = git(root, "write-tree", env=inside)
    commit = git(root, "commit-tree", tree, "-m", "Working tree", env=inside)
    git(root, "update-ref", "HEAD", commit, env=inside)
    return commit


def make_trial(stem: str, folder: Path) -> Path:
    """One chapter's notebook as readers get it, but of the working tree instead of a commit.

    `folder` also gets `source.git`, from which its first cell fetches mixerlib where the variable
    MIXERBOOK_SOURCE says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "source.git", ignore_errors=True)
    commit = snapshot((folder / "source.git").resolve())
    where = home()
    path = folder / f"{stem}.ipynb"
    write_notebook(make_notebook(f"notebooks/{stem}", read_book(where), where, commit), path)
    return path


def write_all() -> None:
    made = make_all()
    print(f"== {len(made)} notebooks for Colab in {made[0].parent}")


def main() -> int:
    """`colab`, `colab trial NAME FOLDER`, `colab time FOLDER`: see the top of the file."""
    match sys.argv[1:]:
        case []:
            return exit_status(write_all)
        case ["trial", stem, folder]:
            return exit_status(lambda: print(make_trial(stem, Path(folder))))
        case ["time", folder]:
            return exit_status(lambda: print(f"== {time_all(Path(folder))}"))
    print(main.__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
