"""`mixerlib bench`: what it races, the tables, the records, and how it refuses."""

import json
import re

import pytest
import torch
import yaml
from commands import refusal, run
from helpers import ROOT

from mixerlib.speed import bench, peers, published_table3, roofline_runs
from mixerlib.speed import load as load_module
from mixerlib.speed import machine as machine_module
from mixerlib.speed.bench import Prepared
from mixerlib.speed.cases import LAYOUTS, Case, read_benchmark
from mixerlib.speed.load import Load
from mixerlib.speed.published_table3 import TABLE_3
from mixerlib.speed.rooflines import read_roofline_race
from mixerlib.speed.timing import Timing

MODEL = ("--dim", 8, "--depth", 1, "--patch-size", 4, "--image-size", 8)
QUICK = (*MODEL, "--batch", 2, "--rounds", 2, "--force")  # tests keep their machine busy


@pytest.fixture
def raced(monkeypatch) -> list[Case]:
    """The cases that are raced; instead of a race each takes half as long as the one before."""
    cases: list[Case] = []

    def prepare(case, device):
        cases.append(case)
        detail = "a detail" if case.implementation == "timm" else None
        return Prepared(lambda: None, lambda: 2 * 2**20, detail)

    def race(steps, rounds, device, seconds, *, clock):
        rounds = rounds if seconds is None else 3
        return {n: Timing.of([2.0**-n * (1 + r) for r in range(rounds)]) for n in steps}

    monkeypatch.setattr(bench, "prepare_case", prepare)
    monkeypatch.setattr(published_table3, "prepare_case", prepare)
    monkeypatch.setattr(bench, "race", race)
    return cases


def rows(out: str) -> list[list[str]]:
    """The table's cells, below its head."""
    table = out.split("\n\n")[1].splitlines()[1:]
    return [re.split(r"\s{2,}", line.strip()) for line in table]


def test_bench_alone_prints_its_measurements(capsys):
    status, out, err = run(capsys, "bench")
    assert (status, err) == (0, "")
    assert re.findall(r"^    (\w+) ", out, re.M) == [
        "race",
        "races",
        "roofline",
        "matrix",
        "table3",
    ]


@pytest.mark.parametrize("name", ["race", "races", "roofline", "matrix", "table3"])
def test_each_measurement_has_help_of_its_own(capsys, name):
    status, out, _ = run(capsys, "bench", name, "--help")
    assert status == 0 and out.startswith(f"usage: mixerlib bench {name} ")
    assert ("--peers" in out) == (name == "race")
    lists = name in ("matrix", "races")
    assert ("--records" in out) == lists == ("--json" not in out) and "--force" in out


def test_a_real_race(capsys, tmp_path):
    file = tmp_path / "race.json"
    names = ("splitmixer_i", "convmixer")
    status, out, err = run(capsys, "bench", "race", *names, *QUICK, "--json", file)
    assert (status, err) == (0, "")
    assert out.startswith("inference, batches of 2 images of 8×8, 2 rounds, dim 8, depth 1")
    report = read_benchmark(file)
    assert [result.case.model for result in report.results] == list(names)
    assert {row[0] for row in rows(out)} == set(names)
    assert out.endswith(f"record: {file}\n")
    speeds = [float(row[4].replace(",", "")) for row in rows(out)]
    assert speeds == sorted(speeds, reverse=True)


def test_the_table_is_sorted_and_compared_with_the_first_name(capsys, raced):
    status, out, _ = run(
        capsys, "bench", "race", "convmixer", "splitmixer_i", *MODEL, "--rounds", 3
    )
    assert status == 0
    split = "splitmixer_i|float32, contiguous|1,000|[750 1,250]|64|2.0 MiB|2.00×|[2.00 2.00]"
    conv = "convmixer|float32, contiguous|2,000|[1,500 2,500]|32|2.0 MiB|1.00×|[1.00 1.00]"
    assert ["|".join(row) for row in rows(out)] == [split, conv]
    assert "times as fast as convmixer (float32, contiguous), round by round" in out
    assert [case.batch for case in raced] == [64, 64]


