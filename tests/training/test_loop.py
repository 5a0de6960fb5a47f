"""The loop: against one written out by hand, what it returns, what it refuses, how it survives."""

import io
import itertools
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from helpers import has_compiler
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import mixerlib.training.loop
from mixerlib import create_model, save_weights
from mixerlib.data import Augmentation, Dataset, Draws
from mixerlib.training import batches
from mixerlib.training.batches import Batch, batches_left, steps_at_once
from mixerlib.training.distributed import ALONE
from mixerlib.training.evaluation import evaluate, evaluate_on
from mixerlib.training.loop import train, train_step, training_steps
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import begin, model_for, stream
from mixerlib.training.schedule import learning_rate
from mixerlib.training.session import Diverged

TINY = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2}
NO_NORM = {"dim": 8, "depth": 1, "patch_size": 2, "tokens_dim": 8, "channels_dim": 8}
CPU = torch.device("cpu")


def recipe(**settings) -> Recipe:
    defaults = {"model": "convmixer", "model_options": TINY, "epochs": 2, "batch_size": 32}
    return Recipe("digits", **(defaults | settings))


def mixer(**settings) -> Recipe:
    """A model without BatchNorm: what it makes of an image does not depend on its batch."""
    return recipe(model="mlp_mixer", model_options=NO_NORM, **settings)


def assert_same(one: nn.Module, other: nn.Module) -> None:
    """Every weight and every statistic is the same to the last bit."""
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    for (name, left), (other_name, right) in pairs:
        assert name == other_name and torch.equal(left, right), name


def watch_steps(monkeypatch, note: Callable[[torch.optim.Optimizer], None]) -> None:
    """Call `note` with the optimizer before each of its steps."""
    step = torch.optim.AdamW.step

    def watched(self, *arguments):
        note(self)
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)


# The mathematics


def written_out(recipe: Recipe, digits: Dataset) -> tuple[nn.Module, nn.Module, list[float]]:
    """The same training from formulas: the model, its average, and the loss of every step.

    AdamW: Loshchilov & Hutter, arXiv 1711.05101, algorithm 2, with the decay times the rate.
    """
    torch.manual_seed(recipe.seed)
    model = model_for(recipe, digits)
    average = deepcopy(model)
    first = [torch.zeros_like(p) for p in model.parameters()]
    second = [torch.zeros_like(p) for p in model.parameters()]
    images, labels = digits.normalize(digits.train_images), digits.train_labels
    losses, step = [], 0
    steps = recipe.epochs * math.ceil(len(labels) / recipe.batch_size)
    for epoch in range(1, recipe.epochs + 1):
        order = torch.randperm(len(labels), generator=stream(recipe.seed, "order", epoch))
        for batch in order.split(recipe.batch_size):
            step += 1
            rate = learning_rate(recipe, step / steps)
            shares = model(images[batch]).log_softmax(dim=1)
            smoothing = recipe.label_smoothing
            targets = F.one_hot(labels[batch], 10) * (1 - smoothing) + smoothing / 10
            loss = -(targets * shares).sum(dim=1).mean()
            losses.append(loss.item())
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            length = math.sqrt(sum(g.square().sum().item() for g in gradients))
            cut = 1.0 if recipe.clip_norm is None else min(1.0, recipe.clip_norm / length)
            with torch.no_grad():
                for p, g, m, v in zip(model.parameters(), gradients, first, second, strict=True):
                    decays = recipe.decay_on == "all" or p.ndim > 1
                    p *= 1 - rate * recipe.weight_decay * decays
                    m.copy_(0.9 * m + 0.1 * cut * g)
                    v.copy_(0.999 * v + 0.001 * (cut * g) ** 2)
                    root = (v / (1 - 0.999**step)).sqrt() + recipe.adam_epsilon
                    p -= rate * m / (1 - 0.9**step) / root
                keep = recipe.ema if recipe.ema and step > 1 else 0.0
                for kept, new in zip(
                    average.state_dict().values(), model.state_dict().values(), strict=True
                ):
                    kept.copy_(keep * kept + (1 - keep) * new)
    return model, average, losses


