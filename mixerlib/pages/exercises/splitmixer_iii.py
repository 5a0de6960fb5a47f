"""The exercises of chapter 08."""

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixerlib.costs import formulas
from mixerlib.models import SharedSegments, model_entry
from mixerlib.pages.exercises.drawing import draw_matrices
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called


@exercise("three-1")
def recompute() -> Numbers:
    options = dict(model_entry("splitmixer_iii").defaults)
    options |= {"dim": 240, "segments": 5, "depth": 6}
    h, s, d = options["dim"], options["segments"], options["depth"]
    side = options["patch_size"]  # an image of one patch: one place
    counts = formulas("splitmixer_iii").counts(options, side)
    params, macs = counts.params["channel mixing"], counts.macs["channel mixing"]
    kept = Fraction(params, d * (h * h + h))
    return Numbers(
        {"parameters": params, "MACs a place": macs, "saving": 1 - kept},
        [
            Mistake("The shared mixing has c biases too.", {"parameters": d * (h // s) ** 2}),
            Mistake("The segments share one matrix: it counts once.", {"parameters": s * params}),
            Mistake("That is one block; there are d of them.", {"parameters": params // d}),
            Mistake(
                "The matrix is one, and it is used for each of the s segments.",
                {"MACs a place": macs // s},
            ),
            Mistake("That is one block's work; there are d of them.", {"MACs a place": macs // d}),
            Mistake("That is the share which is kept.", {"saving": kept}),
            Mistake(
                "Nearly: weights fall with s², but the biases only with s.",
                {"saving": 1 - Fraction(1, s * s)},
            ),
        ],
        tolerance=1e-6,
    )


@exercise("three-2")
def wider_for_nothing() -> Numbers:
    base = dict(model_entry("convmixer").defaults)
    old = formulas("convmixer").counts(base, 32)
    options, s = dict(model_entry("splitmixer_iii").defaults), 2
    width = next(
        h
        for h in range(s, 4 * base["dim"], s)
        if formulas("splitmixer_iii")
        .counts(options | {"dim": h, "segments": s}, 32)
        .params["channel mixing"]
        == old.params["channel mixing"]
    )
    new = formulas("splitmixer_iii").counts(options | {"dim": width, "segments": s}, 32)
    whole = new.total("params") / old.total("params")
    return Numbers(
        {"width": width, "factor of the MACs": s, "factor of the whole": whole},
        [
            Mistake("That is c; the width h is s times c.", {"width": base["dim"]}),
            Mistake(
                "That is right for matrices that are not shared; these count once.",
                {"width": round(base["dim"] * s**0.5)},
            ),
            Mistake(
                "The matrix is used at each place once for every segment.",
                {"factor of the MACs": 1},
            ),
            Mistake(
                "The width doubles, but a full mixing is not what it has.",
                {"factor of the MACs": s * s},
            ),
            Mistake(
                "The rest changes too: the stem and the head grow, the kernels shrink.",
                {"factor of the whole": 1},
            ),
            Mistake(
                "The kernels do not double: two rows of k weights stand for k².",
                {"factor of the whole": s},
            ),
        ],
        tolerance=2e-3,
    )


@exercise("three-3")
def the_nearest_shared_matrix() -> Function:
    def fitted(each: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Least squares: one matrix A with A = each[j] for all j, as far as that can be."""
        ones, wanted = torch.ones(len(each), 1, dtype=each.dtype), each.flatten(1)
        solution = torch.linalg.lstsq(ones, wanted).solution
        return solution.view_as(each[0]), float((wanted - ones @ solution).square().sum())

    def distance(each: torch.Tensor, nearest: torch.Tensor) -> tuple[torch.Tensor, float]:
        return nearest, float((each - nearest).square().sum())

    def cases(draw: random.Random) -> Iterator[tuple]:
        generator = torch.Generator().manual_seed(draw.randrange(100))
        for s, c in ((4, 6), (3, 2), (5, 3)):
            yield (torch.randn(s, c, c, generator=generator, dtype=torch.float64),)

    return Function(
        "Return the matrix A, (c, c), and the sum of squared distances to it.",
        fitted,
        cases,
        [
            Mistake("That is their sum: it is s times too large.", lambda e: distance(e, e.sum(0))),
            Mistake(
                "The median makes the sum of distances small, not that of their squares.",
                lambda e: distance(e, e.median(0).values),
            ),
            Mistake(
                "That is one of them; another matrix is nearer to all.", lambda e: distance(e, e[0])
            ),
            Mistake(
                "The matrix is right. The sum is over all segments, not their mean.",
                lambda e: (e.mean(0), fitted(e)[1] / len(e)),
            ),
            Mistake(
                "The matrix is right. The distances are squared, without a root.",
                lambda e: (e.mean(0), fitted(e)[1] ** 0.5),
            ),
            Mistake(
                "The matrix is right. ‖A‖² is to be subtracted s times, and not once.",
                lambda e: (e.mean(0), float(e.square().sum() - e.mean(0).square().sum())),
            ),
        ],
    )


class _Meeting(nn.Module):
    """Strategy III, and what another matrix makes of some of the segments, added to each."""

    def __init__(self, h: int, s: int, of: str = "mean"):
        super().__init__()
        self.mixing, self.of = SharedSegments(h, s), of
        c = self.mixing.width
        self.common = nn.Conv2d(c, c, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.unflatten(1, (-1, self.mixing.width))
        if self.of == "each":
            made = torch.stack([self.common(part) for part in parts.unbind(1)], 1).mean(1)
        else:
            made = self.common(parts.mean(1) if self.of == "mean" else parts[:, 0])
        return self.mixing(x) + made.repeat(1, parts.shape[1], 1, 1)


def _meets(answer: Any) -> Iterator[Row | tuple[str, str]]:
    """The rows of a mixing that treats segments alike, joins all, and keeps to its budget."""
    for h, s in ((12, 3), (24, 4), (20, 5)):
        c, label = h // s, f"h = {h}, s = {s}"
        torch.manual_seed(0)
        layer = called(answer, h, s)
        if not isinstance(layer, nn.Module):
            raise Refused("Return a module that takes and returns (B, h, H, W).")
        layer = layer.double().eval()
        x = torch.randn(2, h, 2, 3, dtype=torch.float64)
        with torch.no_grad():
            y = called(layer, x)
        if not isinstance(y, torch.Tensor) or y.shape != x.shape:
            raise Refused("Return a module that takes and returns (B, h, H, W).")
        params = sum(weights.numel() for weights in layer.parameters())
        most = 2 * c * c + c
        yield Row(f"{label}: parameters", f"{params}", f"≤ {most}", params <= most, OVER)
        macs, most = _macs_a_place(layer, x), (s + 1) * c * c
        yield Row(f"{label}: MACs a place", f"{macs:g}", f"≤ {most}", macs <= most, WORK)
        order = torch.arange(s).roll(1)
        moved = x.unflatten(1, (s, c))[:, order].flatten(1, 2)
        with torch.no_grad():
            away = float(
                (layer(moved) - y.unflatten(1, (s, c))[:, order].flatten(1, 2)).abs().max()
            )
        yield Row(f"{label}: segments in another order", f"{away:.1g}", "0", away < 1e-9, ALIKE)
        matrix = _matrix(layer, x[0, :, 0, 0])
        heard = float((matrix.abs() > 1e-12).double().mean())
        yield Row(f"{label}: pairs heard", f"{heard:.0%}", "100%", heard == 1, DEAF)
        if h == DRAWN:
            yield _pictures(matrix.detach().numpy(), s)


def _pictures(matrix: np.ndarray, s: int) -> tuple[str, str]:
    """The mixing as a matrix, and which segment hears which."""
    within = np.abs(matrix) > 1e-12
    c = len(matrix) // s
    segments = within.reshape(s, c, s, c).any(axis=(1, 3))
    return draw_matrices([("a block", within), ("segments that hear", segments)])


DRAWN = 12  # channels: the first case, small enough to be looked at
OVER = "That is over the budget of 2c² + c parameters."
WORK = "The same product is taken more than once at a place: combine the segments first."
ALIKE = "The segments are not treated alike: in another order they get other outputs."
DEAF = "A segment still hears nothing of the others."


def _matrix(layer: nn.Module, u: torch.Tensor) -> torch.Tensor:
    return torch.func.jacrev(lambda v: layer(v[None, :, None, None]).flatten())(u)


def _macs_a_place(layer: nn.Module, x: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x)
    return counter.get_total_flops() / 2 / (x[:, 0].numel())


@exercise("three-4")
def sharing_with_a_meeting() -> Properties:
    return Properties(
        "Return a module for h channels and s segments that takes and returns (B, h, H, W).",
        _meets,
        lambda: _Meeting,
        [
            Mistake(OVER, lambda h, s: nn.Conv2d(h, h, 1)),
            Mistake(WORK, lambda h, s: _Meeting(h, s, of="each")),
            Mistake(ALIKE, lambda h, s: _Meeting(h, s, of="first")),
            Mistake(DEAF, SharedSegments),
        ],
    )
