"""The programs that publish the book: notebooks for Colab, their branch, and the release.

    python -m book.tools.colab      # the chapters as notebooks for Colab, into _build/colab
    python -m book.tools.branch     # these notebooks as the next commit of the branch `colab`
    python -m book.tools.release    # site, notebooks, package and PDF with their checksums

They are started from the book's folder, as the Makefile does. `run_notebooks.py` is a program
of one file, for it is started inside Colab's image, where nothing else of the book is.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def exit_status(command: Callable[[], None]) -> int:
    """Do it; 0, or 1 after a message on stderr where it cannot be done."""
    try:
        command()
    except (ValueError, RuntimeError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as problem:
        said = (problem.stderr or "").strip()
        print(f"{' '.join(map(str, problem.cmd[:4]))} … failed. {said}", file=sys.stderr)
        return 1
    return 0
