"""Which part of mixerlib may import which: the rule of the book's design, held by reading imports.

A part is a file directly under mixerlib/ or the folder models/. The imports are read from the
source with `ast`, those inside functions too, so nothing has to be executed. The last tests plant
violations, to show that the reader finds them.
"""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import mixerlib

PACKAGE = Path(mixerlib.__file__).parent
GROUND: set[str] = set()  # stands on the ground: imports nothing else of mixerlib

# A part → the parts that it may import. A new file must be given its place here.
ALLOWED: dict[str, set[str]] = {
    "models": GROUND,
    "costs": GROUND,
    "vision": GROUND,
    "files": GROUND,
    "schedule": GROUND,
    "processes": GROUND,
    "recipe": GROUND,
    "records": {"files"},
    "plots": GROUND,
    "reach": GROUND,
    "augment_operations": {"vision"},
    "augment": {"augment_operations"},
    "fetch": {"vision"},
    "image_files": {"fetch", "vision"},
    "photographs": {"fetch", "image_files", "vision"},
    "data": {"augment", "vision", "fetch", "image_files", "photographs"},
    "weights": {"files", "models"},
    "inference": {"models"},
    "evaluate": {"data"},
    "checkpoint": {"files", "recipe"},
    "metrics": {"files", "records"},
    "one_matrix": {"models"},
    "step": {"bench", "models", "one_matrix"},
    "run": {"augment", "data", "models", "processes", "recipe", "records", "schedule", "step"}
    | {"weights"},
    "train": {"checkpoint", "evaluate", "metrics", "processes", "recipe", "records", "run", "step"},
    "trained": {"checkpoint", "recipe", "records", "run", "weights"},
    "sweep": {"recipe"},
    "results": {"recipe", "records"},
    "peers": {"models", "vision"},
    "bench": {"inference", "models", "one_matrix", "peers", "records"},
    "bench_matrix": {"bench"},
    "roofline": {"bench", "costs", "models", "records"},
    "audit": {"models", "costs", "records"},
    "explorer": {"costs", "plots", "reach"},
}
ALLOWED["cli"] = set(ALLOWED)
ALLOWED["__main__"] = {"cli"}
ALLOWED["__init__"] = {"models", "weights", "inference"}  # the public names


def part_of(module: str, public: dict[str, str]) -> str | None:
    """The part that a dotted name lies in; None when it is not mixerlib's, or is `mixerlib` itself.

    `public` says which part a name comes from that `mixerlib/__init__.py` passes on.
    """
    first, _, rest = module.partition(".")
    if first in ("notebooks", "tests", "book"):
        return first
    if first != "mixerlib" or not rest:
        return None
    name = rest.split(".")[0]
    return public.get(name, name) if not name.startswith("__") else None


def imported(source: str, file: Path, root: Path, public: dict[str, str]) -> set[str]:
    """The parts of mixerlib (and of the rooms that it must not know) that a source imports."""
    package = [root.name, *file.relative_to(root).parts[:-1]]  # what a relative import starts from
    modules: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from mixerlib import data` may name a file: so every imported name is looked at
            modules += [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                modules += [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
    own = file.relative_to(root).parts[0].removesuffix(".py")
    parts = {part_of(str(module), public) for module in modules}
    return {part for part in parts if part} - {own}


def public_names(root: Path) -> dict[str, str]:
    """A name that `__init__.py` imports from one of the parts → that part."""
    found = {}
    for node in ast.walk(ast.parse((root / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mixerlib."):
            found |= {a.asname or a.name: node.module.split(".")[1] for a in node.names}
    return found


def violations(root: Path) -> list[str]:
    """One line for every import that the rule forbids, and for every file without a place in it."""
    public, found = public_names(root), []
    for file in sorted(root.rglob("*.py")):
        part = file.relative_to(root).parts[0].removesuffix(".py")
        where = file.relative_to(root.parent).as_posix()
        if part not in ALLOWED:
            found.append(f"{where} has no place in ALLOWED")
            continue
        source = file.read_text(encoding="utf-8")
        for other in sorted(imported(source, file, root, public) - ALLOWED[part]):
            found.append(f"{where} must not import {other}")
    return found


def test_imports_run_one_way():
    assert violations(PACKAGE) == []


def test_the_rule_itself_has_no_circle():
    order = list(graphlib.TopologicalSorter(ALLOWED).static_order())  # raises CycleError
    assert order.index("models") < order.index("train") < order.index("cli")


def test_one_architecture_imports_no_other():
    """The files of models/ share `checks` only; the registry alone knows them all."""
    for file in (PACKAGE / "models").glob("*.py"):
        if file.stem == "__init__":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mixerlib"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [a.name for a in node.names if a.name.startswith("mixerlib")]
            else:
                continue
            assert all(name.startswith("mixerlib.models.checks") for name in names), (file, names)


def test_importing_mixerlib_prints_and_writes_nothing(tmp_path: Path):
    code = "import mixerlib, mixerlib.models.tweet"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


# The reader of imports, on planted files


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A small package of the same name that keeps the rule."""
    root = tmp_path / "mixerlib"
    (root / "models").mkdir(parents=True)
    init = "from mixerlib.models import create_model\n__version__ = '0'\n"
    (root / "__init__.py").write_text(init)
    (root / "models" / "__init__.py").write_text("from mixerlib.models import checks\n")
    (root / "models" / "checks.py").write_text("import torch\nfrom . import nothing\n")
    (root / "augment.py").write_text("import torch\n")
    (root / "data.py").write_text("from mixerlib import augment\n")
    (root / "records.py").write_text("from mixerlib import __version__\nimport mixerlib_other\n")
    (root / "run.py").write_text("from mixerlib import create_model, data\n")
    return root


def test_the_reader_finds_nothing_where_the_rule_is_kept(planted: Path):
    assert violations(planted) == []


@pytest.mark.parametrize(
    "line",
    [
        "import mixerlib.data",
        "import mixerlib.data as d",
        "from mixerlib import data",
        "from mixerlib import create_model, data as d",
        "from mixerlib.data import load",
        "from mixerlib.data.digits import load",
        "from .. import data",
        "from ..data import load",
        "def later():\n    from mixerlib.data import load",
        "if False:\n    import torch, mixerlib.data",
        "import importlib\nd = importlib.import_module('mixerlib.data')",
        "d = __import__('mixerlib.data')",
    ],
)
def test_the_reader_finds_a_planted_violation(planted: Path, line: str):
    (planted / "models" / "new.py").write_text(f"import torch\n{line}\n")
    found = violations(planted)
    assert "mixerlib/models/new.py must not import data" in found
    assert all(told.startswith("mixerlib/models/new.py") for told in found)


@pytest.mark.parametrize(
    "file, line, told",
    [
        ("augment.py", "from .data import load", "mixerlib/augment.py must not import data"),
        (
            "costs.py",
            "from mixerlib import create_model",
            "mixerlib/costs.py must not import models",
        ),
        ("data.py", "import mixerlib.train", "mixerlib/data.py must not import train"),
        ("train.py", "from mixerlib.cli import main", "mixerlib/train.py must not import cli"),
        ("plots.py", "import notebooks.patches", "mixerlib/plots.py must not import notebooks"),
        ("recipe.py", "from tests import conftest", "mixerlib/recipe.py must not import tests"),
        ("stray.py", "import torch", "mixerlib/stray.py has no place in ALLOWED"),
    ],
)
def test_the_reader_finds_each_wrong_direction(planted: Path, file: str, line: str, told: str):
    (planted / file).write_text(f"{line}\n")
    assert violations(planted) == [told]
