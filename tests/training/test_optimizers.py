"""What moves the weights: Muon's step from its definition and beside torch's, and what it takes."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from mixerlib.training import checkpoint
from mixerlib.training.distributed import ALONE
from mixerlib.training.loop import training_steps
from mixerlib.training.optimizers import (
    MuonWithAdamW,
    mixing_matrices,
    optimizer_for,
    orthogonal,
)
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import begin, model_for

CPU = torch.device("cpu")
TINY = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2}


def recipe(model: str = "splitmixer_i", **settings) -> Recipe:
    defaults = {"model_options": TINY, "epochs": 2, "batch_size": 32, "optimizer": "muon"}
    return Recipe("digits", model, **(defaults | settings))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16), (3, 8, 8), (2, 5, 12, 7)])
def test_orthogonal_keeps_the_directions_and_evens_out_the_sizes(shape):
    matrices = noise(*shape).double() * 100
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    even = u.mT @ orthogonal(matrices) @ vh.mT  # in the matrix's own directions
    sizes = even.diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(even, torch.diag_embed(sizes), atol=1e-9)
    strong = s / s.square().sum(-1, keepdim=True).sqrt() > 0.01
    assert sizes[strong].min() > 0.65 and sizes.max() < 1.25


def test_orthogonal_of_nothing_is_nothing():
    assert not orthogonal(torch.zeros(2, 3, 4)).any()


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16)])
def test_steps_of_muon_are_those_of_torch(shape):
    """torch's own multiplies in bfloat16, of 8 bits: so the steps are alike to a few per cent."""
    settings = {"lr": 0.02, "weight_decay": 0.3}
    theirs, ours = (nn.Parameter(noise(*shape)) for _ in range(2))
    other = nn.Parameter(noise(4))
    published = torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **settings)
    optimizer = MuonWithAdamW([ours], [{"params": [other]}], **settings)
    for step in range(5):
        before = theirs.detach().clone(), ours.detach().clone()
        theirs.grad = noise(*shape, seed=step)
        ours.grad = theirs.grad.clone()
        published.step()
        optimizer.step()
        moved = theirs - before[0], ours - before[1]
        assert (moved[0] - moved[1]).norm() < 0.03 * moved[0].norm()
        assert torch.equal(ours.grad, theirs.grad)
    assert optimizer.state[ours]["step"] == 5
    assert not optimizer.state[other]  # it has no gradient


def test_a_closure_is_called_before_the_step():
    matrix, other = nn.Parameter(noise(4, 4)), nn.Parameter(noise(4))
    twins = [nn.Parameter(p.detach().clone()) for p in (matrix, other)]
    optimizers = [MuonWithAdamW([m], [{"params": [o]}]) for m, o in ((matrix, other), twins)]

    def loss(m: nn.Parameter, o: nn.Parameter) -> torch.Tensor:
        total = m.square().sum() + o.sum()
        total.backward()
        return total

    assert optimizers[0].step(lambda: loss(matrix, other)) > 0
    loss(*twins)
    optimizers[1].step()
    assert torch.equal(matrix, twins[0]) and torch.equal(other, twins[1])


def test_a_kernel_is_flattened_and_keeps_its_layout():
    kernel = nn.Parameter(noise(4, 6, 3, 3).to(memory_format=torch.channels_last))
    flat = nn.Parameter(kernel.detach().contiguous().flatten(1))
    kernel.grad = noise(4, 6, 3, 3, seed=1)
    flat.grad = kernel.grad.flatten(1)
    for parameter in (kernel, flat):
        MuonWithAdamW([parameter], [], lr=0.1, weight_decay=0.0).step()
    torch.testing.assert_close(kernel.flatten(1), flat, rtol=1e-5, atol=1e-6)
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_the_other_parameters_take_adamw_s_very_steps(digits):
    model = model_for(recipe(), digits)
    twin = deepcopy(model)
    alone = optimizer_for(recipe(optimizer="adamw"), twin)
    both = optimizer_for(recipe(), model)
    for step in range(3):
        for optimizer, net in ((alone, twin), (both, model)):
            optimizer.zero_grad()
            for number, p in enumerate(net.parameters()):
                p.grad = noise(*p.shape, seed=100 * step + number)
            optimizer.step()
    matrices = set(mixing_matrices(model))
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    assert all(torch.equal(p, q) == (p not in matrices) for p, q in pairs)


