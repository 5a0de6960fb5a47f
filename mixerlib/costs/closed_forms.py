"""The closed forms: what each family costs, as sympy expressions, part by part.

They are written down from the architectures alone; that the modules agree is for the tests to
show. Chapters 02 to 10 derive them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy
from sympy import And, Eq, Expr, Max, Ne, floor

from mixerlib.costs.counts import QUANTITIES, Counts
from mixerlib.costs.symbols import (
    C,
    C_in,
    D_C,
    D_S,
    H,
    S,
    W,
    c,
    d,
    e,
    gelu,
    h,
    iverson,
    k,
    m,
    n,
    p,
    r,
    s,
)
from mixerlib.costs.values import check_family, number, symbol_values


@dataclass(frozen=True)
class Formulas(Counts[Expr]):
    """The closed forms of one family: the quantities of `Counts`, and what only a formula can tell.

    `moved_fused` is `moved` for ideally fused kernels. `passes_eager` and `passes_fused` are what
    one block moves, in units of its activation map (the mean over the d blocks where they differ).
    """

    family: str
    moved_fused: Mapping[str, Expr]
    passes_eager: Expr
    passes_fused: Expr

    def evaluate(
        self, options: Mapping[str, Any], image_size: int | tuple[int, int] | None = None
    ) -> Counts[int]:
        """All quantities of `Counts` in Python integers. Arguments and errors as in
        `costs.evaluate`; every option of the family has to be there."""
        values = symbol_values(self.family, options, image_size)

        def numbers(quantity: str) -> dict[str, int]:
            return {part: number(form, values) for part, form in getattr(self, quantity).items()}

        return Counts(**{quantity: numbers(quantity) for quantity in QUANTITIES})


@lru_cache(maxsize=None)
def formulas(family: str) -> Formulas:
    """The closed forms of a family: "convmixer", "splitmixer_i" … "splitmixer_v", "splitmixer_3d"
    or "mlp_mixer". Raises `ValueError` for any other name."""
    return _mlp_mixer() if check_family(family) == "mlp_mixer" else _convolutional(family)


# --- ConvMixer and SplitMixer ---------------------------------------------------------------------

N = H * W / p**2  # places of a map: one for each patch
PADDED_ROWS, PADDED_COLUMNS = H / p + e, W / p + e  # an even kernel's input is padded by one
TURNS = floor(d / s)  # II: how often the turn comes to the last segment; the others share the rest
BLOCK_WIDTHS = (d - TURNS) * c + TURNS * r  # II: the widths that the d blocks mix, summed


@dataclass(frozen=True)
class _Mixing:
    """The channel mixing of all d blocks together, its activation function left out.

    `macs`, `moved`, `moved_fused` and `kept` are for one place of the map.
    """

    params: Expr
    macs: Expr
    moved: Expr = 2 * d * h  # read once, written once
    moved_fused: Expr = 2 * d * h
    kept: Expr = sympy.S.Zero  # beside the input, which every mixing keeps
    joined_weights: Expr = sympy.S.Zero  # kept too, whatever the size of the image


MIXINGS: dict[str, _Mixing] = {
    # one h×h matrix
    "convmixer": _Mixing(params=d * (h**2 + h), macs=d * h**2),
    # m of the h channels: the slice is copied, mixed and written back, six passes over it
    "splitmixer_i": _Mixing(
        params=d * (m**2 + m),
        macs=d * m**2,
        moved=d * (4 * m + 2 * m * iverson(m < h)),
    ),
    # as I, on the segment whose turn it is
    "splitmixer_ii": _Mixing(
        params=(d - TURNS) * (c**2 + c) + TURNS * (r**2 + r),
        macs=(d - TURNS) * c**2 + TURNS * r**2,
        moved=(4 + 2 * iverson(s > 1)) * BLOCK_WIDTHS,
    ),
    # one c×c matrix, used s times
    "splitmixer_iii": _Mixing(params=d * (c**2 + c), macs=d * s * c**2),
    # s matrices; equal segments are one grouped convolution of joined weights, ragged ones are
    # sliced, mixed one by one and concatenated
    "splitmixer_iv": _Mixing(
        params=d * ((s - 1) * (c**2 + c) + r**2 + r),
        macs=d * ((s - 1) * c**2 + r**2),
        moved=2 * d * h * (1 + 2 * iverson(Ne(r, c))),
        joined_weights=d * h * c * iverson(Eq(r, c)),
    ),
    # two m×m matrices; the input of the second is concatenated from the output of the first
    "splitmixer_v": _Mixing(
        params=2 * d * (m**2 + m),
        macs=2 * d * m**2,
        moved=d * (6 * m + 2 * m * iverson(m < h) + 2 * h),
        moved_fused=d * Max(4 * m, 2 * h),  # below 2m = h some channels are only passed through
        kept=d * m * iverson(2 * m >= h),
    ),
    # III and a shuffle, which copies the map
    "splitmixer_3d": _Mixing(
        params=d * (c**2 + c),
        macs=d * s * c**2,
        moved=2 * d * h * (1 + iverson(And(s > 1, c > 1))),
    ),
}


def _convolutional(family: str) -> Formulas:
    mixing = MIXINGS[family]
    map_size = h * N
    if family == "convmixer":  # one k×k kernel a channel
        kernels, inputs = [k**2], [h * PADDED_ROWS * PADDED_COLUMNS]
    else:  # 1×k, then k×1
        kernels, inputs = [k, k], [h * H / p * PADDED_COLUMNS, h * PADDED_ROWS * W / p]
    convolutions = len(kernels)
    norms = (convolutions + 1) * d + 1  # one after each convolution, the stem's too

    spatial_moved = sum(
        x + map_size + e * (map_size + x) + 2 * map_size for x in inputs
    )  # convolution, padding, activation function
    moved = {
        "stem": C_in * H * W + map_size + 2 * map_size,
        "spatial mixing": d * (spatial_moved + 3 * map_size),  # the residual sum reads two maps
        "channel mixing": mixing.moved * N + 2 * d * map_size,
        "normalisation": norms * 2 * map_size,
        "head": (map_size + h) + (h + n),
    }
    moved_fused = {
        "stem": C_in * H * W + map_size,
        # the last kernel adds the residual, and after a 1×k kernel has to read it for that
        "spatial mixing": d * (3 * convolutions - 1) * map_size,
        "channel mixing": mixing.moved_fused * N,
        "normalisation": sympy.S.Zero,
        "head": (map_size + h) + (h + n),
    }
    in_block = (
        moved["spatial mixing"] + moved["channel mixing"] + d * (convolutions + 1) * 2 * map_size
    )
    fused_in_block = moved_fused["spatial mixing"] + moved_fused["channel mixing"]
    return Formulas(
        family=family,
        params={
            "stem": h * (C_in * p**2 + 1),
            "spatial mixing": d * h * (sum(kernels) + convolutions),
            "channel mixing": mixing.params,
            "normalisation": 2 * h * norms,
            "head": h * n + n,
        },
        buffers=_only("normalisation", 2 * h * norms),
        macs={
            "stem": C_in * h * H * W,
            "spatial mixing": d * h * sum(kernels) * N,
            "channel mixing": mixing.macs * N,
            "normalisation": sympy.S.Zero,
            "head": h * n,
        },
        normalised=_only("normalisation", norms * map_size),
        pooling=_only("head", map_size + h),
        # A convolution keeps its input. An activation function keeps one map: GELU its input, ReLU
        # its output. A norm keeps its input, unless that is ReLU's output, and two statistics.
        activations={
            "stem": C_in * H * W + map_size,
            "spatial mixing": d * (sum(inputs) + convolutions * map_size),
            "channel mixing": 2 * d * map_size + mixing.kept * N + mixing.joined_weights,
            "normalisation": norms * (gelu * map_size + 2 * h),
            "head": h,
        },
        moved=moved,
        moved_fused=moved_fused,
        passes_eager=sympy.expand(in_block / (d * map_size)),
        passes_fused=sympy.expand(fused_in_block / (d * map_size)),
    )


# --- MLP-Mixer ------------------------------------------------------------------------------------


def _mlp_mixer() -> Formulas:
    map_size, tokens_hidden, channels_hidden = C * S, C * D_S, S * D_C
    norms = 2 * d + 1
    # The table of tokens lies transposed in memory. LayerNorm copies it, the token MLP copies the
    # norm's output, and a transposed input makes its first layer add the bias apart.
    transposed = iverson(And(S > 1, C > 1))
    token_moved = (
        transposed * 2 * map_size
        + (map_size + tokens_hidden)
        + transposed * 2 * tokens_hidden
        + 2 * tokens_hidden
        + (tokens_hidden + map_size)
    )
    channel_moved = (
        (map_size + channels_hidden) + 2 * channels_hidden + (channels_hidden + map_size)
    )
    moved = {
        "stem": C_in * H * W + map_size,
        "token mixing": d * (token_moved + 3 * map_size),
        "channel mixing": d * (channel_moved + 3 * map_size),
        "normalisation": norms * (2 * map_size + 2 * S + transposed * 2 * map_size),
        "head": (map_size + C) + (C + n),
    }
    moved_fused = {
        "stem": C_in * H * W + map_size,
        "token mixing": d * (3 * map_size + 2 * tokens_hidden),
        "channel mixing": d * (3 * map_size + 2 * channels_hidden),
        "normalisation": norms * 2 * map_size,
        "head": (map_size + C) + (C + n),
    }

    def passes(elements: Mapping[str, Expr]) -> Expr:
        in_block = elements["token mixing"] + elements["channel mixing"]
        in_block += elements["normalisation"] * 2 * d / norms  # the last norm stands after them
        return sympy.expand(sympy.cancel(in_block / (d * map_size)))

    return Formulas(
        family="mlp_mixer",
        params={
            "stem": C * (C_in * p**2 + 1),
            "token mixing": d * (2 * S * D_S + D_S + S),
            "channel mixing": d * (2 * C * D_C + D_C + C),
            "normalisation": 2 * C * norms,
            "head": C * n + n,
        },
        buffers=_only("normalisation", sympy.S.Zero, mixing="token mixing"),
        macs={
            "stem": C_in * C * H * W,
            "token mixing": 2 * d * C * S * D_S,
            "channel mixing": 2 * d * C * S * D_C,
            "normalisation": sympy.S.Zero,
            "head": C * n,
        },
        normalised=_only("normalisation", norms * map_size, mixing="token mixing"),
        pooling=_only("head", map_size + C, mixing="token mixing"),
        # Of an MLP are kept its input, the activation function's one map, and the second layer's
        # input, unless that is ReLU's output. A norm keeps its input and two statistics a token.
        activations={
            "stem": C_in * H * W,
            "token mixing": d * (map_size + (1 + gelu) * tokens_hidden),
            "channel mixing": d * (map_size + (1 + gelu) * channels_hidden),
            "normalisation": norms * (map_size + 2 * S),
            "head": C,
        },
        moved=moved,
        moved_fused=moved_fused,
        passes_eager=passes(moved),
        passes_fused=passes(moved_fused),
    )


def _only(part: str, value: Expr, mixing: str = "spatial mixing") -> dict[str, Expr]:
    """A quantity that one part alone has."""
    parts = ("stem", mixing, "channel mixing", "normalisation", "head")
    return {name: value if name == part else sympy.S.Zero for name in parts}
