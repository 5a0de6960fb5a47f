"""The exercises of chapters 19 and 19b."""

import random
import statistics
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers


@exercise("fast-1")
def recompute() -> Numbers:
    gamma, beta, mean, variance = 0.5, 3.0, 1.0, 4.0  # as the exercise gives them
    a = gamma / variance**0.5
    b = beta - a * mean
    shifted = F.conv2d(torch.full((1, 1, 4, 5), b), torch.ones(1, 1, 3, 3), padding=1)[0, 0]
    places = {"corner": shifted[0, 0], "edge": shifted[0, 2], "inside": shifted[1, 2]}
    numbers = {name: float(value) for name, value in places.items()}
    return Numbers(
        {"a": a, "b": b, **numbers},
        [
            Mistake("Divide by the root of the variance.", {"a": gamma / variance}),
            Mistake("The mean and the variance play a part too: a = γ/√v.", {"a": gamma}),
            Mistake("The mean is taken away before the scale: b = β − aμ.", {"b": beta + a * mean}),
            Mistake("The mean is scaled by a before it is taken away.", {"b": beta - mean}),
            Mistake(
                "In a corner five of the nine weights lie outside the map.",
                {"corner": numbers["inside"]},
            ),
            Mistake(
                "On an edge three of the nine weights lie outside the map.",
                {"edge": numbers["inside"]},
            ),
            Mistake("All nine weights lie on the map, each times b.", {"inside": b}),
        ],
    )


@exercise("fast-2")
def another_padding() -> Function:
    def padding(a: float, b: float) -> float:
        """The root of a·x + b, by one step of Newton from anywhere."""
        x = 7.0
        return x - (a * x + b) / a

    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(6):
            yield draw.choice([-1, 1]) * draw.uniform(0.2, 3), draw.uniform(-2, 2)

    return Function(
        "Give the number that stands around z, as a formula of a and b.",
        padding,
        cases,
        [
            Mistake("The norm makes 2b of that. It must come to 0.", lambda a, b: b / a),
            Mistake("The norm scales the padding too.", lambda a, b: -b),
            Mistake("Upside down: solve a·x + b = 0 for x.", lambda a, b: -a / b),
            Mistake(
                "Zeros become b behind the norm, and the convolution has to see zeros.",
                lambda a, b: 0.0,
            ),
        ],
        symbols=("a", "b"),
    )


Pair = tuple[torch.Tensor, torch.Tensor]


@exercise("fast-3")
def two_passes_fewer() -> Function:
    def merged(W: torch.Tensor, w: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> Pair:
        """Asked of the map itself: its constant, and what each channel adds to it."""

        def whole(z: torch.Tensor) -> torch.Tensor:
            return W @ (scale * z + shift) + w

        constant = whole(torch.zeros_like(scale))
        columns = [whole(unit) - constant for unit in torch.eye(len(scale), dtype=W.dtype)]
        return torch.stack(columns, dim=1), constant

    def cases(draw: random.Random) -> Iterator[tuple]:
        generator = torch.Generator().manual_seed(draw.randrange(100))
        for h in (3, 5, 8):
            yield tuple(
                torch.randn(shape, generator=generator, dtype=torch.float64)
                for shape in ((h, h), (h,), (h,), (h,))
            )

    return Function(
        "Return the matrix and the bias that do all of W(scale ⊙ z + shift) + w.",
        merged,
        cases,
        [
            Mistake(
                "The scale is on the input side: it scales the columns of W, not its rows.",
                lambda W, w, scale, shift: (scale[:, None] * W, W @ shift + w),
            ),
            Mistake(
                "The shift goes through W as well.",
                lambda W, w, scale, shift: (W * scale, shift + w),
            ),
            Mistake(
                "The shift is added after the scale, so it is not scaled.",
                lambda W, w, scale, shift: (W * scale, W @ (scale * shift) + w),
            ),
            Mistake(
                "The bias that was there is lost.",
                lambda W, w, scale, shift: (W * scale, W @ shift),
            ),
            Mistake(
                "W has its scale still to come.", lambda W, w, scale, shift: (W, W @ shift + w)
            ),
        ],
    )


@exercise("fast-4")
def an_order_that_folds() -> Function:
    def folded(K: torch.Tensor, w: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> Pair:
        """Channel by channel: what the norm makes of a kernel's every weight, and of nothing."""
        kernels = torch.empty_like(K)
        for c in range(len(K)):
            kernels[c] = a[c] * (K[c] + w[c]) + b[c] - (a[c] * w[c] + b[c])
        return kernels, torch.addcmul(b, a, w)

    def cases(draw: random.Random) -> Iterator[tuple]:
        generator = torch.Generator().manual_seed(draw.randrange(100))
        for h, k in ((3, 3), (8, 5), (4, 7)):
            yield tuple(
                torch.randn(shape, generator=generator, dtype=torch.float64)
                for shape in ((h, 1, k, k), (h,), (h,), (h,))
            )

    def scaled(K: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return K * a[:, None, None, None]

    def with_bias(bias: Callable) -> Callable:
        return lambda K, w, a, b: (scaled(K, a), bias(K, w, a, b))

    return Function(
        "Return the kernels and the bias of the one convolution.",
        folded,
        cases,
        [
            Mistake(
                "The norm scales the convolution's bias as well.",
                with_bias(lambda K, w, a, b: w + b),
            ),
            Mistake(
                "That is the bias of a norm in front of the convolution.",
                with_bias(lambda K, w, a, b: w + b * K.sum((1, 2, 3))),
            ),
            Mistake(
                "The shift comes after the scale, and is not scaled.",
                with_bias(lambda K, w, a, b: a * (w + b)),
            ),
            Mistake("The convolution had a bias of its own.", with_bias(lambda K, w, a, b: b)),
            Mistake("The kernels must be scaled too.", lambda K, w, a, b: (K, a * w + b)),
        ],
    )


@exercise("clock-1")
def what_is_the_compilers() -> Function:
    def gains(plain: list, best: list, fast: list) -> tuple[float, ...]:
        pairs = (plain, best), (best, fast), (plain, fast)
        ratios = (sorted(a / b for a, b in zip(*pair, strict=True)) for pair in pairs)
        return tuple(statistics.median(ratio) for ratio in ratios)

    def cases(draw: random.Random) -> Iterator[tuple]:
        for rounds in (5, 7, 9, 5):
            noise = [draw.uniform(0.8, 1.6) for _ in range(rounds)]
            yield tuple(
                [level * shared * draw.uniform(0.9, 1.1) for shared in noise]
                for level in (6.0, 3.5, 2.5)
            )

    def of_medians(plain: list, best: list, fast: list) -> tuple[float, ...]:
        a, b, c = map(statistics.median, (plain, best, fast))
        return a / b, b / c, a / c

    def multiplied(plain: list, best: list, fast: list) -> tuple[float, ...]:
        stock, beyond, _ = gains(plain, best, fast)
        return stock, beyond, stock * beyond

    return Function(
        "Return the gain of stock PyTorch, the gain beyond it, and both together as measured.",
        gains,
        cases,
        [
            Mistake(
                "Divide round by round, and then take the median: a round shares its noise.",
                of_medians,
            ),
            Mistake("The whole is measured too; a product of medians need not be it.", multiplied),
            Mistake(
                "Upside down: the longer time is above.",
                lambda *times: tuple(1 / gain for gain in gains(*times)),
            ),
            Mistake(
                "Beyond stock PyTorch: compare fast with best, not with plain.",
                lambda *times: tuple(gains(*times)[place] for place in (0, 2, 2)),
            ),
        ],
    )
