"""What several test modules share: where things lie, small data, a model after some training."""

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from mixerlib._torchvision import import_torchvision
from mixerlib.data import Dataset, load_dataset

ROOT = Path(__file__).parents[1]  # the checkout
SHARED = ROOT.parent / "shared"  # data and fixtures that do not travel with the book


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


def load_file(path: Path) -> ModuleType:
    """The module in a file that no installed package holds, such as `book/assets/draw.py`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


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


def git(folder: Path, *words: str) -> str:
    """What `git` answers in this folder, where it commits as somebody."""
    somebody = ("-c", "user.name=A. Writer", "-c", "user.email=a@example.org")
    done = subprocess.run(
        ["git", *somebody, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
