"""How a command ends: with which status, in how many lines, and with what left of its streams."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import ENVIRONMENT, refusal, run

from mixerlib import cli
from mixerlib.cli import COMMANDS, errors, main
from mixerlib.cli.options import print_json
from mixerlib.training import Diverged

POSIX = pytest.mark.skipif(os.name != "posix", reason="descriptors are POSIX's")
TINY = "train digits --epochs 1 --dim 8 --depth 1 --out run"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess:
    """A line of a shell, in which `mixerlib` is this one, and which ends as that has ended."""
    command = f'mixerlib() {{ {sys.executable} -m mixerlib "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )


# Streams


@POSIX
@pytest.mark.parametrize(
    "streams",
    ["2>&-", "> /dev/null 2>&1 <&- >&- 2>&-", "| true; exit ${PIPESTATUS[0]}"],
    ids=["no stderr", "none at all", "the reader has gone"],
)
def test_training_goes_on_without_its_streams(tmp_path, streams):
    answer = shell(f"mixerlib {TINY} {streams}", tmp_path)
    assert answer.returncode == 0 and answer.stderr == ""
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["metrics.jsonl", "model.safetensors", "record.json"]
    json.loads((tmp_path / "run" / "record.json").read_text())  # and nobody has printed into it


@POSIX
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("mixerlib --help >&-", 0),
        ("mixerlib --help | true; exit ${PIPESTATUS[0]}", 0),
        ("mixerlib lst 2>&-", 2),
        ("mixerlib lst <&- >&- 2>&-", 2),
    ],
)
def test_a_closed_stream_is_no_error(tmp_path, line, status):
    answer = shell(line, tmp_path)
    assert (answer.returncode, answer.stderr) == (status, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_what_a_full_disk_does_not_take_is_an_error(tmp_path):
    answer = shell("mixerlib --help > /dev/full", tmp_path)
    assert answer.returncode == 2
    assert answer.stderr == "mixerlib: standard output: No space left on device\n"


def test_streams_that_somebody_has_put_in_place_stay(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert sys.stdout is text and text.getvalue().startswith("mixerlib ")


# Errors


class _Compiler(RuntimeError):
    __module__ = "torch._inductor.exc"


MACHINE = [
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((10**11,), np.dtype("float64")),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate"
                 " memory: you tried to allocate 4 bytes. Error code 12 (Cannot allocate memory)"),
    RuntimeError("DataLoader worker (pid(s) 123) exited unexpectedly"),
    RuntimeError("DataLoader worker (pid 123) is killed by signal: Killed. "),
    RuntimeError("can't start new thread"),
    RuntimeError("Could not determine home directory."),
    KeyError("getpwuid(): uid not found: 1234"),
    RuntimeError("Found no NVIDIA driver on your system. Please check"),
    torch.distributed.DistNetworkError("The server socket has failed to listen: EADDRINUSE"),
    _Compiler("\nNo working C++ compiler found\nmany more lines"),
    ModuleNotFoundError("No module named 'sklearn'", name="sklearn.datasets"),
    OSError(28, "No space left on device"),
    ValueError("`dim`=0 must be\na positive whole number"),
    Diverged("the loss is not finite"),
]  # fmt: skip
BUGS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
    RecursionError("maximum recursion depth exceeded"),
    KeyError("test_accuracy"),
    TypeError("unhashable type: 'list'"),
    AttributeError("'NoneType' object has no attribute 'shape'"),
    ZeroDivisionError("division by zero"),
    OverflowError("int too large to convert to float"),
    IndexError("list index out of range"),
    AssertionError(),
    ImportError("cannot import name 'x' from 'mixerlib'"),
    ModuleNotFoundError("No module named 'mixerlib.nowhere'", name="mixerlib.nowhere"),
]


def failing(monkeypatch, error: BaseException) -> None:
    """Let the command `list` end in this error."""

    def raise_it(options):
        raise error

    monkeypatch.setattr("mixerlib.cli.models.run_list", raise_it)


@pytest.mark.parametrize("error", MACHINE, ids=repr)
def test_what_is_no_bug_of_ours_is_one_line(capsys, monkeypatch, error):
    failing(monkeypatch, error)
    line = refusal(capsys, "list")  # one line, status 2
    assert line.startswith("mixerlib: ") and len(line) < 400
    assert any(word in line for word in re.findall(r"\w{5,}", str(error)) or ["memory"])


@pytest.mark.parametrize("error", BUGS, ids=repr)
def test_a_bug_shows_its_traceback_and_says_what_it_is(capsys, monkeypatch, error):
    failing(monkeypatch, error)
    status, out, err = run(capsys, "list", "--json")
    assert (status, out) == (1, "")
    assert err.startswith("Traceback") and "raise_it" in err
    assert err.endswith("please report it with the lines above, and with the command: "
                        "mixerlib list --json\n")  # fmt: skip


def test_ctrl_c(capsys, monkeypatch):
    failing(monkeypatch, KeyboardInterrupt())
    assert run(capsys, "list") == (130, "", "mixerlib: stopped by Ctrl-C\n")

    def stopped_while_importing(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", stopped_while_importing)
    assert run(capsys, "train") == (130, "", "mixerlib: stopped by Ctrl-C\n")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE='x' must be a whole number of at least 1"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE='0' must be a whole number of at least 1"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE='999"),
        ({"RANK": "-1"}, "RANK='-1' must be a whole number of at least 0"),
        ({"RANK": "2"}, "RANK=2 must be below WORLD_SIZE=2"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT='http' must be a whole number of at least 0"),
        ({"MASTER_ADDR": "nowhere.invalid"}, "MASTER_ADDR='nowhere.invalid' must be the name or"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR='' must be the name or the address of a machine"),
        ({"MASTER_ADDR": "a" * 5000}, "MASTER_ADDR='aaa"),
        ({"MASTER_ADDR": "a..b"}, "MASTER_ADDR='a..b' must be the name or the address"),
        ({"MASTER_ADDR": "\udcff"}, "MASTER_ADDR='\\udcff' must be the name or the address"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value)[:30],
)
def test_an_odd_environment_is_named(capsys, tmp_path, monkeypatch, variables, message):
    for name, value in ({"RANK": "0", "WORLD_SIZE": "2"} | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert f"the environment variable {message}" in refusal(capsys, "train", "digits")
    if "WORLD_SIZE" in variables:
        (tmp_path / "a.yaml").write_text("runs: [{recipes: [digits], seeds: [0]}]")
        assert message in refusal(capsys, "sweep", "a.yaml")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("nowhere.pt", "nowhere.pt: No such file or directory"),
        ("readme.md", "`weights`='readme.md' must end in"),
        ("~nobody_of_this_name/a.pt", "`weights`"),
    ],
)
def test_the_weights_of_a_recipe_are_called_so(capsys, tmp_path, monkeypatch, weights, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readme.md").write_text("no weights")
    assert message in refusal(capsys, "train", "digits", "--weights", weights, "--quiet")


def test_a_model_is_called_what_it_was_asked_for_as(capsys):
    wrong = "='convmixr' is no model of mixerlib; did you mean convmixer"
    assert f"`model`{wrong}" in refusal(capsys, "train", "digits", "--model", "convmixr")
    assert f"`model`{wrong}" in refusal(capsys, "import", "a.pt", "--model", "convmixr")
    assert f"`model`{wrong}" in refusal(capsys, "bench", "race", "convmixr")
    assert f"`name`{wrong}" in refusal(capsys, "cost", "convmixr")


def test_help_says_what_each_status_means(capsys):
    _, text, _ = run(capsys, "--help")
    for status in ("0    done", "1    a bug", "2    a mistake", "130  stopped by Ctrl-C"):
        assert f"  {status}" in text
    assert (errors.DONE, errors.BUG, errors.MISTAKE, errors.STOPPED) == (0, 1, 2, 130)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ulimit -v is Linux's")
def test_too_little_memory_is_one_line(tmp_path):
    limit = 4 if torch.version.cuda is None else 16  # GiB of addresses: torch alone takes most
    line = f"mixerlib cost convmixer && mixerlib import a.pt --model convmixer --dim {2**17}"
    answer = shell(f"ulimit -v {limit * 2**20}; {line}", tmp_path)
    assert answer.returncode == 2 and len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("mixerlib: there is too little memory")


# Arguments


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--json=--", "--dim=--", "--quiet=--", "--nonsense=--"])
def test_two_dashes_are_no_value(capsys, name, flag):
    assert f"`{flag}` has no value" in refusal(capsys, name, flag)


@pytest.mark.parametrize("word", ["--json", "--nonsense", "--dim=8"])
def test_a_flag_before_the_command_is_one_line(capsys, word):
    assert f"`{word}` must come after the command" in refusal(capsys, word, "list")


def test_an_unknown_argument_is_one_line_of_a_bearable_length(capsys):
    assert "`--a b` is not an argument of `mixerlib list`" in refusal(capsys, "list", "--a\nb")
    for arguments in (
        ["list", "--" + "x" * 10**5],
        ["x" * 10**5],
        ["cost", "convmixer", "--dim", "x" * 10**5],
        ["cost", "convmixer", "--dim", "9" * 5000],
        ["cost", "x" * 10**5],
        ["train", "x" * 10**5],
        ["train", "digits", "--epochs", "9" * 5000],
        ["train", "digits", "--checkpoint-every", "9" * 5000],
        ["bench", "race", "convmixer", "--rounds", "9" * 5000],
    ):
        assert len(refusal(capsys, *arguments)) < 1200


def test_json_has_no_nan(capsys):
    print_json({"loss": float("nan"), "all": [1.5, float("inf"), ("×",)], "n": 3})
    out = capsys.readouterr().out
    assert json.loads(out) == {"loss": None, "all": [1.5, None, ["×"]], "n": 3}
    assert "NaN" not in out and "Infinity" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["cost", "convmixer", "convmixr", "--json"],
        ["cost", "convmixer", "--json", "--segments", 2],
        ["evaluate", "nowhere", "--json"],
        ["list", "--json", "--nonsense"],
    ],
)
def test_what_fails_prints_no_half_of_its_json(capsys, arguments):
    refusal(capsys, *arguments)  # which holds that nothing is on standard output


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "race", "convmixer", "--json"],
        ["bench", "roofline", "convmixer", "--json"],
        ["bench", "table3", "--json"],
        ["bench", "matrix", "--records"],
        ["import", "nowhere.pt", "--model", "convmixer", "--out"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    capsys, tmp_path, monkeypatch, arguments
):
    monkeypatch.setattr("mixerlib.speed.timing.race", lambda *_, **__: pytest.fail("it ran"))
    (tmp_path / "file").write_text("")
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(
        "races:\n- {models: [convmixer], options: {}, kernel_sizes: [3], dtypes: [float32], "
        "layouts: [contiguous], batch: 1, image_size: 8}\n"
    )
    if arguments[1] == "matrix":
        arguments = [*arguments[:2], matrix, *arguments[2:]]
    line = refusal(capsys, *arguments, tmp_path / "file" / "a.safetensors")
    assert "could not be written (Not a directory)" in line
