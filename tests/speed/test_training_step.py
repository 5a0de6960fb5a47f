"""The forms of a training step: equal outputs and gradients, and the choice of the fastest one."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers import Later, few_digits
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mixerlib import create_model
from mixerlib.data import Dataset
from mixerlib.speed import training_step as step
from mixerlib.speed.form import Form
from mixerlib.speed.timing import Timing
from mixerlib.speed.training_step import (
    fastest_form,
    form_of_settings,
    in_form,
    settings_of_form,
)
from mixerlib.speed.whole_matrix import OneMatrix
from mixerlib.training.distributed import ALONE
from mixerlib.training.loop import Stopped, train
from mixerlib.training.recipe_files import load_recipe
from mixerlib.training.run import begin, model_for

dynamo = Later("torch._dynamo")

CPU = torch.device("cpu")
MIXINGS = [
    ("splitmixer_i", {"ratio": "2/3"}),
    ("splitmixer_i", {"ratio": "1"}),
    ("splitmixer_ii", {"segments": 2}),
    ("splitmixer_ii", {"segments": 2, "shuffle": True}),
    ("splitmixer_ii", {"segments": 3, "shuffle": True}),
    ("splitmixer_iii", {"segments": 3}),
    ("splitmixer_iii", {"segments": 4, "shuffle": True}),
    ("splitmixer_iv", {"segments": 3}),
    ("splitmixer_iv", {"segments": 5}),  # the last one is wider
    ("splitmixer_iv", {"segments": 4, "shuffle": True}),
    ("splitmixer_v", {"ratio": "3/5"}),
    ("splitmixer_3d", {"segments": 3}),
]

SWITCHES = ("one_matrix", "shifted", "channels_last", "compile", "by_block")
ALL_SETTINGS = [
    dict(zip(SWITCHES, values, strict=True))
    for values in itertools.product((False, True), repeat=len(SWITCHES))
]


def small(name: str, options: dict[str, object], **also: object) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, dim=12, depth=3, kernel_size=3, patch_size=2, **options, **also)


def batch(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, 3, 8, 8, generator=generator, dtype=dtype)
    return images, torch.randint(10, (6,), generator=generator)


def gradients(net: nn.Module, model: nn.Module, images: torch.Tensor, labels: torch.Tensor):
    """Logits, gradients by the parameters' names, and BatchNorm's running statistics."""
    logits = net(images)
    F.cross_entropy(logits.float(), labels).backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert None not in grads.values()
    return logits.detach(), grads, dict(model.named_buffers())


# Equal forms


@pytest.mark.parametrize(("name", "options"), MIXINGS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_forms_have_the_same_logits_gradients_and_statistics(name, options, channels_last):
    model = small(name, options).double()
    other = copy.deepcopy(model)
    images, labels = batch(torch.float64)
    right = gradients(model, model, images, labels)
    form = Form("one matrix", channels_last=channels_last)
    images = images.contiguous(memory_format=form.memory_format)
    result = gradients(in_form(other, form), other, images, labels)
    torch.testing.assert_close(result, right, rtol=1e-9, atol=1e-11)
    assert other.state_dict().keys() == model.state_dict().keys()


@given(
    st.sampled_from(MIXINGS),
    st.integers(1, 40),
    st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_the_matrix_does_what_the_mixing_does(mixing, dim, seed):
    name, options = mixing
    try:
        torch.manual_seed(seed)
        model = create_model(name, dim=dim, depth=4, patch_size=1, **options).double()
    except ValueError:
        return  # a width that the strategy does not have
    x = torch.randn(2, dim, 3, 2, dtype=torch.float64)
    for block in model.blocks:
        right = block.mixing(x)
        if block.shuffle > 1:
            right = right.unflatten(1, (block.shuffle, -1)).transpose(1, 2).flatten(1, 2)
        weight, bias = OneMatrix.matrix(block, dim)
        mixed = torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x) + bias[:, None, None]
        torch.testing.assert_close(mixed, right)


@pytest.mark.parametrize(("name", "options"), [MIXINGS[0], MIXINGS[6], MIXINGS[11]])
def test_autocast_rounds_the_matrix_once(name, options):
    """Rounded before the bias is taken off again, small weights beside it would be lost."""
    model = small(name, options)
    for block in model.blocks:
        for parameter in block.mixing.parameters():
            if parameter.ndim == 1:
                nn.init.constant_(parameter, 100.0)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = OneMatrix.matrix(model.blocks[0], 12)
    exact, _ = OneMatrix.matrix(copy.deepcopy(model).double().blocks[0], 12)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=0, atol=1e-4)


def test_evaluation_is_equal_too():
    model = small("splitmixer_v", {}).eval()
    images, _ = batch()
    with torch.no_grad():
        torch.testing.assert_close(in_form(model, Form("one matrix"))(images), model(images))


def test_one_matrix_is_for_splitmixer_alone():
    model = create_model("convmixer", dim=8, depth=1)
    with pytest.raises(ValueError, match=r"is for a SplitMixer.*not for ConvMixer"):
        in_form(model, Form("one matrix"))
    assert in_form(model, Form(channels_last=True)) is model
    assert model.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.stem[0].weight.is_contiguous()


# Forms and the fields of a recipe


@pytest.mark.parametrize("given", ALL_SETTINGS, ids=str)
def test_a_form_has_its_fields_in_a_recipe(given):
    form = form_of_settings(given | {"epochs": 3})  # other fields are none of its business
    assert settings_of_form(form) == given
    assert (form.mixing == "one matrix") == given["one_matrix"]
    same = ("shifted", "channels_last", "compile", "by_block")
    assert all(getattr(form, name) == given[name] for name in same)
    assert not form.folded and form.at_once is None
    layout = torch.channels_last if given["channels_last"] else torch.contiguous_format
    assert form.memory_format is layout


@pytest.mark.parametrize("form", [Form("linear"), Form(folded=True), Form(at_once=4)], ids=str)
def test_forms_of_inference_are_refused(form):
    model = create_model("convmixer", dim=8, depth=1)
    for refuse in (lambda: in_form(model, form), lambda: settings_of_form(form)):
        with pytest.raises(ValueError, match="must be one of a training step"):
            refuse()


# The choice


def rigged(monkeypatch, seconds) -> list[list[Form]]:
    """Instead of a race, seconds by form; returns the races, as lists of forms."""
    races = []

    def race(steps, rounds, device, limit):
        for run in steps.values():
            run()  # it can be run, and again
        races.append(list(steps))
        return {form: Timing.of([seconds(form)]) for form in steps}

    monkeypatch.setattr(step, "race", race)
    monkeypatch.setattr(torch, "compile", lambda net, **_: copy.copy(net))
    return races


TRIED = [
    Form(mixing, channels_last=last, compile=code)
    for mixing, last, code in itertools.product(step.MIXINGS, (False, True), (False, True))
]


@pytest.mark.parametrize("best", TRIED, ids=str)
def test_the_fastest_form_is_chosen(monkeypatch, best):
    model, (images, labels) = small("splitmixer_ii", {"shuffle": True}), batch()

    def distance(form: Form) -> float:
        differences = form.mixing != best.mixing, form.channels_last != best.channels_last
        return 1.0 + sum(differences) + 4 * (form.compile != best.compile)

    rigged(monkeypatch, distance)
    assert fastest_form(model, images, labels) == best
    uncompiled = fastest_form(model, images, labels, compile=False)
    assert uncompiled == replace(best, compile=False)


def test_a_model_without_segments_has_half_the_forms(monkeypatch):
    races = rigged(monkeypatch, lambda form: 2.0 - form.compile)
    model = create_model("convmixer", dim=8, depth=1, kernel_size=3)
    assert fastest_form(model, *batch()).compile
    assert not any(form.mixing == "one matrix" for race in races for form in race)


@pytest.mark.parametrize(("count", "enough"), [(70, 64), (5, 5)])
def test_some_images_are_enough_on_a_cpu(monkeypatch, count, enough):
    """A batch of any size is measured by its first 64."""
    rigged(monkeypatch, lambda form: 1.0)
    used = []
    model = create_model("convmixer", dim=2, depth=1, kernel_size=3, patch_size=4)
    model.register_forward_hook(lambda module, inputs, output: used.append(inputs[0]))
    images, labels = torch.randn(count, 3, 8, 8), torch.zeros(count, dtype=torch.long)
    fastest_form(model, images, labels, compile=False)
    assert used and all(torch.equal(batch, images[:enough]) for batch in used)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_step_that_is_measured(channels_last):
    """In training mode, in the form's layout; and it leaves no gradient behind."""
    model, (images, labels) = small("splitmixer_i", {}), batch()
    layouts = []
    model.register_forward_hook(
        lambda module, inputs, output: layouts.append(
            inputs[0].is_contiguous(memory_format=torch.channels_last)
        )
    )
    step.step_of(model, Form(channels_last=channels_last), images, labels, None)()
    assert layouts == [channels_last]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_steps_of_a_measurement_are_of_training(monkeypatch):
    rigged(monkeypatch, lambda form: 1.0)
    model, (images, labels) = small("splitmixer_i", {}).eval(), batch()
    modes = set()
    model.register_forward_hook(lambda module, inputs, output: modes.add(module.training))
    fastest_form(model, images, labels, compile=False)
    assert modes == {True}


