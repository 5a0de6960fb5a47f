"""What the subcommands share: a parser with short errors, a flag for every option of a model."""

import argparse
import json
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from mixerlib.files import one_line

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
    "residual": str,
    "norm": str,
    "mixes": str,
    "segments_mixed": str,
    "tokens_dim": int,
    "channels_dim": int,
    "heads": int,
    "qkv_bias": bool,
    "stages": str,
    "shift_size": int,
    "channels_ratio": int,
    "stride": int,
}
DATA_OPTIONS = {"image_size": int, "in_channels": int, "num_classes": int}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all of mixerlib's are; it takes no shortened flags."""

    def __init__(self, **options: Any):
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        message = one_line(ValueError(message))
        self.exit(2, f"mixerlib: {message}; see `{self.prog} --help`\n")


def add_model_options(parser: argparse.ArgumentParser, names: dict[str, type]) -> None:
    """A flag for every option of a model; which of them a model has, the registry says."""
    group = parser.add_argument_group("model options", "of those that the model has, any")
    for name, kind in names.items():
        metavar = {int: "N", str: "TEXT", bool: "true|false"}[kind]
        group.add_argument(flag(name), metavar=metavar, dest=f"option {name}")


def model_options_given(options: argparse.Namespace, names: dict[str, type]) -> dict[str, Any]:
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
            raise ValueError(f"`{name}`={_cut(text)} must be true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"`{name}`={_cut(text)} must be a whole number") from None


def _cut(text: str) -> str:
    return repr(text) if len(text) <= 100 else f"{text[:99]!r}…"


def print_json(value: Any) -> None:
    """Print a value as JSON, in which a number that is none, such as a loss of NaN, is null."""
    print(json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def warnings_as_lines(said: bool = True) -> Iterator[None]:
    """Print what is warned of meanwhile as one line each on stderr; not what is not to be said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught if said else []:
        print(f"mixerlib: warning: {warning.message}", file=sys.stderr)


@contextmanager
def warnings_at_once(kind: type[Warning]) -> Iterator[None]:
    """Print what is warned of in this way as a line on stderr, at once; the rest as Python does."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", kind)
        others = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, kind):
                print(f"mixerlib: warning: {message}", file=sys.stderr, flush=True)
            else:
                others(message, category, *where, **more)

        warnings.showwarning = show
        yield


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def folder_name(text: str) -> Path:
    """A folder's name from the command line, which must not be empty: that would be this folder."""
    if not text:
        raise argparse.ArgumentTypeError("'' must name a folder")
    return Path(text)


def add_records(
    parser: argparse.ArgumentParser, places: str, default: Path = Path("records")
) -> None:
    """The flag for where records are kept; `places` says in which folders or files of it."""
    parser.add_argument(
        "--records",
        metavar="DIR",
        type=folder_name,
        default=default,
        help=f"where the records are kept, {places} (default: {default})",
    )


def check_minutes(minutes: float | None) -> None:
    """Raises `ValueError` for a time that is given and not above 0."""
    if minutes is not None and not minutes > 0:
        raise ValueError(f"`minutes`={minutes:g} must be above 0")


def add_data_places(parser: argparse.ArgumentParser) -> None:
    """The flags for where the data are."""
    parser.add_argument(
        "--data", metavar="DIR", help="where data sets lie (default: $MIXERLIB_DATA, else ./data)"
    )
    parser.add_argument("--download", action="store_true", help="fetch the data set if missing")
    parser.add_argument(
        "--workers",
        metavar="N",
        type=int,
        help="processes that read photographs (default: one a core, 16 at most; 0: none but this)",
    )


def add_choice_of_weights(parser: argparse.ArgumentParser) -> None:
    """The flags for which weights of a file are taken, where it holds several."""
    parser.add_argument(
        "--key", metavar="KEY", help="of the state dict to take, where the file holds several"
    )
    parser.add_argument(
        "--average",
        action=argparse.BooleanOptionalAction,
        help="take the moving average of the weights, or not (default: where there is one)",
    )


def parse_setting(name: str, text: str) -> Any:
    """The value that `text`, typed on a command line, means for the field `name`.

    Numbers are read as Python reads them (so 1e-2 is one), switches as true or false, and "none" or
    "null" as None where a field may be that. Raises `ValueError` when the text means no such value.
    """
    from mixerlib import checks
    from mixerlib.training.recipe import FIELD_TYPES

    classes, _ = checks.TYPES[FIELD_TYPES[name]]
    if type(None) in classes and text.lower() in ("none", "null"):
        return None
    if bool in classes and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (float, int):
        if number in classes:
            with suppress(ValueError):
                return number(text)
    checks.of_type(name, text, FIELD_TYPES[name])
    return text
