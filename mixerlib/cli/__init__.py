"""The command `mixerlib`: a subcommand each for what the library does.

A subcommand is two functions: `add_…` describes its arguments, `run_…` does it. What a user can put
right ends in one line on stderr and exit status 2, see `errors`. Only the subcommand that is called
is imported, so that `mixerlib --help` and a misspelt command need not wait for torch.
"""

import argparse
import difflib
import importlib
import shlex
import sys
import traceback
from contextlib import suppress

import mixerlib
from mixerlib.cli.errors import BUG, MEANINGS, MISTAKE, STOPPED, explanation
from mixerlib.cli.options import DATA_OPTIONS, MODEL_OPTIONS, Parser
from mixerlib.cli.streams import steady_streams
from mixerlib.files import LONGEST_MESSAGE, one_line

# A command → what it does, and the file of this folder that holds its add_… and run_…
COMMANDS = {
    "list": ("print the models", "models"),
    "cost": ("count what a model costs, by formula and by measurement", "models"),
    "bench": ("measure how fast models are", "bench"),
    "train": ("train a model by a recipe", "training"),
    "evaluate": ("validate a trained model on its test set", "evaluating"),
    "sweep": ("train a list of recipes with several seeds, as far as the time goes", "sweeps"),
    "reproduce": ("test the device, then train what the book still lacks", "reproducing"),
    "export": ("write a trained model as a file for other programs", "exporting"),
    "import": ("convert a published checkpoint", "models"),
}
__all__ = ["DATA_OPTIONS", "MODEL_OPTIONS", "main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line `arguments` (without the program's name); return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with steady_streams():
            return _status(arguments)
    except OSError as error:  # what was printed has not arrived
        with suppress(OSError):
            print(f"mixerlib: {one_line(error)}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return STOPPED


def _status(arguments: list[str]) -> int:
    """The exit status of a command, whose errors are printed here."""
    try:
        options = _parsed(arguments)
        status = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("mixerlib: stopped by Ctrl-C", file=sys.stderr)
        return STOPPED
    except Exception as error:
        if (message := explanation(error)) is not None:
            print(f"mixerlib: {message}", file=sys.stderr)
            return MISTAKE
        traceback.print_exc()
        words = shlex.join(["mixerlib", *arguments])[:LONGEST_MESSAGE]
        report = "mixerlib: this is a bug of mixerlib; please report it with the lines above, and"
        print(f"{report} with the command: {words}", file=sys.stderr)
        return BUG


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="mixerlib",
        description="ConvMixer, SplitMixer and MLP-Mixer: the library of The Mixer Book.",
        epilog=MEANINGS,
    )
    parser.add_argument("--version", action="version", version=f"mixerlib {mixerlib.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (purpose, file) in COMMANDS.items():
        if name in arguments[:1]:
            module = importlib.import_module(f"mixerlib.cli.{file}")
            getattr(module, f"add_{name}")(commands)
        else:
            commands.add_parser(name, help=purpose)
    for argument in arguments:
        if argument.startswith("--") and argument.endswith("=--"):  # Python 3.11 makes [] of it
            parser.error(f"`{argument}` has no value")
    options, unknown = parser.parse_known_args(arguments)
    if not hasattr(options, "run"):  # what comes before the command has hidden it
        parser.error(f"`{arguments[0]}` must come after the command")
    if unknown:
        options.parser.error(_unrecognized(options.parser, unknown[0]))
    return options


def _unrecognized(parser: argparse.ArgumentParser, argument: str) -> str:
    known = [flag for action in parser._actions for flag in action.option_strings]
    near = difflib.get_close_matches(argument.partition("=")[0][:100], known, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"`{argument}` is not an argument of `{parser.prog}`{hint}"
