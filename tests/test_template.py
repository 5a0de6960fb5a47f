"""The folder template/: a package outside mixerlib that is built, installed and tested as one."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import ROOT, TEMPLATE, template_registered

from mixerlib.training import load_recipe, read_sweep

pytestmark = pytest.mark.prose  # it reads its README and chapter 26

MODULE = TEMPLATE / "src" / "carousel_mixing" / "__init__.py"
CHAPTER = ROOT / "notebooks" / "26-a-mixer-of-your-own.md"


def run(
    *words: str, cwd: Path, python: Path | str = sys.executable, path: str = ""
) -> subprocess.CompletedProcess:
    """A command of this Python, or of another; `path` is its PYTHONPATH."""
    surroundings = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [python, *words], cwd=cwd, env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


class Installed(NamedTuple):
    """A copy of the template's folder, and the Python and the packages of a new environment."""

    copied: Path
    python: Path
    packages: Path


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    """The template's wheel, installed in a new virtual environment. Two lines of a file show it
    mixerlib, as an installation with `-e` would, and the packages that both need."""
    folder = tmp_path_factory.mktemp("template")
    copied, environment = folder / "my-mixing", folder / "environment"
    shutil.copytree(TEMPLATE, copied, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run("-m", "venv", "--without-pip", str(environment), cwd=folder)
    here = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", "venv", here))
    python = Path(sysconfig.get_path("scripts", "venv", here)) / Path(sys.executable).name
    (packages / "borrowed.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    alone = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    wheel = ("wheel", "--no-build-isolation", *alone, "--wheel-dir", "dist", ".")
    run("-m", "pip", *wheel, cwd=copied)
    [built] = (copied / "dist").glob("*.whl")
    run("-m", "pip", "--python", str(python), "install", *alone, str(built), cwd=folder)
    return Installed(copied, python, packages)


def test_nothing_else_is_installed_there(installed):
    names = [package.name for package in distributions(path=[str(installed.packages)])]
    assert names == ["carousel-mixing"]


def test_its_own_tests_pass_where_it_is_installed(installed):
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    done = run(*words, cwd=installed.copied, python=installed.python)
    assert "passed" in done.stdout and "failed" not in done.stdout


def test_mixerlib_has_it_there_without_an_import_and_only_there(installed, tmp_path):
    code = "import mixerlib, sys; m = mixerlib.list_models(); "
    code += "print('splitmixer_carousel' in m, sys.modules.get('carousel_mixing'))"
    done = run("-c", code, cwd=tmp_path, python=installed.python)
    assert done.stdout.startswith("True ") and str(installed.packages) in done.stdout
    assert run("-c", code, cwd=tmp_path, path=str(ROOT)).stdout.strip() == "False None"


def test_the_commands_of_its_readme_know_it(installed, tmp_path):
    readme = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    for words in ("cost splitmixer_carousel --ratio 4/7", "list"):
        assert f"\nmixerlib {words} " in readme or f"\nmixerlib {words}\n" in readme
        done = run("-m", "mixerlib", *words.split(), cwd=tmp_path, python=installed.python)
        assert "splitmixer_carousel" in done.stdout
    words = "train digits --model splitmixer_carousel"
    assert f"\nmixerlib {words}\n" in readme
    short = ("--epochs", "1", "--out", "out", "--device", "cpu")
    run("-m", "mixerlib", *words.split(), *short, cwd=tmp_path, python=installed.python)
    assert '"splitmixer_carousel"' in (tmp_path / "out" / "record.json").read_text()


def class_of(source: str) -> str:
    """The class TurnedSegment of a source without what it says of itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == "TurnedSegment":
            for part in ast.walk(node):
                if isinstance(part, ast.FunctionDef):
                    part.returns = None
                    for argument in part.args.args:
                        argument.annotation = None
            node.body = [part for part in node.body if not isinstance(part, ast.Expr)]
            return ast.unparse(node)
    raise AssertionError("there is no TurnedSegment")


def test_it_holds_the_module_of_chapter_26():
    cells = CHAPTER.read_text(encoding="utf-8").split("```{code-cell} ipython3\n")
    [cell] = [cell for cell in cells if cell.startswith("class TurnedSegment")]
    assert class_of(cell.partition("\n```")[0]) == class_of(MODULE.read_text(encoding="utf-8"))


def test_its_recipe_is_that_of_strategy_i_with_the_other_mixing():
    with template_registered():
        ours, theirs = read_sweep(TEMPLATE / "sweep.yaml")[:2]
        assert len(read_sweep(TEMPLATE / "sweep.yaml")) == 6
        assert theirs.name == "cpu/split/splitmixer_i_4_7"
        named = {"name": "carousel_64_4", "model": "splitmixer_carousel"}
        assert ours == replace(theirs, **named)  # as the chapter makes it
        assert ours == load_recipe(
            TEMPLATE / "carousel_64_4.yaml", {"compile": True, "seed": ours.seed}
        )


def test_the_chapter_names_its_files_and_its_line():
    text = CHAPTER.read_text(encoding="utf-8")
    tree = text.partition("```text\ntemplate/\n")[2].partition("```")[0]
    named = {line.split()[1] for line in tree.strip().splitlines()}
    assert {TEMPLATE / name for name in named} <= {*TEMPLATE.iterdir(), *TEMPLATE.glob("*/*")}
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))
    toml = text.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(toml)["project"].items() <= project["project"].items()
