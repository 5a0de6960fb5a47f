"""What a speed depends on beside model, machine and versions; and the memory that a step takes."""

import ctypes
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from mixerlib.speed.timing import synchronize

# Environment variables: of threads, of glibc's memory, and of the libraries below torch
KNOB = re.compile(
    "(OMP|GOMP|KMP|MKL|MALLOC|DNNL|ONEDNN|CUBLAS|CUDNN|PYTORCH)_|(LD_PRELOAD|GLIBC_TUNABLES)$"
)
NO_KNOBS = {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"}  # set by scikit-learn

TRIM, MMAP = -1, -3  # of glibc's mallopt: free memory above which it is given back, and sizes that
# come from the system each time
LARGE, USUAL = 2**30, 2**17  # bytes


def settings_here(
    device: torch.device | str, environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """What a speed here also depends on: on a GPU CUDA, cuDNN and what torch lets them do, on a CPU
    the instructions that torch uses; and the environment's variables for threads, memory and the
    libraries below torch, as far as they are set.
    """
    cudnn = torch.backends.cudnn
    settings: dict[str, Any] = {"instructions": torch.backends.cpu.get_cpu_capability()}
    if torch.device(device).type == "cuda":
        has = torch.cuda.is_tf32_supported()  # as a V100 has not, whatever is allowed
        settings = {
            "cuda": torch.version.cuda,
            "cudnn": cudnn.version(),
            "convolutions in TF32": has and cudnn.allow_tf32,
            "matrix products in TF32": has and torch.backends.cuda.matmul.allow_tf32,
            "cudnn.benchmark": cudnn.benchmark,
        }
    knobs = {name for name in environ if KNOB.match(name)} - NO_KNOBS
    return settings | {name: environ[name] for name in sorted(knobs)}


def keeps_memory(settings: Mapping[str, Any]) -> bool:
    """Whether glibc was told to keep the memory that it has, by a variable of the environment.

    >>> from mixerlib.speed import keeps_memory
    >>> keeps_memory({"instructions": "AVX2", "MALLOC_TRIM_THRESHOLD_": "8589934592"})
    True
    """
    return any(name.startswith("MALLOC_") for name in settings)


@contextmanager
def memory_kept() -> Iterator[bool]:
    """Meanwhile glibc keeps what is freed for whoever asks next, as the variables `MALLOC_*` tell
    it when a program starts. Yields whether it does so: False, and nothing is changed, where the
    C library is another. Afterwards what is free is given back, and the two thresholds are those of
    glibc's manual. Chapter 18b.

    >>> from mixerlib.speed import memory_kept
    >>> with memory_kept() as kept:  # time something here
    ...     kept in (True, False)
    True
    """
    if keeps_memory(os.environ):
        yield True
        return
    try:
        library = ctypes.CDLL(None)
        _, mallopt = library.gnu_get_libc_version, library.mallopt
    except (AttributeError, OSError, TypeError):  # another library; Windows has no such handle
        yield False
        return
    try:
        yield all([mallopt(option, LARGE) for option in (TRIM, MMAP)])
    finally:
        for option in (TRIM, MMAP):
            mallopt(option, USUAL)
        library.malloc_trim(0)


def with_memory(where: str, settings: Mapping[str, Any]) -> str:
    """A place of measurements, and of a CPU's what its glibc did with memory.

    >>> from mixerlib.speed.environment import with_memory
    >>> with_memory("a CPU", {"instructions": "AVX2"})
    'a CPU (glibc giving memory back)'
    """
    if "instructions" not in settings:
        return where
    words = "keeping its memory" if keeps_memory(settings) else "giving memory back"
    return f"{where} (glibc {words})"


def extra_memory(run: Callable[[], object], device: torch.device | str) -> int | None:
    """The most bytes of tensors that a function has in use beside what was in use before it.

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