def test_models_for_images_of_other_sizes_say_so(capsys, raced):
    _, out, _ = run(capsys, "bench", "race", "convmixer_256_8", "convmixer_256_8_224")
    assert [row[0] for row in rows(out)][::-1] == [
        "convmixer_256_8 at 32×32",
        "convmixer_256_8_224 at 224×224",
    ]


def test_every_way_that_is_asked_for(capsys, raced):
    layouts, dtypes = "channels_last,contiguous", "float32,bfloat16"
    flags = ("--layout", layouts, "--dtype", dtypes, "--compile", "--fast", "--peers")
    assert run(capsys, "bench", "race", "splitmixer_ii", *MODEL, *flags, "--segments", 4)[0] == 0
    assert [case.description for case in raced[:9]] == [
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
    again = [case.description.replace("float32", "bfloat16") for case in raced[:9]]
    assert [case.description for case in raced[9:]] == again
    options = {"dim": 8, "depth": 1, "patch_size": 4, "segments": 4}
    assert all(case.options == options and case.image_size == 8 for case in raced)


def test_compiled_in_several_ways(capsys, raced):
    flags = ("--train", "--compile", "--shifted", "--one-matrix")
    run(capsys, "bench", "race", "splitmixer_ii", *QUICK, *flags)
    run(capsys, "bench", "race", "splitmixer_ii", *QUICK, *flags, "--by-block")
    assert [case.description.replace(", contiguous", "") for case in raced] == [
        "float32",
        "float32, compiled",
        "shifted sums, float32, compiled",
        "one matrix, float32",
        "one matrix, float32, compiled",
        "one matrix, shifted sums, float32, compiled",
        "float32",
        "float32, compiled by block",
        "shifted sums, float32, compiled by block",
        "one matrix, float32",  # it is made beside the blocks, so it is not compiled with one
    ]


def test_the_task_and_the_mode_of_compilation(capsys, raced):
    run(capsys, "bench", "race", "convmixer", *QUICK, "--train", "--compile-mode", "max-autotune")
    assert [(case.task, case.form.compile, case.compile_mode) for case in raced] == [
        ("training", False, "default"),
        ("training", True, "max-autotune"),
    ]


def test_without_a_compiler_the_plain_forms_race_all_the_same(capsys, raced, monkeypatch):
    prepare = bench.prepare_case

    class InvalidCxxCompiler(RuntimeError):
        __module__ = "torch._inductor.exc"

    def without_a_compiler(case, device):
        if case.form.compile:
            raise InvalidCxxCompiler("No working C++ compiler found\nin a long list")
        return prepare(case, device)

    monkeypatch.setattr(bench, "prepare_case", without_a_compiler)
    names = ("convmixer", "splitmixer_i")
    status, out, err = run(capsys, "bench", "race", *names, *QUICK, "--compile")
    assert status == 0 and [row[1] for row in rows(out)] == ["float32, contiguous"] * 2
    assert err.count("\n") == 1
    assert "what is compiled is left out: it cannot be run here: No working C++ compiler" in err


def test_peers_that_are_not_there(capsys, raced, monkeypatch):
    monkeypatch.setattr(peers, "timm_is_installed", lambda: False)
    status, _, err = run(capsys, "bench", "race", "splitmixer_i_ablated", *QUICK, "--peers")
    assert status == 0 and [case.implementation for case in raced] == ["mixerlib"]
    assert "timm is not installed, so its models are left out" in err
    assert "nobody else's splitmixer_i_ablated" in err


@pytest.mark.skipif(not peers.timm_is_installed(), reason="timm is not installed")
def test_what_is_to_be_said_of_a_case_stands_below(capsys, raced):
    _, out, _ = run(capsys, "bench", "race", "convmixer", *QUICK, "--peers")
    assert [case.implementation for case in raced] == ["mixerlib", "listing", "timm"]
    assert out.endswith("\nconvmixer (timm, float32, contiguous): a detail\n")


def test_the_time_is_passed_on(capsys, raced):
    _, out, _ = run(capsys, "bench", "race", "convmixer", *QUICK, "--rounds", 9, "--minutes", 0.5)
    assert ", 3 rounds" in out


@pytest.fixture
def small_gauge(monkeypatch):
    """What a machine can do at best, on sizes that are quick here."""
    monkeypatch.setattr(machine_module, "SIDES", (8,))
    monkeypatch.setattr(machine_module, "LARGE_COPY", {"cpu": 4096, "other": 4096})


def test_the_roofline_of_models(capsys, tmp_path, small_gauge):
    file = tmp_path / "roofline.json"
    names = ("splitmixer_i", "convmixer")
    status, out, err = run(
        capsys, "bench", "roofline", *names, *QUICK, "--depth", 3, "--json", file
    )
    assert (status, err) == (0, "")
    race = read_roofline_race(file)
    assert [report.model for report in race.reports] == list(names)
    report = race.reports[0]
    assert report.machine.matrix_side == 8 and len(report.whole.runs) == 2
    assert re.search(r"blocks\.\*\.mixing\.mixer +Conv2d +× 3 ", out)
    assert out.count("sum of two such maps") == 2
    best = sum(part.predicted for part in report.parts)
    fused = sum(part.fused for part in report.parts)
    last = next(line for line in out.splitlines() if line.startswith("all "))
    assert [float(word) for word in last.split()[1:3]] == pytest.approx(
        [1e3 * best, 1e3 * fused], abs=0.006
    )


def test_the_roofline_of_a_model_without_formulas(capsys, small_gauge):
    status, out, _ = run(capsys, "bench", "roofline", "splitmixer_i_ablated", *QUICK)
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
    arguments = ("bench", "matrix", file, "--records", folder, "--rounds", 1, "--force")
    status, out, err = run(capsys, *arguments, "--minutes", 1e-9)
    assert (status, err) == (0, "") and "0 of 2 races have a record" in out
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (0, "") and "2 of 2 races have a record" in out
    reports = {path.name: read_benchmark(path) for path in folder.rglob("*.json")}
    assert set(reports) == {"convmixer-k3-float32.json", "convmixer-k5-float32.json"}
    for name, report in reports.items():
        assert f"{report.name}.json" == name
        layouts = [result.case.form.channels_last for result in report.results]
        assert layouts == [LAYOUTS[name] for name in MATRIX["layouts"]]
    monkeypatch.setattr(bench, "benchmark", None)  # nothing is left to be measured
    assert run(capsys, *arguments)[1].strip().startswith("2 of 2 races have a record")
    message = refusal(capsys, *arguments, "--batch", 3)
    assert "convmixer-k3-float32.json holds other measurements" in message


def test_a_case_of_the_matrix_that_cannot_be_run_is_left_out(capsys, tmp_path, monkeypatch):
    prepare = bench.prepare_case

    def fail(case, device):
        if case.form.channels_last:
            raise RuntimeError("no such kernel")
        return prepare(case, device)

    monkeypatch.setattr(bench, "prepare_case", fail)
    file = tmp_path / "matrix.yaml"
    file.write_text(yaml.safe_dump({"races": [MATRIX | {"kernel_sizes": [3]}]}))
    arguments = ("bench", "matrix", file, "--records", tmp_path, "--rounds", 1, "--force")
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
        capsys, "bench", "matrix", file, *tiny, "--rounds", 1, "--records", tmp_path, "--force"
    )
    assert (status, err) == (0, "") and "42 of 42 races have a record" in out
    assert "left out" not in out
    assert len(list(tmp_path.rglob("*.json"))) == 42


