"""The page "Use it": each of its blocks is run, in order, in one folder, with small models.

A command is the page's own, with flags after it that make it small. Nothing may reach the network:
a command that would is expected to refuse in one line.
"""

import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from commands import ENVIRONMENT, SMALL, Command, is_one_line, run
from helpers import ROOT
from torch import nn

from mixerlib._torchvision import import_torchvision
from mixerlib.training import load_recipe

PAGE = (ROOT / "book" / "use-it.md").read_text(encoding="utf-8")
QUICK = (*SMALL, "--epochs", 2)
TINY = ("--dim", 8, "--depth", 1)
SEARCHED = "--no-such-flag"


def blocks(page: str, kind: str) -> list[str]:
    """The blocks of code of a page, of one language, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page, re.M | re.S)


def lines(page: str) -> list[list[str]]:
    """The commands of a page as words, without their comments."""
    return [shlex.split(line, comments=True) for line in "".join(blocks(page, "bash")).splitlines()]


def added(words: list[str]) -> tuple[object, ...]:
    """The flags that make a command small: none where it is so by itself."""
    if words[1] == "train":
        return () if "--resume" in words else QUICK
    if words[1:3] == ["bench", "race"]:
        return (*TINY, "--batch", 2, "--rounds", 2, "--force")
    return (*TINY, "--activation", "relu") if words[1] == "import" else ()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, from which the network cannot be reached."""

    def refuse(*arguments: object) -> None:
        raise socket.gaierror("no network")

    (tmp_path / "book").symlink_to(ROOT / "book")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIXERLIB_DATA", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path


def authors_file(path: Path, dim: int, depth: int, kernel: int, patch: int, classes: int) -> None:
    """A small network by ConvMixer's authors, saved as they save it."""

    class Residual(nn.Module):
        def __init__(self, fn: nn.Module):
            super().__init__()
            self.fn = fn

    def after(layer: nn.Module) -> tuple[nn.Module, ...]:
        return layer, nn.ReLU(), nn.BatchNorm2d(dim)

    def block() -> nn.Module:
        spatial = nn.Conv2d(dim, dim, kernel, groups=dim, padding="same")
        return nn.Sequential(
            Residual(nn.Sequential(*after(spatial))), *after(nn.Conv2d(dim, dim, 1))
        )

    net = nn.Sequential(
        *after(nn.Conv2d(3, dim, patch, patch)),
        *(block() for _ in range(depth)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dim, classes)),
    )
    state = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"epoch": 300, "arch": "convmixer", "state_dict": state}, path)


def run_of_mixerlib(words: list[str], capsys, folder: Path) -> None:
    """Give the command, small. What needs data from the network must say so in one line."""
    if words[1] == "import":
        authors_file(folder / words[2], 8, 1, 7, 7, 1000)
    if "--checkpoint-every" in words:  # the page goes on after it was stopped
        with Command(*words[1:], *SMALL, "--epochs", 30, folder=folder) as command:
            command.wait_for("writing to")
            command.send(signal.SIGTERM)
            assert command.end()[0] == 143
        return
    status, out, err = run(capsys, *words[1:], *added(words))
    if "--download" in words:
        assert status == 2 and is_one_line(err) and "could not be downloaded" in err, (words, err)
    else:
        assert status == 0 and (out or words[1] == "import"), (words, out, err)


def run_of_torchrun(words: list[str], folder: Path) -> None:
    """Two processes on the CPU share a small run of the digits in place of the page's recipe."""
    assert words[:5] == ["torchrun", "--nproc_per_node", "2", "-m", "mixerlib"]
    place = words.index("train") + 1
    assert load_recipe(words[place]).batch_size % 2 == 0
    digits = [*words[3:place], "digits", *words[place + 1 :], *map(str, QUICK), "--device", "cpu"]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1:3]]
    here = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*start, *digits], cwd=folder, env=here, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert '"processes": 2' in (folder / "runs" / "two" / "record.json").read_text()


def test_every_command_runs_or_refuses_in_a_line(folder, capsys, monkeypatch):
    install = lines(blocks(PAGE, "bash")[0].join(("```bash\n", "```\n")))
    given = lines(PAGE)[len(install) :]
    assert len(given) > 12
    run(capsys, "train", "digits", *SMALL, "--epochs", "1", "--out", "runs/digits")  # by a snippet
    for words in given:
        if words[0] == "mixerlib":
            run_of_mixerlib(words, capsys, folder)
        elif words[0] == "torchrun":
            run_of_torchrun(words, folder)
        else:
            assert words[0] == "export" and words[1].startswith("MIXERLIB_DATA="), words
            monkeypatch.setenv("MIXERLIB_DATA", words[1].partition("=")[2])
    assert (folder / "convmixer_768_32.safetensors").is_file()


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_every_snippet_runs_by_itself_in_order(folder, capsys, monkeypatch):
    import_torchvision()  # which timm needs
    timm = pytest.importorskip("timm")
    create: Callable = timm.create_model
    unfetched = lambda name, pretrained=False, **options: create(name, **options)  # noqa: E731
    monkeypatch.setattr(timm, "create_model", unfetched)
    snippets = blocks(PAGE, "python")
    assert len(snippets) > 4
    for snippet in snippets:
        exec(compile(snippet, "use-it.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "timm\n" in printed and "of 360 test images" in printed and "top-1" in printed
    assert (folder / "model.onnx").stat().st_size > 10_000


def test_the_lines_for_pytorch_hub_run():
    (given,) = (block for block in blocks(PAGE, "text") if "torch.hub" in block)
    imported, *lines = filter(None, given.replace("FOLDER", ROOT.as_posix()).splitlines())
    assert imported == "import torch" and len(lines) == 2
    for line in lines:
        assert isinstance(eval(line, {"torch": torch}), nn.Module)


def test_the_install_gives_the_command(folder):
    """As on the page, but that pip looks for nothing on the network and finds setuptools here."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "mixerlib"):
        (folder / name).symlink_to(ROOT / name)
    tools = folder / "tools"
    tools.mkdir()
    setuptools = pytest.importorskip("setuptools")
    site = Path(setuptools.__file__).parents[1]
    for path in site.glob("*"):
        if path.name.startswith(("setuptools", "_distutils_hack", "yaml", "_yaml")):
            (tools / path.name).symlink_to(path)
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    here = ENVIRONMENT | offline | {"PYTHONPATH": str(tools), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    block = blocks(PAGE, "bash")[0].replace("python3 ", f"{shlex.quote(sys.executable)} ")
    done = subprocess.run(
        ["bash", "-euc", block], cwd=folder, env=here, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^mixerlib \d+\.\d+\.\d+$", done.stdout, re.M), done.stdout


def test_the_extras_that_the_page_names_are_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r"\.\[(\w+)\]", PAGE))
    assert {"onnx", "tensorboard", "plots"} <= named <= set(project["optional-dependencies"])


def test_the_citation_is_that_of_the_readme_and_of_the_file_for_programs():
    (entry,) = blocks(PAGE, "bibtex")
    assert entry in (ROOT / "README.md").read_text()
    facts = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert facts["title"] in entry and facts["authors"][0]["name"] in entry
    assert facts["license"] == "MIT" and "MIT licence" in PAGE


def test_a_wrong_command_of_the_page_is_found(folder, capsys):
    page = f"```bash\nmixerlib list {SEARCHED}  # a comment\n```\n"
    (words,) = lines(page)
    assert words == ["mixerlib", "list", SEARCHED]
    with pytest.raises(AssertionError, match="no-such-flag"):
        run_of_mixerlib(words, capsys, folder)
