"""The subcommand that measures speed: bench."""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixerlib.cli.options import (
    DATA_OPTIONS,
    MODEL_OPTIONS,
    add_model_options,
    model_options_given,
)

if TYPE_CHECKING:
    import torch

    from mixerlib.speed.bench import Benchmark, Case, Result
    from mixerlib.speed.rooflines import Roofline

MATRIX = "book/sweeps/bench_matrix.yaml"

# What is measured → the options that it takes, beside those of models
MODES = {
    "models": {
        *("names", "batch", "dtype", "layout", "compile", "compile_mode", "train", "fast"),
        *("one_matrix", "peers", "rounds", "minutes", "json", "device"),
    },
    "roofline": {"names", "batch", "dtype", "rounds", "json", "device"},
    "matrix": {"batch", "rounds", "minutes", "records", "device"},
    "published": {"batch", "rounds", "minutes", "json", "device"},
}


def add_bench(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure how fast models are",
        usage="mixerlib bench NAME … [--train] [--fast] [--peers] [--compile] [any option] …",
        description=(
            "Race models against each other: images a second, seconds of a step, memory.\n"
            "Every candidate runs once in every round, after a warm-up. Speeds are those of the\n"
            "first NAME = 1, round by round. Square brackets hold the middle half of the rounds."
        ),
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="a model's name")
    parser.add_argument("--batch", metavar="N", type=int, help="images in a step (default: 64)")
    for name, words in (
        ("dtype", "float32, bfloat16 or float16, or several: float32,bfloat16"),
        ("layout", "of maps in memory: contiguous or channels_last, or both, with a comma"),
    ):
        parser.add_argument(f"--{name}", metavar="TEXT", help=words)
    parser.add_argument("--train", action="store_true", help="a step of training, not inference")
    parser.add_argument("--compile", action="store_true", help="each one compiled, too")
    parser.add_argument("--compile-mode", metavar="TEXT", help="of torch.compile, for --compile")
    parser.add_argument("--fast", action="store_true", help="mixerlib's fast form, too")
    parser.add_argument(
        "--one-matrix", action="store_true", help="SplitMixers mixed by whole matrices, too"
    )
    parser.add_argument(
        "--peers", action="store_true", help="timm's models and the papers' listings, too"
    )
    parser.add_argument(
        "--rounds", metavar="N", type=int, help="of the race (default: 15; --roofline: 7)"
    )
    parser.add_argument(
        "--minutes", metavar="N", type=float, help="begin nothing more after this time"
    )
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, mps (default: the GPU if there is one)"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write a record")
    others = parser.add_argument_group("other measurements")
    others.add_argument(
        "--roofline",
        action="store_true",
        help="each layer of one model: the time it needs at best, and the time it takes",
    )
    others.add_argument(
        "--matrix",
        metavar="FILE",
        type=Path,
        nargs="?",
        const=Path(MATRIX),
        help=f"the races that a file lists, but for those with a record (default: {MATRIX})",
    )
    others.add_argument(
        "--records",
        metavar="DIR",
        type=Path,
        help="where the matrix keeps its records, in bench/DEVICE (default: records)",
    )
    others.add_argument(
        "--published",
        action="store_true",
        help="table 3 of SplitMixer's slides, timed as there and as it should be",
    )
    add_model_options(parser, MODEL_OPTIONS | DATA_OPTIONS)
    parser.set_defaults(run=run_bench, parser=parser)


def run_bench(options: argparse.Namespace) -> int:
    mode = _mode(options)
    for name in ("rounds", "batch"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"`{name}`={value} must be at least 1")
    if options.minutes is not None and not options.minutes > 0:
        raise ValueError(f"`minutes`={options.minutes:g} must be above 0")

    from mixerlib.training.run import choose_device

    device = choose_device(options.device)
    run = {"roofline": _roofline, "matrix": _matrix, "published": _published}.get(mode, _models)
    return run(options, device)


