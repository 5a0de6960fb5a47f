"""The subcommands that train and judge: train, evaluate, sweep."""

import argparse
import json
import os
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from mixerlib.cli.options import (
    MODEL_OPTIONS,
    add_model_options,
    flag,
    model_options_given,
    one_line,
    warnings_told,
)
from mixerlib.training.recipe import (
    CHOICES,
    FORM,
    LATER,
    SETTINGS,
    Recipe,
    list_recipes,
    load_recipe,
    parse_setting,
)

if TYPE_CHECKING:
    from torch import nn

    from mixerlib.records import Record
    from mixerlib.training.evaluation import Evaluation

RESULTS = ("record.json", "model.safetensors")  # what a finished run leaves, the record last


def add_train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train",
        help="train a model by a recipe",
        usage="mixerlib train RECIPE [--out DIR] [--resume] [any setting] …",
        description=(
            "Train a model by a recipe; write the weights and the record of the run.\n"
            "For a first run, in seconds and without a download: mixerlib train digits"
        ),
        epilog=textwrap.fill(
            f"recipes: {', '.join(list_recipes())}", width=78, break_on_hyphens=False
        ),
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or a .yaml file")
    _add_places(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="where to write (default: a new folder in runs/)"
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
    recipe = load_recipe(options.recipe, _settings_given(options))
    if options.resume and options.out is None:
        raise ValueError("`resume`=True needs `out`: the folder of the run to go on with")
    if options.checkpoint_every is not None and options.checkpoint_every < 1:
        raise ValueError(f"`checkpoint_every`={options.checkpoint_every} must be at least 1")
    if options.resume and (options.out / "record.json").exists():
        return _finished_already(recipe, options.out)

    from mixerlib.training.distributed import joined, local_device
    from mixerlib.training.loop import Stopped, train
    from mixerlib.training.run import choose_device, dataset_for, model_for

    device = choose_device(local_device(options.device))
    with joined(device) as processes:
        if options.download and not processes.is_first:
            processes.wait_for_all()  # for the first one, which alone downloads
        dataset = dataset_for(recipe, options.data, options.download and processes.is_first)
        if options.download and processes.is_first:
            processes.wait_for_all()
        model_for(recipe, dataset)  # a mistake in the options shows here, before a folder is made
        out = options.out or _new_folder(recipe)
        with _run_folder(out, options.resume, processes.is_first), _stoppable() as stop:
            if processes.is_first and not options.quiet:
                shared = f" × {processes.count}" if processes.count > 1 else ""
                begun = (out / "checkpoint.pt").exists()
                print(
                    f"{recipe.name}: {recipe.model} on {len(dataset.train_labels):,} images, "
                    f"epochs: {recipe.epochs}, seed: {recipe.seed}, {device}{shared}; "
                    f"{'going on in' if begun else 'writing to'} {out}",
                    flush=True,
                )
            try:
                with _full_memory_explained(recipe):
                    model, record = train(
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
                    print(
                        f"mixerlib: {stopped}; to go on, give the same command again with "
                        f"--resume --out {out}",
                        file=sys.stderr,
                    )
                return 128 + stop.number
            if processes.is_first:
                keep_results(model, record, out)
        if processes.is_first:
            print(
                f"{result_line(recipe, record)}\n"
                f"time:     {record.training_seconds:.1f} s of training, "
                f"{record.total_seconds:.1f} s with evaluation; "
                f"{record.images_per_second:,.0f} images/s on {record.provenance.device_name}\n"
                f"record:   {out / 'record.json'}\n"
                f"weights:  {out / 'model.safetensors'}"
            )
    return 0


def _finished_already(recipe: Recipe, out: Path) -> int:
    """Say that there is nothing left to resume, unless what is there was another run."""
    from mixerlib.records import read_record

    record = read_record(out / "record.json")
    if apart := _differences(record, recipe):
        raise ValueError(
            f"`out`='{out}' holds a finished run with other settings: {apart}; name another folder"
        )
    (out / "checkpoint.pt").unlink(missing_ok=True)  # of a run that was killed at the very end
    print(f"{result_line(recipe, record)}: finished already\nrecord:   {out / 'record.json'}")
    return 0


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="judge a trained model on its test set",
        description="Judge a trained model on the test set: accuracy, loss, each class, confusion.",
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        type=Path,
        help="a run's folder, its model.safetensors or checkpoint.pt, or a published checkpoint",
    )
    parser.add_argument(
        "--recipe", metavar="RECIPE", help="what it was trained by, if no record beside it tells"
    )
    _add_places(parser)
    parser.add_argument(
        "--flip-average",
        action="store_true",
        help="also judge the mean of each image's logits and its mirror image's",
    )
    parser.add_argument("--confusion", action="store_true", help="also print the confusion matrix")
    parser.add_argument("--json", action="store_true", help="print JSON, with all of it")
    parser.set_defaults(run=run_evaluate, parser=parser)


def run_evaluate(options: argparse.Namespace) -> int:
    from mixerlib.training.evaluation import evaluate_on
    from mixerlib.training.finished import load_trained, recipe_of, weights_in
    from mixerlib.training.run import choose_device, dataset_for

    device = choose_device(options.device)
    file = weights_in(options.checkpoint)
    recipe = load_recipe(options.recipe) if options.recipe else recipe_of(file)
    dataset = dataset_for(recipe, options.data, options.download).to(device)
    with warnings_told():
        model = load_trained(file, recipe, dataset).to(device)
    plain = evaluate_on(model, dataset)
    averaged = evaluate_on(model, dataset, flip_average=True) if options.flip_average else None
    if options.json:
        report = {"file": str(file), "recipe": recipe.name, "model": recipe.model}
        report |= {"dataset": dataset.name, "images": len(plain.predictions)}
        report |= _evaluation_report(plain, dataset.classes)
        if averaged:
            report["flip_average"] = _evaluation_report(averaged, dataset.classes)
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return 0
    images = f"{len(plain.predictions):,} test images of {dataset.name}"
    print(f"{file}: {recipe.model} on the {images}")
    print(f"top-1 {plain.top1:8.2%}\ntop-5 {plain.top5:8.2%}\nloss  {plain.loss:8.4f}")
    if averaged:
        print(f"top-1 {averaged.top1:8.2%}  of each image and its mirror image, averaged")
    width = max(map(len, ("class", *dataset.classes)))
    print(f"\n{'class':{width}}  accuracy")
    for name, share in zip(dataset.classes, plain.per_class.tolist(), strict=True):
        print(f"{name:{width}}  {share:8.2%}")
    if options.confusion:
        print("\nconfusion: a row for each class, a column for what its images were taken for")
        digits = len(str(plain.confusion.max().item()))
        for name, row in zip(dataset.classes, plain.confusion.tolist(), strict=True):
            print(f"{name:{width}}  " + " ".join(f"{count:{digits}}" for count in row))
    return 0


def add_sweep(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "sweep",
        help="train a list of recipes with several seeds, as far as the time goes",
        description=(
            "Train a list of recipes × seeds. Runs that have a record are skipped, runs that were\n"
            "cut off go on from their checkpoint, so the same command can be given again and again."
        ),
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="a .yaml file that lists the runs")
    parser.add_argument(
        "--minutes",
        metavar="N",
        type=float,
        help="stop cleanly, with a checkpoint, after this time",
    )
    parser.add_argument(
        "--records",
        metavar="DIR",
        type=Path,
        default=Path("records"),
        help="where records are kept, as RECIPE/seedN.json (default: records)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("runs"),
        help="where checkpoints and weights are kept, as RECIPE/seedN (default: runs)",
    )
    parser.add_argument(
        "--list", action="store_true", help="only print what is done and what is left"
    )
    _add_places(parser)
    parser.set_defaults(run=run_sweep, parser=parser)


def run_sweep(options: argparse.Namespace) -> int:
    from mixerlib.records import read_record
    from mixerlib.training.sweep import read_sweep

    if options.minutes is not None and not options.minutes > 0:
        raise ValueError(f"`minutes`={options.minutes:g} must be above 0")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError("a sweep runs in one process: call it without torchrun")
    runs = {options.records / r.name / f"seed{r.seed}.json": r for r in read_sweep(options.file)}
    for place in filter(Path.exists, runs):
        read_record(place)  # one that cannot be read is better told now than after hours
    ways: dict[Path, str] = {}  # how a run that has no record ended
    status = 0
    if not options.list:
        with _stoppable(options.minutes) as stop:
            for place, recipe in runs.items():
                if not place.exists() and not stop():
                    ways[place] = _sweep_run(recipe, options, place, stop)
            status = 128 + stop.number if stop.number else 0
        print()

    left = 0
    for place, recipe in runs.items():
        if place.exists():
            record = read_record(place)
            told, apart = f"{record.test_accuracy:.2%}", _differences(record, recipe)
            told += f", with settings that are no more the recipe's: {apart}" if apart else ""
        else:
            left += 1
            begun = (_sweep_folder(recipe, options) / "checkpoint.pt").exists()
            told = ways.get(place, "begun, left" if begun else "left")
        print(f"{recipe.name}, seed {recipe.seed}: {told}")
    print(f"{len(runs) - left} of {len(runs)} runs have a record in {options.records}")
    return status or int(any(told.startswith("failed") for told in ways.values()))


def _sweep_folder(recipe: Recipe, options: argparse.Namespace) -> Path:
    return options.out / recipe.name / f"seed{recipe.seed}"


def _sweep_run(
    recipe: Recipe, options: argparse.Namespace, place: Path, stop: "StopRequest"
) -> str:
    """Do one run of a sweep, or as much of it as the time allows; say how it ended.

    What goes wrong with one run, such as data that are missing or a loss that is no number, is told
    and does not keep the others from being done.
    """
    from mixerlib.records import write_record
    from mixerlib.training.loop import Stopped

    try:
        record = _sweep_record(recipe, _sweep_folder(recipe, options), options, stop)
        write_record(record, place)
    except Stopped as stopped:
        return str(stopped)
    except (ValueError, OSError, ArithmeticError) as error:
        told = f"failed: {one_line(error)}"
        print(f"{recipe.name}, seed {recipe.seed}: {told}", file=sys.stderr, flush=True)
        return told
    print(result_line(recipe, record), flush=True)
    return "done"


def _sweep_record(
    recipe: Recipe, out: Path, options: argparse.Namespace, stop: "StopRequest"
) -> "Record":
    """The record of a run of a sweep: trained now, or found in its folder, when it was done there
    before, and cut off between its two records or started by `mixerlib train`.
    """
    from mixerlib.records import read_record
    from mixerlib.training.loop import train
    from mixerlib.training.run import choose_device, dataset_for

    if (out / "record.json").exists():
        record = read_record(out / "record.json")
        if apart := _differences(record, recipe):
            raise ValueError(f"{out} holds a finished run with other settings: {apart}")
        return record
    dataset = dataset_for(recipe, options.data, options.download)
    print(f"{recipe.name}, seed {recipe.seed}: writing to {out}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    device = str(choose_device(options.device))
    with _full_memory_explained(recipe):
        model, record = train(recipe, dataset, device, folder=out, resume=True, stop=stop)
    keep_results(model, record, out)
    return record


def keep_results(model: "nn.Module", record: "Record", out: Path) -> None:
    """Write a finished run's weights and then its record; its checkpoint is not needed any more."""
    from mixerlib.records import write_record
    from mixerlib.weights import save_weights

    save_weights(model, out / "model.safetensors")
    write_record(record, out / "record.json")
    (out / "checkpoint.pt").unlink(missing_ok=True)


def result_line(recipe: Recipe, record: "Record") -> str:
    return (
        f"{recipe.name}: {record.test_accuracy:.2%} of {record.test_images:,} test images right "
        f"after epoch {recipe.epochs}"
    )


@contextmanager
def _full_memory_explained(recipe: Recipe) -> Iterator[None]:
    """A GPU whose memory is full as an error that says what to try."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"{str(error).partition('. ')[0]}; work through each batch in parts, with `accumulate` "
            f"above {recipe.accumulate}, or try a `batch_size` below {recipe.batch_size}"
        ) from None


def _differences(record: "Record", recipe: Recipe) -> str:
    """Where a record's settings are not the recipe's, in words; nothing where they are the same."""
    here = json.loads(json.dumps(asdict(recipe), default=str))  # in the form that records have
    there = LATER | record.settings | {"name": record.recipe}
    measured = FORM if recipe.fastest else ()  # the record has what the measurement chose
    apart = [k for k in here | there if k not in measured and here.get(k) != there.get(k)]
    return "; ".join(f"`{k}`={here.get(k)!r} here, {there.get(k)!r} there" for k in apart)


def _evaluation_report(found: "Evaluation", classes: tuple[str, ...]) -> dict[str, Any]:
    shares = zip(classes, found.per_class.tolist(), strict=True)
    return {
        "top1": found.top1,
        "top5": found.top5,
        "loss": found.loss,
        "per_class": dict(shares),
        "confusion": found.confusion.tolist(),
    }


class StopRequest:
    """Asked between two steps whether to stop: because of a signal, or because the time is up."""

    def __init__(self, minutes: float | None = None):
        self.number = 0  # of the signal that came
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes

    def __call__(self) -> str | None:
        if self.number:
            name = "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name
            return f"stopped by {name}"
        if self.deadline is not None and time.monotonic() > self.deadline:
            return "stopped at the deadline"
        return None


@contextmanager
def _stoppable(minutes: float | None = None) -> Iterator[StopRequest]:
    """While this lasts, the first Ctrl-C or SIGTERM only asks to stop; the second acts at once.

    So does the SIGHUP of a terminal that closes, unless it is ignored, as under nohup.
    """
    request = StopRequest(minutes)
    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)  # not on Windows
    before = {number: signal.getsignal(number) for number in signals}

    def note(number: int, frame: FrameType | None) -> None:
        request.number = number
        for other, handler in before.items():
            signal.signal(other, handler)

    for number in signals:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _add_places(parser: argparse.ArgumentParser) -> None:
    """The flags for where the data are and what computes."""
    parser.add_argument(
        "--data", metavar="DIR", help="where data sets lie (default: $MIXERLIB_DATA, else ./data)"
    )
    parser.add_argument("--download", action="store_true", help="fetch the data set if missing")
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


def _new_folder(recipe: Recipe) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("runs") / recipe.name / f"{now}-seed{recipe.seed}"


@contextmanager
def _run_folder(folder: Path, resume: bool, writes: bool) -> Iterator[None]:
    """A folder for a run, its own or a new one; a new one is taken away if nothing comes into it.

    Raises `ValueError` when an earlier run has written to it that is not to be resumed. Of several
    processes only the one that `writes` does any of this.
    """
    if not writes:
        yield
        return
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for name in () if resume else ("checkpoint.pt", *RESULTS):
        if (folder / name).exists():
            hint = "go on with it by --resume, or " if name == "checkpoint.pt" else ""
            raise ValueError(
                f"`out`='{folder}' holds the {name} of an earlier run; {hint}name another folder"
            )
    try:
        tempfile.TemporaryFile(dir=folder).close()  # can it be written to? better asked now
        yield
    except BaseException:
        with suppress(OSError):  # what is not empty stays
            for path in new:
                path.rmdir()
        raise
