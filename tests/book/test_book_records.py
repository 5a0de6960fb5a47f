"""The records in the book are real, in their place, and of the recipes as they stand.

A record is a run's word: no one types it, and the chapters believe it. So each one under
book/records must (but for bench/, counts/, notebooks/, pages/, timm/ and weights/, which have
their rules)

- be a whole record of today's schema, and lie at RECIPE/seedN.json by its own recipe and seed;
- say at which commit it was made, and when;
- have the settings that its recipe, mixerlib's or the template's, has today, but for those that
  change no result beyond rounding (`results.FREE`), or those that a sweep in book/sweeps states for
  this recipe and seed;
- hold numbers that agree with one another, with the data set, and with the model.

A recipe that changes leaves its records behind: then they are to be made anew, or taken away.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from helpers import ROOT, TEMPLATE, template_registered

from mixerlib.pages import audit
from mixerlib.records import Epoch, Record, provenance, read_record, write_record
from mixerlib.records.record import SCHEMA
from mixerlib.speed.cases import Benchmark, Case, Result, read_benchmark
from mixerlib.speed.load import Load
from mixerlib.speed.page_times import PageRecord, read_page_record
from mixerlib.speed.rooflines import read_roofline_race
from mixerlib.speed.timing import Timing
from mixerlib.training.recipe import Recipe, current_settings
from mixerlib.training.recipe_files import load_recipe
from mixerlib.training.run import model_for
from mixerlib.training.statistics import FREE
from mixerlib.training.sweep import read_sweep

BOOK = ROOT / "book"

# training images, test images, classes, channels, and pixels a side, of the whole data sets
FACTS = {
    "digits": (1_437, 360, 10, 1, 8),
    "fashion_mnist": (60_000, 10_000, 10, 1, 28),
    "cifar10": (50_000, 10_000, 10, 3, 32),
    "cifar100": (50_000, 10_000, 100, 3, 32),
    "flowers102": (1_020, 6_149, 102, 3, None),
    "food101": (75_750, 25_250, 101, 3, None),
    "imagenet": (1_281_167, 50_000, 1_000, 3, None),
}


def faults(records: Path, sweeps: Path) -> list[str]:
    """A line for each thing that is wrong with the records below a folder."""
    faults = []
    for path in sorted(records.rglob("*.json")):
        place = path.relative_to(records).as_posix()
        try:
            if place.startswith("notebooks/"):  # times of notebooks: tests/test_colab.py
                continue
            if place.startswith("weights/"):  # tests/training/test_kept_weights.py
                continue
            if place.startswith("pages/"):  # what stands in them: tests/book/test_page_records.py
                faults += [f"{place}: {fault}" for fault in page_faults_of(path)]
                continue
            if place.startswith("bench/"):
                faults += [f"{place}: {fault}" for fault in bench_faults_of(path, place)]
                continue
            if place.startswith("timm/"):  # tests/book/test_timm_run.py
                continue
            if place.startswith("counts/"):
                stamp = audit.read_others(path).provenance
                if stamp.commit is None or stamp.dirty is not False:
                    faults.append(f"{place}: it does not say at which commit it was made")
                continue
            record = read_record(path)
            faults += [f"{place}: {fault}" for fault in faults_of(record, place, sweeps)]
        except ValueError as error:
            faults.append(f"{place}: {error}")
    return faults


NO_COMMIT = "it does not say at which commit it was made, or that had changed"
# Measured with the files of commit ed20e52 on a machine whose history ended one commit before, as
# book/contributing.md says. Since then MIXERLIB_COMMIT names the commit there.
OF_A_COPY = dict.fromkeys(
    (f"bench/nvidia-h200/{name}.json" for name in ("table3", "races/forms-224", "roofline/all")),
    "6e3514e9c0e133dea320c41024a8752dc7f977f5",
)


def page_faults_of(path: Path) -> list[str]:
    """Of what a page timed."""
    record, faults = read_page_record(path), []
    if record.page != path.stem:
        faults.append(f"it is of the page {record.page}")
    if record.provenance.commit is None or record.provenance.dirty is not False:
        faults.append(NO_COMMIT)
    if record.provenance.device != "cpu" or record.load.busy:
        faults.append("it must be of a quiet CPU")
    return faults


def bench_faults_of(path: Path, place: str) -> list[str]:
    """Of a benchmark or a roofline, which lies in bench/DEVICE, or in a folder below."""
    schema = json.loads(path.read_text(encoding="utf-8")).get("schema")
    if schema == SCHEMA:
        return ["a training run is no benchmark"]
    rooflines = schema.startswith("mixerlib roofline")
    record = read_roofline_race(path) if rooflines else read_benchmark(path)
    faults = []
    device = re.sub(r"[^a-z0-9]+", "-", record.provenance.device_name.lower()).strip("-")
    if place.split("/")[1] != device:
        faults.append(f"it belongs in bench/{device}")
    stamp = record.provenance  # of a commit that MIXERLIB_COMMIT names nobody can tell the changes
    if stamp.commit is None or (stamp.dirty and stamp.commit != OF_A_COPY.get(place)):
        faults.append(NO_COMMIT)
    if not rooflines:
        for result in record.results:
            speed = result.case.batch / result.seconds.median
            if result.case.task != "as published" and result.images_per_second != speed:
                faults.append(f"{result.case.label}: images a second are not those of its steps")
    return faults


def faults_of(record: Record, place: str, sweeps: Path) -> list[str]:
    faults = []

    def check(holds: bool, fault: str) -> None:
        if not holds:
            faults.append(fault)

    expected = f"{record.recipe}/seed{record.seed}.json"
    check(place == expected, f"it belongs in {expected}")
    check(record.provenance.commit is not None, "it does not say at which commit it was made")
    when = datetime.fromisoformat(record.provenance.date)
    check(when.tzinfo is not None and when < datetime.now(UTC), "its date lies in the future")
    if difference := differences(record, sweeps):
        return [*faults, f"its recipe, and every sweep, say otherwise: {difference}"]

    settings = record.settings
    check(record.test_accuracy <= record.test_top5 <= 1, "top-1 and top-5 do not agree")
    for share in (record.test_accuracy, record.test_top5):
        correct = share * record.test_images
        check(
            math.isclose(correct, round(correct), abs_tol=1e-6), f"{share} is no number of images"
        )
    seconds = sum(row.training_seconds for row in record.curve)
    check(math.isclose(record.training_seconds, seconds), "its seconds are not its epochs'")
    check(record.total_seconds >= record.training_seconds > 0, "it trained longer than it ran")
    seen = record.images_per_second * record.training_seconds
    expected = settings["epochs"] * record.train_images
    check(math.isclose(seen, expected), "its images a second are not those of its epochs")

    train, test, *_ = FACTS[settings["dataset"]]
    if held_out := settings.get("held_out", 0):
        train, test = train - held_out, held_out
    check((record.train_images, record.test_images) == (train, test), "not the whole data set")
    parameters = parameters_of(Recipe.from_settings(settings))
    check(record.parameters == parameters, f"the model has {parameters} parameters")
    return faults


def recipe_named(name: str, **settings: object) -> Recipe:
    """mixerlib's recipe of this name, or the template's, whose mixing must be registered."""
    file = TEMPLATE / f"{name}.yaml"
    return load_recipe(file if file.exists() else name, settings)


def differences(record: Record, sweeps: Path) -> str:
    """Where its settings are neither its recipe's nor those that a sweep states for the run."""
    today = as_json(recipe_named(record.recipe, seed=record.seed))
    recorded = current_settings(record.settings)
    keys = today.keys() | recorded.keys()
    difference = [k for k in sorted(keys) if today.get(k) != recorded.get(k) and k not in FREE]
    difference += sorted(set(FREE) - recorded.keys())
    if not difference or recorded in stated(sweeps).get((record.recipe, record.seed), []):
        return ""
    return "; ".join(f"`{k}`={today.get(k)!r}, not {recorded.get(k)!r}" for k in difference)


