"""The ways round: which results of a network's steps go past the rows below them, and where to.

The rows of a drawing follow one another downward, each taking what the one above has made. What a
row takes from further up comes on a rail beside the strip: on the left where the result also goes
on to the next row, as round a residual; on the right where it waits while another branch is made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes

from mixerlib.pages.colors import GREY
from mixerlib.pages.step import Step

SMALL = ("act", "norm")  # of steps that share a row with one another
MERGES = ("sum", "product")  # of steps drawn as a circle, to which the rails lead


@dataclass
class Rail:
    """The result of a row (-1: what enters the first) on its way to rows further down.

    `entries` is filled as the rows are drawn: the height and the place where it ends, for each.
    """

    source: int
    taps: list[int]
    right: bool
    lane: int = 0
    entries: list[tuple[float, float]] = field(default_factory=list)


def rows_of(walked: Sequence[Step], first: int) -> list[list[Step]]:
    """Steps in rows: each by itself, but activations and norms that follow one another together.

    `first` is the place of the first of them among the network's steps.
    """
    rows: list[list[Step]] = []
    for place, step in enumerate(walked, first):
        follows = step.sources == (place - 1,)
        if rows and follows and step.kind in SMALL and rows[-1][-1].kind in SMALL:
            rows[-1].append(step)
        else:
            rows.append([step])
    return rows


def rails_of(rows: Sequence[Sequence[Step]], first: int) -> tuple[list[Rail], list[bool]]:
    """The rails beside the rows, each in a lane of its side; and of each row, whether it takes what
    the row above has made. Arguments are as in `rows_of`.
    """
    made, row_of, place = [{first - 1}], {first - 1: -1}, first - 1
    rails: dict[int, Rail] = {}
    flows: list[bool] = []
    for number, row in enumerate(rows):
        wanted = {max(source, first - 1) for source in row[0].sources}
        flows.append(not wanted or bool(wanted & made[-1]))
        for source in sorted(wanted - made[-1]):
            rails.setdefault(source, Rail(row_of[source], [], False)).taps.append(number)
        place += len(row)
        row_of[place] = number
        made.append({place} if wanted else {place} | made[-1])  # a parameter lets it pass
    found = sorted(rails.values(), key=lambda rail: rail.taps[-1] - rail.source)
    for number, rail in enumerate(found):
        rail.right = rail.source >= 0 and not flows[rail.source + 1]
        taken = {
            other.lane
            for other in found[:number]
            if other.right == rail.right
            and other.source < rail.taps[-1]
            and rail.source < other.taps[-1]
        }
        rail.lane = next(lane for lane in range(len(found) + 1) if lane not in taken)
    return found, flows


def lanes(rails: Sequence[Rail], right: bool) -> int:
    """How many lanes a side has."""
    return max((rail.lane + 1 for rail in rails if rail.right == right), default=0)


def enter(rails: Sequence[Rail], number: int, place: tuple[float, float], half: float) -> None:
    """Lead all rails that row `number` takes to its sides: `half` the width from its middle."""
    center, y = place
    for right in (False, True):
        mine = [rail for rail in rails if number in rail.taps and rail.right == right]
        mine.sort(key=lambda rail: rail.lane)
        for i, rail in enumerate(mine):
            apart = 7.0 * (i - (len(mine) - 1) / 2)
            rail.entries.append((y + apart, center + half * (1 if right else -1)))


def draw_rails(
    axes: Axes,
    rails: Sequence[Rail],
    starts: Sequence[float],
    center: float,
    lane_at: Callable[[Rail], float],
) -> None:
    """The rails as lines: from where row i ends, `starts[i + 1]`, along their lanes to their
    entries. A dot is where one goes on after an entry; lines that only cross have none."""
    for rail in rails:
        top, x = starts[rail.source + 1], lane_at(rail)
        last = rail.entries[-1]
        corner = center + (1 if rail.right else -1)
        axes.plot([corner, x, x, last[1]], [top, top, last[0], last[0]], color=GREY, linewidth=1)
        for y, end in rail.entries[:-1]:
            axes.plot([x, end], [y, y], color=GREY, linewidth=1)
            axes.plot([x], [y], marker="o", markersize=3, color=GREY)
