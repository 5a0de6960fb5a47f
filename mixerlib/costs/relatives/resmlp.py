"""ResMLP, after Touvron et al., arXiv 2105.03404."""

from mixerlib.costs.relatives.sizes import SizeFormulas
from mixerlib.costs.symbols import D_C, C_in, H, T, W, d, h, n, p


def size() -> SizeFormulas:
    """One T×T matrix a block across the tokens. In place of norms: a block has two affine maps and
    two scales, 6h numbers, and the end one more affine map."""
    return SizeFormulas(
        family="resmlp",
        params={
            "stem": h * (C_in * p**2 + 1),
            "token mixing": d * (T**2 + T),
            "channel mixing": d * (2 * h * D_C + D_C + h),
            "normalisation": 6 * d * h + 2 * h,
            "head": h * n + n,
        },
        macs={
            "stem": C_in * h * H * W,
            "token mixing": d * h * T**2,
            "channel mixing": 2 * d * h * T * D_C,
            "head": h * n,
        },
    )
