"""ResNet for small images, after He et al., arXiv 1512.03385, section 4.2."""

from sympy import Expr, floor

from mixerlib.costs.relatives.sizes import SizeFormulas
from mixerlib.costs.symbols import C_in, H, W, d, h, n


def _weights(stage: int) -> Expr:
    """Of a stage's d/3 pairs of 3×3 convolutions, which have no biases; the first convolution of
    the second and third stage comes from half of the channels."""
    width = 2**stage * h
    return 9 * width**2 * d * 2 / 3 - (9 * width**2 / 2 if stage else 0)


def size() -> SizeFormulas:
    """The three stages have h, 2h and 4h channels; from one to the next the map's sides are halved,
    and rounded up."""
    places, macs = [], 0
    height, width = H, W
    for stage in range(3):
        places.append(height * width)
        macs += _weights(stage) * places[-1]
        height, width = floor((height + 1) / 2), floor((width + 1) / 2)
    return SizeFormulas(
        family="resnet_cifar",
        params={
            "stem": 9 * C_in * h,
            "space and channels": sum(_weights(stage) for stage in range(3)),
            # two numbers a channel, after every convolution
            "normalisation": 2 * h + 2 * d * 2 / 3 * (h + 2 * h + 4 * h),
            "head": 4 * h * n + n,
        },
        macs={
            "stem": 9 * C_in * h * places[0],
            "space and channels": macs,
            "head": 4 * h * n,
        },
    )
