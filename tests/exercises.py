"""The exercises of the chapters as their text has them; and their proof, as a table.

    python tests/exercises.py 01-patches 06-splitmixer-i

runs chapters (all, where none is named) and prints for each exercise whether its stub fails, its
solution passes, and how many wrong answers get their message.

    python tests/exercises.py --wrong one-1 space-4

prints what `check` answers to each wrong answer that it knows of these exercises, as a reader sees
it. Either ends with status 1 where it prints NO.
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


def prove(names: list[str]) -> bool:
    """Print the proof's table of these chapters, or of all; whether nothing in it is wrong."""
    from mixerlib.pages.exercises.entries import judge_of
    from mixerlib.pages.exercises.entries import names as known

    print(f"{'exercise':16} {'stub fails':10} {'solution passes':15} wrong answers")
    whole = True
    for path in NOTEBOOKS:
        if names and path.stem not in names:
            continue
        passed = outcomes(path)
        for exercise in written(path):
            if exercise.name not in known():
                print(f"{exercise.name:16} NO check yet")
                whole = False
                continue
            stub, *solution = passed.get(exercise.name, [True])
            judge = judge_of(exercise.name)
            right = sum(gets_its_message(judge, mistake) for mistake in judge.mistakes)
            solved, told = bool(solution) and all(solution), right == len(judge.mistakes)
            whole &= not stub and solved and told
            print(
                f"{exercise.name:16} {'NO' if stub else 'yes':10} {'yes' if solved else 'NO':15} "
                f"{right}/{len(judge.mistakes)}{'' if told else ' NO'}",
                flush=True,
            )
    return whole


def answer_wrongly(names: list[str]) -> bool:
    """Print what `check` answers to each wrong answer that it knows of these exercises; whether
    each gets its own message."""
    from mixerlib.pages import check
    from mixerlib.pages.exercises.entries import judge_of

    whole = True
    for name in names:
        judge = judge_of(name)
        for mistake in judge.mistakes:
            outcome = check(name, judge.wrong(mistake))
            print(outcome, end="\n\n")
            if outcome or outcome.message != f"Not yet. {mistake.message}":
                print(f"NO: the message should be: {mistake.message}", end="\n\n")
                whole = False
    return whole


def main(arguments: list[str]) -> int:
    """0 where all is as it should be, 1 where NO is printed."""
    if arguments == ["--wrong"]:
        sys.exit("--wrong needs the name of an exercise")
    if arguments[:1] == ["--wrong"]:
        return 0 if answer_wrongly(arguments[1:]) else 1
    if unknown := set(arguments) - {path.stem for path in NOTEBOOKS}:
        sys.exit(f"no such chapter: {', '.join(sorted(unknown))}")
    os.chdir(ROOT / "notebooks")
    os.environ.setdefault("MPLBACKEND", "agg")
    return 0 if prove(arguments) else 1


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.exit(main(sys.argv[1:]))
