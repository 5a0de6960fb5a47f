"""The branch `colab`: the notebooks of _build/colab as its next commit, pushed to origin.

    python -m book.tools.branch

It needs the package ghp-import and nothing else of the book's environment.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from book.tools import ROOT, exit_status
from book.tools.repository import git

BRANCH = "colab"
FOLDER = "notebooks"  # of the branch, which the pages' links name


def clean_notebooks(folder: Path) -> list[Path]:
    """The notebooks to publish. ValueError if there are none, or if one has been run."""
    notebooks = sorted(folder.glob("*.ipynb"))
    if not notebooks:
        raise ValueError(f"There are no notebooks in {folder}: make notebooks")
    for path in notebooks:
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code" and (cell["outputs"] or cell["execution_count"]):
                raise ValueError(
                    f"{path.name} has outputs: only notebooks as written are published"
                )
    return notebooks


def publish_branch(root: Path = ROOT) -> str:
    """Commit the notebooks onto the branch `colab` and push it to origin; return the commit.

    The branch grows by one commit each time, by the author of the commit that is published; what
    is gone from _build/colab goes from the branch. The working tree and its index stay as they
    are. ValueError for notebooks that have been run, or if files are changed since the commit,
    because the notebooks install mixerlib from that very commit.
    """
    built = root / "_build" / "colab"
    clean_notebooks(built)
    if changed := git(root, "status", "--porcelain"):
        raise ValueError(f"These files differ from the commit that is published:\n{changed}")
    commit = git(root, "rev-parse", "HEAD")
    if git(root, "ls-remote", "--heads", "origin", BRANCH):  # ghp-import goes on from this
        here = f"+refs/heads/{BRANCH}:refs/remotes/origin/{BRANCH}"
        git(root, "fetch", "--quiet", "--no-tags", "origin", here)
    # a name may hold what Python takes for the end of a line, and an address may be missing
    name, _, email = git(root, "log", "-1", "--format=%an%n%ae").partition("\n")
    committer = {"GIT_COMMITTER_NAME": name or "Nobody", "GIT_COMMITTER_EMAIL": email}
    words = ["-b", BRANCH, "-x", FOLDER, "-p", "-m", f"Notebooks of {commit}", str(built)]
    subprocess.run(
        [sys.executable, "-m", "ghp_import", *words],
        cwd=root,
        env={**os.environ, **committer},
        capture_output=True,
        text=True,
        check=True,
    )
    return git(root, "rev-parse", f"refs/heads/{BRANCH}")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: print(f"== Branch {BRANCH} is at {publish_branch()}")))
