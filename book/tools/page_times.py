"""Record what the pages time, on a quiet machine: `make page-times`, or by hand

    python -m book.tools.page_times [NAME …] [--force]

Each notebook that makes a `PageTimes` is run once, from its first cell to its last, and writes its
record into book/records/pages. One whose record holds all that it times is left out, so the command
can be stopped and given once more; to time a page anew, delete its record.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path

from book.tools import ROOT
from book.tools.quiet import require_recordable, told_status
from mixerlib.records import provenance
from mixerlib.speed import read_page_record

FOLDER = ROOT / "book" / "records" / "pages"
NOTEBOOKS = ROOT / "notebooks"
TAKEN = re.compile(r'\blive\(\s*"([^"]+)"')


def timed_pages(notebooks: Path = NOTEBOOKS) -> dict[str, list[str]]:
    """The stem of each notebook that makes a `PageTimes` → the names of what it times."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in notebooks.glob("*.md")}
    return {
        stem: TAKEN.findall(text) for stem, text in sorted(texts.items()) if "PageTimes(" in text
    }


def has_record(path: Path, names: list[str]) -> bool:
    """Whether the record of a page holds what the page times, and nothing else."""
    return path.exists() and set(read_page_record(path).taken) == set(names)


def run(stem: str, mode: str, notebooks: Path = NOTEBOOKS) -> None:
    """Run a notebook here, in a kernel of its own that is told how to time."""
    import jupytext
    from nbclient import NotebookClient

    os.environ["MIXERBOOK_TIMES"] = mode  # for the kernel, which gets this program's environment
    text = jupytext.read(notebooks / f"{stem}.md")
    where = {"metadata": {"path": str(notebooks)}}
    NotebookClient(text, timeout=3600, kernel_name="python3", resources=where).execute()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.page_times", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help="of a notebook: 17-throughput")
    parser.add_argument("--force", action="store_true", help="on a busy machine, too")
    options = parser.parse_args(arguments)
    every = timed_pages()
    if unknown := set(options.only) - set(every):
        parser.error(f"{', '.join(sorted(unknown))}: times nothing; there are {', '.join(every)}")
    left = [
        stem
        for stem in options.only or every
        if not has_record(FOLDER / f"{stem}.json", every[stem])
    ]
    if left and not options.force:
        require_recordable(parser, provenance("cpu"))
    failed = []
    for stem in left:
        start = time.monotonic()
        try:
            run(stem, "record-forced" if options.force else "record")
            print(f"{time.monotonic() - start:6.0f} s  {stem}", flush=True)
        except Exception as error:  # of any kind: it is the notebook's
            print(f"{stem} broke: {error}", file=sys.stderr, flush=True)
            failed.append(stem)
    return told_status(failed)


if __name__ == "__main__":
    sys.exit(main())
