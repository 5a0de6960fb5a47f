"""Whether a device trains as it should, before hours are spent on it: under a minute.

>>> from mixerlib.training import self_test
>>> for answer in self_test("cpu", dim=8, batch_size=8, steps=1):
...     assert answer.passed, answer.name

Chapter 13 takes a step apart; this runs one on made-up images.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from mixerlib import costs
from mixerlib.data import Dataset
from mixerlib.models import create_model, model_entry
from mixerlib.speed import synchronize
from mixerlib.training.batches import Batch
from mixerlib.training.distributed import ALONE, choose_device
from mixerlib.training.loop import train_step, training_steps
from mixerlib.training.recipe import Recipe
from mixerlib.training.recipe_files import load_recipe
from mixerlib.training.run import PRECISIONS, Run, begin

RECIPE = "cifar10/splitmixer_i_256_8"  # whose step is tried, and its precision
# How far a device may be from float64 on the CPU, as a share of the largest number. A GPU's
# convolutions may round their inputs to TensorFloat-32, with 10 bits after the point.
TOLERANCES = {"float32": 5e-3, "bfloat16": 5e-2, "float16": 5e-2}


@dataclass(frozen=True)
class Answer:
    """What one part of the self-test says.

    Args:
        name: what is tested.
        passed: whether it is as it should be.
        detail: what was measured, or what went wrong.
        images_per_second: of training, where that was measured.
        macs: of the model that was trained, for one image.
    """

    name: str
    passed: bool
    detail: str
    images_per_second: float | None = None
    macs: int | None = None


def self_test(
    device: str | None = None, *, dim: int = 64, batch_size: int | None = None, steps: int = 3
) -> list[Answer]:
    """Try a device: its kernels, its precisions, a training step and its speed.

    Args:
        device: one that `choose_device` knows; None: the GPU if there is one.
        dim: the width of the models whose outputs and gradients are compared with the CPU's.
        batch_size: of the steps; None: the recipe's on a GPU, 64 elsewhere.
        steps: that are timed.

    What goes wrong in a part is its answer; the others go on. Errors as `choose_device`.

    >>> from mixerlib.training import self_test
    >>> first = self_test("cpu", dim=8, batch_size=8, steps=1)[0]
    >>> first.name, first.passed
    ('float32 agrees with the CPU', True)
    """
    place = choose_device(device)
    size = batch_size or (load_recipe(RECIPE).batch_size if place.type == "cuda" else 64)
    tests: dict[str, Callable[[], tuple[bool, str] | Answer]] = {
        f"{name} agrees with the CPU": partial(_agrees, place, name, dim) for name in TOLERANCES
    }
    if place.type == "cuda":
        tests["events, pinned memory, memory statistics"] = partial(_of_cuda, place)
    tests["no step waits for the device"] = partial(_waits, place, dim, size)
    tests["training"] = partial(_speed, place, size, steps)
    return [_answer(name, test) for name, test in tests.items()]


def _answer(name: str, test: Callable[[], "tuple[bool, str] | Answer"]) -> Answer:
    try:
        result = test()
    except (RuntimeError, ValueError, ArithmeticError) as error:  # a kernel that is not there
        return Answer(name, False, f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
    return result if isinstance(result, Answer) else Answer(name, *result)


def _agrees(device: torch.device, precision: str, dim: int) -> tuple[bool, str]:
    """Logits and gradients of a ConvMixer and a SplitMixer beside float64's on the CPU."""
    worst = 0.0
    for name in ("convmixer", "splitmixer_i"):
        torch.manual_seed(0)
        model = create_model(name, dim=dim, depth=2)
        images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
        exact = _outputs(model.double(), images.double(), labels, None)
        model = model.float().to(device)
        model.zero_grad()
        dtype = PRECISIONS[precision]
        actual = _outputs(model, images.to(device), labels.to(device), dtype)
        for mine, its in zip(actual, exact, strict=True):
            difference = (mine.double().cpu() - its).abs().max() / its.abs().max()
            worst = max(worst, float(difference) if difference.isfinite() else float("inf"))
    limit = TOLERANCES[precision]
    return worst <= limit, f"off by {worst:.1e} of the largest, at most {limit:.0e}"


