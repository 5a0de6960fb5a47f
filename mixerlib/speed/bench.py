"""How fast models are, measured so that the numbers can be compared.

>>> from mixerlib.records import write_record
>>> from mixerlib.speed import Case, benchmark, read_benchmark
>>> cases = [Case(name, {"dim": 32, "depth": 2}, batch=4) for name in ("convmixer", "splitmixer_i")]
>>> report = benchmark(cases, rounds=3)
>>> write_record(report, "records/bench/small.json")
>>> read_benchmark("records/bench/small.json") == report
True

Cases run in turn, as `mixerlib.speed.timing` has them. Chapter 17 shows why.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.models import create_model, model_entry
from mixerlib.records import provenance
from mixerlib.speed import peers
from mixerlib.speed.cases import DTYPES, Benchmark, Case, Result
from mixerlib.speed.environment import extra_memory, settings_here
from mixerlib.speed.load import Watch
from mixerlib.speed.machine import Gauge
from mixerlib.speed.timing import ROUNDS, Clock, Timing, race
from mixerlib.speed.training_step import in_form

CHOSEN = ("mixing", "folded", "channels_last", "compile", "at_once")  # by the fast form
FUSED = ("cpu", "cuda")  # devices where AdamW is one kernel, as in mixerlib's training


@dataclass(frozen=True)
class Prepared:
    """A case that is ready to run.

    `step` runs one batch, `peak_memory` gives the bytes of tensors in a step (None where nothing
    tells), and `detail` is what is to be said of it in the result.
    """

    step: Callable[[], object]
    peak_memory: Callable[[], int | None]
    detail: str | None = None


Preparing = Callable[[Case, torch.device], Prepared]


def benchmark(
    cases: Sequence[Case],
    rounds: int = ROUNDS,
    device: torch.device | str = "cpu",
    *,
    name: str = "",
    seconds: float | None = None,
    leave_out: bool = False,
    gauge: bool = False,
    prepare: Preparing | None = None,
    clock: Clock = time.perf_counter,
) -> Benchmark:
    """Race some cases against each other: seconds of a step, images a second, peak memory.

    Args:
        cases: what is raced.
        rounds: as of `race`.
        device: where all of them run.
        name: of the benchmark.
        seconds: as of `race`.
        leave_out: a case that cannot be run is left out, and the result says so.
        gauge: whether what the device can do at best in float32 runs in the same rounds.
        prepare: what makes a case ready to run; None: `prepare_case`.
        clock: as of `race`.

    Raises `ValueError` for a case that cannot be run, unless it is left out: a bad option, a form
    that the model does not have, a dtype or a compiler that is missing, too little memory.
    Chapter 17.

    >>> from mixerlib.speed import Case, benchmark
    >>> small = {"dim": 32, "depth": 2}
    >>> report = benchmark([Case(name, small, batch=4) for name in ("convmixer", "splitmixer_iv")])
    >>> [result.case.label for result in report.results]
    ['convmixer dim=32 depth=2', 'splitmixer_iv dim=32 depth=2']
    >>> all(len(result.seconds.runs) == 15 for result in report.results)
    True
    """
    device, prepare = torch.device(device), prepare or prepare_case
    with _compiling(cases):
        ready, left_out = _ready(cases, device, prepare, leave_out)
        steps: dict[Any, Callable[[], object]]
        steps = {number: prepared.step for number, prepared in ready.items()}
        gauging = _gauge_of(cases[0], device) if gauge and steps else None
        steps |= gauging.runs if gauging else {}
        watch = Watch()  # what was compiled before is no load of the race
        timings = race(steps, rounds, device, seconds, clock=clock) if steps else {}
        load = watch.load()
        results = [result_of(cases[i], ready[i], timings[i]) for i in ready]
    return Benchmark(
        name,
        results,
        left_out,
        settings_here(device),
        provenance(device),
        machine=gauging.machine(timings) if gauging else None,
        load=load,
    )


def _ready(
    cases: Sequence[Case], device: torch.device, prepare: Preparing, leave_out: bool
) -> tuple[dict[int, Prepared], list[str]]:
    """Cases that can be run, by their number, and why others cannot; else what they raise."""
    ready: dict[int, Prepared] = {}
    left_out: list[str] = []
    for number, case in enumerate(cases):
        try:
            with reasons(case):
                prepared = prepare(case, device)
                prepared.step()  # what cannot be run shows here
            ready[number] = prepared
        except ValueError as error:
            if not leave_out:
                raise
            left_out.append(f"{case.label} ({case.description}): {error}")
    return ready, left_out


def _gauge_of(case: Case, device: torch.device) -> Gauge:
    """For maps as large as those that the case's stem makes of a batch, in float32."""
    model = model_of(case, torch.device("meta"))
    assert case.image_size is not None  # as it takes the model's
    images = torch.empty(case.batch, model.in_channels, *[case.image_size] * 2, device="meta")
    return Gauge(torch.float32, model.stem(images).nbytes, device)


