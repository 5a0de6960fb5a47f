"""The command `mixerlib`: a subcommand each for what the library does.

A subcommand is two functions: `add_…` describes its arguments, `run_…` does it. What a user can put
right ends in one line on stderr and exit status 2. torch is imported by the `run_…` that needs it,
so that help and errors of spelling come at once.
"""

import argparse
import difflib
import os
import sys

import mixerlib
from mixerlib.cli.bench import add_bench
from mixerlib.cli.models import add_cost, add_import, add_list
from mixerlib.cli.options import DATA_OPTIONS, MODEL_OPTIONS, Parser, one_line
from mixerlib.cli.training import add_evaluate, add_sweep, add_train

__all__ = ["DATA_OPTIONS", "MODEL_OPTIONS", "main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line `arguments` (without the program's name); return the exit status."""
    parser = Parser(
        prog="mixerlib",
        description="ConvMixer, SplitMixer and MLP-Mixer: the library of The Mixer Book.",
    )
    parser.add_argument("--version", action="version", version=f"mixerlib {mixerlib.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    adders = add_list, add_cost, add_bench, add_train, add_evaluate, add_sweep, add_import
    for add_command in adders:
        add_command(commands)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        options.parser.error(_unrecognized(options.parser, unknown[0]))
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("mixerlib: stopped by Ctrl-C", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
        return 1
    except (ValueError, OSError, ArithmeticError) as error:
        print(f"mixerlib: {one_line(error)}", file=sys.stderr)
        return 2


def _unrecognized(parser: argparse.ArgumentParser, argument: str) -> str:
    known = [flag for action in parser._actions for flag in action.option_strings]
    near = difflib.get_close_matches(argument.partition("=")[0], known, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"`{argument}` is not an argument of `{parser.prog}`{hint}"
