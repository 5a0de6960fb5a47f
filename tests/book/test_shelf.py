"""Chapters 20 and 21 with other weights on the shelf: of the published size, and of other depths in
one data set. The weights are made up; what is asked is whether the pages would show them."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import ROOT, few_digits, functions_of

from mixerlib.models import create_model
from mixerlib.records import write_record
from mixerlib.training import kept_record, largest_trained, list_trained, trained_model
from mixerlib.weights import save_weights

page = functions_of(sorted((ROOT / "notebooks").glob("2[01]*.md")))


def put(folder: Path, name: str, like: str, **options: int) -> None:
    """Random weights, with the record of kept ones whose shape they have but for some options."""
    kept = kept_record(like)
    settings = kept.settings | {"model_options": kept.settings["model_options"] | options}
    shape = {"in_channels": kept.in_channels, "num_classes": len(kept.classes)}
    torch.manual_seed(0)
    model = create_model(settings["model"], **settings["model_options"], **shape)
    file = folder / f"{name}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    save_weights(model.half(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    changed = replace(kept, recipe=name, settings=settings, rounded_sha256=digest, run=None)
    write_record(changed, file.with_suffix(".json"))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    """A ConvMixer-256/8 of CIFAR-10 and one of the digits, beside small networks."""
    folder = tmp_path_factory.mktemp("shelf")
    put(folder, "cpu/convmixer_64_4", "cpu/convmixer_64_4")
    put(folder, "cpu/splitmixer_i_64_4", "cpu/splitmixer_i_64_4")
    put(folder, "cifar10/convmixer_256_8", "cpu/convmixer_64_4", dim=256, depth=8)
    put(folder, "digits/convmixer_64_4", "digits/convmixer_64_4")
    put(folder, "digits/convmixer_256_8", "digits/convmixer_64_4", dim=256, depth=8)
    return folder


def test_the_largest_of_the_shelf_are_asked_for(shelf):
    assert len(list_trained(folder=shelf)) == 5
    largest = largest_trained(shelf)
    assert largest["cifar10"] == {
        "convmixer": "cifar10/convmixer_256_8",
        "splitmixer_i": "cpu/splitmixer_i_64_4",
    }
    assert largest["digits"] == {"convmixer": "digits/convmixer_256_8"}
    file = shelf / "cifar10" / "convmixer_256_8.safetensors"
    assert file.stat().st_size > 1_000_000  # in float16


def test_maps_are_drawn_in_as_many_rows_as_before(shelf):
    deep, usual = (trained_model(f"digits/convmixer_{n}", shelf) for n in ("256_8", "64_4"))
    assert page["few_layers"](usual) == ["stem", *(f"blocks.{i}" for i in range(4))]
    assert page["few_layers"](deep) == ["stem", *(f"blocks.{i}" for i in (1, 3, 5, 7))]


def test_the_axis_of_depth_is_that_of_the_deepest(shelf):
    class Axes:
        def set_xticks(self, places, labels):
            self.ticks = dict(zip(places, labels, strict=True))

    models = {n: trained_model(f"digits/convmixer_{n}", shelf) for n in ("64_4", "256_8")}
    axes = Axes()
    page["by_depth"](axes, models)
    assert axes.ticks == {0: "stem"} | {1 + i: f"block {i}" for i in range(8)}


def test_a_large_network_is_asked_about_fewer_images(shelf):
    """So that the chapter stays under a minute."""
    digits = few_digits(70, 300)
    counts = [
        len(page["last_means"](trained_model(f"digits/convmixer_{n}", shelf), digits)[1])
        for n in ("64_4", "256_8")
    ]
    assert counts[0] == 300 > counts[1] >= 100
