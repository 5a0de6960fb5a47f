"""The long run: see `tests/fuzz/__init__.py`."""

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/, as pytest has it

from tests.fuzz.attack import run
from tests.fuzz.attacks import ATTACKS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ATTACKS)}")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="one attack again, with its traceback")
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in ATTACKS:
            parser.error(f"{name!r} must be one of {', '.join(ATTACKS)}")
    names = chosen.names or list(ATTACKS)
    if chosen.seed is not None:
        for name in names:
            run(ATTACKS[name], chosen.seed)
        return 0
    done: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    end, seed = time.monotonic() + 60 * chosen.minutes, random.SystemRandom().randrange(2**32)
    while time.monotonic() < end:
        for name in names:
            done[name] += 1
            try:
                run(ATTACKS[name], seed)
            except Exception as error:
                faults[name] += 1
                last = traceback.extract_tb(error.__traceback__)[-1]
                text = " ".join(str(error).split())[:200]
                print(f"{name} --seed {seed}: {type(error).__name__}: {text}", flush=True)
                print(f"    in {last.filename}:{last.lineno}", flush=True)
        seed += 1
    for name in names:
        print(f"{name:14} {done[name]:7,} attacks, {faults[name]:3} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
