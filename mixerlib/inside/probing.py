"""How well a linear classifier tells the classes apart by one layer's features. Chapter 20."""

import torch

from mixerlib import checks
from mixerlib.checks import shown


def linear_probe(
    features: torch.Tensor,
    labels: torch.Tensor,
    test_features: torch.Tensor,
    test_labels: torch.Tensor,
    penalty: float = 1e-2,
) -> float:
    """The accuracy on test images of a linear classifier that knows only these features.

    The classifier is a ridge regression onto one number a class, 1 for the right one and 0 for the
    others, solved in closed form; the class with the largest wins. Features are scaled to mean 0
    and variance 1 on the training images first. Alain and Bengio, "Understanding intermediate
    layers using linear classifier probes", arXiv 1610.01644, ask the same of a logistic regression.

    Args:
        features: (B, …) of the training images; what follows B is flattened.
        labels: (B,), whole numbers.
        test_features: (B', …), of the same width.
        test_labels: (B',), classes that the training images have.
        penalty: λ, added to the features' correlations; above 0.

    Raises `ValueError` for shapes that do not fit, features that are not finite and a class that is
    not among `labels`.

    >>> import torch
    >>> from mixerlib.inside import linear_probe
    >>> x, classes = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
    >>> linear_probe(x, classes, torch.tensor([[1.5], [3.5]]), torch.tensor([0, 1]))
    1.0
    """
    checks.follows("penalty", penalty, checks.POSITIVE)
    x, classes = _table("features", features, "labels", labels)
    z, expected = _table("test_features", test_features, "test_labels", test_labels)
    if x.shape[1] != z.shape[1]:
        raise ValueError(
            f"`test_features` has {z.shape[1]} features an image and `features` {x.shape[1]}; "
            "they must be of the same layer"
        )
    names, indices = classes.unique(return_inverse=True)
    unknown = expected[~torch.isin(expected, names)]
    if len(unknown):
        raise ValueError(
            f"`test_labels` has the class {int(unknown[0])}, which must be among `labels`, "
            f"that has {shown(names.tolist())}"
        )
    varying = x.amax(dim=0) > x.amin(dim=0)
    mean, deviation = x.mean(dim=0), torch.where(varying, x.std(dim=0, correction=0), 1.0)
    x, z = (x - mean) / deviation * varying, (z - mean) / deviation * varying
    answers = torch.nn.functional.one_hot(indices, len(names)).double()
    gram = x.T @ x / len(x) + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(gram, x.T @ (answers - answers.mean(dim=0)) / len(x))
    predicted = names[(z @ weights + answers.mean(dim=0)).argmax(dim=1)]
    return float((predicted == expected).double().mean())


def _table(
    name: str, features: torch.Tensor, labels_name: str, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features as a table (B, width) in float64, and its labels (B,) as whole numbers."""
    for argument, value in ((name, features), (labels_name, labels)):
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"`{argument}` must be a torch.Tensor, not a {type(value).__name__}")
    shape = tuple(features.shape)
    if features.ndim < 2 or 0 in shape:
        raise ValueError(f"`{name}` of shape {shape} must be features (B, …)")
    if not bool(torch.isfinite(features).all()):
        raise ValueError(f"`{name}` must be finite")
    if labels.shape != shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"`{labels_name}` of shape {tuple(labels.shape)} and type {labels.dtype} must be whole "
            f"numbers, one for each of the {shape[0]} images"
        )
    return features.detach().double().flatten(1), labels.long()
