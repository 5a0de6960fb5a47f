"""What an attack is, and the rule that its answer is held against."""

import faulthandler
import random
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Attack = Callable[[random.Random, Path], None]
SECONDS = 20  # the longest that any answer may take
LONGEST = 1500  # characters of a refusal
REFUSALS = (ValueError, OSError, ArithmeticError)  # what the command line answers in a line


class Fault(AssertionError):
    """An answer that breaks the rule."""


@contextmanager
def refusals(names: str | None = None) -> Iterator[None]:
    """What happens inside works, or is refused in a line of bearable length, with `names` in it."""
    try:
        yield
    except REFUSALS as error:
        text = str(error)
        if "\n" in text.strip():
            raise Fault(f"a refusal of several lines: {text!r}") from error
        if len(text) > LONGEST:
            raise Fault(f"a refusal of {len(text):,} characters: {text[:200]!r} …") from error
        if names is not None and names not in text:
            raise Fault(f"a refusal that does not name {names}: {text!r}") from error


def run(attack: Attack, seed: int) -> None:
    """One attack in a new folder; `Fault`, or what escaped, when it succeeds."""

    def late(number: int, frame: object) -> None:
        raise Fault(f"no answer within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)  # should Python itself hang
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attack(random.Random(seed), Path(folder))
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
