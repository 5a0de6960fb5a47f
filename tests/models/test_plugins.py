"""Mixings that installed packages bring: found when a name is looked for, and never in the way."""

import sys
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest
from helpers import registrations_undone

from mixerlib.models import (
    SeparateSegments,
    SplitMixer,
    create_model,
    list_models,
    plugins,
    register_mixing,
)


@pytest.fixture(autouse=True)
def _nothing_stays_registered() -> Iterator[None]:
    with registrations_undone():
        yield


@pytest.fixture
def declared(monkeypatch) -> list[str]:
    """Makes installed packages declare modules: "good", which registers a mixing, and "broken"."""
    names: list[str] = []
    asked: list[str] = []

    def points(group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint(name, f"made_up_{name}", group) for name in names]

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.startswith("made_up_"):
                from importlib.machinery import ModuleSpec

                return ModuleSpec(name, Finder)
            return None

        @staticmethod
        def create_module(spec) -> types.ModuleType:
            return types.ModuleType(spec.name)

        @staticmethod
        def exec_module(module) -> None:
            if module.__name__ == "made_up_broken":
                raise RuntimeError("it is broken")
            list_models()  # a module may ask, while it is being imported
            register_mixing("good", lambda block, dim, s: SeparateSegments(dim, s))

    monkeypatch.setattr(plugins, "_asked", False)
    monkeypatch.setattr(plugins, "entry_points", points)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    yield names
    for name in [name for name in sys.modules if name.startswith("made_up_")]:
        del sys.modules[name]
    assert set(asked) <= {"mixerlib.mixings"} and len(asked) <= 1  # once in a process


@pytest.mark.parametrize(
    "look",
    [
        lambda: create_model("splitmixer_good", dim=8, depth=1),
        lambda: SplitMixer("good", 8, 1),
        lambda: "splitmixer_good" in list_models() or pytest.fail("not listed"),
    ],
)
def test_a_declared_mixing_is_found_by_its_name(declared, look):
    declared.append("good")
    look()
    assert create_model("splitmixer_good", dim=8, depth=1).strategy == "good"


def test_nothing_is_imported_for_a_model_of_the_book(declared):
    declared.append("broken")
    create_model("splitmixer_iv", dim=8, depth=1)
    assert "made_up_broken" not in sys.modules and not plugins._asked


def test_a_module_that_cannot_be_imported_is_named_and_the_others_are_there(declared):
    declared += ["broken", "good"]
    words = "'made_up_broken'.* are missing: its import raises RuntimeError: it is broken"
    with pytest.warns(UserWarning, match=words):
        names = list_models()
    assert "splitmixer_good" in names and "convmixer" in names
    assert list_models() == names  # the warning comes once


@pytest.mark.parametrize("name", ["splitmixer_nobody", 3, None, []])
def test_what_nobody_has_is_refused_as_before(declared, name):
    declared.append("good")
    with pytest.raises(ValueError, match="is no model of mixerlib"):
        create_model(name)
    with pytest.raises(ValueError, match="must be one of 'I', 'II'"):
        SplitMixer(name, 8, 1)
