"""The subcommand that measures speed, `bench`: a subcommand of its own for each measurement."""

import argparse

from mixerlib.cli.bench.matrix import add_matrix
from mixerlib.cli.bench.race import add_race
from mixerlib.cli.bench.races import add_races
from mixerlib.cli.bench.roofline import add_roofline
from mixerlib.cli.bench.table3 import add_table3

__all__ = ["add_bench"]


def add_bench(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "bench",
        description="Measure how fast models are. Each measurement has flags and help of its own.",
    )

    def print_help(options: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    parser.set_defaults(run=print_help, parser=parser)
    measurements = parser.add_subparsers(title="measurements", metavar="MEASUREMENT")
    for add_measurement in (add_race, add_races, add_roofline, add_matrix, add_table3):
        add_measurement(measurements)
