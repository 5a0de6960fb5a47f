"""The subcommand that trains one model: train."""

import argparse
import signal
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from mixerlib.cli.options import (
    MODEL_OPTIONS,
    add_data_places,
    add_model_options,
    flag,
    folder_name,
    model_options_given,
    parse_setting,
    warnings_at_once,
)
from mixerlib.training import (
    Processes,
    Recipe,
    RunWarning,
    Stopped,
    choose_device,
    dataset_for,
    errors_explained,
    finished_record,
    joined,
    list_recipes,
    load_recipe,
    local_device,
    loop,
    model_for,
    recipe_of,
    result_line,
    run_folder,
    save_results,
    stop_on_signals,
)
from mixerlib.training.first_weights import is_published
from mixerlib.training.recipe import CHOICES, SETTINGS
from mixerlib.weights import weights_file

if TYPE_CHECKING:
    import torch

    from mixerlib.data import ImageSource
    from mixerlib.records import Record


def add_train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train",
        usage="mixerlib train RECIPE [--out DIR] [--resume] [any setting] …\n"
        "       mixerlib train --resume --out DIR",
        description=(
            "Train a model by a recipe; write the weights and the record of the run.\n"
            "For a first run, in seconds and without a download: mixerlib train digits\n\n"
            "Ctrl-C and SIGTERM let the step end and write a checkpoint; a second one acts at\n"
            "once. --resume then needs the checkpoint and the data, nothing else. While a run\n"
            "lives its folder is its own: a second one there is refused."
        ),
        epilog=textwrap.fill(
            f"recipes: {', '.join(list_recipes())}", width=78, break_on_hyphens=False
        )
        + "\n\nexit status: 0 done, 2 a mistake, 130 or 143 stopped by Ctrl-C or SIGTERM",
    )
    parser.add_argument(
        "recipe",
        metavar="RECIPE",
        nargs="?",
        help="a recipe's name, or a .yaml file; with --resume, that of the run is known",
    )
    add_places(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=folder_name,
        help="where to write (default: a new folder in runs/)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --out, if there is one"
    )
    parser.add_argument(
        "--checkpoint-every",
        metavar="N",
        type=int,
        help="also write a checkpoint after every N steps (always: after every epoch)",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write the metrics for TensorBoard"
    )
    parser.add_argument("--quiet", action="store_true", help="print the result only")
    _add_settings(parser)
    parser.set_defaults(run=run_train, parser=parser)


def run_train(options: argparse.Namespace) -> int:
    if options.resume and options.out is None:
        raise ValueError("`resume`=True needs `out`: the folder of the run to go on with")
    recipe = _recipe(options)
    if options.checkpoint_every is not None and options.checkpoint_every < 1:
        raise ValueError(f"`checkpoint_every`={options.checkpoint_every} must be at least 1")
    if _is_finished(recipe, options):
        return 0
    device = choose_device(local_device(options.device))
    with warnings_at_once(RunWarning), joined(device) as processes:
        return _train(recipe, options, device, processes)


def _recipe(options: argparse.Namespace) -> Recipe:
    """The recipe that was asked for, or the one that the run to go on with was begun by."""
    settings = _settings_given(options)
    if options.recipe is None and not options.resume:
        raise ValueError("RECIPE is missing; `mixerlib train --help` lists them")
    if options.recipe is not None:
        try:
            return load_recipe(options.recipe, settings)
        except FileNotFoundError as error:
            if not options.resume:
                raise
            hint = "without RECIPE the checkpoint's is gone on with"
            raise ValueError(f"{error}; {hint}") from None
    recipe = recipe_of(options.out)
    if "model_options" in settings:
        settings["model_options"] = recipe.model_options | settings["model_options"]
    return replace(recipe, **settings)  # what differs is refused where the checkpoint is read


def _is_finished(recipe: Recipe, options: argparse.Namespace) -> bool:
    """Whether the run to go on with has ended, which is then said."""
    record = finished_record(recipe, options.out) if options.resume else None
    if record is not None:
        print(f"{result_line(recipe, record)}: finished already")
        print(f"record:   {options.out / 'record.json'}")
    return record is not None