# Adam divides a gradient by its own size, so it would follow one that is nothing but rounding. With
# a large epsilon that stays small.
CALM = {"adam_epsilon": 1e-3, "max_learning_rate": 0.02}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"decay_on": "matrices", "weight_decay": 3.0},
        {"decay_on": "all", "weight_decay": 3.0},
        {"clip_norm": None},
        {"clip_norm": 0.1},
        {"adam_epsilon": 0.1},
        {"label_smoothing": 0.3},
        {"ema": 0.7},
        {"schedule": "onecycle"},
        {"schedule": "cosine", "warmup_epochs": 0.5},
        {"batch_size": 64},
        {"seed": 3},
    ],
    ids=str,
)
def test_the_loop_is_adamw_written_out(digits, tmp_path, settings):
    chosen = recipe(**(CALM | settings))
    model, average, losses = written_out(chosen, digits)
    trained, record = train(chosen, digits, "cpu", folder=tmp_path)
    expected = (average if chosen.ema else model).state_dict()
    for name, actual in trained.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(actual, expected[name], rtol=1e-4, atol=2e-6)
    steps, _ = mixerlib.training.metrics.read_metrics(tmp_path)
    assert [row["loss"] for row in steps] == pytest.approx(losses, rel=1e-4)
    # the epoch's loss counts every image once, though the last batch is smaller
    sizes = [len(b) for b in torch.arange(70).split(chosen.batch_size)]
    means = [
        sum(n * loss for n, loss in zip(sizes, part, strict=True)) / 70
        for part in (losses[: len(sizes)], losses[len(sizes) :])
    ]
    assert [row.train_loss for row in record.curve] == pytest.approx(means, rel=1e-4)


def test_what_the_written_out_settings_change(digits):
    """Else the test above would not notice that one of them does nothing."""
    changes = {
        "nothing": {},
        "decay": {"weight_decay": 3.0},
        "matrices": {"weight_decay": 3.0, "decay_on": "matrices"},
        "clip": {"clip_norm": 0.1},
        "epsilon": {"adam_epsilon": 0.1},
        "smoothing": {"label_smoothing": 0.3},
        "ema": {"ema": 0.7},
        "onecycle": {"schedule": "onecycle"},
        "cosine": {"schedule": "cosine", "warmup_epochs": 0.5},
        "batch": {"batch_size": 64},
        "seed": {"seed": 3},
    }
    models = {k: train(recipe(**(CALM | v)), digits, "cpu")[0] for k, v in changes.items()}
    weights = {k: nn.utils.parameters_to_vector(m.parameters()) for k, m in models.items()}
    for one, other in itertools.combinations(weights, 2):
        assert (weights[one] - weights[other]).abs().max() > 1e-3, (one, other)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_every_step_has_its_own_learning_rate(digits, monkeypatch, accumulate):
    rates = []
    watch_steps(monkeypatch, lambda adam: rates.append([g["lr"] for g in adam.param_groups]))
    chosen = recipe(epochs=5, max_learning_rate=0.03, decay_on="matrices", accumulate=accumulate)
    _, record = train(chosen, digits, "cpu")
    # 15 steps: up to 0.03 at the 6th, down to 0.0015 at the 12th, to 0 at the 15th
    expected = [0.005 * i for i in range(1, 7)]
    expected += [0.03 - 0.00475 * i for i in range(1, 7)] + [0.001, 0.0005, 0]
    assert [both[0] for both in rates] == pytest.approx(expected, abs=1e-12)
    assert all(decaying == other for decaying, other in rates)
    assert [row.learning_rate for row in record.curve] == pytest.approx(expected[2::3], abs=1e-12)


@pytest.mark.parametrize("clip_norm", [0.01, None])
def test_gradients_are_clipped(digits, monkeypatch, clip_norm):
    norms = []

    def note(adam: torch.optim.Optimizer) -> None:
        gradients = [p.grad.flatten() for group in adam.param_groups for p in group["params"]]
        norms.append(torch.cat(gradients).norm().item())

    watch_steps(monkeypatch, note)
    train(recipe(epochs=1, clip_norm=clip_norm), digits, "cpu")
    assert len(norms) == 3
    if clip_norm is None:
        assert min(norms) > 0.1
    else:
        assert norms == pytest.approx([clip_norm] * 3, rel=1e-3)


@pytest.mark.parametrize("accumulate", [2, 3, 32])
def test_a_batch_in_parts_is_the_whole_batch(digits, accumulate):
    """The last batch, of 6 images, is worked through in at most 6 parts."""
    whole, expected = train(mixer(**CALM), digits, "cpu")
    parts, record = train(mixer(**CALM, accumulate=accumulate), digits, "cpu")
    for actual, right in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(actual, right, rtol=1e-4, atol=1e-6)
    for actual, right in zip(record.curve, expected.curve, strict=True):
        assert actual.train_loss == pytest.approx(right.train_loss, rel=1e-5)
        assert actual.train_accuracy == right.train_accuracy
        assert actual.learning_rate == right.learning_rate