def test_a_step_is_compiled_for_one_size(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda net, dynamic, mode: asked.append(dynamic) or net)
    in_form(small("splitmixer_i", {}), Form(compile=True))
    assert asked == [False]


def test_a_compiled_form_may_like_another_layout(monkeypatch):
    """Uncompiled, channels first is faster; compiled, channels last is the fastest of all."""
    rigged(monkeypatch, lambda form: 4.0 - 3 * form.compile + (form.channels_last != form.compile))
    best = fastest_form(small("splitmixer_i", {}), *batch())
    assert best.compile and best.channels_last


def test_what_was_compiled_for_the_measurement_does_not_count(monkeypatch):
    """Afterwards the model is compiled, though torch may compile its code only so many times."""
    compile, graphs = torch.compile, []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(step, "race", lambda steps, *_: dict.fromkeys(steps, Timing.of([1.0])))
    monkeypatch.setattr(torch, "compile", lambda net, **_: compile(net, backend=backend))
    model, (images, labels) = small("splitmixer_iii", {}), batch()
    torch.compiler.reset()
    with dynamo.config.patch(recompile_limit=1):
        fastest_form(model, images, labels)
        measured = len(graphs)
        in_form(model, Form(compile=True))(images)
    assert measured > 0 and len(graphs) == measured + 1


