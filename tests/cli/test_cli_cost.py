"""`mixerlib cost`: the closed forms and the measurement, as a user meets them."""

import json

import pytest

from mixerlib import costs
from mixerlib.cli import main
from mixerlib.models import list_models, model_entry

# The "FLOPS" of SplitMixer's table for CIFAR-10, in millions (arXiv 2207.10255).
PUBLISHED_FLOPS = {
    "convmixer_256_8": "152.6",
    "splitmixer_i_256_8": "71.8",
    "splitmixer_ii_256_8": "46.2",
    "splitmixer_iii_256_8": "79.8",
    "splitmixer_iv_256_8": "79.8",
}


def report(capsys, *arguments: str):
    assert main(["cost", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_holds_formula_and_measurement_of_the_same_model(capsys):
    actual = report(capsys, "splitmixer_iv", "--dim", "20", "--segments", "3", "--image-size", "16")
    for name in ("params", "macs", "flops", "thop"):
        assert isinstance(actual["formula"][name], int)
        assert actual["formula"][name] == actual["measured"][name]
    assert actual["formula"]["flops"] == 2 * actual["formula"]["macs"]


@pytest.mark.parametrize(("name", "published"), PUBLISHED_FLOPS.items())
def test_the_published_flops_are_what_thop_counts(capsys, name, published):
    assert f"{report(capsys, name)['formula']['thop'] / 1e6:.1f}" == published


def test_the_table_shows_parts_shares_and_agreement(capsys):
    assert main(["cost", "convmixer_256_8"]) == 0
    out = capsys.readouterr().out
    for text in ("spatial mixing", "148,113,920", "296,227,840", "152,636,160", "594,186", "89%"):
        assert text in out
    assert "Formula and measurement agree in every part." in out


def test_models_are_set_side_by_side_with_the_first_as_the_measure(capsys):
    assert main(["cost", "--compare", "convmixer_256_8", "splitmixer_i_256_8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("convmixer_256_8") and lines[1].count("100.0%") == 5
    assert "275,834 (46.4%)" in lines[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convmixr"], "did you mean convmixer"),
        (["convmixer", "--image-size", "33"], "`patch_size`=2 must divide"),
        (["mixer_s16", "--ratio", "2/3"], "`ratio`='2/3' is not an option of 'mixer_s16'"),
        (["splitmixer_iii", "--segments", "3"], "must divide `dim`=256"),
        (["convmixer", "--dim", "wide"], "`dim`='wide' must be a whole number"),
        (["convmixer", "--image-size", "0"], "`image_size`=0 must be"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys, arguments, words):
    assert main(["cost", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mixerlib: ") and captured.err.count("\n") == 1
    assert words in captured.err


def test_every_registered_name_has_a_family_that_costs_knows():
    known = {*costs.FAMILIES, *costs.MEASURED_ONLY}
    assert {model_entry(name).family for name in list_models()} == known


def test_a_family_without_formulas_is_measured_alone(capsys):
    name = "splitmixer_i_ablated_256_8"
    plain = report(capsys, "splitmixer_i_256_8")["formula"]
    actual = report(capsys, name)
    assert actual["formula"] is None
    for quantity in ("params", "buffers", "macs", "flops", "thop", "activations", "moved", "parts"):
        assert actual["measured"][quantity] == plain[quantity]  # nothing is taken out

    assert main(["cost", name, "--norm", "layer"]) == 0
    out = capsys.readouterr().out
    assert "3,539,834" in out and "total, measured" in out and "total, formula" not in out
    assert "Counted by measurement only" in out and "agree" not in out

    assert main(["cost", "--compare", "splitmixer_i_256_8", name, "--image-size", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith(name) and lines[2].count("100.0%") == 5


@pytest.mark.parametrize("name", ["splitmixer_i_256_8", "resnet20"])
def test_features_without_a_head_are_measured_alone(name, capsys):
    whole = report(capsys, name)["measured"]
    actual = report(capsys, name, "--num-classes", "0")
    assert actual["formula"] is None
    head = whole["parts"]["params"]["head"]
    assert actual["measured"]["params"] == whole["params"] - head and head > 0
    assert main(["cost", name, "--num-classes", "0"]) == 0
    assert "Counted by measurement only" in capsys.readouterr().out


def test_of_a_relative_formula_and_measurement_are_parameters_and_macs(capsys):
    actual = report(capsys, "resmlp_s12", "--image-size", "64", "--num-classes", "10")
    assert actual["formula"].keys() == {"params", "macs", "flops", "parts"}
    for name in ("params", "macs", "flops"):
        assert actual["formula"][name] == actual["measured"][name]
    assert actual["formula"]["parts"]["macs"].keys() < actual["measured"]["parts"]["macs"].keys()

    assert main(["cost", "resnet20", "--image-size", "8"]) == 0
    out = capsys.readouterr().out
    assert "Formula and measurement agree in every part." in out and "space and channels" in out
    formula, measured = (line for line in out.splitlines() if line.startswith("total"))
    assert "269,722" in formula and measured.startswith("total, measured")
    assert len(formula.split()) == 4 and len(measured.split()) == 5  # of what is kept, no formula

    assert main(["cost", "--compare", "vit", "deit", "--heads", "6", "--qkv-bias", "false"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("vit") and lines[1].count("100.0%") == 5
