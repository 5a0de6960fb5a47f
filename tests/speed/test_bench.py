"""Speed: the statistics and the order of a race on a clock of our own, what is really run, records.

No test judges how fast anything is.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch._dynamo as dynamo
import yaml
from clock import Clock
from helpers import ROOT

from mixerlib import records
from mixerlib.speed import bench
from mixerlib.speed.bench import Case, benchmark, read_benchmark
from mixerlib.speed.matrix import read_matrix

SMALL = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 4}
TINY = {"batch": 2, "image_size": 8}
SWEEPS = ROOT / "book" / "sweeps"
PUBLISHED = ROOT / "book" / "published.yaml"


# Cases


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "convmixr"}, "did you mean convmixer"),
        ({"form": "quick"}, "`form`='quick' must be one of plain, listing, timm, one matrix, fast"),
        ({"task": "sleep"}, "`task`='sleep' must be one of inference, training, as published"),
        ({"dtype": "int8"}, "`dtype`='int8' must be one of float32, bfloat16, float16"),
        ({"layout": "NHWC"}, "`layout`='NHWC' must be one of contiguous, channels_last"),
        ({"compile": "max"}, "`compile`='max' must be one of None, default, reduce-overhead"),
        ({"depthwise": "mine"}, "`depthwise`='mine' must be one of None, auto, cudnn, native"),
        ({"batch": 0}, "`batch`=0 must be a positive whole number"),
        ({"batch": 1.5}, "`batch`=1.5 must be a positive whole number"),
        ({"image_size": True}, "`image_size`=True must be a positive whole number"),
        ({"options": {"image_size": 32}}, "`options` must not hold `image_size`"),
        ({"form": "fast", "task": "training"}, "`form`='fast' is for inference"),
        ({"form": "fast", "compile": "default"}, "`form`='fast' is for inference"),
    ],
)
def test_cases_that_do_not_exist(values, message):
    with pytest.raises(ValueError, match=message):
        Case(**({"model": "convmixer"} | values))


def test_a_case_tells_what_it_is():
    case = Case("splitmixer_iv_256_8_224", {"segments": 3})
    assert case.image_size == 224 and Case("convmixer").image_size == 32
    assert case.label == "splitmixer_iv_256_8_224 segments=3"
    assert case.way == "float32, contiguous"
    assert replace(case, form="fast", dtype="bfloat16").way == "fast, bfloat16"
    other = replace(case, layout="channels_last", compile="max-autotune", depthwise="cudnn")
    assert other.way == "float32, channels_last, compiled (max-autotune), depthwise cudnn"
    assert replace(case, compile="default").way == "float32, contiguous, compiled"


# What a step does


@pytest.fixture
def built(monkeypatch) -> list[torch.nn.Module]:
    """The models that are built meanwhile; a hook has each note what its first layer sees."""
    models: list[torch.nn.Module] = []
    build = bench._model_of

    def seen(module, inputs, output):
        module.saw = SimpleNamespace(
            dtype=output.dtype,
            weights=module.weight.dtype,
            grad=torch.is_grad_enabled(),
            images=inputs[0].is_contiguous(memory_format=torch.channels_last),
        )

    def note(case, device):
        model = build(case, device)
        if device.type != "meta":
            models.append(model)
            model.start = {name: value.clone() for name, value in model.state_dict().items()}
            model.stem[0].register_forward_hook(seen)
        return model

    monkeypatch.setattr(bench, "_model_of", note)
    return models


def test_a_step_of_inference(built):
    cases = [
        Case("convmixer", SMALL, **TINY),
        Case("convmixer", SMALL, **TINY, dtype="bfloat16", layout="channels_last"),
    ]
    benchmark(cases, rounds=1)
    for model in built:
        assert not model.training and not model.stem[0].saw.grad
        for name, value in model.state_dict().items():  # nothing is learned, no statistics moved
            assert torch.equal(value.float(), model.start[name].to(value.dtype).float())
    float32, bfloat16 = (model.stem[0].saw for model in built)
    assert float32.dtype == float32.weights == torch.float32 and not float32.images
    assert bfloat16.dtype == bfloat16.weights == torch.bfloat16 and bfloat16.images


def test_a_step_of_training(built):
    cases = [
        Case("splitmixer_ii", SMALL, task="training", **TINY),
        Case("splitmixer_ii", SMALL, task="training", **TINY, dtype="bfloat16"),
    ]
    benchmark(cases, rounds=1)
    for model, computed in zip(built, (torch.float32, torch.bfloat16), strict=True):
        assert model.training and model.stem[0].saw.grad
        assert model.stem[0].saw.weights == torch.float32  # autocast, the weights as they were
        assert model.stem[0].saw.dtype == computed
        moved = [not torch.equal(p, model.start[name]) for name, p in model.named_parameters()]
        assert all(moved)


def test_a_step_as_published(built):
    """No gradients, and yet BatchNorm of each batch: the running statistics move."""
    benchmark([Case("splitmixer_i", SMALL, task="as published", **TINY)], rounds=1)
    (model,) = built
    assert model.training and not model.stem[0].saw.grad
    for name, value in model.state_dict().items():
        statistic = "running" in name or "tracked" in name
        assert torch.equal(value, model.start[name]) != statistic


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
    first = Case("convmixer", SMALL, **TINY, compile="reduce-overhead")
    cases = [replace(first, options=SMALL | {"dim": 2 + n}) for n in range(3)]
    with dynamo.config.patch(recompile_limit=1):
        benchmark(cases, rounds=1)
    assert len(compiled) == 3 and asked == ["reduce-overhead"] * 3


def test_a_model_that_torch_would_not_compile_any_more_is_an_error(monkeypatch):
    compile = torch.compile
    eager = lambda model, mode, dynamic: compile(model, backend="eager")  # noqa: E731
    monkeypatch.setattr(torch, "compile", eager)
    case = Case("convmixer", SMALL, **TINY, compile="default")
    other = replace(case, batch=3)
    with bench._compiling([case]), dynamo.config.patch(recompile_limit=1):
        bench._prepare(case, torch.device("cpu")).step()
        prepared = bench._prepare(other, torch.device("cpu"))
        limit = pytest.raises(ValueError, match=r"cannot be run here: .*recompile_limit")
        with limit, bench._reasons(other):
            prepared.step()


def test_the_depthwise_kernels_are_set_for_a_step_alone(monkeypatch):
    found = []
    monkeypatch.setattr(torch.nn.GELU, "forward", lambda self, x: found.append(kernels()) or x)

    def kernels():
        return torch.backends.cudnn.depthwise_kernel

    before = kernels()
    benchmark([Case("convmixer", SMALL, **TINY, depthwise="native")], rounds=1)
    assert set(found) == {"native"} and kernels() == before
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
        way = inference.choice.Way("one matrix", "NHWC", 2, False)
        trials = [inference.choice.Trial(way), inference.choice.Trial(way, note="differs")]
        if failing:
            trials += [inference.choice.Trial(way, note="failed: no compiler")] * 2
        fast.choice = SimpleNamespace(way=way, trials=trials)
        return fast

    monkeypatch.setattr(inference, "optimize_for_inference", optimize)
    report = benchmark([Case("convmixer", SMALL, **TINY, form="fast", dtype="bfloat16")], rounds=1)
    assert asked == [(False, (2, 3, 8, 8), torch.bfloat16, torch.bfloat16)]
    told = "rewriting=one matrix, layout=NHWC, at_once=2, compiled=False"
    assert report.results[0].detail == told + "; 2 ways failed: no compiler" * failing


def test_peers_of_a_case(monkeypatch):
    assert bench.peer_forms(Case("splitmixer_v", SMALL)) == ["listing"]
    assert bench.peer_forms(Case("splitmixer_3d", SMALL)) == ["listing"]
    assert bench.peer_forms(Case("splitmixer_iii", SMALL | {"shuffle": True})) == []
    monkeypatch.setattr(bench.peers, "timm_is_installed", lambda: False)
    assert bench.peer_forms(Case("convmixer", SMALL)) == ["listing"]
    with pytest.raises(ValueError, match="`form`='timm' needs the package timm"):
        benchmark([Case("convmixer", SMALL, form="timm")])
    with pytest.raises(ValueError, match="`form`='listing' does not exist of mlp_mixer"):
        benchmark([Case("mlp_mixer", {"dim": 8, "depth": 1}, form="listing")])
    with pytest.raises(ValueError, match="`form`='one matrix' does not exist of convmixer"):
        benchmark([Case("convmixer", SMALL, form="one matrix")])


@pytest.mark.parametrize("task", ["inference", "training"])
def test_a_splitmixer_by_whole_matrices(monkeypatch, task):
    ran = []
    forward = bench.OneMatrix.forward

    def note(net, x):
        ran.append((type(net.model).__name__, net.training, tuple(x.shape)))
        return forward(net, x)

    monkeypatch.setattr(bench.OneMatrix, "forward", note)
    case = Case("splitmixer_ii", SMALL, **TINY, form="one matrix", task=task)
    report = benchmark([case], rounds=1)
    assert report.results[0].case.way.startswith("one matrix, float32")
    assert set(ran) == {("SplitMixer", task == "training", (2, 3, 8, 8))}


@pytest.mark.skipif(not bench.peers.timm_is_installed(), reason="timm is not installed")
def test_timm_among_the_peers():
    assert bench.peer_forms(Case("convmixer", SMALL)) == ["listing", "timm"]
    small = {"dim": 8, "depth": 1, "tokens_dim": 4, "channels_dim": 4}
    case = Case("mlp_mixer", small, **TINY, form="timm")
    assert bench.peer_forms(case) == ["timm"]
    (result,) = benchmark([case], rounds=1).results
    assert result.detail.startswith("timm ")


# What cannot be run


def failing(monkeypatch, error: Exception, dtype: str) -> None:
    """From now on a case of this dtype cannot be prepared."""
    prepare = bench._prepare

    def fail(case, device):
        if case.dtype == dtype:
            raise error
        return prepare(case, device)

    monkeypatch.setattr(bench, "_prepare", fail)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("no Half here\nat line 3"), "it cannot be run here: no Half here$"),
        (NotImplementedError(""), "it cannot be run here: NotImplementedError$"),
        (torch.OutOfMemoryError("full"), "`batch`=2 needs more memory than there is$"),
        (ValueError("`dim`=3 is odd"), "^`dim`=3 is odd$"),
    ],
)
def test_a_case_that_cannot_be_run(monkeypatch, error, message):
    failing(monkeypatch, error, "float16")
    cases = [Case("convmixer", SMALL, **TINY, dtype=dtype) for dtype in ("float16", "float32")]
    with pytest.raises(ValueError, match=message):
        benchmark(cases, rounds=1)
    report = benchmark(cases, rounds=1, leave_out=True)
    assert [result.case for result in report.results] == cases[1:]
    (told,) = report.left_out
    place, reason = told.split(": ", 1)
    assert place == f"{cases[0].label} (float16, contiguous)"
    with pytest.raises(ValueError, match=message):
        raise ValueError(reason)
    assert benchmark(cases[:1], rounds=1, leave_out=True).results == []


# Memory


def test_peak_memory_is_the_most_at_one_time():
    mebibyte = 2**20

    def run():
        first = torch.empty(mebibyte, dtype=torch.uint8)
        second = torch.empty(2 * mebibyte, dtype=torch.uint8)
        del first, second
        torch.empty(mebibyte, dtype=torch.uint8)

    assert bench.extra_memory(run, "cpu") == 3 * mebibyte
    assert bench.extra_memory(run, "meta") is None


def test_memory_counts_what_is_held_and_what_is_made():
    """Training keeps AdamW's two moments of each weight and makes a gradient of each."""
    case = Case("convmixer", SMALL, task="training", **TINY)
    (result,) = benchmark([case], rounds=1).results
    model = bench._model_of(case, torch.device("cpu"))
    weights = sum(p.nbytes for p in model.parameters())
    assert result.peak_memory_bytes > 4 * weights
    (plain,) = benchmark([replace(case, task="inference")], rounds=1).results
    images = 2 * 3 * 8 * 8 * 4
    assert weights + images < plain.peak_memory_bytes < result.peak_memory_bytes


