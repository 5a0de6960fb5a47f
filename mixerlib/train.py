"""The training loop: AdamW under a piecewise-linear learning rate, with clipped gradients.

mixerlib train digits                           # on the command line
model, record = train(load_recipe("digits"))    # in a notebook

Chapter 03 runs it live; chapter 13 takes it apart.
"""

import math
import time
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

# The schedule of the ConvMixer authors' CIFAR-10 script, which SplitMixer's took over: share of
# the run that is done → share of the largest learning rate, with straight lines between.
KNOTS = ((0.0, 0.0), (0.4, 1.0), (0.8, 0.05), (1.0, 0.0))


class Diverged(ArithmeticError):
    """The loss of a run is not a finite number any more; the message says since when."""


def train(
    recipe: Recipe,
    dataset: Dataset | None = None,
    device: str | None = None,
    progress: bool = True,
) -> tuple[nn.Module, Record]:
    """A model trained by the recipe, in evaluation mode, and the record of the run.

    `dataset` is the recipe's, already loaded, or a part of it. `device` is one that
    `choose_device` knows. With `progress` a bar is drawn on stderr where that is a terminal.

    The recipe's seed is given to torch's global generator. On a CPU, the same recipe, data and
    number of threads give the same weights to the last bit.

    Raises `ValueError` for a recipe that does not fit its data or its model, and `Diverged`.
    """
    device = choose_device(device)
    if dataset is None:
        dataset = load_dataset(recipe.dataset)
    if dataset.name != recipe.dataset:
        raise ValueError(f"`dataset`={dataset.name!r} must be the recipe's, {recipe.dataset!r}")
    dataset = dataset.to(device)

    torch.manual_seed(recipe.seed)  # decides the first weights
    order = torch.Generator().manual_seed(recipe.seed)  # decides the order of the images, the flips
    model = model_for(recipe, dataset).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.max_learning_rate, weight_decay=recipe.weight_decay
    )

    curve: list[Epoch] = []
    start = time.perf_counter()
    images = recipe.epochs * len(dataset.train_labels)
    with tqdm(
        total=images, unit=" images", unit_scale=True, mininterval=0.5, disable=None if progress else True
    ) as bar:
        for epoch in range(1, recipe.epochs + 1):
            bar.set_description(f"epoch {epoch}/{recipe.epochs}", refresh=False)
            epoch_start = time.perf_counter()
            loss, accuracy = train_epoch(model, optimizer, recipe, dataset, epoch, order, bar)
            seconds = time.perf_counter() - epoch_start

            test = None
            if epoch == recipe.epochs or epoch % recipe.evaluate_every == 0:
                test = evaluate(
                    model, dataset.test_images, dataset.test_labels, normalise=dataset.normalise
                )
            curve.append(
                Epoch(
                    epoch=epoch,
                    learning_rate=recipe.max_learning_rate * piecewise_linear(epoch / recipe.epochs),
                    train_loss=loss,
                    train_accuracy=accuracy,
                    test_loss=test.loss if test else None,
                    test_accuracy=test.top1 if test else None,
                    training_seconds=seconds,
                )
            )
    total_seconds = time.perf_counter() - start
    if not math.isfinite(test.loss):
        raise diverged(recipe, "on the test set after the last step", curve[-1].learning_rate)

    settings = asdict(recipe)
    training_seconds = sum(row.training_seconds for row in curve)
    return model.eval(), Record(
        recipe=settings.pop("name"),
        settings=settings,
        seed=recipe.seed,
        parameters=sum(p.numel() for p in model.parameters()),
        train_images=len(dataset.train_labels),
        test_images=len(dataset.test_labels),
        curve=curve,
        test_loss=test.loss,
        test_accuracy=test.top1,
        test_top5=test.top5,
        training_seconds=training_seconds,
        total_seconds=total_seconds,
        images_per_second=images / training_seconds,
        provenance=provenance(device),
    )


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    dataset: Dataset,
    epoch: int,
    order: torch.Generator,
    bar: tqdm,
) -> tuple[float, float]:
    """One pass over the training images, `epoch` counting from 1: its mean loss and accuracy.

    Each image counts as the model judged it on the way. Raises `Diverged` at the end of the pass
    when a step's loss was not finite.
    """
    model.train()
    count = len(dataset.train_labels)
    steps = math.ceil(count / recipe.batch_size)
    step = before = (epoch - 1) * steps
    losses, hits = [], []  # of every step; on the device, as reading one makes a GPU wait
    for images, labels in batches(
        dataset.train_images,
        dataset.train_labels,
        recipe.batch_size,
        generator=order,
        flip=recipe.flip,
    ):
        step += 1
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, steps)

        logits = model(dataset.normalise(images))
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()

        losses.append(loss.detach() * len(labels))
        hits.append((logits.detach().argmax(dim=1) == labels).sum())
        if bar.update(len(labels)):  # true when the bar was redrawn, twice a second
            bar.set_postfix(
                loss=f"{losses[-1].item() / len(labels):.3f}",
                accuracy=f"{hits[-1].item() / len(labels):.1%}",
                refresh=False,
            )

    losses = torch.stack(losses).tolist()
    for done, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            raise diverged(
                recipe, f"from step {before+done} (epoch {epoch}) on", learning_rate(recipe, before+done, steps)
            )
    return sum(losses) / count, torch.stack(hits).sum().item() / count
