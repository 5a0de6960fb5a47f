"""What chapters 21 and 21b derive, on more configurations than theirs, with their own functions."""

import math

import numpy as np
import pytest
import torch
from helpers import ROOT, few_digits, functions_of
from torch import nn
from torch.nn import functional as F

import mixerlib
from mixerlib.costs import blocks_to_span, directions
from mixerlib.data import load_dataset

page = functions_of(sorted((ROOT / "notebooks").glob("21*.md")))


# The effective field


@pytest.mark.parametrize("variance", [0.1, 1 / 3, 1.0, 3.0])
def test_gamma_is_its_integral(variance):
    """By Gauss and Hermite's rule for GELU, in closed form for ReLU and what is linear."""
    places, weights = np.polynomial.hermite_e.hermegauss(90)
    z = (torch.from_numpy(places) * math.sqrt(variance)).requires_grad_()
    y, weights = F.gelu(z), torch.from_numpy(weights / weights.sum())
    (slope,) = torch.autograd.grad(y.sum(), z)
    y = y.detach()
    spread = float((weights * y**2).sum() - (weights * y).sum() ** 2)
    expected = variance * float((weights * slope**2).sum()) / spread
    assert page["gamma"](F.gelu, variance) == pytest.approx(expected, rel=1e-5)
    assert page["gamma"](F.relu, variance) == pytest.approx(math.pi / (math.pi - 1), rel=1e-4)
    assert page["gamma"](lambda z: 2 - 3 * z, variance) == pytest.approx(1)


@pytest.mark.parametrize("family", ["convmixer", "splitmixer_i"])
@pytest.mark.parametrize(
    ("kernel", "depth", "act"),
    [
        (3, 2, "gelu"),
        (3, 8, "gelu"),
        (5, 2, "relu"),
        (5, 6, "gelu"),
        (7, 3, "gelu"),
        (9, 2, "gelu"),
    ],
)
def test_the_width_of_the_field_is_within_a_tenth_of_the_formula(family, kernel, depth, act):
    options = {"kernel_size": kernel, "depth": depth, "activation": act}
    measured = page["field"](page["energy"](*page["fresh"](family, **options)))
    activations = 1 if family == "convmixer" else 2
    expected = page["predicted_field"](depth, kernel, getattr(F, act), activations)
    assert measured == pytest.approx(expected, rel=0.1)
    # if all of the energy took the branch it would be wider
    assert measured < 0.93 * math.sqrt(depth * (kernel**2 - 1) / 12)


def test_half_of_the_energy_each_way_is_the_formula_without_gamma():
    for depth, kernel in ((4, 3), (8, 5), (32, 9)):
        half = math.sqrt(depth * (kernel**2 - 1) / 24)
        linear = page["predicted_field"](depth, kernel, lambda z: z)
        assert linear == pytest.approx(half)
        square, pair = (page["predicted_field"](depth, kernel, F.gelu, n) for n in (1, 2))
        assert half < square < pair < 1.1 * half


def test_the_width_of_known_densities():
    """Of one place, of a uniform square, and of two places on one side's ends."""
    density = torch.zeros(9, 9)
    density[4, 4] = 1
    assert page["field"](density) == 0
    density = torch.zeros(9, 9)
    density[2:7, 2:7] = 1 / 25
    assert page["field"](density) == pytest.approx(math.sqrt((5**2 - 1) / 12))
    density = torch.zeros(9, 9)
    density[4, 1] = density[4, 7] = 0.5
    assert page["field"](density) == pytest.approx(3 / math.sqrt(2))


# The gradient flow


def growths(residual: bool, depth: int, dim: int) -> tuple[float, float]:
    """The mean growth of the gradient's energy a block, measured and by eq-flow-growth."""
    energies = page["gradient_energies"](depth, residual, dim)
    gamma = page["gamma"]
    estimate = (
        gamma(F.gelu, 2 / 3) * (1 + gamma(F.gelu, 1 / 3)) / 2
        if residual
        else gamma(F.gelu, 1 / 3) ** 2
    )
    return float((energies[0] / energies[-1]) ** (1 / depth)), estimate