@cache
def stated(sweeps: Path) -> dict[tuple[str, int], list[dict[str, object]]]:
    """The settings that the sweeps in a folder state for each run that they list."""
    listed: dict[tuple[str, int], list[dict[str, object]]] = {}
    for path in sorted(sweeps.glob("*.yaml")):
        if "runs" in yaml.safe_load(path.read_text(encoding="utf-8")):  # others: benchmarks
            for recipe in read_sweep(path):
                listed.setdefault((recipe.name, recipe.seed), []).append(as_json(recipe))
    return listed


def as_json(recipe: Recipe) -> dict[str, object]:
    """A recipe's fields as a record has them."""
    return json.loads(
        json.dumps({k: v for k, v in vars(recipe).items() if k != "name"}, default=str)
    )


def parameters_of(recipe: Recipe) -> int:
    *_, classes, channels, side = FACTS[recipe.dataset]
    size = recipe.image_size or side
    shape = {"in_channels": channels, "num_classes": classes, "image_size": (size, size)}
    with torch.device("meta"):
        model = model_for(recipe, SimpleNamespace(name=recipe.dataset, **shape))
    return sum(p.numel() for p in model.parameters())


def test_the_records_of_the_book():
    with template_registered():  # chapter 26 has runs of its mixing
        assert faults(BOOK / "records", BOOK / "sweeps") == []


