"""`mixerlib bench`: what it races, the tables, the records, and how it refuses."""

import json
import re

import pytest
import torch
import yaml
from commands import refusal, run
from helpers import ROOT

from mixerlib.speed import bench
from mixerlib.speed import rooflines as roofline
from mixerlib.speed.bench import read_benchmark
from mixerlib.speed.rooflines import read_roofline
from mixerlib.speed.timing import Timing

MODEL = ("--dim", 8, "--depth", 1, "--patch-size", 4, "--image-size", 8)
QUICK = (*MODEL, "--batch", 2, "--rounds", 2)


@pytest.fixture
def raced(monkeypatch) -> list[bench.Case]:
    """The cases that are raced; instead of a race each takes half as long as the one before."""
    cases: list[bench.Case] = []

    def prepare(case, device):
        cases.append(case)
        return bench._Prepared(lambda: None, lambda: 2**20, "a detail" * (case.form == "timm"))

    def race(steps, rounds, device, seconds, *, clock):
        rounds = rounds if seconds is None else 3
        return {n: Timing.of([2.0**-n * (1 + r) for r in range(rounds)]) for n in steps}

    monkeypatch.setattr(bench, "_prepare", prepare)
    monkeypatch.setattr(bench, "race", race)
    monkeypatch.setattr(bench, "extra_memory", lambda run, device: 2**20)
    return cases


def rows(out: str) -> list[list[str]]:
    """The table's cells, below its head."""
    table = out.split("\n\n")[1].splitlines()[1:]
    return [re.split(r"\s{2,}", line.strip()) for line in table]


def test_a_real_race(capsys, tmp_path):
    file = tmp_path / "race.json"
    names = ("splitmixer_i", "convmixer")
    status, out, err = run(capsys, "bench", *names, *QUICK, "--json", file)
    assert (status, err) == (0, "")
    assert out.startswith("inference, batches of 2 images of 8×8, 2 rounds, dim 8, depth 1")
    report = read_benchmark(file)
    assert [result.case.model for result in report.results] == list(names)
    assert {row[0] for row in rows(out)} == set(names)
    assert out.endswith(f"record: {file}\n")
    speeds = [float(row[4].replace(",", "")) for row in rows(out)]
    assert speeds == sorted(speeds, reverse=True)


def test_the_table_is_sorted_and_compared_with_the_first_name(capsys, raced):
    status, out, _ = run(capsys, "bench", "convmixer", "splitmixer_i", *MODEL, "--rounds", 3)
    assert status == 0
    split = "splitmixer_i|float32, contiguous|1,000|[750 1,250]|64|2.0 MiB|2.00×|[2.00 2.00]"
    conv = "convmixer|float32, contiguous|2,000|[1,500 2,500]|32|2.0 MiB|1.00×|[1.00 1.00]"
    assert ["|".join(row) for row in rows(out)] == [split, conv]
    assert "times as fast as convmixer (float32, contiguous), round by round" in out
    assert [case.batch for case in raced] == [64, 64]


def test_models_for_images_of_other_sizes_say_so(capsys, raced):
    _, out, _ = run(capsys, "bench", "convmixer_256_8", "convmixer_256_8_224")
    assert [row[0] for row in rows(out)][::-1] == [
        "convmixer_256_8 at 32×32",
        "convmixer_256_8_224 at 224×224",
    ]


def test_every_way_that_is_asked_for(capsys, raced):
    layouts, dtypes = "channels_last,contiguous", "float32,bfloat16"
    flags = ("--layout", layouts, "--dtype", dtypes, "--compile", "--fast", "--peers")
    assert run(capsys, "bench", "splitmixer_ii", *MODEL, *flags, "--segments", 4)[0] == 0
    assert [case.way for case in raced[:9]] == [
        "float32, channels_last",
        "float32, channels_last, compiled",
        "float32, contiguous",
        "float32, contiguous, compiled",
        "listing, float32, channels_last",
        "listing, float32, channels_last, compiled",
        "listing, float32, contiguous",
        "listing, float32, contiguous, compiled",
        "fast, float32",
    ]
    again = [case.way.replace("float32", "bfloat16") for case in raced[:9]]
    assert [case.way for case in raced[9:]] == again
    options = {"dim": 8, "depth": 1, "patch_size": 4, "segments": 4}
    assert all(case.options == options and case.image_size == 8 for case in raced)


def test_the_task_and_the_mode_of_compilation(capsys, raced):
    run(capsys, "bench", "convmixer", *QUICK, "--train", "--compile-mode", "max-autotune")
    assert [(case.task, case.compile) for case in raced] == [
        ("training", None),
        ("training", "max-autotune"),
    ]


