"""Recipes: the files that come with mixerlib, and every way in which one can be wrong."""

import os
import re
from collections import Counter
from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from mixerlib.cli.options import parse_setting
from mixerlib.data import DATASETS, FILE_DATASETS, Augmentation
from mixerlib.models import create_model, model_entry
from mixerlib.training.recipe import CHOICES, LATER_FIELDS, SETTINGS, Recipe
from mixerlib.training.recipe_files import RECIPES, list_recipes, load_recipe
from mixerlib.training.sweep import read_sweep

# Facts of the data sets: channels, classes, side of the images (of files: none).
DATA = {
    "digits": (1, 10, 8),
    "cifar10": (3, 10, 32),
    "cifar100": (3, 100, 32),
    "flowers102": (3, 102, None),
    "food101": (3, 101, None),
    "imagenet": (3, 1000, None),
}
STRATEGIES = ("i", "ii", "iii", "iv", "v", "3d")
ALL_KINDS = (
    "convmixer",
    *(f"splitmixer_{strategy}" for strategy in STRATEGIES),
    *(f"splitmixer_{strategy}_shuffle" for strategy in ("ii", "iii", "iv")),
)

# Top-1 in percent that others published, as the heads must quote them. SplitMixer paper: ConvMixer
# and strategies I to IV; table 2 of its slides, on CIFAR-10 and CIFAR-100.
PUBLISHED = {
    "cifar10": ("94.17", "93.91", "92.25", "92.52", "93.38"),
    "cifar100": ("73.92", "72.88", "70.44", "70.89", "71.75"),
    "flowers102": ("60.47", "62.03", "59.33", "59.00", "61.51"),
    "food101": ("74.59", "73.56", "71.74", "72.78", "72.92"),
}
ABLATIONS = {
    "no_residual": ("92.24", "71.34"),
    "residual_after_mixing": ("92.35", "70.44"),
    "layer_norm": ("88.28", "66.60"),
    "relu": ("93.39", "72.56"),
    "no_randaugment": ("90.87", "66.54"),
    "no_clipping": ("93.38", "71.95"),
    "spatial_only": ("76.24", "53.25"),
    "channel_only": ("64.21", "40.46"),
    "one_segment": ("76.28", "51.28"),
}
QUOTED = {
    **{
        f"{data}/{kind}_256_8": accuracy
        for data, row in PUBLISHED.items()
        for kind, accuracy in zip(ALL_KINDS, row, strict=False)
    },
    **{
        f"{data}/ablation/{name}": row[column]
        for column, data in enumerate(("cifar10", "cifar100"))
        for name, row in ABLATIONS.items()
    },
    "cifar10/convmixer_authors_25": "92.60",
    "cifar10/convmixer_authors_100": "94",
    "imagenet/convmixer_1536_20": "81.37",
    "imagenet/convmixer_1024_20": "76.94",
    "imagenet/convmixer_768_32": "80.16",
    "imagenet/mindcv_convmixer_768_32": "73.05",
    "imagenet/splitmixer_i_1536_20": "79.352",
    "imagenet/splitmixer_i_768_32": "74.88",
    "cifar10/mixer_s4": "85.45",
    "cifar10/mixer_b16_224_finetune": "96.72",
    "cifar10/mixer_b32_224_finetune": "93.64",
    "cifar10/mixer_s16_224_finetune": "96.06",
    "cifar10/mixer_s32_224_finetune": "91.75",
    "cifar10/mixer_s8_224_finetune": "92.91",
    "cifar10/mixer_b16_224_mindspore": "96.06",
    "cifar10/mixer_b32_224_mindspore": "93.64",
    "cifar10/mixer_s16_224_mindspore": "96.06",
    "cifar10/mixer_s32_224_mindspore": "91.75",
    "cifar10/mixer_s8_224_mindspore": "92.91",
}

# What the SplitMixer paper and its notebook say of every CIFAR run.
AS_PUBLISHED = {
    "image_size": None,
    "crop": "none",
    "flip": "random",
    "policy": "randaugment",
    "policy_operations": 2,
    "policy_magnitude": 12,
    "jitter": 0,
    "erase": 0,
    "mixup": 0,
    "cutmix": 0,
    "label_smoothing": 0,
    "epochs": 100,
    "batch_size": 512,
    "schedule": "piecewise",
    "max_learning_rate": 0.05,
    "weight_decay": 0.005,
    "decay_on": "all",
    "adam_epsilon": 1e-8,
    "clip_norm": 1,
    "ema": None,
    "precision": "float16",
}


def written(name: str) -> dict[str, Any]:
    """What a recipe's file holds itself, in its order."""
    return yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))


def comments(name: str) -> list[str]:
    """The comment lines that a recipe's file opens with."""
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    return text[: text.index("\n\n")].splitlines()


def model_of(recipe: Recipe) -> nn.Module:
    """The recipe's model for its data, without memory for its weights."""
    in_channels, num_classes, side = DATA[recipe.dataset]
    options = {"in_channels": in_channels, "num_classes": num_classes}
    if "image_size" in model_entry(recipe.model).defaults:
        options["image_size"] = recipe.image_size or side
    with torch.device("meta"):
        return create_model(recipe.model, **options, **recipe.model_options)


def changes(recipe: Recipe, other: Recipe) -> set[str]:
    """The fields in which two recipes differ, besides their names."""
    settings = asdict(recipe)
    return {key for key, value in asdict(other).items() if key != "name" and settings[key] != value}


