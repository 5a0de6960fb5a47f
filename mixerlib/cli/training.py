"""The subcommands that train and judge: train, evaluate, sweep."""

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mixerlib.cli.options import MODEL_OPTIONS, add_model_options, flag, model_options_given
from mixerlib.recipe import SETTINGS, list_recipes, load_recipe, parse_setting


def add_train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train",
        help="train a model by a recipe",
        description="Train a model by a recipe; write the weights and the record of the run.",
        epilog=f"recipes: {', '.join(list_recipes())}",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or a .yaml file")
    parser.add_argument(
        "--data", metavar="DIR", help="where data sets lie (default: $MIXERLIB_DATA, else ./data)"
    )
    parser.add_argument("--download", action="store_true", help="fetch the data set if missing")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="where to write (default: a new folder in runs/)"
    )
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, mps (default: the GPU if there is one)"
    )
    parser.add_argument("--quiet", action="store_true", help="print the result only")
    settings = parser.add_argument_group(
        "settings", "any field of the recipe, to replace the file's value"
    )
    for name in SETTINGS:
        if name != "model_options":  # these have flags of their own, below
            settings.add_argument(flag(name), metavar="VALUE", dest=f"setting {name}")
    add_model_options(parser, MODEL_OPTIONS)
    parser.set_defaults(run=run_train, parser=parser)


def run_train(options: argparse.Namespace) -> int:
    overrides: dict[str, Any] = {
        name: parse_setting(name, text)
        for name in SETTINGS
        if (text := vars(options).get(f"setting {name}")) is not None
    }
    if model_options := model_options_given(options, MODEL_OPTIONS):
        overrides["model_options"] = model_options
    recipe = load_recipe(options.recipe, overrides)

    from mixerlib.data import load_dataset
    from mixerlib.records import write_record
    from mixerlib.train import choose_device, model_for, train
    from mixerlib.weights import save_weights

    device = choose_device(options.device)
    dataset = load_dataset(recipe.dataset, options.data, options.download)
    model_for(recipe, dataset)  # a mistake in the options shows here, before a folder is made
    with _run_folder(options.out, recipe.name, recipe.seed) as out:
        if not options.quiet:
            print(
                f"{recipe.name}: {recipe.model} on {len(dataset.train_labels):,} images, "
                f"epochs: {recipe.epochs}, seed: {recipe.seed}, {device}; writing to {out}",
                flush=True,
            )
        model, record = train(recipe, dataset, str(device), progress=not options.quiet)
        save_weights(model, out / "model.safetensors")
        write_record(record, out / "record.json")
    print(
        f"{recipe.name}: {record.test_accuracy:.2%} of {record.test_images:,} test images right "
        f"after epoch {recipe.epochs}\n"
        f"time:     {record.training_seconds:.1f} s of training, {record.total_seconds:.1f} s with "
        f"evaluation; {record.images_per_second:,.0f} images/s on {record.provenance.device_name}\n"
        f"record:   {out / 'record.json'}\n"
        f"weights:  {out / 'model.safetensors'}"
    )
    return 0


@contextmanager
def _run_folder(wanted: Path | None, recipe: str, seed: int) -> Iterator[Path]:
    """A folder that no earlier run has written to; a new one is taken away if the run fails."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = wanted or Path("runs") / recipe / f"{now}-seed{seed}"
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("record.json", "model.safetensors"):
        if (folder / name).exists():
            raise ValueError(f"`out`='{folder}' holds the {name} of an earlier run; name another")
    try:
        tempfile.TemporaryFile(dir=folder).close()  # can it be written to? better asked now
        yield folder
    except BaseException:
        if new:
            with suppress(OSError):  # what is not empty stays
                folder.rmdir()
        raise
