"""What a device can do at best: the rate of a large matrix product, the speed of a plain copy."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mixerlib.speed.timing import race, stopwatch, warm_up

ROUNDS = 7
LARGE_COPY = {"cpu": 128 * 2**20, "other": 2**30}  # bytes, beyond every cache
SIDES = (256, 512, 1024, 2048, 4096, 8192)  # of the matrices whose product is timed
LONG_PRODUCT = 0.02  # seconds: the first product that takes so long is large enough


@dataclass(frozen=True)
class Machine:
    """What a device can do at best, as plain operations of torch reach it.

    Args:
        macs_per_second: of a product of two square matrices of the dtype.
        matrix_side: the side of these matrices.
        copy_bytes_per_second: read and written, when a map is copied that is as large as ours.
        copied_bytes: of that map.
        memory_bytes_per_second: read and written, when a map is copied that fits into no cache.
    """

    macs_per_second: float
    matrix_side: int
    copy_bytes_per_second: float
    copied_bytes: int
    memory_bytes_per_second: float


def measure_machine(dtype: torch.dtype, map_bytes: int, device: torch.device | str) -> Machine:
    """The rate of a matrix product of this dtype, and the speed of copies, from rounds of all.

    A copy of `map_bytes` may stay in a cache, as the maps of a model of that size may. On CUDA,
    float32 products are allowed to use TF32 where convolutions are. Chapter 18.
    """
    device = torch.device(device)
    if device.type == "cuda":
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        product, side = large_product(dtype, device)
        large = LARGE_COPY.get(device.type, LARGE_COPY["other"])
        runs = {"map": copy_of(map_bytes, dtype, device), "memory": copy_of(large, dtype, device)}
        seconds = race(runs | {"product": product}, ROUNDS, device)
    finally:
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = before
    return Machine(
        macs_per_second=side**3 / seconds["product"].median,
        matrix_side=side,
        copy_bytes_per_second=2 * map_bytes / seconds["map"].median,
        copied_bytes=map_bytes,
        memory_bytes_per_second=2 * large / seconds["memory"].median,
    )


def copy_of(size: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    """A function that copies a tensor of so many bytes."""
    source = torch.ones(size // dtype.itemsize, dtype=dtype, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def large_product(dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], object], int]:
    """The smallest of the products of square matrices that takes long enough, and its side."""
    seconds_of = stopwatch(device)
    for side in SIDES:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        target = torch.empty_like(left)

        def product(left=left, right=right, target=target) -> object:
            return torch.mm(left, right, out=target)

        if warm_up(product, seconds_of) > LONG_PRODUCT:
            break
    return product, side
