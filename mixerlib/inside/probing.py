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
    x, classes = _table("features", features, "labels", labels)
    z, expected = _table("test_features", test_features, "test_labels", test_labels)
    names = classes.unique()
    unknown = expected[~torch.isin(expected, names)]
    if len(unknown):
        raise ValueError(
            f"`test_labels` has the class {int(unknown[0])}, which must be among `labels`, "
            f"that has {shown(names.tolist())}"
        )
    return float((probe_answers(x, classes, z, penalty) == expected).double().mean())


def probe_answers(
    features: torch.Tensor,
    labels: torch.Tensor,
    test_features: torch.Tensor,
    penalty: float = 1e-2,
) -> torch.Tensor:
    """The classes (B',) that the classifier of `linear_probe` sees in test images.

    Two probes that answer the same images can be compared image by image, which shows smaller
    differences than their accuracies do. Arguments and errors are those of `linear_probe`.

    >>> import torch
    >>> from mixerlib.inside import probe_answers
    >>> x, classes = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([3, 3, 8, 8])
    >>> probe_answers(x, classes, torch.tensor([[1.5], [3.5]]))
    tensor([3, 8])
    """
    checks.follows("penalty", penalty, checks.POSITIVE)
    x, classes = _table("features", features, "labels", labels)
    z = _flat("test_features", test_features)
    if x.shape[1] != z.shape[1]:
        raise ValueError(
            f"`test_features` has {z.shape[1]} features an image and `features` {x.shape[1]}; "
            "they must be of the same layer"
        )
    names, indices = classes.unique(return_inverse=True)
    varying = x.amax(dim=0) > x.amin(dim=0)
    mean, deviation = x.mean(dim=0), torch.where(varying, x.std(dim=0, correction=0), 1.0)
    x, z = (x - mean) / deviation * varying, (z - mean) / deviation * varying
    answers = torch.nn.functional.one_hot(indices, len(names)).double()
    gram = x.T @ x / len(x) + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(gram, x.T @ (answers - answers.mean(dim=0)) / len(x))
    return names[(z @ weights + answers.mean(dim=0)).argmax(dim=1)]


def _table(
    name: str, features: torch.Tensor, labels_name: str, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features as a table (B, width) in float64, and its labels (B,) as whole numbers."""
    table = _flat(name, features)
    if not isinstance(labels, torch.Tensor):
        raise ValueError(f"`{labels_name}` must be a torch.Tensor, not a {type(labels).__name__}")
    if labels.shape != table.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"`{labels_name}` of shape {tuple(labels.shape)} and type {labels.dtype} must be whole "
            f"numbers, one for each of the {len(table)} images"
        )
    return table, labels.long()


def _flat(name: str, features: torch.Tensor) -> torch.Tensor:
    """Features as a table (B, width) in float64."""
    if not isinstance(features, torch.Tensor):
        raise ValueError(f"`{name}` must be a torch.Tensor, not a {type(features).__name__}")
    shape = tuple(features.shape)
    if features.ndim < 2 or 0 in shape:
        raise ValueError(f"`{name}` of shape {shape} must be features (B, …)")
    if not bool(torch.isfinite(features).all()):
        raise ValueError(f"`{name}` must be finite")
    return features.detach().double().flatten(1)
