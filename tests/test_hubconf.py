"""The checkout as a repository of PyTorch Hub."""

import re
import tomllib

import pytest
import torch
from helpers import ROOT, load_file
from test_dependencies import PACKAGE_OF

from mixerlib.models import create_model, list_models
from mixerlib.training import trained_model


def from_hub(*words: str, **options: object) -> torch.nn.Module:
    return torch.hub.load(str(ROOT), *words, source="local", **options)


@pytest.mark.parametrize("name", ["convmixer_256_8", "splitmixer_i_256_8", "mixer_s4"])
def test_a_model_is_built_with_its_options(name: str):
    images, options = torch.randn(2, 3, 32, 32), {"dim": 8, "depth": 1, "num_classes": 3}
    torch.manual_seed(0)
    theirs = from_hub(name, **options).eval()
    torch.manual_seed(0)
    assert torch.equal(theirs(images), create_model(name, **options).eval()(images))
    with pytest.raises(ValueError, match=f"`blocks`=2 is not an option of '{name}'"):
        from_hub(name, blocks=2)


def test_a_trained_model_of_the_book():
    images, name = torch.randn(2, 1, 8, 8), "digits/splitmixer_iii_64_4"
    assert torch.equal(from_hub("trained", name)(images), trained_model(name)(images))


def test_the_entries_are_the_registry():
    """As `torch.hub.list` reads them, which knows repositories on GitHub alone."""
    hub = load_file(ROOT / "hubconf.py")
    entries = {n for n, value in vars(hub).items() if callable(value) and not n.startswith("_")}
    assert entries == {*list_models(), "trained"}
    said = hub.splitmixer_iv_256_8.__doc__
    assert said.startswith("SplitMixer-IV 256/8 for CIFAR,") and "segments=2" in said


def test_the_dependencies_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = [re.match(r"[\w-]+", line)[0] for line in project["dependencies"]]
    module_of = {package: module for module, package in PACKAGE_OF.items()}
    hub = load_file(ROOT / "hubconf.py")
    assert sorted(hub.dependencies) == sorted(module_of.get(p, p) for p in packages)
