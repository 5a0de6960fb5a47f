"""The subcommand that validates a trained model: evaluate."""

import argparse
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixerlib.cli.options import (
    add_choice_of_weights,
    folder_name,
    print_json,
    warnings_as_lines,
)
from mixerlib.cli.training import add_places
from mixerlib.data import FILE_DATASETS, PREPROCESSINGS, Preprocessing, preprocessing_named
from mixerlib.records import judged_on
from mixerlib.training import (
    Evaluation,
    Processes,
    Recipe,
    Stopped,
    choose_device,
    dataset_for,
    evaluate_in_folder,
    joined,
    load_recipe,
    load_trained,
    local_device,
    recipe_of,
    stop_on_signals,
    weights_in,
)
from mixerlib.training.evaluation import BATCH_SIZE
from mixerlib.weights import PublishedWeights, published_weights, weights_file
from mixerlib.weights.published import published_as

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mixerlib.data import ImageSource

MOST_CLASSES = 100  # of which each gets a line; of more, only the least accurate do
WEAKEST = 10
IMAGENET_CLASSES = 1000


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        usage="mixerlib evaluate CHECKPOINT [--recipe RECIPE] …\n"
        "       mixerlib evaluate --weights NAME [--download] …",
        description=(
            "Validate a trained model: accuracy, loss, each class, confusion.\n\n"
            "With --out, Ctrl-C and SIGTERM let the batch end and keep what is done; --resume\n"
            "goes on. torchrun --nproc_per_node 2 -m mixerlib evaluate … shares the batches among\n"
            "processes: every image counts once, and the result is the same."
        ),
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        type=Path,
        nargs="?",
        help="a run's folder, its model.safetensors or checkpoint.pt, or a published checkpoint",
    )
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="published weights, on their own data unless --recipe says otherwise; `mixerlib list "
        "--weights` prints them",
    )
    parser.add_argument(
        "--recipe", metavar="RECIPE", help="what it was trained by, if no record beside it tells"
    )
    parser.add_argument(
        "--preprocessing",
        metavar="NAME",
        help=f"what photographs go through, in place of the recipe's: {', '.join(PREPROCESSINGS)}",
    )
    add_choice_of_weights(parser)
    add_places(parser)
    _add_form(parser)
    parser.set_defaults(run=run_evaluate, parser=parser)


def _add_form(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=int,
        default=BATCH_SIZE,
        help=f"images that go through the model together (default: {BATCH_SIZE})",
    )
    parser.add_argument(
        "--amp",
        nargs="?",
        const="default",
        choices=("bfloat16", "float16", "default"),
        metavar="float16|bfloat16",
        help="compute by autocast (default: float16 on a GPU, as timm, bfloat16 on a CPU)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=folder_name, help="keep each image's outcome, as they come"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the outcomes in --out, if there are any"
    )
    parser.add_argument(
        "--flip-average",
        action="store_true",
        help="also validate the mean of each image's logits and its mirror image's",
    )
    parser.add_argument("--confusion", action="store_true", help="also print the confusion matrix")
    parser.add_argument("--json", action="store_true", help="print JSON, with all of it")
    parser.add_argument("--quiet", action="store_true", help="draw no bar")


def run_evaluate(options: argparse.Namespace) -> int:
    if options.batch_size < 1:
        raise ValueError(f"`batch_size`={options.batch_size} must be at least 1")
    if options.resume and options.out is None:
        raise ValueError("`resume`=True needs `out`: the folder of the evaluation to go on with")
    if (options.checkpoint is None) == (options.weights is None):
        raise ValueError("give either CHECKPOINT or --weights NAME; see `mixerlib evaluate --help`")
    device = choose_device(local_device(options.device))
    with joined(device) as processes:
        return _evaluate(options, device, processes)


