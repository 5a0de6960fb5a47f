"""The exercises of chapter 23."""

import math
import random
from collections.abc import Iterator
from typing import Any

from mixerlib import costs
from mixerlib.checks import shown
from mixerlib.models import model_entry
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties, as_number
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused

IMAGES = 1_281_167  # training images of ImageNet
# Of the recipes imagenet/convmixer_…, which this room cannot read: a test compares them
EPOCHS = {"convmixer_1536_20": 150, "convmixer_768_32": 300}
BATCH, GPUS, CROP_AREA = 640, 10, 0.08
DAY = 24 * 3600
KEPT_UP = 60e12  # operations a second of a GPU, in the last exercise
WIRES = (1, 10, 25, 100)  # Gb/s


def _counts(model: str) -> costs.Counts[int]:
    entry = model_entry(model)
    options = {**entry.defaults, "num_classes": 1000}
    return costs.formulas(entry.family).counts(options, image_size=224)


@exercise("scale-1")
def a_training_in_numbers() -> Numbers:
    model = "convmixer_768_32"
    epochs = EPOCHS[model]
    images = IMAGES * epochs
    steps = epochs * math.ceil(IMAGES / BATCH)
    macs = costs.macs(_counts(model))
    return Numbers(
        {"steps": steps, "images": images, "EFLOP": 6 * macs * images / 1e18},
        [
            Mistake(
                "The smaller batch that ends an epoch is a step too.",
                {"steps": epochs * (IMAGES // BATCH)},
            ),
            Mistake(
                "An epoch ends with a step of its own: round up in each epoch, not at the end.",
                {"steps": math.ceil(images / BATCH)},
            ),
            Mistake(
                "The recipe's batch is that of all GPUs together.",
                {"steps": epochs * math.ceil(IMAGES / (BATCH // GPUS))},
            ),
            Mistake("A MAC is two operations.", {"EFLOP": 3 * macs * images / 1e18}),
            Mistake(
                "The backward pass costs twice as much as the forward pass, and both are paid.",
                {"EFLOP": 2 * macs * images / 1e18},
            ),
        ],
    )


def _step(
    batch: int,
    seconds: float,
    gradient_bytes: float,
    gpus: int,
    wire: float,
    rounds: int = 2,
) -> float:
    """Seconds of a step: the GPU with the most images, then the pieces of the ring one by one."""
    most = max(len(range(rank, batch, gpus)) for rank in range(gpus))
    piece = gradient_bytes / gpus / wire
    return seconds * most + sum(piece for _ in range(rounds * (gpus - 1)))


@exercise("scale-2")
def seconds_of_a_step() -> Function:
    def cases(draw: random.Random) -> Iterator[tuple[int, float, float, int, float]]:
        yield 64, 0.04, 206.0e6, 1, 1.25e9
        for gpus in (2, 3, 10, draw.randrange(11, 90)):
            batch = gpus * draw.randrange(3, 60) + draw.randrange(1, gpus)
            seconds, wire = draw.choice((0.002, 0.018, 0.04)), draw.choice((125e6, 1.25e9, 12.5e9))
            yield batch, seconds, 4.0 * draw.randrange(20_000_000, 52_000_000), gpus, wire

    def shared(b: int, t: float, g: float, r: int, w: float) -> float:
        return b / r * t + 2 * (r - 1) / r * g / w

    def whole(b: int, t: float, g: float, r: int, w: float) -> float:
        return math.ceil(b / r) * t + 2 * g / w

    def once(b: int, t: float, g: float, r: int, w: float) -> float:
        return _step(b, t, g, r, w, rounds=1)

    def central(b: int, t: float, g: float, r: int, w: float) -> float:
        return math.ceil(b / r) * t + 2 * (r - 1) * g / w

    return Function(
        "Write a function of batch, seconds an image, bytes of the gradients, GPUs and bytes a "
        "second of a wire; it returns the seconds of a step.",
        _step,
        cases,
        [
            Mistake("The step ends with the GPU that has one image more: round up.", shared),
            Mistake("A piece stays at home: each GPU sends (R − 1)/R of the gradients.", whole),
            Mistake(
                "In a ring a wire carries pieces of one R-th, not the whole gradients.", central
            ),
            Mistake(
                "The ring goes round twice: once to add up, once to hand the sums on.",
                once,
            ),
            Mistake(
                "The GPUs share the batch: each computes its part of the images only.",
                lambda b, t, g, r, w: b * t + 2 * (r - 1) / r * g / w,
            ),
        ],
        tolerance=1e-4,
    )


@exercise("scale-3")
def a_crop_for_small_images() -> Numbers:

    side = 32 * math.sqrt(CROP_AREA)
    return Numbers(
        {"side": side, "enlarged": 32 / side, "least share": (24 / 32) ** 2},
        [
            Mistake(
                "The share is of the area: its root is that of the side.", {"side": 32 * CROP_AREA}
            ),
            Mistake(
                "It is brought back to 32 pixels from that side, not from that area.",
                {"enlarged": 1 / CROP_AREA},
            ),
            Mistake(
                "That is the share of the side; the field has the area's.", {"least share": 0.75}
            ),
        ],
    )


def _cluster(gpus: int, batch: int, gigabits: float) -> tuple[float, float]:
    """Days of ConvMixer-1536/20's training on a cluster, and its efficiency."""
    model = "convmixer_1536_20"
    counts = _counts(model)
    each = 6 * costs.macs(counts) / KEPT_UP
    seconds = _step(batch, each, 4 * counts.total("params"), gpus, gigabits * 1e9 / 8)
    steps = EPOCHS[model] * math.ceil(IMAGES / batch)
    return steps * seconds / DAY, batch * each / (gpus * seconds)


@exercise("scale-4")
def a_day_and_no_more() -> Properties:
    names = ("gpus", "batch", "gigabits")
    full = "A GPU holds 64 images at the most."
    large = "With a larger batch the learning rate would have to be found anew."
    idle = "The GPUs wait for the wires: give each more images, or a faster wire."
    late = "That takes longer than a day: take more GPUs."
    unsold = f"`gigabits` must be one of {', '.join(map(str, WIRES))}."

    def judge(answer: Any) -> Iterator[Row]:
        if not isinstance(answer, dict):
            raise Refused(f"{shown(answer)} is no dict. Fill in `gpus`, `batch` and `gigabits`.")
        if missing := [name for name in names if name not in answer]:
            raise Refused(f"`{missing[0]}` is missing. Fill in `gpus`, `batch` and `gigabits`.")
        values = {name: as_number(name, answer[name]) for name in names}
        for name, value in values.items():
            if value != int(value) or not 1 <= value <= 10_000:
                raise Refused(f"`{name}`={value} must be a whole number from 1 to 10,000")
        gpus, batch, gigabits = (int(values[name]) for name in names)
        if gigabits not in WIRES:
            raise Refused(unsold)
        each = math.ceil(batch / gpus)
        yield Row("images on a GPU", f"{each}", "≤ 64", each <= 64, full)
        yield Row("batch", f"{batch:,}", "≤ 1,024", batch <= 1024, large)
        days, efficiency = _cluster(gpus, batch, gigabits)
        yield Row("efficiency", f"{efficiency:.0%}", "≥ 90%", efficiency >= 0.9, idle)
        yield Row("days", f"{days:.2f}", "≤ 1", days <= 1, late)

    def chosen(gpus: int, batch: int, gigabits: int) -> dict[str, int]:
        return dict(zip(names, (gpus, batch, gigabits), strict=True))

    return Properties(
        "Fill in `gpus`, `batch` and `gigabits`.",
        judge,
        lambda: chosen(16, 1024, 100),
        [
            Mistake(full, chosen(16, 2048, 100)),
            Mistake(large, chosen(48, 3072, 100)),
            Mistake(idle, chosen(16, 1024, 10)),
            Mistake(late, chosen(8, 512, 100)),
        ],
    )
