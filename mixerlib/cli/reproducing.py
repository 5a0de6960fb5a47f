"""The subcommand that trains what the book still lacks: reproduce."""

import argparse
from pathlib import Path

from mixerlib.cli.errors import MISTAKE
from mixerlib.cli.options import warnings_at_once
from mixerlib.cli.sweeps import add_folders, sweep_of
from mixerlib.cli.training import add_places
from mixerlib.training import (
    Answer,
    RunWarning,
    remaining,
    remaining_table,
    self_test,
    stop_on_signals,
)

RUNS = Path("book/sweeps/reproduce.yaml")


def add_reproduce(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "reproduce",
        description=(
            "Test the device for less than a minute, then train every run of the book that has no\n"
            "record, in the order of their worth. It stops cleanly and goes on where it stopped\n"
            "when it is called again. At the end: what is done, what is left, and how long it\n"
            "will take.\n\n"
            "exit status: 0 done or out of time, 2 if the device failed its test or a run failed,\n"
            "130 or 143 when stopped"
        ),
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        nargs="?",
        default=RUNS,
        help=f"a .yaml file that lists the runs (default: {RUNS})",
    )
    parser.add_argument(
        "--skip-test", action="store_true", help="train at once, also where the test would fail"
    )
    add_folders(parser, records=Path("book/records"))
    add_places(parser)
    parser.set_defaults(run=run_reproduce, parser=parser)


def run_reproduce(options: argparse.Namespace) -> int:
    sweep = sweep_of(options)
    status, answers = 0, list[Answer]()
    if not options.list:
        with stop_on_signals(options.minutes) as stop, warnings_at_once(RunWarning):
            answers = [] if options.skip_test else self_test(options.device)
            for answer in answers:
                word = "passed" if answer.passed else "FAILED"
                print(f"{word}  {answer.name}: {answer.detail}", flush=True)
            if all(answer.passed for answer in answers):
                sweep.train(stop)
            else:
                print("nothing was trained; --skip-test trains all the same")
                status = MISTAKE
        status = 128 + stop.number if stop.number else status
        print()
    speed = next((answer for answer in answers if answer.images_per_second), None)
    print(remaining_table(remaining(sweep, options.device, speed)))
    return status or (MISTAKE if sweep.failed else 0)