def _evaluate(options: argparse.Namespace, device: "torch.device", processes: Processes) -> int:
    """Evaluate in one of several processes, of which the first downloads and prints."""
    published = published_weights(options.weights) if options.weights else None
    fetches = options.download and processes.is_first
    if options.download and not fetches:
        processes.barrier()
    if published is not None:
        file = weights_file(published.name, download=fetches)
    else:
        file = weights_in(options.checkpoint)
    recipe = _recipe(options, file, published, processes)
    places = (options.data, fetches, options.workers)
    dataset = dataset_for(recipe, *places, test_only=True).to(device)
    if fetches:
        processes.barrier()
    with warnings_as_lines(processes.is_first):
        model = load_trained(file, recipe, dataset, key=options.key, average=options.average)
    with stop_on_signals() as stop:
        try:
            results = _results(options, model.to(device), dataset, processes, stop)
        except Stopped as stopped:
            kept = options.out is not None
            advice = "to go on, give the same command again with --resume"
            if processes.is_first:
                advice = advice if kept else "nothing is kept; --out DIR keeps what is done"
                print(f"mixerlib: {stopped}; {advice}", file=sys.stderr)
            return 128 + (stop.number or signal.SIGTERM)  # which another process was sent
    if not processes.is_first:
        return 0
    if options.json:
        _print_json(file, recipe, dataset, results)
        return 0
    _print(options.confusion, file, recipe, dataset, results)
    if published is not None and published.top1 is not None:
        print(f"\npublished: top-1 {published.top1:.2f}%, by {published.source}")
    return 0


def _results(
    options: argparse.Namespace,
    model: "nn.Module",
    dataset: "ImageSource",
    processes: Processes,
    stop: Callable[[], str | None],
) -> list[Evaluation]:
    """The evaluation, and if asked for that of the mirror images too."""
    return evaluate_in_folder(
        model,
        dataset,
        options.out,
        resume=options.resume,
        batch_size=options.batch_size,
        flip_average=options.flip_average,
        precision=_precision(options.amp, dataset.device),
        processes=processes,
        progress=not options.quiet,
        stop=stop,
    )


def _precision(amp: str | None, device: "torch.device") -> str:
    if amp == "default":
        return "float16" if device.type == "cuda" else "bfloat16"
    return amp or "float32"


def _recipe(
    options: argparse.Namespace,
    file: Path,
    published: PublishedWeights | None,
    processes: Processes,
) -> Recipe:
    """The recipe to evaluate by. What disagrees with what the weights need is said on stderr."""
    if options.recipe:
        recipe = load_recipe(options.recipe)
    elif published is not None:
        recipe = _recipe_of_published(published)
    else:
        recipe = recipe_of(file)
    if options.preprocessing:
        preset = preprocessing_named(options.preprocessing)
        if recipe.dataset not in FILE_DATASETS:
            raise ValueError(
                f"`preprocessing`={options.preprocessing!r} is for photographs "
                f"({', '.join(FILE_DATASETS)}), not for {recipe.dataset}"
            )
        recipe = replace(recipe, **preset.settings())
    if processes.is_first:
        for line in disagreements(recipe, file, published or published_as(file)):
            print(f"mixerlib: warning: {line}", file=sys.stderr)
    return recipe


def _recipe_of_published(weights: PublishedWeights) -> Recipe:
    """What published weights are evaluated by: their own recipe, or ImageNet as they need it."""
    if weights.recipe is not None:
        return load_recipe(weights.recipe)
    if weights.classes != IMAGENET_CLASSES:
        raise ValueError(
            f"`weights`={weights.name!r} have a classifier of {weights.classes:,} classes, not "
            f"ImageNet's {IMAGENET_CLASSES:,}: fine-tune them, as `weights` of a recipe"
        )
    settings = weights.preprocessing.settings()
    return Recipe("imagenet", weights.model, **settings, name=weights.name)


