"""Command lines of random words: done, or refused in one line of bearable length."""

import contextlib
import io
import random
from pathlib import Path

from mixerlib.cli import COMMANDS, DATA_OPTIONS, MODEL_OPTIONS, main
from mixerlib.cli.options import flag
from mixerlib.models import list_models
from mixerlib.training.recipe import SETTINGS
from tests.fuzz.attack import LONGEST, Fault
from tests.fuzz.values import odd

FLAGS = (
    *("--json", "--compare", "--model", "--out", "--resume", "--quiet", "--minutes", "--records"),
    *("--list", "--download", "--workers", "--device", "--recipe", "--checkpoint-every", "--batch"),
    *("--rounds", "--dtype", "--layout", "--compile-mode", "--train", "--fast", "--help"),
    *(flag(name) for name in (*MODEL_OPTIONS, *DATA_OPTIONS, *SETTINGS)),
)
FILES = ("nowhere.yaml", "nowhere.pt", "nowhere", ".", "/dev/null", "")


def command_lines(random: random.Random, folder: Path) -> None:
    """A command with odd arguments, none of which names a file or a recipe that is there."""
    command = random.choice([*COMMANDS, "bench"])
    words = [command]
    if command == "bench":
        words.append(random.choice(["race", "roofline", "matrix", "table4"]))
        words.append("nowhere")  # no model, so that nothing is timed
    elif command == "cost":
        words.append(random.choice(list_models()) if random.random() < 0.7 else _word(random))
    elif command != "list":
        words.append(random.choice(FILES))
    for _ in range(random.randint(0, 4)):
        name = random.choice(FLAGS) if random.random() < 0.95 else f"--{_word(random)}"
        value = _word(random)
        words += random.choice([[name, value], [f"{name}={value}"], [name], [f"{name}=--"]])
    if random.random() < 0.1:
        random.shuffle(words)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as leave:
            status = int(leave.code or 0)
    said = err.getvalue()
    if status not in (0, 2):
        raise Fault(f"status {status} of {words}: {said[-300:]!r}")
    if status == 2 and (said.count("\n") != 1 or len(said) > LONGEST or out.getvalue()):
        raise Fault(f"no single line of {words}: {out.getvalue()[:100]!r} {said[:300]!r}")


def _word(random: random.Random) -> str:
    """An odd value as a word of a command line, in which no NUL can be."""
    try:
        return str(odd(random)).replace("\0", "")
    except ValueError:  # a number of more digits than Python writes
        return "9" * 5000
