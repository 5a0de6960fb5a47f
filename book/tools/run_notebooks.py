"""Run the notebooks of a folder, and report which of them break.

    python run_notebooks.py FOLDER OUT

`make colab-run` calls this file inside Colab's own image, where nothing else of the book is: so it
imports the standard library alone.
"""

import platform
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "ipywidgets", "ipython")


def installed() -> str:
    """Python and the packages that matter, as they are here."""
    versions = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    return ", ".join(versions)


def run_notebooks(folder: Path, out: Path, seconds: int = 1800) -> list[str]:
    """Run every notebook of a folder, each in a kernel of its own; return the names that broke.

    They run as copies in `out`, which also gets a report in Markdown, `report.md`: versions, times
    in seconds, and the end of each error. `seconds` bounds each cell. ValueError without notebooks.
    """
    notebooks = sorted(folder.rglob("*.ipynb"))
    if not notebooks:
        raise ValueError(f"There are no notebooks in {folder}: make notebooks")
    shutil.copytree(folder, out / "run", dirs_exist_ok=True)
    table, errors, broken = [], [], []
    for path in notebooks:
        command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute"]
        command += ["--inplace", f"--ExecutePreprocessor.timeout={seconds}"]
        command += [str(out / "run" / path.relative_to(folder))]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        result = "passed" if done.returncode == 0 else "broke"
        table.append(f"| {path.stem} | {time.monotonic() - start:.0f} s | {result} |")
        print(table[-1], flush=True)
        if done.returncode:
            broken.append(path.stem)
            plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)  # the colours of a terminal
            end = "\n".join(plain.strip().splitlines()[-30:])
            errors.append(f"\n**{path.stem}**\n\n~~~text\n{end}\n~~~\n")
    head = f"{installed()}.\n\n| Notebook | Time | Result |\n|---|---|---|\n"
    part = out / "report.part"
    part.write_text(head + "\n".join(table) + "\n" + "".join(errors))
    part.rename(out / "report.md")
    return broken


def main() -> int:
    """`run_notebooks.py FOLDER OUT`"""
    if len(sys.argv) != 3:
        print(main.__doc__, file=sys.stderr)
        return 2
    try:
        broken = run_notebooks(Path(sys.argv[1]), Path(sys.argv[2]))
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"== {len(broken)} broke {' '.join(broken)}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
