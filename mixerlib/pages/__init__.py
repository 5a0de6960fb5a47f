"""What the book's pages show: figures, the explorer, the audit of the published numbers."""

from mixerlib.pages import audit, plots, tables
from mixerlib.pages.audit import VERDICTS, Alternative, Entry, Published, Verdict
from mixerlib.pages.explorer import Explorer
from mixerlib.pages.tables import (
    IN_PAPER,
    LABELS,
    SHORT_LABELS,
    digits,
    duration,
    listed,
    machine,
    prints_and_counts,
    signed,
    table,
)

__all__ = [
    "IN_PAPER",
    "LABELS",
    "SHORT_LABELS",
    "VERDICTS",
    "Alternative",
    "Entry",
    "Explorer",
    "Published",
    "Verdict",
    "audit",
    "digits",
    "duration",
    "listed",
    "machine",
    "plots",
    "prints_and_counts",
    "signed",
    "table",
    "tables",
]
