"""The subcommands on models as they are: list, cost, import."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixerlib.cli.options import (
    DATA_OPTIONS,
    MODEL_OPTIONS,
    add_choice_of_weights,
    add_model_options,
    model_options_given,
    print_json,
    warnings_as_lines,
)
from mixerlib.files import check_writable

if TYPE_CHECKING:
    from mixerlib.costs import Counts, Measured, Size
    from mixerlib.models import Entry


def add_list(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("list", description="Print every model with its parameters.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--weights", action="store_true", help="print the weights that others have published"
    )
    parser.set_defaults(run=run_list, parser=parser)


def run_list(options: argparse.Namespace) -> int:
    if options.weights:
        return _list_weights(options.json)
    import torch

    from mixerlib.models import create_model, list_models, list_relatives, model_entry

    models = []
    for name in (*list_models(), *list_relatives()):
        with torch.device("meta"):  # shapes without numbers: 200 million parameters in no memory
            model = create_model(name)
        parameters = sum(p.numel() for p in model.parameters())
        models.append(
            {"name": name, "parameters": parameters, "description": model_entry(name).about}
        )
    if options.json:
        print_json(models)
        return 0
    width = max(len(model["name"]) for model in models)
    print(f"{'name':{width}}  {'parameters':>11}  description")
    for model in models:
        print(f"{model['name']:{width}}  {model['parameters']:>11,}  {model['description']}")
    return 0


def _list_weights(as_json: bool) -> int:
    from dataclasses import asdict

    from mixerlib.weights import weights_of

    if as_json:
        both = [asdict(w) | {"preprocessing": w.preprocessing.settings()} for w in weights_of()]
        print_json(both)
        return 0
    width = max(len(weights.name) for weights in weights_of())
    print(f"{'name':{width}}  top-1 %  on           license     images are prepared as")
    for weights in weights_of():
        top1 = "      –" if weights.top1 is None else f"{weights.top1:7.3f}"
        terms = weights.license or "–"
        about = f"{weights.dataset:11}  {terms:10}  {weights.preprocessing}"
        print(f"{weights.name:{width}}  {top1}  {about}")
    print("\nOf SplitMixer none is published. --json adds each file's address, source and size.")
    return 0


def add_cost(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "cost",
        description="Count parameters, MACs and activations, by closed forms and on the module.",
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="a model's name")
    parser.add_argument("--compare", action="store_true", help="set the models side by side")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    add_model_options(parser, MODEL_OPTIONS | DATA_OPTIONS)
    parser.set_defaults(run=run_cost, parser=parser)


def run_cost(options: argparse.Namespace) -> int:
    from mixerlib.models import model_entry

    given = model_options_given(options, MODEL_OPTIONS | DATA_OPTIONS)
    models = [_count(model_entry(name), given) for name in options.names]
    if options.json:
        reports = [_cost_report(*model) for model in models]
        print_json(reports if len(reports) > 1 else reports[0])
    elif options.compare:
        print(_cost_comparison(models))
    else:
        print("\n\n".join(_cost_table(*model) for model in models))
    return 0


def _count(
    entry: "Entry", given: dict[str, Any]
) -> tuple[str, "Counts[int] | Size[int] | None", "Measured"]:
    """A model's description, its counts by formula if it has one, and by measurement."""
    import torch

    from mixerlib import costs
    from mixerlib.models import create_model

    # the convolutional models take images of any size, so that is no option of theirs
    accepted = {k: v for k, v in given.items() if k in entry.defaults or k != "image_size"}
    with torch.device("meta"):
        model = create_model(entry.name, **accepted)
    options = dict(entry.defaults) | accepted
    size = given.get("image_size", entry.image_size)
    counts: costs.Counts[int] | costs.Size[int] | None = None
    with_head = options["num_classes"] != 0  # the formulas are of such models
    if entry.family in costs.SIZED and with_head:
        counts = costs.size_formulas(entry.family).counts(options, image_size=size)
    elif entry.family in costs.FAMILIES and with_head:
        counts = costs.formulas(entry.family).counts(options, image_size=size)
    measured = costs.measure(model, size, options["in_channels"])
    listed = ", ".join(f"{key} {value}" for key, value in options.items() if key != "image_size")
    return f"{entry.name} on {size}×{size} images ({listed})", counts, measured


def _cost_report(
    title: str, counts: "Counts[int] | Size[int] | None", measured: "Measured"
) -> dict[str, Any]:
    from mixerlib import costs

    def two_numbers(size: costs.Size) -> dict[str, Any]:  # all that a relative's formulas tell
        totals = {"params": size.total("params"), "macs": size.total("macs")}
        parts = {"params": dict(size.params), "macs": dict(size.macs)}
        return totals | {"flops": 2 * totals["macs"], "parts": parts}

    def numbers(counted: costs.Counts) -> dict[str, Any]:
        totals = {"params": counted.total("params")}
        totals |= {name: convention(counted) for name, convention in costs.CONVENTIONS.items()}
        totals |= {name: counted.total(name) for name in ("buffers", "activations", "moved")}
        parts = ("params", "macs", "activations")
        return totals | {"parts": {name: dict(getattr(counted, name)) for name in parts}}

    if isinstance(counts, costs.Size):
        formula: dict[str, Any] | None = two_numbers(counts)
    else:
        formula = None if counts is None else numbers(counts)
    return {"model": title, "formula": formula, "measured": numbers(measured)}


