"""The loop: its schedule, its steps, what it returns, and what it refuses."""

import io
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F

from mixerlib.data import load_dataset
from mixerlib.evaluate import evaluate
from mixerlib.recipe import Recipe
from mixerlib.train import Diverged, choose_device, model_for, piecewise_linear, train

TINY = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2}


@pytest.fixture(scope="module")
def digits():
    """70 training and 30 test images: three batches of 32, the last of them of 6."""
    whole = load_dataset("digits")
    return replace(
        whole,
        train_images=whole.train_images[:70],
        train_labels=whole.train_labels[:70],
        test_images=whole.test_images[:30],
        test_labels=whole.test_labels[:30],
    )


def recipe(**settings) -> Recipe:
    own = {"model": "convmixer", "model_options": TINY, "epochs": 2, "batch_size": 32}
    return Recipe("digits", **(own | {"flip": False} | settings))


@pytest.mark.parametrize(
    ("progress", "factor"),
    [(0, 0), (0.2, 0.5), (0.4, 1), (0.6, 0.525), (0.8, 0.05), (0.9, 0.025), (1, 0)],
)
def test_schedule_at_and_between_its_knots(progress, factor):
    assert piecewise_linear(progress) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("progress", [-0.01, 1.01, float("nan")])
def test_schedule_ends_where_the_run_does(progress):
    with pytest.raises(ValueError, match="`progress`="):
        piecewise_linear(progress)


def test_every_step_has_its_own_learning_rate(digits, monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def spy(self, *arguments):
        rates.extend(group["lr"] for group in self.param_groups)
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    _, record = train(recipe(epochs=5, max_learning_rate=0.03), digits, "cpu")
    # 15 steps: up to 0.03 at the 6th, down to 0.0015 at the 12th, to 0 at the 15th
    expected = [0.005 * i for i in range(1, 7)]
    expected += [0.03 - 0.00475 * i for i in range(1, 7)] + [0.001, 0.0005, 0]
    assert rates == pytest.approx(expected, abs=1e-12)
    assert [row.learning_rate for row in record.curve] == pytest.approx(expected[2::3], abs=1e-12)


def test_the_first_step_is_adamw_s(digits):
    """Against the update written out: Adam's first step is its sign, then the decay."""
    # two steps, the second of them with a learning rate of 0
    settings = recipe(batch_size=70, max_learning_rate=1e-3, clip_norm=None, weight_decay=0.1)
    rate = 1e-3 * piecewise_linear(0.5)
    torch.manual_seed(0)
    model = model_for(settings, digits)
    loss = F.cross_entropy(model(digits.normalise(digits.train_images)), digits.train_labels)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    trained, _ = train(settings, digits, "cpu")
    checked = 0
    for p, old, g in zip(trained.parameters(), model.parameters(), gradients, strict=True):
        expected = old * (1 - rate * 0.1) - rate * g.sign()
        sure = g.abs() > 1e-4  # next to these, AdamW's epsilon and rounding are nothing
        torch.testing.assert_close(p[sure], expected[sure], rtol=1e-4, atol=1e-6)
        checked += sure.sum().item()
    assert checked > 0.5 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("clip_norm", [0.01, None])
def test_gradients_are_clipped(digits, monkeypatch, clip_norm):
    norms, step = [], torch.optim.AdamW.step

    def spy(self, *arguments):
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        norms.append(torch.cat(gradients).norm().item())
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    train(recipe(epochs=1, clip_norm=clip_norm), digits, "cpu")
    assert len(norms) == 3
    if clip_norm is None:
        assert min(norms) > 0.1
    else:
        assert norms == pytest.approx([clip_norm] * 3, rel=1e-3)


def test_one_batch_can_be_learned_by_heart(digits):
    few = replace(
        digits, train_images=digits.train_images[:32], train_labels=digits.train_labels[:32]
    )
    settings = {"epochs": 60, "max_learning_rate": 0.05, "evaluate_every": 60}
    model, record = train(recipe(model_options=TINY | {"dim": 32}, **settings), few, "cpu")
    assert record.curve[-1].train_loss < 0.02 and record.curve[-1].train_accuracy == 1
    again = evaluate(model, few.train_images, few.train_labels, normalise=few.normalise)
    assert again.top1 == 1


def test_the_seed_decides_the_weights_to_the_last_bit(digits):
    def weights(seed: int) -> list[torch.Tensor]:
        model, _ = train(recipe(seed=seed, flip=True), digits, "cpu")
        return list(model.state_dict().values())

    first, second, other = weights(0), weights(0), weights(1)
    assert all(map(torch.equal, first, second))
    assert not all(map(torch.equal, first, other))


def test_the_record_tells_what_was_done(digits):
    settings = recipe(epochs=3, evaluate_every=2, seed=5)
    model, record = train(settings, digits, "cpu")
    assert not model.training
    assert record.settings | {"name": record.recipe} == asdict(settings)
    assert (record.seed, record.train_images, record.test_images) == (5, 70, 30)
    assert record.parameters == sum(p.numel() for p in model.parameters())
    assert [row.epoch for row in record.curve] == [1, 2, 3]
    assert [row.test_loss is None for row in record.curve] == [True, False, False]
    last = evaluate(model, digits.test_images, digits.test_labels, normalise=digits.normalise)
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


def test_mean_loss_counts_images_not_batches(digits):
    """Without BatchNorm and with hardly a step, training and evaluation see one model."""
    options = {"dim": 8, "depth": 1, "patch_size": 2, "tokens_dim": 8, "channels_dim": 8}
    still = recipe(model="mlp_mixer", model_options=options, epochs=1, max_learning_rate=1e-12)
    model, record = train(still, digits, "cpu")
    whole = evaluate(model, digits.train_images, digits.train_labels, normalise=digits.normalise)
    assert record.curve[0].train_loss == pytest.approx(whole.loss, rel=1e-5)
    assert record.curve[0].train_accuracy == whole.top1


@pytest.mark.parametrize(("terminal", "progress"), [(True, True), (True, False), (False, True)])
def test_the_bar_is_drawn_on_a_terminal_only(digits, monkeypatch, terminal, progress):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr("sys.stderr", screen)
    train(recipe(), digits, "cpu", progress)
    drawn = screen.getvalue()
    assert (
        ("epoch 2/2: 100%" in drawn and "images/s" in drawn) if terminal and progress else not drawn
    )


@pytest.mark.parametrize("name", ["convmixer", "splitmixer_iv", "mlp_mixer"])
def test_the_data_decide_what_goes_in_and_out(digits, name):
    settings = replace(recipe(), model=name, model_options={"dim": 8, "depth": 1, "patch_size": 2})
    model = model_for(settings, digits)
    assert model(digits.normalise(digits.test_images)).shape == (30, 10)


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
    with pytest.raises(Diverged, match=r"at step 2, in epoch 1, .* 3\.33e\+29; try a smaller"):
        train(wild, digits, "cpu")


def test_a_test_loss_that_is_not_finite_stops_the_run(digits):
    """One step ruins the weights, and no training step is left to notice."""
    wild = recipe(batch_size=70, epochs=2, max_learning_rate=1e30, clip_norm=None, weight_decay=0.0)
    with pytest.raises(Diverged, match="on the test set after epoch 1"):
        train(wild, digits, "cpu")


def test_devices():
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device().type == automatic
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="`device`='gpu' must be cpu, cuda"):
        choose_device("gpu")
    with pytest.raises(ValueError, match="`device`='cuda:99' is not here"):
        choose_device("cuda:99")
