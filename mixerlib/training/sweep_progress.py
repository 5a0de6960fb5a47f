"""What a sweep has done, what it has left, and how long that will take on this device.

>>> from pathlib import Path
>>> from mixerlib.training import Sweep, read_sweep, remaining
>>> recipes = read_sweep("book/sweeps/cpu.yaml")
>>> rows = remaining(Sweep(recipes, Path("book/records"), Path("runs")), "cpu")
>>> rows[0].recipe.name, rows[0].done
('cpu/convmixer_64_4', 3)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mixerlib.pages import audit
from mixerlib.records import Record, provenance, read_record
from mixerlib.training.device_check import Answer, macs_of
from mixerlib.training.distributed import choose_device
from mixerlib.training.recipe import Recipe
from mixerlib.training.sweep import Sweep


@dataclass(frozen=True)
class Remaining:
    """A recipe of a sweep, and how far it has come.

    Args:
        recipe: the first of its runs.
        done: runs with a record.
        left: runs without one.
        minutes: that a run is expected to take here; None where nothing is known.
        measured: whether that is the time of runs on this device, and not an estimate.
    """

    recipe: Recipe
    done: int
    left: int
    minutes: float | None
    measured: bool


def remaining(
    sweep: Sweep, device: str | None = None, speed: Answer | None = None
) -> list[Remaining]:
    """Every recipe of a sweep, in its order, with the minutes that a run is expected to take.

    They are those of a recipe's records on the same device, in the middle; where there are none,
    an estimate from the self-test's images a second: a model with twice the MACs takes twice as
    long. `device` is one that `choose_device` knows, `speed` the self-test's answer on training.
    """
    name = provenance(choose_device(device)).device_name
    rows: dict[str, list[Recipe]] = {}
    for recipe in sweep.recipes:
        rows.setdefault(recipe.name, []).append(recipe)
    return [_of_recipe(runs, sweep, name, speed) for runs in rows.values()]


def _of_recipe(
    runs: Sequence[Recipe], sweep: Sweep, device: str, speed: Answer | None
) -> Remaining:
    places = [sweep.record_file(run) for run in runs]
    records = [read_record(place) for place in places if place.exists()]
    here = [_minutes(record) for record in records if record.provenance.device_name == device]
    expected = median(here) if here else _estimate(runs[0], speed)
    return Remaining(runs[0], len(records), len(runs) - len(records), expected, bool(here))


def _minutes(record: Record) -> float:
    return record.total_seconds / 60


def _estimate(recipe: Recipe, speed: Answer | None) -> float | None:
    """Minutes of a recipe's training, by the speed of another model's."""
    if speed is None or not speed.images_per_second or not speed.macs:
        return None
    if recipe.dataset not in audit.IMAGES:
        return None
    images, _ = audit.IMAGES[recipe.dataset]
    as_much = recipe.epochs * images * macs_of(recipe) / speed.macs
    return as_much / speed.images_per_second / 60


def remaining_table(rows: Sequence[Remaining]) -> str:
    """The rows as text in columns, and a last line with the sums."""
    width = max([len("recipe"), *(len(row.recipe.name) for row in rows)])
    lines = [f"{'recipe':{width}}  done  left  minutes a run"]
    for row in rows:
        if row.minutes is None:
            minutes = "not known"
        else:
            minutes = f"{'' if row.measured else 'about '}{row.minutes:,.1f}"
        lines.append(f"{row.recipe.name:{width}}  {row.done:4}  {row.left:4}  {minutes:>13}")
    done, left = sum(row.done for row in rows), sum(row.left for row in rows)
    known = sum(row.left * row.minutes for row in rows if row.minutes is not None)
    unknown = sum(row.left for row in rows if row.minutes is None)
    lines.append(
        f"{done} of {done + left} runs are done, {left} are left"
        + (f", about {known:,.0f} minutes here" if left > unknown else "")
        + (f"; how long {unknown} of them take is not known" if unknown else "")
    )
    return "\n".join(lines)