def _cost_table(title: str, counts: "Counts[int] | Size[int] | None", measured: "Measured") -> str:
    from mixerlib import costs

    shown = {"params": "parameters", "macs": "MACs", "activations": "kept for training"}
    lines = [title, "", f"{'part':16}" + "".join(f"{text:>18} share" for text in shown.values())]

    def row(label: str, counted: costs.Counts | costs.Size, part: str | None = None) -> str:
        cells = []
        for name in shown:
            if not hasattr(counted, name):
                continue
            total = counted.total(name)
            value = total if part is None else getattr(counted, name).get(part, 0)
            cells.append(f"{value:>18,} {value / total:>5.0%}" if part else f"{value:>18,}      ")
        return (f"{label:16}" + "".join(cells)).rstrip()

    preferred = counts if isinstance(counts, costs.Counts) else measured
    lines += [row(part, preferred, part) for part in preferred.params]
    lines += [] if counts is None else [row("total, formula", counts)]
    lines += [row("total, measured", measured), ""]
    for name, text in (("macs", "MACs"), ("flops", "FLOPs = 2 MACs"), ("thop", "as thop counts")):
        lines.append(f"{text:16}{costs.CONVENTIONS[name](preferred):>18,}")
    if counts is None:
        return "\n".join([*lines, "", "Counted by measurement only: there is no formula."])
    differing = [
        f"{quantity} of {part}: formula {value:,}, measured {getattr(measured, quantity)[part]:,}"
        for quantity in costs.QUANTITIES
        if hasattr(counts, quantity)
        for part, value in getattr(counts, quantity).items()
        if value != getattr(measured, quantity).get(part, 0)
    ]
    agree = "Formula and measurement agree in every part."
    return "\n".join([*lines, "", *(differing or [agree])])


def _cost_comparison(
    models: list[tuple[str, "Counts[int] | Size[int] | None", "Measured"]],
) -> str:
    from mixerlib import costs

    width = max(len(title.partition(" ")[0]) for title, *_ in models)
    heads = ("parameters", "MACs", "as thop counts", "kept for training", "moved")
    lines = [" " * width + "".join(f"{head:>25}" for head in heads)]
    first: list[int] = []
    for title, formula, measured in models:
        counts = formula if isinstance(formula, costs.Counts) else measured
        values = [counts.total("params"), costs.macs(counts), costs.thop(counts)]
        values += [counts.total("activations"), counts.total("moved")]
        first = first or values
        cells = (f"{v:>16,} ({v / f:>5.1%})" for v, f in zip(values, first, strict=True))
        lines.append(f"{title.partition(' ')[0]:{width}}" + "".join(f"{c:>25}" for c in cells))
    return "\n".join([*lines, "", f"In brackets: of {models[0][0]}."])


def add_import(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "import",
        description=(
            "Check a checkpoint against a model, and write it as mixerlib's safetensors, or with\n"
            "--to as another project has it. It is a .safetensors, .pt, .pth, .pth.tar, .ckpt or "
            ".bin file\nthat holds a state dict under any key, a run's checkpoint.pt, MindSpore's "
            ".ckpt, or the .npz of\na JAX program; nothing in it is run."
        ),
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path, nargs="?", help="the file to read"
    )
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="published weights in its place: `mixerlib list --weights`",
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch the published weights if missing"
    )
    parser.add_argument("--model", metavar="NAME", help="see `mixerlib list`; --weights knows it")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="the file to write (default: the checkpoint's name, here, with the suffix of the "
        "layout: .safetensors, for others .pth, for mindcv and mindspore .ckpt)",
    )
    parser.add_argument(
        "--to",
        metavar="LAYOUT",
        default="mixerlib",
        help="whose names the file has: timm, locuslab, tweet, aliborji, mindcv or mindspore "
        "(default: mixerlib)",
    )
    add_choice_of_weights(parser)
    parser.add_argument(
        "--resample-stem",
        action="store_true",
        help="bring the stem to the patch size that the model has, where it has as many patches",
    )
    add_model_options(parser, MODEL_OPTIONS | DATA_OPTIONS)
    parser.set_defaults(run=run_import, parser=parser)


def run_import(options: argparse.Namespace) -> int:
    from mixerlib.models import create_model, model_entry
    from mixerlib.weights import load_weights, published_weights, save_weights, weights_file
    from mixerlib.weights.saving import suffixes_of

    given = model_options_given(options, MODEL_OPTIONS | DATA_OPTIONS)
    if (options.checkpoint is None) == (options.weights is None):
        raise ValueError("give either CHECKPOINT or --weights NAME; see `mixerlib import --help`")
    if options.weights is not None:
        published = published_weights(options.weights)
        options.checkpoint = weights_file(published.name, download=options.download)
        options.model = options.model or published.model
        given = {"num_classes": published.classes} | given
    if options.model is None:
        raise ValueError("`model`=None: name the model that CHECKPOINT is of with --model")
    model_entry(options.model, "model")
    model = create_model(options.model, **given)
    stem = Path(options.checkpoint.name.removesuffix(".tar"))
    suffixes = suffixes_of(options.to)
    out = options.out or stem.with_suffix(".pth" if ".pth" in suffixes else suffixes[0])
    if out.exists():
        raise ValueError(f"`out`='{out}' exists already; name another file with --out")
    check_writable(out)
    with warnings_as_lines():
        layout = load_weights(
            model,
            options.checkpoint,
            key=options.key,
            average=options.average,
            resample_stem=options.resample_stem,
        )
    save_weights(model, out, layout=options.to)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{options.checkpoint}: layout {layout}, {parameters:,} parameters\nweights:  {out}")
    return 0