@pytest.mark.parametrize(("depth", "dim"), [(8, 64), (12, 32), (16, 64)])
def test_the_gradient_grows_by_the_estimate(depth, dim):
    """Within a tenth a block, and faster without the residual; an identity would keep it."""
    kept, estimated = growths(True, depth, dim)
    without, estimated_without = growths(False, depth, dim)
    assert kept == pytest.approx(estimated, rel=0.1)
    assert without == pytest.approx(estimated_without, rel=0.1)
    assert without > kept > 1.2 and estimated_without > estimated > 1.2


def test_the_first_kernel_s_gradient_is_longer_than_the_last_s_by_the_root_of_the_growth():
    """On a real task: over d − 1 blocks the norm grows by their energies' growth to (d − 1)/2."""
    digits = load_dataset("digits")
    page["images"], page["labels"] = digits.normalize(digits.train_images), digits.train_labels
    for residual in (True, False):
        _, estimate = growths(residual, 2, 8)
        found = np.array([page["at_the_start"](8, residual, seed) for seed in range(4)])
        ratio = math.exp(np.log(found[:, 0]).mean())
        assert (ratio**2) ** (1 / 7) == pytest.approx(estimate, rel=0.2)
        assert (found[:, 1] > 0).all() and (found[:, 2] > 0.5).all()  # more than half in one half
        assert (found[:, 2] < 1).all()


def test_treatments_share_weights_and_images_and_only_theirs_differs():
    """Every treatment begins alike. Under SGD balance, clipping, a slow start and no residual each
    change what is learned; under AdamW a factor of a block cancels."""
    digits = load_dataset("digits")
    page["images"], page["labels"] = digits.normalize(digits.train_images), digits.train_labels
    treated, seeds, steps = page["TREATED"], 2, 6
    for optimizer in (torch.optim.SGD, torch.optim.AdamW):
        losses = page["starts"](seeds, steps, 4, 0.01, optimizer)[:, 0]
        assert losses.shape == (steps, len(treated), seeds)
        assert np.allclose(losses[0, :-1], losses[0, :1])  # but without the residual
        assert not np.allclose(losses[0, -1], losses[0, 0])
        apart = np.abs(losses[1, 1:] - losses[1, 0]).mean(1)
        if optimizer is torch.optim.SGD:
            assert (apart > 1e-5).all()
        else:  # Adam's first step is one of signs
            assert apart[0] < 1e-3 < apart[2]


# The law of the overlap, by its proof