def test_memory_on_a_gpu_is_that_of_its_allocator(monkeypatch):
    state = SimpleNamespace(now=50, peak=80)
    monkeypatch.setattr(bench, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: state.now)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: state.peak)
    reset = lambda device: setattr(state, "peak", state.now)  # noqa: E731
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    assert bench.extra_memory(lambda: setattr(state, "peak", 62), "cuda") == 12


# Table 3 as published


def test_the_configurations_of_table_3_are_the_published_ones():
    table = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))["tables"]["slides-throughput"]
    wanted = [
        (row["model"], {k: row[k] for k in ("ratio", "segments") if k in row})
        for row in table["rows"].values()
    ]
    assert list(bench.TABLE_3) == wanted


def test_table_3_in_both_ways(monkeypatch):
    """The first of each model's batches takes long; as it should be, that is not counted."""
    prepared, clock = [], Clock()

    def prepare(case, device):
        prepared.append((case.model, case.task, case.form, case.dtype))
        step = clock.taking(case.task, [10.0, 2.0] if case.task == "as published" else [10.0, 1.0])
        return bench._Prepared(step, lambda: 0)

    monkeypatch.setattr(bench, "_prepare", prepare)
    monkeypatch.setattr(bench, "extra_memory", lambda run, device: None)
    report = bench.published_table(batch=4, rounds=3, repetitions=5, clock=clock)
    models = [model for model, _ in bench.TABLE_3]
    assert prepared == [
        (model, task, "listing", "float32")
        for task in ("as published", "inference")
        for model in models
    ]
    assert [result.case.model for result in report.results] == 2 * models
    published, again = report.results[: len(models)], report.results[len(models) :]
    assert published[0].seconds.runs == [10.0, 2.0, 2.0, 2.0, 2.0]
    assert {r.images_per_second for r in published} == {4 * 5 / 18}
    assert {r.images_per_second for r in again} == {4 / 1.0}
    with pytest.raises(ValueError, match="`repetitions`=0 must be at least 1"):
        bench.published_table(repetitions=0)


