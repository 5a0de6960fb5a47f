"""How wide the effective receptive field of an untrained network is: chapter 21b's formula.

Asked where its assumptions hold: fresh weights, norms that have measured their maps, maps as wide
as the field, and four blocks or more, since near the output the branch carries more than its share.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mixerlib.models import create_model


def growth(slope, act, variance: float = 1 / 3) -> float:
    """γ by Gauss and Hermite's rule: v E g'(z)² / Var g(z) for normal z of variance v."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    z, p = nodes * math.sqrt(variance), weights / weights.sum()
    return variance * (p @ slope(z) ** 2) / (p @ act(z) ** 2 - (p @ act(z)) ** 2)


def gelu_growth() -> float:
    cdf = np.vectorize(lambda z: (1 + math.erf(z / math.sqrt(2))) / 2)
    density = lambda z: np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    return growth(lambda z: cdf(z) + z * density(z), lambda z: z * cdf(z))


def test_the_growth_is_at_least_one_and_one_for_a_line():
    assert growth(np.ones_like, lambda z: z) == pytest.approx(1)
    assert growth(lambda z: 3 * z**2, lambda z: z**3) > 1
    assert gelu_growth() == pytest.approx(1.207, abs=1e-3)


def measured_field(name: str, kernel_size: int, depth: int, seeds: int = 2) -> float:
    """σ along a side, of the squared gradients by place, over random mixtures of the channels."""
    variance, size = 0.0, 1 + depth * (kernel_size - 1)
    places = torch.arange(size) - size // 2
    for seed in range(seeds):
        torch.manual_seed(seed)
        options = {"dim": 48, "depth": depth, "kernel_size": kernel_size, "patch_size": 1}
        model = create_model(name, **options)
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 1.0
        z = torch.randn(6, 48, size, size)
        with torch.no_grad():
            model.blocks(z)
        z.requires_grad_(True)
        middle = model.eval().blocks(z)[:, :, size // 2, size // 2]
        energy = torch.zeros(size, size)
        for _ in range(3):
            mixture = (middle * torch.randn(48)).sum()
            (gradient,) = torch.autograd.grad(mixture, z, retain_graph=True)
            energy += gradient.square().sum(dim=(0, 1))
        along = (energy.sum(0) + energy.sum(1)) / (2 * energy.sum())
        variance += float((along * places**2).sum()) / seeds
    return math.sqrt(variance)


@pytest.mark.parametrize("depth", [4, 8])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize(("name", "activations"), [("convmixer", 1), ("splitmixer_i", 2)])
def test_the_formula_is_within_a_tenth(name, activations, kernel_size, depth):
    gain = gelu_growth() ** activations
    formula = math.sqrt(depth * gain / (1 + gain) * (kernel_size**2 - 1) / 12)
    assert measured_field(name, kernel_size, depth) == pytest.approx(formula, rel=0.1)


def test_the_field_grows_with_the_root_of_the_depth():
    """And not with the depth, as the receptive field does."""
    widths = [measured_field("convmixer", 3, depth) for depth in (2, 8)]
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.1)
