"""A fresh environment like Colab's, in a second and without a download, to run a notebook in.

    python tests/like_colab.py FOLDER        # makes FOLDER anew and prints its Python
    JUPYTER_PATH=FOLDER/share/jupyter pytest --nbmake --nbmake-kernel=like-colab NOTEBOOK

It holds what Colab ships and nothing else: IPython, the kernel and the widgets at Colab's versions
(`like_colab.txt`, installed once beside this environment's packages), and from this environment
torch, numpy and the rest of `SHIPPED` with all that these need, as links. mixerlib is not there.
"""

import json
import re
import sys
import venv
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

KERNEL = "like-colab"
TWICE = Path(__file__).with_name("twice.py")  # which makes the kernel run every cell twice
# Of what this environment has, Colab ships these. The tools of chapter 04 are not among them.
SHIPPED = {
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "sympy", "matplotlib", "pillow"),
    *("safetensors", "pyyaml", "tqdm", "timm", "tensorboard", "networkx", "pip", "setuptools"),
}
OLDER = Path(sys.prefix) / "like-colab"  # where the packages of like_colab.txt are


def plain(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(*folders: Path) -> dict[str, Distribution]:
    """The packages in these folders, by name; without folders, those of this environment."""
    actual = distributions(path=list(map(str, folders))) if folders else distributions()
    return {plain(package.name): package for package in actual}


def needed(have: dict[str, Distribution], first: set[str]) -> set[str]:
    """These packages and all that they need, as far as they are here."""
    actual, ask = set(), sorted(first)
    while ask:
        name = ask.pop()
        if name in actual or name not in have:
            continue
        actual.add(name)
        for line in have[name].requires or ():
            requirement = Requirement(line)
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                ask.append(plain(requirement.name))
    return actual


def link(packages: Path, first: set[str], older: Path | None = None) -> None:
    """Link these packages and all that they need into a folder, and all that is in `older`."""
    old = installed(older) if older else {}
    have = installed() | old
    for name in sorted(needed(have, first | set(old))):
        for top in {path.parts[0] for path in have[name].files or ()} - {
            "..",
            "__pycache__",
            "bin",
        }:
            target = Path(str(have[name].locate_file(top))).resolve()
            if target.exists() and not (packages / top).exists():
                (packages / top).symlink_to(target)


def make_environment(folder: Path, older: Path = OLDER) -> Path:
    """Make the environment anew, with its kernel; return its Python.

    ValueError where the packages of `like_colab.txt` are not in `older`.
    """
    if "ipykernel" not in installed(older):
        raise ValueError(f"The packages of tests/like_colab.txt are not in {older}")
    venv.EnvBuilder(clear=True, symlinks=True).create(folder)
    python = folder.resolve() / "bin" / "python"
    link(next((folder / "lib").glob("python3*")) / "site-packages", SHIPPED, older)
    spec = folder / "share" / "jupyter" / "kernels" / KERNEL / "kernel.json"
    spec.parent.mkdir(parents=True)
    start = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    start.append(f"--IPKernelApp.exec_files={[str(TWICE.resolve())]!r}")
    spec.write_text(json.dumps({"argv": start, "display_name": KERNEL, "language": "python"}))
    return python


if __name__ == "__main__":
    print(make_environment(Path(sys.argv[1])))
