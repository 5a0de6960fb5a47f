"""How fast models are, measured so that the numbers can be compared.

report = benchmark([Case("convmixer_256_8"), Case("splitmixer_i_256_8", form="fast")])
write_record(report, "records/bench/cifar.json")     # read back by read_benchmark

Cases run in turn, as `mixerlib.speed.timing` has them. Chapter 17 shows why.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.models import create_model, model_entry
from mixerlib.models.splitmixer import SplitMixer
from mixerlib.records import Provenance, parse_record, provenance
from mixerlib.speed import peers
from mixerlib.speed.timing import ROUNDS, Clock, Stopwatch, Timing, race, stopwatch, synchronize
from mixerlib.speed.whole_matrix import OneMatrix

SCHEMA = "mixerlib benchmark 1"  # a record of another shape has another name here

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
FORMS = ("plain", "listing", "timm", "one matrix", "fast")
TASKS = ("inference", "training", "as published")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
FUSED = ("cpu", "cuda")  # devices where AdamW is one kernel, as in mixerlib's training
DEPTHWISE = ("auto", "cudnn", "native")  # torch.backends.cudnn.depthwise_kernel

# Environment variables: of threads, of glibc's memory, and of the libraries below torch
KNOB = re.compile("(OMP|GOMP|KMP|MKL|MALLOC|DNNL|ONEDNN|CUBLAS|CUDNN|PYTORCH)_|LD_PRELOAD$")

# What is timed


@dataclass(frozen=True)
class Case:
    """A model and how it is run. Raises `ValueError` for a value that does not exist.

    `form`: "plain" is mixerlib's own module, "listing" and "timm" are the same model as others
    write it (`mixerlib.speed.peers`), "one matrix" mixes a SplitMixer's channels by whole matrices
    (`mixerlib.speed.whole_matrix`), "fast" is what `mixerlib.speed.inference` makes of it, which
    chooses its
    own layout and compilation.

    `task`: "inference" is one batch through the model in evaluation mode, without gradients;
    weights and images have the `dtype`. "training" is forward, cross-entropy, backward and a step
    of AdamW; weights are float32, and autocast computes in the `dtype`. "as published" is how
    SplitMixer's table 3 was timed: no gradients, but BatchNorm in training mode.
    """

    model: str  # a name of the registry
    options: dict[str, Any] = field(default_factory=dict)  # those of `create_model`
    form: str = "plain"
    task: str = "inference"
    batch: int = 64
    image_size: int | None = None  # pixels; None: the size that the model is meant for
    dtype: str = "float32"
    layout: str = "contiguous"  # of images and weights in memory; or "channels_last"
    compile: str | None = None  # a mode of `torch.compile`; None: not compiled
    depthwise: str | None = None  # which depthwise kernels on a GPU; None: as torch is set

    def __post_init__(self):
        entry = model_entry(self.model)
        known = {"form": FORMS, "task": TASKS, "dtype": DTYPES, "layout": LAYOUTS}
        known |= {"compile": (None, *COMPILE_MODES), "depthwise": (None, *DEPTHWISE)}
        for name, values in known.items():
            if getattr(self, name) not in values:
                words = ", ".join(map(str, values))
                raise ValueError(f"`{name}`={getattr(self, name)!r} must be one of {words}")
        if "image_size" in self.options:
            raise ValueError("`options` must not hold `image_size`: a case has a field for it")
        size = entry.image_size if self.image_size is None else self.image_size
        object.__setattr__(self, "image_size", size)
        for name in ("batch", "image_size"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"`{name}`={value!r} must be a positive whole number")
        if self.form == "fast" and (self.task != "inference" or self.compile):
            raise ValueError("`form`='fast' is for inference, and chooses its own compilation")

    @property
    def label(self) -> str:
        """The model's name, and what makes it another than the registry's."""
        options = (f"{name}={value}" for name, value in self.options.items())
        return " ".join([self.model, *options])

    @property
    def way(self) -> str:
        """How it is run, in a few words."""
        form = () if self.form == "plain" else (self.form,)
        compiled = () if self.compile is None else ("compiled",)
        if self.compile not in (None, "default"):
            compiled = (f"compiled ({self.compile})",)
        kernels = () if self.depthwise is None else (f"depthwise {self.depthwise}",)
        layout = () if self.form == "fast" else (self.layout,)
        return ", ".join((*form, self.dtype, *layout, *compiled, *kernels))


@dataclass(frozen=True)
class Result:
    """What one case was measured to take."""

    case: Case
    detail: str | None  # what the fast form has chosen; timm's version
    seconds: Timing  # of a step: one batch
    images_per_second: float
    peak_memory_bytes: int | None  # of tensors, in a step: weights, images and all that it makes


@dataclass(frozen=True)
class Benchmark:
    """The cases of one race, or of one run in a row, and where they were measured."""

    name: str
    results: list[Result]
    left_out: list[str]  # cases that could not be run, and why
    settings: dict[str, Any]  # what else a speed depends on: `settings_here`
    provenance: Provenance
    schema: str = SCHEMA


@dataclass
class _Prepared:
    """A case that is ready to run."""

    step: Callable[[], object]
    held: Callable[[], int]  # the bytes that it keeps between two steps
    detail: str | None = None


def benchmark(
    cases: Sequence[Case],
    rounds: int = ROUNDS,
    device: torch.device | str = "cpu",
    *,
    name: str = "",
    seconds: float | None = None,
    leave_out: bool = False,
    clock: Clock = time.perf_counter,
) -> Benchmark:
    """Race some cases against each other: seconds of a step, images a second, peak memory.

    `rounds` and `seconds` as in `race`. Raises `ValueError` for a case that cannot be run: a bad
    option, a form that the model does not have, a dtype or a compiler that is not there, too little
    memory. With `leave_out` such a case is left out instead, and the record says so.
    """
    device = torch.device(device)
    ready: dict[int, _Prepared] = {}
    left_out: list[str] = []
    with _compiling(cases):
        for number, case in enumerate(cases):
            try:
                with _reasons(case):
                    prepared = _prepare(case, device)
                    prepared.step()  # what cannot be run shows here
                ready[number] = prepared
            except ValueError as error:
                if not leave_out:
                    raise
                left_out.append(f"{case.label} ({case.way}): {error}")
        steps = {number: prepared.step for number, prepared in ready.items()}
        timings = race(steps, rounds, device, seconds, clock=clock) if steps else {}
        results = [_result(cases[i], ready[i], timings[i], device) for i in ready]
    return Benchmark(name, results, left_out, settings_here(device), provenance(device))


def _result(case: Case, prepared: _Prepared, seconds: Timing, device: torch.device) -> Result:
    speed = case.batch / seconds.median
    memory = extra_memory(prepared.step, device)
    memory = None if memory is None else memory + prepared.held()
    return Result(case, prepared.detail, seconds, speed, memory)


def peer_forms(case: Case) -> list[str]:
    """Which of "listing" and "timm" there are of a case's model; timm only where installed."""
    model = _model_of(case, torch.device("meta"))
    found = [] if peers.listing_form(model) is None else ["listing"]
    if peers.timm_is_installed() and peers.timm_form(model) is not None:
        found.append("timm")
    return found