def result_of(case: Case, prepared: Prepared, seconds: Timing) -> Result:
    """The result of a case whose steps took these seconds; its memory is measured now."""
    speed = case.batch / seconds.median
    return Result(case, prepared.detail, seconds, speed, prepared.peak_memory())


def peer_forms(case: Case) -> list[str]:
    """Which of "listing" and "timm" there are of a case's model; timm only where installed."""
    model = model_of(case, torch.device("meta"))
    names = [] if peers.listing_form(model) is None else ["listing"]
    if peers.timm_is_installed() and peers.timm_form(model) is not None:
        names.append("timm")
    return names


def model_of(case: Case, device: torch.device) -> nn.Module:
    """A case's model as mixerlib has it, with new weights."""
    entry, options = model_entry(case.model), dict(case.options)
    if "image_size" in entry.defaults:  # only models that serve one size alone have this option
        options["image_size"] = case.image_size
    with device:
        return create_model(case.model, **options)


def prepare_case(case: Case, device: torch.device) -> Prepared:
    """The model of a case, its images and its step. Raises what torch raises."""
    model = model_of(case, device)
    channels, classes = model.in_channels, model.num_classes
    images = torch.randn(case.batch, channels, case.image_size, case.image_size, device=device)
    images = images.to(memory_format=case.form.memory_format)
    if case.implementation == "fast":
        return _fast(model, images, case)
    detail = None
    if case.implementation != "mixerlib":
        model, detail = _peer(model, case)
    if case.task == "training":
        if classes == 0:
            raise ValueError("`num_classes`=0 leaves nothing to train for: time it in inference")
        labels = torch.arange(case.batch, device=device) % classes
        return _training(model, images, labels, case, detail)
    dtype = DTYPES[case.dtype]
    model = model.train(case.task == "as published").to(dtype)
    return _inference(_run_of(model, case), model, images.to(dtype), case, detail)


def _run_of(model: nn.Module, case: Case) -> nn.Module:
    """The model as its step calls it: in the case's form, compiled in the case's mode."""
    return in_form(model, case.form, case.compile_mode)


def _peer(model: nn.Module, case: Case) -> tuple[nn.Module, str | None]:
    """The model as others write it, and timm's version."""
    if case.implementation == "listing":
        peer, detail = peers.listing_form(model), None
    elif not peers.timm_is_installed():
        raise ValueError("`implementation`='timm' needs the package timm: pip install timm")
    else:
        peer, detail = peers.timm_form(model), f"timm {metadata.version('timm')}"
    if peer is None:
        raise ValueError(f"`implementation`={case.implementation!r} has no {case.label}")
    return peer, detail


def _fast(model: nn.Module, images: torch.Tensor, case: Case) -> Prepared:
    from mixerlib.speed.inference import optimize_for_inference

    dtype = DTYPES[case.dtype]
    images = images.to(dtype)
    fast = optimize_for_inference(model.eval(), images, dtype=dtype)
    assert fast.choice is not None  # as it has chosen
    detail = ", ".join(f"{name}={getattr(fast.choice.form, name)}" for name in CHOSEN)
    failed = [trial.note for trial in fast.choice.trials if trial.note.startswith("failed")]
    if failed:  # as by a broken compiler or its cache: the choice was made without them
        detail += f"; {len(failed)} ways {failed[0]}"
    return _inference(fast, fast, images, case, detail)