def write(folder: Path, text: str, name: str = "own.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("dataset: digits\nmodel: convmixer\n" + text)
    return path


# The files that come with mixerlib


@pytest.mark.parametrize("name", list_recipes())
def test_every_file_is_a_recipe_with_a_head(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    if recipe.dataset in FILE_DATASETS:
        assert recipe.image_size is not None  # photographs have many sizes
    else:
        assert recipe.crop_pct is None  # small images are tested whole
    model = model_of(recipe)
    assert sum(p.numel() for p in model.parameters()) > 0
    opening = comments(name)
    assert all(line.startswith("#") and len(line) <= 100 for line in opening)
    assert opening[0].endswith(".")
    for word in ("Expected:", "Source:", "Command:"):
        assert sum(line.startswith(f"# {word}") for line in opening) == 1
    assert opening[-1].startswith("# Command:")
    assert opening[-1].split()[-3:] == ["mixerlib", "train", name]
    if name in QUOTED:
        expected = next(line for line in opening if line.startswith("# Expected:"))
        assert f" {QUOTED[name]} %" in expected


# A value of each field that another one can switch off.
SWITCHED = {
    "frozen": True,
    "interpolation": "bilinear",
    "crop_pct": 0.9,
    "crop_padding": 4,
    "crop_area": 0.5,
    "policy_operations": 1,
    "policy_magnitude": 5,
    "policy_magnitude_std": 0.5,
    "erase_fill": "mean",
    "warmup_epochs": 0.5,
}


@pytest.mark.parametrize("name", list_recipes())
def test_every_field_that_has_an_effect_is_written(name):
    """With its bases a file sets all of them, so that a later default changes no old result.

    Later fields that say how a step is computed, not what, are left out where they are off.
    """
    recipe, given, file = load_recipe(name), set(), name
    while file is not None:
        given |= set(written(file))
        file = written(file).get("base")
    for field in set(SETTINGS) - given - set(LATER_FIELDS):
        assert field in SWITCHED, f"{field} is missing"
        with pytest.raises(ValueError, match=f"`{field}`=.* has no effect"):
            replace(recipe, **{field: SWITCHED[field]})


@pytest.mark.parametrize("name", list_recipes())
def test_fields_stand_in_the_order_of_the_dataclass(name):
    keys = list(written(name))
    assert keys == sorted(keys, key=["base", *SETTINGS].index)


@pytest.mark.parametrize("name", [name for name in list_recipes() if "base" in written(name)])
def test_a_file_with_a_base_holds_what_differs_and_nothing_else(name):
    mine = written(name)
    base_name = mine.pop("base")
    base, recipe = load_recipe(base_name), load_recipe(name)
    assert changes(base, recipe) <= set(mine)
    for key in set(mine) - changes(base, recipe):  # only a first mention may repeat a default
        assert mine[key] is None and key in SWITCHED and getattr(base, key) is None
        with pytest.raises(ValueError, match=f"`{key}`=.* has no effect"):
            replace(base, **{key: SWITCHED[key]})
    for option, value in mine.get("model_options", {}).items():
        assert base.model_options.get(option) != value
        replaced = option in base.model_options  # also by the model's own default
        assert replaced or model_entry(recipe.model).defaults[option] != value


def test_the_promised_recipes_are_there():
    depths = (2, 4, 12, 16)
    promised = {
        "digits",
        *(f"{data}/{kind}_256_8" for data in ("cifar10", "cifar100") for kind in ALL_KINDS),
        *(f"{data}/ablation/{row}" for data in ("cifar10", "cifar100") for row in ABLATIONS),
        *(
            f"{data}/depth/{model}_256_{depth}"
            for data in ("cifar10", "cifar100")
            for model in ("convmixer", "splitmixer_i")
            for depth in depths
        ),
        *(f"cifar10/split/splitmixer_i_{ratio}" for ratio in ("3_5", "4_7", "5_9", "6_11")),
        *(f"cifar10/split/splitmixer_{k}_s{s}" for k in ("ii", "iv") for s in (3, 4, 5, 6, 8)),
        *(f"cifar10/split/splitmixer_iii_s{s}" for s in (4, 8)),
        *(f"{data}/{kind}_256_8" for data in ("flowers102", "food101") for kind in ALL_KINDS[:5]),
        *(f"cpu/{kind}_64_4" for kind in ALL_KINDS),
        *(f"imagenet/convmixer_{size}" for size in ("1536_20", "1024_20", "768_32")),
        *(f"imagenet/splitmixer_i_{size}" for size in ("1536_20", "1024_20", "768_32")),
        *(f"imagenet/mindcv_convmixer_{size}" for size in ("1536_20", "1024_20", "768_32")),
        "cifar10/convmixer_authors_25",
        "cifar10/convmixer_authors_100",
        "cifar10/mixer_s4",
        *(
            f"cifar10/mixer_{size}_224_{way}"
            for size in ("b16", "b32", "s8", "s16", "s32")
            for way in ("scratch", "finetune", "frozen", "mindspore")
        ),
        *(f"transfer/{name}" for name in ("cifar100", "cifar10_finetune", "cifar10_frozen")),
        "cifar10/splitmixer_i_256_8_best",
    }
    assert promised <= set(list_recipes())
    assert set(QUOTED) <= promised
    assert set(DATA) <= set(DATASETS)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_cifar_as_the_splitmixer_paper_trained_it(kind):
    recipe = load_recipe(f"cifar10/{kind}_256_8")
    settings = asdict(recipe)
    assert {key: settings[key] for key in AS_PUBLISHED} == AS_PUBLISHED
    assert recipe.model == f"{kind.removesuffix('_shuffle')}_256_8"
    assert recipe.model_options == ({"shuffle": True} if kind.endswith("_shuffle") else {})


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.startswith("cifar100/")])
def test_cifar100_differs_from_cifar10_in_the_data_alone(name):
    assert changes(load_recipe(name.replace("cifar100/", "cifar10/")), load_recipe(name)) == {
        "dataset"
    }


def test_what_is_compared_differs_in_the_model_alone():
    for folder, base in (
        ("cpu/", "cpu/convmixer_64_4"),
        ("cifar10/depth/", "cifar10/convmixer_256_8"),
        ("cifar10/split/", "cifar10/convmixer_256_8"),
        ("flowers102/", "flowers102/convmixer_256_8"),
        ("food101/", "food101/convmixer_256_8"),
    ):
        for name in list_recipes():
            if name.startswith(folder) and name.split("/")[1] not in (
                "ablation",
                "search",
                "searched_64_4",
            ):
                changed = changes(load_recipe(base), load_recipe(name))
                data = {"dataset"} if name.startswith("cpu/cifar100/") else set()
                assert data <= changed <= {"model", "model_options"} | data, name


