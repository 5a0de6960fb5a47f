"""SplitMixer's table 3, "model throughput": timed as its authors did, and as it should be.

>>> from mixerlib.speed import TABLE_3
>>> TABLE_3[1]
('splitmixer_i_256_8_224', {'ratio': '2/3'})

On a GPU, `published_table("cuda")` takes a minute.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from mixerlib.speed.bench import Preparing, benchmark, prepare_case, reasons, result_of
from mixerlib.speed.cases import Benchmark, Case, Result
from mixerlib.speed.load import Watch
from mixerlib.speed.timing import ROUNDS, Clock, Stopwatch, Timing, stopwatch

# The models and their options in the table's script, in its order
TABLE_3: tuple[tuple[str, dict[str, Any]], ...] = (
    ("convmixer_256_8_224", {}),
    *(("splitmixer_i_256_8_224", {"ratio": a}) for a in ("2/3", "3/5", "4/7", "5/9", "6/11")),
    *(("splitmixer_ii_256_8_224", {"segments": s}) for s in (2, 3, 4, 5, 6)),
    *(("splitmixer_iii_256_8_224", {"segments": s}) for s in (2, 4, 8)),
    *(("splitmixer_iv_256_8_224", {"segments": s}) for s in (2, 3, 4, 5)),
)
REPETITIONS = 100  # batches that the table's script times for each model


def published_table(
    device: torch.device | str = "cpu",
    *,
    batch: int = 64,
    image_size: int = 224,
    options: Mapping[str, Any] | None = None,
    rounds: int = ROUNDS,
    repetitions: int = REPETITIONS,
    seconds: float | None = None,
    prepare: Preparing | None = None,
    clock: Clock = time.perf_counter,
) -> Benchmark:
    """Table 3 of SplitMixer's slides, timed as its authors did, and then as it should be.

    As published: one model after the other, BatchNorm in training mode, each batch timed alone from
    the very first on, and the images of all batches divided by their whole time. As it should be:
    `benchmark`. The networks are those of the listings in both, in float32, so that only the way
    of timing differs. The results are first all those as published, then the others, in the same
    order.

    Args:
        device: where all of them run.
        batch: images in a step.
        image_size: pixels.
        options: replace the table's own.
        rounds: of the race, as it should be.
        repetitions: of each model, as published.
        seconds: after which the race begins no further round.
        prepare: as of `benchmark`.
        clock: as of `race`.
    """
    if repetitions < 1:
        raise ValueError(f"`repetitions`={repetitions} must be at least 1")
    device, watch = torch.device(device), Watch()
    cases = [
        Case(
            model,
            listed | dict(options or {}),
            implementation="listing",
            task="as published",
            batch=batch,
            image_size=image_size,
        )
        for model, listed in TABLE_3
    ]
    seconds_of = stopwatch(device, clock)
    published = [
        _in_a_row(case, repetitions, device, seconds_of, prepare or prepare_case) for case in cases
    ]
    report = benchmark(
        [replace(case, task="inference") for case in cases],
        rounds,
        device,
        name="SplitMixer's table 3",
        seconds=seconds,
        prepare=prepare,
        clock=clock,
    )
    return replace(report, results=published + report.results, load=watch.load())


def _in_a_row(
    case: Case,
    repetitions: int,
    device: torch.device,
    seconds_of: Stopwatch,
    prepare: Preparing,
) -> Result:
    """All batches of one model, and nothing else meanwhile.

    Args:
        case: as published.
        repetitions: batches, the first one too.
        device: where it runs.
        seconds_of: the device's stopwatch.
        prepare: what makes the case ready to run.
    """
    with reasons(case):
        prepared = prepare(case, device)
        runs = [seconds_of(prepared.step, 1) for _ in range(repetitions)]
        result = result_of(case, prepared, Timing.of(runs))
    return replace(result, images_per_second=case.batch * repetitions / sum(runs))
