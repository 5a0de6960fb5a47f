"""The tables of the library's page hold every model and recipe, with numbers counted anew here."""

import importlib
import re
from types import ModuleType

import pytest
import torch
from helpers import ROOT
from torch.utils.flop_counter import FlopCounterMode

from mixerlib.models import create_model, list_models, list_relatives, model_entry
from mixerlib.training import list_recipes, load_recipe


@pytest.fixture(scope="module")
def catalogue() -> ModuleType:
    pytest.importorskip("sphinx_book_theme", reason="needs the extra `book`")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "book" / "_ext"))
        return importlib.import_module("catalogue")


def rows(markdown: str) -> dict[str, list[str]]:
    """The cells of a table's lines by their first, which is a name in code."""
    lines = [line for line in markdown.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert len({row[0] for row in cells}) == len(cells)
    return {row[0].strip("` "): row[1:] for row in cells}


def test_every_model_is_there_with_its_parameters(catalogue):
    actual = rows(catalogue.models())
    assert sorted(actual) == list_models()
    for name, (params, _, side, _) in actual.items():
        with torch.device("meta"):
            expected = sum(p.numel() for p in create_model(name).parameters())
        assert params == f"{expected:,}", name
        assert side == str(model_entry(name).image_size)


@pytest.mark.parametrize("name", ["convmixer_256_8", "splitmixer_iv", "splitmixer_i_ablated"])
def test_macs_are_those_that_pytorch_counts(catalogue, name):
    with torch.device("meta"):
        model, images = create_model(name), torch.zeros(2, 3, 32, 32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    macs = counter.get_total_flops() // 4  # two images, two operations
    assert catalogue.counted(model_entry(name))[1] == macs
    assert rows(catalogue.models())[name][1] == f"{macs / 1e6:.2f}"[:5].rstrip(".")


def test_options_are_those_that_differ(catalogue):
    actual = {name: cells[-1] for name, cells in rows(catalogue.models()).items()}
    assert actual["splitmixer_v"] == "as `convmixer`, with ratio 2/3"
    assert actual["splitmixer_v_256_8"] == "as `splitmixer_v`"
    assert actual["mixer_s32"].startswith("as `mlp_mixer`, with ")
    assert {"patch\\_size 32", "image\\_size 224"} <= {
        *actual["mixer_s32"].split(" with ")[1].split(", ")
    }


def test_every_recipe_is_there_with_what_it_sets(catalogue):
    actual = rows(catalogue.recipes())
    assert sorted(actual) == list_recipes()
    for name, (_, epochs, batch_size, model) in actual.items():
        recipe = load_recipe(name)
        assert (epochs, batch_size) == (str(recipe.epochs), str(recipe.batch_size))
        assert model.startswith(f"`{recipe.model}`")


def test_what_is_expected_is_read_from_the_file_of_the_recipe(catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "RECIPES", tmp_path)
    for text, expected in {
        "# A model.\n# Expected: 93.91 % (Somebody, 2022).\n": "93.91 %",
        '# Expected: "more than 94 %" (the README).\n': "more than 94 %",
        "# Expected: 98.3 to 99.2 % of the images.\n": "98.3 to 99.2 %",
        "# Expected: published as a curve only (figure 5, 90 %).\n": "–",
        "# Expected: no number.\n# Source: 50 % of it\n": "–",
    }.items():
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        assert catalogue.expected("mine") == expected


def test_recipes_are_listed_by_folder(catalogue):
    titles = [line for line in catalogue.recipes().splitlines() if line.startswith(":::{")]
    assert ":::{dropdown} digits: 9 recipes on digits" in titles
    count = sum(name.startswith("flowers102/") for name in list_recipes())
    assert f":::{{dropdown}} flowers102: {count} recipes on flowers102" in titles
    assert any(
        re.fullmatch(r":::\{dropdown\} cpu: \d+ recipes on cifar10 and cifar100", t) for t in titles
    )


def test_every_relative_is_there_with_its_parameters_and_macs(catalogue):
    actual = rows(catalogue.relatives())
    assert sorted(actual) == list_relatives()
    for name in ("resnet20", "vit_ti16", "gmlp_ti16"):
        side = model_entry(name).image_size
        with torch.device("meta"):
            model, images = create_model(name), torch.zeros(1, 3, side, side)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model(images)
        expected = sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2
        assert catalogue.counted(model_entry(name)) == expected
        assert actual[name][0] == f"{expected[0]:,}"