def test_a_search_changes_one_thing_at_a_time():
    base = load_recipe("cpu/search/base")
    assert changes(load_recipe("cpu/splitmixer_i_64_4"), base) == {"held_out", "compile"}
    every = [name for name in list_recipes() if name.startswith("cpu/search/")]
    others = [name for name in every if name != "cpu/search/together"]
    together = ({"crop", "crop_padding"}, {"schedule", "warmup_epochs"})
    together += ({"decay_on", "weight_decay"},)  # decay on less is to be more
    together += ({"policy", "policy_operations", "policy_magnitude"},)
    together += ({"early_size", "early_epochs"}, {"optimizer", "max_learning_rate"})
    for name in others:
        changed = changes(base, load_recipe(name))
        assert len(changed) == (name != base.name) or changed in together, name
    runs = Counter(recipe.name for recipe in read_sweep("book/sweeps/recipe_search.yaml"))
    found = {base.name: 6, "cpu/search/together": 4, "cpu/searched_64_4": 3}
    assert runs == dict.fromkeys(others, 2) | found


def test_what_a_search_found_is_run_as_found_and_looks_at_the_test_images_at_last():
    together, found = load_recipe("cpu/search/together"), load_recipe("cpu/searched_64_4")
    assert changes(together, found) == {"held_out"} and found.held_out == 0
    changed = changes(load_recipe("cpu/search/base"), together)
    alone = [name for name in list_recipes() if name.startswith("cpu/search/")]
    alone = [load_recipe(name) for name in alone if name != together.name]
    for field in changed:
        assert getattr(together, field) in [getattr(one, field) for one in alone], field


@pytest.mark.parametrize(
    ("row", "changed"),
    [
        ("no_residual", {"model": "splitmixer_i_ablated_256_8", "residual": "none"}),
        ("residual_after_mixing", {"model": "splitmixer_i_ablated_256_8", "residual": "both"}),
        ("layer_norm", {"model": "splitmixer_i_ablated_256_8", "norm": "layer"}),
        ("relu", {"activation": "relu"}),
        (
            "no_randaugment",
            {"policy": "none", "policy_operations": None, "policy_magnitude": None},
        ),
        ("no_clipping", {"clip_norm": None}),
        ("spatial_only", {"model": "splitmixer_i_ablated_256_8", "mixes": "spatial"}),
        ("channel_only", {"model": "splitmixer_i_ablated_256_8", "mixes": "channels"}),
        ("one_segment", {"model": "splitmixer_i_ablated_256_8", "segments_mixed": "first"}),
    ],
)
def test_each_ablation_changes_one_thing(row, changed):
    base, recipe = load_recipe("cifar10/splitmixer_i_256_8"), load_recipe(f"cifar10/ablation/{row}")
    actual = {key: getattr(recipe, key) for key in changes(base, recipe) - {"model_options"}}
    assert actual | recipe.model_options == changed


@pytest.mark.parametrize(
    ("row", "changed"),
    [
        ("no_residual", {"model": "splitmixer_i_ablated", "residual": "none"}),
        ("residual_after_mixing", {"model": "splitmixer_i_ablated", "residual": "both"}),
        ("residual_moved", {"model": "splitmixer_i_ablated", "residual": "channel"}),
        ("layer_norm", {"model": "splitmixer_i_ablated", "norm": "layer"}),
        ("relu", {"activation": "relu"}),
        (
            "no_randaugment",
            {"policy": "none", "policy_operations": None, "policy_magnitude": None},
        ),
        ("no_clipping", {"clip_norm": None}),
        ("spatial_only", {"model": "splitmixer_i_ablated", "mixes": "spatial"}),
        ("channel_only", {"model": "splitmixer_i_ablated", "mixes": "channels"}),
        ("one_segment", {"model": "splitmixer_i_ablated", "segments_mixed": "first"}),
        ("one_segment_narrow", {"dim": 42, "ratio": "1"}),
    ],
)
def test_each_ablation_at_cpu_scale_changes_one_thing(row, changed):
    base, recipe = load_recipe("cpu/ablation/whole"), load_recipe(f"cpu/ablation/{row}")
    settings = {key: getattr(recipe, key) for key in changes(base, recipe) - {"model_options"}}
    options = set(recipe.model_options.items()) - set(base.model_options.items())
    assert settings | dict(options) == changed


def test_the_ablations_at_cpu_scale_are_augmented_as_in_the_paper():
    paper, whole = load_recipe("cifar10/splitmixer_i_256_8"), load_recipe("cpu/ablation/whole")
    for field in ("crop", "flip", "policy", "policy_operations", "policy_magnitude", "jitter"):
        assert getattr(whole, field) == getattr(paper, field)


def test_the_options_that_the_names_promise():
    for depth in (2, 4, 12, 16):
        for model in ("convmixer", "splitmixer_i"):
            recipe = load_recipe(f"cifar10/depth/{model}_256_{depth}")
            assert len(model_of(recipe).blocks) == depth
    for ratio in ("3/5", "4/7", "5/9", "6/11"):
        recipe = load_recipe(f"cifar10/split/splitmixer_i_{ratio.replace('/', '_')}")
        assert recipe.model_options == {"ratio": ratio}
    for name in list_recipes():
        if name.startswith("cifar10/split/") and "_s" in name[-3:]:
            segments = int(name.rpartition("_s")[2])
            assert load_recipe(name).model_options == {"segments": segments}
    for name in list_recipes():
        if name.startswith(("cpu/depth/", "cpu/split/", "cpu/cifar100/")):
            recipe, of_name = load_recipe(name), name.rpartition("/")[2]
            shuffled = "_shuffle" in of_name
            assert of_name.startswith(recipe.model)
            assert recipe.model_options.get("shuffle", False) == shuffled
            last = of_name.removeprefix(recipe.model).removeprefix("_shuffle").lstrip("_")
            if "/depth/" in name:
                assert last == f"64_{recipe.model_options['depth']}"
            elif "/cifar100/" in name:
                assert (recipe.dataset, last) == ("cifar100", "64_4")
            elif last.startswith("s"):
                assert last == f"s{recipe.model_options['segments']}"
            else:
                assert last == recipe.model_options["ratio"].replace("/", "_")
    for kind in ALL_KINDS:
        recipe = load_recipe(f"cpu/{kind}_64_4")
        shuffle = {"shuffle": True} if kind.endswith("_shuffle") else {}
        size = {"dim": 64, "depth": 4, "kernel_size": 5, "patch_size": 4}
        assert recipe.model_options == size | shuffle
        assert recipe.model == kind.removesuffix("_shuffle")
        assert (recipe.epochs, recipe.precision, recipe.dataset) == (5, "float32", "cifar10")


