"""The borrowed rows of MLPs: which configuration of each was meant, or that none was."""

from dataclasses import replace

import pytest
import torch
from helpers import ROOT

from mixerlib import costs
from mixerlib.models import create_model, list_relatives, model_entry
from mixerlib.pages import audit

WAY = "fvcore, in training mode"  # that of all the rows that are borrowed
TABLES = {"slides-comparison-cifar": (32, 10), "slides-comparison-large": (224, 102)}


@pytest.fixture(scope="module")
def published() -> audit.Published:
    return audit.load(ROOT / "book" / "published.yaml")


@pytest.fixture(scope="module")
def others() -> audit.OtherCounts:
    return audit.read_others(ROOT / "book" / "records" / "counts" / "others.json")


@pytest.fixture(scope="module")
def verdicts(published, others) -> dict[str, audit.Verdict]:
    names = [e for e in published.entries if e.split("/")[0] in TABLES]
    few = {name: published.entries[name] for name in names}
    return audit.check(audit.Published(published.documents, few), others=others)


def test_the_record_counts_what_the_formulas_say(others):
    """Parameters and MACs of the record are those of the closed forms."""
    models = {model.name: model for model in others.models}
    for name, preset, changes in (
        ("vip_32", "vip_s14", {"image_size": 32, "patch_size": 4, "num_classes": 10}),
        ("vip_224", "vip_s14", {"image_size": 224, "patch_size": 28, "num_classes": 102}),
        ("mdmlp_32", "mdmlp_64_8", {}),
        ("mdmlp_224", "mdmlp_64_8_224", {}),
        ("as_mlp_32", "as_mlp_t", {"patch_size": 2, "num_classes": 10}),
        ("as_mlp_224", "as_mlp_t", {"patch_size": 7, "num_classes": 102}),
    ):
        entry, model = model_entry(preset), models[name]
        options = dict(entry.defaults) | changes
        size = costs.size_formulas(entry.family).counts(options, model.image_size)
        assert (size.total("params"), size.total("macs")) == (model.parameters, model.macs), name


@pytest.mark.parametrize("row", ["cifar/mdmlp", "large/mdmlp", "large/vip"])
def test_one_configuration_has_both_numbers_of_a_row(verdicts, row: str):
    for column in ("params", "flops"):
        assert verdicts[f"slides-comparison-{row}/{column}"].kind == audit.REPRODUCED


def test_vip_on_small_images_has_the_parameters_and_its_flops_with_two_digits_exchanged(
    published, others, verdicts
):
    params, flops = (f"slides-comparison-cifar/vip/{column}" for column in ("params", "flops"))
    (model,) = [model for model in others.models if model.name == "vip_32"]
    assert audit.fits(
        published.entries[params], model.in_conventions("parameters")["trainable parameters"]
    )
    exact = model.in_conventions("flops")[WAY]
    printed = published.entries[flops]
    assert not audit.fits(printed, exact)
    slips = [slip for slip in audit.exchanged(printed.printed)]
    assert [bool(audit.fits(replace(printed, printed=slip), exact)) for slip in slips] == [True]
    assert verdicts[flops].kind == audit.NOT_REPRODUCED
    assert f"as {slips[0]}" in verdicts[flops].reason


def test_no_vip_has_both_numbers_of_small_images(published):
    """Every size of its paper with every patch that it can have there."""
    params, flops = (
        published.entries[f"slides-comparison-cifar/vip/{column}"] for column in ("params", "flops")
    )
    counted = {}
    for name in list_relatives("vip_*"):
        for patch in (1, 2, 4, 8, 16, 32):
            changes = {"image_size": 32, "patch_size": patch, "num_classes": 10}
            options = dict(model_entry(name).defaults) | changes
            try:
                with torch.device("meta"):
                    create_model(name, **changes)
            except ValueError:  # its rows and columns do not divide the width
                continue
            size = costs.size_formulas("vip").counts(options, 32)
            counted[name, patch] = (size.total("params"), size.total("macs"))
    assert {name for name, _ in counted} == {*list_relatives("vip_*")}
    right = {which for which, (count, _) in counted.items() if audit.fits(params, count)}
    assert ("vip_s14", 4) in right
    for which in right:  # norms add less than a hundredth to the MACs
        assert abs(counted[which][1] / flops.value - 1) > 0.05, which


@pytest.mark.parametrize(
    ("row", "title"),
    [
        ("cifar/as-mlp", "AS-MLP-T, patch 2, 32×32"),
        ("large/as-mlp", "AS-MLP-T, patch 7, 224×224"),
        ("cifar/vip", "ViP-Small/14's 384 channels and 18 blocks, patch 4, 32×32"),
    ],
)
def test_what_does_not_come_out_has_our_number_beside_it(published, others, verdicts, row, title):
    (model,) = [model for model in others.models if model.title == title]
    for column, way in (("params", "trainable parameters"), ("flops", WAY)):
        entry = published.entries[f"slides-comparison-{row}/{column}"]
        ours = audit.shown(model.in_conventions(entry.quantity)[way], entry)
        assert f"The nearest that we know, as {way}: {title}, with {ours}." in (
            verdicts[entry.id].reason
        )


@pytest.mark.parametrize("table", TABLES)
def test_the_smallest_as_mlp_has_too_many_parameters_with_every_patch(published, verdicts, table):
    """So no size of its paper, whatever its patches, is what the row describes."""
    side, classes = TABLES[table]
    printed = published.entries[f"{table}/as-mlp/params"]
    smallest = {}
    for name in list_relatives("as_mlp_*"):
        options = dict(model_entry(name).defaults) | {"patch_size": 1, "num_classes": classes}
        size = costs.size_formulas("as_mlp").counts(options, side)
        smallest[name] = size.total("params")  # larger patches have more of them
    assert len(smallest) == 3
    assert min(smallest.values()) > printed.value + 10**6
    for column in ("params", "flops"):
        assert verdicts[f"{table}/as-mlp/{column}"].kind == audit.NOT_REPRODUCED


def test_larger_patches_only_add_parameters():
    forms = costs.size_formulas("as_mlp").params
    with_patches = [part for part, form in forms.items() if form.has(costs.p)]
    assert with_patches == ["stem"] and costs.p**2 in forms["stem"].expand().atoms(type(costs.p**2))