# Records


@pytest.fixture(scope="module")
def report() -> bench.Benchmark:
    cases = [
        Case("convmixer", SMALL, **TINY),
        Case("splitmixer_i", SMALL | {"ratio": "3/5"}, **TINY, form="listing"),
    ]
    return benchmark(cases, rounds=2, name="a race")


def test_a_benchmark(report):
    assert [result.case.model for result in report.results] == ["convmixer", "splitmixer_i"]
    for result in report.results:
        assert len(result.seconds.runs) == 2 and result.seconds.median > 0
        assert result.images_per_second == 2 / result.seconds.median
    assert report.provenance.device == "cpu"
    assert report.settings["instructions"] == torch.backends.cpu.get_cpu_capability()


def test_the_settings_are_what_a_speed_depends_on(monkeypatch):
    monkeypatch.setattr(
        bench.os, "environ", {"OMP_NUM_THREADS": "1", "HOME": "/", "LD_PRELOAD": "a"}
    )
    assert set(bench.settings_here("cpu")) == {"instructions", "OMP_NUM_THREADS", "LD_PRELOAD"}
    found = bench.settings_here("cuda")  # torch tells these without a GPU, too
    assert found["convolutions in TF32"] is torch.backends.cudnn.allow_tf32
    assert {"cuda", "cudnn", "cudnn.benchmark", "OMP_NUM_THREADS"} <= set(found)


