"""The subcommand that trains a list of models: sweep."""

import argparse
from pathlib import Path

from mixerlib.cli.errors import MISTAKE
from mixerlib.cli.options import add_records, check_minutes, folder_name, warnings_at_once
from mixerlib.cli.training import add_places
from mixerlib.training import RunWarning, Sweep, read_sweep, stop_on_signals
from mixerlib.training.distributed import from_environment


def add_sweep(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "sweep",
        description=(
            "Train a list of recipes × seeds. Runs that have a record are skipped, runs that were\n"
            "cut off go on from their checkpoint, so the same command can be given again and\n"
            "again. Given twice at once, the two share the work: each run is trained by one.\n\n"
            "exit status: 0 done or out of time, 2 if a run failed, 130 or 143 when stopped"
        ),
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="a .yaml file that lists the runs")
    add_folders(parser, records=Path("records"))
    add_places(parser)
    parser.set_defaults(run=run_sweep, parser=parser)


def add_folders(parser: argparse.ArgumentParser, records: Path) -> None:
    """The flags for how long a list of runs is trained, and where they are kept."""
    parser.add_argument(
        "--minutes",
        metavar="N",
        type=float,
        help="stop cleanly, with a checkpoint, after this time",
    )
    add_records(parser, "as RECIPE/seedN.json", default=records)
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=folder_name,
        default=Path("runs"),
        help="where checkpoints and weights are kept, as RECIPE/seedN (default: runs)",
    )
    parser.add_argument(
        "--list", action="store_true", help="only print what is done and what is left"
    )


def sweep_of(options: argparse.Namespace) -> Sweep:
    """The runs of the options' file, with the folders and places of `add_folders` and `add_places`.

    Raises `ValueError` for an option that breaks its rule, and where several processes were begun.
    """
    check_minutes(options.minutes)
    if from_environment("WORLD_SIZE", 1) > 1:
        raise ValueError("a list of runs is trained in one process: call it without torchrun")
    return Sweep(
        read_sweep(options.file),
        options.records,
        options.out,
        options.data,
        options.download,
        options.device,
        options.workers,
    )


def run_sweep(options: argparse.Namespace) -> int:
    sweep, status = sweep_of(options), 0
    if not options.list:
        with stop_on_signals(options.minutes) as stop, warnings_at_once(RunWarning):
            sweep.train(stop)
        status = 128 + stop.number if stop.number else 0
        print()
    for recipe, state in sweep.states():
        print(f"{recipe.name}, seed {recipe.seed}: {state}")
    count = len(sweep.recipes)
    print(f"{count - len(sweep.left())} of {count} runs have a record in {options.records}")
    return status or (MISTAKE if sweep.failed else 0)
