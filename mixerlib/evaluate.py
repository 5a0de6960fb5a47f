"""How good a model is on labelled images: loss, top-1, top-5, predictions and confusion."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model made of N images of K classes. Shares lie in 0..1, tensors on the CPU."""

    loss: float  # mean cross-entropy in nats
    top1: float  # share of images whose highest logit is the right class: the accuracy
    top5: float  # share whose right class is among the five highest logits (of all, if K < 5)
    predictions: torch.Tensor  # int64 (N,): the class with the highest logit
    confusion: (
        torch.Tensor
    )  # int64 (K, K): how many images of class row were taken for class column


def evaluate(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    normalise: Callable[[torch.Tensor], torch.Tensor] | None = None,
    batch_size: int = 500,
) -> Evaluation:
    """The model's result on images (N, C, H, W) and labels (N,), in evaluation mode, in batches.

    The images lie on the model's device. uint8 images need `normalise`, a data set's method of that
    name; floating-point images without it go in as they are. Afterwards every part of the model is
    in the mode that it was in before. Raises `ValueError` when there are no images, or
    not as many labels.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(
            f"`images` ({len(images)}) and `labels` ({len(labels)}) must be equally many, "
            "and at least one"
        )
    if normalise is None and not images.is_floating_point():
        raise ValueError(
            f"`normalise`=None needs floating-point `images`, not {images.dtype}; "
            "pass the data set's `normalise`"
        )
    training = [module for module in model.modules() if module.training]
    model.eval()
    with torch.inference_mode():
        logits = torch.cat(
            [
                model(batch if normalise is None else normalise(batch)).float()
                for batch in images.split(batch_size)
            ]
        )  # (N, K)
        loss = F.cross_entropy(logits, labels)
        classes = logits.shape[1]
        ranked = logits.topk(min(5, classes)).indices  # (N, 5), the highest first
        hits = ranked == labels.unsqueeze(1)
        predictions = ranked[:, 0]
        confusion = torch.bincount(labels * classes + predictions, minlength=classes**2)
        result = Evaluation(
            loss=loss.item(),
            top1=hits[:, 0].sum().item() / len(labels),
            top5=hits.any(dim=1).sum().item() / len(labels),
            predictions=predictions.cpu(),
            confusion=confusion.view(classes, classes).cpu(),
        )
    for module in training:
        module.training = True
    return result