def test_parts_are_as_many_as_asked_for(digits):
    run = begin(mixer(accumulate=4), digits, CPU, ALONE)
    sizes = []
    run.model.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    assert list(training_steps(run, digits)) == [32, 32, 6]
    assert sizes == [8] * 8 + [2, 2, 2]  # torch cuts 6 images into parts of 2


def test_one_batch_can_be_learned_by_heart(digits):
    few = replace(
        digits, train_images=digits.train_images[:32], train_labels=digits.train_labels[:32]
    )
    settings = {"epochs": 60, "max_learning_rate": 0.05, "evaluate_every": 60}
    model, record = train(recipe(model_options=TINY | {"dim": 32}, **settings), few, "cpu")
    assert record.curve[-1].train_loss < 0.02 and record.curve[-1].train_accuracy == 1
    again = evaluate(model, few.train_images, few.train_labels, normalize=few.normalize)
    assert again.top1 == 1


def test_mean_loss_counts_images_not_batches(digits):
    """Without BatchNorm and with hardly a step, training and evaluation see one model."""
    model, record = train(mixer(epochs=1, max_learning_rate=1e-12), digits, "cpu")
    whole = evaluate(model, digits.train_images, digits.train_labels, normalize=digits.normalize)
    assert record.curve[0].train_loss == pytest.approx(whole.loss, rel=1e-5)
    assert record.curve[0].train_accuracy == whole.top1


# What is judged


def test_the_average_is_what_is_judged_returned_and_recorded(digits, monkeypatch):
    runs = []

    def begun(*arguments, **options):
        runs.append(begin(*arguments, **options))
        return runs[0]

    monkeypatch.setattr(mixerlib.training.loop, "begin", begun)
    model, record = train(recipe(ema=0.9), digits, "cpu")
    (run,) = runs
    assert model is run.average and model is not run.model
    averaged, latest = evaluate_on(model, digits), evaluate_on(run.model, digits)
    assert abs(averaged.loss - latest.loss) > 0.01
    assert record.test_loss == record.curve[-1].test_loss == averaged.loss
    statistics = dict(model.named_buffers())
    for name, buffer in run.model.named_buffers():
        if not name.endswith("num_batches_tracked"):
            assert not torch.equal(buffer, statistics[name]), name


def test_the_last_epoch_is_reported_not_the_best(digits, monkeypatch):
    seen = iter([(0.1, 0.9, 1.0), (0.3, 0.7, 0.9), (0.2, 0.8, 0.8)])
    monkeypatch.setattr(mixerlib.training.loop, "validate", lambda run, dataset, stop: next(seen))
    _, record = train(recipe(epochs=3), digits, "cpu")
    assert [row.test_accuracy for row in record.curve] == [0.9, 0.7, 0.8]
    assert (record.test_loss, record.test_accuracy, record.test_top5) == (0.2, 0.8, 0.8)


@pytest.mark.parametrize(
    ("every", "tested"),
    [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (5, [5]), (9, [5])],
)
def test_the_test_set_is_looked_at_now_and_then_and_at_the_end(digits, every, tested):
    model, record = train(recipe(epochs=5, evaluate_every=every), digits, "cpu")
    assert [row.epoch for row in record.curve if row.test_loss is not None] == tested
    assert [row.epoch for row in record.curve if row.test_accuracy is not None] == tested
    # looking changes nothing
    other, _ = train(recipe(epochs=5, evaluate_every=4), digits, "cpu")
    assert_same(model, other)


def test_the_record_tells_what_was_done(digits):
    settings = recipe(epochs=3, evaluate_every=2, seed=5)
    model, record = train(settings, digits, "cpu")
    assert not any(module.training for module in model.modules())
    assert record.settings | {"name": record.recipe} == asdict(settings)
    assert (record.seed, record.train_images, record.test_images) == (5, 70, 30)
    assert (record.processes, record.continued) == (1, 0)
    assert record.parameters == sum(p.numel() for p in model.parameters())
    assert [row.epoch for row in record.curve] == [1, 2, 3]
    last = evaluate(model, digits.test_images, digits.test_labels, normalize=digits.normalize)
    assert (record.test_loss, record.test_accuracy, record.test_top5) == (
        last.loss,
        last.top1,
        last.top5,
    )
    assert record.test_accuracy == record.curve[-1].test_accuracy
    seconds = sum(row.training_seconds for row in record.curve)
    assert 0 < seconds == pytest.approx(record.training_seconds) and seconds < record.total_seconds
    assert record.images_per_second == pytest.approx(3 * 70 / seconds)
    assert record.provenance.device == "cpu"


