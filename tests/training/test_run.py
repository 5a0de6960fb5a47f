"""A run between two steps: what a recipe makes, what is trained, what a checkpoint needs."""

import math
from copy import deepcopy
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import mixerlib.training.run
from mixerlib.data import Augmentation
from mixerlib.models import create_model
from mixerlib.training import checkpoint, schedule
from mixerlib.training.batches import augmentation_for
from mixerlib.training.distributed import ALONE, Processes, choose_device
from mixerlib.training.first_weights import load_first_weights
from mixerlib.training.folders import result_line
from mixerlib.training.loop import finish_epoch, train, training_steps
from mixerlib.training.optimizers import optimizer_for
from mixerlib.training.recipe import Recipe
from mixerlib.training.recipe_files import load_recipe
from mixerlib.training.run import (
    Run,
    begin,
    collect,
    dataset_for,
    model_for,
    stream,
    update_average,
)
from mixerlib.training.schedule import learning_rate
from mixerlib.training.statistics import runs_of

CPU = torch.device("cpu")
TINY = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2}


def recipe(model: str = "convmixer", **settings) -> Recipe:
    defaults = {"model_options": TINY, "epochs": 2, "batch_size": 32}
    return Recipe("digits", model, **(defaults | settings))


# Before the first step


def test_a_run_begins_at_the_beginning(digits):
    run = begin(recipe(), digits, CPU, ALONE)
    assert (run.epoch, run.step, run.steps_done, run.all_steps, run.images_seen) == (1, 0, 0, 6, 0)
    assert run.loss_and_correct.shape == (2, 3) and not run.loss_and_correct.any()
    assert run.curve == [] and run.test is None and run.continued == 0
    assert run.net is run.model is run.evaluated_model
    assert not run.scaler.is_enabled()


@given(st.integers(1, 12), st.integers(1, 13), st.integers(1, 4))
def test_how_far_a_run_has_come(images, batch_size, epochs):
    chosen = recipe(epochs=epochs, batch_size=batch_size)
    sums = torch.zeros(2, math.ceil(images / batch_size))
    run = Run(chosen, ALONE, images, *[None] * 6, sums)  # it only counts
    seen = steps = 0
    for run.epoch in range(1, epochs + 1):
        run.step = 0
        for batch in torch.arange(images).split(batch_size):
            assert (run.images_seen, run.steps_done) == (seen, steps)
            seen, steps, run.step = seen + len(batch), steps + 1, run.step + 1
        assert (run.images_seen, run.steps_done) == (seen, steps)  # with the epoch not finished
    assert run.all_steps == steps


@pytest.mark.parametrize(
    ("batch_size", "count", "smallest"),
    [(32, 7, 6), (69, 2, 1), (70, 71, 70), (35, 36, 35), (3, 2, 1)],
)
def test_a_batch_needs_an_image_for_every_process(digits, batch_size, count, smallest):
    message = (
        f"`batch_size`={batch_size} leaves a last batch of {smallest} of 70 images, "
        f"too few for {count} processes"
    )
    with pytest.raises(ValueError, match=message):
        begin(recipe(batch_size=batch_size), digits, CPU, Processes(0, count))


ONE_PATCH = TINY | {"patch_size": 8}


@pytest.mark.parametrize(
    ("settings", "count", "given"),
    [
        ({"batch_size": 23}, 1, "`batch_size`=23"),  # 3 × 23 + 1
        ({"batch_size": 1}, 1, "`batch_size`=1"),
        ({"batch_size": 35, "accumulate": 18}, 1, "`batch_size`=35, `accumulate`=18"),  # by 2
        ({"batch_size": 67}, 2, "`batch_size`=67, processes=2"),  # the last 3 as 1 and 2
        ({"batch_size": 23, "model": "splitmixer_iv"}, 1, "`batch_size`=23"),
        (
            {"batch_size": 23, "model_options": TINY | {"patch_size": 4}, "early_size": 4}
            | {"early_epochs": 1},
            *(1, "`batch_size`=23"),
        ),
    ],
)
def test_one_image_of_one_patch_is_refused_before_the_first_step(digits, settings, count, given):
    chosen = recipe(**({"model_options": ONE_PATCH} | settings))
    message = f"^{given}: of the 70 images, some are worked through one by one, and BatchNorm"
    with pytest.raises(ValueError, match=message):
        begin(chosen, digits, CPU, Processes(0, count))


