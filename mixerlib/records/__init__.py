"""The record of a run: what was set, what came out, on what, when, and with which code.

`mixerlib train` writes one as JSON; the book's tables and curves read them. None is typed by hand.
`record` says what stands in one; `parsing` reads records of any kind and holds them against their
rules; `here` says where and with which code a number is made.
"""

from mixerlib.records.here import Provenance, peak_memory, provenance
from mixerlib.records.parsing import parse_record, write_record
from mixerlib.records.record import Epoch, Part, Record, judged_on, read_record, read_records

__all__ = [
    "Epoch",
    "Part",
    "Provenance",
    "Record",
    "judged_on",
    "parse_record",
    "peak_memory",
    "provenance",
    "read_record",
    "read_records",
    "write_record",
]
