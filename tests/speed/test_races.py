"""Races of many models in a file: what stands for what, and files that list none."""

import re

import pytest
import yaml
from helpers import ROOT

from mixerlib.models import create_model, made_of
from mixerlib.pages import LABELS
from mixerlib.speed import races as module
from mixerlib.speed.cases import TASKS
from mixerlib.speed.peers import timm_is_installed
from mixerlib.speed.races import read_races

FILE = ROOT / "book" / "sweeps" / "bench_races.yaml"
ENTRY = {
    "name": "all",
    "models": ["convmixer", "splitmixer_i"],
    "options": {"dim": 4, "depth": 1, "patch_size": 2},
    "batch": 2,
    "image_size": 4,
}


def written(tmp_path, *entries):
    path = tmp_path / "races.yaml"
    path.write_text(yaml.safe_dump({"races": list(entries)}))
    return path


def described(cases) -> list[str]:
    return [f"{case.model} {case.task} {case.description}" for case in cases]


def test_the_committed_races_hold_every_model_each():
    races = read_races(FILE)
    assert list(races) == ["plain", "forms", "training", "relatives"]
    del races["relatives"]
    families = {f"{family}_256_8" for family in LABELS}
    published = [case for case in races["plain"] if case.model not in families]
    assert {(case.model, case.implementation) for case in published} == {
        (model, implementation)
        for model in ("convmixer_768_32", "mixer_s16", "mixer_s4")
        for implementation in ("mixerlib", *(["timm"] if timm_is_installed() else []))
    } | {("mixer_s16", "fast"), ("mixer_s4", "fast")}
    races["plain"] = [case for case in races["plain"] if case.model in families]
    for cases in races.values():
        assert [f"{family}_256_8" for family in LABELS] == list(
            dict.fromkeys(case.model for case in cases)
        )
        assert len(cases) == len(set(map(repr, cases)))
        assert {(case.batch, case.image_size) for case in cases} == {(64, 32)}
    compiled = [case for case in races["training"] if case.form.compile]
    assert {case.task for case in compiled} == {"training"}
    assert {case.model for case in compiled} == {case.model for case in races["plain"]}
    inference = [case for case in races["training"] if case.task == "inference"]
    assert len(inference) == len(LABELS)  # plain, beside the steps of training
    listings = [case.model for case in races["plain"] if case.implementation == "listing"]
    assert len(listings) == len(LABELS)


def test_the_race_of_the_relatives_has_the_sizes_of_their_recipes():
    from mixerlib.training import list_recipes, load_recipe

    sizes = {}
    for name in list_recipes():
        if name.startswith("cpu/relatives/") or re.fullmatch(r"cpu/[a-z_0-9]+_4", name):
            recipe = load_recipe(name)
            made = create_model(recipe.model, **recipe.model_options)
            sizes.setdefault(made_of(made)[0], []).append(made_of(made)[1])
    cases = read_races(FILE)["relatives"]
    assert len(cases) == 2 * len(sizes) == 36
    for case in cases:
        options = made_of(create_model(case.model, **case.options))[1]
        assert options in sizes[case.model], case.label
    by_task = {task: [case.label for case in cases if case.task == task] for task in TASKS[:2]}
    assert by_task["inference"] == by_task["training"]


def test_all_that_an_entry_stands_for(tmp_path):
    lists = {"layouts": ["contiguous", "channels_last"], "compile": ["default"]}
    entry = ENTRY | lists | {"mixings": ["own", "one matrix"], "task": "training"}
    (cases,) = read_races(written(tmp_path, entry)).values()
    conv = ["contiguous", "contiguous, compiled", "channels_last", "channels_last, compiled"]
    split = conv + [f"one matrix, float32, {form}" for form in conv]
    assert described(cases) == [
        *(f"convmixer training float32, {form}" for form in conv),
        *(f"splitmixer_i training float32, {form}" for form in conv),
        *(f"splitmixer_i training {form}" for form in split[4:]),
    ]


def test_a_fast_form_and_peers_run_once_for_each_dtype(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "peer_forms", lambda case: ["listing"])
    implementations = {"implementations": ["mixerlib", "fast", "listing", "timm"]}
    lists = {"layouts": ["contiguous", "channels_last"], "dtypes": ["float32", "bfloat16"]}
    entry = ENTRY | {"models": ["splitmixer_i"]} | implementations | lists
    (cases,) = read_races(written(tmp_path, entry)).values()
    of_one = ["{}, contiguous", "{}, channels_last", "fast, {}", "listing, {}, contiguous"]
    assert [case.description for case in cases] == [
        form.format(dtype) for dtype in ("float32", "bfloat16") for form in of_one
    ]


def test_models_with_options_of_their_own(tmp_path):
    models = {"convmixer": {"dim": 8}, "mlp_mixer": {"tokens_dim": 6}, "splitmixer_i": {}}
    (cases,) = read_races(written(tmp_path, ENTRY | {"models": models})).values()
    assert [case.model for case in cases] == list(models)
    expected = [ENTRY["options"] | own for own in models.values()]
    assert [case.options for case in cases] == expected


def test_entries_of_one_name_are_one_race(tmp_path):
    other = ENTRY | {"name": "other"}
    path = written(tmp_path, ENTRY, other, ENTRY | {"dtypes": ["bfloat16", "float32"]})
    races = read_races(path)
    assert list(races) == ["all", "other"]
    assert [case.dtype for case in races["all"]] == ["float32"] * 2 + ["bfloat16"] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../a"}, "`name`='../a' must be of letters, digits and -"),
        ({"name": 3}, "`name`=3 must be of letters"),
        ({"models": []}, r"`models`=\[\] must be a list of texts"),
        ({"models": {}}, r"`models`={} must be a list of texts"),
        ({"models": {"convmixer": 3}}, "`models.convmixer`=3 must be a table"),
        ({"models": ["convmixr"]}, "did you mean convmixer"),
        ({"task": "sleeping"}, "`task`='sleeping' must be one of"),
        ({"layouts": ["NCHW"]}, "`layout`='NCHW' must be one of"),
        ({"mixings": ["linear"]}, "`mixing`='linear' must be one of 'own'"),
        ({"implementations": ["jax"]}, "`implementation`='jax' must be one of"),
        ({"compile": "default"}, "`compile`='default' must be a list"),
        ({"dtypes": ["int8"]}, "`dtype`='int8' must be one of"),
        ({"batch": 0}, "`batch`=0 must be a positive whole number"),
        ({"options": 3}, "`options`=3 must be a table"),
        ({"kernel_sizes": [3]}, "must have the keys .* may have"),
    ],
)
def test_files_that_list_no_races(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"races.yaml: `races\[1\]`.*{message}"):
        read_races(written(tmp_path, ENTRY, ENTRY | change))
