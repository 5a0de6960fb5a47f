"""ConvNeXt's block at one width and one size, after Liu et al., arXiv 2201.03545."""

from mixerlib.costs.relatives.sizes import SizeFormulas
from mixerlib.costs.symbols import D_C, C_in, H, T, W, d, h, k, n, p


def size() -> SizeFormulas:
    """A block has one depthwise convolution, one norm, an MLP and a scale."""
    return SizeFormulas(
        family="convnext",
        params={
            "stem": h * (C_in * p**2 + 1),
            "spatial mixing": d * h * (k**2 + 1),
            "channel mixing": d * (2 * h * D_C + D_C + h),
            # a norm and a scale a block, a norm after the stem and one before the head
            "normalisation": 3 * d * h + 4 * h,
            "head": h * n + n,
        },
        macs={
            "stem": C_in * h * H * W,
            "spatial mixing": d * h * k**2 * T,
            "channel mixing": 2 * d * h * T * D_C,
            "head": h * n,
        },
    )
