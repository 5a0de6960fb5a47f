"""`mixerlib bench matrix`: the races that a file lists, but for those with a record."""

import argparse
import time
from pathlib import Path

from mixerlib.cli.bench.flags import (
    add_flags,
    add_list,
    check_flags,
    device_of,
    folder_of_records,
    in_place_of_theirs,
    seconds_of,
)
from mixerlib.cli.bench.tables import race_table

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
    add_list(parser, MATRIX, "in bench/DEVICE")
    batch = "images in a step (default: the file's)"
    add_flags(parser, "batch", "rounds", "minutes", "device", batch=batch)
    parser.set_defaults(run=run_matrix, parser=parser)


def run_matrix(options: argparse.Namespace) -> int:
    from mixerlib.records import write_record
    from mixerlib.speed import bench, cases
    from mixerlib.speed.load import load_now, recordable, require_quiet
    from mixerlib.speed.matrix import read_matrix
    from mixerlib.speed.timing import ROUNDS

    check_flags(options)
    device, seconds = device_of(options), seconds_of(options)
    until = None if seconds is None else time.monotonic() + seconds
    races = in_place_of_theirs(read_matrix(options.file, device), options)
    folder = folder_of_records(options, device)
    files = {name: folder / f"{name}.json" for name in races}
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
        text = race_table(report) if report.results else "\n".join(report.left_out)
        print(f"{name}\n{text}\n", flush=True)
        write_record(recordable(report, options.force), files[name])
        left.remove(name)
    print(f"{len(races) - len(left)} of {len(races)} races have a record in {folder}")
    return 0