def _mode(options: argparse.Namespace) -> str:
    """Which measurement is wanted; `ValueError` for two at once, and for what it does not take."""
    wanted = [name for name in ("roofline", "matrix", "published") if getattr(options, name)]
    if len(wanted) > 1:
        raise ValueError(f"--{wanted[0]} and --{wanted[1]} are two measurements: choose one")
    mode = wanted[0] if wanted else "models"
    for name in set().union(*MODES.values()):
        if getattr(options, name) and name not in MODES[mode]:
            flag = "NAME" if name == "names" else "--" + name.replace("_", "-")
            words = f"without --{mode}" if wanted else "with --matrix"
            raise ValueError(f"{flag} is only {words}")
    if mode in ("models", "roofline") and not options.names:
        raise ValueError("a NAME of a model must be given; `mixerlib list` prints every one")
    return mode


def _models(options: argparse.Namespace, device: "torch.device") -> int:
    from mixerlib.speed.bench import ROUNDS, benchmark

    if options.train and options.fast:
        raise ValueError("--fast is for inference: it cannot be trained")
    seconds = None if options.minutes is None else 60 * options.minutes
    cases = _cases(options)
    report = benchmark(
        cases, options.rounds or ROUNDS, device, name=" ".join(options.names), seconds=seconds
    )
    print(_table(report, report.results))
    return _written(report, options)


def _cases(options: argparse.Namespace) -> "list[Case]":
    """Every model in every way that is asked for, the plain forms first."""
    from mixerlib.speed.bench import Case

    given = model_options_given(options, MODEL_OPTIONS | DATA_OPTIONS)
    size = given.pop("image_size", None)
    task = "training" if options.train else "inference"
    dtypes = (options.dtype or "float32").split(",")
    layouts = (options.layout or "contiguous").split(",")
    modes = [None]
    if options.compile or options.compile_mode:
        modes.append(options.compile_mode or "default")
    cases = []
    for name in options.names:
        first = Case(name, given, "plain", task, options.batch or 64, size)
        forms = ["plain"]
        if options.one_matrix:
            forms.append("one matrix")
        if options.peers:
            forms += _peers(first)
        for dtype in dtypes:
            cases += [
                replace(first, form=form, dtype=dtype, layout=layout, compile=mode)
                for form in forms
                for layout in layouts
                for mode in modes
            ]
            if options.fast:
                cases.append(replace(first, form="fast", dtype=dtype))
    return cases


def _peers(case: "Case") -> list[str]:
    from mixerlib.speed.bench import peer_forms
    from mixerlib.speed.peers import timm_is_installed

    found = peer_forms(case)
    if not timm_is_installed():
        print("mixerlib: timm is not installed, so its models are left out", file=sys.stderr)
    if not found:
        print(f"mixerlib: nobody else's {case.label} is known here", file=sys.stderr)
    return found


def _table(report: "Benchmark", results: "Sequence[Result]") -> str:
    """The results, fastest first, compared with the first of them."""
    from mixerlib.speed.timing import ratios

    base, case = results[0], results[0].case
    sizes = {result.case.image_size for result in results}
    at = f" of {case.image_size}×{case.image_size}" if len(sizes) == 1 else ""
    rounds, shared = len(base.seconds.runs), _shared_options(results)
    lines = [
        f"{case.task}, batches of {case.batch} images{at}, {rounds} rounds{_listed(shared)}",
        _machine(report),
        "",
    ]
    rows = [("model", "form", "ms a step", "", "images/s", "memory", "speed", "")]
    for result in sorted(results, key=lambda result: -result.images_per_second):
        side = result.case.image_size
        name = _name(result, shared) + ("" if at else f" at {side}×{side}")
        seconds, speed = result.seconds, ratios(base.seconds, result.seconds)
        memory = result.peak_memory_bytes
        rows.append(
            (
                name,
                result.case.way,
                _ms(seconds.median),
                f"[{_ms(seconds.quartiles[0])} {_ms(seconds.quartiles[1])}]",
                f"{result.images_per_second:,.0f}",
                "" if memory is None else f"{memory / 2**20:,.1f} MiB",
                f"{speed.median:.2f}×",
                f"[{speed.quartiles[0]:.2f} {speed.quartiles[1]:.2f}]",
            )
        )
    lines += _aligned(rows, left=(0, 1, 3, 7))
    told = f"{_name(base, shared)} ({base.case.way})"
    lines += ["", f"speed: times as fast as {told}, round by round"]
    lines += [f"{_name(r, shared)} ({r.case.way}): {r.detail}" for r in results if r.detail]
    lines += [f"left out: {told}" for told in report.left_out]
    return "\n".join(lines)