def test_a_record_is_read_back(report, tmp_path):
    path = tmp_path / "bench" / "race.json"
    records.write_record(report, path)
    assert read_benchmark(path) == report
    assert records.read_records(tmp_path) == []  # it is none of a training run
    with pytest.raises(ValueError, match="`schema`='mixerlib benchmark 1' must be"):
        records.read_record(path)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["schema"], "mixerlib training 2", "`schema`='mixerlib training 2' must be"),
        (["results", 0, "seconds", "median"], "1", "median`='1' must be of type float"),
        (["results", 0, "seconds", "spread"], 1.0, "spread` is not a key of a record"),
        (["results", 1, "case", "batch"], 0, "`batch`=0 must be a positive whole number"),
        (["results", 1, "case", "dtype"], "int8", "`dtype`='int8' must be one of"),
        (["left_out"], None, "`left_out` must be a list"),
        (["provenance"], 1, "`provenance` must be a table"),
    ],
)
def test_a_spoilt_record(report, tmp_path, keys, value, message):
    path = tmp_path / "race.json"
    records.write_record(report, path)
    content = json.loads(path.read_text(encoding="utf-8"))
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=f"race.json: .*{message}"):
        read_benchmark(path)


def test_what_has_a_record_has_been_measured(report, tmp_path, monkeypatch):
    path, cases = tmp_path / "race.json", [result.case for result in report.results]
    assert not bench.has_measured(path, cases, "cpu")
    records.write_record(report, path)
    assert bench.has_measured(path, cases, "cpu")
    with pytest.raises(ValueError, match=r"race\.json holds other measurements"):
        bench.has_measured(path, [replace(cases[0], batch=3), cases[1]], "cpu")
    lost = replace(cases[0], dtype="float16")
    left_out = [f"{lost.label} ({lost.way}): no such thing: here"]
    records.write_record(replace(report, left_out=left_out), path)
    assert bench.has_measured(path, [lost, *cases], "cpu")
    monkeypatch.setattr(
        bench, "provenance", lambda device: replace(report.provenance, device_name="another")
    )
    with pytest.raises(ValueError, match=r"race\.json holds other measurements"):
        bench.has_measured(path, cases, "cpu")


