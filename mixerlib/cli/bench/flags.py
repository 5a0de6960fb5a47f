"""The flags that the measurements share, and their values."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixerlib.cli.options import (
    DATA_OPTIONS,
    MODEL_OPTIONS,
    add_model_options,
    add_records,
    check_minutes,
    model_options_given,
)
from mixerlib.files import check_writable

if TYPE_CHECKING:
    import torch

    from mixerlib.speed import Case

    Races = dict[str, list[Case]]

WORDS = {  # flag → its type, what stands for its value in the help, and what the help says
    "batch": (int, "N", "images in a step (default: 64)"),
    "rounds": (int, "N", "of the race (default: 15)"),
    "minutes": (float, "N", "begin nothing more after this time"),
    "device": (str, "NAME", "cpu, cuda, cuda:1, mps (default: the GPU if there is one)"),
    "json": (Path, "FILE", "also write a record"),
    "dtype": (str, "TEXT", "float32, bfloat16 or float16 (default: float32)"),
}


def add_flags(parser: argparse.ArgumentParser, *names: str, **words: str) -> None:
    """Add these flags and those of models. `words` say of a flag what the table does not."""
    for name in names:
        kind, metavar, usual = WORDS[name]
        parser.add_argument(f"--{name}", metavar=metavar, type=kind, help=words.get(name, usual))
    parser.add_argument(
        "--force", action="store_true", help="keep the record of a busy machine, and say so in it"
    )
    add_model_options(parser, MODEL_OPTIONS | DATA_OPTIONS)


def add_list(parser: argparse.ArgumentParser, usual: Path, places: str) -> None:
    """Which file lists the races, `usual` without a word, and where in which folder records go."""
    parser.add_argument(
        "file", metavar="FILE", type=Path, nargs="?", default=usual, help=f"(default: {usual})"
    )
    add_records(parser, places)


def check_flags(options: argparse.Namespace) -> None:
    """Raises `ValueError` for a number that makes no sense, and `OSError` where no record could be
    written: better now than after the race.
    """
    from mixerlib.checks import COUNT, follows, positive_int

    for name in ("rounds", "batch"):
        if (value := getattr(options, name, None)) is not None:
            positive_int(name, follows(name, value, COUNT))
    if (file := getattr(options, "json", None)) is not None:
        check_writable(file)
    check_minutes(getattr(options, "minutes", None))


def device_of(options: argparse.Namespace) -> "torch.device":
    """The device that is asked for; without a word the GPU, if there is one."""
    from mixerlib.training import choose_device

    return choose_device(options.device)


def seconds_of(options: argparse.Namespace) -> float | None:
    return None if options.minutes is None else 60 * options.minutes


def model_options_of(options: argparse.Namespace) -> tuple[dict[str, Any], int | None]:
    """The model's options that are given, and the size of the images, or None."""
    given = model_options_given(options, MODEL_OPTIONS | DATA_OPTIONS)
    return given, given.pop("image_size", None)


def in_place_of_theirs(races: "Races", options: argparse.Namespace) -> "Races":
    """The races of a file, with what the command line says of models and images in its place."""
    given, size = model_options_of(options)

    def changed(case: "Case") -> "Case":
        return replace(
            case,
            options=case.options | given,
            batch=options.batch or case.batch,
            image_size=size or case.image_size,
        )

    return {name: list(map(changed, cases)) for name, cases in races.items()}


def folder_of_records(options: argparse.Namespace, device: "torch.device", *below: str) -> Path:
    """Where the records of a device lie. Raises `OSError` where they cannot be written."""
    from mixerlib.records import provenance

    folder = Path(options.records, "bench", provenance(device).device_folder, *below)
    check_writable(folder / "a record.json")
    return folder


def check_quiet(options: argparse.Namespace) -> None:
    """Raises `ValueError` where a record is asked for and the machine is already busy."""
    from mixerlib.speed.load import load_now, require_quiet

    if options.json is not None and not options.force:
        require_quiet(load_now())


def write_report(report: Any, options: argparse.Namespace) -> None:
    """Write the record if a file is named, and say so. Raises `ValueError` where the machine was
    busy meanwhile, unless that is forced."""
    from mixerlib.records import write_record
    from mixerlib.speed.load import recordable

    path = options.json
    if path is not None:
        write_record(recordable(report, options.force), path)
        print(f"\nrecord: {path}")
