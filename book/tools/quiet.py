"""What the tools that measure share: only a quiet machine and committed code are recorded."""

import argparse
import sys
from collections.abc import Sequence

from mixerlib.records import Provenance
from mixerlib.speed import load_now, require_quiet


def require_committed(parser: argparse.ArgumentParser, stamp: Provenance) -> None:
    """End with the parser's error where a record could not name its code."""
    if stamp.commit is None or stamp.dirty:
        parser.error("a record names its commit: commit what has changed in mixerlib first")


def require_recordable(parser: argparse.ArgumentParser, stamp: Provenance) -> None:
    """The same, and end so on a busy machine too."""
    require_committed(parser, stamp)
    try:
        require_quiet(load_now())
    except ValueError as error:
        parser.error(str(error))


def told_status(failed: Sequence[str]) -> int:
    """The exit status, once it is said of what there is no record."""
    if failed:
        print(f"no record of {', '.join(failed)}: give the command once more", file=sys.stderr)
    return 1 if failed else 0
