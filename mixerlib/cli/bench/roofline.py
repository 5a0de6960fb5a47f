"""`mixerlib bench roofline`: what each layer of a model needs at best, and what it takes."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixerlib.cli.bench.flags import (
    add_flags,
    check_flags,
    check_quiet,
    device_of,
    model_options_of,
    write_report,
)
from mixerlib.cli.bench.tables import aligned, machine_line, milliseconds

if TYPE_CHECKING:
    from mixerlib.speed.machine import Machine
    from mixerlib.speed.rooflines import Layer, Part, Roofline


def add_roofline(measurements: argparse._SubParsersAction) -> None:
    parser = measurements.add_parser(
        "roofline",
        help="each layer of a model: the time it needs at best, and the time it takes",
        usage="mixerlib bench roofline NAME … [any option] …",
        description=(
            "Take models apart, in inference: for each layer the time it needs at best, by its\n"
            "MACs and by the bytes that it moves, and the time that it takes. All models, and\n"
            "what the machine can do at best, are measured in the same rounds."
        ),
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="a model's name")
    rounds = "of the measurement (default: 15)"
    add_flags(parser, "batch", "dtype", "rounds", "device", "json", rounds=rounds)
    parser.set_defaults(run=run_roofline, parser=parser)


def run_roofline(options: argparse.Namespace) -> int:
    from mixerlib.speed.roofline_runs import roofline_race
    from mixerlib.speed.timing import ROUNDS

    check_flags(options)
    given, size = model_options_of(options)
    check_quiet(options)
    race = roofline_race(
        options.names,
        given,
        batch=options.batch or 64,
        image_size=size,
        dtype=options.dtype or "float32",
        rounds=options.rounds or ROUNDS,
        device=device_of(options),
    )
    print("\n\n".join(map(_text, race.reports)))
    write_report(race, options)
    return 0


def _text(report: "Roofline") -> str:
    machine = report.machine
    side, megabytes = machine.matrix_side, machine.copied_bytes / 1e6
    return "\n".join(
        [
            f"{report.model}, inference, {report.dtype}, a batch of {report.batch} images of "
            f"{report.image_size}×{report.image_size}, {len(report.whole.runs)} rounds",
            machine_line(report),
            "",
            *(
                f"{way}, {side}×{side}  {rate / 1e9:10,.1f} G MACs/s"
                for way, rate in machine.ways.items()
            ),
            f"copy of a map of {megabytes:,.1f} MB  "
            f"{machine.copy_bytes_per_second / 1e9:10,.1f} GB/s",
            f"copy beyond the caches  {machine.memory_bytes_per_second / 1e9:10,.1f} GB/s",
            *_more_rates(machine),
            "",
            *aligned(_layer_rows(report.layers), left=(0, 1, 2)),
            "",
            *aligned(_part_rows(report.parts), left=(0,)),
            "",
            "milliseconds; at best: the greater of MACs at the quickest rate and bytes at the "
            "map's copy",
            f"the whole model, without clocks inside: {milliseconds(report.whole.median)} ms; "
            f"inside, between the layers: {milliseconds(report.between)} ms",
        ]
    )


def _more_rates(machine: "Machine") -> list[str]:
    """What is measured beside copies; nothing where an older record does not hold it."""
    rates = {
        "reading of such a map": machine.read_bytes_per_second,
        "sum of two such maps": machine.triad_bytes_per_second,
    }
    return [f"{name}  {rate / 1e9:10,.1f} GB/s" for name, rate in rates.items() if rate is not None]


def _layer_rows(layers: "list[Layer]") -> Sequence[tuple[str, ...]]:
    from mixerlib.speed.rooflines import by_kind, seconds_together

    rows = [
        ("layer", "", "", "M MACs", "MB moved", "by MACs", "by bytes", "at best", "measured", "")
    ]
    for name, count, group in by_kind(layers):
        needed = sum(layer.predicted for layer in group)
        took = seconds_together(group).median
        rows.append(
            (
                name,
                group[0].kind,
                f"× {count}" if count > 1 else "",
                f"{sum(layer.macs for layer in group) / 1e6:,.0f}",
                f"{sum(layer.moved_bytes for layer in group) / 1e6:,.1f}",
                milliseconds(sum(layer.by_macs for layer in group)),
                milliseconds(sum(layer.by_bytes for layer in group)),
                milliseconds(needed),
                milliseconds(took),
                f"{needed / took:.0%}",
            )
        )
    return rows


def _part_rows(parts: "list[Part]") -> Sequence[tuple[str, ...]]:
    rows = [("part", "at best", "fused", "measured", "")]
    for part in parts:
        fused = "" if part.fused is None else milliseconds(part.fused)
        share = f"{part.predicted / part.seconds:.0%}"
        rows.append(
            (part.name, milliseconds(part.predicted), fused, milliseconds(part.seconds), share)
        )
    fused_parts = [part.fused for part in parts if part.fused is not None]
    needed, took = sum(part.predicted for part in parts), sum(part.seconds for part in parts)
    fused = milliseconds(sum(fused_parts)) if fused_parts else ""
    share = f"{needed / took:.0%}"
    return [*rows, ("all", milliseconds(needed), fused, milliseconds(took), share)]
