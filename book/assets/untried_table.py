"""What of the five documents could not be tried as it stands, and for want of what: a table.

>>> from assets import command_table, untried_table
>>> rows = command_table.read_rows(command_table.BOOK / "commands.yaml")
>>> untried_table.rows({"weights": rows["weights"]}, [])
[['<a href="#command-weights">Read the three published checkpoints</a>', 'the weights', '–']]
"""

from collections.abc import Mapping, Sequence
from html import escape

from assets.command_table import DATA, Row, anchor

from mixerlib.pages import listed
from mixerlib.records import Record
from mixerlib.training import load_recipe

HEAD = ["what", "for want of", "smaller, with a record"]
HERE = ("cifar10", "cifar100", "digits")  # the data sets with which the book's runs were made


def rows(rows: Mapping[str, Row], records: Sequence[Record]) -> list[list[str]]:
    """Each row that needs weights or a training and has no run as it is; what it lacks; and whether
    a run at a size for a CPU stands in its place.
    """
    trained = {record.recipe for record in records}
    return [
        [
            f'<a href="#{anchor(row)}">{escape(row.title, quote=False)}</a>',
            listed(wants(row)),
            "yes" if trained & {*row.smaller} else "–",
        ]
        for row in rows.values()
        if (row.recipes or row.weights) and not trained & {*row.recipes}
    ]


def wants(row: Row) -> list[str]:
    """What of a row is not here: data, weights, or the hours of a GPU that a training takes."""
    sets = dict.fromkeys(load_recipe(name).dataset for name in row.recipes)
    found = [DATA[name].title for name in sets if name not in HERE]
    found += ["the weights"] if row.weights else []
    return found + (["a GPU"] if row.trains else [])
