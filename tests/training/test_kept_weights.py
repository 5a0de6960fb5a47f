"""The weights that the book keeps: whole, of the runs that they say, and as good as they say."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from helpers import ROOT

from book.tools import weights
from mixerlib.cli import main
from mixerlib.data import DataNotFound, Dataset, load_dataset
from mixerlib.records import read_record, write_record
from mixerlib.training import (
    keep_weights,
    kept_record,
    largest_trained,
    list_trained,
    load_recipe,
    read_sweep,
    train_in_folder,
    trained_model,
)
from mixerlib.training.recipe import current_settings
from mixerlib.training.statistics import FREE

RECORDS = ROOT / "book" / "records"
KEPT = list_trained()
SMALL = ("digits", "cpu")  # the folders of networks that a CPU trains


@pytest.mark.parametrize("folder", SMALL)
def test_every_family_has_weights_on_the_digits_and_on_photographs(folder):
    names = [name.removeprefix(f"{folder}/") for name in list_trained(f"{folder}/*")]
    families = {name.rsplit("_", 2)[0] for name in names if "/" not in name}
    splitmixers = {f"splitmixer_{strategy}" for strategy in ("i", "ii", "iii", "iv", "v", "3d")}
    assert families == {"convmixer", "mlp_mixer"} | splitmixers


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_the_largest_of_a_family_is_the_largest_file(dataset):
    """All files are of one type of numbers. Chapters 20 to 22 draw these networks."""
    for family, largest in largest_trained()[dataset].items():
        sizes = {
            name: (RECORDS / "weights" / f"{name}.safetensors").stat().st_size
            for name in KEPT
            if kept_record(name).settings["dataset"] == dataset
            and kept_record(name).settings["model"] == family
        }
        assert sizes[largest] == max(sizes.values())


def test_what_every_machine_can_train_is_under_a_megabyte():
    """Weights of the published size come on top."""
    files = [path for part in SMALL for path in (RECORDS / "weights" / part).rglob("*.*")]
    assert 0 < sum(path.stat().st_size for path in files) < 1_000_000


@pytest.mark.parametrize("name", KEPT)
def test_kept_weights_are_those_of_a_run_with_a_record(name):
    """Beside them, or in the book. A run beside them may repeat one in the book, whose weights were
    not kept: then it had the same settings, but for those that change no result."""
    kept, place = kept_record(name), RECORDS / name / f"seed{kept_record(name).seed}.json"
    runs = [] if kept.run is None else [kept.run]
    if not runs or place.exists():
        runs.append(read_record(place))
    run = runs[0]
    assert kept.recipe == run.recipe == name
    assert kept.seed == run.seed
    assert kept.settings == run.settings
    of_result = [
        {key: value for key, value in current_settings(r.settings).items() if key not in FREE}
        for r in runs
    ]
    assert all(settings == of_result[0] for settings in of_result)
    assert kept.test_accuracy == run.test_accuracy
    assert run.weights_sha256 in (None, kept.weights_sha256)  # older records lack it
    file = RECORDS / "weights" / f"{name}.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == kept.rounded_sha256
    model = trained_model(name)
    assert sum(p.numel() for p in model.parameters()) == run.parameters
    assert all(torch.equal(p, p.half().float()) for p in model.parameters())


@pytest.mark.parametrize("name", KEPT)
def test_kept_weights_are_as_good_as_their_record_says(name, capsys):
    """By `mixerlib evaluate`. Another machine may add in another order: so an image may be another
    class there where its two highest logits are almost equal, and only there."""
    kept = kept_record(name)
    source = data_or_skip(kept.settings["dataset"])
    file = RECORDS / "weights" / f"{name}.safetensors"
    assert main(["evaluate", str(file), "--recipe", name, "--device", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    model, count = trained_model(name), len(source.test_labels)
    with torch.no_grad():
        parts = source.test_images.split(500)
        logits = torch.cat([model(source.normalize(images)) for images in parts])
    first, second = logits.topk(2).values.T
    unsure = int((first - second < 1e-3).sum())
    assert report["images"] == kept.test_images == count
    assert abs(round((report["top1"] - kept.rounded_accuracy) * count)) <= unsure
    assert report["loss"] == pytest.approx(kept.rounded_loss, rel=1e-3)
    assert unsure <= max(1, count // 500)


def data_or_skip(name: str) -> Dataset:
    """A data set, or a skip that says what is missing."""
    try:
        return load_dataset(name)
    except DataNotFound as error:
        pytest.skip(f"the weights can be evaluated only where the data are: {error}")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("run")
    train_in_folder(load_recipe("digits", {"epochs": 1}), folder)
    return folder


def test_the_weights_of_any_run_are_kept_and_loaded(run, tmp_path):
    kept = keep_weights(run, tmp_path)
    assert list_trained(folder=tmp_path) == ["digits"]
    assert kept == kept_record("digits", tmp_path)
    assert kept.run == read_record(run / "record.json")
    state = torch.random.get_rng_state()
    model = trained_model("digits", tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not model.training
    digits = load_dataset("digits")
    with torch.no_grad():
        logits = model(digits.normalize(digits.test_images))
    right = int((logits.argmax(1) == digits.test_labels).sum())
    assert right == round(kept.rounded_accuracy * 360)


def test_what_cannot_be_kept_or_loaded_is_refused(run, tmp_path):
    with pytest.raises(FileNotFoundError):
        keep_weights(tmp_path, tmp_path)
    keep_weights(run, tmp_path)
    with pytest.raises(ValueError, match=r"`name`='digit' has no weights.*did you mean digits"):
        trained_model("digit", tmp_path)
    file = tmp_path / "digits.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match=r"digits.safetensors is not the file that"):
        trained_model("digits", tmp_path)
    record = kept_record("digits", tmp_path)
    write_record(replace(record, rounded_accuracy=1.5), tmp_path / "digits.json")
    with pytest.raises(ValueError, match=r"`rounded_accuracy`=1\.5 must be"):
        trained_model("digits", tmp_path)


# The command that makes them


def test_one_command_makes_all_that_a_cpu_can_train():
    recipes = read_sweep(ROOT / "book" / "sweeps" / "weights.yaml")
    small = [name for name in KEPT if name.partition("/")[0] in SMALL]
    assert sorted(recipe.name for recipe in recipes) == small
    for recipe in recipes:
        kept = kept_record(recipe.name)
        today = json.loads(json.dumps(asdict(recipe), default=str))
        assert recipe.seed == kept.seed
        recorded = current_settings(kept.settings)
        assert {key: today[key] for key in recorded if key not in FREE} == {
            key: recorded[key] for key in recorded if key not in FREE
        }


def test_it_trains_what_is_missing_and_names_what_fails(tmp_path, monkeypatch, capsys):
    """On a machine without CIFAR-10, in a clone whose records say that all runs were made."""
    sweep = tmp_path / "weights.yaml"
    entry = "- recipes: [cpu/convmixer_64_4, digits/mlp_mixer_24_4]\n  seeds: [0]\n"
    sweep.write_text(f"runs:\n{entry}  settings: {{epochs: 1}}\n")
    monkeypatch.setenv("MIXERLIB_DATA", str(tmp_path / "nothing"))
    command = ["--sweep", str(sweep), "--out", str(tmp_path / "out")]
    command += ["--runs", str(tmp_path / "runs")]
    assert weights.main(command) == 2
    printed = capsys.readouterr()
    assert "cpu/convmixer_64_4, seed 0: failed: " in printed.err
    assert "digits/mlp_mixer_24_4, seed 0: " in printed.out and "after rounding" in printed.out
    assert list_trained(folder=tmp_path / "out") == ["digits/mlp_mixer_24_4"]
    kept = kept_record("digits/mlp_mixer_24_4", tmp_path / "out")
    assert kept.run is not None and kept.settings["epochs"] == 1
    sweep.write_text(sweep.read_text().replace("cpu/convmixer_64_4, ", ""))
    assert weights.main(command) == 0
    assert not capsys.readouterr().out
