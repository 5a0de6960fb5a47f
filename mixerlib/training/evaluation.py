"""How good a model is on labelled images: loss, top-1, top-5, predictions and confusion."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.checks import positive_int
from mixerlib.data import ImageSource

BATCH_SIZE = 500  # images that go through a model together, where nothing else is said


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model made of N images of K classes. Shares lie in 0..1, tensors on the CPU.

    Args:
        loss: mean cross-entropy in nats.
        top1: share of images whose highest logit is the right class: the accuracy.
        top5: share whose right class is among the five highest logits (of all, if K < 5).
        predictions: int64 (N,), the class with the highest logit.
        confusion: int64 (K, K), images of class row that were taken for class column.
    """

    loss: float
    top1: float
    top5: float
    predictions: torch.Tensor
    confusion: torch.Tensor

    @property
    def per_class(self) -> torch.Tensor:
        """The accuracy on each class's images, float64 (K,); NaN for a class without images."""
        return self.confusion.diagonal().double() / self.confusion.sum(dim=1)


def evaluate(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    normalize: Callable[[torch.Tensor], torch.Tensor] | None = None,
    batch_size: int = BATCH_SIZE,
    flip_average: bool = False,
) -> Evaluation:
    """The model's result on images (N, C, H, W) and labels (N,), in evaluation mode, in batches.

    Args:
        model: afterwards every part of it is in the mode that it was in before.
        images: on the model's device; uint8, or floating point.
        labels: int64, the class of each.
        normalize: a data set's method of that name, which uint8 images need. None: floating-point
            images go in as they are.
        batch_size: images that go through the model together.
        flip_average: whether the logits of each image are the mean of its own and its mirror
            image's: a second look that costs as much again, and must be reported as such.

    Raises `ValueError` when there are no images, not as many labels, or labels that are no classes.
    Chapter 13.

    >>> from mixerlib.data import load_dataset
    >>> from mixerlib.training import evaluate, load_recipe, train
    >>> model, _ = train(load_recipe("digits", {"epochs": 1}), progress=False)
    >>> digits = load_dataset("digits")
    >>> hundred = digits.test_images[:100], digits.test_labels[:100]
    >>> result = evaluate(model, *hundred, normalize=digits.normalize)
    >>> result.top1 == result.confusion.diagonal().sum() / 100
    tensor(True)
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(
            f"`images` ({len(images)}) and `labels` ({len(labels)}) must be equally many, "
            "and at least one"
        )
    if normalize is None and not images.is_floating_point():
        raise ValueError(
            f"`normalize`=None needs floating-point `images`, not {images.dtype}; "
            "pass the data set's `normalize`"
        )
    if labels.dtype != torch.int64 or labels.ndim != 1:
        shape = tuple(labels.shape)
        raise ValueError(f"`labels` of {labels.dtype}, {shape}, must be of torch.int64, (N,)")
    size = positive_int("batch_size", batch_size)
    batches = zip(images.split(size), labels.split(size), strict=True)
    return _evaluate(model, batches, normalize or (lambda batch: batch), flip_average)


def evaluate_on(
    model: nn.Module,
    dataset: ImageSource,
    *,
    part: tuple[int, int] = (0, 1),
    batch_size: int = BATCH_SIZE,
    flip_average: bool = False,
    between: Callable[[], None] = lambda: None,
) -> Evaluation:
    """The model's result on a data set's test images, as `evaluate` gives it.

    Args:
        model: afterwards every part of it is in the mode that it was in before.
        dataset: on the model's device.
        part: (i, n), to look at part i of n of the images only.
        batch_size: images that go through the model together.
        flip_average: whether logits are averaged with those of the mirror images.
        between: called between two batches; what it raises ends the evaluation.
    """

    if not len(dataset.test_labels):
        raise ValueError(f"`dataset`={dataset.name!r} has no test images")

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for number, batch in enumerate(dataset.test_batches(batch_size, part)):
            if number:
                between()
            yield batch

    return _evaluate(model, batches(), dataset.normalize, flip_average)


def _evaluate(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    normalize: Callable[[torch.Tensor], torch.Tensor],
    flip_average: bool,
) -> Evaluation:
    with evaluating(model):
        parts = []
        for images, labels in batches:
            inputs = normalize(images)
            logits = model(inputs).float()
            if flip_average:
                logits = (logits + model(inputs.flip(-1)).float()) / 2
            parts.append((logits, labels))
        # all at once: the losses of a batch alone may differ from these in their last bits
        logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        classes = logits.shape[1]
        low, high = (int(label) for label in labels.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f"`labels` from {low} to {high} must be classes of the model, 0 to {classes - 1}"
            )
        losses, ranked = outcomes(logits, labels)
        return summary(losses.cpu(), ranked.cpu(), labels.cpu(), classes)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """While this lasts the model is in evaluation mode, and nothing is kept for gradients."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


def outcomes(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What logits (B, K) make of each image: its cross-entropy, float32 (B,), and the five classes
    with the highest logits, int64 (B, 5), the highest first; of fewer classes all.
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    return losses, logits.topk(min(5, logits.shape[1])).indices


def summary(
    losses: torch.Tensor, ranked: torch.Tensor, labels: torch.Tensor, classes: int
) -> Evaluation:
    """The evaluation that the outcomes of all images make; tensors (N,), (N, 5), (N,), on CPU."""
    correct = ranked == labels.unsqueeze(1)
    predictions = ranked[:, 0]
    confusion = torch.bincount(labels * classes + predictions, minlength=classes**2)
    return Evaluation(
        loss=losses.double().mean().item(),
        top1=correct[:, 0].sum().item() / len(labels),
        top5=correct.any(dim=1).sum().item() / len(labels),
        predictions=predictions,
        confusion=confusion.view(classes, classes),
    )
