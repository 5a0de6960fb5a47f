"""A script of timm's, or any other, run after the models of mixerlib have been registered.

python -m mixerlib.timm train.py FOLDER --model splitmixer_i_256_8_224
torchrun --nproc_per_node 2 -m mixerlib.timm train.py FOLDER --model splitmixer_i_256_8_224
"""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the script that the command line names, with the words after it as its own."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        given = f"{sys.argv[1]!r} is no file" if len(sys.argv) > 1 else "no script is given"
        sys.exit(f"{given}; usage: python -m mixerlib.timm SCRIPT [its arguments]")
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)  # as Python does for a script
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
