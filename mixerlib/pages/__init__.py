"""What the book's pages show: figures, the explorer, the audit of the published numbers."""

from mixerlib.pages import audit, plots, tables
from mixerlib.pages.audit import VERDICTS, Entry, Published, Verdict
from mixerlib.pages.explorer import Explorer

__all__ = [
    "VERDICTS",
    "Entry",
    "Explorer",
    "Published",
    "Verdict",
    "audit",
    "plots",
    "tables",
]
