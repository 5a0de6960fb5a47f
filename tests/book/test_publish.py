"""What the workflows do: the branch of notebooks, a run of notebooks, one issue for what breaks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, git

from book.tools.branch import publish_branch
from book.tools.run_notebooks import run_notebooks


def notebook(*sources: str) -> dict:
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(sources)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a bare one as origin, one notebook built, and no name set for git."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "none"))
    git(tmp_path, "init", "-q", "--bare", "origin.git")
    folder = tmp_path / "book"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", str(tmp_path / "origin.git"))
    (folder / ".gitignore").write_text("_build/\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "First")
    write(folder, "01-first.ipynb", notebook("1 + 1"))
    return folder


def write(folder: Path, name: str, content: dict) -> None:
    path = folder / "_build" / "colab" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_the_branch_holds_the_notebooks_where_the_links_look_for_them(checkout):
    (checkout / "_build" / "colab" / "README.md").write_text("Made from a commit\n")
    made = publish_branch(checkout)
    origin = checkout.parent / "origin.git"
    assert git(origin, "rev-parse", "refs/heads/colab") == made
    names = git(origin, "ls-tree", "-r", "--name-only", "colab").splitlines()
    assert names == ["notebooks/01-first.ipynb", "notebooks/README.md"]
    built = json.loads(git(origin, "show", "colab:notebooks/01-first.ipynb"))
    assert built == notebook("1 + 1")
    head = git(checkout, "rev-parse", "HEAD")
    assert git(origin, "log", "-1", "--format=%s by %an <%ae>", "colab") == (
        f"Notebooks of {head} by A. Writer <a@example.org>"
    )


@pytest.mark.parametrize(
    "name, address",
    [("A\u2028B", "a@example.org"), ("A\x85B\x1cC", ""), ("Zoë O'Neil \u2029 Jr.", "z@é.org")],
)
def test_an_author_may_have_any_name_and_no_address(checkout, name, address):
    author = ("-c", f"user.name={name}", "-c", f"user.email={address}")
    git(checkout, *author, "commit", "-q", "--allow-empty", "-m", "Second")
    publish_branch(checkout)
    committer = git(checkout.parent / "origin.git", "log", "-1", "--format=%an<%ae>", "colab")
    assert committer == f"{git(checkout, 'log', '-1', '--format=%an<%ae>')}"


@pytest.mark.parametrize("fresh", [False, True], ids=["same_clone", "fresh_clone"])
def test_the_branch_grows_loses_what_is_gone_and_leaves_the_working_tree_alone(checkout, fresh):
    first = publish_branch(checkout)
    if fresh:  # as a workflow has it: this clone knows nothing of the branch
        git(checkout, "update-ref", "-d", "refs/heads/colab")
        git(checkout, "update-ref", "-d", "refs/remotes/origin/colab")
    (checkout / "_build" / "colab" / "01-first.ipynb").unlink()
    write(checkout, "02-second.ipynb", notebook("2 + 2"))
    (checkout / "more.txt").write_text("more")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "Second")
    before = git(checkout, "ls-files", "--stage"), git(checkout, "symbolic-ref", "HEAD")
    second = publish_branch(checkout)
    origin = checkout.parent / "origin.git"
    assert git(origin, "rev-list", "colab").splitlines() == [second, first]
    names = git(origin, "ls-tree", "-r", "--name-only", "colab").splitlines()
    assert names == ["notebooks/02-second.ipynb"]
    assert (git(checkout, "ls-files", "--stage"), git(checkout, "symbolic-ref", "HEAD")) == before
    assert git(checkout, "status", "--porcelain") == ""


def test_the_same_notebooks_again_are_one_more_commit_of_the_same_tree(checkout):
    first, second = publish_branch(checkout), publish_branch(checkout)
    origin = checkout.parent / "origin.git"
    assert git(origin, "rev-list", "colab").splitlines() == [second, first]
    assert git(origin, "rev-parse", f"{first}^{{tree}}") == git(
        origin, "rev-parse", f"{second}^{{tree}}"
    )


def test_a_branch_that_somebody_else_has_moved_on_is_continued(checkout):
    """Another clone has published in the meantime."""
    first = publish_branch(checkout)
    origin = checkout.parent / "origin.git"
    theirs = git(origin, "commit-tree", f"{first}^{{tree}}", "-p", first, "-m", "Theirs")
    git(origin, "update-ref", "refs/heads/colab", theirs)
    made = publish_branch(checkout)
    assert git(origin, "rev-list", "colab").splitlines() == [made, theirs, first]


def test_a_push_that_is_refused_is_an_error(checkout):
    hook = checkout.parent / "origin.git" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        publish_branch(checkout)


def test_a_notebook_that_was_run_is_not_published(checkout):
    ran = notebook("1 + 1")
    ran["cells"][0]["execution_count"] = 1
    write(checkout, "02-ran.ipynb", ran)
    with pytest.raises(ValueError, match=r"02-ran\.ipynb has outputs"):
        publish_branch(checkout)
    assert git(checkout.parent / "origin.git", "branch", "--list") == ""


def test_a_changed_file_is_not_the_commit_that_the_notebooks_install(checkout):
    (checkout / "new.txt").write_text("new")
    with pytest.raises(ValueError, match=r"differ from the commit.*\n.*new\.txt"):
        publish_branch(checkout)


def test_without_notebooks_the_message_names_the_command(checkout):
    (checkout / "_build" / "colab" / "01-first.ipynb").unlink()
    with pytest.raises(ValueError, match="make notebooks"):
        publish_branch(checkout)
    with pytest.raises(ValueError, match="make notebooks"):
        run_notebooks(checkout / "_build" / "colab", checkout / "out")


def test_a_run_names_the_notebooks_that_break_and_no_others(tmp_path):
    pytest.importorskip("nbconvert")
    write(tmp_path, "01-good.ipynb", notebook("open('made.txt', 'w').close()", "6 * 7"))
    write(tmp_path, "02-bad.ipynb", notebook("1 / 0", "print('not reached')"))
    source, out = tmp_path / "_build" / "colab", tmp_path / "out"
    before = {path: path.read_bytes() for path in source.rglob("*")}
    assert run_notebooks(source, out, seconds=60) == ["02-bad"]
    report = (out / "report.md").read_text()
    assert f"Python {sys.version.split()[0]}, torch " in report
    assert "| 01-good |" in report and " passed |" in report.split("01-good")[1].split("\n")[0]
    assert "broke" in report.split("02-bad")[1].split("\n")[0]
    assert "ZeroDivisionError" in report and "not reached" not in report
    assert "\x1b" not in report
    ran = json.loads((out / "run" / "01-good.ipynb").read_text())
    assert "".join(ran["cells"][1]["outputs"][0]["data"]["text/plain"]) == "42"
    assert {path: path.read_bytes() for path in source.rglob("*")} == before


@pytest.mark.parametrize("name", ["branch", "run_notebooks"])
def test_what_runs_without_the_book_s_environment_needs_none(name, tmp_path):
    """Python's -S leaves out every installed package, and a copy has nothing beside it."""
    words = ["-c", f"import book.tools.{name}"]
    if name == "run_notebooks":  # alone in Colab's image
        shutil.copy2(ROOT / "book" / "tools" / f"{name}.py", tmp_path)
        words = ["-c", f"import {name}"]
    folder = ROOT if name == "branch" else tmp_path
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-S", *words], cwd=folder, env=environment, check=True)


