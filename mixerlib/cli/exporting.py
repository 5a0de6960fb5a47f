"""The subcommand that writes a trained model as a file for elsewhere: export."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixerlib.cli.options import (
    DATA_OPTIONS,
    MODEL_OPTIONS,
    add_choice_of_weights,
    add_data_places,
    add_model_options,
    model_options_given,
    print_json,
    warnings_as_lines,
)
from mixerlib.files import check_writable

if TYPE_CHECKING:
    import torch
    from torch import nn

KINDS = ("onnx", "onnx-int8", "exported", "exported-bfloat16", "aoti", "torchscript")
IMAGES = 64  # on which the file is compared with the model
CALIBRATED = 256  # training images that int8 takes its ranges from


def add_export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        usage="mixerlib export TRAINED [--to KIND] [--out FILE] …\n"
        "       mixerlib export WEIGHTS --model NAME [model options] …",
        description=(
            "Write a trained model as a file for other programs. The file is run on images of the\n"
            "test set and compared with the model before it is kept.\n\n"
            "onnx, onnx-int8      for ONNX's runtimes; in eight bits, with the ranges of training\n"
            "                     images\n"
            "exported             a graph of torch.export; exported-bfloat16: in half the bytes\n"
            "aoti                 machine code for processors like this one, by AOTInductor\n"
            "torchscript          for older programs"
        ),
    )
    parser.add_argument(
        "trained",
        metavar="TRAINED",
        help="a run's folder, its weights, or the name of weights that the book keeps, such as "
        "digits/convmixer_64_4",
    )
    parser.add_argument(
        "--to", metavar="KIND", default="onnx", help=f"{', '.join(KINDS)} (default: onnx)"
    )
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="the file to write (default: by the model, here)"
    )
    parser.add_argument(
        "--fold",
        action=argparse.BooleanOptionalAction,
        help="fold BatchNorm into what comes after it, or not (default: yes, but for int8)",
    )
    parser.add_argument(
        "--tolerance",
        metavar="SHARE",
        type=float,
        help="how far the logits may be off, as a share of their scale (default: by the kind)",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="what WEIGHTS are of, where no record beside them tells"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a line")
    add_choice_of_weights(parser)
    add_data_places(parser)
    add_model_options(parser, MODEL_OPTIONS | DATA_OPTIONS)
    parser.set_defaults(run=run_export, parser=parser)


def run_export(options: argparse.Namespace) -> int:
    from mixerlib.speed import ARTEFACTS, export_model

    if options.to not in ARTEFACTS:
        raise ValueError(f"`to`={options.to!r} must be one of {', '.join(ARTEFACTS)}")
    given = model_options_given(options, MODEL_OPTIONS | DATA_OPTIONS)
    if given and options.model is None:
        raise ValueError(f"`{next(iter(given))}` needs `model`: what TRAINED was made by is known")
    with warnings_as_lines():
        if options.model is None:
            stem, model, images, calibration = _trained(options)
        else:
            stem, model, images, calibration = _of_weights(options, given)
    out = options.out or Path(f"{stem}{ARTEFACTS[options.to]}")
    if out.exists():
        raise ValueError(f"'{out}' exists already; give --out another name")
    check_writable(out)
    artefact = export_model(
        model,
        images,
        out,
        options.to,
        folded=options.fold,
        calibration=calibration if options.to == "onnx-int8" else None,
        tolerance=options.tolerance,
    )
    if options.json:
        print_json(vars(artefact) | {"path": str(artefact.path), "images": len(images)})
        return 0
    print(
        f"{artefact.path}: {artefact.kind}, {artefact.size / 1024:,.1f} KiB; on {len(images)} "
        f"images the logits differ by {artefact.difference:.0e} of their scale, and "
        f"{artefact.agreement:.1%} of the answers are the model's"
    )
    return 0


Inputs = tuple[str, "nn.Module", "torch.Tensor", "torch.Tensor | None"]


def _trained(options: argparse.Namespace) -> Inputs:
    """A name for the file, the model, images of its test set, and training images."""
    from mixerlib.training import (
        Recipe,
        dataset_for,
        kept_record,
        load_trained,
        recipe_of,
        trained_model,
    )

    path, name = Path(options.trained), options.trained
    kept = not path.exists() and name in _kept_names()
    if kept:
        recipe = Recipe.from_settings(kept_record(name).settings, name=name)
    elif path.exists():
        recipe = recipe_of(path)
    else:
        raise FileNotFoundError(f"there is no file or folder {name}, nor kept weights of that name")
    calibrates = options.to == "onnx-int8"
    places = options.data, options.download, options.workers
    dataset = dataset_for(recipe, *places, test_only=not calibrates)
    if kept:
        model = trained_model(name)
    else:
        model = load_trained(path, recipe, dataset, key=options.key, average=options.average)
    some = spread_out(len(dataset.test_labels), IMAGES)
    images = dataset.normalize(next(iter(dataset.test_images_at([some])))[0])
    calibration = None
    if calibrates:
        some = spread_out(len(dataset.train_labels), CALIBRATED)
        batches = dataset.training_batches([some], seed=0, epoch=1)
        calibration = dataset.normalize(next(iter(batches))[0])
    return Path(name).name if kept else recipe.model, model, images, calibration


def _of_weights(options: argparse.Namespace, given: dict[str, Any]) -> Inputs:
    """The same for weights without a record: the images are noise."""
    import torch

    from mixerlib.models import create_model, model_entry
    from mixerlib.weights import load_weights

    if options.to == "onnx-int8":
        raise ValueError(
            "`to`='onnx-int8' needs training images for its ranges, and `model` names no data: "
            "give a run's folder"
        )
    entry = model_entry(options.model, "model")
    accepted = {k: v for k, v in given.items() if k in entry.defaults or k != "image_size"}
    model = create_model(entry.name, **accepted)
    load_weights(model, Path(options.trained), key=options.key, average=options.average)
    side = given.get("image_size", entry.image_size)
    channels = (dict(entry.defaults) | accepted)["in_channels"]
    noise = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    return entry.name, model.eval(), noise, None


def spread_out(count: int, most: int) -> "torch.Tensor":
    """So many numbers below `count`, evenly spread: data sets may be sorted by class."""
    import torch

    return torch.arange(min(most, count)) * count // min(most, count)


def _kept_names() -> list[str]:
    from mixerlib.training import list_trained

    try:
        return list_trained()
    except FileNotFoundError:  # mixerlib without the book
        return []
