"""Colab has ipywidgets 7.7: no widget of ours uses a class or an argument that it lacks.

`ipywidgets_7_7.json` has the classes of 7.7.1 that ours are made of, with the names that each
takes. With that version installed, it is written by

    python tests/widgets/test_older_ipywidgets.py >tests/widgets/ipywidgets_7_7.json

That they work with it is tested where it is installed (test_showing.py). This needs none of it.
"""

import json
from pathlib import Path

import pytest

USED = ("Button", "Checkbox", "Dropdown", "HBox", "HTML", "IntRangeSlider", "IntSlider", "Layout")
USED = (*USED, "SelectMultiple", "Text", "ToggleButtons", "VBox")
FILE = Path(__file__).with_name("ipywidgets_7_7.json")


class Recording:
    """ipywidgets, and a note of each class that is made, with the names of its arguments."""

    def __init__(self, kit):
        self.kit, self.used = kit, {}

    def __getattr__(self, name):
        def make(*values, **options):
            self.used.setdefault(name, set()).update(options)
            return getattr(self.kit, name)(*values, **options)

        return make


def test_nothing_is_used_that_colabs_version_lacks(monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets", reason="needs the extra `widgets`")
    from test_showing import made

    from mixerlib.widgets import augmentation, desk, explore

    kit = Recording(ipywidgets)
    for room in (augmentation, desk, explore):
        monkeypatch.setattr(room, "toolkit", lambda: kit)
    for widget in made().values():
        assert widget.box.children
    older = json.loads(FILE.read_text(encoding="utf-8"))
    assert older["version"] == "7.7.1" and {*kit.used, "Checkbox"} == {*USED}
    for name, options in kit.used.items():
        assert options <= {*older["classes"][name]}, name
    assert "display" in older["classes"]["Layout"]  # which Explore changes
    newer = {*ipywidgets.IntSlider.class_trait_names()} - {*older["classes"]["IntSlider"]}
    assert ipywidgets.__version__.startswith("7.") or newer  # so the test can fail


if __name__ == "__main__":
    import ipywidgets

    every = {name: getattr(ipywidgets, name).class_trait_names() for name in USED}
    names = {name: sorted(n for n in those if n[0] != "_") for name, those in every.items()}
    print(json.dumps({"version": ipywidgets.__version__, "classes": names}, indent=1))