def test_the_test_set_costs_no_training_time_and_what_is_queued_does(digits, monkeypatch):
    """A GPU does its steps later than they are given to it: whoever waits for them is training."""
    clock = [0.0]
    validate, cpu = mixerlib.training.loop.validate, torch.Tensor.cpu

    def slow_judge(run, dataset, stop):
        clock[0] += 1000
        return validate(run, dataset, stop)

    def slow_copy(tensor):
        clock[0] += 1
        return cpu(tensor)

    monkeypatch.setattr(mixerlib.training.loop, "validate", slow_judge)
    monkeypatch.setattr(torch.Tensor, "cpu", slow_copy)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    _, record = train(recipe(), digits, "cpu")
    assert [row.training_seconds for row in record.curve] == pytest.approx([1, 2])
    assert record.total_seconds > 2000


# Where a run begins, and what of it is trained


@pytest.fixture
def published(digits, tmp_path) -> Path:
    """The weights of the same model for three classes, its BatchNorm statistics not the first."""
    torch.manual_seed(9)
    model = create_model("convmixer", **TINY, num_classes=3, in_channels=1)
    model(digits.normalize(digits.train_images))
    save_weights(model, tmp_path / "published.safetensors")
    return tmp_path / "published.safetensors"


def test_a_run_begins_with_given_weights_but_for_the_head(digits, published):
    chosen = recipe(weights=str(published), max_learning_rate=1e-12, weight_decay=0.0)
    model, _ = train(chosen, digits, "cpu")
    given = create_model("convmixer", **TINY, num_classes=3, in_channels=1)
    mixerlib.load_weights(given, published)
    actual = dict(model.named_parameters())
    for name, right in given.named_parameters():
        if not name.startswith("head."):
            torch.testing.assert_close(actual[name], right, rtol=0, atol=1e-9)
    torch.manual_seed(0)
    assert actual["head.weight"].shape == (10, 8)
    torch.testing.assert_close(actual["head.weight"], model_for(chosen, digits).head.weight)


def test_with_a_frozen_body_only_the_head_changes(digits, published):
    chosen = recipe(weights=str(published), frozen=True, weight_decay=0.1)
    model, record = train(chosen, digits, "cpu")
    given = create_model("convmixer", **TINY, num_classes=3, in_channels=1)
    mixerlib.load_weights(given, published)
    body = {k: v for k, v in given.state_dict().items() if not k.startswith("head.")}
    actual = model.state_dict()
    assert all(torch.equal(actual[name], right) for name, right in body.items())
    torch.manual_seed(0)
    first = model_for(chosen, digits).head
    assert not torch.equal(model.head.weight, first.weight)
    assert not torch.equal(model.head.bias, first.bias)
    assert record.curve[1].train_loss < record.curve[0].train_loss


@pytest.mark.parametrize("name", ["convmixer", "splitmixer_iv", "mlp_mixer"])
def test_the_data_decide_what_goes_in_and_out(digits, name):
    settings = replace(recipe(), model=name, model_options={"dim": 8, "depth": 1, "patch_size": 2})
    model = model_for(settings, digits)
    assert model(digits.normalize(digits.test_images)).shape == (30, 10)


# Seeds


def test_the_seed_decides_the_weights_to_the_last_bit(digits):
    chosen = recipe(
        flip="random", crop="pad", crop_padding=1, mixup=0.5, erase=0.5, erase_fill="noise"
    )
    first, second, other = (train(replace(chosen, seed=s), digits, "cpu")[0] for s in (0, 0, 1))
    assert_same(first, second)
    assert not any(map(torch.equal, first.parameters(), other.parameters()))


def test_each_kind_of_randomness_depends_on_the_seed(digits):
    def begun(seed: int) -> list[torch.Tensor]:
        return list(begin(recipe(seed=seed), digits, CPU, ALONE).model.parameters())

    assert all(map(torch.equal, begun(1), begun(1)))
    assert not torch.equal(begun(1)[0], begun(2)[0])


def orders_of(chosen: Recipe, digits: Dataset, monkeypatch) -> list[list[int]]:
    """The numbers of the images in the order in which a run sees them, epoch by epoch."""
    orders, batches = [], Dataset.training_batches

    def noted(self, batch_numbers, **place):
        orders.append([i for batch in batch_numbers for i in batch.tolist()])
        return batches(self, batch_numbers, **place)

    monkeypatch.setattr(Dataset, "training_batches", noted)
    train(chosen, digits, "cpu")
    monkeypatch.undo()
    return orders


