"""Keep trained weights in the book, rounded to float16:

    python -m book.tools.weights [RUN …] [--out DIR]

Without a RUN it trains what book/sweeps/digits_weights.yaml lists and has no record yet, in seconds
each, and keeps those. A RUN is the folder of a finished run of any recipe; its data set must lie
where `mixerlib evaluate` looks for it, as the weights are validated again after they are rounded.
"""

import argparse
from pathlib import Path

from mixerlib.training import Sweep, keep_weights, read_sweep, stop_on_signals

SWEEP = Path("book/sweeps/digits_weights.yaml")
RECORDS = Path("book/records")


def trained(runs: Path) -> list[Path]:
    """The folders of the sweep's runs, all of them trained; their records are in the book."""
    sweep = Sweep(read_sweep(SWEEP), RECORDS, runs)
    with stop_on_signals() as stop:
        sweep.train(stop)
    return [sweep.folder(recipe) for recipe in sweep.recipes]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.weights", description=__doc__)
    parser.add_argument("run", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=RECORDS / "weights", metavar="DIR")
    options = parser.parse_args(arguments)
    for run in options.run or trained(Path("runs")):
        kept = keep_weights(run, options.out)
        size = (options.out / f"{kept.recipe}.safetensors").stat().st_size
        print(
            f"{kept.recipe}, seed {kept.seed}: {kept.test_accuracy:.2%} of {kept.test_images:,} "
            f"test images right, {kept.rounded_accuracy:.2%} after rounding; {size:,} bytes"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
