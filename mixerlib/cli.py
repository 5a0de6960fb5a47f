"""The command `mixerlib`: a subcommand each for what the library does.

A subcommand is two functions: `add_…` describes its arguments, `run_…` does it. What a user can put
right ends in one line on stderr and exit status 2. torch is imported by the `run_…` that needs it,
so that help and errors of spelling come at once.
"""

import argparse
import difflib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import mixerlib
from mixerlib.recipe import SETTINGS, list_recipes, load_recipe, parse_setting

if TYPE_CHECKING:
    from mixerlib.costs import Counts, Measured
    from mixerlib.models import Entry

# The options of models by name (a test holds this list against the registry), and how to read them
# from text. The second table's follow from the data where there are any.
MODEL_OPTIONS = {
    "dim": int,
    "depth": int,
    "kernel_size": int,
    "patch_size": int,
    "activation": str,
    "ratio": str,
    "segments": int,
    "shuffle": bool,
    "tokens_dim": int,
    "channels_dim": int,
}
DATA_OPTIONS = {"image_size": int, "in_channels": int, "num_classes": int}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all of mixerlib's are; it takes no shortened flags."""

    def __init__(self, **options: Any):
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"mixerlib: {message}; see `{self.prog} --help`\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line `arguments` (without the program's name); return the exit status."""
    parser = Parser(
        prog="mixerlib",
        description="ConvMixer, SplitMixer and MLP-Mixer: the library of The Mixer Book.",
    )
    parser.add_argument("--version", action="version", version=f"mixerlib {mixerlib.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add_command in (add_list, add_cost, add_train, add_import):
        add_command(commands)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        options.parser.error(_unrecognized(options.parser, unknown[0]))
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("mixerlib: stopped by Ctrl-C", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
        return 1
    except (ValueError, OSError, ArithmeticError) as error:
        print(f"mixerlib: {_one_line(error)}", file=sys.stderr)
        return 2


def add_list(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "list", help="print the models", description="Print every model with its parameters."
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run_list, parser=parser)


def run_list(options: argparse.Namespace) -> int:
    import torch

    from mixerlib.models import create_model, list_models, model_entry

    models = []
    for name in list_models():
        with torch.device("meta"):  # shapes without numbers: 200 million parameters in no memory
            model = create_model(name)
        parameters = sum(p.numel() for p in model.parameters())
        models.append(
            {"name": name, "parameters": parameters, "description": model_entry(name).about}
        )
    if options.json:
        print(json.dumps(models, indent=1, ensure_ascii=False))
        return 0
    width = max(len(model["name"]) for model in models)
    print(f"{'name':{width}}  {'parameters':>11}  description")
    for model in models:
        print(f"{model['name']:{width}}  {model['parameters']:>11,}  {model['description']}")
    return 0


def add_cost(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "cost",
        help="count what a model costs, by formula and by measurement",
        description="Count parameters, MACs and activations, by closed forms and on the module.",
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="a model's name")
    parser.add_argument("--compare", action="store_true", help="set the models side by side")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    _add_model_options(parser, MODEL_OPTIONS | DATA_OPTIONS)
    parser.set_defaults(run=run_cost, parser=parser)


def run_cost(options: argparse.Namespace) -> int:
    from mixerlib.models import model_entry

    given = _model_options(options, MODEL_OPTIONS | DATA_OPTIONS)
    models = [_count(model_entry(name), given) for name in options.names]
    if options.json:
        reports = [_cost_report(*model) for model in models]
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=1, ensure_ascii=False))
    elif options.compare:
        print(_cost_comparison(models))
    else:
        print("\n\n".join(_cost_table(*model) for model in models))
    return 0


def _count(entry: "Entry", given: dict[str, Any]) -> tuple[str, "Counts", "Measured"]:
    """A model's description, its counts by formula, and its counts by measurement."""
    import torch

    from mixerlib import costs
    from mixerlib.models import create_model

    # the convolutional models take images of any size, so that is no option of theirs
    own = {k: v for k, v in given.items() if k in entry.defaults or k != "image_size"}
    with torch.device("meta"):
        model = create_model(entry.name, **own)
    options = dict(entry.defaults) | own
    size = given.get("image_size", entry.image_size)
    counts = costs.formulas(entry.family).evaluate(options, image_size=size)
    measured = costs.measure(model, size, options["in_channels"])
    told = ", ".join(f"{key} {value}" for key, value in options.items() if key != "image_size")
    return f"{entry.name} on {size}×{size} images ({told})", counts, measured


def _cost_report(title: str, counts: "Counts", measured: "Measured") -> dict[str, Any]:
    from mixerlib import costs

    def numbers(found: costs.Counts) -> dict[str, Any]:
        totals = {"params": found.total("params")}
        totals |= {name: convention(found) for name, convention in costs.CONVENTIONS.items()}
        totals |= {name: found.total(name) for name in ("buffers", "activations", "moved")}
        parts = ("params", "macs", "activations")
        return totals | {"parts": {name: dict(getattr(found, name)) for name in parts}}

    return {"model": title, "formula": numbers(counts), "measured": numbers(measured)}


