"""The command `mixerlib`: a subcommand each for what the library does.

A subcommand is two functions: `add_…` describes its arguments, `run_…` does it. What a user can put
right ends in one line on stderr and exit status 2. Only the subcommand that is called is imported,
so that `mixerlib --help` and a misspelt command need not wait for torch.
"""

import argparse
import difflib
import importlib
import io
import os
import sys

import mixerlib
from mixerlib.cli.options import DATA_OPTIONS, MODEL_OPTIONS, Parser
from mixerlib.files import one_line

# A command → what it does, and the file of this folder that holds its add_… and run_…
COMMANDS = {
    "list": ("print the models", "models"),
    "cost": ("count what a model costs, by formula and by measurement", "models"),
    "bench": ("measure how fast models are", "bench"),
    "train": ("train a model by a recipe", "training"),
    "evaluate": ("validate a trained model on its test set", "training"),
    "sweep": ("train a list of recipes with several seeds, as far as the time goes", "training"),
    "import": ("convert a published checkpoint", "models"),
}
__all__ = ["DATA_OPTIONS", "MODEL_OPTIONS", "main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line `arguments` (without the program's name); return the exit status.

    What it prints is UTF-8, whatever the system would write into a pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    parser = Parser(
        prog="mixerlib",
        description="ConvMixer, SplitMixer and MLP-Mixer: the library of The Mixer Book.",
    )
    parser.add_argument("--version", action="version", version=f"mixerlib {mixerlib.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    arguments = sys.argv[1:] if arguments is None else arguments
    for name, (purpose, file) in COMMANDS.items():
        if name in arguments[:1]:
            module = importlib.import_module(f"mixerlib.cli.{file}")
            getattr(module, f"add_{name}")(commands)
        else:
            commands.add_parser(name, help=purpose)
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