@pytest.mark.parametrize(
    "settings",
    [
        {"model_options": ONE_PATCH, "batch_size": 34},  # 34, 34 and 2
        {"batch_size": 23},  # one image, of 16 patches
        {"model": "mlp_mixer", "batch_size": 23}  # LayerNorm
        | {"model_options": {"dim": 8, "depth": 1, "patch_size": 8}},
    ],
)
def test_what_can_be_trained_to_the_end_is_not_refused(digits, settings):
    chosen = recipe(**(settings | {"epochs": 1}))
    train(chosen, digits, "cpu", progress=False)


def test_the_data_decide_the_model_s_input_and_output(digits):
    for name in ("convmixer", "splitmixer_3d"):
        model = model_for(recipe(name), digits)
        assert model.stem[0].in_channels == 1 and model.head.out_features == 10
    options = {"dim": 8, "depth": 1, "patch_size": 2, "tokens_dim": 4, "channels_dim": 8}
    model = model_for(recipe("mlp_mixer", model_options=options), replace(digits, resized_to=12))
    assert model(torch.zeros(1, 1, 12, 12)).shape == (1, 10)


@pytest.mark.parametrize("option", ["in_channels", "num_classes"])
def test_a_recipe_does_not_say_what_the_data_decide(digits, option):
    with pytest.raises(ValueError, match=f"`{option}`=1 is not for a recipe to set: the data set"):
        model_for(recipe(model_options=TINY | {option: 1}), digits)


def test_images_are_held_out_as_the_recipe_says(digits):
    """Such a run has not seen the test images, and is none of the recipe without it."""
    held = recipe(held_out=20)
    assert dataset_for(load_recipe("digits", {"held_out": 20})).held_out == 20
    with pytest.raises(ValueError, match="`held_out`=20 must be the data's: 0"):
        begin(held, digits, CPU, ALONE)
    with pytest.raises(ValueError, match="`held_out`=0 must be the data's: 20"):
        begin(recipe(), digits.hold_out(20), CPU, ALONE)
    _, record = train(held, digits.hold_out(20), "cpu", progress=False)
    assert (record.train_images, record.test_images) == (50, 20)
    assert result_line(held, record).partition(" of ")[2].startswith("20 held-out training images")
    assert "70 training and 30 test images" in str(digits)
    assert "50 training and 20 held-out images" in str(digits.hold_out(20))
    assert runs_of(held, [record]) == [record] and runs_of(recipe(), [record]) == []


def test_the_images_have_the_recipe_s_form():
    dataset = dataset_for(
        recipe(image_size=12, interpolation="bicubic", normalization="half"), download=True
    )
    assert dataset.image_size == (12, 12) and dataset.interpolation == "bicubic"
    assert dataset.mean.tolist() == dataset.std.tolist() == [0.5]


@pytest.mark.parametrize(("name", "crop_area"), [("food101", 0.3), ("cifar10", None)])
def test_photographs_are_cropped_while_they_are_read(monkeypatch, name, crop_area):
    asked = {}

    def load(name, root, download, **arguments):
        asked.update(arguments, name=name, root=root, download=download)

    monkeypatch.setattr(mixerlib.training.run, "load_dataset", load)
    form = {"image_size": 64, "interpolation": "bilinear", "crop": "resized", "crop_area": 0.3}
    dataset_for(Recipe(name, "convmixer", **form, crop_pct=0.9), Path("there"), True)
    assert asked == {
        "name": name,
        "root": Path("there"),
        "download": True,
        "image_size": 64,
        "interpolation": "bilinear",
        "crop_pct": 0.9,
        "normalization": "dataset",
        "crop_area": crop_area,
        "workers": None,
        "test_only": False,
    }


AUGMENTED = {
    "crop": "resized",
    "crop_area": 0.75,
    "flip": "random",
    "policy": "timm_randaugment",
    "policy_operations": 3,
    "policy_magnitude": 7,
    "policy_magnitude_std": 0.4,
    "jitter": 0.2,
    "erase": 0.25,
    "erase_fill": "noise",
    "mixup": 0.3,
    "cutmix": 0.6,
}


def test_every_field_of_the_augmentation_is_the_recipe_s(digits):
    chosen = recipe(**AUGMENTED)
    padded = replace(chosen, crop="pad", crop_area=None, crop_padding=3)
    for name in (f.name for f in fields(Augmentation)):
        values = [getattr(augmentation_for(one, digits), name) for one in (chosen, padded)]
        assert values == [getattr(chosen, name), getattr(padded, name)], name
        assert values != [getattr(recipe(), name)] * 2, name  # else it might have been forgotten


