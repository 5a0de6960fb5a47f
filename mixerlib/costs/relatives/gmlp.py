"""gMLP, after Liu et al., arXiv 2105.08050."""

from mixerlib.costs.relatives.sizes import SizeFormulas
from mixerlib.costs.symbols import D_C, C_in, H, T, W, d, h, n, p


def size() -> SizeFormulas:
    """The channels are widened from h to D_C; the gate leaves D_C/2, which are narrowed to h."""
    gated = D_C / 2
    return SizeFormulas(
        family="gmlp",
        params={
            "stem": h * (C_in * p**2 + 1),
            "token mixing": d * (T**2 + T),
            "channel mixing": d * (h * D_C + D_C + gated * h + h),
            # two numbers a channel: before the block, in its gate, and at the end
            "normalisation": d * (2 * h + 2 * gated) + 2 * h,
            "head": h * n + n,
        },
        macs={
            "stem": C_in * h * H * W,
            "token mixing": d * gated * T**2,
            "channel mixing": d * T * (h * D_C + gated * h),
            "head": h * n,
        },
    )
