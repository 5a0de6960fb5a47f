"""A run's folder, from a notebook: trained in, stopped, gone on with, found finished."""

from dataclasses import replace

import pytest
import torch
from helpers import few_digits
from safetensors.torch import load_file

from mixerlib.records import read_record
from mixerlib.training import MetricsLog, Sweep, checkpoint, claimed, read_metrics, train
from mixerlib.training.folders import (
    finished_record,
    run_folder,
    save_results,
    settings_differences,
    train_in_folder,
)
from mixerlib.training.recipe import LATER_FIELDS
from mixerlib.training.recipe_files import load_recipe
from mixerlib.training.session import Stopped

SMALL = {"model_options": {"dim": 8, "depth": 1}, "epochs": 2, "batch_size": 512}


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_leaves_its_weights_and_its_record(tmp_path):
    recipe, folder = load_recipe("digits", SMALL), tmp_path / "a run"
    record = train_in_folder(recipe, folder)
    assert names(folder) == ["metrics.jsonl", "model.safetensors", "record.json"]
    assert read_record(folder / "record.json") == record
    assert finished_record(recipe, folder) == record
    with pytest.raises(ValueError, match=r"holds the record.json of an earlier run"):
        train_in_folder(recipe, folder)
    assert train_in_folder(recipe, folder, resume=True) == record  # nothing is trained again


def test_a_run_that_is_out_of_time_goes_on_to_the_same_bits(tmp_path):
    recipe = load_recipe("digits", SMALL)
    whole = train_in_folder(recipe, tmp_path / "whole")
    with pytest.raises(Stopped, match="stopped at the deadline after step 1 of"):
        train_in_folder(recipe, tmp_path / "cut", minutes=0)
    assert names(tmp_path / "cut") == ["checkpoint.pt"]
    record = train_in_folder(recipe, tmp_path / "cut", resume=True)
    assert (record.continued, whole.continued) == (1, 0)
    assert record.test_loss == whole.test_loss
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_folder_of_another_run_is_refused(tmp_path):
    train_in_folder(load_recipe("digits", SMALL), tmp_path / "run")
    other = load_recipe("digits", SMALL | {"epochs": 3})
    with pytest.raises(ValueError, match="finished run with other settings: `epochs`=3 here, 2"):
        train_in_folder(other, tmp_path / "run", resume=True)


def test_a_folder_that_gets_nothing_is_taken_away(tmp_path):
    other = replace(few_digits(), name="others")
    with pytest.raises(ValueError, match="`dataset`='others' must be the recipe's"):
        train_in_folder(load_recipe("digits", SMALL), tmp_path / "new" / "run", other)
    assert names(tmp_path) == []


@pytest.mark.parametrize("inside", ["", "run"])
def test_a_link_that_leads_nowhere_is_said_to(tmp_path, inside):
    (tmp_path / "gone").symlink_to(tmp_path / "nothing", target_is_directory=True)
    with pytest.raises(OSError, match="gone is a link that leads nowhere"):
        train_in_folder(load_recipe("digits", SMALL), tmp_path / "gone" / inside)
    assert names(tmp_path) == ["gone"]


def test_settings_are_compared_in_the_form_of_a_record(tmp_path):
    recipe = load_recipe("digits", SMALL)
    record = train_in_folder(recipe, tmp_path / "run")
    assert settings_differences(record, recipe) == ""
    assert settings_differences(record, load_recipe("digits", SMALL | {"seed": 1})) == (
        "`seed`=1 here, 0 there"
    )


def test_a_form_counts_unless_it_was_to_be_measured(tmp_path):
    """Of `fastest` the record has what the measurement chose, which the recipe cannot know."""
    record = train_in_folder(load_recipe("digits", SMALL), tmp_path / "run")
    other = load_recipe("digits", SMALL | {"channels_last": True})
    assert settings_differences(record, other) == "`channels_last`=True here, False there"
    assert settings_differences(record, load_recipe("digits", SMALL | {"fastest": True})) == ""


def test_records_of_older_versions_have_the_same_settings(tmp_path):
    recipe = load_recipe("digits", SMALL)
    record = train_in_folder(recipe, tmp_path / "run")
    settings = record.settings | {"decay": record.settings["decay_on"]}
    for name in ("decay_on", *LATER_FIELDS):
        del settings[name]
    assert settings_differences(replace(record, settings=settings), recipe) == ""


def test_folders_and_files_may_be_named_in_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("digits", SMALL)
    (tmp_path / "run").mkdir()
    with pytest.raises(Stopped):
        train(recipe, few_digits(), "cpu", folder="run", stop=lambda: "after a step")
    assert checkpoint.load("run/checkpoint.pt", recipe)["step"] == 1
    with run_folder(recipe, "run", resume=True) as folder, claimed("run"):
        model, record = train(recipe, few_digits(), "cpu", folder=str(folder), resume=True)
        save_results(model, record, "run")
    assert finished_record(recipe, "run") == record
    steps, epochs = read_metrics("run")
    assert MetricsLog("run", len(epochs)).steps == len(steps)
    assert Sweep([replace(recipe, seed=1)], "records", "runs").left()