def _outputs(
    model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """A model's logits, and the gradient of its stem's weights."""
    with torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None):
        logits = model(images)
    F.cross_entropy(logits.to(images.dtype), labels).backward()
    gradient = next(model.parameters()).grad
    assert gradient is not None
    return logits.detach(), gradient.clone()  # or it would become what the model is changed to


def _of_cuda(device: torch.device) -> tuple[bool, str]:
    """Whether what only a GPU has works: events, pinned memory, statistics of its memory."""
    torch.cuda.reset_peak_memory_stats(device)
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    numbers = torch.ones(1 << 20, pin_memory=True).to(device, non_blocking=True)
    ended.record()
    torch.cuda.synchronize(device)
    seconds = begun.elapsed_time(ended) / 1e3
    held = torch.cuda.max_memory_allocated(device)
    passed = seconds > 0 and held >= numbers.nbytes and float(numbers.sum()) == len(numbers)
    return passed, f"{numbers.nbytes / seconds / 1e9:.1f} GB/s from pinned memory"


def _made_up(device: torch.device, images: int) -> Dataset:
    """Images of noise in the shape of CIFAR-10, and labels."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 3, 32, 32), dtype=torch.uint8, generator=draws)
    labels = torch.arange(images) % 10
    names = tuple(map(str, range(10)))
    half = torch.full((3,), 0.5)
    return Dataset(
        "cifar10", names, pixels, labels, pixels[:10], labels[:10], half, half.clone()
    ).to(device)


def _begun(device: torch.device, size: int, steps: int, **changes: object) -> tuple[Run, Dataset]:
    recipe = load_recipe(RECIPE, {"batch_size": size, "epochs": 1} | changes)
    dataset = _made_up(device, size * steps)
    return begin(recipe, dataset, device, ALONE), dataset


def _waits(device: torch.device, dim: int, size: int) -> tuple[bool, str]:
    """Whether a step asks the device for a number, which lets the device run dry."""
    run, _ = _begun(device, size, 3, model="splitmixer_i", model_options={"dim": dim, "depth": 2})
    run.model.train()
    images = torch.randn(size, 3, 32, 32, device=device)
    labels = torch.arange(size, device=device) % 10
    batch = Batch(images, labels, labels, size)
    for _ in range(2):  # the first steps make what the later ones use
        train_step(run, batch)
        run.step += 1
    if device.type != "cuda":
        train_step(run, batch)
        return True, "nothing to wait for on this device"
    synchronize(device)
    with waiting_forbidden():
        train_step(run, batch)
    return True, "none was seen"


@contextmanager
def waiting_forbidden() -> Iterator[None]:
    """While this lasts, an operation that waits for a CUDA device raises `RuntimeError`."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def macs_of(recipe: Recipe) -> int:
    """The MACs of a recipe's model for one image, counted by shapes, with the model's own head."""
    side = recipe.image_size or model_entry(recipe.model).image_size
    with torch.device("meta"):
        model = create_model(recipe.model, **recipe.model_options)
        return costs.macs(costs.measure(model, side))


def _speed(device: torch.device, size: int, steps: int) -> Answer:
    """Images a second of the recipe's training, augmentation included, and whether it learns."""
    precision = "float16" if device.type == "cuda" else "float32"
    run, dataset = _begun(device, size, steps + 1, precision=precision)
    counts = iter(training_steps(run, dataset))
    next(counts)  # warms up
    synchronize(device)
    start = time.perf_counter()
    images = sum(counts)
    synchronize(device)
    speed = images / (time.perf_counter() - start)
    finite = bool(run.loss_and_correct.isfinite().all()) and all(
        bool(p.isfinite().all()) for p in run.model.parameters()
    )
    macs = macs_of(run.recipe)
    detail = f"{speed:,.0f} images a second, {run.recipe.model} in {precision}, batch {size}"
    return Answer("training", finite, detail, speed, macs)
