"""What several test modules share: where things lie, small data, models and records made up."""

import ast
import importlib
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mixerlib._torchvision import import_torchvision
from mixerlib.data import Dataset, load_dataset
from mixerlib.models import create_model, list_models, model_entry
from mixerlib.records import Record, provenance
from mixerlib.training import Recipe

ROOT = Path(__file__).parents[1]  # the checkout
TEMPLATE = ROOT / "template"  # a package of its own, with a mixing
SHARED = ROOT.parent / "shared"  # data and fixtures that do not travel with the book
# The chapters that open as book/contributing.md says and have at most 15 screens before their
# exercises. A chapter that does joins here; test_openings.py and test_site.py hold it to it.
OPENED = (
    *(f"{number:02}" for number in range(1, 17)),
    *("05b", "12b", "13b", "17", "17b", "18", "18b", "19", "19b"),
    *("20", "21", "21b", "22", "23", "24", "25", "26"),
)


def missing(what: str) -> NoReturn:
    """Skip the test that runs, as what it needs is not here. In CI it fails: nobody reads there
    what was skipped."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


def few_digits(train: int = 70, test: int = 30) -> Dataset:
    """The first so many training and test images of scikit-learn's digits."""
    whole = load_dataset("digits")
    return replace(
        whole,
        train_images=whole.train_images[:train],
        train_labels=whole.train_labels[:train],
        test_images=whole.test_images[:test],
        test_labels=whole.test_labels[:test],
    )


def trained_look(model: nn.Module) -> nn.Module:
    """The model itself, its norms far from their initial values: as after some training.

    Weights and shifts of both signs, means and, from 0.5 to 2, variances that differ by channel.
    """
    generator = torch.Generator().manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.LayerNorm):
            for name in ("weight", "bias", "running_mean"):
                if (tensor := getattr(norm, name, None)) is not None:
                    tensor.data.normal_(generator=generator)
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_var.uniform_(0.5, 2, generator=generator)
    return model


# Of each family of relatives: the options of a small model, and the height and width of its images
SMALL_RELATIVES: dict[str, tuple[dict, tuple[int, int]]] = {
    "resnet_cifar": ({"dim": 4, "depth": 6}, (9, 14)),
    "vit": ({"dim": 12, "depth": 3, "heads": 3, "channels_dim": 20}, (8, 12)),
    "deit": ({"dim": 12, "depth": 3, "heads": 2, "channels_dim": 20}, (8, 12)),
    "resmlp": ({"dim": 12, "depth": 3, "channels_dim": 20}, (8, 12)),
    "gmlp": ({"dim": 12, "depth": 3, "channels_dim": 20}, (8, 12)),
    "convnext": ({"dim": 12, "depth": 3, "channels_dim": 20, "kernel_size": 3}, (8, 12)),
    "as_mlp": ({"stages": "1x10, 2x12", "patch_size": 2}, (8, 12)),
    "cycle_mlp": ({"stages": "1x10, 2x12", "patch_size": 2}, (8, 12)),
    "vip": ({"stages": "1x12, 2x18", "patch_size": 2}, (8, 12)),
    "mdmlp": ({"dim": 12, "depth": 3, "patch_size": 4, "stride": 2}, (8, 12)),
    "s_fc": ({"dim": 2}, (8, 12)),
}


FAMILIES = [name for name in list_models() if name == model_entry(name).family]  # of the mixers


def small_mixer(name: str = "splitmixer_i", **options: Any) -> nn.Module:
    """A small model of a family in evaluation mode, its norms not at their initial values."""
    few = {"tokens_dim": 5, "channels_dim": 20} if name == "mlp_mixer" else {}
    return trained_look(create_model(name, **({"dim": 12, "depth": 2} | few | options))).eval()


def small_relative(name: str, **options: Any) -> nn.Module:
    """A small model of a family, its norms not at their initial values."""
    sizes, image = SMALL_RELATIVES[name]
    given = {"image_size": image} if "image_size" in model_entry(name).defaults else {}
    return trained_look(create_model(name, **(sizes | given | options)))


def load_file(path: Path) -> ModuleType:
    """The module in a file that no installed package holds, such as `book/assets/draw.py`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def run_cells(path: Path, times: int = 1) -> dict[str, Any]:
    """What the code cells of a page have defined when all have run, in their order, so often."""
    import jupytext

    cells = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    names: dict[str, Any] = {"__name__": "page"}
    for cell in cells * times:
        exec(compile(cell, path.name, "exec"), names)
    return names


CELL = re.compile(
    r"^```\{code-cell\}[^\n]*\n(?:---\n.*?^---\n|:tags:[^\n]*\n)?\n*(.*?)^```$", re.M | re.S
)


def functions_of(paths: Iterable[Path], without: str | None = None) -> dict[str, Any]:
    """The functions and classes that the chapters' cells define before the exercises, and the
    constants in capitals that are written out, without what else the cells do.

    `without` is a line of theirs that is left out.
    """
    import mixerlib
    from mixerlib import inside

    names = {"torch": torch, "nn": nn, "F": F, "np": np, "math": math, "mixerlib": mixerlib}
    names |= {name: getattr(inside, name) for name in inside.__all__} | {"FULL": False}
    for path in paths:
        text = path.read_text(encoding="utf-8").partition("## Exercises")[0]
        if without is not None:
            assert without in text
            text = text.replace(without, "pass")
        for cell in CELL.findall(text):
            for node in ast.parse(cell).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) or _is_constant(node):
                    exec(compile(ast.Module([node], []), path.name, "exec"), names)
    return names


def _is_constant(node: ast.stmt) -> bool:
    """NAME = a literal."""
    if not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).isupper()):
        return False
    try:
        ast.literal_eval(node.value)
    except ValueError:
        return False
    return True


def values_to_change(path: Path) -> dict[str, Any]:
    """What a record's file holds, without its digest: so it may be written again, changed."""
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("record_sha256", None)
    return values