@pytest.mark.parametrize(
    ("h", "m"), [(h, m) for h in range(3, 13) for m in range(h // 2 + 1, h)] + [(30, 17)]
)
def test_any_matrix_is_taken_apart_as_the_proof_says(h, m):
    torch.manual_seed(h * 100 + m)
    matrix = torch.randn(h, h, dtype=torch.float64)
    blocks = blocks_to_span(h, m)
    factors = page["taken_apart"](matrix, m, (blocks - 1) // 2)
    assert len(factors) == blocks
    product = torch.eye(h, dtype=torch.float64)
    for number, factor in enumerate(factors):
        place = slice(0, m) if number % 2 == 0 else slice(h - m, h)
        outside = factor.clone()
        outside[place, place] = torch.eye(m, dtype=torch.float64)
        assert torch.allclose(outside, torch.eye(h, dtype=torch.float64), atol=1e-6)
        product = product @ factor
    assert torch.allclose(product, matrix, atol=1e-5 * float(matrix.abs().max()))
    assert directions(h, m, blocks) == h * h


# Between segments


@pytest.mark.parametrize(
    ("family", "options", "deaf"),
    [
        ("splitmixer_ii", {"segments": 2}, True),
        ("splitmixer_iii", {"segments": 2}, True),
        ("splitmixer_iv", {"segments": 2}, True),
        ("splitmixer_3d", {"segments": 2}, False),
        ("splitmixer_v", {"ratio": "2/3"}, False),
    ],
)
def test_the_shares_between_halves_are_those_of_the_jacobian(family, options, deaf):
    torch.manual_seed(0)
    model = mixerlib.create_model(family, dim=6, depth=2, kernel_size=3, **options).eval()
    images = torch.randn(2, 3, 8, 8)
    shares = page["between"](model, images, parts=2)
    z = model.stem(images)
    whole = torch.autograd.functional.jacobian(lambda z: model.blocks(z).mean((2, 3)).sum(0), z)
    heard = whole.square().sum((1, 3, 4)).reshape(2, 3, 2, 3).sum((1, 3))
    expected = (heard / heard.sum(1, keepdim=True)).numpy()
    assert shares == pytest.approx(expected, rel=1e-4)
    assert (shares[0, 1] == shares[1, 0] == 0) == deaf


def test_accuracy_with_parts_silenced_is_that_of_a_head_without_them():
    """A silenced part gives its mean, so the head's sums keep their level, but tells nothing."""
    digits = few_digits()
    torch.manual_seed(0)
    sizes = {"dim": 6, "depth": 1, "kernel_size": 3, "patch_size": 2, "in_channels": 1}
    model = mixerlib.create_model("convmixer", **sizes, num_classes=10).eval()
    means, labels = page["last_means"](model, digits)
    images = digits.normalize(digits.test_images)
    with torch.no_grad():
        assert torch.allclose(means, model.forward_features(images).mean(dim=(2, 3)))
        right = float((model(images).argmax(1) == digits.test_labels).double().mean())
        assert page["accuracy_with"](model, means, labels, (0, 1, 2)) == right
        # what only the first third tells is there without the others, and gone without it
        model.head.weight[:, 2:] = 0
        model.head.weight[:, :2] *= 100  # so that the answers differ
        right = float((model(images).argmax(1) == digits.test_labels).double().mean())
        one_answer = model.head(means.mean(0)).argmax()
    assert page["accuracy_with"](model, means, labels, (0,)) == right
    silent = page["accuracy_with"](model, means, labels, (1, 2))
    assert silent == float((labels == one_answer).double().mean()) != right


# What training changes in a field


@pytest.mark.parametrize("family", ["convmixer", "splitmixer_i"])
@pytest.mark.parametrize("kernel", [3, 5, 8])
def test_the_step_of_constant_kernels_is_that_of_a_uniform_choice(family, kernel):
    model = mixerlib.create_model(family, dim=4, depth=1, kernel_size=kernel)
    for kernels in model.parameters():
        kernels.data.fill_(-0.3)
    (block,) = model.blocks
    expected = (kernel**2 - 1) / 12 + (0.25 if kernel % 2 == 0 else 0)  # k/2 is half a place off
    assert page["step_variance"](block) == pytest.approx(expected, rel=1e-5)


def test_the_share_of_a_branch_is_that_of_the_energy_it_carries():
    """Branches that multiply by 0, 1 and 2 carry 0, 1/2 and 4/5."""
    model = mixerlib.create_model("convmixer", dim=4, depth=3, kernel_size=3).eval()
    for block, factor in zip(model.blocks, (0, 1, 2), strict=True):
        block[0].fn = nn.Conv2d(4, 4, 1, groups=4, bias=False)
        nn.init.constant_(block[0].fn.weight, factor)
    shares = page["branch_shares"](model, torch.randn(2, 4, 5, 5))
    assert shares == pytest.approx([0, 1 / 2, 4 / 5])


def test_chapter_3_measures_its_norms_before_it_measures_the_field():
    """With a fresh norm the branch is too faint, and the field is 0.4 of what it is."""
    (path,) = (ROOT / "notebooks").glob("03-*.md")
    expected = page["predicted_field"](4, 5)
    for source, ratio in ((None, 1), ("norm.momentum = 1.0", 0.4)):
        density = functions_of([path], without=source)["footprint"](5, 4).float()
        assert page["field"](density / density.sum()) == pytest.approx(ratio * expected, rel=0.25)


# Where the ideas come from

CITED = {
    "05": (
        "szegedy2016rethinking",
        "jin2015flattened",
        "chollet2017xception",
        "howard2017mobilenets",
    ),
    "02": ("touvron2021resmlp", "liu2021gmlp"),
    "11": ("krizhevsky2012alexnet", "xie2017resnext", "zhang2017interleaved"),
    "10": ("zhang2018shufflenet",),
    "20": ("ding2022replknet",),
    "21b": ("luo2016effective",),
}


@pytest.mark.prose
@pytest.mark.parametrize("start", CITED)
def test_the_ideas_are_cited_where_a_reader_needs_them(start):
    (file,) = (ROOT / "notebooks").glob(f"{start}-*.md")
    text = file.read_text(encoding="utf-8")
    known = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    for key in CITED[start]:
        assert f"{{cite}}`{key}`" in text or f",{key}" in text, key
        assert f"{{{key}," in known, key