def _inference(
    run: Callable[[torch.Tensor], torch.Tensor],
    model: nn.Module,
    images: torch.Tensor,
    case: Case,
    detail: str | None,
) -> Prepared:
    """One batch through the model, without gradients.

    Args:
        run: the model as it is called.
        model: whose tensors are kept.
        images: (B, in_channels, H, W) in the case's dtype.
        case: for its depthwise kernels.
        detail: of the result.
    """

    @torch.no_grad()
    def step() -> None:
        with _depthwise(case.depthwise):
            run(images)

    def peak_memory() -> int | None:
        return _peak(step, [images, *_state(model)], images.device)

    return Prepared(step, peak_memory, detail)


def _training(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, case: Case, detail: str | None
) -> Prepared:
    """Forward, cross-entropy, backward and a step of AdamW.

    Args:
        model: its weights are float32.
        images: (B, in_channels, H, W), float32.
        labels: (B,).
        case: for its dtype, form and depthwise kernels.
        detail: of the result.
    """
    run = _run_of(model.train(), case)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=images.device.type in FUSED)
    dtype = DTYPES[case.dtype]
    mixed = dtype != torch.float32

    def step() -> None:
        with _depthwise(case.depthwise):
            with torch.autocast(images.device.type, dtype) if mixed else nullcontext():
                loss = F.cross_entropy(run(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    def peak_memory() -> int | None:
        moments = [value for state in optimizer.state.values() for value in state.values()]
        tensors = [images, labels, *_state(model), *filter(torch.is_tensor, moments)]
        return _peak(step, tensors, images.device)

    return Prepared(step, peak_memory, detail)


def _state(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def _peak(
    step: Callable[[], object], kept: Iterable[torch.Tensor], device: torch.device
) -> int | None:
    """The bytes of what is kept between two steps, and the most that a step has in use beside."""
    extra = extra_memory(step, device)
    return None if extra is None else extra + sum(tensor.nbytes for tensor in kept)


@contextmanager
def _depthwise(kernels: str | None) -> Iterator[None]:
    """Meanwhile, the kernels of depthwise convolutions on a GPU are these; None: as they were."""
    if kernels is None:
        yield
        return
    if not hasattr(torch.backends.cudnn, "depthwise_kernel"):
        raise ValueError(f"`depthwise`={kernels!r} needs a newer torch than {torch.__version__}")
    before = torch.backends.cudnn.depthwise_kernel
    torch.backends.cudnn.depthwise_kernel = kernels
    try:
        yield
    finally:
        torch.backends.cudnn.depthwise_kernel = before


@contextmanager
def _compiling(cases: Sequence[Case]) -> Iterator[None]:
    """Meanwhile each case may compile the same code for itself, or fail.

    By default torch compiles a function for eight different models, and runs the ninth as it is,
    without an error: it would be timed as if it were compiled.
    """
    if not any(case.form.compile for case in cases):
        yield
        return
    import torch._dynamo

    torch._dynamo.reset()
    limit = 8 + 2 * len(cases)
    with torch._dynamo.config.patch(recompile_limit=limit, fail_on_recompile_limit_hit=True):
        yield


class CannotCompile(ValueError):
    """A case cannot be compiled here, as where there is no C++ compiler."""


@contextmanager
def reasons(case: Case) -> Iterator[None]:
    """What torch says when a case cannot be run, as a `ValueError` in one line."""
    too_large = f"`batch`={case.batch} of {case.label} needs more memory than there is"
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise ValueError(too_large) from None
    except Exception as error:
        module = type(error).__module__
        if not isinstance(error, RuntimeError) and not module.startswith("torch."):
            raise
        if "can't allocate memory" in str(error):  # of the CPU's
            raise ValueError(too_large) from None
        message = str(error).strip().splitlines() or [type(error).__name__]
        in_compiler = module.startswith(("torch._dynamo", "torch._inductor"))
        kind = CannotCompile if in_compiler else ValueError
        raise kind(f"it cannot be run here: {message[0]}") from error