RACE = {
    "name": "all",
    "models": ["convmixer", "splitmixer_i"],
    "options": {"dim": 4, "depth": 1, "patch_size": 2},
    "layouts": ["contiguous", "channels_last"],
    "batch": 2,
    "image_size": 4,
}


def test_a_race_of_two_tasks_says_which_row_is_of_which(capsys, tmp_path, small_gauge):
    file = tmp_path / "races.yaml"
    file.write_text(yaml.safe_dump({"races": [RACE, RACE | {"task": "training"}]}))
    words = ("--records", tmp_path, "--rounds", 1, "--force")
    _, out, _ = run(capsys, "bench", "races", file, *words)
    assert out.split("\n")[1].startswith("inference and training, batches of 2 images")
    assert {row[1].split(", ")[0] for row in rows(out)} == {"inference", "training"}


def test_races_of_many_models(capsys, tmp_path, monkeypatch, small_gauge):
    """Really raced, on tiny models, with the rates of the machine; and again with memory kept."""
    file, folder = tmp_path / "races.yaml", tmp_path / "records"
    file.write_text(yaml.safe_dump({"races": [RACE, RACE | {"name": "other", "batch": 1}]}))
    arguments = ("bench", "races", file, "--records", folder, "--rounds", 2, "--force")
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (0, "") and "2 of 2 races have a record" in out
    reports = {path.name: read_benchmark(path) for path in folder.rglob("races/*.json")}
    assert {name: report.name for name, report in reports.items()} == {
        "all.json": "all",
        "other.json": "other",
    }
    report = reports["all.json"]
    assert report.models == ["convmixer", "splitmixer_i"] and len(report.results) == 4
    assert all(len(result.seconds.runs) == 2 for result in report.results)
    assert report.machine.matrix_side == 8 and report.load.forced == report.load.busy
    assert report.machine.copied_bytes == 4 * 2 * 4 * 2 * 2  # bytes, images, channels, places
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "8589934592")
    assert run(capsys, *arguments, "--only", "other")[0] == 0
    assert read_benchmark(next(folder.rglob("other-kept.json"))).name == "other-kept"
    assert "`only`='third' must be one of" in refusal(capsys, *arguments, "--only", "third")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(bench, "benchmark", None)  # nothing is left to be measured
    assert run(capsys, *arguments)[1].startswith("2 of 2 races have a record")


