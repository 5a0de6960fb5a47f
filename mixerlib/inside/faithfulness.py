"""Whether scores of pixels say something about the model: by taking away or giving back the pixels
they rank first, and by redrawing the weights. Chapter 22.
"""

from collections.abc import Iterable

import numpy as np
import scipy  # loads `scipy.stats`, which takes a second, when it is used
import torch
from torch import nn

from mixerlib import checks
from mixerlib.costs.unwrapping import copied
from mixerlib.inside.choosing import (
    check_images,
    check_module,
    check_ready,
    chosen_layers,
    layer_names,
)
from mixerlib.inside.logits import asked, filled, logits_of

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def deletion_curve(
    model: nn.Module,
    images: torch.Tensor,
    scores: torch.Tensor,
    classes: int | torch.Tensor | None = None,
    baseline: float | torch.Tensor = 0.0,
    steps: int = 16,
    seed: int = 0,
) -> torch.Tensor:
    """The probability of the class as pixels are covered, those with the highest scores first:
    (B, `steps` + 1), from the whole image to none of it.

    The lower its mean, the sooner the scores name what the model needs. Petsiuk et al., "RISE",
    arXiv 1806.07421, section 3.3. Chapter 22.

    Args:
        model: any classifier in evaluation mode.
        images: normalized, (B, C, H, W).
        scores: (B, H, W); pixels with equal scores come in random order.
        classes: one for all images, or (B,). None: those that the model predicts for whole images.
        baseline: what covers, in normalized values: a number, or a tensor that can be broadcast to
            the images.
        steps: nearly equal parts of the pixels.
        seed: of the order of equal scores.

    Raises `ValueError` for a model in training mode, images of a wrong size or range, a class that
    is not there, and scores of another shape or not finite.

    >>> import torch
    >>> from torch import nn
    >>> from mixerlib.inside import deletion_curve
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    >>> images = torch.randn(5, 1, 2, 2)
    >>> deletion_curve(model, images, images[:, 0], classes=1, steps=4).shape
    torch.Size([5, 5])
    """
    return _curve(model, images, scores, classes, (baseline, steps, seed), deleting=True)


def insertion_curve(
    model: nn.Module,
    images: torch.Tensor,
    scores: torch.Tensor,
    classes: int | torch.Tensor | None = None,
    baseline: float | torch.Tensor = 0.0,
    steps: int = 16,
    seed: int = 0,
) -> torch.Tensor:
    """The probability of the class as pixels are put onto the baseline, those with the highest
    scores first: (B, `steps` + 1), from none of the image to the whole.

    The higher its mean, the sooner the scores name what is enough for the model. Errors and source
    are those of `deletion_curve`. Chapter 22.

    Args:
        model: any classifier in evaluation mode.
        images: normalized, (B, C, H, W).
        scores: (B, H, W); pixels with equal scores come in random order.
        classes: one for all images, or (B,). None: those that the model predicts for whole images.
        baseline: what the pixels are put onto, in normalized values: a number, or a tensor that can
            be broadcast to the images.
        steps: nearly equal parts of the pixels.
        seed: of the order of equal scores.

    >>> import torch
    >>> from torch import nn
    >>> from mixerlib.inside import insertion_curve
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    >>> images = torch.randn(5, 1, 2, 2)
    >>> curve = insertion_curve(model, images, images[:, 0], classes=1, steps=4)
    >>> torch.allclose(curve[:, -1], model(images).softmax(dim=1)[:, 1])
    True
    """
    return _curve(model, images, scores, classes, (baseline, steps, seed), deleting=False)


def _curve(
    model: nn.Module,
    images: torch.Tensor,
    scores: torch.Tensor,
    classes: int | torch.Tensor | None,
    options: tuple[float | torch.Tensor, int, int],
    deleting: bool,
) -> torch.Tensor:
    baseline, steps, seed = options
    model, images, chosen = asked(model, images, classes)
    cover = filled(baseline, images)
    places = _places(scores, images, checks.count("seed", seed))
    pixels = places[0].numel()
    if checks.positive_int("steps", steps, top=False) > pixels:
        raise ValueError(f"`steps`={steps} must be at most the number of pixels, {pixels}")
    points = []
    with torch.no_grad():
        for step in range(steps + 1):
            named = (places < round(step * pixels / steps))[:, None]  # which pixels come so early
            first, rest = (cover, images) if deleting else (images, cover)
            mixed = torch.where(named, first, rest)
            probabilities = logits_of(model, mixed).softmax(dim=1)
            points.append(probabilities.gather(1, chosen[:, None])[:, 0])
    return torch.stack(points, dim=1)


