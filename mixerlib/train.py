"""The training loop: AdamW under a piecewise-linear learning rate, with clipped gradients.

mixerlib train digits                           # on the command line
model, record = train(load_recipe("digits"))    # in a notebook

Chapter 03 runs it live.
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
    total_images = recipe.epochs * len(dataset.train_labels)
    with tqdm(
        total=total_images,
        unit=" images",
        unit_scale=True,
        mininterval=0.5,
        disable=None if progress else True,
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
                if not math.isfinite(test.loss):
                    raise diverged(
                        recipe, f"on the test set after epoch {epoch}", epoch / recipe.epochs
                    )
            curve.append(
                Epoch(
                    epoch=epoch,
                    learning_rate=learning_rate(recipe, epoch / recipe.epochs),
                    train_loss=loss,
                    train_accuracy=accuracy,
                    test_loss=test.loss if test else None,
                    test_accuracy=test.top1 if test else None,
                    training_seconds=seconds,
                )
            )
    total_seconds = time.perf_counter() - start

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
        images_per_second=total_images / training_seconds,
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
    first = (epoch - 1) * steps + 1  # this epoch's first step of the run's recipe.epochs * steps
    progress = [step / (recipe.epochs * steps) for step in range(first, first + steps)]
    losses, hits = [], []  # of every step; on the device, as reading one makes a GPU wait
    epoch_batches = batches(
        dataset.train_images,
        dataset.train_labels,
        recipe.batch_size,
        generator=order,
        flip=recipe.flip,
    )
    for share_done, (images, labels) in zip(progress, epoch_batches, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, share_done)

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
    for step, (loss, share_done) in enumerate(zip(losses, progress, strict=True), start=first):
        if not math.isfinite(loss):
            raise diverged(recipe, f"at step {step}, in epoch {epoch}", share_done)
    return sum(losses) / count, torch.stack(hits).sum().item() / count


def piecewise_linear(progress: float) -> float:
    """The schedule: share of the run that is done, 0..1 → share of the largest learning rate.

    It rises from 0 to 1 over the first 40 % of the run, falls to 1/20 at 80 %, and to 0 at the end.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"`progress`={progress!r} must lie between 0 and 1")
    return float(np.interp(progress, *zip(*KNOTS, strict=True)))


def learning_rate(recipe: Recipe, progress: float) -> float:
    """The learning rate when this share of the run's steps is done; 0 at the very last of them."""
    return recipe.max_learning_rate * piecewise_linear(progress)


def model_for(recipe: Recipe, dataset: Dataset) -> nn.Module:
    """The recipe's model, fresh, with the channels, classes and image size of the data set."""
    options = {
        "in_channels": dataset.in_channels,
        "num_classes": dataset.num_classes,
        "image_size": dataset.image_size,
    }
    for option in options.keys() & recipe.model_options:
        raise ValueError(
            f"`{option}`={recipe.model_options[option]!r} is not for a recipe to set: "
            f"the data set {dataset.name!r} decides it"
        )
    known = model_entry(recipe.model).defaults  # only MLP-Mixer asks for the image's size
    options = {option: value for option, value in options.items() if option in known}
    return create_model(recipe.model, **options, **recipe.model_options)


def choose_device(name: str | None = None) -> torch.device:
    """A device by torch's name ("cpu", "cuda", "cuda:1", "mps"); None: the GPU if there is one.

    Raises `ValueError` for a name that torch does not know, or a device that is not here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ValueError(f"`device`={name!r} must be cpu, cuda, cuda:1, mps or the like") from None
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.mps.device_count()}
    here = counts.get(device.type, 0)
    if (device.index or 0) >= here:
        raise ValueError(
            f"`device`={name!r} is not here: torch {torch.__version__} sees {here} of it"
        )
    return device


def diverged(recipe: Recipe, where: str, progress: float) -> Diverged:
    """The error for a loss that is no longer finite."""
    return Diverged(
        f"the loss is not finite {where}, at learning rate {learning_rate(recipe, progress):.3g}; "
        f"try a smaller max_learning_rate (now {recipe.max_learning_rate:g}), a smaller clip_norm "
        f"(now {recipe.clip_norm}) or a larger batch_size (now {recipe.batch_size})"
    )
