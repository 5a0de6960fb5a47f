"""The exercises of chapter 20."""

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, as_tensor, called, described


@exercise("filters-1")
def chance_grows_smaller() -> Numbers:
    generator = torch.Generator().manual_seed(1)
    shares, uniform, unsquared, least = {}, {}, {}, {}

    def share(kernels: torch.Tensor) -> float:
        squares = torch.linalg.svdvals(kernels).square()
        return float((squares[:, 0] / squares.sum(1)).mean())

    for k in (3, 5, 7, 9):
        kernels = torch.randn(8000, k, k, generator=generator)
        values = torch.linalg.svdvals(kernels)
        shares[f"k = {k}"] = share(kernels)
        uniform[f"k = {k}"] = share(torch.rand(8000, k, k, generator=generator) - 0.5)
        unsquared[f"k = {k}"] = float((values[:, 0] / values.sum(1)).mean())
        least[f"k = {k}"] = 1 / k
    return Numbers(
        shares,
        [
            Mistake("That is the least that the best of k pairs can hold.", least),
            Mistake("A pair's share is of the squares: of the kernel's squared length.", unsquared),
            Mistake("Those are uniform weights, as PyTorch draws them; take normal ones.", uniform),
            Mistake(
                "Give shares, numbers from 0 to 1.",
                {label: 100 * share for label, share in shares.items()},
            ),
        ],
        tolerance=0.015,
    )


def _is_pair(value: Any) -> bool:
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.shape[:1] == (2,)
    return isinstance(value, list | tuple) and len(value) == 2


@exercise("filters-2")
def two_pairs_see_a_diagonal() -> Properties:
    sign = "That is the stripe in the other direction, θi − φj."
    one = "One pair has no tilt: it takes two."
    other = "The sum of the pairs is another picture."
    form = "Return two pairs of vectors, each vector of 5 numbers, for the places −2 to 2."

    def parts(theta: float, phi: float) -> tuple[torch.Tensor, ...]:
        i = torch.arange(-2.0, 3.0, dtype=torch.float64)
        return ((theta * i).cos(), (phi * i).cos(), (theta * i).sin(), (phi * i).sin())

    def pairs(theta: float, phi: float, minus: float = -1.0) -> list[tuple]:
        c, d, s, t = parts(theta, phi)
        return [(c, d), (minus * s, t)]

    def judge(answer: Any) -> Iterator[Row]:
        draw = random.Random(0)
        for _ in range(3):
            theta, phi = draw.uniform(0.3, 1.5), draw.uniform(0.3, 1.5)
            result = called(answer, theta, phi)
            if not isinstance(result, list | tuple | torch.Tensor | np.ndarray):
                raise Refused(f"{described(result)} is no list of pairs. {form}")
            given = [*result]
            label = f"θ = {theta:.2f}, φ = {phi:.2f}"
            yield Row(f"{label}: pairs", str(len(given)), "2", len(given) == 2, one)
            if len(given) != 2:
                return
            if not all(_is_pair(pair) for pair in given):
                raise Refused(f"{described(result)} holds no pairs. {form}")
            sides = [as_tensor(side, form) for pair in given for side in pair]
            if any(side.shape != (5,) for side in sides):
                shapes = ", ".join(str(tuple(side.shape)) for side in sides)
                raise Refused(f"Your vectors have the shapes {shapes}. {form}")
            total = torch.outer(*sides[:2]) + torch.outer(*sides[2:])
            i = torch.arange(-2.0, 3.0, dtype=torch.float64)
            off = [
                float((total - (theta * i[:, None] + way * phi * i).cos()).abs().max())
                for way in (1, -1)
            ]
            yield Row(
                f"{label}: off by",
                f"{off[0]:.2g}",
                "0",
                off[0] < 1e-5,
                sign if off[1] < 1e-5 else other,
            )

    return Properties(
        form,
        judge,
        lambda: pairs,
        [
            Mistake(sign, lambda theta, phi: pairs(theta, phi, 1.0)),
            Mistake(one, lambda theta, phi: pairs(theta, phi)[:1]),
            Mistake(other, lambda theta, phi: [parts(theta, phi)[:2]] * 2),
        ],
    )