def test_a_measurement_leaves_no_trace():
    model, (images, labels) = small("splitmixer_i", {}), batch()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    fastest_form(model.eval(), images, labels, torch.bfloat16, compile=False)
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert all(map(torch.equal, before.values(), model.state_dict().values()))
    assert torch.equal(torch.get_rng_state(), random)


def test_without_a_compiler_uncompiled_forms_are_left(monkeypatch):
    def compile(net, **_):
        def fail(x):
            raise RuntimeError("no compiler")

        return fail

    races = rigged(monkeypatch, lambda form: 1.0)
    monkeypatch.setattr(torch, "compile", compile)
    with pytest.warns(UserWarning, match="compile=True.* cannot be run: no compiler") as warned:
        assert not fastest_form(small("splitmixer_i", {}), *batch()).compile
    assert len(warned) == 2 and len(races) == 1


def test_an_uncompiled_form_that_fails_is_not_hidden(monkeypatch):
    images, labels = batch()
    with pytest.raises(ValueError, match="must be"):
        fastest_form(small("splitmixer_i", {}), images[:, :2], labels)


# In a run


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return few_digits(train=96, test=20)


def recipe(**settings):
    options = {"dim": 8, "depth": 2, "patch_size": 2, "kernel_size": 3}
    given = {"model": "splitmixer_iii", "model_options": options, "epochs": 2, "batch_size": 32}
    return load_recipe("digits", given | settings)


def test_one_matrix_gives_the_same_curve(digits):
    plain, matrix = (train(recipe(one_matrix=one), digits, "cpu")[1] for one in (False, True))
    assert matrix.settings["one_matrix"] and not plain.settings["one_matrix"]
    for epoch, right in zip(matrix.curve, plain.curve, strict=True):
        assert epoch.train_loss == pytest.approx(right.train_loss, rel=1e-3)


def test_the_fastest_form_is_run_kept_and_recorded(digits, tmp_path, monkeypatch):
    chosen, asked = Form("one matrix", channels_last=True), []

    def choose(model, images, labels, dtype):
        asked.append((tuple(images.shape), tuple(labels.shape), dtype))
        return chosen

    monkeypatch.setattr("mixerlib.training.run.fastest_form", choose)
    expected = recipe(fastest=True, precision="bfloat16", accumulate=3)
    stops = iter([None, None, "told to"])
    with pytest.raises(Stopped):
        train(expected, digits, "cpu", folder=tmp_path, stop=lambda: next(stops))
    assert asked == [((11, 1, 8, 8), (11,), torch.bfloat16)]  # a third of a batch
    model, record = train(expected, digits, "cpu", folder=tmp_path, resume=True)
    assert len(asked) == 1  # a run goes on as it began
    settings = {name: record.settings[name] for name in SWITCHES}
    assert {name for name, on in settings.items() if on} == {"one_matrix", "channels_last"}
    assert record.settings["fastest"] is False
    again, _ = train(recipe(**settings, precision="bfloat16", accumulate=3), digits, "cpu")
    assert all(map(torch.equal, model.parameters(), again.parameters()))


def test_several_processes_do_not_choose_each_for_itself(digits):
    three = replace(ALONE, count=3)
    with pytest.raises(ValueError, match=r"`fastest`=True is for one process, not 3"):
        begin(recipe(fastest=True), digits, CPU, three)


def test_a_recipe_does_not_both_choose_and_measure():
    for name in ("one_matrix", "channels_last", "compile"):
        with pytest.raises(ValueError, match=f"`{name}`=True has no effect with `fastest`=True"):
            recipe(fastest=True, **{name: True})


def test_the_model_of_a_recipe_that_has_no_segments(digits):
    expected = recipe(model="convmixer", one_matrix=True)
    model_for(expected, digits)
    with pytest.raises(ValueError, match=r"`one_matrix: true`\) is for a SplitMixer"):
        begin(expected, digits, CPU, ALONE)