def test_the_mixer_at_cpu_scale_has_about_the_parameters_of_the_convmixer():
    sizes = [
        sum(p.numel() for p in model_of(load_recipe(f"cpu/{name}")).parameters())
        for name in ("mlp_mixer_32_4", "convmixer_64_4")
    ]
    assert abs(sizes[0] / sizes[1] - 1) < 0.05


def test_the_convmixer_authors_cifar_runs():
    paper, short = (
        load_recipe("cifar10/convmixer_256_8"),
        load_recipe("cifar10/convmixer_authors_25"),
    )
    assert changes(paper, short) == {"epochs", "clip_norm"}
    assert (short.epochs, short.clip_norm) == (25, None)
    long = load_recipe("cifar10/convmixer_authors_100")
    assert changes(short, long) == {"epochs", "jitter", "erase", "erase_fill"}
    assert (long.epochs, long.jitter, long.erase, long.erase_fill) == (100, 0.2, 0.2, "mean")


def test_photographs_as_the_splitmixer_paper_trained_them():
    for data, rate, decay in (("flowers102", 0.03, 0.1), ("food101", 0.01, 0.005)):
        recipe = load_recipe(f"{data}/splitmixer_i_256_8")
        assert recipe.model == "splitmixer_i_256_8_224"
        assert (recipe.max_learning_rate, recipe.weight_decay) == (rate, decay)
        assert (recipe.image_size, recipe.batch_size, recipe.epochs) == (224, 64, 100)
        assert recipe.crop_pct is None
        assert (recipe.policy_operations, recipe.policy_magnitude) == (2, 12)


def test_imagenet_by_the_command_of_the_convmixer_authors():
    recipe = load_recipe("imagenet/convmixer_1536_20")
    command = {
        "batch_size": 10 * 64,
        "epochs": 150,
        "max_learning_rate": 0.01,
        "policy": "timm_randaugment",  # rand-m9-mstd0.5-inc1
        "policy_magnitude": 9,
        "policy_magnitude_std": 0.5,
        "cutmix": 0.5,
        "mixup": 0.5,
        "erase": 0.25,
        "erase_fill": "noise",  # --remode pixel
        "adam_epsilon": 1e-3,
        "clip_norm": 1,
        "precision": "float16",  # --amp
        "image_size": 224,
        "schedule": "piecewise",  # their onecycle_lr.py: the knots of their CIFAR-10 script
        "warmup_epochs": None,
    }
    timm = {
        "policy_operations": 2,
        "crop": "resized",
        "crop_area": 0.08,
        "flip": "random",
        "jitter": 0,
        "label_smoothing": 0.1,
        "weight_decay": 2e-5,
        "decay_on": "matrices",
        "ema": None,
        "interpolation": "bicubic",
        "crop_pct": 0.96,
    }
    settings = asdict(recipe)
    assert {key: settings[key] for key in command | timm} == command | timm
    long = load_recipe("imagenet/convmixer_768_32")
    assert changes(recipe, long) == {"model", "epochs"} and long.epochs == 300
    assert model_entry(long.model).defaults["activation"] == "relu"
    assert changes(recipe, load_recipe("imagenet/convmixer_1024_20")) == {"model"}
    for name in list_recipes():
        if name.startswith("imagenet/"):
            assert comments(name)[-1].split()[2] == "torchrun"


def test_imagenet_as_mindcv_trains_it():
    recipe = load_recipe("imagenet/mindcv_convmixer_768_32")
    changed = {
        "interpolation": "bilinear",
        "batch_size": 8 * 32,
        "schedule": "cosine",  # its parser ignores lr_scheduler: onecycle
        "warmup_epochs": 0,
        "max_learning_rate": 0.001,
        "weight_decay": 0.0001,
        "decay_on": "all",  # a group without a decay gets the optimizer's
        "adam_epsilon": 1e-8,  # its optimizer is not handed the parser's 1e-10
        "clip_norm": None,  # its parser ignores use_clip_grad: True
        "precision": "float32",
    }
    settings = asdict(recipe)
    assert {key: settings[key] for key in changed} == changed
    assert changes(load_recipe("imagenet/convmixer_768_32"), recipe) == set(changed)
    for size in ("1024_20", "1536_20"):
        other = load_recipe(f"imagenet/mindcv_convmixer_{size}")
        assert changes(recipe, other) == {"model"} and other.model == f"convmixer_{size}"


def test_mindspore_s_images_of_cifar_are_enlarged_bilinear_and_centred_on_its_own_mean():
    for size in ("b16", "b32", "s16", "s32", "s8"):
        tuned, theirs = (
            load_recipe(f"cifar10/mixer_{size}_224_{way}") for way in ("finetune", "mindspore")
        )
        assert changes(tuned, theirs) == {"interpolation", "normalization"}
        assert (theirs.interpolation, theirs.normalization) == ("bilinear", "dataset")


