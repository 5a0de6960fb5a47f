"""Whether a recipe fits the data, the model and the processes, asked before the first step."""

from copy import deepcopy

import torch
from torch import nn

from mixerlib.data import ImageSource
from mixerlib.models import model_entry
from mixerlib.training.distributed import Processes
from mixerlib.training.recipe import Recipe


def images_of(recipe: Recipe, dataset: ImageSource, processes: Processes) -> int:
    """The number of training images, which must do for the recipe's batches and processes."""
    if dataset.name != recipe.dataset:
        raise ValueError(f"`dataset`={dataset.name!r} must be the recipe's, {recipe.dataset!r}")
    if dataset.held_out != recipe.held_out:
        raise ValueError(f"`held_out`={recipe.held_out} must be the data's: {dataset.held_out}")
    images = len(dataset.train_labels)
    if not images:
        raise ValueError(f"`dataset`={dataset.name!r} has no training images")
    if not len(dataset.test_labels):
        raise ValueError(f"`dataset`={dataset.name!r} has no test images")
    smallest = images % recipe.batch_size or recipe.batch_size
    if smallest < processes.count:
        last = f"{smallest} of {images} images, too few for {processes.count} processes"
        raise ValueError(f"`batch_size`={recipe.batch_size} leaves a last batch of {last}")
    return images


def check_early_size(recipe: Recipe, dataset: ImageSource) -> None:
    """Raises `ValueError` unless the model can see the small images, if the recipe has any: square
    ones, of whole patches.
    """
    if (side := recipe.early_size) is None:
        return
    if "image_size" in model_entry(recipe.model).defaults:
        rule = f"null: `model`={recipe.model!r} is built for one size of image"
        raise ValueError(f"`early_size`={side} must be {rule}")
    if side >= min(dataset.image_size):
        height, width = dataset.image_size
        raise ValueError(f"`early_size`={side} must be below the images' {height} × {width}")
    options = model_entry(recipe.model).defaults | recipe.model_options
    if side % (patch := options.get("patch_size", 1)):
        raise ValueError(f"`early_size`={side} must be a multiple of `patch_size`={patch}")


@torch.no_grad()
def check_parts_of_one(
    model: nn.Module, recipe: Recipe, dataset: ImageSource, processes: Processes
) -> None:
    """Raises `ValueError` where some part of a batch is one image, and the model cannot train on
    one: BatchNorm on a map of one patch. It is asked of a copy on the device "meta".
    """
    images, size = len(dataset.train_labels), recipe.batch_size
    batches = {min(size, images), images % size or size}  # the whole ones, and the last
    shards = [
        torch.arange(batch, device="cpu")[Processes(rank, processes.count).shard(batch)]
        for batch in batches
        for rank in range(processes.count)
    ]
    parts = [len(part) for shard in shards for part in shard.chunk(recipe.accumulate)]
    if min(parts) > 1 or recipe.frozen:  # a frozen model's BatchNorms are as in evaluation
        return
    side = recipe.early_size
    height, width = (side, side) if side else dataset.image_size
    image = torch.zeros(1, dataset.in_channels, height, width, device="meta")
    try:
        deepcopy(model).to("meta").train()(image)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        others = {"`accumulate`": recipe.accumulate, "processes": processes.count}
        given = "".join(f", {name}={value}" for name, value in others.items() if value > 1)
        raise ValueError(
            f"`batch_size`={size}{given}: of the {images} images, some are worked through one by "
            f"one, and BatchNorm cannot train on one image of one patch ({height} × {width})"
        ) from None
    except RuntimeError:  # a mixing of one's own may need numbers
        return