# ---- is anything found at all? Records that are planted, and then spoilt ------------------------


def planted(recipe: str = "digits", seed: int = 0, **settings: object) -> Record:
    """A record such as a run might have left, with numbers that agree."""
    expected = recipe_named(recipe, seed=seed, **settings)
    epochs = expected.epochs
    train, test, *_ = FACTS[expected.dataset]
    curve = [Epoch(i + 1, 0.01, 1.0, 0.5, 0.7, 0.25, 2.0) for i in range(epochs)]
    return Record(
        recipe=recipe,
        settings=as_json(expected),
        seed=seed,
        parameters=parameters_of(expected),
        train_images=train,
        test_images=test,
        curve=curve,
        test_loss=0.7,
        test_accuracy=0.25,
        test_top5=0.75,
        training_seconds=2.0 * epochs,
        total_seconds=3.0 * epochs,
        images_per_second=train / 2.0,
        peak_memory_bytes=1,
        processes=1,
        continued=0,
        provenance=replace(provenance("cpu"), date="2025-01-01T00:00:00+00:00", commit="0" * 40),
    )


def benched(**stamp: object) -> Benchmark:
    """A benchmark of one case, on a device called GPU."""
    expected = {"device_name": "GPU", "commit": "0" * 40, "dirty": False} | stamp
    result = Result(Case("convmixer", batch=8), None, Timing.of([0.5]), 16.0, None)
    return Benchmark("planted", [result], [], {}, replace(provenance("cpu"), **expected))


@pytest.fixture
def book(tmp_path) -> Path:
    """A folder like the book's, with records of three runs that are as they should be."""
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "long.yaml").write_text(
        "runs: [{recipes: [digits], seeds: [3], settings: {epochs: 30}}]"
    )
    (tmp_path / "sweeps" / "speed.yaml").write_text("races: []")
    for record in (
        planted(),
        planted("cifar10/mixer_s4", seed=1, compile=True, channels_last=True),
        planted(seed=3, epochs=30),  # as the sweep says
    ):
        plant(record, tmp_path)
    return tmp_path


def plant(record: Record, book: Path, place: str | None = None) -> None:
    write_record(record, book / "records" / (place or f"{record.recipe}/seed{record.seed}.json"))


def faults_in(book: Path) -> list[str]:
    return faults(book / "records", book / "sweeps")


def test_good_records_pass(book):
    assert len(list((book / "records").rglob("*.json"))) == 3
    assert faults_in(book) == []
    assert faults(book / "nowhere", book / "sweeps") == []  # before the first run


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda r: replace(r, recipe="cifar10/mixer_s4"), "belongs in cifar10/mixer_s4/seed0"),
        (lambda r: set_settings(replace(r, seed=5), seed=5), "it belongs in digits/seed5.json"),
        (lambda r: replace(r, seed=5), "`settings.seed`=0 must be 5"),
        (lambda r: replace(r, recipe="digts"), "`recipe`='digts' is no recipe of mixerlib"),
        (lambda r: set_provenance(r, commit=None), "it does not say at which commit it was made"),
        (lambda r: set_provenance(r, date="2999-01-01T00:00:00+00:00"), "lies in the future"),
        (lambda r: set_provenance(r, date="2025-01-01T00:00:00"), "lies in the future"),
        (
            lambda r: set_provenance(r, date="yesterday"),
            "`provenance.date`='yesterday' must be a date and a time",
        ),
        (lambda r: set_settings(r, weight_decay=0.5), "`weight_decay`=0.01, not 0.5"),
        (lambda r: set_settings(r, model_options={}), "`model_options`={'dim': 64"),
        (lambda r: replace(r, parameters=r.parameters + 1), "the model has "),
        (lambda r: replace(r, train_images=1000), "not the whole data set"),
        (
            lambda r: replace(r, test_accuracy=0.5),
            "`test_accuracy`=0.5 must be that of the last epoch",
        ),
        (lambda r: replace(r, curve=r.curve[:-1]), "`settings.epochs`=20 must be 19"),
        (lambda r: replace(r, curve=[*r.curve[:-1], r.curve[0]]), "a row for every epoch, from 1"),
        (lambda r: set_settings(replace(r, curve=[]), epochs=0), "a row for every epoch, from 1"),
        (lambda r: replace(r, test_top5=0.2), "top-1 and top-5 do not agree"),
        (lambda r: replace(r, test_top5=0.7501), "0.7501 is no number of images"),
        (lambda r: replace(r, training_seconds=1.0), "its seconds are not its epochs'"),
        (lambda r: replace(r, total_seconds=1.0), "it trained longer than it ran"),
        (
            lambda r: replace(r, images_per_second=1.0),
            "its images a second are not those of its epochs",
        ),
        (lambda r: replace(r, schema="mixerlib training 1"), "`schema`='mixerlib training 1'"),
        (lambda r: replace(r, test_loss="0.7"), "`test_loss`='0.7' must be of type float"),
    ],
)
def test_a_record_that_is_spoilt_is_found(book, spoil: Callable[[Record], Record], fault: str):
    plant(spoil(planted()), book, "digits/seed0.json")
    message = faults_in(book)
    assert message and all(line.startswith("digits/seed0.json: ") for line in message)
    assert any(fault in line for line in message), message


