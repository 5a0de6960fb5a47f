"""`mixerlib bench races`: the races of all models that a file lists."""

import argparse
import sys
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
from mixerlib.cli.errors import DONE, MISTAKE

RACES = Path("book/sweeps/bench_races.yaml")


def add_races(measurements: argparse._SubParsersAction) -> None:
    parser = measurements.add_parser(
        "races",
        help="the races of all models that a file lists, but for those with a record",
        usage="mixerlib bench races [FILE] [--records DIR] [--minutes N] [any option] …",
        description=(
            "Race what a file lists, all models of a race in turn, and keep a record of each,\n"
            "with what the machine can do at best. A race that has a record is not run again.\n"
            "Where MALLOC_… variables tell glibc to keep its memory, the records end in -kept."
        ),
    )
    add_list(parser, RACES, "in bench/DEVICE/races")
    parser.add_argument("--only", metavar="NAME", help="the race of this name alone")
    batch = "images in a step (default: the file's)"
    minutes = "no round of a race begins after this time of it"
    add_flags(parser, "batch", "rounds", "minutes", "device", batch=batch, minutes=minutes)
    parser.set_defaults(run=run_races, parser=parser)


def run_races(options: argparse.Namespace) -> int:
    from mixerlib import checks
    from mixerlib.records import write_record
    from mixerlib.speed import bench, cases
    from mixerlib.speed.environment import keeps_memory, settings_here
    from mixerlib.speed.load import load_now, recordable, require_quiet
    from mixerlib.speed.races import NAME_OF_KEPT, read_races
    from mixerlib.speed.timing import ROUNDS

    check_flags(options)
    device = device_of(options)
    races, refused = in_place_of_theirs(read_races(options.file), options), 0
    if options.only is not None:
        races = {options.only: races[checks.one_of("only", options.only, tuple(races))]}
    folder = folder_of_records(options, device, "races")
    kept = keeps_memory(settings_here(device))
    for name, chosen in races.items():
        file = folder / f"{name}{NAME_OF_KEPT * kept}.json"
        if cases.has_measured(file, chosen, device):
            continue
        if not options.force:
            require_quiet(load_now())
        report = bench.benchmark(
            chosen,
            options.rounds or ROUNDS,
            device,
            name=file.stem,
            seconds=seconds_of(options),
            leave_out=True,
            gauge=True,
        )
        text = race_table(report) if report.results else "\n".join(report.left_out)
        print(f"{file.stem}\n{text}\n", flush=True)
        try:
            write_record(recordable(report, options.force), file)
        except ValueError as error:  # the others may find a quieter hour
            print(f"mixerlib: {file.stem} is not recorded: {error}", file=sys.stderr)
            refused += 1
    print(f"{len(races) - refused} of {len(races)} races have a record in {folder}")
    return MISTAKE if refused else DONE
