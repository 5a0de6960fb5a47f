"""ViT and DeiT: attention across T tokens of the patches and one or two of their own."""

import sympy

from mixerlib.costs.relatives.sizes import SizeFormulas
from mixerlib.costs.symbols import D_C, C_in, H, T, W, d, h, n, p

# 1 where queries, keys and values have biases
qkv_bias = sympy.Symbol("qkv", integer=True, nonnegative=True)


def _transformer(family: str, extra: int) -> SizeFormulas:
    """With so many tokens beside the patches', each with a head of its own."""
    tokens = T + extra
    return SizeFormulas(
        family=family,
        own={qkv_bias: "qkv_bias"},
        params={
            # the patches' embedding, the tokens themselves, and a vector for every place
            "stem": h * (C_in * p**2 + 1) + extra * h + tokens * h,
            # queries, keys, values and the projection
            "token mixing": d * (4 * h**2 + 3 * h * qkv_bias + h),
            "channel mixing": d * (2 * h * D_C + D_C + h),
            "normalisation": 2 * h * (2 * d + 1),
            "head": extra * (h * n + n),
        },
        macs={
            "stem": C_in * h * H * W,
            # the four matrices; then each token with each, for the weights and for the means
            "token mixing": d * (4 * h**2 * tokens + 2 * h * tokens**2),
            "channel mixing": 2 * d * h * tokens * D_C,
            "head": extra * h * n,
        },
    )


def vit() -> SizeFormulas:
    """Dosovitskiy et al., arXiv 2010.11929: one token for the class."""
    return _transformer("vit", extra=1)


def deit() -> SizeFormulas:
    """Touvron et al., arXiv 2012.12877: one for the class and one for the teacher."""
    return _transformer("deit", extra=2)
