"""What is random about a batch of images, drawn on the CPU before anything is done to them.

Each function draws one thing for `count` images, an entry an image. Rectangles are int64
(count, 4): top, left, height, width. The tests compare distributions with torchvision's and timm's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from mixerlib.data.operations import (
    MAGNITUDES,
    OPERATIONS,
    TIMM_OPERATIONS,
    timm_arguments,
    torchvision_arguments,
)
from mixerlib.data.source import made_on_cpu

with made_on_cpu():
    _JITTERED = torch.tensor([OPERATIONS.index(n) for n in ("Brightness", "Contrast", "Color")])
    _TIMM = torch.tensor([OPERATIONS.index(name) for name in TIMM_OPERATIONS])


@dataclass(frozen=True)
class Draws:
    """All that is random about a batch of B images: CPU tensors, None for what is not drawn.

    Every tensor has an entry an image, so that a slice of the draws belongs to a slice of the
    images: a distributed run draws for the whole batch, and each process takes its part.

    Args:
        shift: int64 (B, 2), down and right, from the padded image's corner.
        crop: int64 (B, 4), the rectangle that is kept.
        mirrored: bool (B,).
        operation: int64 (B, n), numbers of `OPERATIONS`.
        argument: float64 (B, n), their strengths.
        jitter_operation: int64 (B, 3), in the order of their use.
        jitter_factor: float64 (B, 3).
        erase: int64 (B, 4), the rectangle that is erased; all 0: none.
        noise_seed: int64 (B,).
        mix_weight: float (B,), the same for the whole batch.
        mix_box: int64 (B, 4), the same for the whole batch; all 0: blended.
    """

    shift: Tensor | None = None
    crop: Tensor | None = None
    mirrored: Tensor | None = None
    operation: Tensor | None = None
    argument: Tensor | None = None
    jitter_operation: Tensor | None = None
    jitter_factor: Tensor | None = None
    erase: Tensor | None = None
    noise_seed: Tensor | None = None
    mix_weight: Tensor | None = None
    mix_box: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Those that were drawn, by name."""
        return {f.name: t for f in fields(self) if (t := getattr(self, f.name)) is not None}

    def map(self, function: Callable[[Tensor], Tensor]) -> "Draws":
        """The draws with `function` of every tensor."""
        return replace(self, **{name: function(t) for name, t in self.tensors().items()})

    def part(self, where: slice) -> "Draws":
        """The draws of some of the images."""
        return self.map(lambda tensor: tensor[where])

    @staticmethod
    def of_several(draws: Sequence["Draws"]) -> "Draws":
        """The draws of several batches, one after the other, all by the same `Augmentation`."""
        return Draws(
            **{name: torch.cat([d.tensors()[name] for d in draws]) for name in draws[0].tensors()}
        )


def draw_shift(count: int, padding: int, generator: torch.Generator) -> Tensor:
    """Places of an image in its padded self, int64 (count, 2) in 0 … 2·`padding`."""
    return torch.randint(2 * padding + 1, (count, 2), generator=generator)