def _cost_table(title: str, counts: "Counts", measured: "Measured") -> str:
    from mixerlib import costs

    shown = {"params": "parameters", "macs": "MACs", "activations": "kept for training"}
    lines = [title, "", f"{'part':16}" + "".join(f"{text:>18} share" for text in shown.values())]

    def row(label: str, found: costs.Counts, part: str | None = None) -> str:
        cells = []
        for name in shown:
            total = found.total(name)
            value = total if part is None else getattr(found, name).get(part, 0)
            cells.append(f"{value:>18,} {value / total:>5.0%}" if part else f"{value:>18,}      ")
        return (f"{label:16}" + "".join(cells)).rstrip()

    lines += [row(part, counts, part) for part in counts.params]
    lines += [row("total, formula", counts), row("total, measured", measured), ""]
    for name, text in (("macs", "MACs"), ("flops", "FLOPs = 2 MACs"), ("thop", "as thop counts")):
        lines.append(f"{text:16}{costs.CONVENTIONS[name](counts):>18,}")
    apart = [
        f"{quantity} of {part}: formula {value:,}, measured {getattr(measured, quantity)[part]:,}"
        for quantity in costs.QUANTITIES
        for part, value in getattr(counts, quantity).items()
        if value != getattr(measured, quantity).get(part, 0)
    ]
    agree = "Formula and measurement agree in every part."
    return "\n".join([*lines, "", *(apart or [agree])])


def _cost_comparison(models: list[tuple[str, "Counts", "Measured"]]) -> str:
    from mixerlib import costs

    width = max(len(title.partition(" ")[0]) for title, *_ in models)
    heads = ("parameters", "MACs", "as thop counts", "kept for training", "moved")
    lines = [" " * width + "".join(f"{head:>25}" for head in heads)]
    first: list[int] = []
    for title, counts, _ in models:
        values = [counts.total("params"), costs.macs(counts), costs.thop(counts)]
        values += [counts.total("activations"), counts.total("moved")]
        first = first or values
        cells = (f"{v:>16,} ({v / f:>5.1%})" for v, f in zip(values, first, strict=True))
        lines.append(f"{title.partition(' ')[0]:{width}}" + "".join(f"{c:>25}" for c in cells))
    return "\n".join([*lines, "", f"In brackets: of {models[0][0]}."])


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
            settings.add_argument(_flag(name), metavar="VALUE", dest=f"setting {name}")
    _add_model_options(parser, MODEL_OPTIONS)
    parser.set_defaults(run=run_train, parser=parser)


def run_train(options: argparse.Namespace) -> int:
    overrides: dict[str, Any] = {
        name: parse_setting(name, text)
        for name in SETTINGS
        if (text := vars(options).get(f"setting {name}")) is not None
    }
    if model_options := _model_options(options, MODEL_OPTIONS):
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


def add_import(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "import",
        help="convert a published checkpoint",
        description="Check a checkpoint against a model, and write it as mixerlib's safetensors.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="the file to read")
    parser.add_argument("--model", metavar="NAME", required=True, help="see `mixerlib list`")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="the file to write (default: the checkpoint's name with .safetensors, here)",
    )
    _add_model_options(parser, MODEL_OPTIONS | DATA_OPTIONS)
    parser.set_defaults(run=run_import, parser=parser)


def run_import(options: argparse.Namespace) -> int:
    from mixerlib.models import create_model
    from mixerlib.weights import load_weights, save_weights

    model = create_model(options.model, **_model_options(options, MODEL_OPTIONS | DATA_OPTIONS))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        layout = load_weights(model, options.checkpoint)
    for warning in caught:
        print(f"mixerlib: warning: {warning.message}", file=sys.stderr)
    stem = Path(options.checkpoint.name.removesuffix(".tar"))
    out = options.out or stem.with_suffix(".safetensors")
    if out.exists():
        raise ValueError(f"`out`='{out}' exists already; name another file with --out")
    save_weights(model, out)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{options.checkpoint}: layout {layout}, {parameters:,} parameters\nweights:  {out}")
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


def _add_model_options(parser: argparse.ArgumentParser, names: dict[str, type]) -> None:
    """A flag for every option of a model; which of them a model has, the registry says."""
    group = parser.add_argument_group("model options", "of those that the model has, any")
    for name, kind in names.items():
        metavar = {int: "N", str: "TEXT", bool: "true|false"}[kind]
        group.add_argument(_flag(name), metavar=metavar, dest=f"option {name}")


def _model_options(options: argparse.Namespace, names: dict[str, type]) -> dict[str, Any]:
    """The model's options that were given on the command line, as values."""
    return {
        name: _parse_option(name, text, kind)
        for name, kind in names.items()
        if (text := vars(options)[f"option {name}"]) is not None
    }


def _parse_option(name: str, text: str, kind: type) -> Any:
    """A model option's value; only its form is looked at here, the rest is for the model to say."""
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"`{name}`={text!r} must be true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"`{name}`={text!r} must be a whole number") from None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _unrecognized(parser: argparse.ArgumentParser, argument: str) -> str:
    known = [flag for action in parser._actions for flag in action.option_strings]
    near = difflib.get_close_matches(argument.partition("=")[0], known, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"`{argument}` is not an argument of `{parser.prog}`{hint}"


def _one_line(error: Exception) -> str:
    """An error's message; the system's own errors as "file: reason"."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
