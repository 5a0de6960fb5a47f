"""The rooms of mixerlib and their order, held by reading imports; and that users need only rooms.

A room is a folder of mixerlib/, or a file beside them. The imports are read from the source with
`ast`, those inside functions too, so nothing has to be executed. Some tests plant violations, to
show that the reader finds them.
"""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

import mixerlib

PACKAGE = Path(mixerlib.__file__).parent

# From the ground up: a room imports only from those before it. A new one must be given its place.
ORDER = (
    *("checks", "files", "_torchvision", "costs", "data", "records", "models", "weights"),
    *("timm", "inside", "pages", "speed", "training", "widgets", "cli", "__main__"),
)
ALLOWED = {room: set(ORDER[:place]) for place, room in enumerate(ORDER)}
ALLOWED["__init__"] = {"models", "weights", "speed"}  # the public names
PUBLIC = (
    *("files", "models", "costs", "data", "records", "weights", "timm", "inside"),
    *("pages", "speed", "training", "widgets"),
)


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
    room = file.relative_to(root).parts[0].removesuffix(".py")
    parts = {part_of(str(module), public) for module in modules}
    return {part for part in parts if part} - {room}


def public_names(root: Path) -> dict[str, str]:
    """A name that `__init__.py` imports from one of the parts → that part."""
    actual = {}
    for node in ast.walk(ast.parse((root / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mixerlib."):
            actual |= {a.asname or a.name: node.module.split(".")[1] for a in node.names}
    return actual


def violations(root: Path) -> list[str]:
    """One line for every import that the rule forbids, and for every file without a place in it."""
    public, actual = public_names(root), []
    for file in sorted(root.rglob("*.py")):
        part = file.relative_to(root).parts[0].removesuffix(".py")
        where = file.relative_to(root.parent).as_posix()
        if part not in ALLOWED:
            actual.append(f"{where} has no place in ORDER")
            continue
        source = file.read_text(encoding="utf-8")
        for other in sorted(imported(source, file, root, public) - ALLOWED[part]):
            actual.append(f"{where} must not import {other}")
    return actual


def test_imports_run_one_way():
    assert violations(PACKAGE) == []


def test_the_library_is_a_few_rooms():
    entries = [path for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "py.typed")]
    assert len(entries) <= 17, sorted(path.name for path in entries)
    assert {path.stem for path in entries} == {*ORDER, "__init__"}


@pytest.mark.prose
def test_contributing_shows_the_rooms_in_their_order():
    page = (ROOT / "book" / "contributing.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", page, re.M)
    assert shown == [room for room in ORDER if not room.startswith("_")]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_room_says_what_it_is_for_and_lists_its_public_names(name: str):
    room = importlib.import_module(f"mixerlib.{name}")
    assert re.match(r"[A-Z].*?[.:]\s", room.__doc__ or "", re.DOTALL), "no sentence opens the room"
    assert sorted(room.__all__) == sorted(set(room.__all__))
    assert [public for public in room.__all__ if not hasattr(room, public)] == []


# What users read: chapters, pages, the book's scripts, the README


def fenced(path: Path) -> str:
    """The code of a file: all of a script, what stands in fences of a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    return "\n".join(
        re.findall(r"^```(?:\{code-cell\}[^\n]*|python)\n(.*?)^```", text, re.M | re.S)
    )


def from_inside(code: str) -> list[str]:
    """The imports of mixerlib in a text of code that do not name a public name of a room."""
    wrong = []
    for line in re.findall(r"^[ \t]*((?:from|import) mixerlib.*?)$", code, re.M):
        if re.fullmatch(r"import mixerlib(?:, torch|\.timm)?|from mixerlib import [\w, ]+", line):
            continue
        match = re.match(r"from mixerlib\.(\w+) import ", line)
        if not match or match[1] not in PUBLIC:
            wrong.append(line)
    for match in re.finditer(r"^[ \t]*from mixerlib\.(\w+) import (\([^)]*\)|[^\n]*)", code, re.M):
        if match[1] in PUBLIC:
            public = importlib.import_module(f"mixerlib.{match[1]}").__all__
            names = re.findall(r"(\w+)(?: as \w+)?", re.sub(r" as \w+|#.*", "", match[2]))
            wrong += [f"{match[1]} has no public {n}" for n in names if n not in public]
    return wrong


USERS = [
    *sorted((ROOT / "notebooks").glob("*.md")),
    *sorted((ROOT / "book").rglob("*.md")),
    *sorted((ROOT / "book").rglob("*.py")),
    ROOT / "README.md",
]


@pytest.mark.prose
@pytest.mark.parametrize("path", USERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_users_import_from_rooms(path: Path):
    assert from_inside(fenced(path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "from mixerlib.training.loop import train",
        "import mixerlib.training.loop",
        "from mixerlib._torchvision import import_torchvision",
        "from mixerlib.training import (\n    no_such_name,\n)",
        "    from mixerlib.costs import measure, no_such_name",
    ],
)
def test_an_import_from_inside_a_room_is_found(line: str):
    assert len(from_inside(f"import torch\n{line}\n")) == 1
    assert from_inside("from mixerlib.costs import measure\nimport mixerlib\n") == []


def test_one_architecture_imports_no_other():
    """They share their checks, their heads, SplitMixer's mixings and what finds those of packages,
    none of which is a network; the registry alone knows them all, and what adds to it."""
    parts = ("heads", "mixings", "plugins")
    shared = ("mixerlib.checks", *(f"mixerlib.models.{part}" for part in parts))
    for file in (PACKAGE / "models").glob("*.py"):
        if file.stem in ("__init__", "custom_mixings", "registry"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mixerlib"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [a.name for a in node.names if a.name.startswith("mixerlib")]
            else:
                continue
            assert all(name.startswith(shared) for name in names), (file, names)


def test_every_room_is_an_attribute_and_comes_when_it_is_used():
    code = (
        "import sys, mixerlib\n"
        "assert 'torch' not in sys.modules and 'costs' in dir(mixerlib)\n"
        "mixerlib.costs.formulas, mixerlib.training.train, mixerlib.records.read_record\n"
        "from mixerlib import *\n"
        "create_model, optimize_for_inference, load_weights\n"
        "assert not hasattr(mixerlib, 'no_such_room')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


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
    (root / "models" / "__init__.py").write_text("from mixerlib import checks\n")
    (root / "checks.py").write_text("import torch\n")
    (root / "costs.py").write_text("import torch\n")
    (root / "data.py").write_text("from mixerlib import checks\n")
    (root / "records.py").write_text("from mixerlib import __version__\nimport mixerlib_other\n")
    (root / "training.py").write_text("from mixerlib import create_model, data\n")
    return root


def test_the_reader_finds_nothing_where_the_rule_is_kept(planted: Path):
    assert violations(planted) == []


@pytest.mark.parametrize(
    "line",
    [
        "import mixerlib.training",
        "import mixerlib.training as d",
        "from mixerlib import training",
        "from mixerlib import create_model, training as d",
        "from mixerlib.training import load",
        "from mixerlib.training.digits import load",
        "from .. import training",
        "from ..training import load",
        "def later():\n    from mixerlib.training import load",
        "if False:\n    import torch, mixerlib.training",
        "import importlib\nd = importlib.import_module('mixerlib.training')",
        "d = __import__('mixerlib.training')",
    ],
)
def test_the_reader_finds_a_planted_violation(planted: Path, line: str):
    (planted / "models" / "new.py").write_text(f"import torch\n{line}\n")
    actual = violations(planted)
    assert "mixerlib/models/new.py must not import training" in actual
    assert all(line.startswith("mixerlib/models/new.py") for line in actual)


@pytest.mark.parametrize(
    "file, line, message",
    [
        ("costs.py", "from .data import load", "mixerlib/costs.py must not import data"),
        (
            "costs.py",
            "from mixerlib import create_model",
            "mixerlib/costs.py must not import models",
        ),
        ("data.py", "import mixerlib.training", "mixerlib/data.py must not import training"),
        (
            "training.py",
            "from mixerlib.cli import main",
            "mixerlib/training.py must not import cli",
        ),
        ("pages.py", "import notebooks.patches", "mixerlib/pages.py must not import notebooks"),
        ("records.py", "from tests import conftest", "mixerlib/records.py must not import tests"),
        ("stray.py", "import torch", "mixerlib/stray.py has no place in ORDER"),
    ],
)
def test_the_reader_finds_each_wrong_direction(planted: Path, file: str, line: str, message: str):
    (planted / file).write_text(f"{line}\n")
    assert violations(planted) == [message]