def test_fine_tuning_starts_from_weights_and_may_freeze_the_body():
    tuned, frozen = (load_recipe(f"cifar10/mixer_b16_224_{k}") for k in ("finetune", "frozen"))
    assert tuned.weights == frozen.weights == "mixer_b16_224.safetensors"
    assert (tuned.frozen, frozen.frozen) == (False, True)
    assert (tuned.image_size, tuned.interpolation, tuned.normalization) == (224, "bicubic", "half")
    other = load_recipe("cifar10/mixer_b16_224_frozen", {"weights": "elsewhere.safetensors"})
    assert other.weights == "elsewhere.safetensors"
    for name in ("mixer_s4", "mixer_s16_224_scratch"):
        assert load_recipe(f"cifar10/{name}").weights is None


@pytest.mark.parametrize(
    ("name", "parameters", "unit"),
    [
        ("cifar10/convmixer_256_8", 594_186, 1),
        ("imagenet/convmixer_1536_20", 51_625_960, 1),
        ("imagenet/convmixer_1024_20", 24_383_464, 1),
        ("imagenet/convmixer_768_32", 21_110_248, 1),
        ("cifar10/splitmixer_i_256_8", 276, 1e3),
        ("cifar10/splitmixer_ii_256_8", 175, 1e3),
        ("cifar10/splitmixer_iii_256_8", 175, 1e3),
        ("cifar10/splitmixer_iv_256_8", 307, 1e3),
        ("cifar100/convmixer_256_8", 62, 1e4),
        ("cifar100/splitmixer_i_256_8", 30, 1e4),
        ("flowers102/convmixer_256_8", 70, 1e4),
        ("flowers102/splitmixer_i_256_8", 34, 1e4),
        ("flowers102/splitmixer_ii_256_8", 24, 1e4),
        ("flowers102/splitmixer_iii_256_8", 24, 1e4),
        ("flowers102/splitmixer_iv_256_8", 37, 1e4),
        ("food101/convmixer_256_8", 70, 1e4),
        ("food101/splitmixer_i_256_8", 34, 1e4),
        ("cifar10/mixer_s4", 171, 1e5),
    ],
)
def test_parameters_are_the_published_ones(name, parameters, unit):
    counted = sum(p.numel() for p in model_of(load_recipe(name)).parameters())
    assert round(counted / unit) == parameters


@pytest.mark.parametrize(
    ("name", "million"), [("mixer_b16_224_finetune", 59.88), ("mixer_s16_224_scratch", 18.53)]
)
def test_mixers_have_the_published_size_but_for_the_classes(name, million):
    model = model_of(load_recipe(f"cifar10/{name}"))
    thousand_classes = 990 * (model.head.in_features + 1)
    counted = sum(p.numel() for p in model.parameters()) + thousand_classes
    assert round(counted / 1e6, 2) == million


# Reading, overriding, starting from another


def test_a_recipe_is_frozen():
    with pytest.raises(FrozenInstanceError):
        load_recipe("digits").epochs = 3


@pytest.mark.parametrize("name", ["digits", "imagenet/mindcv_convmixer_768_32"])
def test_a_recipe_survives_being_written_whole(tmp_path, name):
    recipe = load_recipe(name)
    settings = asdict(recipe)
    del settings["name"]
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(settings))
    assert replace(load_recipe(path), name=name) == recipe


def test_overrides_replace_values_and_merge_options():
    plain = load_recipe("digits")
    other = load_recipe("digits", {"epochs": 3, "model_options": {"dim": 8}})
    assert other.epochs == 3
    assert other.model_options == plain.model_options | {"dim": 8}
    same = asdict(plain) | {"epochs": 3, "model_options": other.model_options}
    assert asdict(other) == same


def test_a_file_of_ones_own(tmp_path):
    recipe = load_recipe(write(tmp_path, "epochs: 2\nclip_norm: null\nweight_decay: 0\n"))
    assert (recipe.name, recipe.epochs, recipe.clip_norm) == ("own", 2, None)


def test_a_base_by_name(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("base: digits\nepochs: 2\nmodel_options: {dim: 8, activation: relu}\n")
    digits, mine = load_recipe("digits"), load_recipe(path)
    assert changes(digits, mine) == {"epochs", "model_options"}
    assert mine.model_options == digits.model_options | {"dim": 8, "activation": "relu"}
    assert mine.name == "own"
    again = load_recipe(path, {"model_options": {"dim": 16}})
    assert again.model_options == mine.model_options | {"dim": 16}


def test_a_base_beside_the_file_and_one_below_that(tmp_path, monkeypatch):
    write(tmp_path, "model_options: {dim: 8, depth: 1}\nepochs: 5\nseed: 3\n", "first.yaml")
    (tmp_path / "below").mkdir()
    second, third = tmp_path / "below/second.yml", tmp_path / "below/THIRD.YAML"
    second.write_text("base: ../first.yaml\nepochs: 6\nmodel_options: {depth: 2}\n")
    third.write_text("base: second.yml\nmodel_options: {kernel_size: 3}\n")
    monkeypatch.chdir("/")  # a base is looked for beside its file, wherever one stands
    recipe = load_recipe(third)
    assert (recipe.epochs, recipe.seed, recipe.dataset) == (6, 3, "digits")
    assert recipe.model_options == {"dim": 8, "depth": 2, "kernel_size": 3}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("base: digts", "`base`='digts' is no recipe of mixerlib; did you mean digits"),
        ("base: 3", "own.yaml: `base`=3 must be the name of a recipe, or a .yaml file"),
        ("base: [digits]", r"own.yaml: `base`=\['digits'\] must be the name"),
        ("base: own.yaml", "own.yaml: `base`='own.yaml' must not lead back to this file"),
        ("base: ./x/../own.yaml", "`base`='./x/../own.yaml' must not lead back to this file"),
        ("base: x/back.yaml", "back.yaml: `base`='../own.yaml' must not lead back to this file"),
        ("base: x/typo.yaml", "`epoch`=3 is not a field of a recipe; did you mean epochs"),
        ("base: x/table.yaml\nmodel_options: {dim: 8}", "`model_options`=3 must be a table"),
    ],
)
def test_bad_bases(tmp_path, line, message):
    (tmp_path / "x").mkdir()
    for name, text in (
        ("back", "base: ../own.yaml"),
        ("typo", "epoch: 3"),
        ("table", "model_options: 3"),
    ):
        (tmp_path / f"x/{name}.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(write(tmp_path, line))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 0", "`epochs`=0 must be at least 1"),
        ("epochs: 1000001", "`epochs`=1000001 must be at most 1,000,000"),
        ("epoch: 3", "`epoch`=3 is not a field"),
        ("1: 3", "`1` is a key and must be text"),
        ("model: convmixr", "`model`='convmixr' is no model of mixerlib; did you mean"),
        ("model_options: {dims: 8}", "`dims`=8 is not an option of 'convmixer'"),
        ("model_options: {dim: 2147483648}", "`dim`=2147483648 must be at most 1,048,576"),
        ("model_options: {dim: '8'}", "`dim`='8' must be a positive whole number"),
        ("model: splitmixer_i\nmodel_options: {ratio: 1e99999999}", "`ratio`='1e99999999' must be"),
        ("base: nowhere.yaml", "there is no recipe file .*nowhere.yaml"),
        ("base: digts", "`base`='digts' is no recipe of mixerlib"),
        (f"weight_decay: 1{400 * '0'}", "a number of 401 digits is too large"),
        ("schedule: cosine", "`schedule`='cosine' needs `warmup_epochs`"),
        (f"flip: {'x' * 100_000}", "`flip`='xxx"),
    ],
)
def test_a_refusal_names_the_file_that_has_the_fault(tmp_path, text, message):
    model = "" if text.startswith("model:") else "model: convmixer\n"
    (tmp_path / "below.yaml").write_text(f"dataset: digits\n{model}{text}\n")
    (tmp_path / "top.yaml").write_text("base: below.yaml\nseed: 1\n")
    with pytest.raises((ValueError, FileNotFoundError)) as refusal:
        load_recipe(tmp_path / "top.yaml")
    assert re.match(rf"{re.escape(str(tmp_path))}/below\.yaml: {message}", str(refusal.value))
    assert len(str(refusal.value)) < 500 + len(str(tmp_path))


