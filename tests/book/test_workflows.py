"""The workflows do only what anyone can do here: make targets, with few rights and an end."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

PATHS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()


class Loader(yaml.SafeLoader):
    """YAML 1.2's booleans, as GitHub reads them: `on` is a word."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:bool"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def load(name: str) -> dict:
    return yaml.load((ROOT / ".github" / "workflows" / name).read_text(), Loader)


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


def targets() -> set[str]:
    """What make can be asked for."""
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, re.M))


def test_the_three_workflows_are_there():
    assert [path.name for path in PATHS] == ["colab.yml", "publish.yml", "test.yml"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
class TestWorkflow:
    def test_steps_only_call_make_targets_that_exist(self, path):
        workflow = load(path.name)
        commands = [step["run"] for step in steps(workflow) if "run" in step]
        assert commands
        for command in commands:
            assert re.fullmatch(
                r"make [a-z-]+(?: PYTHON=python\$\{\{ matrix\.python \}\})?", command
            )
            assert command.split()[1] in targets()

    def test_rights_are_few(self, path):
        workflow = load(path.name)
        assert workflow["permissions"] == {"contents": "read"}
        granted = {
            name: job["permissions"]
            for name, job in workflow["jobs"].items()
            if "permissions" in job
        }
        assert (
            granted
            == {
                "publish": {
                    "notebooks": {"contents": "write"},
                    "pages": {"pages": "write", "id-token": "write"},
                },
                "colab": {"report": {"contents": "read", "issues": "write"}},
                "test": {},
            }[path.stem]
        )
        for job in workflow["jobs"].values():
            pushes = any(step.get("run") == "make colab-branch" for step in job.get("steps", []))
            for step in job.get("steps", []):
                if step.get("uses", "").startswith("actions/checkout") and not pushes:
                    assert step["with"]["persist-credentials"] is False

    def test_jobs_have_an_end_and_runs_do_not_collide(self, path):
        workflow = load(path.name)
        assert workflow["concurrency"]["group"]
        for job in workflow["jobs"].values():
            assert "uses" in job or 0 < job["timeout-minutes"] <= 240

    def test_actions_are_taken_by_their_commit_and_images_by_their_digest(self, path):
        """A tag can be moved to other code. What it was called stands behind it, for people."""
        for line in re.findall(r"uses: (?!\./)(.+)", path.read_text()):
            fixed = r"[\w-]+/[\w-]+@[0-9a-f]{40}|docker://[\w-]+/[\w-]+@sha256:[0-9a-f]{64}"
            assert re.fullmatch(rf"(?:{fixed}) # v?\d+\.\d+\.\d+", line)

    def test_packages_come_from_one_index_and_torch_from_another(self, path):
        """A second index for all would let it answer for any package's name."""
        workflow = load(path.name)
        places = [workflow, *workflow["jobs"].values(), *steps(workflow)]
        variables: dict[str, str] = {}
        for place in places:
            variables |= place.get("env", {})
        assert not [name for name in variables if name.startswith(("PIP_", "UV_"))]
        assert variables.get("TORCH_INDEX") == "https://download.pytorch.org/whl/cpu"

    def test_actionlint_finds_nothing(self, path):
        actionlint = shutil.which("actionlint")
        if not actionlint:
            pytest.skip("no actionlint here; the workflow test.yml runs it")
        done = subprocess.run([actionlint, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_notebooks_is_no_file_though_a_folder_has_that_name():
    phony = " ".join(re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.M)).split()
    assert "notebooks" in phony and (ROOT / "notebooks").is_dir()


def test_concurrency_groups_differ_so_that_a_caller_is_not_cancelled_by_what_it_calls():
    groups = [load(path.name)["concurrency"]["group"] for path in PATHS]
    assert len(set(groups)) == len(groups)
    assert not any("github.workflow" in group for group in groups)


def test_everything_is_tested_on_every_python_that_the_package_supports():
    job = load("test.yml")["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert 'requires-python = ">=3.11,<3.14"' in (ROOT / "pyproject.toml").read_text()
    assert [s["run"] for s in job["steps"] if "run" in s] == [
        "make test PYTHON=python${{ matrix.python }}"
    ]
    on = load("test.yml")["on"]
    assert "pull_request" in on and "push" in on and "workflow_call" in on
    # main is tested through publish.yml, so no push goes untested and none is tested twice
    assert "main" in on["push"]["branches-ignore"]
    assert load("publish.yml")["jobs"]["test"]["uses"] == "./.github/workflows/test.yml"


def test_only_what_was_tested_and_built_from_a_clean_checkout_is_published():
    workflow = load("publish.yml")
    assert workflow["on"] == {"push": {"branches": ["main"]}}
    jobs = workflow["jobs"]
    order = [jobs["build"]["needs"], jobs["notebooks"]["needs"], jobs["pages"]["needs"]]
    assert order == ["test", "build", "notebooks"]
    assert "env" not in workflow
    # no variable of the book, no cache but pip's: nothing can stand in for a result
    assert set(jobs["build"]["env"]) == {"TORCH_INDEX"}
    for step in steps(workflow):
        assert "env" not in step and "if" not in step and "continue-on-error" not in step
        assert not step.get("uses", "").startswith("actions/cache")
    made = [step["run"] for step in jobs["build"]["steps"] if "run" in step]
    assert made == ["make book", "make site-tested", "make notebooks"]


def test_the_weekly_run_uses_colab_s_newest_image_and_reports_only_what_fails():
    workflow = load("colab.yml")
    assert len(workflow["on"]["schedule"]) == 1
    assert workflow["on"]["schedule"][0]["cron"].split()[2:] == ["*", "*", "1"]
    run, report = workflow["jobs"]["run"], workflow["jobs"]["report"]
    assert report["needs"] == "run" and report["if"] == "failure()"
    limit = next(s["timeout-minutes"] for s in run["steps"] if s.get("run") == "make colab-run")
    assert limit < run["timeout-minutes"]
    assert "colab-images/public/runtime:latest" in MAKEFILE and "--pull always" in MAKEFILE


def test_updates_come_for_packages_and_actions():
    settings = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    assert settings["version"] == 2
    kinds = {update["package-ecosystem"]: update for update in settings["updates"]}
    assert set(kinds) == {"pip", "github-actions"}
    project = (ROOT / "pyproject.toml").read_text()
    # no update beyond what Jupyter Book 1 can be installed with
    for name in (rule["dependency-name"] for rule in kinds["pip"]["ignore"]):
        assert re.search(rf"^{name}==", (ROOT / "constraints.txt").read_text(), re.M | re.I)
    assert "jupyter-book==1." in project


def dry_run(folder: Path, *words: str) -> str:
    """What make would do in a folder with a .venv that is ready and holds Python 3.9."""
    if not shutil.which("make"):
        pytest.skip("no make here")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, folder)
    for name in ("mixerlib", "notebooks", ".venv/lib/python3.9"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / ".venv" / "ready").touch()
    command = ["make", "--dry-run", "--no-print-directory", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_another_python_gets_a_venv_of_its_own_and_the_same_one_does_not(tmp_path):
    assert "-m venv" not in dry_run(tmp_path, "test")
    assert f'"{sys.executable}" -m venv --clear .venv' in dry_run(
        tmp_path, "test", f"PYTHON={sys.executable}"
    )
    (tmp_path / ".venv" / "lib" / f"python3.{sys.version_info.minor}").mkdir()
    assert "-m venv" not in dry_run(tmp_path, "test", f"PYTHON={sys.executable}")
    assert "PYTHON=no-such-python does not run" in dry_run(
        tmp_path, "test", "PYTHON=no-such-python"
    )


PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+?)(?: \\)?$", re.M)
HASHED = re.compile(r"^[A-Za-z0-9][\w.-]*==\S+(?: \\\n    --hash=sha256:[0-9a-f]{64})+$", re.M)


def pins(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return {re.sub(r"[-_.]+", "-", package).lower(): v for package, v in PIN.findall(text)}


def test_the_hashes_are_those_of_the_versions_that_are_tested():
    expected = pins("constraints.txt")
    torch = {package: expected.pop(package) for package in ("torch", "torchvision")}
    assert pins("hashes.txt") == expected and len(expected) > 200
    assert pins("hashes-torch.txt") == torch  # of the files of their own index


def test_torch_has_a_hash_for_every_python_that_is_tested():
    tested = load("test.yml")
    pythons = next(
        job["strategy"]["matrix"]["python"] for job in tested["jobs"].values() if "strategy" in job
    )
    text = (ROOT / "hashes-torch.txt").read_text(encoding="utf-8")
    assert all(package.count("--hash") == len(pythons) for package in text.split("==")[1:])
    assert len(set(re.findall(r"[0-9a-f]{64}", text))) == 2 * len(pythons)


@pytest.mark.parametrize("name", ["hashes.txt", "hashes-torch.txt", "tests/like_colab.txt"])
def test_every_package_of_a_list_has_hashes(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(HASHED.findall(text)) == len(PIN.findall(text)) > 1
    left = HASHED.sub("", text).splitlines()
    assert all(line == "" or line.startswith("#") for line in left)


def test_with_an_index_for_torch_all_is_installed_by_its_hash(tmp_path):
    """Torch alone comes from that index, and nothing is fetched to build mixerlib."""
    said = dry_run(
        tmp_path, "book", "TORCH_INDEX=https://example.org/cpu", f"PYTHON={sys.executable}"
    )
    installs = [line for line in said.splitlines() if "pip install" in line]
    assert len(installs) == 3 and all("--no-deps" in line for line in installs)
    assert "--require-hashes -r hashes.txt" in installs[0] and "index-url" not in installs[0]
    assert '--index-url "https://example.org/cpu"' in installs[1]
    assert "--require-hashes" in installs[1] and installs[1].endswith("-r hashes-torch.txt")
    assert installs[2].endswith("--no-build-isolation -e .")
    for target in ("site-tested", "release"):
        said = dry_run(tmp_path, target, "VERSION=dev", "TORCH_INDEX=https://example.org/cpu")
        assert "pip install" not in said and ": installed:" in said


def test_what_pushes_installs_by_hash_alone(tmp_path):
    said = dry_run(tmp_path, "colab-branch")
    assert "--no-deps --require-hashes" in said and "-c constraints.txt" not in said
    command = next(line for line in said.splitlines() if line.startswith("awk"))
    shutil.copy(ROOT / "hashes.txt", tmp_path)
    (tmp_path / "_build").mkdir()
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    chosen = (tmp_path / "_build" / "ghp-import.txt").read_text()
    assert [name for name, _ in PIN.findall(chosen)] == ["ghp-import", "python-dateutil", "six"]
    assert len(HASHED.findall(chosen)) == 3


def test_a_release_is_checked_before_it_is_built_and_packed_after(tmp_path):
    said = dry_run(tmp_path, "release", "VERSION=dev")
    order = ["book.tools.release --check", "jupyter-book build", "book.tools.release\n"]
    places = [said.index(words) for words in order]
    assert places == sorted(places)
    assert "release]" in said[: places[0]]


def test_the_container_sees_the_notebooks_and_not_the_library(tmp_path):
    """Else they would find mixerlib lying there, and their first cell would not be tried."""
    said = dry_run(tmp_path, "colab-run").replace("\\\n", " ")
    seen = re.findall(r'-v "([^"]+)"', said)
    assert [mount.split(":")[0] for mount in seen] == [
        "$PWD/_build/colab",
        "$PWD/book/tools/run_notebooks.py",
        "$PWD/_build/colab-run",
    ]
    inside = {mount.split(":")[1] for mount in seen}
    assert set(said.split("run_notebooks.py ")[1].split()) <= inside