@pytest.mark.parametrize(
    ("name", "options", "taken"),
    [
        ("convmixer", TINY, {"blocks.0.1.weight"}),
        ("splitmixer_i", TINY, {"blocks.0.mixing.mixer.weight"}),
        (
            "mlp_mixer",
            {"dim": 8, "depth": 1, "patch_size": 2},
            {
                f"blocks.0.mlp_{half}.fc{n}.weight"
                for half in ("tokens", "channels")
                for n in (1, 2)
            },
        ),
        ("splitmixer_ii", TINY, {"blocks.0.mixing.mixer.weight"}),
        ("splitmixer_iii", TINY, {"blocks.0.mixing.mixer.weight"}),
        ("splitmixer_iv", TINY, {f"blocks.0.mixing.mixer.{n}.weight" for n in (0, 1)}),
        ("splitmixer_v", TINY, {f"blocks.0.mixing.mixer{n}.weight" for n in (1, 2)}),
        ("splitmixer_3d", TINY, {"blocks.0.mixing.mixer.weight"}),
    ],
)
def test_muon_takes_what_mixes(digits, name, options, taken):
    """No depthwise kernel, no patch embedding, no head."""
    model = model_for(recipe(name, model_options=options), digits)
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert {names[parameter] for parameter in mixing_matrices(model)} == taken


@pytest.mark.parametrize("decay", ["all", "matrices"])
def test_every_parameter_is_in_one_group(digits, decay):
    chosen = recipe(decay_on=decay, weight_decay=0.3)
    model = model_for(chosen, digits)
    groups = optimizer_for(chosen, model).param_groups
    every = [p for group in groups for p in group["params"]]
    assert len(every) == len(set(every)) == len([*model.parameters()])
    assert [group["muon"] for group in groups] == [True] + [False] * (len(groups) - 1)
    for group in groups:
        whole = decay == "all" or all(p.ndim > 1 for p in group["params"])
        assert group["weight_decay"] == (0.3 if whole else 0.0)


def test_muon_needs_something_that_mixes(digits, monkeypatch):
    with pytest.raises(ValueError, match="`optimizer`='muon' must be 'adamw' with `frozen`=True"):
        recipe(weights="w.safetensors", frozen=True)
    monkeypatch.setattr("mixerlib.training.optimizers.mixing_matrices", lambda model: [])
    message = r"`optimizer`='muon' is for a model whose .* not for `model`='splitmixer_i'"
    with pytest.raises(ValueError, match=message):
        begin(recipe(), digits, CPU, ALONE)


def test_a_hook_of_a_step_is_called_once():
    torch.optim.AdamW([nn.Parameter(noise(2))])  # from now on AdamW's own step calls hooks
    optimizer = MuonWithAdamW([nn.Parameter(noise(4, 4))], [{"params": [nn.Parameter(noise(4))]}])
    called = []
    optimizer.register_step_post_hook(lambda *arguments: called.append(1))
    optimizer.step()
    optimizer.step()
    assert called == [1, 1]


@pytest.mark.parametrize(
    ("matrix", "momentum", "message"),
    [
        (noise(4), 0.95, r"`matrices` must have two dimensions or more, not \(4,\)"),
        (noise(4, 4), 1.0, "`momentum`=1.0 must be from 0 and below 1"),
        (noise(4, 4), -0.1, "`momentum`=-0.1 must be from 0 and below 1"),
    ],
)
def test_what_is_no_matrix_and_no_average_is_refused(matrix, momentum, message):
    with pytest.raises(ValueError, match=message):
        MuonWithAdamW([nn.Parameter(matrix)], [], momentum=momentum)


@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_a_step_of_float16_that_overflows_is_left_out(digits, monkeypatch, clip_norm):
    """Muon sees gradients without the scaler's factor, and none that are not finite."""
    run = begin(recipe(precision="float16", clip_norm=clip_norm), digits, CPU, ALONE)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    before = [p.clone() for p in run.model.parameters()]
    next(training_steps(run, digits))
    assert all(torch.equal(p, q) for p, q in zip(run.model.parameters(), before, strict=True))
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    next(training_steps(run, digits))
    matrix = mixing_matrices(run.model)[0]
    mean = run.optimizer.state[matrix]["momentum_buffer"]
    torch.testing.assert_close(mean, 0.05 * matrix.grad, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda kept: kept.pop("momentum_buffer"),
            "`state.optimizer.state.0.momentum_buffer` is missing",
        ),
        (lambda kept: kept.update(more=torch.zeros(1)), "more` is not a key of a checkpoint"),
        (
            lambda kept: kept.update(momentum_buffer=torch.zeros(3)),
            r"`state.optimizer.state.0.momentum_buffer` is \(3,\)",
        ),
    ],
)
def test_a_checkpoint_with_a_wrong_buffer_is_refused(digits, tmp_path, change, message):
    run = begin(recipe(), digits, CPU, ALONE)
    next(training_steps(run, digits))
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, run.recipe, checkpoint.state_of(run))
    content = torch.load(path, weights_only=True)
    change(content["state"]["optimizer"]["state"][0])
    torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        checkpoint.continue_from(
            begin(recipe(), digits, CPU, ALONE), checkpoint.load(path, recipe()), path
        )


def test_adamw_s_checkpoint_is_none_of_muon_s(digits, tmp_path):
    run = begin(recipe(optimizer="adamw"), digits, CPU, ALONE)
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, run.recipe, checkpoint.state_of(run))
    with pytest.raises(ValueError, match="another run: `optimizer`='muon' here, 'adamw' there"):
        checkpoint.load(path, recipe())
