"""What of the five documents could not be tried as it stands, and for want of what: a table.

>>> from assets import command_rows, untried_table
>>> rows = command_rows.read_rows(command_rows.BOOK / "commands.yaml")
>>> untried_table.rows({"weights": rows["weights"]}, [])
[['<a href="#command-weights">Read the three published checkpoints</a>', 'the weights', '–']]
"""

from collections.abc import Mapping, Sequence
from html import escape

from assets.command_rows import DATA, Row, datasets_of
from assets.command_runs import is_smaller, is_whole
from assets.command_table import anchor

from mixerlib.pages import listed
from mixerlib.records import Record

HEAD = ["what", "for want of", "smaller, with a record"]
HERE = ("cifar10", "cifar100", "digits")  # the data sets with which the book's runs were made


def rows(rows: Mapping[str, Row], records: Sequence[Record]) -> list[list[str]]:
    """Each row that wants something and has no run as it is; what it lacks; and whether a run at a
    size for a CPU, or on another device, stands in its place.
    """
    return [
        [
            f'<a href="#{anchor(row)}">{escape(row.title, quote=False)}</a>',
            listed(wants(row)),
            "yes" if is_smaller(row, records) else "–",
        ]
        for row in rows.values()
        if wants(row) and not is_whole(row, records)
    ]


def wants(row: Row) -> list[str]:
    """What of a row is not here: data, weights, its own device, or the hours of a GPU that a
    training takes."""
    found = [DATA[name].title for name in datasets_of(row) if name not in HERE]
    found += ["the weights"] if row.weights else []
    found += [f"a {row.device}"] if row.device else []
    return found + (["a GPU"] if row.trains or row.by_timm else [])