def _train(
    recipe: Recipe, options: argparse.Namespace, device: "torch.device", processes: Processes
) -> int:
    """Train in one of several processes, of which the first writes and prints."""
    with run_folder(recipe, options.out, options.resume, processes.is_first) as out:
        if _is_finished(recipe, options):  # by another process, a moment ago
            return 0
        dataset = _dataset(recipe, options, processes)
        model_for(recipe, dataset)  # a mistake in the options shows here
        with stop_on_signals() as stop:
            if processes.is_first and not options.quiet:
                print(_opening_line(recipe, dataset, device, processes, out), flush=True)
            try:
                with errors_explained(recipe):
                    model, record = loop.train(
                        recipe,
                        dataset,
                        str(device),
                        not options.quiet,
                        folder=out,
                        resume=options.resume,
                        checkpoint_every=options.checkpoint_every,
                        tensorboard=options.tensorboard,
                        stop=stop,
                        processes=processes,
                    )
            except Stopped as stopped:
                if processes.is_first:
                    advice = f"give the same command again with --resume --out {out}"
                    print(f"mixerlib: {stopped}; to go on, {advice}", file=sys.stderr)
                return 128 + (stop.number or signal.SIGTERM)  # which another process was sent
            if processes.is_first:
                save_results(model, record, out)
                print(_closing_lines(recipe, record, out))
    return 0


def _dataset(recipe: Recipe, options: argparse.Namespace, processes: Processes) -> "ImageSource":
    """The recipe's data, which the first process alone downloads while the others wait."""
    fetches = options.download and processes.is_first
    if options.download and not fetches:
        processes.barrier()
    if fetches and is_published(recipe.weights):
        weights_file(str(recipe.weights), download=True)
    dataset = dataset_for(recipe, options.data, fetches, options.workers)
    if fetches:
        processes.barrier()
    return dataset


def _opening_line(
    recipe: Recipe, dataset: "ImageSource", device: "torch.device", processes: Processes, out: Path
) -> str:
    shared = f" × {processes.count}" if processes.count > 1 else ""
    begun = (out / "checkpoint.pt").exists()
    return (
        f"{recipe.name}: {recipe.model} on {len(dataset.train_labels):,} images, "
        f"epochs: {recipe.epochs}, seed: {recipe.seed}, {device}{shared}; "
        f"{'going on in' if begun else 'writing to'} {out}"
    )


def _closing_lines(recipe: Recipe, record: "Record", out: Path) -> str:
    return (
        f"{result_line(recipe, record)}\n"
        f"time:     {record.training_seconds:.1f} s of training, "
        f"{record.total_seconds:.1f} s with evaluation; "
        f"{record.images_per_second:,.0f} images/s on {record.provenance.device_name}\n"
        f"record:   {out / 'record.json'}\n"
        f"weights:  {out / 'model.safetensors'}"
    )


def add_places(parser: argparse.ArgumentParser) -> None:
    """The flags for where the data are and what computes."""
    add_data_places(parser)
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, mps (default: the GPU if there is one)"
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every field of a recipe, and for every option of a model."""
    settings = parser.add_argument_group(
        "settings",
        "any field of the recipe, to replace the file's value (none for null);\n"
        "mixerlib/training/recipe.py says what each one means",
    )
    for name, kind in get_type_hints(Recipe).items():
        if name in SETTINGS and name != "model_options":  # these have flags of their own, below
            form = {int: "N", float: "X", bool: "true|false"}.get((*get_args(kind), kind)[0])
            words = "|".join(CHOICES.get(name, [form or "TEXT"]))
            settings.add_argument(flag(name), metavar=words, dest=f"setting {name}")
    add_model_options(parser, MODEL_OPTIONS)


def _settings_given(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of the recipe that were given on the command line, as values."""
    overrides: dict[str, Any] = {
        name: parse_setting(name, text)
        for name in SETTINGS
        if (text := vars(options).get(f"setting {name}")) is not None
    }
    if model_options := model_options_given(options, MODEL_OPTIONS):
        overrides["model_options"] = model_options
    return overrides
