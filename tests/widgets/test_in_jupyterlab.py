"""The widgets in JupyterLab, in a Chromium, with a kernel behind them: by the mouse, as a reader
turns them, and a run that trains while another cell runs.

SHOTS=folder pytest tests/widgets/test_in_jupyterlab.py leaves a picture of the notebook there,
after the last press."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event

import pytest
from helpers import ROOT

pytestmark = pytest.mark.skipif(
    not (os.environ.get("CI") or all(map(find_spec, ("jupyterlab", "ipywidgets")))),
    reason="needs `lab` and `widgets`",
)

LONG = 180  # seconds: a machine may be busy with other things
CELLS = [
    """import torch
from mixerlib.models import create_model
from mixerlib.training import load_recipe
from mixerlib.widgets import AugmentationTable, Explore, TrainingDesk

torch.set_num_threads(1)
Explore(create_model("splitmixer_iii", dim=12, depth=2, patch_size=4))""",
    """recipe = load_recipe("digits", {"model_options": {"dim": 8, "depth": 1}, "epochs": 500})
desk = TrainingDesk(recipe, ["epochs", "batch_size"], folder="runs")
desk""",
    """print("while it trains:", desk.runs[0].state)""",
    """AugmentationTable()""",
]


@pytest.fixture
def lab(tmp_path) -> Iterator[str]:
    """The address of a JupyterLab with a notebook of these cells."""
    cells = [
        {"cell_type": "code", "id": f"c{n}", "source": source, "metadata": {}, "outputs": []}
        | {"execution_count": None}
        for n, source in enumerate(CELLS)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}}
    notebook |= {"nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "n.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR")
    folders = (*folders, "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    places = {name: str(tmp_path / name) for name in folders}
    settings = tmp_path / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)  # else cells out of sight are taken out of the page
    all_cells = json.dumps({"windowingMode": "none"})
    (settings / "tracker.jupyterlab-settings").write_text(all_cells, encoding="utf-8")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    options = {"ServerApp.port": port, "ServerApp.root_dir": tmp_path, "ServerApp.open_browser": 0}
    options |= {"IdentityProvider.token": "", "LabApp.news_url": "", "ServerApp.allow_root": 1}
    command = [sys.executable, "-m", "jupyterlab", *(f"--{k}={v}" for k, v in options.items())]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, **places, "PYTHONPATH": path}, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, server, tmp_path / "log")
        yield f"{address}/doc/tree/n.ipynb"
    finally:
        server.terminate()
        server.wait(LONG)


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(LONG * 5):
        assert server.poll() is None, log.read_text()
        with suppress(OSError):
            urllib.request.urlopen(f"{address}/api", timeout=LONG).close()
            return
        Event().wait(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture
def page(browser, lab) -> Iterator[object]:
    context = browser.new_context(viewport={"width": 1200, "height": 1600})
    context.set_default_timeout(LONG * 1000)
    page = context.new_page()
    page.goto(lab)
    yield page
    if "SHOTS" in os.environ:  # to look at
        page.screenshot(path=Path(os.environ["SHOTS"]) / "jupyterlab.png", full_page=True)
    context.close()


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def run(page, cell) -> None:
    """Run a cell by hand, and once more where a busy page has missed the keys."""
    from playwright.sync_api import TimeoutError as TooLate  # `browser` has asked for the extra

    begun = cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]"))
    for _ in range(5):
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        with suppress(TooLate):
            begun.wait_for(timeout=10_000)
            return
    raise AssertionError("the cell does not run")


def test_they_are_turned_by_hand_and_the_kernel_stays_free(page):
    cells = page.locator(".jp-CodeCell")
    cells.nth(2).wait_for()
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    run(page, cells.nth(0))
    run(page, cells.nth(1))
    page.get_by_text("SplitMixer: ").wait_for()
    page.get_by_role("button", name="Who hears whom").click()
    page.get_by_text("After 2 of 2 blocks 50% of the pairs of 12 channels").wait_for()
    page.get_by_role("button", name="Footprint").click()
    page.get_by_text(re.compile(r"The middle of blocks\.1 hears \d+ ?% of the pixels")).wait_for()
    page.get_by_role("button", name="Maps").click()
    page.get_by_text("12 of 12 channels of blocks.1 for image 0").wait_for()

    desk = cells.nth(1)
    batch = desk.get_by_label("batch_size")
    batch.fill("0")
    batch.press("Enter")
    press(page, "Start")
    desk.get_by_role("alert").get_by_text("`batch_size`=0 must be at least 1").wait_for()
    batch.fill("256")
    batch.press("Enter")
    press(page, "Start")
    desk.get_by_text("Run 1 is running").wait_for()
    run(page, cells.nth(2))
    page.get_by_text("while it trains: running", exact=True).wait_for()
    desk.locator("polyline[points*=' ']").first.wait_for()  # the curve comes meanwhile
    press(page, "Pause")
    desk.get_by_text("Run 1 is paused").wait_for()
    press(page, "Go on")
    desk.get_by_text("Run 1 is running").wait_for()
    press(page, "Stop")
    desk.get_by_text("stopped at the desk after step").wait_for()

    table = cells.nth(3)
    run(page, table)
    table.get_by_text("at magnitudes 0, 6, 12, 18, 24 and 30").first.wait_for()
    table.get_by_label("Operations").select_option(["Solarize", "Color"])
    rows = table.locator("th[scope=row]")
    rows.filter(has_text="Color").wait_for()
    assert sorted(rows.all_inner_texts()) == ["Color", "Solarize"]