def test_a_refusal_of_what_is_given_beside_a_file_does_not_blame_the_file(tmp_path):
    path = write(tmp_path, "schedule: cosine\nwarmup_epochs: 1\n")
    with pytest.raises(ValueError, match=r"^`epochs`=0 must be at least 1"):
        load_recipe(path, {"epochs": 0})
    with pytest.raises(ValueError, match=r"^`dim`=0 must be a positive"):
        load_recipe(path, {"model_options": {"dim": 0}})
    with pytest.raises(ValueError, match=r"^`warmup_epochs`=1 has no effect with `schedule`"):
        load_recipe(path, {"schedule": "onecycle"})


def test_a_chain_of_bases_has_an_end(tmp_path):
    for number in range(1500):
        (tmp_path / f"{number}.yaml").write_text(f"base: {number + 1}.yaml\n")
    with pytest.raises(ValueError, match=r"19\.yaml: `base`='20\.yaml' is one more than 20 bases"):
        load_recipe(tmp_path / "0.yaml")
    assert load_recipe(write(tmp_path, "seed: 1", "1481.yaml")).seed == 1  # 19 of them are fine


@pytest.mark.parametrize("name", ["...yaml", "..yaml", "a\x1bb.yaml", "a\nb.yaml"])
def test_a_name_that_would_be_no_folder(tmp_path, name):
    path = write(tmp_path, "", name)
    with pytest.raises(ValueError, match=r"`recipe`=.* must have a name that a folder can have"):
        load_recipe(path)


@pytest.mark.parametrize("name", [None, 3, ["digits"], "x" * 10**6, "\0", "\0.yaml"], ids=range(6))
def test_what_is_no_name_of_a_recipe(name):
    with pytest.raises((ValueError, FileNotFoundError)) as refusal:
        load_recipe(name)
    assert len(str(refusal.value)) < 200


def test_a_file_that_never_ends_is_no_recipe(tmp_path):
    os.mkfifo(tmp_path / "own.yaml")
    with pytest.raises(ValueError, match=r"own\.yaml must be a file, not a pipe"):
        load_recipe(tmp_path / "own.yaml")


def test_a_base_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recipe file .*nowhere\.yaml"):
        load_recipe(write(tmp_path, "base: nowhere.yaml"))


def test_a_base_is_nothing_to_override():
    with pytest.raises(ValueError, match="`base`='digits' is not a field"):
        load_recipe("digits", {"base": "digits"})


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("digts", "did you mean digits"),
        ("convmixer_256_8", "did you mean .*cifar10/convmixer_256_8"),
        ("zzz", "`mixerlib train --help` lists them all"),
    ],
)
def test_unknown_recipe(asked, hint):
    with pytest.raises(ValueError, match=f"`recipe`='{asked}' is no recipe.*{hint}"):
        load_recipe(asked)


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r"no recipe file nowhere/own\.yaml"):
        load_recipe("nowhere/own.yaml")


