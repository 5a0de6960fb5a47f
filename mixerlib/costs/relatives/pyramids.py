"""AS-MLP, CycleMLP and ViP: sums over the stages, each with half the side of the one before.

d_i is the number of blocks and h_i the width of stage i, from 1 to S; f_i is the hidden width of
its channel MLPs in widths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Indexed, IndexedBase, Sum, floor

from mixerlib import checks
from mixerlib.costs.relatives.sizes import Size, SizeFormulas
from mixerlib.costs.symbols import C_in, H, W, n, p
from mixerlib.costs.values import number

i, S = sympy.symbols("i S", integer=True, positive=True)
BLOCKS, WIDTHS, RATIOS = IndexedBase("d"), IndexedBase("h"), IndexedBase("f")
DEPTH, WIDTH, BEFORE, RATIO = BLOCKS[i], WIDTHS[i], WIDTHS[i - 1], RATIOS[i]
FIRST, LAST = WIDTHS[1], WIDTHS[S]
PLACES = H * W / (p**2 * 4 ** (i - 1))  # of stage i
HIDDEN = floor(WIDTH / 4)  # of the small MLP that weighs three branches


@dataclass(frozen=True)
class StagedFormulas(SizeFormulas):
    """Closed forms with sums over the stages that the option `stages` lists."""

    def counts(
        self, options: Mapping[str, Any], image_size: int | tuple[int, int] | None = None
    ) -> Size[int]:
        """As in `SizeFormulas`."""
        stages = checks.stages(options.get("stages"))
        values = self._values(options, options.get("image_size", image_size))
        sizes: dict[Indexed, int] = {}
        for stage, (depth, width, ratio) in enumerate(stages, start=1):
            sizes |= {BLOCKS[stage]: depth, WIDTHS[stage]: width}
            sizes[RATIOS[stage]] = ratio or options["channels_ratio"]

        def numbers(forms: Mapping[str, Expr]) -> dict[str, Any]:
            written_out = {part: form.subs(S, len(stages)).doit() for part, form in forms.items()}
            return {
                part: number(form.xreplace(sizes), values) for part, form in written_out.items()
            }

        return Size(params=_parts(numbers(self.params)), macs=_parts(numbers(self.macs)))


def _parts(numbers: Mapping[str, int]) -> dict[str, int]:
    """Without mergings there is no such part."""
    return {part: value for part, value in numbers.items() if value}


def over_stages(term: Expr, first: int = 1) -> Expr:
    """The sum of a term with d_i, h_i and i over the stages, from the first on."""
    return Sum(term, (i, first, S))


def _pyramid(
    family: str,
    stem: tuple[Expr, Expr],
    spatial: tuple[Expr, Expr],
    once: tuple[Expr, Expr],
    merging: tuple[Expr, Expr],
    norms: Expr,
) -> SizeFormulas:
    """Of a family whose blocks have a spatial mixing and an MLP of each place.

    `spatial` and `merging` are weights with and numbers without a place, as pairs: what a place
    multiplies with, and what it only adds. `once` is what one image multiplies with in each block,
    and its biases. `stem` is the pair of all its parameters and of a place's MACs.
    """
    matrix, extra = spatial
    small, biases = once
    merge, merge_biases = merging
    return StagedFormulas(
        family=family,
        params={
            "stem": stem[0],
            "spatial mixing": over_stages(DEPTH * (matrix + extra + small + biases)),
            "channel mixing": over_stages(DEPTH * (2 * RATIO * WIDTH**2 + RATIO * WIDTH + WIDTH)),
            "space and channels": over_stages(merge + merge_biases, first=2),
            "normalisation": norms,
            "head": LAST * n + n,
        },
        macs={
            "stem": stem[1] * H * W / p**2,
            "spatial mixing": over_stages(DEPTH * (matrix * PLACES + small)),
            "channel mixing": over_stages(DEPTH * 2 * RATIO * WIDTH**2 * PLACES),
            "space and channels": over_stages(merge * PLACES, first=2),
            "head": LAST * n,
        },
    )


def as_mlp() -> SizeFormulas:
    """Lian et al., arXiv 2107.08391: four h×h matrices; the steps cost nothing."""
    return _pyramid(
        "as_mlp",
        stem=(FIRST * (C_in * p**2 + 1), FIRST * C_in * p**2),
        spatial=(4 * WIDTH**2, 4 * WIDTH),
        once=(sympy.S.Zero, sympy.S.Zero),
        merging=(4 * BEFORE * WIDTH, sympy.S.Zero),
        # after the stem, four a block, one a merging, and before the head
        norms=2 * FIRST + over_stages(8 * DEPTH * WIDTH) + over_stages(8 * BEFORE, 2) + 2 * LAST,
    )


def _weighed(family: str, stem: Expr, biases: Expr, merge: Expr) -> SizeFormulas:
    """Three branches of one h×h matrix each, a small MLP that weighs them, and a fourth matrix."""
    return _pyramid(
        family,
        stem=(FIRST * (stem + 1), FIRST * stem),
        spatial=(4 * WIDTH**2, biases),
        once=(4 * WIDTH * HIDDEN, HIDDEN + 3 * WIDTH),
        merging=(merge, WIDTH),
        norms=over_stages(4 * DEPTH * WIDTH) + 2 * LAST,  # two a block, and before the head
    )


def cycle_mlp() -> SizeFormulas:
    """Chen et al., arXiv 2107.10224: stem of (2p − 1)², mergings of 3×3."""
    return _weighed("cycle_mlp", C_in * (2 * p - 1) ** 2, 3 * WIDTH, 9 * BEFORE * WIDTH)


def vip() -> SizeFormulas:
    """Hou et al., arXiv 2106.12368: a line's matrix has h² weights too, and no bias."""
    return _weighed("vip", C_in * p**2, WIDTH, 4 * BEFORE * WIDTH)
