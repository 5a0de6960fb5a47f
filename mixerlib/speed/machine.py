"""What a device can do at best: as measured, by a large product and by plain copies; and
as its maker's data sheet says it.

>>> from mixerlib.speed import DATA_SHEETS
>>> round(DATA_SHEETS["V100"].rates("float32").balance, 1)  # MACs a byte
8.7
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from mixerlib.speed.linear_layers import by_convolution
from mixerlib.speed.timing import Timing, race, stopwatch, warm_up

ROUNDS = 7
LARGE_COPY = {"cpu": 128 * 2**20, "other": 2**30}  # bytes, beyond every cache
SIDES = (256, 512, 1024, 2048, 4096, 8192)  # of the matrices whose product is timed
LONG_PRODUCT = 0.02  # seconds: the first product that takes so long is large enough


@dataclass(frozen=True)
class Rates:
    """What a roof is made of.

    Args:
        macs_per_second: at most.
        copy_bytes_per_second: at most, read and written.
    """

    macs_per_second: float
    copy_bytes_per_second: float

    @property
    def balance(self) -> float:
        """MACs a byte at which both bills are equal."""
        return self.macs_per_second / self.copy_bytes_per_second


@dataclass(frozen=True)
class DataSheet:
    """The rates that a maker prints for a device; a program reaches less.

    Args:
        name: of the device.
        macs_per_second: dtype → half of the printed floating-point operations a second, without
            sparsity. "tf32" is float32 whose products are rounded, PyTorch's default in
            convolutions. Rates of tensor cores count for products of matrices only: depthwise
            convolutions do not use them.
        bytes_per_second: of the device's memory, read and written.
        source: where the numbers are printed, or what they follow from.
    """

    name: str
    macs_per_second: dict[str, float]
    bytes_per_second: float
    source: str

    def rates(self, dtype: str = "float32") -> Rates:
        """The two rates for a dtype. Raises `ValueError` for one that the sheet does not have."""
        if dtype not in self.macs_per_second:
            known = ", ".join(self.macs_per_second)
            raise ValueError(f"`dtype`={dtype!r} must be one of {self.name}'s: {known}")
        return Rates(self.macs_per_second[dtype], self.bytes_per_second)


def _hopper(name: str, bytes_per_second: float) -> DataSheet:
    """H100 and H200 differ in their memory only. Their sheets print tensor cores with sparsity,
    which doubles them."""
    rates = {"float32": 67e12, "tf32": 989e12 / 2, "bfloat16": 1979e12 / 2, "float16": 1979e12 / 2}
    macs = {dtype: rate / 2 for dtype, rate in rates.items()}
    return DataSheet(f"NVIDIA {name} SXM", macs, bytes_per_second, f"NVIDIA {name} data sheet")


# Short name → what its maker prints
DATA_SHEETS = {
    "laptop": DataSheet(
        "Intel Core i7-8565U",
        # 4 cores of 1.8 GHz, each with two fused multiply-adds of eight numbers
        {"float32": 4 * 1.8e9 * 2 * 8},
        2 * 8 * 2400e6,  # two channels of eight bytes
        "4 cores, 1.8 GHz, AVX2, two channels of DDR4-2400",
    ),
    "T4": DataSheet(
        "NVIDIA T4",
        {"float32": 8.1e12 / 2, "float16": 65e12 / 2},
        320e9,
        "NVIDIA Turing architecture white paper",
    ),
    "V100": DataSheet(
        "NVIDIA V100 SXM2",
        {"float32": 15.7e12 / 2, "float16": 125e12 / 2},
        900e9,
        "NVIDIA V100 data sheet",
    ),
    "A100": DataSheet(
        "NVIDIA A100 80 GB SXM",
        {"float32": 19.5e12 / 2, "tf32": 156e12 / 2, "bfloat16": 312e12 / 2, "float16": 312e12 / 2},
        2039e9,
        "NVIDIA A100 data sheet",
    ),
    "H100": _hopper("H100", 3.35e12),
    "H200": _hopper("H200", 4.8e12),
}


@dataclass(frozen=True)
class Machine:
    """What a device can do at best, as plain operations of torch reach it.

    A product of matrices and a 1×1 convolution are the same arithmetic, but a library may have
    quicker code for one of them, so both are timed. A copy is one operation of many, too. A read
    alone may be quicker for its bytes, and so may a sum, which reads two numbers for each that it
    writes. What an older record does not hold is None.

    Args:
        macs_per_second: of a product of two square matrices of the dtype, by the quicker way.
        matrix_side: the side of these matrices.
        copy_bytes_per_second: read and written, when a map is copied that is as large as ours.
        copied_bytes: of that map.
        memory_bytes_per_second: read and written, when a map is copied that fits into no cache.
        read_bytes_per_second: read, when the numbers of such a map are summed up.
        triad_bytes_per_second: read and written, when two such maps are added into a third.
        product_macs_per_second: of that product by `torch.mm`.
        convolution_macs_per_second: of the same product as a 1×1 convolution.
    """

    macs_per_second: float
    matrix_side: int
    copy_bytes_per_second: float
    copied_bytes: int
    memory_bytes_per_second: float
    read_bytes_per_second: float | None = None
    triad_bytes_per_second: float | None = None
    product_macs_per_second: float | None = None
    convolution_macs_per_second: float | None = None

    @property
    def ways(self) -> dict[str, float]:
        """MACs a second by each way of multiplying that was timed, the quicker one first."""
        both = {
            "1×1 convolution": self.convolution_macs_per_second,
            "product of matrices": self.product_macs_per_second or self.macs_per_second,
        }
        timed = {way: rate for way, rate in both.items() if rate is not None}
        return dict(sorted(timed.items(), key=lambda item: -item[1]))

    @property
    def rates(self) -> Rates:
        """What its roof is made of."""
        return Rates(self.macs_per_second, self.copy_bytes_per_second)


class Gauge:
    """The operations whose seconds say what a device can do at best, to be raced with others.

    A copy of `map_bytes` may stay in a cache, as the maps of a model of that size may. On CUDA,
    float32 products are allowed to use TF32 where convolutions are. Chapter 18b.
    """

    def __init__(self, dtype: torch.dtype, map_bytes: int, device: torch.device | str):
        device = torch.device(device)
        self.map_bytes = map_bytes
        self.large = LARGE_COPY.get(device.type, LARGE_COPY["other"])
        product, self.side = large_product(dtype, device)
        self.runs: dict[str, Callable[[], object]] = {
            "product": product,
            "1×1 convolution": convolution_of(self.side, dtype, device),
            "copy of a map": copy_of(map_bytes, dtype, device),
            "copy beyond the caches": copy_of(self.large, dtype, device),
            "reading a map": read_of(map_bytes, dtype, device),
            "adding two maps": triad_of(map_bytes, dtype, device),
        }

    def machine(self, seconds: Mapping[str, Timing]) -> Machine:
        """What follows from the seconds that `runs` took."""
        product, convolution, copy, large, read, triad = (
            seconds[name].median for name in self.runs
        )
        return Machine(
            macs_per_second=self.side**3 / min(product, convolution),
            matrix_side=self.side,
            copy_bytes_per_second=2 * self.map_bytes / copy,
            copied_bytes=self.map_bytes,
            memory_bytes_per_second=2 * self.large / large,
            read_bytes_per_second=self.map_bytes / read,
            triad_bytes_per_second=3 * self.map_bytes / triad,
            product_macs_per_second=self.side**3 / product,
            convolution_macs_per_second=self.side**3 / convolution,
        )


def measure_machine(dtype: torch.dtype, map_bytes: int, device: torch.device | str) -> Machine:
    """The rates of a device alone, from rounds of all the operations of a `Gauge`.

    What is to be compared with them should run in the same rounds. Chapter 18b.
    """
    gauge = Gauge(dtype, map_bytes, device)
    return gauge.machine(race(gauge.runs, ROUNDS, device))


def copy_of(size: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    """A function that copies a tensor of so many bytes."""
    source = torch.ones(size // dtype.itemsize, dtype=dtype, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def read_of(size: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    """A function that reads a tensor of so many bytes, and writes one number."""
    source = torch.ones(size // dtype.itemsize, dtype=dtype, device=device)
    return lambda: source.sum()


def triad_of(size: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    """A function that adds two tensors of so many bytes into a third: a + 2b."""
    first, second = (torch.ones(size // dtype.itemsize, dtype=dtype, device=device) for _ in "ab")
    target = torch.empty_like(first)
    return lambda: torch.add(first, second, alpha=2, out=target)


def large_product(dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], object], int]:
    """The smallest of the products of square matrices that takes long enough, and its side."""
    seconds_of = stopwatch(device)
    for side in SIDES:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        target = torch.empty_like(left)

        def product(left=left, right=right, target=target) -> object:
            with _as_exact_as_convolutions(device):
                return torch.mm(left, right, out=target)

        if warm_up(product, seconds_of) > LONG_PRODUCT:
            break
    return product, side


def convolution_of(
    side: int, dtype: torch.dtype, device: torch.device
) -> Callable[[], torch.Tensor]:
    """The product of two matrices of that side by a 1×1 convolution."""
    x, weight = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return lambda: by_convolution(x, weight)


@contextmanager
def _as_exact_as_convolutions(device: torch.device) -> Iterator[None]:
    """Meanwhile, products on CUDA may use TF32 where convolutions may."""
    if device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        matmul.allow_tf32 = before