def test_an_epoch_s_order_is_a_permutation_and_never_the_same(digits, monkeypatch):
    orders = orders_of(recipe(epochs=3), digits, monkeypatch)
    orders += orders_of(recipe(epochs=3, seed=1), digits, monkeypatch)
    assert all(sorted(order) == list(range(70)) for order in orders)
    assert len({tuple(order) for order in [*orders, range(70)]}) == 7
    assert orders_of(recipe(epochs=3, seed=1), digits, monkeypatch) == orders[3:]


def test_each_batch_is_augmented_by_draws_of_its_own(digits, monkeypatch):
    seen, draw = [], Augmentation.draw

    def noted(self, *arguments, **place):
        draws = draw(self, *arguments, **place)
        seen.append((place["epoch"], place["seed"], draws.mirrored.tolist()))
        return draws

    monkeypatch.setattr(Augmentation, "draw", noted)
    train(recipe(flip="random", batch_size=35), digits, "cpu")
    train(recipe(flip="random", batch_size=35, seed=1), digits, "cpu")
    assert [(epoch, seed) for epoch, seed, _ in seen] == [(1, 0)] * 2 + [(2, 0)] * 2 + [
        (1, 1)
    ] * 2 + [(2, 1)] * 2
    assert len({tuple(mirrored) for *_, mirrored in seen}) == 8


def test_the_model_sees_augmented_images_and_mixed_targets(digits, monkeypatch):
    """The targets of CutMix reach the loss: whole images keep their class, others share."""
    targets, loss = [], F.cross_entropy

    def noted(logits, target, **settings):
        targets.append(target)
        return loss(logits, target, **settings)

    monkeypatch.setattr(F, "cross_entropy", noted)
    run = begin(recipe(cutmix=1.0), digits, CPU, ALONE)
    list(training_steps(run, digits))
    assert [t.shape for t in targets] == [(32, 10), (32, 10), (6, 10)]
    assert all(torch.allclose(t.sum(dim=1), torch.ones(len(t))) for t in targets)
    assert any(((t > 0.01) & (t < 0.99)).any() for t in targets)


# How it is computed


def curve_of(digits: Dataset, **settings) -> list[tuple[float, float]]:
    _, record = train(recipe(epochs=4, max_learning_rate=0.02, **settings), digits, "cpu")
    return [(row.train_loss, row.test_loss) for row in record.curve]


@pytest.mark.parametrize(("precision", "near"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_half_precision_stays_near_the_whole(digits, precision, near):
    whole, half = curve_of(digits), curve_of(digits, precision=precision)
    assert half != whole
    for actual, right in zip(half, whole, strict=True):
        assert actual == pytest.approx(right, rel=near)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_where_it_belongs(digits, precision):
    """In the convolutions; not in the weights, and not when the model is judged."""
    run = begin(recipe(precision=precision), digits, CPU, ALONE)
    dtypes = []
    run.model.stem[0].register_forward_hook(lambda module, inputs, y: dtypes.append(y.dtype))
    list(training_steps(run, digits))
    assert dtypes == [getattr(torch, precision)] * 3
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    mixerlib.training.loop.validate(run, digits)
    assert dtypes[3:] == [torch.float32]


def test_float16_scales_the_loss_and_leaves_out_steps_that_overflow(digits, monkeypatch):
    norms = []
    watch_steps(
        monkeypatch,
        lambda adam: norms.append(
            torch.cat([p.grad.flatten() for p in adam.param_groups[0]["params"]]).norm()
        ),
    )
    run = begin(recipe(precision="float16", clip_norm=None), digits, CPU, ALONE)
    assert run.scaler.is_enabled()
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    before = deepcopy(run.model)
    steps = training_steps(run, digits)
    next(steps)
    assert all(map(torch.equal, before.parameters(), run.model.parameters()))
    assert run.scaler.get_scale() == 2.0**59
    run.scaler.update(new_scale=2.0**10)
    next(steps)
    assert not any(map(torch.equal, before.parameters(), run.model.parameters()))
    assert run.scaler.get_scale() == 2.0**10
    assert norms[-1] > 2**5  # what came to the optimizer was scaled, and it takes that back


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9, "clip_norm": None}])
def test_clipping_in_float16_sees_gradients_as_they_are(digits, settings):
    one, _ = train(recipe(precision="float16", **CALM, **settings), digits, "cpu")
    other, _ = train(recipe(**CALM, **settings), digits, "cpu")
    for actual, right in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(actual, right, rtol=0.05, atol=2e-3)


