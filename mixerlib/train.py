"""The training loop: AdamW under a piecewise-linear learning rate, with clipped gradients.

mixerlib train digits                           # on the command line
model, record = train(load_recipe("digits"))    # in a notebook

Chapter 03 runs it live; chapter 13 takes it apart.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from mixerlib.data import Dataset, batches, load_dataset
from mixerlib.evaluate import evaluate
from mixerlib.models import create_model, model_entry
from mixerlib.recipe import Recipe
from mixerlib.records import Epoch, Record, provenance

# The schedule of the ConvMixer authors' CIFAR-10 script, which the SplitMixer paper took over:
# share of the run done → share of the largest learning rate, straight lines between.
KNOTS = ((0.0, 0.0), (0.4, 1.0), (0.8, 0.05), (1.0, 0.0))


class Diverged(ArithmeticError):
    """The loss of a run is no longer a finite number; the message says since when and what to try."""


def train(
    recipe: Recipe,
    dataset: Dataset | None = None,
    device: str | None = None,
    progress: bool = True,
) -> tuple[nn.Module, Record]:
    """A model trained by the recipe, in evaluation mode, and the record of the run.

    `dataset` is the recipe's, loaded already (or a part of it); `device` "cpu", "cuda", or None for
    the GPU where there is one. With `progress` a bar is drawn on stderr, if that is a terminal.
    The recipe's seed seeds torch's global generator. On a CPU the same recipe, data and number of
    threads give the same weights to the last bit.

    Raises `ValueError` for a recipe that does not fit its data or its model, and `Diverged`.
    """
    device = choose_device(device)
    if dataset is None:
        dataset = load_dataset(recipe.dataset)
    elif dataset.name != recipe.dataset:
        raise ValueError(f"`dataset`={dataset.name!r} must be the recipe's, {recipe.dataset!r}")
    dataset = dataset.to(device)

    torch.manual_seed(recipe.seed)  # decides the first weights
    order = torch.Generator().manual_seed(recipe.seed)  # decides the order of the images
    model = model_for(recipe, dataset).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)

    curve = []
    begin = time.perf_counter()
    with progress_bar(recipe, dataset, progress) as bar:
        for epoch in range(1, recipe.epochs + 1):
            start = time.perf_counter()
            loss, accuracy = train_epoch(model, optimizer, recipe, dataset, epoch, order, bar)
            seconds = time.perf_counter() - start
            test = None
            if epoch == recipe.epochs or epoch % recipe.evaluate_every == 0:
                test = evaluate(
                    model, dataset.test_images, dataset.test_labels, normalise=dataset.normalise
                )
            curve.append(
                Epoch(
                    epoch=epoch,
                    learning_rate=optimizer.param_groups[0]["lr"],
                    train_loss=loss,
                    train_accuracy=accuracy,
                    test_loss=test.loss if test else None,
                    test_accuracy=test.top1 if test else None,
                    training_seconds=seconds,
                )
            )
    training_seconds = sum(row.training_seconds for row in curve)
    if not math.isfinite(test.loss):
        raise diverged(f"after the last step of epoch {recipe.epochs}", recipe, curve)
    settings = asdict(recipe)
    record = Record(
        recipe=settings.pop("name"),
        settings=settings,
        seed=recipe.seed,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        train_images=len(dataset.train_labels),
        test_images=len(dataset.test_labels),
        curve=curve,
        test_loss=test.loss,
        test_accuracy=test.top1,
        test_top5=test.top5,
        training_seconds=training_seconds,
        total_seconds=time.perf_counter() - begin,
        images_per_second=recipe.epochs * len(dataset.train_labels) / training_seconds,
        provenance=provenance(device),
    )
    return model.eval(), record


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    dataset: Dataset,
    epoch: int,
    order: torch.Generator,
    bar: tqdm,
) -> tuple[float, float]:
    """One pass over the training images, in place; mean loss and accuracy over it.

    Both are measured on the way, so every image was judged by the model as it then was. They stay
    on the device until the end: reading a number back makes a GPU wait for the CPU.
    """
    model.train()
    images_done, steps = len(dataset.train_labels), steps_per_epoch(recipe, dataset)
    losses, hits = [], []  # one scalar a step: the sum over the batch
    cut = batches(
        dataset.train_images,
        dataset.train_labels,
        recipe.batch_size,
        generator=order,
        flip=recipe.flip,
    )
    for step, (images, labels) in enumerate(cut, start=(epoch - 1) * steps + 1):
        learning_rate = recipe.max_learning_rate * piecewise_linear(step / (recipe.epochs * steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate

        logits = model(dataset.normalise(images))
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
