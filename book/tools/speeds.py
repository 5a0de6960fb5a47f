"""Measure every speed of Part V anew, on a quiet machine: `make speeds`, or by hand

    python -m book.tools.speeds [--records DIR] [--only STEP …] [--force]

Each step is a `mixerlib bench` of its own, in a process of its own, for glibc reads what it is told
when a program starts. The steps that a page needs most come first. A step that has a record is left
out, so the command can be stopped and given once more; to measure anew, delete the record.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from book.tools.quiet import require_recordable, told_status
from mixerlib.records import provenance

KEEP = {"MALLOC_MMAP_THRESHOLD_": str(2**33), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
FAMILIES = ("convmixer", *(f"splitmixer_{one}" for one in ("i", "ii", "iii", "iv", "v", "3d")))
# A race → its minutes on two cores
RACES = {"plain": 4, "relatives": 1, "forms": 5, "training": 20}
TABLE = ("--batch", "8", "--rounds", "15")  # of pictures of 224×224: what two cores can do


def steps(folder: Path) -> dict[str, tuple[list[str], Path, int]]:
    """Name → the command's arguments, its record, and the minutes that it takes on two cores.

    A name that ends in -kept is of a process whose glibc keeps its memory.
    """
    models = [f"{family}_256_8" for family in FAMILIES]
    found: dict[str, tuple[list[str], Path, int]] = {}
    for end in ("", "-kept"):
        for name, words, path in (
            ("roofline", models, folder / "roofline" / f"all{end}.json"),
            ("table3", list(TABLE), folder / f"table3{end}.json"),
        ):
            found[name + end] = ([name, *words, "--json", str(path)], path, 3)
    for name, minutes in RACES.items():
        for end in ("", "-kept"):
            path = folder / "races" / f"{name}{end}.json"
            words = ["races", "--only", name, "--records", str(folder.parents[1])]
            found[name + end] = (words, path, minutes)
    order = ["plain", "relatives", "roofline", "table3", "forms", "training"]
    order = [name + end for name in order for end in ("", "-kept")]
    return {name: found[name] for name in order}


def environment(name: str) -> dict[str, str]:
    """That of a step: as it is here, but that glibc is told to keep its memory, or nothing."""
    others = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    return others | (KEEP if name.endswith("-kept") else {})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.speeds", description=__doc__)
    parser.add_argument("--records", type=Path, default=Path("book/records"))
    parser.add_argument("--only", nargs="+", metavar="STEP")
    parser.add_argument("--force", action="store_true", help="on a busy machine, too")
    options = parser.parse_args(arguments)
    stamp = provenance("cpu")
    every = steps(options.records / "bench" / stamp.device_folder)
    unknown = set(options.only or ()) - set(every)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: no such step; there are {', '.join(every)}")
    left = {
        name: step
        for name, step in every.items()
        if name in (options.only or every) and not step[1].exists()
    }
    print(f"{len(left)} steps, about {sum(step[2] for step in left.values())} minutes on two cores")
    if left and not options.force:
        require_recordable(parser, stamp)
    failed = []
    for name, (words, path, minutes) in left.items():
        print(f"== {name}, about {minutes} minutes: {path}", flush=True)
        command = [sys.executable, "-m", "mixerlib", "bench", *words, "--device", "cpu"]
        command += ["--force"] * options.force
        if subprocess.run(command, env=environment(name), check=False).returncode:
            failed.append(name)
    return told_status(failed)


if __name__ == "__main__":
    sys.exit(main())