def _model_of(case: Case, device: torch.device) -> nn.Module:
    entry, options = model_entry(case.model), dict(case.options)
    if "image_size" in entry.defaults:  # only models that serve one size alone have this option
        options["image_size"] = case.image_size
    with device:
        return create_model(case.model, **options)


def _prepare(case: Case, device: torch.device) -> _Prepared:
    """The model of a case, its images and its step. Raises what torch raises."""
    model = _model_of(case, device)
    channels, classes = model.in_channels, model.head.out_features
    detail = None
    if case.form == "listing":
        model = peers.listing_form(model)
    elif case.form == "timm":
        if not peers.timm_is_installed():
            raise ValueError("`form`='timm' needs the package timm: pip install timm")
        model, detail = peers.timm_form(model), f"timm {metadata.version('timm')}"
    elif case.form == "one matrix":
        model = OneMatrix(model) if type(model) is SplitMixer else None
    if model is None:
        raise ValueError(f"`form`={case.form!r} does not exist of {case.label}")
    layout, dtype = LAYOUTS[case.layout], DTYPES[case.dtype]
    images = torch.randn(case.batch, channels, case.image_size, case.image_size, device=device)
    images = images.to(memory_format=layout)
    model = model.to(memory_format=layout)
    if case.task == "training":
        labels = torch.arange(case.batch, device=device) % classes
        return _training(model, images, labels, dtype, case)
    model = model.train(case.task == "as published")
    if case.form == "fast":
        from mixerlib.speed.inference import optimize_for_inference

        images = images.to(dtype)
        model = optimize_for_inference(model, images, dtype=dtype)
        detail = ", ".join(f"{k}={v}" for k, v in asdict(model.choice.way).items())
        failed = [trial.note for trial in model.choice.trials if trial.note.startswith("failed")]
        if failed:  # as by a broken compiler or its cache: the choice was made without them
            detail += f"; {len(failed)} ways {failed[0]}"
    else:
        model, images = model.to(dtype), images.to(dtype)
    run = model if case.compile is None else torch.compile(model, mode=case.compile, dynamic=False)

    @torch.no_grad()
    def step() -> None:
        with _depthwise(case.depthwise):
            run(images)

    return _Prepared(step, lambda: _bytes([images, *_state(model)]), detail)