# Values that are wrong by themselves


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epoch: 3", "`epoch`=3 is not a field of a recipe; did you mean epochs"),
        ("name: mine", "`name`='mine' is not a field"),
        ("max_learning_rate: 1e-2", r"`max_learning_rate`='1e-2' must be a number; .*1\.0e-2"),
        ("adam_epsilon: 1e-8", r"`adam_epsilon`='1e-8' must be a number; .*1\.0e-2"),
        ("max_learning_rate: fast", r"`max_learning_rate`='fast' must be a number$"),
        ("max_learning_rate: .nan", "`max_learning_rate`=nan must be a number"),
        ("max_learning_rate: 0", "`max_learning_rate`=0 must be above 0"),
        ("weight_decay: -0.1", r"`weight_decay`=-0\.1 must be at least 0"),
        ("weight_decay: true", "`weight_decay`=True must be a number"),
        ("adam_epsilon: 0", "`adam_epsilon`=0 must be above 0"),
        ("clip_norm: 0", "`clip_norm`=0 must be above 0, or null"),
        ("clip_norm: off", "`clip_norm`='off' must be a number, or null"),
        ("ema: 1", "`ema`=1 must be above 0 and below 1, or null"),
        ("ema: 0.0", r"`ema`=0\.0 must be above 0 and below 1, or null"),
        ("label_smoothing: 1", "`label_smoothing`=1 must be at least 0 and below 1"),
        ("jitter: 1.1", r"`jitter`=1\.1 must be between 0 and 1"),
        ("erase: -0.1", r"`erase`=-0\.1 must be between 0 and 1"),
        ("mixup: -1", "`mixup`=-1 must be at least 0"),
        ("cutmix: none", "`cutmix`='none' must be a number"),
        ("epochs: 2.0", r"`epochs`=2\.0 must be a whole number"),
        ("epochs: 0", "`epochs`=0 must be at least 1"),
        ("epochs:", "`epochs`=None must be a whole number"),
        ("batch_size: true", "`batch_size`=True must be a whole number"),
        ("accumulate: 0", "`accumulate`=0 must be at least 1"),
        ("accumulate: 513", "`accumulate`=513 must be at most `batch_size`=512"),
        ("evaluate_every: 0", "`evaluate_every`=0 must be at least 1"),
        ("image_size: 32.0", r"`image_size`=32\.0 must be a whole number, or null"),
        ("compile: 1", "`compile`=1 must be true or false"),
        ("channels_last: null", "`channels_last`=None must be true or false"),
        ("weights: 3", "`weights`=3 must be text, or null"),
        ("flip: true", "`flip`=True must be text"),
        ("flip: null", "`flip`=None must be text"),
        ("seed: -1", "`seed`=-1 must be at least 0"),
        ("seed: 9223372036854775808", r"must be at least 0 and below 2\*\*63"),
        ("model_options: 3", "`model_options`=3 must be a table of options"),
        ("model_options:", "`model_options`=None must be a table of options"),
        ("epochs: [", "own.yaml is not YAML"),
    ],
)
def test_bad_files(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(write(tmp_path, line), {"model_options": {"dim": 8}})


@pytest.mark.parametrize("text", ["", "- epochs\n", "epochs: 3\n", "model: convmixer\n"])
def test_incomplete_files(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"own\.yaml.* must "):
        load_recipe(path)


@pytest.mark.parametrize("name", CHOICES)
def test_a_word_that_is_no_choice(name):
    words = ", ".join(repr(choice) for choice in CHOICES[name])
    with pytest.raises(ValueError, match=f"`{name}`='other' must be one of {words}$"):
        Recipe("digits", "convmixer", **{name: "other"})


# Values that are wrong beside others: what must be set with each, for it to have an effect
NEEDED = {
    "frozen": {"weights": "a.safetensors"},
    "interpolation": {"image_size": 224},
    "crop_pct": {"image_size": 224, "interpolation": "bilinear"},
    "crop_padding": {"crop": "pad"},
    "crop_area": {"crop": "resized"},
    "policy_operations": {"policy": "randaugment", "policy_magnitude": 9},
    "policy_magnitude": {"policy": "randaugment", "policy_operations": 2},
    "policy_magnitude_std": {
        "policy": "timm_randaugment",
        "policy_operations": 2,
        "policy_magnitude": 9,
    },
    "erase_fill": {"erase": 0.1},
    "warmup_epochs": {"schedule": "cosine"},
}


@pytest.mark.parametrize("name", SWITCHED)
def test_a_field_that_another_one_switches_off(name):
    value, needed = SWITCHED[name], NEEDED[name]
    assert getattr(Recipe("digits", "convmixer", **needed, **{name: value}), name) == value
    master = next(iter(needed))
    off = "false" if value is True else "null"
    message = f"`{name}`={value!r} has no effect with `{master}`=.*; set it to {off}"
    with pytest.raises(ValueError, match=message):
        Recipe("digits", "convmixer", **{name: value})


@pytest.mark.parametrize("name", [name for name in SWITCHED if name not in ("frozen", "crop_pct")])
def test_a_field_that_another_one_asks_for(name):
    master, value = next(iter(NEEDED[name].items()))
    with pytest.raises(ValueError, match=f"`{master}`={value!r} needs `{name}`, which is not set"):
        Recipe("digits", "convmixer", **NEEDED[name])


def test_what_may_stay_unset():
    recipe = Recipe("digits", "convmixer", weights="a.pt", **NEEDED["crop_pct"])
    assert (recipe.crop_pct, recipe.frozen) == (None, False)


@pytest.mark.parametrize(
    "settings",
    [
        {"policy": "trivialaugment", "policy_operations": 1},
        {"policy": "trivialaugment", "policy_magnitude": 1},
        {"policy": "randaugment", "policy_operations": 2, "policy_magnitude": 9}
        | {"policy_magnitude_std": 0.5},
        {"crop": "pad", "crop_padding": 4, "crop_area": 0.5},
        {"schedule": "onecycle", "warmup_epochs": 0},
    ],
)
def test_a_neighbours_field(settings):
    with pytest.raises(ValueError, match=f"`{list(settings)[-1]}`=.* has no effect"):
        Recipe("digits", "convmixer", **settings)


def test_warmup_must_end():
    options = {"schedule": "cosine", "epochs": 5}
    assert Recipe("digits", "convmixer", warmup_epochs=4.5, **options).warmup_epochs == 4.5
    with pytest.raises(ValueError, match="`warmup_epochs`=5 must be below `epochs`=5"):
        Recipe("digits", "convmixer", warmup_epochs=5, **options)


def test_notebooks_meet_the_same_rules():
    with pytest.raises(ValueError, match="`epochs`='3' must be a whole number"):
        Recipe("digits", "convmixer", epochs="3")
    with pytest.raises(ValueError, match="`dataset`=3 must be text"):
        Recipe(3, "convmixer")


# Settings that older versions recorded

FORMER = {"decay_on": "decay", "crop_pct": "eval_crop", "normalization": "normalisation"}
RANDAUGMENT = {"policy": "randaugment", "policy_operations": 2, "policy_magnitude": 12}


def test_settings_of_older_records_are_read():
    """Three fields had other names, and some did not exist yet."""
    today = load_recipe("imagenet/convmixer_1536_20")
    settings = {name: getattr(today, name) for name in SETTINGS}
    older = {FORMER.get(name, name): value for name, value in settings.items()}
    for name in LATER_FIELDS:
        del older[name]
    assert set(FORMER.values()) <= older.keys()
    assert Recipe.from_settings(older, name=today.name) == today
    assert Recipe.from_settings(settings, name=today.name) == today
    assert Recipe.from_settings(older | {"name": "mine"}).name == "mine"  # as in a checkpoint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"of_a_newer_version": 3},
            "a.json: `of_a_newer_version`=3 is no setting that this version",
        ),
        ({"epochs": ...}, "a.json: the setting `epochs` is missing"),
        ({"epochs": "3"}, "a.json: `epochs`='3' must be a whole number"),
        ({"model": "of_a_newer_version"}, "a.json: `model`='of_a_newer_version' is no model"),
        (
            {"model_options": {"ratio": "1e99999999"}},
            "a.json: `ratio`='1e99999999' is not an option",
        ),
        ({3: 3}, "a.json: .* is no setting"),
    ],
)
def test_settings_that_are_none_are_refused_with_file_and_key(changes, message):
    settings = {name: getattr(load_recipe("digits"), name) for name in SETTINGS} | changes
    settings = {name: value for name, value in settings.items() if value is not ...}
    with pytest.raises(ValueError, match=message):
        Recipe.from_settings(settings, file="a.json")


