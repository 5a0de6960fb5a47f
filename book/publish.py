"""What the workflows do beyond building: publish the Colab notebooks, run them, report a break.

    make colab-branch    # _build/colab as the next commit of the branch `colab`, pushed to origin
    make colab-run       # run every notebook in Colab's own image; needs Docker
    make colab-report    # what broke as an issue, or as a comment on the issue that is open

Standard library only: `colab-run` calls this file inside Colab's image, the others need no .venv.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
BRANCH = "colab"
LABEL = "colab-weekly"
TITLE = "A notebook breaks in the newest Colab runtime"
PACKAGES = ("torch", "torchvision", "numpy", "ipywidgets", "ipython")
NOTE = """# Notebooks for Colab

Made from commit {commit}; do not edit them here. The text notebooks in the folder `notebooks/` of
the branch `main` are what they are made from, and every push to it writes this branch anew.
"""


def git(
    root: Path, *words: str, text: str | None = None, also: dict[str, str] | None = None
) -> str:
    """What git answers, with these variables `also` in its environment.

    CalledProcessError, after git's own message, where it refuses.
    """
    done = subprocess.run(
        ["git", *words],
        cwd=root,
        env={**os.environ, **(also or {})},
        input=text,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def clean_notebooks(folder: Path) -> list[Path]:
    """The notebooks to publish. ValueError if there are none, or if one has been run."""
    notebooks = sorted(folder.rglob("*.ipynb"))
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
    """Commit the notebooks onto the branch `colab` of origin and push it; return the commit.

    The branch has one folder, `notebooks/`, which the pages' links name, and grows by one commit
    each time, by the author of the commit that is published. The working tree and its index stay
    as they are. ValueError for notebooks that have been run, or if files are changed since the
    commit, because the notebooks install mixerlib from that very commit.
    """
    notebooks = clean_notebooks(root / "_build" / "colab")
    if changed := git(root, "status", "--porcelain"):
        raise ValueError(f"These files differ from the commit that is published:\n{changed}")
    commit = git(root, "rev-parse", "HEAD")
    entries = {
        f"notebooks/{path.name}": git(root, "hash-object", "-w", str(path)) for path in notebooks
    }
    if len(entries) < len(notebooks):
        raise ValueError("Two notebooks have the same name, which the branch can hold once")
    note = NOTE.format(commit=commit)
    entries["README.md"] = git(root, "hash-object", "-w", "--stdin", text=note)
    listing = "".join(f"100644 {blob}\t{name}\n" for name, blob in sorted(entries.items()))
    own_index = {"GIT_INDEX_FILE": str(root / "_build" / "colab.index")}
    Path(own_index["GIT_INDEX_FILE"]).unlink(missing_ok=True)
    git(root, "update-index", "--index-info", text=listing, also=own_index)
    tree = git(root, "write-tree", also=own_index)
    name, email, parents = *git(root, "log", "-1", "--format=%an%n%ae").splitlines(), []
    if git(root, "ls-remote", "--heads", "origin", BRANCH):
        git(root, "fetch", "--quiet", "--no-tags", "origin", f"refs/heads/{BRANCH}")
        parents = ["-p", git(root, "rev-parse", "FETCH_HEAD")]
    author = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email}
    committer = {"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email}
    message = f"Notebooks of {commit}"
    made = git(root, "commit-tree", tree, *parents, "-m", message, also=author | committer)
    git(root, "push", "--quiet", "origin", f"{made}:refs/heads/{BRANCH}")
    return made


def installed() -> str:
    """Python and the packages that matter, as they are here."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def run_notebooks(folder: Path, out: Path, seconds: int = 1800) -> list[str]:
    """Run every notebook of a folder, each in a kernel of its own; return the names that broke.

    They run as copies in `out`, which also gets a report in Markdown, `report.md`: versions, times
    in seconds, and the end of each error. `seconds` bounds each cell. ValueError without notebooks.
    """
    notebooks = sorted(folder.rglob("*.ipynb"))
    if not notebooks:
        raise ValueError(f"There are no notebooks in {folder}: make notebooks")
    shutil.copytree(folder, out / "run", dirs_exist_ok=True)
    table, errors, broken = [], [], []
    for path in notebooks:
        command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute"]
        command += ["--inplace", f"--ExecutePreprocessor.timeout={seconds}"]
        command += [str(out / "run" / path.relative_to(folder))]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        result = "passed" if done.returncode == 0 else "broke"
        table.append(f"| {path.stem} | {time.monotonic() - start:.0f} s | {result} |")
        print(table[-1], flush=True)
        if done.returncode:
            broken.append(path.stem)
            plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)  # the colours of a terminal
            end = "\n".join(plain.strip().splitlines()[-30:])
            errors.append(f"\n**{path.stem}**\n\n~~~text\n{end}\n~~~\n")
    head = f"{installed()}.\n\n| Notebook | Time | Result |\n|---|---|---|\n"
    part = out / "report.part"
    part.write_text(head + "\n".join(table) + "\n" + "".join(errors))
    part.rename(out / "report.md")
    return broken


def gh(*words: str, text: str = "") -> str:
    """What GitHub's own command answers; it takes its token from the environment."""
    done = subprocess.run(["gh", *words], input=text, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def report_break(report: Path) -> str:
    """Say what broke in the issue that is open for it, or open one; return what was done."""
    here = {name: os.environ.get(f"GITHUB_{name}", "") for name in ("REPOSITORY", "RUN_ID")}
    if not all(here.values()):
        raise ValueError(
            "`GITHUB_REPOSITORY` and `GITHUB_RUN_ID` must be set: run this in a workflow"
        )
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    run = f"{server}/{here['REPOSITORY']}/actions/runs/{here['RUN_ID']}"
    said = report.read_text() if report.is_file() else "It broke before the first notebook ended.\n"
    # GitHub takes 65,536 characters
    body = f"The weekly run in Colab's newest runtime broke: {run}\n\n{said}"[:60_000]
    where = ("--repo", here["REPOSITORY"])
    about = ("--description", "The weekly run of the notebooks in Colab's image", "--force")
    gh("label", "create", LABEL, *about, *where)
    known = ("--label", LABEL, "--state", "open", "--json", "number")
    numbers = [issue["number"] for issue in json.loads(gh("issue", "list", *known, *where))]
    if numbers:
        gh("issue", "comment", str(min(numbers)), "--body-file", "-", *where, text=body)
        return f"Comment on issue {min(numbers)}"
    new = ("--title", TITLE, "--label", LABEL, "--body-file", "-")
    return f"New issue: {gh('issue', 'create', *new, *where, text=body)}"


def main() -> int:
    """`publish.py branch`, `publish.py run FOLDER OUT` and `publish.py report FILE`."""
    try:
        match sys.argv[1:]:
            case ["branch"]:
                print(f"== Branch {BRANCH} is at {publish_branch()}")
            case ["run", folder, out]:
                broken = run_notebooks(Path(folder), Path(out))
                print(f"== {len(broken)} broke {' '.join(broken)}")
                return int(bool(broken))
            case ["report", report]:
                print(f"== {report_break(Path(report))}")
            case _:
                print(main.__doc__, file=sys.stderr)
                return 2
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as problem:
        print(f"{' '.join(problem.cmd[:3])} … failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