def test_a_busy_machine_writes_no_record(capsys, tmp_path, monkeypatch, raced):
    """Refused before anything is raced; and after, where it became busy meanwhile."""
    busy, quiet = Load(2.0, 2, 0.5), Load(0.0, 2, 0.0)
    monkeypatch.setattr(load_module, "load_now", lambda: busy)
    file = tmp_path / "race.json"
    command = ("bench", "race", "convmixer", *QUICK[:-1], "--json", file)
    assert "this machine is busy: other programs took 50%" in refusal(capsys, *command)
    assert not raced and run(capsys, *command[:-2])[0] == 0  # without a record nothing is asked
    monkeypatch.setattr(load_module, "load_now", lambda: quiet)
    monkeypatch.setattr(bench.Watch, "load", lambda self: busy)
    status, out, err = run(capsys, *command)
    assert status == 2 and "convmixer" in out and "or use --force" in err and not file.exists()
    assert run(capsys, *command, "--force")[0] == 0
    assert read_benchmark(file).load == Load(2.0, 2, 0.5, forced=True)
    listed = tmp_path / "races.yaml"
    listed.write_text(yaml.safe_dump({"races": [RACE | {"name": name} for name in ("a", "b")]}))
    monkeypatch.setattr(bench, "_gauge_of", lambda case, device: None)
    status, out, err = run(capsys, "bench", "races", listed, "--records", tmp_path)
    assert status == 2 and "0 of 2 races have a record" in out
    assert err.count("is not recorded: this machine is busy") == 2
    assert list(tmp_path.rglob("*.json")) == [file]


