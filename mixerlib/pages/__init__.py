"""What the book's pages show: figures, pictures of networks, the explorer, the checks of
exercises, the audit of the published numbers."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from mixerlib.pages import audit, tables
from mixerlib.pages.audit import VERDICTS, Alternative, Entry, Published, PublishedLog, Verdict
from mixerlib.pages.exercises import Outcome, Row, check
from mixerlib.pages.interactives import (
    Explorer,
    Guess,
    Interactive,
    block_guess,
    how_many_seeds,
    kernel_workshop,
    live_mixer,
    live_pictures,
    news_travels,
    shuffle_guess,
    tweet_under_glass,
    where_a_pixel_goes,
    which_convention,
)
from mixerlib.pages.listings import Listing, colored_code
from mixerlib.pages.naming import name_points
from mixerlib.pages.panels import accuracy_rows, change_rows, reach_panel
from mixerlib.pages.place import book_folder
from mixerlib.pages.step import Step
from mixerlib.pages.tables import (
    ABLATIONS,
    IN_PAPER,
    LABELS,
    RELATIVE_LABELS,
    SEARCHED,
    SHORT_LABELS,
    device_label,
    digits,
    duration,
    folded,
    listed,
    machine,
    machine_name,
    percent,
    preset_label,
    prints_and_counts,
    signed,
    span,
    table,
    unbroken,
)
from mixerlib.pages.tracing import steps
from mixerlib.pages.weight_layouts import layout_rows

if TYPE_CHECKING:
    from mixerlib.pages import networks, plots

__all__ = [
    "ABLATIONS",
    "IN_PAPER",
    "LABELS",
    "RELATIVE_LABELS",
    "SEARCHED",
    "SHORT_LABELS",
    "VERDICTS",
    "Alternative",
    "Entry",
    "Explorer",
    "Guess",
    "Interactive",
    "Listing",
    "Outcome",
    "Published",
    "PublishedLog",
    "Row",
    "Step",
    "Verdict",
    "accuracy_rows",
    "audit",
    "block_guess",
    "book_folder",
    "change_rows",
    "check",
    "colored_code",
    "device_label",
    "digits",
    "duration",
    "folded",
    "how_many_seeds",
    "kernel_workshop",
    "layout_rows",
    "listed",
    "live_mixer",
    "live_pictures",
    "machine",
    "machine_name",
    "name_points",
    "networks",
    "news_travels",
    "percent",
    "plots",
    "preset_label",
    "prints_and_counts",
    "reach_panel",
    "shuffle_guess",
    "signed",
    "span",
    "steps",
    "table",
    "tables",
    "tweet_under_glass",
    "unbroken",
    "where_a_pixel_goes",
    "which_convention",
]


def __getattr__(name: str) -> ModuleType:
    """`plots` and `networks`, when they are first used: the rest of this room does without
    matplotlib, an extra."""
    if name not in ("networks", "plots"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"mixerlib.pages.{name}")
