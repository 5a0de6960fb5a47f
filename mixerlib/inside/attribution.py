"""Which pixels a logit owes its value to: by gradients, along a path, and by covering. Chapter 22.

Every function takes any model in evaluation mode that gives logits (B, classes) for images
(B, C, H, W), a home-made one too. A score is signed: it speaks for the class above 0, against it
below.
"""

import numpy as np
import torch
from torch import nn

from mixerlib import checks
from mixerlib.inside.logits import asked, chosen_logits, filled, gradients_on, refusals_explained


def gradients(
    model: nn.Module, images: torch.Tensor, classes: int | torch.Tensor | None = None
) -> torch.Tensor:
    """How fast each image's logit of its class grows with each pixel: (B, C, H, W).

    Simonyan et al., "Deep Inside Convolutional Networks", arXiv 1312.6034. Chapter 22.

    Args:
        model: any classifier in evaluation mode.
        images: normalized, (B, C, H, W).
        classes: one for all images, or (B,). None: those that the model predicts.

    Raises `ValueError` for a model in training mode or without gradients, images of a wrong size or
    range, and a class that is not there.

    >>> import torch
    >>> from torch import nn
    >>> from mixerlib.inside import gradients
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    >>> slopes = gradients(model, torch.randn(5, 1, 2, 2), classes=1)
    >>> torch.equal(slopes[0].flatten(), model[1].weight[1])
    True
    """
    with gradients_on():
        model, images, chosen = asked(model, images, classes)
        return _gradient(model, images, chosen)


