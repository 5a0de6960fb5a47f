"""`mixerlib bench matrix`: the races that a file lists, but for those with a record."""

import argparse
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mixerlib.cli.bench.flags import (
    add_flags,
    check_flags,
    device_of,
    model_options_of,
    seconds_of,
)
from mixerlib.cli.bench.tables import race_table
from mixerlib.files import check_writable

if TYPE_CHECKING:
    import torch

    from mixerlib.speed.cases import Case

MATRIX = Path("book/sweeps/bench_matrix.yaml")


def add_matrix(measurements: argparse._SubParsersAction) -> None:
    parser = measurements.add_parser(
        "matrix",
        help="the races that a file lists, but for those with a record",
        usage="mixerlib bench matrix [FILE] [--records DIR] [--minutes N] [any option] …",
        description=(
            "Race what a file lists, race by race, and keep a record of each. A race that has a\n"
            "record is not run again, so the command can be stopped and given once more."
        ),
    )
    parser.add_argument(
        "file", metavar="FILE", type=Path, nargs="?", default=MATRIX, help=f"(default: {MATRIX})"
    )
    parser.add_argument(
        "--records",
        metavar="DIR",
        type=Path,
        default=Path("records"),
        help="where the records are kept, in bench/DEVICE (default: records)",
    )
    batch = "images in a step (default: the file's)"
    add_flags(parser, "batch", "rounds", "minutes", "device", batch=batch)
    parser.set_defaults(run=run_matrix, parser=parser)


def run_matrix(options: argparse.Namespace) -> int:
    from mixerlib.records import provenance, write_record
    from mixerlib.speed import bench, cases
    from mixerlib.speed.load import load_now, recordable, require_quiet
    from mixerlib.speed.timing import ROUNDS

    check_flags(options)
    device, seconds = device_of(options), seconds_of(options)
    until = None if seconds is None else time.monotonic() + seconds
    slug = re.sub(r"[^a-z0-9]+", "-", provenance(device).device_name.lower()).strip("-")
    folder = options.records / "bench" / slug
    races = _races(options, device)
    files = {name: folder / f"{name}.json" for name in races}
    check_writable(folder / "a record.json")
    left = [name for name in races if not cases.has_measured(files[name], races[name], device)]
    for name in list(left):
        seconds = None if until is None else until - time.monotonic()
        if seconds is not None and seconds <= 0:
            break
        if not options.force:
            require_quiet(load_now())
        rounds = options.rounds or ROUNDS
        report = bench.benchmark(
            races[name], rounds, device, name=name, seconds=seconds, leave_out=True
        )
        write_record(recordable(report, options.force), files[name])
        left.remove(name)
        text = race_table(report) if report.results else "\n".join(report.left_out)
        print(f"{name}\n{text}\n", flush=True)
    print(f"{len(races) - len(left)} of {len(races)} races have a record in {folder}")
    return 0


def _races(options: argparse.Namespace, device: "torch.device") -> "dict[str, list[Case]]":
    """The file's races, with the options of the command line instead of theirs."""
    from mixerlib.speed.matrix import read_matrix

    given, size = model_options_of(options)
    return {
        name: [
            replace(
                case,
                options=case.options | given,
                batch=options.batch or case.batch,
                image_size=size or case.image_size,
            )
            for case in cases
        ]
        for name, cases in read_matrix(options.file, device).items()
    }