GH = """#!{python}
import json, os, sys
from pathlib import Path
kept = Path({state!r})
state = json.loads(kept.read_text()) if kept.exists() else {{"issues": [], "messages": []}}
words = sys.argv[1:]
option = lambda name: words[words.index(name) + 1]
assert os.environ["GH_REPO"] == "some-one/mixers"
if words[:2] == ["issue", "list"]:
    assert option("--state") == "open" and option("--label") == "colab-weekly"
    assert option("--jq") == "map(.number) | min // empty"
    print(min(state["issues"], default=""))
elif words[:2] == ["issue", "create"]:
    state["issues"].append(41 + len(state["issues"]))
    state["messages"].append([option("--title"), Path(option("--body-file")).read_text()])
    print("https://github.com/some-one/mixers/issues/41")
elif words[:2] == ["issue", "comment"]:
    state["messages"].append([words[2], Path(option("--body-file")).read_text()])
else:
    assert words[:2] == ["label", "create"] and "--force" in words, words
kept.write_text(json.dumps(state))
"""


@pytest.fixture
def github(tmp_path, monkeypatch):
    """A `gh` that keeps issues in a file, and the variables of a workflow."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(GH.format(python=sys.executable, state=str(tmp_path / "state.json")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GITHUB_REPOSITORY", "some-one/mixers")
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    return tmp_path / "state.json"


def report(folder: Path, text: str | None = None) -> subprocess.CompletedProcess:
    """`make colab-report` in this folder, after a run that wrote this report or none."""
    if not shutil.which("make"):
        pytest.skip("no make here")
    shutil.copy2(ROOT / "Makefile", folder)
    path = folder / "_build" / "colab-run" / "report.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)
    command = ["make", "--no-print-directory", "colab-report"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_break_opens_one_issue_and_then_comments_on_it(github, tmp_path):
    for text in ("| 02-bad | 3 s | broke |\n", "| 02-bad | 4 s | broke |\n", None):
        done = report(tmp_path, text)
        assert done.returncode == 0, done.stderr
    state = json.loads(github.read_text())
    assert state["issues"] == [41]
    title = "A notebook breaks in the newest Colab runtime"
    assert [to for to, _ in state["messages"]] == [title, "41", "41"]
    bodies = [body for _, body in state["messages"]]
    for body in bodies:
        assert "https://github.com/some-one/mixers/actions/runs/77\n\n" in body
    assert "02-bad | 3 s" in bodies[0] and "02-bad | 4 s" in bodies[1]
    assert "before the first notebook ended" in bodies[2] and "02-bad" not in bodies[2]


def test_a_comment_goes_to_the_oldest_issue_that_is_open(github, tmp_path):
    github.write_text(json.dumps({"issues": [9, 7, 8], "messages": []}))
    assert report(tmp_path, "x").returncode == 0
    assert [to for to, _ in json.loads(github.read_text())["messages"]] == ["7"]


def test_a_long_report_fits_into_an_issue(github, tmp_path):
    assert report(tmp_path, "x" * 200_000).returncode == 0
    assert 60_000 < len(json.loads(github.read_text())["messages"][0][1]) <= 65_536


def test_outside_a_workflow_no_issue_is_opened(github, tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_RUN_ID")
    done = report(tmp_path, "x")
    assert done.returncode and "GITHUB_RUN_ID" in done.stderr
    assert not github.exists()
