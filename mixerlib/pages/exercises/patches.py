"""The exercises of chapter 01."""

import random
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib import costs
from mixerlib.models import model_entry
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers


@exercise("01-1")
def count_before_you_run() -> Numbers:
    size, options = 224, dict(model_entry("convmixer_768_32").defaults)
    counts = costs.formulas("convmixer").counts(options, size)
    tokens = (size // options["patch_size"]) ** 2
    params, macs = counts.params["stem"], counts.macs["stem"]
    share = macs / counts.total("macs")
    weights = params - options["dim"]
    return Numbers(
        {
            "tokens": tokens,
            "parameters": params,
            "MACs": macs,
            "share": share,
            "new patch": 2 * options["patch_size"],
            "new parameters": 4 * weights + options["dim"],
            "new MACs": 4 * macs,
        },
        [
            Mistake("The tokens are a grid: square the side.", {"tokens": int(tokens**0.5)}),
            Mistake("The embedding has a bias for each of its h outputs.", {"parameters": weights}),
            Mistake("That counts FLOPs: a MAC is two of them.", {"MACs": 2 * macs}),
            Mistake("That is the MACs of one token; there are T of them.", {"MACs": weights}),
            Mistake("Give the share as a number from 0 to 1.", {"share": 100 * share}),
            Mistake(
                "That p divides the side by four: T falls with the square of p.",
                {"new patch": 4 * options["patch_size"]},
            ),
            Mistake(
                "With the same patch there are four times the tokens, in every block.",
                {"new patch": options["patch_size"]},
            ),
            Mistake("The biases do not grow with the patch.", {"new parameters": 4 * params}),
            Mistake(
                "A weight's patch has p² places: doubling p gives four times as many weights.",
                {"new parameters": 2 * weights + options["dim"]},
            ),
            Mistake(
                "There are four times the pixels, and each is multiplied h times.",
                {"new MACs": macs},
            ),
        ],
    )


@exercise("01-2")
def shuffle_the_pixels() -> Function:
    def cases(draw: random.Random) -> Iterator[tuple]:
        generator = torch.Generator().manual_seed(draw.randrange(100))
        for width, channels, p in ((5, 3, 2), (2, 1, 4), (8, 3, 7)):
            weight = torch.randn(width, channels, p, p, generator=generator)
            yield weight, torch.randperm(channels * p * p, generator=generator)

    def undone(weight: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        new = torch.empty_like(weight.flatten(1))
        for place, pixel in enumerate(order.tolist()):  # P'[:, place] is P[:, pixel]
            new[:, place] = weight.flatten(1)[:, pixel]
        return new.view_as(weight)

    def inverse(weight: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        return undone(weight, order.argsort())

    return Function(
        "Return the weights, (h, C, p, p), that give the shuffled patches the old tokens.",
        undone,
        cases,
        [
            Mistake(
                "That is the inverse of π. The weight of place j must be that of the pixel which "
                "now stands there, π(j).",
                inverse,
            ),
            Mistake("These are the old weights: they meet the wrong pixels.", lambda w, order: w),
            Mistake(
                "The numbers are right, but the shape is not that of a convolution's weights.",
                lambda w, order: undone(w, order).flatten(1),
            ),
        ],
    )


def _photograph(name: str, side: int = 224) -> torch.Tensor:
    """(1, 3, side, side): the middle square of a photograph, as chapter 01 cuts it."""
    from sklearn.datasets import load_sample_image

    pixels = torch.tensor(load_sample_image(name)).permute(2, 0, 1)[None] / 127.5 - 1
    height, width = pixels.shape[2:]
    square = pixels[..., (width - height) // 2 :][..., :height]
    return F.interpolate(square, side, mode="bilinear", antialias=True)


@exercise("01-3")
def how_narrow_may_a_token_be() -> Numbers:
    flower, temple = _photograph("flower.jpg"), _photograph("china.jpg")
    widths: dict[str, int] = {}
    halves: dict[str, int] = {}
    from_temple: dict[str, int] = {}
    for p in (4, 8, 16):
        windows = F.unfold(flower, p, stride=4)[0].T.double()
        patches = F.unfold(temple, p, stride=p)[0].T.double()
        for basis_of, kept_in in ((windows, widths), (patches, from_temple)):
            basis = torch.linalg.eigh(basis_of.T @ basis_of).eigenvectors.flip(1)
            kept = (patches @ basis).square().sum(0).cumsum(0) / patches.square().sum()
            kept_in[f"p = {p}"] = int((kept < 0.99).sum()) + 1
            if basis_of is windows:
                halves[f"p = {p}"] = int((kept < 0.99**2).sum()) + 1
    return Numbers(
        widths,
        [
            Mistake(
                "One too few: these widths just miss 99 %.",
                {label: width - 1 for label, width in widths.items()},
            ),
            Mistake("Keep 99 % of the squared length, not of the length.", halves),
            Mistake("These are the temple's own directions; take the flower's.", from_temple),
        ],
    )


@exercise("01-4")
def overlapping_patches() -> Function:
    def measured(side: int, p: int, h: int) -> tuple[int, int, int]:
        with torch.device("meta"):
            layer = nn.Conv2d(3, h, 2 * p, stride=p, padding=p // 2)
            out = layer(torch.empty(1, 3, side, side))
        parameters = sum(weights.numel() for weights in layer.parameters())
        return out[0, 0].numel(), parameters, out.numel() * layer.weight[0].numel()

    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(8):
            p = 2 * draw.randint(1, 8)
            yield p * draw.randint(2, 12), p, draw.randint(1, 64)

    def changed(tokens=1.0, weights=1.0, biases=1, macs=1.0):
        def counts(side: int, p: int, h: int) -> tuple[float, float, float]:
            true = measured(side, p, h)
            return true[0] * tokens, (true[1] - h) * weights + biases * h, true[2] * macs

        return counts

    return Function(
        "Return tokens, parameters and MACs of the embedding of an RGB image, side × side.",
        measured,
        cases,
        [
            Mistake("The biases are missing from the parameters.", changed(biases=0)),
            Mistake(
                "That is the ordinary embedding: a window has 2p × 2p pixels.",
                changed(weights=0.25, macs=0.25),
            ),
            Mistake(
                "A window is 2p wide and 2p high: its area is 4p², not 2p².",
                changed(weights=0.5, macs=0.5),
            ),
            Mistake(
                "The parameters are right, the MACs those of the ordinary embedding.",
                changed(macs=0.25),
            ),
            Mistake("The stride decides the tokens, and it is p.", changed(tokens=0.25, macs=0.25)),
            Mistake("The last number counts FLOPs: a MAC is two of them.", changed(macs=2)),
        ],
        symbols=("side", "p", "h"),
    )