def _gradient(model: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    x = images.detach().clone().requires_grad_(True)
    # in evaluation mode no image changes another's logits, so the sum's gradient is each one's own
    total = chosen_logits(model, x, classes).sum()
    with refusals_explained(images):
        return torch.autograd.grad(total, x)[0]


def gradient_times_input(
    model: nn.Module,
    images: torch.Tensor,
    classes: int | torch.Tensor | None = None,
    baseline: float | torch.Tensor = 0.0,
) -> torch.Tensor:
    """The gradient times each pixel's difference from a baseline: (B, C, H, W).

    It is `integrated_gradients` with the gradient at the image alone: right for a linear model.
    Errors are those of `integrated_gradients`. Chapter 22.

    Args:
        model: any classifier in evaluation mode.
        images: normalized, (B, C, H, W).
        classes: one for all images, or (B,). None: those that the model predicts.
        baseline: in normalized values: a number, or a tensor that can be broadcast to the images.

    >>> import torch
    >>> from torch import nn
    >>> from mixerlib.inside import gradient_times_input
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    >>> images = torch.randn(5, 1, 2, 2)
    >>> shares = gradient_times_input(model, images, classes=1)
    >>> logits = model(images)[:, 1] - model[1].bias[1]
    >>> torch.allclose(shares.sum(dim=(1, 2, 3)), logits, atol=1e-6)
    True
    """
    with gradients_on():
        model, images, chosen = asked(model, images, classes)
        away = images - filled(baseline, images)
        return away * _gradient(model, images, chosen)


def integrated_gradients(
    model: nn.Module,
    images: torch.Tensor,
    classes: int | torch.Tensor | None = None,
    baseline: float | torch.Tensor = 0.0,
    steps: int = 32,
) -> torch.Tensor:
    """Each pixel's share of what the logit gains on the straight way from a baseline: (B, C, H, W).

    The shares of an image sum to the gain, but for the error of the integral: completeness. The
    integral is taken by Gauss and Legendre's rule, whose error falls exponentially with `steps`
    where the model is smooth, as with GELU. Sundararajan et al., "Axiomatic Attribution for Deep
    Networks", arXiv 1703.01365, equation 1. Chapter 22.

    Args:
        model: any classifier in evaluation mode.
        images: normalized, (B, C, H, W).
        classes: one for all images, or (B,). None: those that the model predicts.
        baseline: what the way starts from, in normalized values: a number, or a tensor that can be
            broadcast to the images. 0 is the mean pixel of the training images.
        steps: at how many images of the way the gradient is taken.

    Raises `ValueError` for a model in training mode or without gradients, images of a wrong size or
    range, a class that is not there, and a baseline that does not fit.

    >>> import torch
    >>> from mixerlib.inside import integrated_gradients
    >>> from mixerlib.models import create_model
    >>> model = create_model("convmixer", dim=8, depth=2, patch_size=2, kernel_size=3).eval()
    >>> images = torch.randn(4, 3, 8, 8)
    >>> shares = integrated_gradients(model, images, classes=3)
    >>> gain = model(images)[:, 3] - model(torch.zeros_like(images))[:, 3]
    >>> torch.allclose(shares.sum(dim=(1, 2, 3)), gain, atol=1e-5)
    True
    """
    checks.positive_int("steps", steps, top=False)
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on −1 to 1
    with gradients_on():
        model, images, chosen = asked(model, images, classes)
        away = images - filled(baseline, images)
        mean = torch.zeros_like(images)
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
            point = images - (1 - node) / 2 * away
            mean += weight / 2 * _gradient(model, point, chosen)
        return away * mean


def smooth_gradients(
    model: nn.Module,
    images: torch.Tensor,
    classes: int | torch.Tensor | None = None,
    noise: float = 0.15,
    samples: int = 32,
    seed: int = 0,
) -> torch.Tensor:
    """The mean gradient over copies of each image with normal noise: (B, C, H, W).

    Smilkov et al., "SmoothGrad", arXiv 1706.03825, equation 1. Chapter 22.

    Args:
        model: any classifier in evaluation mode.
        images: normalized, (B, C, H, W).
        classes: one for all images, or (B,). None: those that the model predicts for the images
            without noise.
        noise: its standard deviation, as a share of the image's range from least to largest value.
        samples: noisy copies of each image.
        seed: of the noise; the same on every device.

    Raises `ValueError` as `gradients` does, and for a `noise` that is not above 0.

    >>> import torch
    >>> from torch import nn
    >>> from mixerlib.inside import gradients, smooth_gradients
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    >>> images = torch.randn(5, 1, 2, 2)
    >>> smooth = smooth_gradients(model, images, classes=1)
    >>> torch.allclose(smooth, gradients(model, images, classes=1))  # a linear model: no change
    True
    """
    checks.of_type("noise", noise, float)
    checks.follows("noise", noise, checks.POSITIVE)
    checks.positive_int("samples", samples, top=False)
    generator = torch.Generator().manual_seed(checks.count("seed", seed))
    with gradients_on():
        model, images, chosen = asked(model, images, classes)
        spread = noise * (images.amax(dim=(1, 2, 3)) - images.amin(dim=(1, 2, 3)))
        total = torch.zeros_like(images)
        for _ in range(samples):
            drawn = torch.randn(  # of the CPU, so the same on every device
                images.shape, generator=generator, dtype=torch.float32, device="cpu"
            ).to(images)
            total += _gradient(model, images + spread[:, None, None, None] * drawn, chosen)
        return total / samples


def occlusion(
    model: nn.Module,
    images: torch.Tensor,
    classes: int | torch.Tensor | None = None,
    baseline: float | torch.Tensor = 0.0,
    side: int = 1,
    stride: int = 1,
) -> torch.Tensor:
    """How much of the logit is lost when a square that holds the pixel is covered: (B, H, W).

    A pixel has the mean over the squares that hold it. Zeiler and Fergus, "Visualizing and
    Understanding Convolutional Networks", arXiv 1311.2901, section 4.2. Chapter 22.

    Args:
        model: any classifier in evaluation mode; it needs no gradients.
        images: normalized, (B, C, H, W).
        classes: one for all images, or (B,). None: those that the model predicts.
        baseline: what covers, in normalized values: a number, or a tensor that can be broadcast to
            the images.
        side: of the square, in pixels.
        stride: from one square to the next; the squares must cover every pixel.

    Raises `ValueError` for a model in training mode, images of a wrong size or range, a class that
    is not there, and squares that leave out pixels or are larger than the image.

    >>> import torch
    >>> from torch import nn
    >>> from mixerlib.inside import gradient_times_input, occlusion
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    >>> images = torch.randn(5, 1, 2, 2)
    >>> lost = occlusion(model, images, classes=1)  # a linear model: the same as its shares
    >>> torch.allclose(lost, gradient_times_input(model, images, classes=1)[:, 0], atol=1e-6)
    True
    """
    checks.positive_int("side", side)
    checks.positive_int("stride", stride)
    model, images, chosen = asked(model, images, classes)
    cover = filled(baseline, images)
    height, width = images.shape[2:]
    if side > min(height, width):
        raise ValueError(f"`side`={side} must be at most the image's, {height}×{width}")
    if stride > side or (height - side) % stride or (width - side) % stride:
        raise ValueError(
            f"`stride`={stride} must be at most `side`={side} and divide {height} − {side} and "
            f"{width} − {side}, so that every pixel is covered"
        )
    with torch.no_grad():
        whole = chosen_logits(model, images, chosen)
        total, times = images.new_zeros(len(images), height, width), images.new_zeros(height, width)
        for top in range(0, height - side + 1, stride):
            for left in range(0, width - side + 1, stride):
                square = (..., slice(top, top + side), slice(left, left + side))
                covered = images.clone()
                covered[square] = cover[square]
                total[square] += (whole - chosen_logits(model, covered, chosen))[:, None, None]
                times[square] += 1
    return total / times