def draw_crop(
    count: int, image_size: tuple[int, int], smallest: float, generator: torch.Generator
) -> Tensor:
    """Rectangles of `smallest` or more of the area; where none fits, the largest of a right aspect,
    from the centre.
    """
    height, width = image_size
    boxes = draw_rectangles(count, image_size, image_size, (smallest, 1), (3 / 4, 4 / 3), generator)
    tall, wide = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    central = torch.tensor([(height - tall) // 2, (width - wide) // 2, tall, wide])
    return boxes.where(boxes[:, 2:3] > 0, central)


def draw_policy(
    policy: str,
    shape: tuple[int, int],
    strength: tuple[float | None, float | None],
    image_size: tuple[int, int],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Numbers of operations, int64 (count, n), and their arguments, float64 (count, n).

    Args:
        policy: one of `Augmentation`'s, but not "none".
        shape: count and n.
        strength: the magnitude and its deviation, as far as the policy has them.
        image_size: height and width, which translations are shares of.
        generator: a CPU generator.
    """
    magnitude, magnitude_std = strength
    negative = torch.rand(shape, generator=generator) < 0.5
    if policy == "timm_randaugment":
        operation = _TIMM[torch.randint(len(_TIMM), shape, generator=generator)]
        noise = torch.randn(shape, dtype=torch.float64, generator=generator)
        magnitudes = (magnitude + magnitude_std * noise).clamp(0, 10)
        argument = timm_arguments(operation, magnitudes, negative, image_size)
        left_out = torch.rand(shape, generator=generator) < 0.5
        return operation.masked_fill(left_out, OPERATIONS.index("Identity")), argument
    operation = torch.randint(14, shape, generator=generator)
    magnitudes = torch.randint(MAGNITUDES, shape, generator=generator)
    if magnitude is not None:  # in RandAugment
        magnitudes.fill_(int(magnitude))
    return operation, torchvision_arguments(policy, operation, magnitudes, negative, image_size)


def draw_jitter(count: int, jitter: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Brightness, contrast and colour in random order, int64 (count, 3), and their factors, which
    are uniform in 1 ± `jitter`, float64 (count, 3).
    """
    order = torch.rand(count, 3, generator=generator).argsort(dim=1)
    share = 2 * torch.rand(count, 3, dtype=torch.float64, generator=generator) - 1
    return _JITTERED[order], 1 + jitter * share


def draw_erased(
    count: int, image_size: tuple[int, int], probability: float, generator: torch.Generator
) -> Tensor:
    """Rectangles to erase, all 0 for the images that stay whole."""
    smaller = (image_size[0] - 1, image_size[1] - 1)
    boxes = draw_rectangles(count, image_size, smaller, (0.02, 0.33), (0.3, 3.3), generator)
    return boxes * (torch.rand(count, 1, generator=generator) < probability)


def draw_mix(
    count: int,
    image_size: tuple[int, int],
    mixup: float,
    cutmix: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The batch's weight, repeated (count,), and its pasted rectangle; a flat one for MixUp."""
    height, width = image_size
    # torch draws from Beta with its global generator only
    numbers = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    cut = cutmix > 0 and (mixup == 0 or numbers.random() < 0.5)
    alpha = cutmix if cut else mixup
    weight, box = numbers.beta(alpha, alpha), (0, 0, 0, 0)
    if cut:  # round a random centre, so that a part may lie outside: that is cut off
        side = math.sqrt(1 - weight)
        tall, wide = int(height * side), int(width * side)
        top = int(numbers.integers(height)) - tall // 2
        left = int(numbers.integers(width)) - wide // 2
        bottom, right = min(top + tall, height), min(left + wide, width)
        top, left = max(top, 0), max(left, 0)
        box = (top, left, bottom - top, right - left)
        weight = 1 - box[2] * box[3] / (height * width)
    return torch.full((count,), weight), torch.tensor([box]).repeat(count, 1)


def coin(indices: Tensor, seed: int) -> Tensor:
    """0 or 1 for each image's number, by a hash of it and the seed: the mixing of SplitMix64."""
    step = 0x9E3779B97F4A7C15
    mixed = indices.numpy().astype(np.uint64) + np.uint64(seed * step % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return torch.from_numpy((mixed >> np.uint64(63)).astype(np.int64))


def draw_rectangles(
    count: int,
    image_size: tuple[int, int],
    largest: tuple[int, int],
    areas: tuple[float, float],
    aspects: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """For each image the first of ten rectangles that fits `largest`, anywhere; all 0 if none does.

    The share of the image's area is uniform, the aspect (height / width) in its logarithm, as in
    torchvision's RandomResizedCrop and RandomErasing.
    """
    area, aspect = torch.rand(2, count, 10, dtype=torch.float64, generator=generator)
    area = math.prod(image_size) * (areas[0] + (areas[1] - areas[0]) * area)
    low, high = math.log(aspects[0]), math.log(aspects[1])
    aspect = (low + (high - low) * aspect).exp()
    sides = torch.stack([area * aspect, area / aspect], dim=2).sqrt().round().long()
    fits = ((sides > 0) & (sides <= torch.tensor(largest))).all(dim=2)  # (count, 10)
    sides = sides[torch.arange(count), fits.int().argmax(dim=1)]  # (count, 2)
    room = torch.tensor(image_size) - sides + 1
    corner = (room * torch.rand(count, 2, dtype=torch.float64, generator=generator)).long()
    return torch.cat([corner, sides], dim=1) * fits.any(dim=1, keepdim=True)
