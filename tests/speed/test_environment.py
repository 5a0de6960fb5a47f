"""Settings that a speed depends on, and the memory of a step."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from mixerlib.speed import environment
from mixerlib.speed.environment import extra_memory, memory_kept, settings_here


@pytest.mark.parametrize(
    "name",
    [
        "OMP_NUM_THREADS",
        "GOMP_CPU_AFFINITY",
        "KMP_BLOCKTIME",
        "MKL_NUM_THREADS",
        "MALLOC_TOP_PAD_",
        "MALLOC_MMAP_THRESHOLD_",
        "GLIBC_TUNABLES",
        "DNNL_VERBOSE",
        "ONEDNN_MAX_CPU_ISA",
        "CUBLAS_WORKSPACE_CONFIG",
        "CUDNN_LOGINFO_DBG",
        "PYTORCH_CUDA_ALLOC_CONF",
        "LD_PRELOAD",
    ],
)
def test_a_variable_that_a_speed_depends_on(name):
    assert settings_here("cpu", {name: "1"})[name] == "1"


def test_other_variables_are_nobodys_business():
    others = {"HOME": "/", "LD_PRELOADED": "1", "MY_OMP_NUM_THREADS": "1", "TOKEN": "secret"}
    others |= {"KMP_DUPLICATE_LIB_OK": "True", "KMP_INIT_AT_FORK": "FALSE"}  # by scikit-learn
    assert set(settings_here("cpu", others)) == {"instructions"}


@pytest.mark.parametrize("supported", [False, True])
def test_the_settings_of_a_gpu_are_those_of_its_libraries(monkeypatch, supported):
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: supported)
    settings = settings_here("cuda", {"OMP_NUM_THREADS": "1"})  # torch knows them without a GPU
    assert settings["convolutions in TF32"] is (supported and torch.backends.cudnn.allow_tf32)
    assert {"cuda", "cudnn", "cudnn.benchmark", "OMP_NUM_THREADS"} <= set(settings)
    assert "instructions" not in settings


def test_peak_memory_is_the_most_at_one_time():
    mebibyte = 2**20

    def run():
        first = torch.empty(mebibyte, dtype=torch.uint8)
        second = torch.empty(2 * mebibyte, dtype=torch.uint8)
        del first, second
        torch.empty(mebibyte, dtype=torch.uint8)

    assert extra_memory(run, "cpu") == 3 * mebibyte
    assert extra_memory(run, "meta") is None


def test_memory_on_a_gpu_is_that_of_its_allocator(monkeypatch):
    state = SimpleNamespace(now=50, peak=80)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: state.now)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: state.peak)
    reset = lambda device: setattr(state, "peak", state.now)  # noqa: E731
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    run = lambda: setattr(state, "peak", max(state.peak, 62))  # noqa: E731
    assert extra_memory(run, "cuda") == 12


# A map of 64 MB is written again and again: how many of its pages are new from the system?
FAULTS = """
import resource
import torch
from mixerlib.speed import memory_kept

source = torch.ones(2**24)

def faults(calls=20):
    for _ in range(calls):  # until the heap has found its size
        torch.neg(source)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(calls):
        torch.neg(source)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
with memory_kept() as kept:
    print(kept, faults(), given_back)
"""


def test_meanwhile_freed_memory_is_kept():
    """In a program of its own: in this one the heap may have a hole of that size already."""
    told = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    found = subprocess.run(
        [sys.executable, "-c", FAULTS], env=told, capture_output=True, text=True, check=True
    )
    kept, inside, given_back = found.stdout.split()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    assert 5 * int(inside) < int(given_back)


def test_what_glibc_was_told_when_the_program_started_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "8589934592")
    monkeypatch.setattr(environment.ctypes, "CDLL", None)  # not asked
    with memory_kept() as kept:
        assert kept


@pytest.mark.parametrize("library", [SimpleNamespace(), TypeError(), OSError()])
def test_another_c_library_is_left_alone(monkeypatch, library):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)

    def load(name):
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)
    with memory_kept() as kept:
        assert not kept
