"""How alike two layers see the same images. Chapter 20."""

import torch


def linear_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """The linear centred kernel alignment of two layers on the same images, between 0 and 1.

    With the columns centred, ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) in Frobenius norms: Kornblith et al.,
    "Similarity of Neural Network Representations Revisited", arXiv 1905.00414, equation 4. It does
    not change when either is rotated, shifted or scaled. With few images and many features chance
    alone gives a value well above 0: compare with that of shuffled images.

    Args:
        x: (B, …), an image a row; what follows is flattened, so a shift of a map counts.
        y: (B, …), with other features perhaps.

    Raises `ValueError` where the numbers of images differ, where there are fewer than two, and
    where x or y is the same for all images or not finite.

    >>> import torch
    >>> from mixerlib.inside import linear_cka
    >>> x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    >>> round(linear_cka(x, 3 * x.flip(1) + 1), 6)
    1.0
    """
    x, y = _centred("x", x), _centred("y", y)
    if len(x) != len(y):
        raise ValueError(f"`x` has {len(x)} images and `y` {len(y)}; they must be the same images")
    if max(x.shape[1], y.shape[1]) > len(x):  # tables of images are smaller than of features
        first, second = x @ x.T, y @ y.T
        shared = (first * second).sum()
        return float(shared / first.norm() / second.norm())
    return float((y.T @ x).square().sum() / (x.T @ x).norm() / (y.T @ y).norm())


def _centred(name: str, features: torch.Tensor) -> torch.Tensor:
    """A table (B, features) in float64, scaled to the norm 1, whose columns have the mean 0."""
    if not isinstance(features, torch.Tensor) or features.ndim < 2 or len(features) < 2:
        what = getattr(features, "shape", None)
        raise ValueError(
            f"`{name}` of shape {type(features).__name__ if what is None else tuple(what)} must "
            "have two images at least and a dimension of features: (B, …)"
        )
    if not bool(torch.isfinite(features).all()):
        raise ValueError(f"`{name}` must be finite")
    table = features.detach().double().flatten(1)
    centred = (table - table.mean(dim=0)) * (table.amax(dim=0) > table.amin(dim=0))
    if not float(scale := centred.norm()):
        raise ValueError(f"`{name}` is the same for all images; it must vary to be compared")
    return centred / scale
