"""The exercises of the chapters as their text has them; and their proof, as a table.

    python tests/exercises.py 01-patches 06-splitmixer-i

runs chapters (all, where none is named) and prints for each exercise whether its stub fails, its
solution passes, and how many wrong answers get their message.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.md"))
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?::tags:[^\n]*\n+)?(.*?)^```$", re.M | re.S)


class Written(NamedTuple):
    """An exercise as a chapter has it: the cells before its solution, and those in it."""

    chapter: str
    name: str
    stubs: list[str]
    solution: list[str]


def written(path: Path) -> Iterator[Written]:
    """The exercises of a chapter, in their order."""
    text = path.read_text(encoding="utf-8")
    for part in re.split(r"^(?=(?::::|```)\{exercise\})", text, flags=re.M)[1:]:
        label = re.search(r"^:label: ex-(\S+)$", part, re.M)
        before, _, after = part.partition("{solution-start}")
        solution = after.partition("{solution-end}")[0]
        name = label[1] if label else ""
        yield Written(path.stem, name, CELL.findall(before), CELL.findall(solution))


def gets_its_message(judge, mistake) -> bool:
    """Whether a wrong answer gets its message, all of it, and no other."""
    return judge.verdict(judge.wrong(mistake)).message == mistake.message


def outcomes(path: Path) -> dict[str, list[bool]]:
    """What the checks of a chapter answer, exercise by exercise, when all its cells run."""
    from helpers import run_cells

    import mixerlib.pages

    passed: dict[str, list[bool]] = {}
    check = mixerlib.pages.check

    def noted(name, answer):
        outcome = check(name, answer)
        passed.setdefault(name, []).append(outcome.passed)
        return outcome

    mixerlib.pages.check = noted
    try:
        run_cells(path)
    finally:
        mixerlib.pages.check = check
    return passed


def main(names: list[str]) -> None:
    from mixerlib.pages.exercises.entries import judge_of
    from mixerlib.pages.exercises.entries import names as known

    os.chdir(ROOT / "notebooks")
    os.environ.setdefault("MPLBACKEND", "agg")
    print(f"{'exercise':16} {'stub fails':10} {'solution passes':15} wrong answers")
    for path in NOTEBOOKS:
        if names and path.stem not in names:
            continue
        passed = outcomes(path)
        for exercise in written(path):
            if exercise.name not in known():
                print(f"{exercise.name:16} no check yet")
                continue
            stub, *solution = passed.get(exercise.name, [True])
            judge = judge_of(exercise.name)
            right = sum(gets_its_message(judge, mistake) for mistake in judge.mistakes)
            solved = "yes" if solution and all(solution) else "NO"
            print(
                f"{exercise.name:16} {'NO' if stub else 'yes':10} {solved:15} "
                f"{right}/{len(judge.mistakes)}",
                flush=True,
            )


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    main(sys.argv[1:])