def test_table_3(capsys, tmp_path, raced):
    file = tmp_path / "table3.json"
    status, out, err = run(capsys, "bench", "table3", *QUICK, "--dim", 16, "--json", file)
    assert (status, err) == (0, "")
    assert out.startswith("SplitMixer's table 3: batches of 2 images of 8×8, float32, dim 16")
    table = rows(out)[1:]
    assert [row[0] for row in table][:2] == [
        "convmixer_256_8_224",
        "splitmixer_i_256_8_224 ratio=2/3",
    ]
    assert len(table) == len(TABLE_3) == 18
    assert table[1][4] == "2.00×" and table[17][4] == "131072.00×"  # each twice the one before
    assert len(read_benchmark(file).results) == 36
    assert "mean of 2\n" in out and "median of 2 rounds" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["race"], "the following arguments are required: NAME"),
        (["roofline"], "the following arguments are required: NAME"),
        (["convmixer"], "invalid choice: 'convmixer' (choose from"),
        (["race", "convmixr"], "did you mean convmixer"),
        (["race", "convmixer", "--dtype", "int8"], "`dtype`='int8' must be one of 'float32'"),
        (["race", "convmixer", "--layout", "NHWC"], "`layout`='NHWC' must be one of 'contiguous'"),
        (
            ["race", "convmixer", "--compile-mode", "best"],
            "`compile_mode`='best' must be one of 'default'",
        ),
        (["race", "convmixer", "--batch", "0"], "`batch`=0 must be at least 1"),
        (["race", "convmixer", "--batch", "two"], "argument --batch: invalid int value: 'two'"),
        (["race", "convmixer", "--rounds", "0"], "`rounds`=0 must be at least 1"),
        (["race", "convmixer", "--minutes", "0"], "`minutes`=0 must be above 0"),
        (["race", "convmixer", "--minutes", "nan"], "`minutes`=nan must be above 0"),
        (["race", "convmixer", "--device", "abacus"], "`device`='abacus' must be cpu, cuda"),
        (["race", "convmixer", "--segments", "2"], "`segments`=2 is not an option of 'convmixer'"),
        (["race", "convmixer", "--image-size", "33"], "`patch_size`=2 must divide"),
        (["race", "convmixer", "--train", "--fast"], "--fast is for inference"),
        (["race", "convmixer", "--one-matrix"], "is for a SplitMixer"),
        (["race", "convmixer", "--shifted"], "--shifted and --by-block are for what is compiled"),
        (["race", "convmixer", "--record", "a.json"], "did you mean --rounds or --"),
        (["roofline", "convmixer", "convmixer"], "must name at least one, and each once"),
        (["roofline", "convmixer", "--fast"], "`--fast` is not an argument of"),
        (["roofline", "convmixer", "--dtype", "int8"], "`dtype`='int8' must be one of"),
        (["roofline", "convmixer", "--rounds", "0"], "`rounds`=0 must be at least 1"),
        (["races", "--json", "a.json"], "`--json` is not an argument of `mixerlib bench races`"),
        (["races", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["matrix", "--json", "a.json"], "`--json` is not an argument of `mixerlib bench matrix`"),
        (["matrix", "--minutes", "0"], "`minutes`=0 must be above 0"),
        (["matrix", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["table3", "--train"], "`--train` is not an argument of `mixerlib bench table3`"),
        (["table3", "convmixer"], "`convmixer` is not an argument of `mixerlib bench table3`"),
        (["table3", "--batch", "0"], "`batch`=0 must be at least 1"),
    ],
)
def test_refusals(capsys, arguments, words):
    assert words in refusal(capsys, "bench", *arguments)


@pytest.mark.parametrize(
    "words",
    [
        ("race", "convmixer", "--json", "{}/race.json"),
        ("roofline", "convmixer", "--json", "{}/roofline.json"),
        ("table3", "--json", "{}/table3.json"),
        ("matrix", ROOT / "book" / "sweeps" / "bench_matrix.yaml", "--records", "{}"),
        ("races", ROOT / "book" / "sweeps" / "bench_races.yaml", "--records", "{}"),
    ],
    ids=lambda words: words[0],
)
def test_a_record_that_cannot_be_written_is_refused_before_the_race(
    capsys, tmp_path, monkeypatch, words
):
    def race(*arguments, **options):
        raise AssertionError("it is measured all the same")

    for module, name in ((bench, "benchmark"), (roofline_runs, "_run")):
        monkeypatch.setattr(module, name, race)
    monkeypatch.setattr(published_table3, "_in_a_row", race)
    (tmp_path / "file").write_text("")
    words = [str(word).replace("{}", str(tmp_path / "file")) for word in words]
    message = refusal(capsys, "bench", *words, "--rounds", 1, "--force")
    assert "file" in message


def test_a_folder_of_records_has_a_name(capsys):
    for name in ("matrix", "races"):
        assert "'' must name a folder" in refusal(capsys, "bench", name, "--records", "")


def test_the_record_is_plain_json(capsys, raced, tmp_path):
    file = tmp_path / "race.json"
    run(capsys, "bench", "race", "splitmixer_i", *QUICK, "--ratio", "3/5", "--json", file)
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["schema"] == "mixerlib benchmark 3" and content["name"] == "splitmixer_i"
    assert content["results"][0]["case"]["options"]["ratio"] == "3/5"