def _shared_options(results: "Sequence[Result]") -> dict[str, Any]:
    """The options that all have, with the same values."""
    first, *others = (result.case.options.items() for result in results)
    return {name: value for name, value in first if all((name, value) in o for o in others)}


def _listed(options: dict[str, Any]) -> str:
    return "".join(f", {name} {value}" for name, value in options.items())


def _name(result: "Result", shared: dict[str, Any]) -> str:
    """A model's name, with the options that not all of them share."""
    own = (f"{k}={v}" for k, v in result.case.options.items() if k not in shared)
    return " ".join([result.case.model, *own])


def _ms(seconds: float) -> str:
    """Milliseconds with three digits or more."""
    milliseconds = 1000 * seconds
    return f"{milliseconds:,.{0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2}f}"


def _aligned(rows: list[tuple[str, ...]], left: tuple[int, ...]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:{'<' if number in left else '>'}{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _machine(report: "Benchmark | Roofline") -> str:
    stamp = report.provenance
    threads = f", {stamp.threads} thread{'s' * (stamp.threads > 1)}" * (stamp.device == "cpu")
    settings = "".join(f", {name} {value}" for name, value in report.settings.items())
    return f"{stamp.device_name}{threads}, torch {stamp.torch}{settings}"


def _written(report: Any, options: argparse.Namespace) -> int:
    from mixerlib.records import write_record

    if options.json is not None:
        write_record(report, options.json)
        print(f"\nrecord: {options.json}")
    return 0


def _roofline(options: argparse.Namespace, device: "torch.device") -> int:
    from mixerlib.speed.rooflines import ROUNDS, roofline

    given = model_options_given(options, MODEL_OPTIONS | DATA_OPTIONS)
    size = given.pop("image_size", None)
    if len(options.names) > 1:
        raise ValueError(f"--roofline is of one model, not of {' and '.join(options.names)}")
    report = roofline(
        options.names[0],
        given,
        batch=options.batch or 64,
        image_size=size,
        dtype=options.dtype or "float32",
        rounds=options.rounds or ROUNDS,
        device=device,
    )
    print(_roofline_table(report))
    return _written(report, options)


def _roofline_table(report: "Roofline") -> str:
    from mixerlib.speed.rooflines import by_kind

    machine = report.machine
    rows = [
        ("layer", "", "", "M MACs", "MB moved", "by MACs", "by bytes", "at best", "measured", "")
    ]
    for name, count, layers in by_kind(report.layers):
        needed = sum(layer.predicted for layer in layers)
        took = sum(layer.seconds.median for layer in layers)
        rows.append(
            (
                name,
                layers[0].kind,
                f"× {count}" if count > 1 else "",
                f"{sum(layer.macs for layer in layers) / 1e6:,.0f}",
                f"{sum(layer.moved_bytes for layer in layers) / 1e6:,.1f}",
                _ms(sum(layer.by_macs for layer in layers)),
                _ms(sum(layer.by_bytes for layer in layers)),
                _ms(needed),
                _ms(took),
                f"{needed / took:.0%}",
            )
        )
    parts = [("part", "at best", "fused", "measured", "")]
    for part in report.parts:
        fused = "" if part.fused is None else _ms(part.fused)
        share = f"{part.predicted / part.seconds:.0%}"
        parts.append((part.name, _ms(part.predicted), fused, _ms(part.seconds), share))
    fused = [part.fused for part in report.parts if part.fused is not None]
    needed = sum(part.predicted for part in report.parts)
    took = sum(part.seconds for part in report.parts)
    parts.append(
        ("all", _ms(needed), _ms(sum(fused)) if fused else "", _ms(took), f"{needed / took:.0%}")
    )
    side, megabytes = machine.matrix_side, machine.copied_bytes / 1e6
    return "\n".join(
        [
            f"{report.model}, inference, {report.dtype}, a batch of {report.batch} images of "
            f"{report.image_size}×{report.image_size}, {len(report.whole.runs)} rounds",
            _machine(report),
            "",
            f"product of {side}×{side} matrices  {machine.macs_per_second / 1e9:10,.1f} G MACs/s",
            f"copy of a map of {megabytes:,.1f} MB  "
            f"{machine.copy_bytes_per_second / 1e9:10,.1f} GB/s",
            f"copy beyond the caches  {machine.memory_bytes_per_second / 1e9:10,.1f} GB/s",
            "",
            *_aligned(rows, left=(0, 1, 2)),
            "",
            *_aligned(parts, left=(0,)),
            "",
            f"milliseconds; at best: the greater of MACs at the product's rate and bytes at the "
            f"map's copy\nthe whole model, without clocks inside: {_ms(report.whole.median)} ms; "
            f"inside, between the layers: {_ms(report.between)} ms",
        ]
    )


def _matrix(options: argparse.Namespace, device: "torch.device") -> int:
    from mixerlib.records import provenance, write_record
    from mixerlib.speed.bench import ROUNDS, benchmark, has_measured
    from mixerlib.speed.matrix import read_matrix

    until = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    given = model_options_given(options, MODEL_OPTIONS | DATA_OPTIONS)
    size = given.pop("image_size", None)
    slug = re.sub(r"[^a-z0-9]+", "-", provenance(device).device_name.lower()).strip("-")
    folder = (options.records or Path("records")) / "bench" / slug
    races = read_matrix(options.matrix, device)
    for name, cases in races.items():
        races[name] = [
            replace(
                case,
                options=case.options | given,
                batch=options.batch or case.batch,
                image_size=size or case.image_size,
            )
            for case in cases
        ]
    places = {name: folder / f"{name}.json" for name in races}
    left = [name for name in races if not has_measured(places[name], races[name], device)]
    for name in list(left):
        seconds = None if until is None else until - time.monotonic()
        if seconds is not None and seconds <= 0:
            break
        rounds = options.rounds or ROUNDS
        report = benchmark(races[name], rounds, device, name=name, seconds=seconds, leave_out=True)
        write_record(report, places[name])
        left.remove(name)
        told = _table(report, report.results) if report.results else "\n".join(report.left_out)
        print(f"{name}\n{told}\n", flush=True)
    print(f"{len(races) - len(left)} of {len(races)} races have a record in {folder}")
    return 0


def _published(options: argparse.Namespace, device: "torch.device") -> int:
    from mixerlib.speed.bench import REPETITIONS, ROUNDS, published_table

    given = model_options_given(options, MODEL_OPTIONS | DATA_OPTIONS)
    report = published_table(
        device,
        batch=options.batch or 64,
        image_size=given.pop("image_size", 224),
        options=given,
        rounds=options.rounds or ROUNDS,
        repetitions=options.rounds or REPETITIONS,
        seconds=None if options.minutes is None else 60 * options.minutes,
    )
    print(_published_table(report))
    return _written(report, options)


def _published_table(report: "Benchmark") -> str:
    from mixerlib.speed.timing import ratios

    half = len(report.results) // 2
    published, again = report.results[:half], report.results[half:]
    case, shared = published[0].case, _shared_options(published)
    rows = [("", "as published", "", "as it should be", "", "")]
    rows.append(("model", "images/s", "speed", "images/s", "speed", ""))
    for before, after in zip(published, again, strict=True):
        speed = ratios(again[0].seconds, after.seconds)
        rows.append(
            (
                _name(before, shared),
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
            f"{case.image_size}, {case.dtype}{_listed(shared)}",
            _machine(report),
            "",
            *_aligned(rows, left=(0, 5)),
            "",
            f"as published: one model after the other, BatchNorm in training mode, no warm-up, "
            f"mean of {len(published[0].seconds.runs)}\nas it should be: in turn, in evaluation "
            f"mode, after a warm-up, median of {len(again[0].seconds.runs)} rounds",
        ]
    )
