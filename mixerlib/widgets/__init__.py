"""Widgets for a notebook with a kernel behind it: JupyterLab, VS Code, Colab. They need ipywidgets,
7.7 or later, an extra: `pip install "mixerlib[widgets]"`.

>>> from mixerlib.models import create_model
>>> from mixerlib.widgets import Explore
>>> explorer = Explore(create_model("convmixer", dim=16, depth=2, patch_size=2))
>>> sorted(explorer.controls)  # at the end of a cell, `explorer` is the widget
['blocks', 'image', 'layer', 'view']

On a page of the book, which no kernel stands behind, the same objects are still figures.
"""

from mixerlib.widgets.augmentation import AugmentationTable
from mixerlib.widgets.desk import TrainingDesk
from mixerlib.widgets.explore import Explore
from mixerlib.widgets.runs import ThreadedRun
from mixerlib.widgets.showing import on_a_page

__all__ = [
    "AugmentationTable",
    "Explore",
    "ThreadedRun",
    "TrainingDesk",
    "on_a_page",
]