# The matrix


def test_the_committed_matrix():
    """k from 3 to 9 of both kinds, both layouts, three dtypes, compiled, each cuDNN setting."""
    races = read_matrix(SWEEPS / "bench_matrix.yaml", "cuda")
    cases = [case for race in races.values() for case in race]
    kernels = {(case.model, case.options["kernel_size"]) for case in cases}
    assert kernels == {(model, k) for model in ("convmixer", "splitmixer_i") for k in range(3, 10)}
    for model, k in kernels:
        own = [case for case in cases if (case.model, case.options["kernel_size"]) == (model, k)]
        ways = {(c.dtype, c.layout, c.depthwise) for c in own if c.compile is None}
        assert len(ways) == 3 * 2 * 3 == sum(case.compile is None for case in own)
        compiled = [(c.dtype, c.layout) for c in own if c.compile]
        assert len(set(compiled)) == len(compiled) == (6 if k % 2 else 0)
    assert next(iter(races)) == "convmixer-k7-bfloat16"  # what is wanted first
    on_cpu = read_matrix(SWEEPS / "bench_matrix.yaml", "cpu")
    assert list(on_cpu) == list(races)
    assert all(case.depthwise is None for race in on_cpu.values() for case in race)
    for case in on_cpu["splitmixer_i-k4-float32"]:
        bench._model_of(case, torch.device("meta"))


ENTRY = {
    "models": ["convmixer"],
    "options": {"dim": 4, "depth": 1, "patch_size": 2},
    "kernel_sizes": [3],
    "dtypes": ["float32"],
    "layouts": ["contiguous"],
    "batch": 2,
    "image_size": 4,
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("races: [", "is not YAML"),
        ("[]", "must hold the key `races` and no other"),
        ({"races": [], "rounds": 3}, "must hold the key `races` and no other"),
        ({"races": []}, r"`races`=\[\] must be a list of entries"),
        ({"races": [ENTRY, 3]}, r"`races\[1\]` must have the keys batch, dtypes"),
        ({"races": [ENTRY | {"dtyps": []}]}, r"`races\[0\]` must have the keys batch, dtypes"),
        ({"races": [ENTRY | {"options": 3}]}, r"`races\[0\]`: `options`=3 must be a table"),
        ({"races": [ENTRY | {"models": []}]}, r"`models`=\[\] must be a list of words"),
        ({"races": [ENTRY | {"kernel_sizes": ["3"]}]}, "must be a list of whole numbers"),
        ({"races": [ENTRY | {"compile": "default"}]}, "`compile`='default' must be a list"),
        ({"races": [ENTRY | {"layouts": ["NCHW"]}]}, r"`races\[0\]`: `layout`='NCHW' must be"),
        ({"races": [ENTRY | {"models": ["convmixr"]}]}, r"`races\[0\]`: .* did you mean"),
        ({"races": [ENTRY, ENTRY | {"batch": 3}]}, r"`races\[1\]` lists a second race"),
    ],
)
def test_files_that_list_no_races(tmp_path, content, message):
    path = tmp_path / "matrix.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(ValueError, match=f"matrix.yaml.*{message}"):
        read_matrix(path, "cpu")


def test_a_race_that_is_listed_again_is_left_out(tmp_path):
    path = tmp_path / "matrix.yaml"
    path.write_text(yaml.safe_dump({"races": [ENTRY, ENTRY | {"kernel_sizes": [5, 3]}]}))
    assert list(read_matrix(path, "cpu")) == ["convmixer-k3-float32", "convmixer-k5-float32"]