class Later:
    """A module that takes a second to import, and so is imported when a test first uses it."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "_mock", "_pytest")):  # pytest asks everything for them
            raise AttributeError(name)
        if self._name.startswith(("torchvision", "timm")):
            import_torchvision()  # it cannot always be imported without help
        return getattr(importlib.import_module(self._name), name)


class Clock:
    """Time in which every look at the clock takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


@contextmanager
def registrations_undone() -> Iterator[None]:
    """Takes back, at the end, what `register_mixing` has entered meanwhile."""
    from mixerlib.models import mixings, registry

    tables = (mixings.strategies, registry._registry)
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, entries in zip(tables, before, strict=True):
            table.clear()
            table.update(entries)


@contextmanager
def template_registered() -> Iterator[None]:
    """The mixing of the folder `template`, as where its package is installed, until the end."""
    file = TEMPLATE / "src" / "carousel_mixing" / "__init__.py"
    spec = importlib.util.spec_from_file_location("carousel_mixing", file)
    with registrations_undone():
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        yield


def git(folder: Path, *words: str) -> str:
    """What `git` answers in this folder, where it commits as somebody."""
    somebody = ("-c", "user.name=A. Writer", "-c", "user.email=a@example.org")
    done = subprocess.run(
        ["git", *somebody, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def made_record(**values: Any) -> Record:
    """A record that no run has written: of a model of one parameter, right in half of all cases."""
    usual = dict.fromkeys(("parameters", "train_images", "test_images", "processes"), 1)
    usual |= dict.fromkeys(("training_seconds", "total_seconds", "images_per_second"), 1.0)
    usual |= {"recipe": "made/up", "settings": {}, "seed": 0, "curve": [], "continued": 0}
    usual |= {"test_loss": 1.0, "test_accuracy": 0.5, "test_top5": 1.0, "peak_memory_bytes": None}
    return Record(**{**usual, "provenance": provenance("cpu"), **values})


def made_runs(recipe: Recipe, percents: Iterable[float]) -> list[Record]:
    """Records of a recipe that no run has written: one a seed, of these accuracies."""
    settings = asdict(recipe)
    del settings["name"]
    return [
        made_record(
            recipe=recipe.name,
            seed=seed,
            settings=settings | {"seed": seed},
            test_accuracy=percent / 100,
        )
        for seed, percent in enumerate(percents)
    ]


def check_letters(figure: Any) -> None:
    """No text of a picture is cut off, or lies on another text, on a filled shape or on a line
    upright."""
    for text in figure.axes[0].texts:  # the page's typeface is at most that wide
        text.set_fontsize(0.88 * text.get_fontsize())
    figure.canvas.draw()
    axes, page = figure.axes[0], figure.bbox
    boxes = [(t.get_text(), t.get_window_extent()) for t in axes.texts if t.get_text()]
    fills = [p.get_window_extent() for p in axes.patches if p.get_fill()]
    uprights = [
        (x0, *sorted((y0, y1)))
        for line in axes.lines
        for (x0, y0), (x1, y1) in pairwise(axes.transData.transform(line.get_xydata()))
        if x0 == x1
    ]
    for number, (text, box) in enumerate(boxes):
        assert page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1, text
        assert page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1, text
        inner = box.padded(-2)
        clash = [other for other, place in boxes[:number] if inner.overlaps(place.padded(-2))]
        assert clash == [], text
        assert not any(inner.overlaps(fill) for fill in fills), text
        for x, low, high in uprights:
            assert not (inner.x0 < x < inner.x1 and low < inner.y1 and inner.y0 < high), text


@contextmanager
def claimed_elsewhere(folder: Path) -> Iterator[None]:
    """The folder of a run as another process has claimed it: the locks of two open files exclude
    each other. Skips the test where there are none."""
    fcntl = pytest.importorskip("fcntl", reason="Windows has no locks of this kind")
    folder.mkdir(parents=True, exist_ok=True)
    number = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(number, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(number)


def made_grid(grid: Any, **families: dict[Any, list[float]]) -> list[Any]:
    """Records for the recipes of `Depths` or `Cuts`, of these accuracies in per cent: family →
    size → one a seed."""
    return [
        record
        for family, by_size in families.items()
        for size, values in by_size.items()
        for record in made_runs(grid.recipes[family][size], values)
    ]


def has_compiler() -> bool:
    """Whether torch.compile can write code for the CPU here."""
    from torch._inductor import config, cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        cpp_builder.get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return bool(config.cpp.cxx)
