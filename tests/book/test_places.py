"""The make targets work in a folder of any name: run there, with stubs that note what they get."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="no make here")
ODD = ["My Drive", 'it\'s a "quoted" $HOME `id`; & (é)']
# Stands for every program: notes its name, its arguments and the variables that name a place
PROGRAM = """#!{python} -IS
import json, os, sys
with open({log!r}, "a") as log:
    places = {{k: v for k, v in os.environ.items() if k in ("JUPYTER_PATH", "MIXERBOOK_SOURCE")}}
    print(json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), places]), file=log)
"""
TARGETS = re.findall(r"^([a-z][a-z-]*):(?!=)", (ROOT / "Makefile").read_text(), re.M)
QUICK = [name for name in TARGETS if name not in ("another-python", "hashes", "place-tested")]


@pytest.fixture(params=ODD)
def checkout(request, tmp_path) -> Path:
    """A folder of an odd name with the Makefile, and stubs for all that it starts."""
    folder = tmp_path / request.param / "book"
    for name in ("notebooks", ".venv/bin", ".venv/like-colab", "_build/html", "tests", ".tested"):
        (folder / name).mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "hashes.txt", "hashes-torch.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / "notebooks/01-one.md").touch()
    (folder / "tests/like_colab.txt").touch()
    (folder / "_build/html/index.html").touch()
    for name in (".tested/01-one.inputs", ".tested/library.inputs"):
        (folder / name).touch()
    programs = tmp_path / "programs"
    programs.mkdir()
    inside = ("python", "ruff", "mypy", "jupyter", "jupytext-config", "jupyter-book")
    stubs = [folder / ".venv/bin" / name for name in inside]
    stubs += [programs / name for name in ("python3", "docker", "gh")]
    for program in stubs:
        program.write_text(PROGRAM.format(python=sys.executable, log=str(tmp_path / "log")))
        program.chmod(0o755)
    (folder / ".venv/ready").touch()
    (folder / ".venv/like-colab/ready").touch()
    return folder


def made(checkout: Path, *words: str) -> list[list]:
    """What make started: program, arguments, folder, variables."""
    programs = checkout.parents[1] / "programs"
    variables = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    environment = os.environ | dict.fromkeys(variables, "x")
    environment |= {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=checkout,
        env={k: v for k, v in environment.items() if not k.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log = checkout.parents[1] / "log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_every_target_runs_in_a_folder_of_any_name(checkout):
    before = sorted(path.name for path in checkout.parent.iterdir())
    for target in QUICK:
        started = made(checkout, target)
        assert {folder for _, _, folder, _ in started} <= {str(checkout)}, target
    told = [word for _, words, _, places in started for word in [*words, *places.values()]]
    named = [word for word in told if checkout.parent.name[:4] in word]
    assert sorted(path.name for path in checkout.parent.iterdir()) == before
    # each path that was passed on is whole, and in this folder
    assert len(named) >= 5 and all(f"{checkout}/" in word for word in named)
    variables = next(places for *_, places in started if places)
    assert variables == {
        "JUPYTER_PATH": f"{checkout}/.tested/01-one/environment/share/jupyter",
        "MIXERBOOK_SOURCE": f"{checkout}/.tested/01-one/source.git",
    }


@pytest.mark.parametrize("checkout", ODD[:1], indirect=True)
@pytest.mark.parametrize(("target", "module"), [("fuzz", "tests.fuzz"), ("kills", "tests.kills")])
def test_random_attacks_last_as_long_as_one_likes(checkout, target, module):
    assert find_spec(module)
    for words, minutes in (([target], "10"), ([target, "MINUTES=60"], "60")):
        program, arguments, *_ = made(checkout, *words)[-1]
        assert program == "python" and arguments == ["-m", module, "--minutes", minutes]


@pytest.mark.parametrize("checkout", ODD[:1], indirect=True)
def test_an_unquoted_path_is_found(checkout):
    makefile = checkout / "Makefile"
    makefile.write_text(
        makefile.read_text().replace('"$$PWD/', "$(CURDIR)/").replace('.git"', ".git")
    )
    with pytest.raises(AssertionError):
        test_every_target_runs_in_a_folder_of_any_name(checkout)