def test_peers_that_are_not_there(capsys, raced, monkeypatch):
    monkeypatch.setattr(bench.peers, "timm_is_installed", lambda: False)
    status, _, err = run(capsys, "bench", "splitmixer_i_ablated", *QUICK, "--peers")
    assert status == 0 and [case.form for case in raced] == ["plain"]
    assert "timm is not installed, so its models are left out" in err
    assert "nobody else's splitmixer_i_ablated" in err


@pytest.mark.skipif(not bench.peers.timm_is_installed(), reason="timm is not installed")
def test_what_is_to_be_said_of_a_case_stands_below(capsys, raced):
    _, out, _ = run(capsys, "bench", "convmixer", *QUICK, "--peers")
    assert [case.form for case in raced] == ["plain", "listing", "timm"]
    assert out.endswith("\nconvmixer (timm, float32, contiguous): a detail\n")


def test_the_time_is_passed_on(capsys, raced):
    _, out, _ = run(capsys, "bench", "convmixer", *QUICK, "--rounds", 9, "--minutes", 0.5)
    assert ", 3 rounds" in out


def test_the_roofline_of_a_model(capsys, tmp_path, monkeypatch):
    machine = roofline.Machine(1e9, 512, 1e9, 1024, 5e8)
    monkeypatch.setattr(roofline, "measure_machine", lambda dtype, map_bytes, device: machine)
    file = tmp_path / "roofline.json"
    status, out, err = run(
        capsys, "bench", "splitmixer_i", "--roofline", *QUICK, "--depth", 3, "--json", file
    )
    assert (status, err) == (0, "")
    report = read_roofline(file)
    assert report.machine == machine and len(report.whole.runs) == 2
    assert re.search(r"blocks\.\*\.mixing\.mixer +Conv2d +× 3 ", out)
    best = sum(part.predicted for part in report.parts)
    fused = sum(part.fused for part in report.parts)
    last = next(line for line in out.splitlines() if line.startswith("all "))
    assert [float(word) for word in last.split()[1:3]] == pytest.approx(
        [1e3 * best, 1e3 * fused], abs=0.006
    )


def test_the_roofline_of_a_model_without_formulas(capsys, monkeypatch):
    machine = roofline.Machine(1e9, 512, 1e9, 1024, 5e8)
    monkeypatch.setattr(roofline, "measure_machine", lambda dtype, map_bytes, device: machine)
    status, out, _ = run(capsys, "bench", "splitmixer_i_ablated", "--roofline", *QUICK)
    last = next(line for line in out.splitlines() if line.startswith("all "))
    assert status == 0 and len(last.split()) == 4  # no column of fused times


MATRIX = {
    "models": ["convmixer"],
    "options": {"dim": 4, "depth": 1, "patch_size": 2},
    "kernel_sizes": [3, 5],
    "dtypes": ["float32"],
    "layouts": ["contiguous", "channels_last"],
    "batch": 2,
    "image_size": 4,
}


def test_the_matrix(capsys, tmp_path, monkeypatch):
    """Really raced, on tiny models; what has a record is not measured again."""
    file, folder = tmp_path / "matrix.yaml", tmp_path / "records"
    file.write_text(yaml.safe_dump({"races": [MATRIX]}))
    arguments = ("bench", "--matrix", file, "--records", folder, "--rounds", 1)
    status, out, err = run(capsys, *arguments, "--minutes", 1e-9)
    assert (status, err) == (0, "") and "0 of 2 races have a record" in out
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (0, "") and "2 of 2 races have a record" in out
    found = {path.name: read_benchmark(path) for path in folder.rglob("*.json")}
    assert set(found) == {"convmixer-k3-float32.json", "convmixer-k5-float32.json"}
    for name, report in found.items():
        assert f"{report.name}.json" == name
        assert [result.case.layout for result in report.results] == MATRIX["layouts"]
    monkeypatch.setattr(bench, "benchmark", None)  # nothing is left to be measured
    assert run(capsys, *arguments)[1].strip().startswith("2 of 2 races have a record")
    told = refusal(capsys, *arguments, "--batch", 3)
    assert "convmixer-k3-float32.json holds other measurements" in told


def test_a_case_of_the_matrix_that_cannot_be_run_is_left_out(capsys, tmp_path, monkeypatch):
    prepare = bench._prepare

    def fail(case, device):
        if case.layout == "channels_last":
            raise RuntimeError("no such kernel")
        return prepare(case, device)

    monkeypatch.setattr(bench, "_prepare", fail)
    file = tmp_path / "matrix.yaml"
    file.write_text(yaml.safe_dump({"races": [MATRIX | {"kernel_sizes": [3]}]}))
    arguments = ("bench", "--matrix", file, "--records", tmp_path, "--rounds", 1)
    _, out, _ = run(capsys, *arguments)
    assert "left out: convmixer" in out and "it cannot be run here: no such kernel" in out
    assert run(capsys, *arguments)[1].startswith("1 of 1 races have a record")


