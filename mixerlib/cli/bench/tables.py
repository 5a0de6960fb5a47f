"""Tables for the terminal: columns of text, aligned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixerlib.speed.cases import Benchmark, Result
    from mixerlib.speed.rooflines import Roofline


def race_table(report: "Benchmark") -> str:
    """The results, fastest first, compared with the first of them."""
    base, case = report.results[0], report.results[0].case
    sizes = {result.case.image_size for result in report.results}
    size = f" of {case.image_size}×{case.image_size}" if len(sizes) == 1 else ""
    rounds, shared = len(base.seconds.runs), shared_options(report.results)
    tasks = list(dict.fromkeys(result.case.task for result in report.results))
    what = f"{' and '.join(tasks)}, batches of {case.batch} images{size}, {rounds} rounds"
    lines = [
        f"{what}{listed(shared)}",
        machine_line(report),
        "",
    ]
    rows: list[tuple[str, ...]] = [
        ("model", "form", "ms a step", "", "images/s", "memory", "speed", "")
    ]
    for result in sorted(report.results, key=lambda result: -result.images_per_second):
        rows.append(_row(result, base, shared, with_size=not size, with_task=len(tasks) > 1))
    lines += aligned(rows, left=(0, 1, 3, 7))
    first = f"{name_of(base, shared)} ({case.description})"
    lines += ["", f"speed: times as fast as {first}, round by round"]
    lines += [
        f"{name_of(result, shared)} ({result.case.description}): {result.detail}"
        for result in report.results
        if result.detail
    ]
    lines += [f"left out: {reason}" for reason in report.left_out]
    return "\n".join(lines)


def _row(
    result: "Result", base: "Result", shared: dict[str, Any], with_size: bool, with_task: bool
) -> tuple[str, ...]:
    from mixerlib.speed.timing import ratios

    side, seconds = result.case.image_size, result.seconds
    speed, memory = ratios(base.seconds, seconds), result.peak_memory_bytes
    return (
        name_of(result, shared) + (f" at {side}×{side}" if with_size else ""),
        f"{result.case.task}, " * with_task + result.case.description,
        milliseconds(seconds.median),
        f"[{milliseconds(seconds.quartiles[0])} {milliseconds(seconds.quartiles[1])}]",
        f"{result.images_per_second:,.0f}",
        "" if memory is None else f"{memory / 2**20:,.1f} MiB",
        f"{speed.median:.2f}×",
        f"[{speed.quartiles[0]:.2f} {speed.quartiles[1]:.2f}]",
    )


def shared_options(results: "Sequence[Result]") -> dict[str, Any]:
    """The options that all have, with the same values."""
    first, *others = (result.case.options.items() for result in results)
    return {name: value for name, value in first if all((name, value) in o for o in others)}


def listed(options: dict[str, Any]) -> str:
    return "".join(f", {name} {value}" for name, value in options.items())


def name_of(result: "Result", shared: dict[str, Any]) -> str:
    """A model's name, with the options that not all of them share."""
    options = (f"{k}={v}" for k, v in result.case.options.items() if k not in shared)
    return " ".join([result.case.model, *options])


def milliseconds(seconds: float) -> str:
    """Milliseconds with three digits or more."""
    number = 1000 * seconds
    return f"{number:,.{0 if number >= 100 else 1 if number >= 10 else 2}f}"


def aligned(rows: Sequence[Sequence[str]], left: tuple[int, ...]) -> list[str]:
    """A line for each row; the columns `left` are aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:{'<' if number in left else '>'}{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def machine_line(report: "Benchmark | Roofline") -> str:
    """Where and with which settings a report was measured."""
    stamp = report.provenance
    threads = f", {stamp.threads} thread{'s' * (stamp.threads > 1)}" * (stamp.device == "cpu")
    settings = "".join(f", {name} {value}" for name, value in report.settings.items())
    return f"{stamp.device_name}{threads}, torch {stamp.torch}{settings}"
