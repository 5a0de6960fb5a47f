"""S-FC, after Neyshabur, arXiv 2007.13657."""

from mixerlib.costs.relatives.sizes import SizeFormulas
from mixerlib.costs.symbols import C_in, H, W, h, n

LAST = 24  # widths of the second layer


def size() -> SizeFormulas:
    """Three matrices, each weight used once: h numbers for each place of half the image's side."""
    middle = h * H * W / 4
    stem, block, head = C_in * H * W * middle, LAST * h * middle, LAST * h * n
    return SizeFormulas(
        family="s_fc",
        params={
            "stem": stem,
            "space and channels": block,
            "normalisation": 2 * middle + 2 * LAST * h,
            "head": head + n,
        },
        macs={"stem": stem, "space and channels": block, "head": head},
    )
