"""Keep trained weights in the book, rounded to float16:

    python -m book.tools.weights [RUN …] [--out DIR] [--sweep FILE] [--runs DIR]

Without a RUN it trains what book/sweeps/weights.yaml lists and DIR does not hold yet, and keeps
those: on the digits in seconds each, on CIFAR-10 in minutes. A RUN is the folder of a finished run
of any recipe. The data sets must lie where `mixerlib evaluate` looks for them, as the weights are
validated again after they are rounded. What fails is named, and the status is then 2.
"""

import argparse
from pathlib import Path

from mixerlib.training import Sweep, keep_weights, list_trained, read_sweep, stop_on_signals


def trained(sweep: Path, out: Path, runs: Path) -> tuple[list[Path], bool]:
    """The folders of the runs of a sweep whose weights a folder lacks, those that could be trained;
    and whether that is all of them."""
    kept = list_trained(folder=out)
    recipes = [recipe for recipe in read_sweep(sweep) if recipe.name not in kept]
    # not the book's records: those say that a run was made, and not that its weights are here
    wanted = Sweep(recipes, runs / "records", runs)
    with stop_on_signals() as stop:
        wanted.train(stop)
    left = wanted.left()
    return [wanted.folder(recipe) for recipe in recipes if recipe not in left], not left


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.weights", description=__doc__)
    parser.add_argument("run", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path("book/records/weights"), metavar="DIR")
    parser.add_argument("--sweep", type=Path, default=Path("book/sweeps/weights.yaml"))
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    options = parser.parse_args(arguments)
    runs, whole = options.run, True
    if not runs:
        runs, whole = trained(options.sweep, options.out, options.runs)
    for run in runs:
        kept = keep_weights(run, options.out)
        size = (options.out / f"{kept.recipe}.safetensors").stat().st_size
        print(
            f"{kept.recipe}, seed {kept.seed}: {kept.test_accuracy:.2%} of {kept.test_images:,} "
            f"test images right, {kept.rounded_accuracy:.2%} after rounding; {size:,} bytes"
        )
    return 0 if whole else 2


if __name__ == "__main__":
    raise SystemExit(main())
