"""What other prints of a number say about it: the same, another value, another row's value."""

from collections import defaultdict

from mixerlib.pages.audit.counting import fits
from mixerlib.pages.audit.entries import AT_LEAST, Entry, Published, claim


def agree(one: Entry, other: Entry) -> bool:
    """Whether two printed numbers can be one and the same: the finer rounds to the coarser."""
    if AT_LEAST in one.unit + other.unit:
        return True
    coarse, fine = sorted((one, other), key=lambda e: -e.scale / 10**e.decimals)
    return fits(coarse, fine.value) is not None


def outvoted(entry: Entry, published: Published) -> bool:
    """Whether another value for the same number is printed more often than this one."""
    others = published.others(entry)
    rivals = [other for other in others if not agree(entry, other)]
    strongest = max((sum(agree(one, other) for other in rivals) for one in rivals), default=0)
    return strongest > 1 + len(others) - len(rivals)


def row_of(entry: Entry, published: Published) -> Entry | None:
    """For an accuracy that other prints contradict: the entry of another model, trained on the same
    data, whose accuracy it is."""
    claimed = claim(entry)
    if claimed is None or not outvoted(entry, published):
        return None
    quantity, described, *trained = claimed
    for (other_quantity, what, *on), prints in published.groups.items():
        if (other_quantity, on) == (quantity, trained) and what != described:
            for other in prints:
                if other.printed == entry.printed and not outvoted(other, published):
                    return other
    return None


def repeated_row(entry: Entry, published: Published) -> str | None:
    """The earlier row of the same table with the same accuracies, two at least, if there is one."""
    rows: dict[str, list[Entry]] = defaultdict(list)
    for other in published.entries.values():
        if other.table == entry.table and other.quantity == "accuracy":
            rows[other.id.rpartition("/")[0]].append(other)
    its_row = rows.get(entry.id.rpartition("/")[0], [])
    for row in rows.values():
        if row is its_row or len(its_row) < 2:
            return None
        if [e.printed for e in row] == [e.printed for e in its_row]:
            return row[0].name
    return None
