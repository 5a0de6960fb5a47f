"""The exercises of chapter 21b."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Mistake, Numbers


def _growth(act: Callable, variance: float) -> float:
    """γ of an activation, by the Gauss–Hermite rule."""
    places, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = torch.from_numpy(weights / weights.sum())
    z = (torch.from_numpy(places) * variance**0.5).requires_grad_()
    y = act(z)
    (slope,) = torch.autograd.grad(y.sum(), z)
    y = y.detach()
    spread = (weights * y**2).sum() - (weights * y).sum() ** 2
    return float(variance * (weights * slope**2).sum() / spread)


@exercise("field-1")
def how_deep_for_the_whole_picture() -> Numbers:
    k, side = 5, 16
    gamma = _growth(F.gelu, 1 / 3)

    def used(branch: float) -> int:
        """The first depth whose 2σ is half the side, with this share of the energy in f."""
        return math.ceil((side / 4) ** 2 * 12 / ((k * k - 1) * branch) - 1e-9)

    share = gamma / (1 + gamma)
    seen = next(d for d in range(1, 99) if 1 + d * (k - 1) >= side + 1)
    return Numbers(
        {"seen": seen, "used": used(share)},
        [
            Mistake(
                "Each block adds k − 1 places to the field, half of them on each side.",
                {"seen": math.ceil(side / (k // 2))},
            ),
            Mistake(
                "A block widens the field by k − 1, and not by k.",
                {"seen": math.ceil(side / k) - 1},
            ),
            Mistake(
                "Nearly: an activation gives the branch a little more than half of the energy.",
                {"used": used(0.5)},
            ),
            Mistake("That leaves out the way round the block.", {"used": used(1)}),
            Mistake(
                "From the centre to the border it is half the side.", {"used": used(share / 4)}
            ),
        ],
    )


def _relu_gamma(variance: float) -> float:
    """γ of ReLU for a normal input of this variance, summed over a fine grid."""
    z = np.linspace(-9, 9, 90_001) * math.sqrt(variance)
    weights = np.exp(-(z**2) / (2 * variance))
    weights /= weights.sum()
    value, slope = np.maximum(z, 0), z > 0
    return float(variance * (weights @ slope) / (weights @ value**2 - (weights @ value) ** 2))


@exercise("field-2")
def a_gradient_that_does_not_grow() -> Numbers:
    relu = 0.5 / (0.5 - 1 / (2 * math.pi))  # E g'² over the variance of max(0, z)
    depends = not math.isclose(_relu_gamma(1), _relu_gamma(2), rel_tol=1e-3)
    return Numbers(
        {
            "a line": 1.0,
            "ReLU": relu,
            "ReLU depends on the variance": depends,
            "grows faster": "relu" if relu > _growth(F.gelu, 1 / 3) else "gelu",
        },
        [
            Mistake("The variance of ReLU is E g² less the square of its mean.", {"ReLU": 1.0}),
            Mistake("That is the inverse.", {"ReLU": 1 / relu}),
            Mistake(
                "That has the mean of ReLU where its square belongs.",
                {"ReLU": 0.5 / (0.5 - 1 / math.sqrt(2 * math.pi))},
            ),
            Mistake(
                "All terms beyond the first vanish: numerator and denominator agree.",
                {"a line": 0.5},
            ),
            Mistake(
                "ReLU has no scale: g(tz) = t g(z) for t > 0.",
                {"ReLU depends on the variance": True},
            ),
            Mistake(
                "GELU is nearly linear at the variances of a network, so its γ is nearer to 1.",
                {"grows faster": "gelu"},
            ),
        ],
    )
