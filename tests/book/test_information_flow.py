"""What chapters 21 and 21b derive, on more configurations than theirs, with their own functions."""

import ast
import math
import re

import numpy as np
import pytest
import torch
from helpers import ROOT
from torch import nn
from torch.nn import functional as F

import mixerlib
from mixerlib.costs import blocks_to_span, directions

CELL = re.compile(
    r"^```\{code-cell\}[^\n]*\n(?:---\n.*?^---\n|:tags:[^\n]*\n)?\n*(.*?)^```$", re.M | re.S
)
PAGES = [*(ROOT / "notebooks").glob("21*.md")]


def functions_of_the_pages() -> dict:
    """The functions that the chapters' cells define, without what else they do."""
    names = {"torch": torch, "nn": nn, "F": F, "np": np, "math": math, "mixerlib": mixerlib}
    for path in PAGES:
        for cell in CELL.findall(path.read_text(encoding="utf-8").partition("## Exercises")[0]):
            for node in ast.parse(cell).body:
                if isinstance(node, ast.FunctionDef):
                    exec(compile(ast.Module([node], []), path.name, "exec"), names)
    return names


page = functions_of_the_pages()


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