def test_the_committed_matrix_on_tiny_models(capsys, tmp_path, monkeypatch):
    """All of its races, but for the compiler; what it is for, a GPU, is not here."""
    monkeypatch.setattr(torch, "compile", lambda model, mode, dynamic: model)
    monkeypatch.setattr(bench, "extra_memory", lambda run, device: None)
    file = ROOT / "book" / "sweeps" / "bench_matrix.yaml"
    tiny = ("--dim", 2, "--depth", 1, "--patch-size", 2, "--image-size", 4, "--batch", 1)
    status, out, err = run(
        capsys, "bench", "--matrix", file, *tiny, "--rounds", 1, "--records", tmp_path
    )
    assert (status, err) == (0, "") and "42 of 42 races have a record" in out
    assert "left out" not in out
    assert len(list(tmp_path.rglob("*.json"))) == 42


def test_table_3(capsys, tmp_path, raced):
    file = tmp_path / "table3.json"
    status, out, err = run(capsys, "bench", "--published", *QUICK, "--dim", 16, "--json", file)
    assert (status, err) == (0, "")
    assert out.startswith("SplitMixer's table 3: batches of 2 images of 8×8, float32, dim 16")
    table = rows(out)[1:]
    assert [row[0] for row in table][:2] == [
        "convmixer_256_8_224",
        "splitmixer_i_256_8_224 ratio=2/3",
    ]
    assert len(table) == len(bench.TABLE_3) == 18
    assert table[1][4] == "2.00×" and table[17][4] == "131072.00×"  # each twice the one before
    assert len(read_benchmark(file).results) == 36
    assert "mean of 2\n" in out and "median of 2 rounds" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "a NAME of a model must be given; `mixerlib list` prints every one"),
        (["--roofline"], "a NAME of a model must be given"),
        (["convmixr"], "did you mean convmixer"),
        (["convmixer", "--dtype", "int8"], "`dtype`='int8' must be one of float32"),
        (["convmixer", "--layout", "NHWC"], "`layout`='NHWC' must be one of contiguous"),
        (["convmixer", "--compile-mode", "best"], "`compile`='best' must be one of None"),
        (["convmixer", "--batch", "0"], "`batch`=0 must be at least 1"),
        (["convmixer", "--rounds", "0"], "`rounds`=0 must be at least 1"),
        (["convmixer", "--minutes", "0"], "`minutes`=0 must be above 0"),
        (["convmixer", "--device", "abacus"], "`device`='abacus' must be cpu, cuda"),
        (["convmixer", "--segments", "2"], "`segments`=2 is not an option of 'convmixer'"),
        (["convmixer", "--image-size", "33"], "`patch_size`=2 must divide"),
        (["convmixer", "--train", "--fast"], "--fast is for inference"),
        (["convmixer", "mlp_mixer", "--roofline"], "--roofline is of one model, not of convmixer"),
        (["convmixer", "--roofline", "--fast"], "--fast is only without --roofline"),
        (["convmixer", "--roofline", "--compile-mode", "default"], "--compile-mode is only"),
        (["convmixer", "--matrix"], "NAME is only without --matrix"),
        (["convmixer", "--published"], "NAME is only without --published"),
        (["--published", "--train"], "--train is only without --published"),
        (["--matrix", "--json", "a.json"], "--json is only without --matrix"),
        (["convmixer", "--records", "here"], "--records is only with --matrix"),
        (["--matrix", "--published"], "--matrix and --published are two measurements"),
        (["--matrix", "nowhere.yaml"], "nowhere.yaml: No such file"),
    ],
)
def test_refusals(capsys, arguments, words):
    assert words in refusal(capsys, "bench", *arguments)


def test_a_record_that_cannot_be_written(capsys, raced, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = run(
        capsys, "bench", "convmixer", *QUICK, "--json", tmp_path / "file" / "race.json"
    )
    assert status == 2 and err.startswith("mixerlib: ") and err.count("\n") == 1


def test_the_record_is_plain_json(capsys, raced, tmp_path):
    file = tmp_path / "race.json"
    run(capsys, "bench", "splitmixer_i", *QUICK, "--ratio", "3/5", "--json", file)
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["schema"] == "mixerlib benchmark 1" and content["name"] == "splitmixer_i"
    assert content["results"][0]["case"]["options"]["ratio"] == "3/5"