def test_what_is_cropped_while_it_is_read_is_not_cropped_again():
    reads = SimpleNamespace(crops_itself=True)
    actual = augmentation_for(recipe(**AUGMENTED), reads)
    assert (actual.crop, actual.crop_area, actual.erase) == ("none", None, 0.25)
    padded = recipe(crop="pad", crop_padding=3)
    assert augmentation_for(padded, reads) == augmentation_for(
        padded, SimpleNamespace(crops_itself=False)
    )


# What is trained, and how fast


def groups_of(chosen: Recipe, model: nn.Module) -> list[tuple[set[str], float]]:
    """The names of each group's parameters, and its decay."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = optimizer_for(chosen, model).param_groups
    return [({names[p] for p in group["params"]}, group["weight_decay"]) for group in groups]


def test_decay_on_matrices_only(digits):
    chosen = recipe(decay_on="matrices", weight_decay=0.3)
    matrices = {"stem.0.weight", "blocks.0.0.fn.0.weight", "blocks.0.1.weight", "head.weight"}
    others = {"stem.0.bias", "stem.2.weight", "stem.2.bias", "head.bias"}
    others |= {f"blocks.0.{part}" for part in ("0.fn.0.bias", "0.fn.2.weight", "0.fn.2.bias")}
    others |= {f"blocks.0.{part}" for part in ("1.bias", "3.weight", "3.bias")}
    assert groups_of(chosen, model_for(chosen, digits)) == [(matrices, 0.3), (others, 0.0)]


@pytest.mark.parametrize("name", ["splitmixer_i", "splitmixer_iv", "splitmixer_3d", "mlp_mixer"])
def test_matrices_are_the_weights_of_convolutions_and_linear_layers(digits, name):
    options = {"dim": 8, "depth": 1, "patch_size": 2}
    chosen = recipe(name, model_options=options, decay_on="matrices", weight_decay=0.3)
    model = model_for(chosen, digits)
    layers = (nn.Conv2d, nn.Conv3d, nn.Linear)
    weights = {f"{n}.weight" for n, module in model.named_modules() if isinstance(module, layers)}
    (decayed, decay), (kept, none) = groups_of(chosen, model)
    assert (decay, none) == (0.3, 0.0)
    assert decayed == weights
    assert kept == {n for n, _ in model.named_parameters()} - weights


def test_decay_on_all(digits):
    chosen = recipe(weight_decay=0.3)
    model = model_for(chosen, digits)
    assert groups_of(chosen, model) == [({n for n, _ in model.named_parameters()}, 0.3)]


def test_adamw_is_fused_and_has_the_recipe_s_settings(digits):
    chosen = recipe(adam_epsilon=1e-3, max_learning_rate=0.7, weight_decay=0.3)
    settings = optimizer_for(chosen, model_for(chosen, digits)).defaults
    assert settings["fused"] is True and settings["amsgrad"] is False
    assert (settings["eps"], settings["lr"], settings["weight_decay"]) == (1e-3, 0.7, 0.3)
    assert settings["betas"] == (0.9, 0.999)


@pytest.mark.parametrize("decay", ["all", "matrices"])
def test_a_frozen_body_is_no_business_of_the_optimizer(digits, tmp_path, decay):
    mixerlib.save_weights(
        create_model("convmixer", **TINY, in_channels=1, num_classes=10), tmp_path / "w.safetensors"
    )
    chosen = recipe(weights=str(tmp_path / "w.safetensors"), frozen=True, decay_on=decay)
    run = begin(chosen, digits, CPU, ALONE)
    trained = set().union(*(names for names, _ in groups_of(chosen, run.model)))
    assert trained == {"head.weight", "head.bias"}
    assert {n for n, p in run.model.named_parameters() if p.requires_grad} == trained


@given(st.floats(0, 1))
def test_the_learning_rate_is_the_schedule_s(progress):
    def rate(**settings) -> float:
        return learning_rate(recipe(max_learning_rate=0.3, epochs=20, **settings), progress)

    assert rate() == 0.3 * schedule.piecewise_linear(progress)
    assert rate(schedule="onecycle") == 0.3 * schedule.one_cycle(progress)
    assert rate(schedule="cosine", warmup_epochs=5) == 0.3 * schedule.cosine(progress, 0.25)
    assert rate(schedule="cosine", warmup_epochs=0) == 0.3 * schedule.cosine(progress)


def test_the_learning_rates_of_a_run_are_torch_s():
    chosen = recipe(schedule="cosine", warmup_epochs=0, max_learning_rate=0.3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    torch_s = CosineAnnealingLR(optimizer, T_max=40)
    for done in range(1, 41):
        optimizer.step()
        torch_s.step()
        rate = optimizer.param_groups[0]["lr"]
        assert learning_rate(chosen, done / 40) == pytest.approx(rate, abs=1e-12)


# The moving average


def test_the_average_is_torch_s(digits):
    """Of weights and statistics, over steps that change both."""
    run = begin(recipe(ema=0.6, max_learning_rate=0.05), digits, CPU, ALONE)
    torch_s = AveragedModel(run.model, multi_avg_fn=get_ema_multi_avg_fn(0.6), use_buffers=True)
    assert run.evaluated_model is run.average
    for _ in training_steps(run, digits):
        torch_s.update_parameters(run.model)
        expected = torch_s.module.state_dict()
        for name, actual in run.average.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(actual, expected[name]), name
    assert not torch.equal(run.average.head.weight, run.model.head.weight)


def test_after_its_first_step_the_average_is_the_model(digits):
    run = begin(recipe(ema=0.999), digits, CPU, ALONE)
    with torch.no_grad():
        for p in run.model.parameters():
            p.add_(1)
    update_average(run)
    assert all(map(torch.equal, run.average.parameters(), run.model.parameters()))


# Random streams


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_stream_depends_on_its_place_alone(seed, epoch, step):
    def numbers(*place) -> list[int]:
        return torch.randint(2**62, (2,), generator=stream(*place)).tolist()

    here = numbers(seed, "augmentation", epoch, step)
    torch.rand(3)
    assert numbers(seed, "augmentation", epoch, step) == here
    others = [
        numbers(seed, "order", epoch, step),
        numbers((seed + 1) % 2**63, "augmentation", epoch, step),
        numbers(seed, "augmentation", epoch + 1, step),
        numbers(seed, "augmentation", epoch, step + 1),
        numbers(seed, "augmentation", step * 10**7 + 1, epoch),
        numbers(seed, "augmentation", epoch),
    ]
    assert here not in others


def test_streams_are_the_same_on_every_machine_and_in_every_version():
    """A run that was begun elsewhere goes on here. The seeds: printf 0/order/1 | b2sum -l 64."""
    assert stream(0, "order", 1).initial_seed() == 0x5234FF2E7DFBB7DE >> 1
    assert stream(3, "augmentation", 2, 7).initial_seed() == 0xDE3F14EEBF9A8AA8 >> 1


# What a checkpoint holds


def test_a_state_is_complete(digits):
    """A run that was brought to it equals the one that it was taken of, in all that has a value."""
    chosen = recipe("splitmixer_i", ema=0.8, precision="float16", decay_on="matrices")
    run = begin(chosen, digits, CPU, ALONE)
    for _ in training_steps(run, digits):
        pass
    finish_epoch(run, digits)
    next(training_steps(run, digits))
    collect(run)
    run.scaler.update(new_scale=2.0**9)
    run.total_seconds = 12.5
    state = deepcopy(checkpoint.state_of(run))
    torch.manual_seed(99)
    other = begin(replace(chosen, seed=1), digits, CPU, ALONE)
    checkpoint.continue_from(other, state)
    other.scaler.scale(torch.ones(()))  # only now it takes up what it was given
    others = {"recipe", "net", "processes", "clock_start"}
    for name in (f.name for f in fields(run) if f.name not in others):
        one, two = getattr(run, name), getattr(other, name)
        if hasattr(one, "state_dict"):
            one, two = one.state_dict(), two.state_dict()
        if name == "continued":
            assert (one, two) == (0, 1)
        elif isinstance(one, torch.Tensor):
            assert torch.equal(one, two) and one.any()
        elif name in ("model", "average"):
            assert all(map(torch.equal, one.values(), two.values()))
        elif name == "optimizer":
            groups, others_groups = one["param_groups"], two["param_groups"]
            for group in (*groups, *others_groups):
                del group["lr"]  # which every step sets anew
            assert groups == others_groups
            for kept, actual in zip(one["state"].values(), two["state"].values(), strict=True):
                assert all(map(torch.equal, kept.values(), actual.values()))
        else:
            assert one == two, name
    assert (other.epoch, other.step, other.scaler.get_scale()) == (2, 1, 512)


def test_of_several_processes_only_the_first_takes_the_sums(digits):
    run = begin(recipe(), digits, CPU, ALONE)
    next(training_steps(run, digits))
    collect(run)
    state = checkpoint.state_of(run)
    second = begin(recipe(), digits, CPU, ALONE)
    second.processes = Processes(1, 2)
    checkpoint.continue_from(second, state)
    assert run.loss_and_correct.any() and not second.loss_and_correct.any()
    assert second.step == 1


def test_sums_are_collected_without_being_lost_or_counted_twice(digits, monkeypatch):
    """Two processes, played one after the other: what each has counted is added once."""
    runs = [begin(recipe(), digits, CPU, ALONE) for _ in range(2)]
    for rank, run in enumerate(runs):
        run.processes = Processes(rank, 2)

    def collected() -> list[torch.Tensor]:
        total = runs[0].loss_and_correct + runs[1].loss_and_correct
        monkeypatch.setattr(Processes, "sum", lambda self, tensor: total.clone())
        return [collect(run) for run in runs]

    for step in range(3):
        for rank, run in enumerate(runs):
            run.loss_and_correct[:, step] = torch.tensor([10.0 * (rank + 1), rank + 1])
        for actual in collected():
            assert actual.dtype == torch.float64
            assert actual[:, : step + 1].tolist() == [[30.0] * (step + 1), [3.0] * (step + 1)]
    assert collected()[1].sum() == 99


def test_devices():
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device().type == automatic
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="`device`='gpu' must be cpu, cuda"):
        choose_device("gpu")
    with pytest.raises(ValueError, match="`device`='cuda:99' is not here"):
        choose_device("cuda:99")
    with pytest.raises(ValueError, match="`device`='xpu' is not here"):
        choose_device("xpu")


def test_fractions_among_the_options_reach_the_model(digits):
    options = TINY | {"ratio": Fraction(3, 5)}
    model = model_for(recipe("splitmixer_i", model_options=options), digits)
    same = model_for(recipe("splitmixer_i", model_options=TINY | {"ratio": "3/5"}), digits)
    shapes = [[tuple(p.shape) for p in m.parameters()] for m in (model, same)]
    assert shapes[0] == shapes[1]


def test_a_compiled_step_is_compiled_for_whole_batches_and_for_no_other(digits, monkeypatch):
    """Dynamic sizes would slow every step down; to compile for the last batch, too, would take
    longer than its steps do."""
    asked, sizes = [], []

    def compiler(net, **options):
        asked.append(options)
        return lambda images: sizes.append(len(images)) or net(images)

    monkeypatch.setattr(torch, "compile", compiler)
    run = begin(recipe(compile=True), digits, CPU, ALONE)
    assert asked == [{"dynamic": False, "mode": None}] and run.form.compile
    counts = list(training_steps(run, digits))
    assert counts[-1] < counts[0] and sizes == counts[:-1]
    parts = begin(recipe(compile=True, accumulate=2), digits, CPU, ALONE)
    assert next(iter(training_steps(parts, digits))) == 2 * sizes[-1] == counts[0]
    asked.pop()
    begin(recipe(), digits, CPU, ALONE)
    assert len(asked) == 1


def test_a_missing_file_of_weights_says_where_there_is_one(tmp_path):
    def refusal(name: str) -> str:
        recipe = load_recipe(name, {"weights": str(tmp_path / "none.safetensors")})
        with pytest.raises(FileNotFoundError) as error:
            load_first_weights(create_model("convmixer", **TINY), recipe)
        assert error.value.filename == str(tmp_path / "none.safetensors")
        return str(error.value.strerror)

    for name in ("finetune", "frozen"):  # the second one's head points to its base
        text = refusal(f"cifar10/mixer_b16_224_{name}")
        assert "fetch https://huggingface.co/timm/mixer_b16_224" in text
    assert "mixer_s16_224_finetune.yaml says which" in refusal("cifar10/mixer_s16_224_finetune")
    own = load_recipe("digits", {"weights": str(tmp_path / "none.safetensors")})
    with pytest.raises(FileNotFoundError, match="No such file"):
        load_first_weights(create_model("convmixer", **TINY), own)


def test_a_run_is_in_float32_whatever_torchs_default_is(digits):
    chosen = recipe(epochs=1, mixup=0.2)
    expected, _ = train(chosen, digits, "cpu", progress=False)
    torch.set_default_dtype(torch.float64)
    try:
        trained, _ = train(chosen, digits, "cpu", progress=False)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    state = trained.state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())