@pytest.mark.parametrize("new", FORMER)
def test_a_former_name_in_a_file_is_answered_by_the_new_one(tmp_path, new):
    message = f"`{FORMER[new]}`='x' is not a field of a recipe; it is called {new} now"
    with pytest.raises(ValueError, match=message):
        load_recipe(write(tmp_path, f"{FORMER[new]}: x"))


# Augmentation, whose fields a recipe has among its own


def test_augmentation_has_one_set_of_types_defaults_and_rules():
    kinds, handed = get_type_hints(Augmentation), get_type_hints(Recipe)
    assert {name: handed[name] for name in kinds} == kinds
    assert Recipe("digits", "convmixer").augmentation == Augmentation()
    chosen = load_recipe("imagenet/convmixer_1536_20")
    for name in kinds:
        assert getattr(chosen.augmentation, name) == getattr(chosen, name)
    with pytest.raises(ValueError, match="`policy_magnitude`=31 must be a whole number in 0 … 30"):
        Recipe("digits", "convmixer", **RANDAUGMENT | {"policy_magnitude": 31})


# The command line


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_learning_rate", "1e-2", 0.01),
        ("max_learning_rate", "1", 1.0),
        ("epochs", "12", 12),
        ("clip_norm", "none", None),
        ("clip_norm", "0.5", 0.5),
        ("ema", "null", None),
        ("ema", "0.999", 0.999),
        ("warmup_epochs", "5", 5.0),
        ("image_size", "224", 224),
        ("image_size", "None", None),
        ("compile", "False", False),
        ("channels_last", "true", True),
        ("model", "convmixer", "convmixer"),
        ("flip", "alternating", "alternating"),
        ("flip", "none", "none"),  # a choice, as there: text
        ("policy_operations", "none", None),
        ("weights", "none", None),
        ("weights", "my/model.safetensors", "my/model.safetensors"),
    ],
)
def test_values_from_a_command_line(name, text, value):
    parsed = parse_setting(name, text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("epochs", "1e2", "a whole number"),
        ("epochs", "none", "a whole number"),
        ("max_learning_rate", "fast", "a number"),
        ("ema", "off", "a number, or null"),
        ("image_size", "224.0", "a whole number, or null"),
        ("compile", "1", "true or false"),
        ("frozen", "none", "true or false"),
    ],
)
def test_wrong_values_from_a_command_line(name, text, words):
    with pytest.raises(ValueError, match=f"`{name}`='{text}' must be {words}"):
        parse_setting(name, text)


def test_numpy_s_numbers_are_taken_as_python_s():
    """As a search over settings gives them; a record must hold them as numbers."""
    options = {"dim": np.int64(8), "shuffle": np.True_}
    given = {"epochs": np.int64(3), "mixup": np.float32(0.5), "compile": np.False_, "seed": 1}
    recipe = Recipe("digits", "splitmixer_ii", options, **given)
    plain = Recipe(
        "digits", "splitmixer_ii", {"dim": 8, "shuffle": True}, epochs=3, mixup=0.5, seed=1
    )
    assert recipe == plain
    assert [type(v) for v in asdict(recipe).values()] == [type(v) for v in asdict(plain).values()]
    assert [type(value) for value in recipe.model_options.values()] == [int, bool]
    assert type(Augmentation(erase=np.float64(0.5), erase_fill="mean").erase) is float
    with pytest.raises(ValueError, match=r"`epochs`=0.5 must be a whole number"):
        Recipe("digits", "convmixer", epochs=np.float64(0.5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model_options": {"activation": "no"}},
            "`activation`='no' must be one of 'gelu'",
        ),
        ({"model_options": {"activation": 3}}, "`activation`=3 must be one of 'gelu', 'relu'"),
        ({"model_options": {"activation": None}}, "`activation`=None must be one of"),
        ({"model_options": {"dim": None}}, "`dim`=None must be a positive whole number"),
        ({"weights": ""}, "`weights`='' must be a file or a name, or null"),
        ({"weights": " "}, "`weights`=' ' must be a file or a name, or null"),
    ],
)
def test_a_text_that_no_model_can_be_made_with_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe("digits", "convmixer", **settings)
    Recipe("digits", "splitmixer_ii", model_options={"segments": None})
    with pytest.raises(ValueError, match="`residual`='always' must be one of 'spatial'"):
        Recipe("digits", "splitmixer_i_ablated", model_options={"residual": "always"})
