"""The self-test of a device: what is right passes, and every kind of fault is seen."""

import inspect

import pytest
import torch

from mixerlib.models import create_model
from mixerlib.training import device_check, load_recipe, self_test
from mixerlib.training.run import PRECISIONS

NAMES = [
    "float32 agrees with the CPU",
    "bfloat16 agrees with the CPU",
    "float16 agrees with the CPU",
    "no step waits for the device",
    "training",
]
TINY = {"dim": 8, "batch_size": 8, "steps": 1}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_a_sound_device_passes():
    answers = self_test("cpu", **TINY)
    assert [answer.name for answer in answers] == NAMES
    assert all(answer.passed for answer in answers), answers
    speed = answers[-1]
    assert speed.images_per_second > 0 and "images a second" in speed.detail
    assert speed.macs == device_check.macs_of(load_recipe(device_check.RECIPE))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_kernels_that_compute_something_else_are_seen(monkeypatch, precision):
    exact = device_check._outputs
    dtype = PRECISIONS[precision]

    def wrong(model, images, labels, autocast):
        logits, gradient = exact(model, images, labels, autocast)
        off = 1.1 if images.dtype == torch.float32 and autocast == dtype else 1.0
        return logits, gradient * off

    monkeypatch.setattr(device_check, "_outputs", wrong)
    answers = [
        device_check._agrees(torch.device("cpu"), name, 8) for name in device_check.TOLERANCES
    ]
    assert [passed for passed, _ in answers] == [
        name != precision for name in device_check.TOLERANCES
    ]


def test_what_is_right_stays_exact_while_the_model_goes_elsewhere():
    """To move a model to a device, or to another dtype, changes the gradients that it holds."""
    model, images = create_model("convmixer", dim=8, depth=1).double(), torch.randn(8, 3, 32, 32)
    outputs = device_check._outputs(model, images.double(), torch.arange(8), None)
    before = [tensor.clone() for tensor in outputs]
    model.float().to("meta")
    for tensor, kept in zip(outputs, before, strict=True):
        assert tensor.dtype == torch.float64 and torch.equal(tensor, kept)


def test_a_number_that_is_none_is_seen(monkeypatch):
    exact = device_check._outputs

    def broken(model, images, labels, autocast):
        logits, gradient = exact(model, images, labels, autocast)
        return (logits * float("nan") if autocast else logits), gradient

    monkeypatch.setattr(device_check, "_outputs", broken)
    assert not device_check._agrees(torch.device("cpu"), "bfloat16", 8)[0]


def test_a_part_that_fails_is_its_answer_and_the_others_go_on(monkeypatch):
    def fails(*_):
        raise RuntimeError("no kernel image is available\nand more lines")

    monkeypatch.setattr(device_check, "_agrees", fails)
    answers = self_test("cpu", **TINY)
    assert [answer.passed for answer in answers] == [False, False, False, True, True]
    assert answers[0].detail == "RuntimeError: no kernel image is available"


def test_weights_that_are_no_numbers_after_training_are_seen(monkeypatch):
    begun = device_check._begun

    def wild(*arguments, **changes):
        run, dataset = begun(*arguments, **changes)
        with torch.no_grad():
            run.model.head.weight.fill_(float("inf"))
        return run, dataset

    monkeypatch.setattr(device_check, "_begun", wild)
    assert not device_check._speed(torch.device("cpu"), 8, 1).passed


def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(ValueError, match="`device`='cuda:99' is not here"):
        self_test("cuda:99")


@needs_gpu
def test_on_a_gpu_all_of_it_passes():
    answers = self_test("cuda", dim=32, steps=2)
    assert [answer.name for answer in answers][3].startswith("events, pinned memory")
    assert all(answer.passed for answer in answers), answers


@needs_gpu
def test_waiting_for_a_gpu_is_seen():
    number = torch.ones(1, device="cuda")
    with pytest.raises(RuntimeError), device_check.waiting_forbidden():
        number.item()
    number.item()  # afterwards it may


def test_what_only_a_gpu_has_is_called_as_torch_has_it():
    """Without a GPU these branches cannot run; their names and arguments can be looked at."""
    cuda = torch.cuda
    inspect.signature(cuda.set_sync_debug_mode).bind("error")
    inspect.signature(cuda.get_sync_debug_mode).bind()
    inspect.signature(cuda.max_memory_allocated).bind("cuda")
    inspect.signature(cuda.reset_peak_memory_stats).bind("cuda")
    inspect.signature(cuda.synchronize).bind("cuda")
    assert {"record", "elapsed_time"} <= set(dir(cuda.Event))
    for name in ("_of_cuda", "waiting_forbidden"):
        used = set(inspect.getsource(getattr(device_check, name)).split("torch.cuda.")[1:])
        assert used and all(hasattr(cuda, part.split("(")[0]) for part in used)