def _training(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype, case: Case
) -> _Prepared:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=images.device.type in FUSED)
    run = model if case.compile is None else torch.compile(model, mode=case.compile, dynamic=False)
    mixed = dtype != torch.float32

    def step() -> None:
        with _depthwise(case.depthwise):
            with torch.autocast(images.device.type, dtype) if mixed else nullcontext():
                loss = F.cross_entropy(run(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    def held() -> int:
        kept = [value for state in optimizer.state.values() for value in state.values()]
        return _bytes([images, labels, *_state(model), *filter(torch.is_tensor, kept)])

    return _Prepared(step, held)


def _state(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


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
    if not any(case.compile for case in cases):
        yield
        return
    import torch._dynamo

    torch._dynamo.reset()
    limit = 8 + 2 * len(cases)
    with torch._dynamo.config.patch(recompile_limit=limit, fail_on_recompile_limit_hit=True):
        yield


@contextmanager
def _reasons(case: Case) -> Iterator[None]:
    """What torch says when a case cannot be run, as a `ValueError` in one line."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise ValueError(f"`batch`={case.batch} needs more memory than there is") from None
    except Exception as error:
        if not isinstance(error, RuntimeError) and not type(error).__module__.startswith("torch."):
            raise
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"it cannot be run here: {told[0]}") from error


def extra_memory(run: Callable[[], object], device: torch.device | str) -> int | None:
    """The most bytes of tensors that a function has in use beside what was there before it.

    On a GPU and on the CPU; None elsewhere. On the CPU torch's profiler follows every allocation
    of its own; what a library such as oneDNN takes for itself is not seen.
    """
    device = torch.device(device)
    if device.type == "cuda":
        synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return None
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it prints when it starts and stops
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profile:
        run()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    in_use = np.cumsum([0, *(size for _, size in changes)])
    return int(in_use.max())


def settings_here(device: torch.device | str) -> dict[str, Any]:
    """What a speed here also depends on: on a GPU CUDA, cuDNN and what torch lets them do, on a CPU
    the instructions that torch uses; and the environment's variables for threads, memory and the
    libraries below torch, as far as they are set.
    """
    cudnn = torch.backends.cudnn
    found: dict[str, Any] = {"instructions": torch.backends.cpu.get_cpu_capability()}
    if torch.device(device).type == "cuda":
        found = {
            "cuda": torch.version.cuda,
            "cudnn": cudnn.version(),
            "convolutions in TF32": cudnn.allow_tf32,
            "matrix products in TF32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn.benchmark": cudnn.benchmark,
        }
    return found | {name: os.environ[name] for name in sorted(os.environ) if KNOB.match(name)}


# SplitMixer's table 3, "model throughput": the configurations of its authors' script, in its order

TABLE_3 = (
    ("convmixer_256_8_224", {}),
    *(("splitmixer_i_256_8_224", {"ratio": a}) for a in ("2/3", "3/5", "4/7", "5/9", "6/11")),
    *(("splitmixer_ii_256_8_224", {"segments": s}) for s in (2, 3, 4, 5, 6)),
    *(("splitmixer_iii_256_8_224", {"segments": s}) for s in (2, 4, 8)),
    *(("splitmixer_iv_256_8_224", {"segments": s}) for s in (2, 3, 4, 5)),
)
REPETITIONS = 100  # of each


def published_table(
    device: torch.device | str = "cpu",
    *,
    batch: int = 64,
    image_size: int = 224,
    options: Mapping[str, Any] | None = None,
    rounds: int = ROUNDS,
    repetitions: int = REPETITIONS,
    seconds: float | None = None,
    clock: Clock = time.perf_counter,
) -> Benchmark:
    """Table 3 of SplitMixer's slides, timed as its authors did, and then as it should be.

    As published: one model after the other, BatchNorm in training mode, each batch timed alone from
    the very first on, and the images of all batches divided by their whole time. As it should be:
    `benchmark`. The networks are those of the listings in both, in float32, so that only the way
    of timing differs. `options` replace the table's own; `seconds` is for the second part alone.
    The results are first all those as published, then the others, in the same order.
    """
    device = torch.device(device)
    cases = [
        Case(model, own | dict(options or {}), "listing", "as published", batch, image_size)
        for model, own in TABLE_3
    ]
    published = [_in_a_row(case, repetitions, stopwatch(device, clock), device) for case in cases]
    again = [replace(case, task="inference") for case in cases]
    report = benchmark(
        again, rounds, device, name="SplitMixer's table 3", seconds=seconds, clock=clock
    )
    return replace(report, results=published + report.results)


def _in_a_row(case: Case, repetitions: int, seconds_of: Stopwatch, device: torch.device) -> Result:
    if repetitions < 1:
        raise ValueError(f"`repetitions`={repetitions} must be at least 1")
    with _reasons(case):
        prepared = _prepare(case, device)
        runs = [seconds_of(prepared.step, 1) for _ in range(repetitions)]
        result = _result(case, prepared, Timing.of(runs), device)
    return replace(result, images_per_second=case.batch * repetitions / sum(runs))


# Records


def read_benchmark(path: str | Path) -> Benchmark:
    """Read a benchmark that `records.write_record` wrote. Errors as in `records.read_record`."""
    return parse_record(path, Benchmark)


def has_measured(path: Path, cases: Sequence[Case], device: torch.device | str) -> bool:
    """Whether a record of just these cases lies there, measured on a device of this model.

    Raises `ValueError` when a record of others does, which must not be written over.
    """
    if not path.exists():
        return False
    record = read_benchmark(path)
    left_out = {told.partition(": ")[0] for told in record.left_out}
    wanted = [case for case in cases if f"{case.label} ({case.way})" not in left_out]
    same_device = record.provenance.device_name == provenance(device).device_name
    if not same_device or [result.case for result in record.results] != wanted:
        raise ValueError(f"{path} holds other measurements; name another folder")
    return True
