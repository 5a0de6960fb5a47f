"""`mixerlib bench race`: models and forms against each other."""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from mixerlib.cli.bench.flags import (
    add_flags,
    check_flags,
    check_quiet,
    device_of,
    model_options_of,
    seconds_of,
    write_report,
)
from mixerlib.cli.bench.tables import race_table
from mixerlib.files import one_line

if TYPE_CHECKING:
    from mixerlib.speed.cases import Benchmark, Case


def add_race(measurements: argparse._SubParsersAction) -> None:
    parser = measurements.add_parser(
        "race",
        help="models and their forms against each other",
        usage="mixerlib bench race NAME … [--train] [--fast] [--peers] [--compile] [any option] …",
        description=(
            "Race models against each other: images a second, seconds of a step, memory.\n"
            "Every candidate runs once in every round, after a warm-up. Speeds are those of the\n"
            "first NAME = 1, round by round. Square brackets hold the middle half of the rounds."
        ),
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="a model's name")
    parser.add_argument("--train", action="store_true", help="a step of training, not inference")
    parser.add_argument(
        "--layout",
        metavar="TEXT",
        default="contiguous",
        help="of maps in memory: contiguous or channels_last, or both, with a comma",
    )
    parser.add_argument("--compile", action="store_true", help="each one compiled, too")
    parser.add_argument("--compile-mode", metavar="TEXT", help="of torch.compile, for --compile")
    parser.add_argument("--fast", action="store_true", help="mixerlib's fast form, too")
    parser.add_argument(
        "--one-matrix", action="store_true", help="SplitMixers mixed by whole matrices, too"
    )
    parser.add_argument(
        "--shifted",
        action="store_true",
        help="each compiled one with depthwise convolutions as shifted sums, too",
    )
    parser.add_argument(
        "--by-block", action="store_true", help="compile block by block, in less time"
    )
    parser.add_argument(
        "--peers", action="store_true", help="timm's models and the papers' listings, too"
    )
    several = "float32, bfloat16 or float16, or several: float32,bfloat16"
    add_flags(parser, "batch", "dtype", "rounds", "minutes", "device", "json", dtype=several)
    parser.set_defaults(run=run_race, parser=parser)


def run_race(options: argparse.Namespace) -> int:
    from mixerlib.speed.bench import CannotCompile

    check_flags(options)
    if options.train and options.fast:
        raise ValueError("--fast is for inference: it cannot be trained")
    cases = _cases(options)
    check_quiet(options)
    try:
        report = _raced(cases, options)
    except CannotCompile as error:  # one for all: the compiler is missing, or broken
        print(f"mixerlib: what is compiled is left out: {one_line(error)}", file=sys.stderr)
        report = _raced([case for case in cases if not case.form.compile], options)
    print(race_table(report))
    write_report(report, options)
    return 0


def _raced(cases: "list[Case]", options: argparse.Namespace) -> "Benchmark":
    from mixerlib.speed.bench import benchmark
    from mixerlib.speed.timing import ROUNDS

    return benchmark(
        cases,
        options.rounds or ROUNDS,
        device_of(options),
        name=" ".join(options.names),
        seconds=seconds_of(options),
    )


def _cases(options: argparse.Namespace) -> "list[Case]":
    """Every model in every form that is asked for, the plain ones first."""
    from mixerlib.speed.cases import Case

    given, size = model_options_of(options)
    cases = []
    for name in options.names:
        first = Case(
            name,
            given,
            task="training" if options.train else "inference",
            batch=options.batch or 64,
            image_size=size,
        )
        variants = _variants(first, options)
        for dtype in (options.dtype or "float32").split(","):
            cases += [replace(case, dtype=dtype) for case in variants]
            if options.fast:
                cases.append(replace(first, implementation="fast", dtype=dtype))
    return cases


def _variants(first: "Case", options: argparse.Namespace) -> "list[Case]":
    """A model's implementations and mixings, each in every layout, compiled or not."""
    from mixerlib import checks
    from mixerlib.speed.cases import LAYOUTS
    from mixerlib.speed.form import Form

    kinds = [("mixerlib", "own")]
    if options.one_matrix:
        kinds.append(("mixerlib", "one matrix"))
    if options.peers:
        kinds += [(peer, "own") for peer in _peers(first)]
    codes = [Form()]
    if options.compile or options.compile_mode:
        ways = (False, True)[: 1 + options.shifted]
        codes += [Form(compile=True, shifted=way, by_block=options.by_block) for way in ways]
    elif options.shifted or options.by_block:
        raise ValueError("--shifted and --by-block are for what is compiled: add --compile")
    return [
        replace(
            first,
            implementation=implementation,
            form=replace(
                code,
                mixing=mixing,
                channels_last=LAYOUTS[checks.one_of("layout", layout, tuple(LAYOUTS))],
            ),
            compile_mode=options.compile_mode or "default" if code.compile else "default",
        )
        for implementation, mixing in kinds
        for layout in options.layout.split(",")
        for code in codes
        if not (code.by_block and mixing != "own")  # a matrix is made beside the blocks
    ]


def _peers(case: "Case") -> list[str]:
    from mixerlib.speed import peers
    from mixerlib.speed.bench import peer_forms

    names = peer_forms(case)
    if not peers.timm_is_installed():
        print("mixerlib: timm is not installed, so its models are left out", file=sys.stderr)
    if not names:
        print(f"mixerlib: nobody else's {case.label} is known here", file=sys.stderr)
    return names
