"""The exercises of chapter 05."""

import random
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers


def _unit(k: int) -> torch.Tensor:
    """The kernel (k, k) that gives a map back as it is."""
    delta = torch.zeros(k, k, dtype=torch.float64)
    delta[(k - 1) // 2, (k - 1) // 2] = 1
    return delta


@exercise("spatial-1")
def the_rank_of_a_sum() -> Function:
    def found(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """The kernel of residual and pair, read off from what they make of a single 1."""
        k = len(u)
        before, after = (k - 1) // 2, k // 2  # the padding "same", which warns of an even k
        x = torch.zeros(1, 1, 2 * k - 1, 2 * k - 1, dtype=torch.float64)
        x[..., k - 1, k - 1] = 1
        rows = F.conv2d(F.pad(x, (before, after)), v[None, None, None, :])
        y = x + F.conv2d(F.pad(rows, (0, 0, before, after)), u[None, None, :, None])
        return y[0, 0, before : before + k, before : before + k].flip(0, 1)

    def cases(draw: random.Random) -> Iterator[tuple]:
        generator = torch.Generator().manual_seed(draw.randrange(100))
        for k in (3, 4, 5, 7):
            yield tuple(torch.randn(2, k, generator=generator, dtype=torch.float64))

    return Function(
        "Return the kernel (k, k) of the residual and the pair together.",
        found,
        cases,
        [
            Mistake("That is the pair alone: the residual adds x.", torch.outer),
            Mistake(
                "Rows and columns are exchanged: u goes down the columns.",
                lambda u, v: _unit(len(u)) + torch.outer(v, u),
            ),
            Mistake(
                "A diagonal of ones is no identity here: a kernel that changes nothing has a "
                "single 1.",
                lambda u, v: torch.eye(len(u), dtype=u.dtype) + torch.outer(u, v),
            ),
            Mistake(
                "The residual goes round both kernels at once, not round each of them.",
                lambda u, v: torch.outer(
                    u + _unit(len(u)).sum(dim=1), v + _unit(len(v)).sum(dim=1)
                ),
            ),
        ],
    )


@exercise("spatial-2")
def more_than_one_pair() -> Function:
    def applied(x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, kernels[:, None], padding="same", groups=len(kernels))

    def projected(kernels: torch.Tensor, rank: int) -> torch.Tensor:
        """The best kernels of this rank: projected to the leading eigenvectors of K Kᵀ."""
        basis = torch.linalg.eigh(kernels @ kernels.mT).eigenvectors[..., -rank:]
        return basis @ basis.mT @ kernels

    def flat(kernels: torch.Tensor, rank: int) -> torch.Tensor:
        u, _, v = torch.linalg.svd(kernels)
        return u[..., :rank] @ v[..., :rank, :]

    def cases(draw: random.Random) -> Iterator[tuple]:
        generator = torch.Generator().manual_seed(draw.randrange(100))
        for h, k, rank in ((3, 3, 2), (2, 5, 2), (4, 5, 3), (1, 7, 4)):
            x = torch.randn(2, h, 8, 9, generator=generator, dtype=torch.float64)
            yield x, torch.randn(h, k, k, generator=generator, dtype=torch.float64), rank

    return Function(
        "Return the map, (B, h, H, W), that the best `rank` pairs of each kernel make of x.",
        lambda x, kernels, rank: applied(x, projected(kernels, rank)),
        cases,
        [
            Mistake(
                "That is the whole kernel; it may have `rank` pairs only.",
                lambda x, kernels, rank: applied(x, kernels),
            ),
            Mistake(
                "That is one pair a channel; add up `rank` of them.",
                lambda x, kernels, rank: applied(x, projected(kernels, 1)),
            ),
            Mistake(
                "The singular values are missing.",
                lambda x, kernels, rank: applied(x, flat(kernels, rank)),
            ),
            Mistake(
                "Rows and columns are exchanged.",
                lambda x, kernels, rank: applied(x, projected(kernels, rank).mT),
            ),
        ],
        tolerance=1e-9,
    )


@exercise("spatial-3")
def large_random_kernels() -> Function:
    def share(k: int) -> float:
        weights = 1.0  # the variance of each
        return (2 * (weights * k) ** 0.5) ** 2 / (k * k * weights)

    return Function(
        "Give the share of a large random kernel that one pair keeps, a formula of k.",
        share,
        lambda draw: ((k,) for k in (5, 9, 31, 63, draw.randint(64, 500))),
        [
            Mistake("A share is of squares: square σ₁ too.", lambda k: 2 * k**0.5 / k**2),
            Mistake("The share is of ‖K‖², and not of ‖K‖.", lambda k: 2 / k**0.5),
            Mistake("Square the factor 2 as well.", lambda k: 2 / k),
            Mistake("That is what is lost.", lambda k: 1 - 4 / k),
            Mistake("A kernel has k² weights, and not k.", lambda k: 4),
        ],
        symbols=("k",),
    )


@exercise("spatial-4")
def one_kernel_used_twice() -> Numbers:
    h, k = 256, 5
    blur, edge = torch.tensor([1.0, 4, 6, 4, 1]), torch.tensor([-1.0, -2, 0, 2, 1])
    kernels = {
        "blur": torch.outer(blur, blur),
        "upright edge": torch.outer(blur, edge),
        "cross": torch.maximum(torch.eye(5)[2], torch.eye(5)[:, 2:3]),
        "diagonal line": torch.eye(5),
    }

    def fits(kernel: torch.Tensor) -> bool:
        """Whether it is v vᵀ for the v that its row with the largest diagonal entry gives."""
        middle = int(kernel.diagonal().argmax())
        if kernel[middle, middle] <= 0:
            return False
        row = kernel[middle] / kernel[middle, middle].sqrt()
        return torch.allclose(torch.outer(row, row), kernel)

    formed: dict[str, bool] = {name: fits(kernel) for name, kernel in kernels.items()}
    return Numbers(
        {"parameters": h * k, **formed},
        [
            Mistake(
                "That is the pair's. Here both kernels are one row.", {"parameters": 2 * h * k}
            ),
            Mistake("That is the square kernel's.", {"parameters": h * k * k}),
            Mistake("Each channel has a row of its own.", {"parameters": k}),
            Mistake(
                "Its rows are multiples of one another, and it is its own transpose.",
                {"blur": not formed["blur"]},
            ),
            Mistake(
                "That kernel is not its own transpose.",
                {"upright edge": not formed["upright edge"]},
            ),
            Mistake("That kernel has rank two.", {"cross": not formed["cross"]}),
            Mistake(
                "That kernel has full rank: no two of its rows are alike.",
                {"diagonal line": not formed["diagonal line"]},
            ),
        ],
    )