def _cka(x: torch.Tensor, y: torch.Tensor) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    return float((x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()))


@exercise("filters-3")
def what_cka_forgives() -> Numbers:
    generator = torch.Generator().manual_seed(0)
    x, matrix = (torch.randn(shape, generator=generator).double() for shape in ((60, 8), (8, 8)))
    x = x * torch.linspace(0.2, 3, 8)
    others = {
        "a rotation": x @ torch.linalg.qr(matrix).Q,
        "a matrix": x @ matrix,
        "a scaling": x / x.std(0),
    }
    forgiven = {name: math.isclose(_cka(x, y), 1, rel_tol=1e-6) for name, y in others.items()}
    return Numbers(
        forgiven,
        [
            Mistake(
                "A rotation keeps all products of images with each other.", {"a rotation": False}
            ),
            Mistake(
                "A matrix changes the distances between images, though a probe can undo it.",
                {"a matrix": True},
            ),
            Mistake(
                "Scaling channels makes small ones count as much as large ones.",
                {"a scaling": True},
            ),
        ],
    )


@exercise("filters-4")
def start_from_what_training_finds() -> Properties:
    diagonal = "That keeps the sizes of the weights alone: neighbours go together too."
    square = "That is the covariance itself; noise has to pass its root."
    turned = "Turned round: L Lᵀ must be the covariance, not Lᵀ L."
    centred = "You took the mean kernel away first: the covariance here is about zero."
    torchs = "That is `torch.cov`, about the mean and by n − 1; here it is about zero and by n."
    other = "L Lᵀ is not the covariance of the kernels, flattened, about zero."

    def root(kernels: torch.Tensor) -> torch.Tensor:
        rows = kernels.flatten(1).double()
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        return vectors * values.clamp(min=0).sqrt()

    def covariance(kernels: torch.Tensor) -> torch.Tensor:
        return root(kernels) @ root(kernels).T

    ways = [
        (diagonal, lambda kernels: covariance(kernels).diagonal().sqrt().diag()),
        (square, covariance),
        (turned, lambda kernels: torch.linalg.cholesky(covariance(kernels)).T),
        (centred, lambda kernels: root(kernels - kernels.mean(0))),
        (torchs, lambda kernels: torch.linalg.cholesky(kernels.flatten(1).T.cov())),
    ]

    def judge(answer: Any) -> Iterator[Row]:
        generator = torch.Generator().manual_seed(0)
        for count, k in ((80, 3), (200, 5)):
            smooth = torch.randn(count, k + 1, k + 1, generator=generator, dtype=torch.float64)
            kernels = smooth[:, 1:, 1:] + smooth[:, :-1, :-1] + smooth[:, 1:, :-1]
            rule = f"Return L, a matrix with k² = {k * k} rows."
            L = as_tensor(called(answer, kernels), rule)
            if L.ndim != 2 or L.shape[0] != k * k:
                raise Refused(f"Yours has the shape {tuple(L.shape)}. {rule}")
            off = float((L @ L.T - covariance(kernels)).abs().max())
            known = [
                text
                for text, way in ways
                if L.shape == (k * k, k * k)
                and torch.allclose(L @ L.T, way(kernels) @ way(kernels).T, atol=1e-6)
            ]
            yield Row(
                f"{count} kernels {k}×{k}: L Lᵀ off by",
                f"{off:.2g}",
                "0",
                off < 1e-5,
                known[0] if known else other,
            )

    return Properties(
        "Return L, (k², k²), with L Lᵀ the covariance of the kernels' weights about zero.",
        judge,
        lambda: root,
        [Mistake(text, way) for text, way in ways]
        + [Mistake(other, lambda kernels: torch.eye(kernels[0].numel()).double())],
    )
