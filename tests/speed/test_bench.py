"""What a benchmark really runs: each task, form and implementation; and what cannot be run.

No test asks how fast anything is.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from helpers import Later
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from mixerlib.models.convmixer import ConvMixer
from mixerlib.models.splitmixer import SplitMixer
from mixerlib.speed import bench
from mixerlib.speed.bench import benchmark
from mixerlib.speed.cases import Case
from mixerlib.speed.form import Form
from mixerlib.speed.whole_matrix import OneMatrix

dynamo = Later("torch._dynamo")

SMALL = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 4}
TINY = {"batch": 2, "image_size": 8}
COMPILED = Form(compile=True)


# What a step does


@dataclass
class Seen:
    """A model, its state before the first step, and what its first layer saw in the last one."""

    model: nn.Module
    start: dict[str, torch.Tensor]
    dtype: torch.dtype | None = None  # of the first layer's output
    grad: bool | None = None
    channels_last: bool | None = None  # the images


@pytest.fixture
def seen() -> Iterator[list[Seen]]:
    """The models that are run meanwhile, in the order of their first step."""
    models: list[Seen] = []

    def before(module, inputs):
        if isinstance(module, ConvMixer | SplitMixer) and module not in [s.model for s in models]:
            state = {name: value.clone() for name, value in module.state_dict().items()}
            models.append(Seen(module, state))

    def after(module, inputs, output):
        for one in models:
            if module is one.model.stem[0]:
                one.dtype, one.grad = output.dtype, torch.is_grad_enabled()
                one.channels_last = inputs[0].is_contiguous(memory_format=torch.channels_last)

    hooks = register_module_forward_pre_hook(before), register_module_forward_hook(after)
    yield models
    for hook in hooks:
        hook.remove()


def test_a_step_of_inference(seen):
    cases = [
        Case("convmixer", SMALL, **TINY),
        Case("convmixer", SMALL, **TINY, dtype="bfloat16", form=Form(channels_last=True)),
    ]
    benchmark(cases, rounds=1)
    for one in seen:
        assert not one.model.training and not one.grad
        for name, value in one.model.state_dict().items():  # nothing learned, no statistics moved
            assert torch.equal(value, one.start[name])
    float32, bfloat16 = seen
    assert float32.dtype == float32.model.stem[0].weight.dtype == torch.float32
    assert bfloat16.dtype == bfloat16.model.stem[0].weight.dtype == torch.bfloat16
    assert bfloat16.channels_last and not float32.channels_last
    weight = bfloat16.model.stem[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_a_step_of_training(seen):
    cases = [
        Case("splitmixer_ii", SMALL, task="training", **TINY),
        Case("splitmixer_ii", SMALL, task="training", **TINY, dtype="bfloat16"),
    ]
    benchmark(cases, rounds=1)
    for one, computed in zip(seen, (torch.float32, torch.bfloat16), strict=True):
        assert one.model.training and one.grad
        assert one.model.stem[0].weight.dtype == torch.float32  # autocast: the weights as they were
        assert one.dtype == computed
        assert all(p.grad is None for p in one.model.parameters())  # nothing adds up over steps
        assert not any(torch.equal(p, one.start[name]) for name, p in one.model.named_parameters())


def test_a_step_as_published(seen):
    """No gradients, and yet BatchNorm of each batch: the running statistics move."""
    benchmark([Case("splitmixer_i", SMALL, task="as published", **TINY)], rounds=1)
    (one,) = seen
    assert one.model.training and not one.grad
    for name, value in one.model.state_dict().items():
        statistic = "running" in name or "tracked" in name
        assert torch.equal(value, one.start[name]) != statistic


def test_every_case_is_compiled(monkeypatch):
    """Three models of the same code, where torch itself would compile the first alone."""
    compiled, asked = [], []
    compile = torch.compile

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    def eagerly(model, mode, dynamic):
        asked.append(mode)
        assert dynamic is False
        return compile(model, backend=backend, dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", eagerly)
    first = Case("convmixer", SMALL, **TINY, form=COMPILED, compile_mode="reduce-overhead")
    cases = [replace(first, options=SMALL | {"dim": 2 + n}) for n in range(3)]
    with dynamo.config.patch(recompile_limit=1):
        benchmark(cases, rounds=1)
    assert len(compiled) == 3 and asked == ["reduce-overhead"] * 3


def test_a_model_that_torch_would_not_compile_any_more_is_an_error(monkeypatch):
    compile = torch.compile
    eager = lambda model, mode, dynamic: compile(model, backend="eager")  # noqa: E731
    monkeypatch.setattr(torch, "compile", eager)
    case = Case("convmixer", SMALL, **TINY, form=COMPILED)

    def prepare(case, device):
        """The second case finds that its code may be compiled but once."""
        limit.enter_context(dynamo.config.patch(recompile_limit=1))
        return bench.prepare_case(case, device)

    refused = pytest.raises(ValueError, match=r"cannot be run here: .*recompile_limit")
    with ExitStack() as limit, refused:
        benchmark([case, replace(case, batch=3)], prepare=prepare)


def test_the_depthwise_kernels_are_set_for_a_step_alone(monkeypatch):
    during = []
    monkeypatch.setattr(torch.nn.GELU, "forward", lambda self, x: during.append(kernels()) or x)

    def kernels():
        return torch.backends.cudnn.depthwise_kernel

    before = kernels()
    benchmark([Case("convmixer", SMALL, **TINY, depthwise="native")], rounds=1)
    assert set(during) == {"native"} and kernels() == before
    monkeypatch.setattr(torch.backends, "cudnn", object())  # of an older torch
    with pytest.raises(ValueError, match="`depthwise`='native' needs a newer torch than"):
        benchmark([Case("convmixer", SMALL, **TINY, depthwise="native")], rounds=1)


@pytest.mark.parametrize("failing", [False, True])
def test_the_fast_form_is_asked_for_in_the_dtype(monkeypatch, failing):
    pytest.importorskip("mixerlib.speed.inference")
    from mixerlib.speed import inference

    asked = []

    def optimize(model, example, *, dtype):
        asked.append((model.training, tuple(example.shape), example.dtype, dtype))
        fast = inference.fold(model, example.float())
        fast = fast if isinstance(fast, torch.nn.Module) else model
        fast = fast.to(dtype)
        form = Form("one matrix", True, True, False, 2)
        trials = [inference.choice.Trial(form), inference.choice.Trial(form, note="differs")]
        if failing:
            trials += [inference.choice.Trial(form, note="failed: no compiler")] * 2
        fast.choice = SimpleNamespace(form=form, trials=trials)
        return fast

    monkeypatch.setattr(inference, "optimize_for_inference", optimize)
    report = benchmark(
        [Case("convmixer", SMALL, **TINY, implementation="fast", dtype="bfloat16")], rounds=1
    )
    assert asked == [(False, (2, 3, 8, 8), torch.bfloat16, torch.bfloat16)]
    chosen = "mixing=one matrix, folded=True, channels_last=True, compile=False, at_once=2"
    assert report.results[0].detail == chosen + "; 2 ways failed: no compiler" * failing


def test_peers_of_a_case(monkeypatch):
    assert bench.peer_forms(Case("splitmixer_v", SMALL)) == ["listing"]
    assert bench.peer_forms(Case("splitmixer_3d", SMALL)) == ["listing"]
    assert bench.peer_forms(Case("splitmixer_iii", SMALL | {"shuffle": True})) == []
    monkeypatch.setattr(bench.peers, "timm_is_installed", lambda: False)
    assert bench.peer_forms(Case("convmixer", SMALL)) == ["listing"]
    with pytest.raises(ValueError, match="`implementation`='timm' needs the package timm"):
        benchmark([Case("convmixer", SMALL, implementation="timm")])
    with pytest.raises(ValueError, match="`implementation`='listing' has no mlp_mixer"):
        benchmark([Case("mlp_mixer", {"dim": 8, "depth": 1}, implementation="listing")])
    for implementation in ("mixerlib", "listing"):
        case = Case("convmixer", SMALL, form=Form("one matrix"), implementation=implementation)
        with pytest.raises(ValueError, match=r"`mixing`='one matrix' .* is for a SplitMixer"):
            benchmark([case])


@pytest.mark.parametrize("name", ["convmixer", "splitmixer_i"])
def test_a_model_without_classes_has_a_speed_in_inference_alone(name):
    features = Case(name, SMALL | {"num_classes": 0}, **TINY)
    assert benchmark([features], rounds=1).results[0].images_per_second > 0
    assert ("listing" in bench.peer_forms(features)) == (name == "splitmixer_i")
    with pytest.raises(ValueError, match="`num_classes`=0 leaves nothing to train for"):
        benchmark([replace(features, task="training")])


@pytest.mark.parametrize("task", ["inference", "training"])
def test_a_splitmixer_by_whole_matrices(monkeypatch, task):
    ran = []
    forward = OneMatrix.forward

    def note(net, x):
        ran.append((type(net.model).__name__, net.training, tuple(x.shape)))
        return forward(net, x)

    monkeypatch.setattr(OneMatrix, "forward", note)
    benchmark([Case("splitmixer_ii", SMALL, **TINY, form=Form("one matrix"), task=task)], rounds=1)
    assert set(ran) == {("SplitMixer", task == "training", (2, 3, 8, 8))}


@pytest.mark.skipif(not bench.peers.timm_is_installed(), reason="timm is not installed")
def test_timm_among_the_peers():
    assert bench.peer_forms(Case("convmixer", SMALL)) == ["listing", "timm"]
    small = {"dim": 8, "depth": 1, "tokens_dim": 4, "channels_dim": 4}
    case = Case("mlp_mixer", small, **TINY, implementation="timm")
    assert bench.peer_forms(case) == ["timm"]
    (result,) = benchmark([case], rounds=1).results
    assert result.detail.startswith("timm ")


# What cannot be run


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("no Half here\nat line 3"), "it cannot be run here: no Half here$"),
        (NotImplementedError(""), "it cannot be run here: NotImplementedError$"),
        (
            torch.OutOfMemoryError("full"),
            "`batch`=2 of convmixer .* needs more memory than there is$",
        ),
        (ValueError("`dim`=3 is odd"), "^`dim`=3 is odd$"),
    ],
)
def test_a_case_that_cannot_be_run(error, message):
    def prepare(case, device):
        if case.dtype == "float16":
            raise error
        return bench.prepare_case(case, device)

    cases = [Case("convmixer", SMALL, **TINY, dtype=dtype) for dtype in ("float16", "float32")]
    with pytest.raises(ValueError, match=message):
        benchmark(cases, rounds=1, prepare=prepare)
    report = benchmark(cases, rounds=1, leave_out=True, prepare=prepare)
    assert [result.case for result in report.results] == cases[1:]
    (left_out,) = report.left_out
    place, reason = left_out.split(": ", 1)
    assert place == f"{cases[0].label} (float16, contiguous)"
    with pytest.raises(ValueError, match=message):
        raise ValueError(reason)
    assert benchmark(cases[:1], rounds=1, leave_out=True, prepare=prepare).results == []


def test_an_error_of_ours_is_no_reason():
    """What is wrong in the code is not a case that cannot be run: it is shown as it is."""

    def prepare(case, device):
        raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        benchmark([Case("convmixer", SMALL)], leave_out=True, prepare=prepare)


# Memory


def test_memory_counts_what_is_held_and_what_is_made():
    """Training keeps AdamW's two moments of each weight and makes a gradient of each."""
    case = Case("convmixer", SMALL, task="training", **TINY)
    (result,) = benchmark([case], rounds=1).results
    model = bench.model_of(case, torch.device("cpu"))
    weights = sum(p.nbytes for p in model.parameters())
    assert result.peak_memory_bytes > 4 * weights
    (plain,) = benchmark([replace(case, task="inference")], rounds=1).results
    images = 2 * 3 * 8 * 8 * 4
    assert weights + images < plain.peak_memory_bytes < result.peak_memory_bytes