def _places(scores: torch.Tensor, images: torch.Tensor, seed: int) -> torch.Tensor:
    """Each pixel's place in its image's order from the highest score on, (B, H, W), from 0."""
    shape = (len(images), *images.shape[2:])
    if not isinstance(scores, torch.Tensor) or scores.shape != shape:
        what = getattr(scores, "shape", type(scores).__name__)
        what = tuple(what) if isinstance(what, torch.Size) else what
        raise ValueError(f"`scores` of shape {what} must be {shape}: one number a pixel (B, H, W)")
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("`scores` must be finite")
    generator = torch.Generator().manual_seed(seed)
    # a random order first, and a stable sort: equal scores stay in random order
    drawn = torch.rand(shape, generator=generator, device="cpu")
    mixed = drawn.flatten(1).argsort(dim=1).to(scores.device)
    order = scores.detach().flatten(1).gather(1, mixed).argsort(dim=1, descending=True, stable=True)
    return mixed.gather(1, order).argsort(dim=1).view(shape)


def with_random_weights(
    model: nn.Module, images: torch.Tensor, layers: Iterable[str] | None = None, seed: int = 0
) -> nn.Module:
    """A copy of the model whose layers of these names are drawn anew, as before any training.

    BatchNorms among them measure `images` once, as those of an untrained network would in training;
    else the copy's maps would have another scale at each layer. Adebayo et al., "Sanity Checks for
    Saliency Maps", arXiv 1810.03292, redraw from the head down. Chapter 22.

    Args:
        model: any model in evaluation mode; it stays as it is.
        images: normalized, (B, C, H, W).
        layers: names as in `model.named_modules()`; all that lies in a layer is drawn anew. None:
            the whole model.
        seed: of the weights.

    Raises `ValueError` for a model in training mode, images of a wrong size or range, a layer that
    is not there, and one with weights of its own and no `reset_parameters`.

    >>> import torch
    >>> from mixerlib.inside import with_random_weights
    >>> from mixerlib.models import create_model
    >>> model = create_model("convmixer", dim=8, depth=2, patch_size=2, kernel_size=3).eval()
    >>> other = with_random_weights(model, torch.randn(4, 3, 8, 8), ["head"])
    >>> torch.equal(model.stem[0].weight, other.stem[0].weight)
    True
    >>> torch.equal(model.head.weight, other.head.weight)
    False
    """
    model = check_ready(model)
    check_images(model, images)
    checks.count("seed", seed)
    changed = copied(model)
    roots = [changed] if layers is None else chosen_layers(changed, layers).values()
    parts = {id(part): part for root in roots for part in root.modules()}.values()
    modules = sorted(parts, key=lambda part: not _has_weights(part))  # who says of its layers, last
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        torch.manual_seed(seed)
        for module in modules:
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif _has_weights(module):
                raise ValueError(
                    f"`layers` has a {type(module).__name__} with weights and no "
                    "`reset_parameters`, so nothing says how they are drawn"
                )
    _measure([module for module in modules if isinstance(module, _BATCH_NORMS)], changed, images)
    return changed


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _measure(norms: list, model: nn.Module, images: torch.Tensor) -> None:
    """Give BatchNorms the statistics of what reaches them from these images."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        logits_of(model, images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def layers_from_the_head(model: nn.Module) -> list[str]:
    """The layers of a model from the last to the first, to be redrawn one after the other: its
    children, and each block for itself where it has `stem` and `blocks`.

    Raises `ValueError` for what is no `nn.Module`.

    >>> from mixerlib.inside import layers_from_the_head
    >>> from mixerlib.models import create_model
    >>> layers_from_the_head(create_model("convmixer", dim=8, depth=2))
    ['head', 'blocks.1', 'blocks.0', 'stem']
    """
    model = check_module(model)
    blocks = [name for name in layer_names(model) if name.startswith("blocks.")]
    names: list[str] = []
    for name, _ in model.named_children():
        names += blocks if name == "blocks" and blocks else [name]
    return names[::-1]


def rank_correlation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Spearman's correlation of two maps, image by image: (B, …) and (B, …) → (B,), in float64.

    1 means that they put the pixels in the same order, 0 that the orders have nothing in common.
    Where one of the maps is constant, there is no order, and the answer is 0. Raises `ValueError`
    for shapes that differ, fewer than two pixels, and values that are not finite.

    >>> import torch
    >>> from mixerlib.inside import rank_correlation
    >>> x = torch.tensor([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0]])
    >>> rank_correlation(x, torch.tensor([[0.0, 7.0, 8.0], [0.0, -7.0, -8.0]])).tolist()
    [1.0, -1.0]
    """
    for name, value in (("x", x), ("y", y)):
        if not isinstance(value, torch.Tensor) or value.ndim < 2 or value[:1].numel() < 2:
            what = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise ValueError(f"`{name}` of shape {what} must be maps (B, …) of two pixels at least")
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"`{name}` must be finite")
    if x.shape != y.shape:
        raise ValueError(f"`x` of shape {tuple(x.shape)} and `y` of {tuple(y.shape)} must agree")
    first, second = (_centred_ranks(maps) for maps in (x, y))
    norms = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    shared = (first * second).sum(axis=1)
    return torch.from_numpy(np.divide(shared, norms, out=np.zeros_like(shared), where=norms > 0))


def _centred_ranks(maps: torch.Tensor) -> np.ndarray:
    table = maps.detach().flatten(1).double().cpu().numpy()
    ranks = scipy.stats.rankdata(table, axis=1)
    return ranks - ranks.mean(axis=1, keepdims=True)