def test_channels_last_changes_the_memory_and_not_the_curve(digits):
    colored = replace(digits, train_images=digits.train_images.repeat(1, 3, 1, 1))
    seen = []  # of one channel the two formats are the same

    def note(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        tensors = (*inputs, layer.weight, output)
        seen.append([t.is_contiguous(memory_format=torch.channels_last) for t in tensors])

    for channels_last in (True, False):
        run = begin(recipe(channels_last=channels_last), colored, CPU, ALONE)
        run.model.stem[0].register_forward_hook(note)
        list(training_steps(run, colored))
    assert seen == [[True] * 3] * 3 + [[False] * 3] * 3
    plain, last = curve_of(digits), curve_of(digits, channels_last=True)
    for actual, right in zip(last, plain, strict=True):
        assert actual == pytest.approx(right, rel=1e-3)


@pytest.mark.filterwarnings("ignore")  # torch's own, on its own old parts
def test_compile_gives_the_same_curve(digits):
    if not has_compiler():
        pytest.skip("torch.compile needs a C++ compiler")
    # one size of batch, as each is compiled by itself
    plain, compiled = (curve_of(digits, batch_size=35, compile=c) for c in (False, True))
    assert plain != compiled
    for actual, right in zip(compiled, plain, strict=True):
        assert actual == pytest.approx(right, rel=1e-3)


def test_cudnn_is_on_and_may_try_its_kernels_during_a_run_only(digits, monkeypatch):
    """torch's `flags` would turn it off unless told otherwise."""
    seen = []
    watch_steps(monkeypatch, lambda adam: seen.append(cudnn_settings()))
    before = cudnn_settings()
    train(recipe(epochs=1), digits, "cpu")
    assert seen == [(True, True)] * 3
    assert cudnn_settings() == before


def cudnn_settings() -> tuple[bool, bool]:
    return torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark


class Reads(TorchDispatchMode):
    """Counts what would make the CPU wait for a GPU: values that Python asks for, and lengths."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero")

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        if name in self.WAITING:
            self.names.append(name)
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize(
    "settings",
    [{}, {"ema": 0.9, "precision": "float16", "accumulate": 2}, {"clip_norm": None, "ema": 0.5}],
    ids=str,
)
def test_no_step_waits_for_a_number(digits, monkeypatch, settings):
    run = begin(recipe(**settings), digits, CPU, ALONE)
    numbers = []
    for name in ("tolist", "cpu", "numpy"):  # on a CPU these are not dispatched
        kept = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda t, *a, kept=kept: numbers.append(t) or kept(t, *a)
        )
    images, labels = digits.normalize(digits.train_images), digits.train_labels
    batch = Batch(images, labels, labels, 70)
    train_step(run, batch)  # the first may set something up
    numbers.clear()
    with Reads() as reads:
        run.step += 1
        sums = train_step(run, batch)
    assert (reads.names, numbers) == ([], [])
    with Reads() as reads:
        sums[0].item(), bool(sums[0] > 0)  # the count is one that can count
    assert len(reads.names) == 2


def test_an_epoch_reads_its_numbers_once_however_many_steps_it_has(digits, monkeypatch):
    calls = []
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__"):
        kept = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda t, *a, kept=kept, name=name: calls.append((name, t.dtype)) or kept(t, *a),
        )

    def reads(batch_size: int) -> int:
        calls.clear()
        train(recipe(batch_size=batch_size), digits, "cpu", progress=False)
        return sum(dtype.is_floating_point for _, dtype in calls)

    assert reads(2) == reads(32) > 0


@pytest.mark.parametrize(("terminal", "progress"), [(True, True), (True, False), (False, True)])
def test_the_bar_is_drawn_on_a_terminal_only(digits, monkeypatch, terminal, progress):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr("sys.stderr", screen)
    train(recipe(), digits, "cpu", progress)
    drawn = screen.getvalue()
    if terminal and progress:
        assert "epoch 2/2: 100%" in drawn and "images/s" in drawn
    else:
        assert drawn == ""


def test_the_bar_tells_loss_and_accuracy(digits, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    bar = mixerlib.training.loop.progress_bar
    often = lambda shown, **s: bar(shown, **(s | {"mininterval": 0, "miniters": 1}))  # noqa: E731
    monkeypatch.setattr(mixerlib.training.loop, "progress_bar", often)
    still = mixer(epochs=1, max_learning_rate=1e-12)
    model, _ = train(still, digits, "cpu")
    order = torch.randperm(70, generator=stream(0, "order", 1))[32:64]
    second = evaluate(
        model, digits.train_images[order], digits.train_labels[order], normalize=digits.normalize
    )
    assert f"loss {second.loss:.3f}, accuracy {second.top1:.1%}" in screen.getvalue()


# Refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_options": {"num_classes": 3}}, "`num_classes`=3 is not for a recipe to set"),
        ({"model_options": {"segments": 2}}, "`segments`=2 is not an option of 'convmixer'"),
        ({"model": "convmxer"}, "did you mean convmixer"),
        ({"model_options": TINY | {"patch_size": 3}}, "`patch_size`=3 must divide"),
    ],
)
def test_recipes_that_do_not_fit(digits, settings, message):
    with pytest.raises(ValueError, match=message):
        train(recipe(**settings), digits, "cpu")


def test_the_data_must_be_the_recipe_s(digits):
    with pytest.raises(ValueError, match="`dataset`='digits' must be the recipe's, 'cifar10'"):
        train(replace(recipe(), dataset="cifar10"), digits, "cpu")


def test_a_loss_that_is_not_finite_stops_the_run(digits):
    wild = recipe(epochs=5, max_learning_rate=1e30, clip_norm=None, weight_decay=0.0)
    message = (
        r"the loss is not finite at step 2, in epoch 1, at learning rate 3\.33e\+29; "
        r"try a smaller max_learning_rate \(now 1e\+30\), some clip_norm \(now None\) "
        r"or a larger batch_size \(now 32\)"
    )
    with pytest.raises(Diverged, match=message):
        train(wild, digits, "cpu")


def test_a_test_loss_that_is_not_finite_stops_the_run(digits):
    """One step ruins the weights, and no training step is left to notice."""
    wild = recipe(batch_size=70, epochs=2, max_learning_rate=1e15, clip_norm=None, weight_decay=0.0)
    with pytest.raises(Diverged, match="finite on the test set after epoch 1, at learning rate"):
        train(wild, digits, "cpu")


@pytest.mark.parametrize("evaluate_every", [1, 5])
def test_weights_that_are_not_finite_stop_the_run(digits, evaluate_every):
    """Though no loss has been computed with them, and the test set is not looked at."""
    wild = recipe(batch_size=70, epochs=5, max_learning_rate=1e39, evaluate_every=evaluate_every)
    with pytest.raises(Diverged, match="weights are not finite after step 1, in epoch 1, at learn"):
        train(wild, digits, "cpu")


EVERYTHING = {
    "one": {"flip": "alternating", "crop": "pad", "crop_padding": 1},
    "policy": {"policy": "trivialaugment", "jitter": 0.4, "flip": "random"},
    "mixed": {"crop": "resized", "crop_area": 0.3, "mixup": 0.4, "cutmix": 1.0},
    "timm": {
        "policy": "timm_randaugment",
        "policy_operations": 2,
        "policy_magnitude": 9,
        "policy_magnitude_std": 0.5,
        "erase": 0.9,
        "erase_fill": "noise",
    },
}


@pytest.mark.parametrize("settings", EVERYTHING.values(), ids=EVERYTHING)
@pytest.mark.parametrize("begun", [0, 1])
def test_augmented_together_the_images_of_several_steps_are_the_same(
    digits, monkeypatch, settings, begun
):
    run = begin(recipe(batch_size=16, channels_last=True, **settings), digits, CPU, ALONE)
    run.step = begun  # an epoch that is taken up again
    by_step = list(batches_left(run, digits))
    assert len(by_step) == 5 - begun and by_step[-1].size == 6
    for count in (2, 3, 9):
        monkeypatch.setattr(batches, "steps_at_once", lambda *_, count=count: count)
        together = list(batches_left(run, digits))
        assert [batch.size for batch in together] == [batch.size for batch in by_step]
        for mine, expected in zip(together, by_step, strict=True):
            assert torch.equal(mine.images, expected.images)
            assert mine.images.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(mine.labels, expected.labels)
            assert torch.equal(mine.targets, expected.targets)


def test_a_gpu_augments_as_many_steps_as_are_small(digits):
    assert steps_at_once(digits, 512) == 1  # on a CPU
    on_a_gpu = SimpleNamespace(
        device=torch.device("cuda"), crops_itself=False, in_channels=3, image_size=(32, 32)
    )
    assert steps_at_once(on_a_gpu, 512) == 10
    on_a_gpu.image_size = (224, 224)
    assert steps_at_once(on_a_gpu, 512) == 1
    on_a_gpu.image_size, on_a_gpu.crops_itself = (32, 32), True
    assert steps_at_once(on_a_gpu, 512) == 1


class Kernels(TorchDispatchMode):
    """Counts the operations that compute: of a view nothing is launched."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count += not function.is_view
        return function(*arguments, **(keywords or {}))


def test_augmented_together_the_images_of_seven_steps_take_a_fourth_of_the_launches(digits):
    augmentation = recipe(policy="randaugment", policy_operations=2, policy_magnitude=12)
    augment, images = augmentation.augmentation, digits.train_images
    draws = [
        augment.draw(10, digits.image_size, torch.Generator().manual_seed(step))
        for step in range(7)
    ]
    with Kernels() as by_step:
        for part, drawn in zip(images.split(10), draws, strict=True):
            augment.each(part, drawn, digits.normalize)
    with Kernels() as together:
        augment.each(images, Draws.of_several(draws), digits.normalize)
    assert 0 < together.count < by_step.count / 4


@pytest.mark.parametrize(("graphs", "mode"), [(True, "reduce-overhead"), (False, None)])
def test_graphs_are_a_mode_of_the_compiler(digits, monkeypatch, graphs, mode):
    modes = []
    monkeypatch.setattr(
        torch, "compile", lambda net, dynamic, mode: modes.append((dynamic, mode)) or net
    )
    train(recipe(compile=True, graphs=graphs, epochs=1), digits, "cpu", progress=False)
    assert modes == [(False, mode)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA GPU")
def test_a_step_replayed_as_graphs_is_the_compiled_step(digits):
    settings = {"compile": True, "epochs": 3}
    compiled, _ = train(recipe(**settings), digits, "cuda", progress=False)
    replayed, _ = train(recipe(graphs=True, **settings), digits, "cuda", progress=False)
    for mine, its in zip(replayed.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-3, atol=1e-4)


# What a notebook has set for all of torch


@pytest.fixture
def elsewhere():
    """Tensors are made on another device than the CPU, as after set_default_device("cuda")."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


def test_the_default_device_changes_no_run(digits, elsewhere, monkeypatch):
    settings = {"policy": "timm_randaugment", "policy_operations": 2, "policy_magnitude": 9}
    settings |= {"policy_magnitude_std": 0.5, "crop": "pad", "crop_padding": 1, "ema": 0.9}
    settings |= {"jitter": 0.2, "erase": 0.5, "erase_fill": "noise", "mixup": 0.5, "cutmix": 0.5}
    there, _ = train(recipe(epochs=1, **settings), digits, "cpu", progress=False)
    with torch.device("cpu"):
        here, _ = train(recipe(epochs=1, **settings), digits, "cpu", progress=False)
    assert_same(here, there)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_a_run_has_gradients_where_the_rest_has_none(digits, without):
    with without():
        one, _ = train(recipe(epochs=1), digits, "cpu", progress=False)
    assert_same(one, train(recipe(epochs=1), digits, "cpu", progress=False)[0])
    assert all(p.requires_grad and not p.is_inference() for p in one.parameters())


def test_each_of_many_runs_in_a_process_is_compiled(digits, monkeypatch):
    """torch compiles a function for eight models, and leaves the ninth as it is."""
    import torch._dynamo

    eager = partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", lambda net, dynamic, mode: eager(net, dynamic=dynamic))
    with torch._dynamo.config.patch(recompile_limit=2, fail_on_recompile_limit_hit=True):
        for dim in (4, 8, 12):
            options = TINY | {"dim": dim}
            settings = {"compile": True, "epochs": 1, "batch_size": 35, "model_options": options}
            train(recipe(**settings), digits, "cpu", progress=False)


def test_a_run_needs_test_images(digits):
    none = replace(digits, test_images=digits.test_images[:0], test_labels=digits.test_labels[:0])
    with pytest.raises(ValueError, match="`dataset`='digits' has no test images"):
        train(recipe(), none, "cpu", progress=False)


def test_a_run_needs_no_stderr(digits, monkeypatch):
    """Under pythonw, and in a program made by PyInstaller, there is none."""
    monkeypatch.setattr("sys.stderr", None)
    train(recipe(epochs=1), digits, "cpu", progress=True)
