"""Where a widget is shown, and where its still stands: on a page, and without ipywidgets. And that
all of them work with Colab's ipywidgets."""

import os
import subprocess
import sys
from types import SimpleNamespace

import like_colab
import pytest
from helpers import ROOT, few_digits

from mixerlib.models import create_model
from mixerlib.records import read_record
from mixerlib.training import load_recipe
from mixerlib.widgets import AugmentationTable, Explore, TrainingDesk, on_a_page

pytest.importorskip("ipywidgets", reason="needs the extra `widgets`")


def made():
    """One of each."""
    model = create_model("convmixer", dim=8, depth=1, patch_size=4)
    record = read_record(ROOT / "book/records/cpu/convmixer_64_4/seed0.json")
    return {
        "explore": Explore(model, image_size=16),
        "desk": TrainingDesk(load_recipe("digits"), dataset=few_digits(), records=[record]),
        "table": AugmentationTable(),
    }


@pytest.fixture
def displayed(monkeypatch):
    """What is displayed."""
    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    return shown


every = pytest.mark.parametrize("name", ["explore", "desk", "table"])


@every
def test_a_reader_sees_the_widget(name, displayed):
    thing = made()[name]
    thing._ipython_display_()
    assert displayed == [thing.box] and not on_a_page()


@every
def test_a_page_shows_what_needs_no_kernel(name, displayed, monkeypatch):
    monkeypatch.setenv("MIXERBOOK_PAGE", "1")
    thing = made()[name]
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # which a page does not need
    thing._ipython_display_()
    assert displayed[0].data == thing.offline() and on_a_page()
    assert thing.still() in displayed[0].data and "data-interactive=" in displayed[0].data
    assert "box" not in vars(thing)


@every
def test_without_ipywidgets_a_line_says_what_to_install(name, displayed, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    thing = made()[name]
    message = "a widget needs the package ipywidgets: pip install ipywidgets"
    thing._ipython_display_()
    assert displayed[0].data == f"{thing.offline()}<p>{message}</p>"
    with pytest.raises(ValueError, match=message):
        _ = thing.box


@pytest.mark.prose
def test_the_build_says_that_it_makes_pages(monkeypatch):
    pytest.importorskip("sphinx_external_toc", reason="needs the extra `book`")
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    monkeypatch.delenv("MIXERBOOK_PAGE", raising=False)
    import mixerbook

    handlers: dict = {}
    app = SimpleNamespace(
        add_directive=lambda *_: None,
        connect=lambda event, act, **_: handlers.setdefault(event, []).append(act),
    )
    mixerbook.setup(app)
    assert mixerbook.say_that_it_is_a_page in handlers["config-inited"]
    monkeypatch.setenv("MIXERBOOK_TIMES", "live")
    mixerbook.say_that_it_is_a_page(None, None)
    assert on_a_page() and os.environ["MIXERBOOK_TIMES"] == "live"  # as it was asked for
    monkeypatch.delenv("MIXERBOOK_TIMES")
    mixerbook.say_that_it_is_a_page(None, None)
    assert os.environ["MIXERBOOK_TIMES"] == "read"
    monkeypatch.delenv("MIXERBOOK_TIMES")
    monkeypatch.delenv("MIXERBOOK_PAGE")


OLDER = """
import ipywidgets, torch
torch.set_num_threads(1)
from test_showing import made
assert ipywidgets.__version__.startswith("7.7"), ipywidgets.__version__
things = made()
for thing in things.values():
    assert thing.box.comm is not None or thing.box.children
explore, desk, table = things.values()
for view in ("costs", "reach", "footprint", "maps"):
    explore.controls["view"].value = view
    assert "role=" not in explore.shown and explore.shown, view
explore.controls["blocks"].value = 1
table.controls["operations"].value = ("Solarize",)
table.controls["magnitudes"].value = (3, 9)
assert "Solarize at magnitudes 3, 4, 5, 7, 8 and 9" in table.shown, table.shown[:300]
desk.controls["epochs"].value = "none"
desk.controls["start"].click()
assert "whole number" in desk.box.children[2].value
desk.controls["epochs"].value = "1"
desk.controls["start"].click()
desk.wait()
assert desk.runs[0].state == "finished" and "Run 1 is finished" in desk.box.children[3].value
"""


def test_all_work_with_colabs_ipywidgets(tmp_path):
    if not (like_colab.OLDER / "ipywidgets").is_dir():
        pytest.skip("Colab's packages are not here: make notebooks-tested installs them")
    path = os.pathsep.join(map(str, (like_colab.OLDER, ROOT, ROOT / "tests" / "widgets")))
    path += os.pathsep + str(ROOT / "tests")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OLDER],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
