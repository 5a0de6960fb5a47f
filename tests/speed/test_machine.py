"""What a device can do at best: what is multiplied and copied, and how rates come of it."""

from pathlib import Path

import pytest
import torch

from mixerlib.speed import machine as module
from mixerlib.speed.machine import DATA_SHEETS, LARGE_COPY, Machine, Rates, measure_machine
from mixerlib.speed.timing import Timing, stopwatch


@pytest.mark.parametrize("convolution", [0.125, 0.5])
def test_what_a_machine_can_do(monkeypatch, convolution):
    """Rates are what was done over the seconds that it took, on sizes that are quick here."""
    monkeypatch.setattr(module, "SIDES", (8, 16))
    monkeypatch.setattr(module, "LARGE_COPY", {"cpu": 4096, "other": 8192})
    seconds = {
        "product": 0.25,
        "1×1 convolution": convolution,
        "copy of a map": 0.5,
        "copy beyond the caches": 2.0,
        "reading a map": 0.125,
        "adding two maps": 4.0,
    }
    raced = {}

    def race(runs, rounds, device):
        raced.update({name: run() for name, run in runs.items()})
        return {name: Timing.of([seconds[name]]) for name in runs}

    monkeypatch.setattr(module, "race", race)
    result = measure_machine(torch.bfloat16, 1000, "cpu")
    copies = 2 * 1000 / 0.5, 1000, 2 * 4096 / 2.0
    ways = 16**3 / 0.25, 16**3 / convolution
    assert result == Machine(max(ways), 16, *copies, 1000 / 0.125, 3 * 1000 / 4.0, *ways)
    quicker = "1×1 convolution" if convolution < 0.25 else "product of matrices"
    assert next(iter(result.ways.items())) == (quicker, max(ways)) and len(result.ways) == 2
    assert result.rates == Rates(result.macs_per_second, result.copy_bytes_per_second)
    maps = ("copy of a map", "adding two maps")
    assert [raced[name].nbytes for name in maps] == [1000, 1000]
    assert raced["copy beyond the caches"].nbytes == 4096
    assert raced["product"].shape == (16, 16) and raced["1×1 convolution"].shape == (16, 16)
    assert raced["reading a map"] == 500 and raced["adding two maps"].unique() == 3
    assert {value.dtype for value in raced.values()} == {torch.bfloat16}


def test_an_older_record_knows_one_way_to_multiply():
    assert Machine(2e9, 64, 5e8, 1000, 4e8).ways == {"product of matrices": 2e9}


def test_the_smallest_product_that_takes_long_enough(monkeypatch):
    monkeypatch.setattr(module, "SIDES", (2, 4, 8, 16))
    monkeypatch.setattr(module, "LONG_PRODUCT", 0.05)
    taken = iter((0.001, 0.06, 9.0))
    monkeypatch.setattr(module, "warm_up", lambda run, seconds_of: next(taken))
    product, side = module.large_product(torch.float32, torch.device("cpu"))
    assert side == 4 and product().shape == (4, 4)
    assert stopwatch("cpu")(product, 1) > 0


def test_a_large_copy_fits_into_no_cache():
    """Source and target of a copy together: more than the caches that a core can reach have."""
    assert 2 * min(LARGE_COPY.values()) >= 2 * 96 * 2**20  # twice the largest one that we know of
    for cache in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):  # on Linux alone
        kibibytes = int(cache.read_text().strip().removesuffix("K"))
        assert 2 * LARGE_COPY["cpu"] > kibibytes * 2**10


@pytest.mark.parametrize("allowed", [False, True])
def test_products_on_a_gpu_are_as_exact_as_its_convolutions(monkeypatch, allowed):
    """float32 products may use TF32 where convolutions may, while they are timed and no longer."""
    matmul, during = torch.backends.cuda.matmul, []
    before = matmul.allow_tf32
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    monkeypatch.setattr(module, "warm_up", lambda run, seconds_of: 1.0)
    monkeypatch.setattr(torch, "randn", lambda *shape, device: torch.zeros(shape))
    monkeypatch.setattr(torch, "mm", lambda *_, out: during.append(matmul.allow_tf32))
    product, _ = module.large_product(torch.float32, torch.device("cuda"))
    product()
    assert during == [allowed] and matmul.allow_tf32 == before


# Data sheets


@pytest.mark.parametrize("name", DATA_SHEETS)
def test_what_a_data_sheet_says(name):
    """One MAC is two operations: the rates are below the printed ones, and tensor cores add."""
    sheet = DATA_SHEETS[name]
    single = sheet.rates("float32")
    assert single.balance == single.macs_per_second / sheet.bytes_per_second
    assert 1 < single.balance < 20  # no device of the last ten years lies outside
    for dtype in set(sheet.macs_per_second) - {"float32"}:
        assert sheet.rates(dtype).macs_per_second > single.macs_per_second
    assert sheet.source


def test_the_v100_of_the_published_table():
    rates = DATA_SHEETS["V100"].rates("float32")
    assert (2 * rates.macs_per_second, rates.copy_bytes_per_second) == (15.7e12, 900e9)


def test_a_dtype_that_a_data_sheet_does_not_have():
    with pytest.raises(ValueError, match="`dtype`='tf32' must be one of NVIDIA V100 SXM2's: floa"):
        DATA_SHEETS["V100"].rates("tf32")
