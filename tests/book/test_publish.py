"""What the workflows do: the branch of notebooks, a run of notebooks, one issue for what breaks."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from helpers import ROOT, git


def load_publish():
    spec = importlib.util.spec_from_file_location("publish", ROOT / "book" / "publish.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


publish = load_publish()


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
    made = publish.publish_branch(checkout)
    origin = checkout.parent / "origin.git"
    assert git(origin, "rev-parse", "refs/heads/colab") == made
    names = git(origin, "ls-tree", "-r", "--name-only", "colab").splitlines()
    assert names == ["README.md", "notebooks/01-first.ipynb"]
    built = json.loads(git(origin, "show", "colab:notebooks/01-first.ipynb"))
    assert built == notebook("1 + 1")
    head = git(checkout, "rev-parse", "HEAD")
    assert head in git(origin, "show", "colab:README.md")
    assert git(origin, "log", "-1", "--format=%s by %an <%ae>", "colab") == (
        f"Notebooks of {head} by A. Writer <a@example.org>"
    )


def test_the_branch_grows_loses_what_is_gone_and_leaves_the_working_tree_alone(checkout):
    first = publish.publish_branch(checkout)
    (checkout / "_build" / "colab" / "01-first.ipynb").unlink()
    write(checkout, "notebooks/02-second.ipynb", notebook("2 + 2"))
    (checkout / "more.txt").write_text("more")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "Second")
    before = git(checkout, "ls-files", "--stage"), git(checkout, "branch", "--list")
    second = publish.publish_branch(checkout)
    origin = checkout.parent / "origin.git"
    assert git(origin, "rev-list", "colab").splitlines() == [second, first]
    names = git(origin, "ls-tree", "-r", "--name-only", "colab").splitlines()
    assert names == ["README.md", "notebooks/02-second.ipynb"]
    assert (git(checkout, "ls-files", "--stage"), git(checkout, "branch", "--list")) == before
    assert git(checkout, "status", "--porcelain") == ""


def test_a_notebook_that_was_run_is_not_published(checkout):
    ran = notebook("1 + 1")
    ran["cells"][0]["execution_count"] = 1
    write(checkout, "02-ran.ipynb", ran)
    with pytest.raises(ValueError, match=r"02-ran\.ipynb has outputs"):
        publish.publish_branch(checkout)
    assert git(checkout.parent / "origin.git", "branch", "--list") == ""


def test_a_changed_file_is_not_the_commit_that_the_notebooks_install(checkout):
    (checkout / "new.txt").write_text("new")
    with pytest.raises(ValueError, match=r"differ from the commit.*\n.*new\.txt"):
        publish.publish_branch(checkout)


def test_two_notebooks_of_one_name_are_refused(checkout):
    write(checkout, "again/01-first.ipynb", notebook("3"))
    with pytest.raises(ValueError, match="Two notebooks have the same name"):
        publish.publish_branch(checkout)


def test_without_notebooks_the_message_names_the_command(checkout):
    (checkout / "_build" / "colab" / "01-first.ipynb").unlink()
    with pytest.raises(ValueError, match="make notebooks"):
        publish.publish_branch(checkout)
    with pytest.raises(ValueError, match="make notebooks"):
        publish.run_notebooks(checkout / "_build" / "colab", checkout / "out")


def test_a_run_tells_the_notebooks_that_break_from_those_that_do_not(tmp_path):
    pytest.importorskip("nbconvert")
    write(tmp_path, "01-good.ipynb", notebook("open('made.txt', 'w').close()", "6 * 7"))
    write(tmp_path, "02-bad.ipynb", notebook("1 / 0", "print('not reached')"))
    source, out = tmp_path / "_build" / "colab", tmp_path / "out"
    before = {path: path.read_bytes() for path in source.rglob("*")}
    assert publish.run_notebooks(source, out, seconds=60) == ["02-bad"]
    report = (out / "report.md").read_text()
    assert f"Python {sys.version.split()[0]}, torch " in report
    assert "| 01-good |" in report and " passed |" in report.split("01-good")[1].split("\n")[0]
    assert "broke" in report.split("02-bad")[1].split("\n")[0]
    assert "ZeroDivisionError" in report and "not reached" not in report
    assert "\x1b" not in report
    ran = json.loads((out / "run" / "01-good.ipynb").read_text())
    assert "".join(ran["cells"][1]["outputs"][0]["data"]["text/plain"]) == "42"
    assert {path: path.read_bytes() for path in source.rglob("*")} == before


GH = """#!{python}
import json, sys
from pathlib import Path
kept = Path({state!r})
state = json.loads(kept.read_text()) if kept.exists() else {{"issues": [], "said": []}}
words = sys.argv[1:]
option = lambda name: words[words.index(name) + 1]
assert option("--repo") == "some-one/mixers", words
if words[:2] == ["issue", "list"]:
    assert option("--state") == "open" and option("--label") == "colab-weekly"
    print(json.dumps([{{"number": number}} for number in state["issues"]]))
elif words[:2] == ["issue", "create"]:
    state["issues"].append(41 + len(state["issues"]))
    state["said"].append([option("--title"), sys.stdin.read()])
    print("https://github.com/some-one/mixers/issues/41")
elif words[:2] == ["issue", "comment"]:
    state["said"].append([words[2], sys.stdin.read()])
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
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("GITHUB_REPOSITORY", "some-one/mixers")
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    return tmp_path / "state.json"


def test_a_break_opens_one_issue_and_then_comments_on_it(github, tmp_path):
    report = tmp_path / "report.md"
    report.write_text("| 02-bad | 3 s | broke |\n")
    assert publish.report_break(report).startswith("New issue: https://")
    assert publish.report_break(report) == "Comment on issue 41"
    assert publish.report_break(tmp_path / "none.md") == "Comment on issue 41"
    state = json.loads(github.read_text())
    assert state["issues"] == [41]
    assert [to for to, _ in state["said"]] == [publish.TITLE, "41", "41"]
    for _, body in state["said"]:
        assert "https://github.com/some-one/mixers/actions/runs/77" in body
    assert "02-bad" in state["said"][0][1] and "02-bad" in state["said"][1][1]
    assert "before the first notebook ended" in state["said"][2][1]


def test_a_long_report_fits_into_an_issue(github, tmp_path):
    report = tmp_path / "report.md"
    report.write_text("x" * 200_000)
    publish.report_break(report)
    assert len(json.loads(github.read_text())["said"][0][1]) <= 65_536


def test_outside_a_workflow_no_issue_is_opened(github, tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_RUN_ID")
    with pytest.raises(ValueError, match="GITHUB_RUN_ID` must be set"):
        publish.report_break(tmp_path / "report.md")
    assert not github.exists()