def disagreements(recipe: Recipe, file: Path, published: PublishedWeights | None) -> list[str]:
    """In a line each, where a recipe is at odds with what weights need: with what is published of
    them, or with the record beside them.
    """
    own_data = None if published is None else published.dataset
    if recipe.dataset not in {*FILE_DATASETS, own_data}:
        return []
    here = _preprocessing(recipe)
    if published is not None:
        needed, model = published.preprocessing, published.model
        weights = f"the weights {published.name} were published"
    else:
        try:
            own = recipe_of(file)
        except (OSError, ValueError):  # nothing tells
            return []
        if own.dataset not in FILE_DATASETS:
            return []
        needed, model = _preprocessing(own), own.model
        weights = f"the weights in {file} were trained"
    lines = [
        f"{weights} with {name} {theirs}, and the images here have {ours}"
        for name, (ours, theirs) in here.differences(needed).items()
    ]
    if recipe.model != model:
        lines.append(f"{weights} for {model}, and the recipe has {recipe.model}")
    return lines


def _preprocessing(recipe: Recipe) -> Preprocessing:
    return Preprocessing(
        recipe.image_size or 1,
        recipe.interpolation or "bilinear",
        recipe.crop_pct,
        recipe.normalization,
    )


def _print_json(
    file: Path, recipe: Recipe, dataset: "ImageSource", results: list[Evaluation]
) -> None:
    plain, *averaged = results
    report: dict[str, Any] = {"file": str(file), "recipe": recipe.name, "model": recipe.model}
    report |= {"dataset": dataset.name, "images": len(plain.predictions)}
    if recipe.dataset in FILE_DATASETS:
        report["preprocessing"] = _preprocessing(recipe).settings()
    report |= _report(plain, dataset.classes)
    for result in averaged:
        report["flip_average"] = _report(result, dataset.classes)
    print_json(report)


def _print(
    confusion: bool,
    file: Path,
    recipe: Recipe,
    dataset: "ImageSource",
    results: list[Evaluation],
) -> None:
    plain, *averaged = results
    images = f"{len(plain.predictions):,} {judged_on(vars(recipe))} of {dataset.name}"
    print(f"{file}: {recipe.model} on the {images}")
    if recipe.dataset in FILE_DATASETS:
        print(f"each {_preprocessing(recipe)}")
    print(f"top-1 {plain.top1:8.2%}\ntop-5 {plain.top5:8.2%}\nloss  {plain.loss:8.4f}")
    for result in averaged:
        print(f"top-1 {result.top1:8.2%}  of each image and its mirror image, averaged")
    _print_classes(plain, dataset.classes)
    if confusion:
        print("\nconfusion: a row for each class, a column for what its images were taken for")
        width, digits = max(map(len, dataset.classes)), len(str(plain.confusion.max().item()))
        width = max(width, len("class"))
        for name, row in zip(dataset.classes, plain.confusion.tolist(), strict=True):
            print(f"{name:{width}}  " + " ".join(f"{count:{digits}}" for count in row))


def _print_classes(result: Evaluation, classes: tuple[str, ...]) -> None:
    """The accuracy on each class; of many classes, on those with the lowest."""
    rows = list(zip(classes, result.per_class.tolist(), strict=True))
    if len(rows) > MOST_CLASSES:
        seen = [row for row in rows if row[1] == row[1]]  # no image, no accuracy: NaN
        rows = sorted(seen, key=lambda row: row[1])[:WEAKEST]
        print(f"\nthe {len(rows)} least accurate of {len(classes):,} classes; --json has all")
    width = max(map(len, ("class", *(name for name, _ in rows))))
    print(f"\n{'class':{width}}  accuracy")
    for name, share in rows:
        print(f"{name:{width}}  {share:8.2%}")


def _report(result: Evaluation, classes: tuple[str, ...]) -> dict[str, Any]:
    shares = zip(classes, result.per_class.tolist(), strict=True)
    return {
        "top1": result.top1,
        "top5": result.top5,
        "loss": result.loss,
        "per_class": dict(shares),
        "confusion": result.confusion.tolist(),
    }
