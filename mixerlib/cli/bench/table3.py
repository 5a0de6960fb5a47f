"""`mixerlib bench table3`: SplitMixer's table 3, timed as published and as it should be."""

import argparse
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
from mixerlib.cli.bench.tables import aligned, listed, machine_line, name_of, shared_options

if TYPE_CHECKING:
    from mixerlib.speed.cases import Benchmark


def add_table3(measurements: argparse._SubParsersAction) -> None:
    parser = measurements.add_parser(
        "table3",
        help="table 3 of SplitMixer's slides, timed as there and as it should be",
        usage="mixerlib bench table3 [--minutes N] [any option] …",
        description=(
            "Table 3 of SplitMixer's slides, model throughput. First as its authors timed it: one\n"
            "model after the other, BatchNorm in training mode, without a warm-up. Then as it\n"
            "should be: in turn, in evaluation mode, warm."
        ),
    )
    add_flags(
        parser,
        *("batch", "rounds", "minutes", "device", "json"),
        rounds="of the race, and as many batches as published (default: 15, and 100)",
        minutes="the race begins no further round after this time",
    )
    parser.set_defaults(run=run_table3, parser=parser)


def run_table3(options: argparse.Namespace) -> int:
    from mixerlib.speed.published_table3 import REPETITIONS, published_table
    from mixerlib.speed.timing import ROUNDS

    check_flags(options)
    given, size = model_options_of(options)
    check_quiet(options)
    report = published_table(
        device_of(options),
        batch=options.batch or 64,
        image_size=size or 224,
        options=given,
        rounds=options.rounds or ROUNDS,
        repetitions=options.rounds or REPETITIONS,
        seconds=seconds_of(options),
    )
    print(_text(report))
    write_report(report, options)
    return 0


def _text(report: "Benchmark") -> str:
    from mixerlib.speed.timing import ratios

    half = len(report.results) // 2
    published, again = report.results[:half], report.results[half:]
    case, shared = published[0].case, shared_options(published)
    rows = [("", "as published", "", "as it should be", "", "")]
    rows.append(("model", "images/s", "speed", "images/s", "speed", ""))
    for before, after in zip(published, again, strict=True):
        speed = ratios(again[0].seconds, after.seconds)
        rows.append(
            (
                name_of(before, shared),
                f"{before.images_per_second:,.1f}",
                f"{before.images_per_second / published[0].images_per_second:.2f}×",
                f"{after.images_per_second:,.1f}",
                f"{speed.median:.2f}×",
                f"[{speed.quartiles[0]:.2f} {speed.quartiles[1]:.2f}]",
            )
        )
    return "\n".join(
        [
            f"{report.name}: batches of {case.batch} images of {case.image_size}×"
            f"{case.image_size}, {case.dtype}{listed(shared)}",
            machine_line(report),
            "",
            *aligned(rows, left=(0, 5)),
            "",
            f"as published: one model after the other, BatchNorm in training mode, no warm-up, "
            f"mean of {len(published[0].seconds.runs)}\nas it should be: in turn, in evaluation "
            f"mode, after a warm-up, median of {len(again[0].seconds.runs)} rounds",
        ]
    )
