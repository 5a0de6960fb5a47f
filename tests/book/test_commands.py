"""The page of commands: every command of ours on it runs, on made-up data in the real layouts.

A row's commands run in order in one folder, as `book/commands.yaml` has them, with the flags of its
`small` after them: a network of one block and eight channels, one epoch, batches of four. Files of
weights that a command reads are made first, in their layout. What torchrun starts on the page runs
in two processes of torchrun's here, all such commands in the same two. The row of timm's scripts is
run by tests/training/test_against_timm.py, where these are.
"""

import importlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import made_up_data
import pytest
import torch
import yaml
from commands import ENVIRONMENT, run
from helpers import ROOT, made_record

from mixerlib.cli.evaluating import disagreements
from mixerlib.models import create_model
from mixerlib.pages import audit
from mixerlib.records import read_record, read_records, write_record
from mixerlib.speed import TABLE_3, read_benchmark
from mixerlib.training import list_recipes, load_recipe, recipe_of
from mixerlib.weights import published_weights, save_weights
from mixerlib.weights.published import published_as

sys.path.insert(0, str(ROOT / "book"))  # where a page is run
command_rows, command_runs, command_table, untried_table = (
    importlib.import_module(f"assets.{name}")
    for name in ("command_rows", "command_runs", "command_table", "untried_table")
)
FILE = ROOT / "book" / "commands.yaml"
ROWS = command_rows.read_rows(FILE)
SMALL = {
    name: shlex.split(flags) for name, flags in yaml.safe_load(FILE.read_text())["small"].items()
}
TINY = {"dim": 8, "depth": 1}
LAYOUTS = {".pth.tar": "locuslab", ".ckpt": "mindcv", ".safetensors": "mixerlib"}
SEEDS = {
    *("splitmixer-readme-1", "convmixer-readme", "mindcv", "splitmixer-slides"),
    "mindspore-mixer",
}
IMAGES = {"imagenet": 2 * made_up_data.CLASSES, "cifar10": 4}  # for the test, of those made up


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Iterator[Path]:
    """A folder with all made-up data sets."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        made_up_data.write_all(folder, patch)
        yield folder


@pytest.fixture
def place(tmp_path, data, monkeypatch) -> Path:
    """An empty folder to work in, from which the data are found and the network is not."""

    def refuse(*arguments: object) -> None:
        raise socket.gaierror("no network")

    (tmp_path / "data").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIXERLIB_DATA", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path


def write_weights(file: Path, model: str, **options: object) -> None:
    """A small network's weights in the layout that the file's name promises."""
    suffix = next(suffix for suffix in LAYOUTS if file.name.endswith(suffix))
    layout = "mindspore" if file.name.startswith("gsam_") else LAYOUTS[suffix]
    network = create_model(model, **TINY, **options)
    if suffix != ".pth.tar":
        save_weights(network, file, layout=layout)
        return
    plain = file.with_suffix("").with_suffix(".pth")
    save_weights(network, plain, layout=layout)
    state = {f"module.{name}": tensor for name, tensor in torch.load(plain).items()}
    torch.save({"epoch": 150, "arch": model, "state_dict": state}, file)


def small_recipe(name: str, folder: Path) -> Path:
    """The recipe with a small model."""
    file = folder / f"{name.replace('/', '-')}.yaml"
    file.write_text(yaml.safe_dump({"base": name, "model_options": TINY}))
    return file


def small_sweep(file: Path, folder: Path) -> Path:
    """The sweep with one seed, small models and short runs."""
    runs = yaml.safe_load(file.read_text())["runs"]
    short = {"epochs": 1, "batch_size": 4, "compile": False, "model_options": TINY}
    for entry in runs:
        entry["seeds"] = [0]
        entry["recipes"] = entry["recipes"][:3]  # the rest differ in an option
        entry["settings"] = entry.get("settings", {}) | short
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"runs": runs}))
    return folder / "sweep.yaml"


def prepared(words: list[str], row, folder: Path) -> list[str]:
    """A command of ours, small; the weights that it reads are written."""
    words = words[words.index("mixerlib") + 1 :]
    task, target, *rest = *words, ""
    if task == "import":
        write_weights(folder / target, rest[rest.index("--model") + 1], num_classes=6)
    if task == "sweep":
        words[1] = str(small_sweep(ROOT / target, folder))
    if task == "evaluate" and "--recipe" in words:
        place = words.index("--recipe") + 1
        if not Path(target).exists():
            recipe = load_recipe(words[place])
            classes = 10 if recipe.dataset == "cifar10" else made_up_data.CLASSES
            write_weights(folder / target, recipe.model, num_classes=classes)
        words[place] = str(small_recipe(words[place], folder))
    if task == "evaluate" and "--weights" in words:
        published = published_weights(words[words.index("--weights") + 1])
        file = folder / "data/weights" / f"{published.name}{published.suffix}"
        file.parent.mkdir(exist_ok=True)
        write_weights(file, published.model, num_classes=made_up_data.CLASSES)
        words += ["--recipe", str(small_recipe(f"imagenet/{published.model}", folder))]
    if task == "train":
        recipe = load_recipe(target)
        given = words[words.index("--weights") + 1] if "--weights" in words else recipe.weights
        if given:
            write_weights(folder / given, recipe.model)
        words += shlex.split(row.also.get(target, ""))
    return words + SMALL[task]


def check_result(words: list[str], out: str, folder: Path) -> None:
    """Whether a command has done what it is for, besides ending well."""
    if words[0] == "train":
        newest = max(folder.glob("runs/**/record.json"), key=os.path.getmtime)
        recipe, record = load_recipe(words[1]), read_record(newest)
        assert (record.recipe, record.curve[-1].epoch) == (recipe.name, 1)
        assert f"of {record.test_images} test images right" in out
    if words[0] == "evaluate":
        named = words[words.index("--recipe") + 1] if "--recipe" in words else ""
        recipe = load_recipe(named) if named else recipe_of(Path(words[1]))
        images = IMAGES[recipe.dataset]
        assert f": {recipe.model} on the {images} test images of {recipe.dataset}\n" in out
        assert "\ntop-1 " in out and "\ntop-5 " in out and "\nloss " in out
    if words[0] == "cost":
        rows = [line.split() for line in out.splitlines()]
        counted = {row[0]: row[1] for row in rows if len(row) > 1}
        for name in words[2:]:
            assert counted[name] == f"{parameters_of(name):,}"
    if words[:2] == ["bench", "table3"]:
        lines = [line for line in out.splitlines() if re.match(r"(conv|split)mixer", line)]
        assert len(lines) == len(TABLE_3) and all(line.count("×") == 2 for line in lines)
    if words[0] == "import":
        assert "layout locuslab" in out
    if words[0] == "sweep":
        assert read_records(folder / "records")


def parameters_of(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(name).parameters())


def give(words: list[str], row, folder: Path, capsys) -> None:
    given = prepared(words, row, folder)
    status, out, err = run(capsys, *given)
    assert status == 0, (given, out, err)
    check_result(given, out, folder)


@pytest.mark.parametrize(
    "name", [name for name, row in ROWS.items() if row.ours and not row.by_timm]
)
def test_every_command_of_a_row_runs(name, place, capsys):
    row = ROWS[name]
    for words in row.commands:
        if words[0] == "mixerlib":
            give(words, row, place, capsys)
        else:
            assert words[:2] == ["torchrun", "--nproc_per_node"], words


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.python])
def test_every_snippet_of_a_row_runs(name, place, capsys, monkeypatch):
    names: dict = {}
    if "runs/mindcv" in ROWS[name].python:
        row = ROWS["mindcv-validate"]
        give(row.commands[0], row, place, capsys)
    if "timm" in ROWS[name].python:
        timm = pytest.importorskip("timm")
        create = timm.create_model
        monkeypatch.setattr(
            timm, "create_model", lambda model, pretrained=False, **more: create(model, **more)
        )
    exec(compile(ROWS[name].python, name, "exec"), names)
    assert isinstance(names["model"], torch.nn.Module)
    if "difference" in names:
        assert names["difference"] < 1e-4 and Path("convmixer.onnx").stat().st_size > 10_000


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_what_needs_several_gpus_runs_in_two_processes_of_torchrun(tmp_path, data):
    (tmp_path / "data").symlink_to(data)
    commands, recipes = [], []
    for row in ROWS.values():
        for words in row.commands:
            if command_rows.processes_of(words) > 1:
                out = f"runs/{len(commands)}"
                commands.append([*prepared(words, row, tmp_path), "--out", out])
                recipes.append(commands[-1][1])
    assert len(commands) > 4
    file = tmp_path / "commands.json"
    file.write_text(json.dumps(list(zip(free_ports(len(commands)), commands, strict=True))))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += ["--nproc_per_node", "2", str(ROOT / "tests" / "in_two_processes.py"), str(file)]
    here = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "MIXERLIB_DATA": str(data)}
    done = subprocess.run(
        launch, cwd=tmp_path, env=here, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    records = [read_record(tmp_path / f"runs/{i}/record.json") for i in range(len(commands))]
    assert [(record.recipe, record.processes) for record in records] == [(r, 2) for r in recipes]


def test_a_command_that_does_not_run_is_found(place, capsys):
    wrong = "mixerlib train cifar10/convmixer_256_8 --no-such"
    row = command_rows.Row("x", ("mindcv",), "", "", "", wrong)
    with pytest.raises(AssertionError, match="no-such"):
        give(row.commands[0], row, place, capsys)


def test_all_five_documents_and_every_table_of_theirs_is_there():
    published = audit.load(ROOT / "book" / "published.yaml")
    assert set(command_runs.seeds_of(ROWS)) == SEEDS
    numbers = (command_rows.numbers_of(row, published) for row in ROWS.values())
    entries = {entry.id for found in numbers for entry in found}
    for entry in published.entries.values():
        if entry.document in SEEDS and "/" in entry.id:
            assert entry.id in entries, entry.id


def test_a_published_file_is_evaluated_with_its_images_as_it_needs_them():
    known = 0
    for row in ROWS.values():
        for words in row.commands:
            weights = published_as(words[2]) if words[:2] == ["mixerlib", "evaluate"] else None
            if weights is not None:
                known += 1
                recipe = load_recipe(words[words.index("--recipe") + 1])
                assert disagreements(recipe, Path(words[2]), weights) == [], words
    assert known > 9


def test_the_models_of_the_slides_comparison_are_counted_as_its_tables_have_them():
    entries = audit.load(ROOT / "book" / "published.yaml").entries.values()
    counted = []
    for table in ROWS["slides-comparison"].expects:
        models = {entry.name: bool(entry.borrowed) for entry in entries if entry.table == table}
        counted += [len(models), sum(models.values())]
    stated = re.findall(r"\b\d+\b", ROWS["slides-comparison"].theirs)
    assert [int(number) for number in stated] == counted


def test_every_row_has_a_counterpart_and_known_recipes():
    for row in ROWS.values():
        assert bool(row.ours) != bool(row.python), row.name
        assert {*row.smaller} <= {*list_recipes()}, row.name
        assert set(row.also) <= set(row.recipes), row.name


def test_a_number_that_nobody_published_is_found():
    published = audit.load(ROOT / "book" / "published.yaml")
    row = command_rows.Row("x", (), "", "", "", expects=("no-such-table",))
    with pytest.raises(ValueError, match="`expects`='no-such-table' of x"):
        command_rows.numbers_of(row, published)


def test_the_work_of_a_training_is_six_operations_a_multiplication_image_and_epoch():
    assert command_rows.operations_of("cifar10/convmixer_256_8") == 6 * 148_113_920 * 50_000 * 100
    whole, head = (
        command_rows.operations_of(f"cifar10/mixer_b16_224_{way}") for way in ("finetune", "frozen")
    )
    assert whole == 3 * head


def test_needs_and_runs_in_words():
    row = ROWS["train-1536"]
    text = " ".join(command_rows.needs(row))
    assert "Data: ImageNet." in text and "10 devices" in text and "about 9 days" in text
    least, greatest, _ = command_rows.published_rates(True)
    assert least <= command_rows.rate_of(row) <= greatest
    assert f"{greatest / 1e12:.1f}&nbsp;TFLOP/s, as ConvMixer" in text
    least, greatest, _ = command_rows.published_rates(False)
    assert 0.3e12 < least < greatest < 2e12  # of Table 3: what a V100 reached with such networks
    own = " ".join(command_rows.needs(ROWS["mindcv-standalone"]))
    assert "Data: your own, laid out as ImageNet is." in own and "days" not in own
    assert command_runs.runs_here(row, [])[1] == "As it is: not yet."
    published = audit.load(ROOT / "book" / "published.yaml")
    html = command_table.html(ROWS, "splitmixer-readme-1", published, [])
    anchor = command_table.anchor(row)
    assert f'href="#{anchor}"' in html and f'id="{anchor}"' not in html


def test_what_could_not_be_tried_is_listed_until_a_record_is_there():
    chosen = {name: ROWS[name] for name in ("evaluate", "mixer-scratch", "slides-listing")}
    evaluate, scratch = untried_table.rows(chosen, [])  # a snippet asks for nothing
    assert evaluate[1:] == ["ImageNet and the weights", "–"]
    assert 'href="#command-mixer-scratch"' in scratch[0] and scratch[1:] == ["a GPU", "–"]
    smaller = made_record(recipe="cpu/mlp_mixer_32_4")
    assert untried_table.rows(chosen, [smaller])[1][2] == "yes"
    whole = made_record(recipe="cifar10/mixer_b16_224_scratch")
    assert len(untried_table.rows(chosen, [whole])) == 1
    # that a recipe was trained does not say that its authors' weights were evaluated
    trained = made_record(recipe="imagenet/convmixer_1536_20")
    assert len(untried_table.rows(chosen, [trained])) == 2
    wanted = {name: untried_table.wants(ROWS[name]) for name in ROWS}
    assert wanted["in-timm"] == ["the weights"] and wanted["slides-throughput"] == ["a Tesla V100"]
    assert wanted["timm-scripts"] == ["ImageNet", "a GPU"] and wanted["mindcv-deploy"] == [
        "ImageNet"
    ]
    assert wanted["slides-simple-models"] == ["ImageNet", "the weights"]


def test_whether_a_row_has_been_run_is_said_of_each():
    def said(name: str, *records) -> list[str]:
        return command_runs.runs_here(ROWS[name], records)

    tests = "Small, by the book’s tests, on made-up images of the same layout."
    for name in ("evaluate", "mindcv-results", "mixer-files", "mindcv-deploy"):
        trained = [made_record(recipe=recipe) for recipe in ROWS[name].recipes]
        assert said(name, *trained) == [tests, "As it is: not yet."]
    untrained = "Small, by the book’s tests, with weights that were never trained."
    for name in ("weights", "in-timm"):
        assert said(name) == [untrained, "As it is: not yet."]
    for name in ("tweet", "splitmixer-in-timm", "slides-listing"):
        assert said(name) == ["As it is, by the book’s tests."]
    counted, *_ = said("slides-simple-models")
    assert counted.startswith("<code>mixerlib cost</code> as it is; the rest small, by the book’s")


def test_a_table_of_speeds_is_as_it_is_on_the_documents_own_device(tmp_path):
    row = ROWS["slides-throughput"]
    gpu, report = (
        read_benchmark(ROOT / "book" / "records" / "bench" / device / "table3.json")
        for device in ("nvidia-h200", "amd-epyc")
    )
    _, whole, other = command_runs.runs_here(row, [])
    first, day = (one.provenance.date[:10] for one in (gpu, report))
    assert whole == "As it is, on a Tesla V100: not yet."
    assert other.startswith(f"On another device: NVIDIA H200, in batches of 64 ({first}) and AMD")
    assert f"batches of 8 ({day})." in other
    assert [row[1:] for row in untried_table.rows({"x": row}, [])] == [["a Tesla V100", "yes"]]
    same = replace(report.provenance, device="cuda", device_name="Tesla V100-SXM2-32GB")
    write_record(replace(report, provenance=same), tmp_path / "bench" / "v100" / "table3.json")
    _, whole = command_runs.runs_here(row, [], tmp_path)
    assert whole.startswith("As it is, on a Tesla V100: Tesla V100-SXM2-32GB")
    assert command_runs.is_whole(row, [], tmp_path) and not command_runs.is_whole(row, [])
