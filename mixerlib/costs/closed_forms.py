"""The closed forms: what each family costs, as sympy expressions, part by part.

They are written down from the architectures alone; that the modules agree is for the tests to
show. Chapters 02 to 10 derive them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import sympy
from sympy import And, Expr, Max, floor

from mixerlib.costs.counts import QUANTITIES, Counts
from mixerlib.costs.symbols import (
    D_C,
    D_S,
    C_in,
    H,
    T,
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
    shuffle,
)
from mixerlib.costs.values import check_family, number, symbol_values

ZERO = sympy.S.Zero


@dataclass(frozen=True)
class Formulas(Counts[Expr]):
    """The closed forms of one family: the quantities of `Counts`, and what only a formula can tell.

    Args:
        params: as in `Counts`, as are the six that follow.
        buffers: running statistics.
        macs: multiply-accumulates.
        normalized: elements that pass a norm.
        pooling: operations of the final mean.
        activations: elements kept for the backward pass.
        moved: elements read or written in inference.
        family: whose they are.
        moved_fused: `moved` for ideally fused kernels, part by part.
        passes_eager: what one block moves, in units of its activation map (the mean over the d
            blocks where they differ).
        passes_fused: the same, ideally fused.
    """

    family: str
    moved_fused: Mapping[str, Expr]
    passes_eager: Expr
    passes_fused: Expr

    def counts(
        self, options: Mapping[str, Any], image_size: int | tuple[int, int] | None = None
    ) -> Counts[int]:
        """All quantities of `Counts` in Python integers. Arguments and errors as in `value_of`;
        every option of the family has to be there.
        """
        values = symbol_values(self.family, options, image_size)

        def numbers(quantity: str) -> dict[str, Any]:  # a count is whole
            return {part: number(form, values) for part, form in getattr(self, quantity).items()}

        return Counts(**{quantity: numbers(quantity) for quantity in QUANTITIES})


@cache
def formulas(family: str) -> Formulas:
    """The closed forms of a family: "convmixer", "splitmixer_i" … "splitmixer_v", "splitmixer_3d"
    or "mlp_mixer". Raises `ValueError` for any other name. Chapter 04 derives the first.

    >>> from mixerlib.costs import formulas
    >>> formulas("convmixer").params["spatial mixing"]
    d*h*(k**2 + 1)
    >>> formulas("convmixer").total("macs")
    C_in*H*W*h + T*d*h**2 + T*d*h*k**2 + h*n
    """
    return _mlp_mixer() if check_family(family) == "mlp_mixer" else _convolutional(family)


# --- ConvMixer and SplitMixer ---------------------------------------------------------------------

TURNS = floor(d / s)  # II: how often the turn comes to the last segment; the others share the rest
BLOCK_WIDTHS = (d - TURNS) * c + TURNS * r  # II: the widths that the d blocks mix, summed
# each copies the map, unless nothing changes place
SHUFFLES = 2 * d * h * iverson(And(s > 1, c > 1))


@dataclass(frozen=True)
class _Mixing:
    """The channel mixing of all d blocks together, its activation function left out.

    `macs`, `moved`, `moved_fused` and `kept` are for one place of the map.
    """

    params: Expr
    macs: Expr
    moved: Expr = 2 * d * h  # read once, written once
    moved_fused: Expr = 2 * d * h
    kept: Expr = ZERO  # beside the input, which every mixing keeps


MIXINGS: dict[str, _Mixing] = {
    # one h×h matrix
    "convmixer": _Mixing(params=d * (h**2 + h), macs=d * h**2),
    # m of the h channels: the slice is copied and mixed, and all channels are concatenated
    "splitmixer_i": _Mixing(
        params=d * (m**2 + m),
        macs=d * m**2,
        moved=d * (2 * m + 2 * h + 2 * m * iverson(m < h)),
    ),
    # as I, on the segment whose turn it is
    "splitmixer_ii": _Mixing(
        params=(d - TURNS) * (c**2 + c) + TURNS * (r**2 + r),
        macs=(d - TURNS) * c**2 + TURNS * r**2,
        moved=(2 + 2 * iverson(s > 1)) * BLOCK_WIDTHS + 2 * d * h + shuffle * SHUFFLES,
    ),
    # one c×c matrix, used s times
    "splitmixer_iii": _Mixing(
        params=d * (c**2 + c),
        macs=d * s * c**2,
        moved=2 * d * h + shuffle * SHUFFLES,
    ),
    # s matrices: the segments are sliced, mixed one by one and concatenated
    "splitmixer_iv": _Mixing(
        params=d * ((s - 1) * (c**2 + c) + r**2 + r),
        macs=d * ((s - 1) * c**2 + r**2),
        moved=2 * d * h * (2 + iverson(s > 1)) + shuffle * SHUFFLES,
    ),
    # two m×m matrices; the input of the second is concatenated from the output of the first
    "splitmixer_v": _Mixing(
        params=2 * d * (m**2 + m),
        macs=2 * d * m**2,
        moved=d * (6 * m + 2 * m * iverson(m < h) + 2 * h),
        moved_fused=d * Max(4 * m, 2 * h),  # below 2m = h some channels are only passed through
        kept=d * m * iverson(2 * m >= h),
    ),
    # III, always shuffled
    "splitmixer_3d": _Mixing(
        params=d * (c**2 + c),
        macs=d * s * c**2,
        moved=2 * d * h + SHUFFLES,
    ),
}


@dataclass(frozen=True)
class _Spatial:
    """The spatial mixing of one block, its activation functions and residual sum included.

    `padding` is what an even kernel's padded copies add to the map, over all its convolutions.
    """

    convolutions: int
    taps: Expr  # of a channel's kernel, in each convolution
    padding: Expr
    moved: Expr
    moved_fused: Expr


def _spatial(family: str) -> _Spatial:
    map_size = h * T
    if family == "convmixer":  # one k×k kernel a channel
        convolutions, taps = 1, k**2
        padding = h * (H / p + W / p + 1)
    else:  # 1×k, then k×1
        convolutions, taps = 2, k
        padding = h * (H + W) / p
    # A block's convolutions and their activation functions read and write a map each, its residual
    # sum reads two and writes one. An even kernel's input is first copied into a padded one; what
    # that adds to the map (`padding`) is written once and read once.
    moved = (4 * convolutions + 3 + 2 * convolutions * e) * map_size + 2 * e * padding
    # Fused, a convolution reads a map and writes one. The k×1 convolution, which adds the residual,
    # reads that too; a k×k convolution has it at hand.
    fused = (2 if family == "convmixer" else 5) * map_size
    return _Spatial(convolutions, taps, padding, moved, fused)


def _convolutional(family: str) -> Formulas:
    mixing, spatial = MIXINGS[family], _spatial(family)
    map_size, convolutions = h * T, spatial.convolutions
    norms = (convolutions + 1) * d + 1  # one after each convolution, the stem's too
    head_moved = (map_size + h) + (h + n)  # the mean, and the linear layer
    return Formulas(
        family=family,
        params={
            "stem": h * (C_in * p**2 + 1),
            "spatial mixing": d * h * convolutions * (spatial.taps + 1),
            "channel mixing": mixing.params,
            "normalisation": 2 * h * norms,
            "head": h * n + n,
        },
        buffers=_only("normalisation", 2 * h * norms),
        macs={
            "stem": C_in * h * H * W,
            "spatial mixing": d * h * convolutions * spatial.taps * T,
            "channel mixing": mixing.macs * T,
            "normalisation": ZERO,
            "head": h * n,
        },
        normalized=_only("normalisation", norms * map_size),
        pooling=_only("head", map_size + h),
        # A convolution keeps its input, padded. An activation function keeps one map: GELU its
        # input, ReLU its output. A norm keeps its input, unless that is ReLU's output, which is
        # kept already, and two statistics a channel.
        activations={
            "stem": C_in * H * W + map_size,
            "spatial mixing": d * (2 * convolutions * map_size + e * spatial.padding),
            "channel mixing": 2 * d * map_size + mixing.kept * T,
            "normalisation": norms * (gelu * map_size + 2 * h),
            "head": h,
        },
        moved={
            "stem": C_in * H * W + 3 * map_size,
            "spatial mixing": d * spatial.moved,
            "channel mixing": (mixing.moved + 2 * d * h) * T,
            "normalisation": 2 * norms * map_size,
            "head": head_moved,
        },
        moved_fused={
            "stem": C_in * H * W + map_size,
            "spatial mixing": d * spatial.moved_fused,
            "channel mixing": mixing.moved_fused * T,
            "normalisation": ZERO,
            "head": head_moved,
        },
        # beside the mixings: the activation function of the channel mixing, and the block's norms
        passes_eager=sympy.expand(spatial.moved / map_size)
        + sum(term / (d * h) for term in sympy.Add.make_args(sympy.expand(mixing.moved)))
        + 2
        + 2 * (convolutions + 1),
        passes_fused=spatial.moved_fused / map_size + mixing.moved_fused / (d * h),
    )


# --- MLP-Mixer ------------------------------------------------------------------------------------


# The stem's table of tokens lies transposed in memory, and so do the sums made from it. A norm
# therefore copies its input; the token MLP, which works on the other side, copies the norm's
# output, and adds the bias of its first layer in an operation of its own. A table of one row or
# column is its own transpose.
TRANSPOSED = iverson(And(T > 1, h > 1))


def _mlp_mixer() -> Formulas:
    map_size, tokens_hidden, channels_hidden = h * T, h * D_S, D_C * T
    norms = 2 * d + 1
    norm_moved = (2 + 2 * TRANSPOSED) * map_size
    # two linear layers, the activation function and the residual sum
    token_moved = (5 + 2 * TRANSPOSED) * map_size + (4 + 2 * TRANSPOSED) * tokens_hidden
    channel_moved = 5 * map_size + 4 * channels_hidden
    # fused, the second layer reads the residual as well
    token_fused = 3 * map_size + 2 * tokens_hidden
    channel_fused = 3 * map_size + 2 * channels_hidden
    head_moved = (map_size + h) + (h + n)  # the mean, and the linear layer
    return Formulas(
        family="mlp_mixer",
        params={
            "stem": h * (C_in * p**2 + 1),
            "token mixing": d * (2 * T * D_S + D_S + T),
            "channel mixing": d * (2 * h * D_C + D_C + h),
            "normalisation": 2 * h * norms,
            "head": h * n + n,
        },
        buffers=_only("normalisation", ZERO, mixing="token mixing"),
        macs={
            "stem": C_in * h * H * W,
            "token mixing": 2 * d * h * T * D_S,
            "channel mixing": 2 * d * h * T * D_C,
            "normalisation": ZERO,
            "head": h * n,
        },
        normalized=_only("normalisation", norms * map_size, mixing="token mixing"),
        pooling=_only("head", map_size + h, mixing="token mixing"),
        # An MLP keeps its input, the one map of its activation function, and the second layer's
        # input, unless that is ReLU's output. A norm keeps its input and two statistics a token.
        activations={
            "stem": C_in * H * W,
            "token mixing": d * (map_size + (1 + gelu) * tokens_hidden),
            "channel mixing": d * (map_size + (1 + gelu) * channels_hidden),
            "normalisation": norms * (map_size + 2 * T),
            "head": h,
        },
        moved={
            "stem": C_in * H * W + map_size,
            "token mixing": d * token_moved,
            "channel mixing": d * channel_moved,
            "normalisation": norms * norm_moved,
            "head": head_moved,
        },
        moved_fused={
            "stem": C_in * H * W + map_size,
            "token mixing": d * token_fused,
            "channel mixing": d * channel_fused,
            "normalisation": 2 * norms * map_size,
            "head": head_moved,
        },
        # two of the norms stand in each block
        passes_eager=sympy.expand((token_moved + channel_moved + 2 * norm_moved) / map_size),
        passes_fused=sympy.expand((token_fused + channel_fused) / map_size) + 4,
    )


def _only(part: str, value: Expr, mixing: str = "spatial mixing") -> dict[str, Expr]:
    """A quantity that one part alone has."""
    parts = ("stem", mixing, "channel mixing", "normalisation", "head")
    return {name: value if name == part else ZERO for name in parts}
