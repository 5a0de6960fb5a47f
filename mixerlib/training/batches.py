"""The batches of an epoch: its images in their order, augmented, as a step wants them.

A GPU is kept waiting by the number of its kernels more than by their work: augmentation alone
launches hundreds for a batch of small images, a few for each operation. What is done to every
image by itself is therefore done to the images of several steps at once, where they are small. It
changes no bit of them. Chapter 12.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from mixerlib.data import Augmentation, Draws, ImageSource
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import Run, stream

VALUES_AT_ONCE = 2**24  # of pixels that a GPU augments at once; as float32 they fill 64 MiB


@dataclass(frozen=True)
class Batch:
    """What a process computes in one step.

    Args:
        images: (B, C, H, W), normalised, in the memory layout of the run's form.
        labels: their classes (B,).
        targets: what the loss asks for: the labels again, or shares (B, K).
        size: images of the step in all processes.
    """

    images: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor
    size: int


def batches_left(run: Run, dataset: ImageSource) -> Iterator[Batch]:
    """The batches of the steps that the run's epoch has left, in their order.

    The order of the images depends on the seed and the epoch, the augmentation of a batch on the
    seed, the epoch and the step: so it does not matter where an epoch is taken up.
    """
    recipe, processes = run.recipe, run.processes
    augment = augmentation_for(recipe, dataset)
    generator = stream(recipe.seed, "order", run.epoch)
    order = torch.randperm(run.images, generator=generator, device="cpu")
    batches = order.split(recipe.batch_size)  # of all processes together
    shards = [batch[processes.shard(len(batch))] for batch in batches]
    count = steps_at_once(dataset, recipe.batch_size)
    groups = [range(i, min(i + count, run.steps)) for i in range(run.step, run.steps, count)]
    chosen = [torch.cat([shards[step] for step in group]) for group in groups]
    loaded = dataset.training_batches(chosen, seed=recipe.seed, epoch=run.epoch)
    for group, (images, labels) in zip(groups, loaded, strict=True):
        draws = []
        for step in group:
            drawn = augment.draw(
                len(batches[step]),
                dataset.image_size,
                stream(recipe.seed, "augmentation", run.epoch, step),
                indices=batches[step],
                epoch=run.epoch,
                seed=recipe.seed,
            )
            draws.append(drawn.part(processes.shard(len(batches[step]))))
        images = augment.each(images, Draws.of_several(draws), dataset.normalize)
        sizes = [len(shards[step]) for step in group]
        parts = zip(group, images.split(sizes), labels.split(sizes), draws, strict=True)
        for step, images, labels, drawn in parts:
            images, targets = augment.batch(images, labels, drawn, dataset.num_classes)
            if recipe.early_size and run.epoch <= (recipe.early_epochs or 0):
                side = (recipe.early_size, recipe.early_size)
                images = F.interpolate(images, side, mode="bilinear", antialias=True)
            images = images.contiguous(memory_format=run.form.memory_format)
            yield Batch(images, labels, targets, len(batches[step]))


def steps_at_once(dataset: ImageSource, batch_size: int) -> int:
    """How many steps' images are augmented together: one on a CPU, and of photographs.

    A CPU's caches hold a batch at the most; photographs are read from files, batch by batch.
    """
    if dataset.device.type == "cpu" or dataset.crops_itself:
        return 1
    height, width = dataset.image_size
    return max(1, VALUES_AT_ONCE // (batch_size * dataset.in_channels * height * width))


def augmentation_for(recipe: Recipe, dataset: ImageSource) -> Augmentation:
    """What the recipe does to each training image, less what its data set does while reading it."""
    if dataset.crops_itself and recipe.crop == "resized":
        return replace(recipe.augmentation, crop="none", crop_area=None)
    return recipe.augmentation