def set_provenance(record: Record, **changes: object) -> Record:
    return replace(record, provenance=replace(record.provenance, **changes))


def set_settings(record: Record, **changes: object) -> Record:
    return replace(record, settings=record.settings | changes)


def test_a_sweep_states_settings_for_its_own_seeds_only(book):
    plant(planted(seed=4, epochs=30), book)
    (line,) = faults_in(book)
    assert "digits/seed4.json" in line and "`epochs`=20, not 30" in line


def test_a_record_of_the_template_s_recipe_is_held_to_it(book):
    with template_registered():
        plant(planted("carousel_64_4", seed=1), book)
        assert faults_in(book) == []
        plant(planted("carousel_64_4", seed=1, epochs=7), book)
        (line,) = faults_in(book)
        assert "carousel_64_4/seed1.json" in line and "`epochs`=5, not 7" in line
    (line,) = faults_in(book)
    assert "`model`='splitmixer_carousel'" in line  # where the package is not installed


def test_a_setting_that_came_or_went_since_is_found(book):
    record = planted()
    older = {k: v for k, v in record.settings.items() if k != "weight_decay"}
    plant(replace(record, settings=older), book)
    assert any("`weight_decay`=0.01, not None" in line for line in faults_in(book))
    plant(set_settings(record, decay_of_old=1), book)
    assert any("`decay_of_old`=None, not 1" in line for line in faults_in(book))
    plant(replace(record, settings={"seed": 0}), book)
    assert any("`epochs`=20, not None" in line for line in faults_in(book))


def test_other_files(book):
    (book / "records" / "notes.json").write_text("{")
    (line,) = faults_in(book)
    assert line.startswith("notes.json: ") and "is not JSON" in line
    (book / "records" / "notes.json").unlink()
    (book / "records" / "bench" / "gpu").mkdir(parents=True)
    write_record(benched(), book / "records" / "bench" / "gpu" / "cifar.json")
    assert faults_in(book) == []
    plant(planted(), book, "bench/digits.json")
    assert faults_in(book) == ["bench/digits.json: a training run is no benchmark"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda r: benched(device_name="AMD EPYC"), "it belongs in bench/amd-epyc"),
        (lambda r: benched(dirty=True), "it does not say at which commit"),
        (lambda r: benched(commit=None), "it does not say at which commit"),
        (
            lambda r: replace(r, results=[replace(r.results[0], images_per_second=17.0)]),
            "convmixer: images a second are not those of its steps",
        ),
        (lambda r: replace(r, results=[1]), "must be a table"),
    ],
)
def test_a_spoilt_benchmark_is_found(book, change, fault):
    path = book / "records" / "bench" / "gpu" / "cifar.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(change(benched()))))
    (line,) = faults_in(book)
    assert fault in line


def test_a_benchmark_of_a_copy_names_its_commit(book):
    """As MIXERLIB_COMMIT does where there is no history: nobody can tell what had changed."""
    path = book / "records" / "bench" / "gpu" / "cifar.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(benched(dirty=None))))
    assert faults_in(book) == []


def test_what_a_page_timed_is_of_its_page_a_commit_and_a_quiet_cpu(book):
    stamp = replace(provenance("cpu"), commit="a", dirty=False)
    good = PageRecord("17-throughput", {"one": 1}, {}, stamp, Load(0.1, 2, 0.01))
    path = book / "records" / "pages" / "17-throughput.json"
    write_record(good, path)
    assert faults_in(book) == []
    for change, fault in (
        ({"page": "18-roofline"}, "it is of the page 18-roofline"),
        ({"provenance": replace(stamp, dirty=True)}, "it does not say at which commit"),
        ({"provenance": replace(stamp, device="cuda")}, "it must be of a quiet CPU"),
        ({"load": Load(3.0, 2, 0.5, forced=True)}, "it must be of a quiet CPU"),
    ):
        write_record(replace(good, **change), path)
        (line,) = faults_in(book)
        assert fault in line
