"""Augmentation of uint8 image batches: drawn for each image by itself, applied to all at once.

augmentation = Augmentation(flip="random", policy="randaugment",
                            policy_operations=2, policy_magnitude=12)
draws = augmentation.draw(len(images), dataset.image_size, generator)
inputs, targets = augmentation(images, labels, draws, dataset.normalise, dataset.num_classes)

Everything random is drawn on the CPU, so a seed means the same augmentation on every device.
Chapter 12 shows what each step does to real images, and what it costs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mixerlib.data.operations import (
    MAGNITUDES,
    OPERATIONS,
    TIMM_OPERATIONS,
    apply_operations,
    take_pixels,
    timm_arguments,
    torchvision_arguments,
)

FLIPS = ("none", "random", "alternating")
CROPS = ("none", "pad", "resized")
POLICIES = ("none", "randaugment", "trivialaugment", "timm_randaugment")
ERASE_FILLS = ("mean", "noise")
_JITTERED = torch.tensor([OPERATIONS.index(name) for name in ("Brightness", "Contrast", "Color")])
_TIMM = torch.tensor([OPERATIONS.index(name) for name in TIMM_OPERATIONS])


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images, in this order: crop, flip, policy, jitter, erase, mix.

    Raises `ValueError` naming the setting when a value is out of range, is missing, or would have
    no effect beside the others.
    """

    # "random" mirrors an image left to right with probability 1/2. "alternating" mirrors it in
    # every other epoch, half of the images in the first: so two epochs show all (airbench, Jordan
    # 2024, arXiv 2404.00498).
    flip: str = "none"
    # "pad" shifts the image by up to `crop_padding` pixels each way; what comes in from outside is
    # the image reflected, because a black border is a thing that no test image has. "resized" cuts
    # out a rectangle with `crop_area` or more of the area and aspect 3/4 … 4/3, and brings it back
    # to size, as torchvision's RandomResizedCrop.
    crop: str = "none"
    crop_padding: int | None = None
    crop_area: float | None = None
    # "randaugment": n = `policy_operations` of torchvision's 14, all at magnitude m of 0 … 30.
    # "trivialaugment": one of them at any magnitude, in torchvision's wide ranges.
    # "timm_randaugment": timm's rand-m-n-mstd-inc1, n of 15, each left out with probability 1/2, at
    # a normal magnitude of mean m and deviation `policy_magnitude_std`, cut to 0 … 10.
    policy: str = "none"
    policy_operations: int | None = None
    policy_magnitude: float | None = None
    policy_magnitude_std: float | None = None
    # Brightness, contrast and saturation by factors in 1 ± this, in random order: ColorJitter.
    jitter: float = 0.0
    # Probability that a rectangle of 2 … 33 % of the area, aspect 0.3 … 3.3, is erased, after
    # normalisation: to 0, which is the "mean" colour, or to normal "noise" in every pixel.
    erase: float = 0.0
    erase_fill: str | None = None
    # Parameter alpha of the Beta distribution that the weight of an image beside its partner is
    # drawn from. MixUp blends the two, CutMix pastes a rectangle. With both, a batch takes either.
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in (("flip", FLIPS), ("crop", CROPS), ("policy", POLICIES)):
            _check(self, name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        randaugment = self.policy in ("randaugment", "timm_randaugment")
        timm = self.policy == "timm_randaugment"
        _check_use(self, "crop_padding", self.crop == "pad", "crop")
        _check_use(self, "crop_area", self.crop == "resized", "crop")
        _check_use(self, "policy_operations", randaugment, "policy")
        _check_use(self, "policy_magnitude", randaugment, "policy")
        _check_use(self, "policy_magnitude_std", timm, "policy")
        _check_use(self, "erase_fill", self.erase != 0, "erase")
        for name in ("crop_padding", "policy_operations"):
            value = getattr(self, name)
            kept = value is None or (isinstance(value, int) and value >= 1)
            _check(self, name, kept, "a whole number, at least 1")
        kept = self.crop_area is None or 0 < self.crop_area <= 1
        _check(self, "crop_area", kept, "above 0 and at most 1")
        if self.policy == "randaugment":
            kept = self.policy_magnitude in range(MAGNITUDES)
            _check(self, "policy_magnitude", kept, f"a whole number in 0 … {MAGNITUDES - 1}")
        if self.policy_magnitude is not None and self.policy_magnitude_std is not None:  # timm's
            _check(self, "policy_magnitude", 0 <= self.policy_magnitude <= 10, "in 0 … 10")
            kept = 0 <= self.policy_magnitude_std < math.inf
            _check(self, "policy_magnitude_std", kept, "at least 0")
        _check(self, "jitter", 0 <= self.jitter <= 1, "in 0 … 1")
        _check(self, "erase", 0 <= self.erase <= 1, "in 0 … 1")
        if self.erase:
            known = self.erase_fill in ERASE_FILLS
            _check(self, "erase_fill", known, f"one of {', '.join(ERASE_FILLS)}")
        for name in ("mixup", "cutmix"):
            _check(self, name, 0 <= getattr(self, name) < math.inf, "at least 0")

    def draw(
        self,
        count: int,
        image_size: tuple[int, int],
        generator: torch.Generator,
        *,
        indices: Tensor | None = None,
        epoch: int = 1,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        """All that is random about `count` images of height and width `image_size`.

        CPU tensors by name, each with an entry an image, so that a slice of all of them belongs to
        a slice of the images: a distributed run draws for the whole batch and takes its part.
        `generator` is a CPU generator. `indices`, int64 (count,) on the CPU, number the images in
        the data set; flip="alternating" needs them, with `seed` and `epoch` (from 1).

        Rectangles are int64 (count, 4): top, left, height, width.
        """
        draws = {}
        if self.crop_padding is not None:
            if self.crop_padding >= min(image_size):
                raise ValueError(
                    f"`crop_padding`={self.crop_padding} must be below the image's side, "
                    f"{min(image_size)}: that is as far as it can be reflected"
                )
            places = 2 * self.crop_padding + 1  # down, and right, from the padded image's corner
            draws["shift"] = torch.randint(places, (count, 2), generator=generator)
        if self.crop == "resized":
            draws["crop"] = self._draw_crop(count, image_size, generator)
        if self.flip == "random":
            draws["mirrored"] = torch.rand(count, generator=generator) < 0.5
        if self.flip == "alternating":
            if indices is None:
                raise ValueError("`indices`=None: `flip`='alternating' needs the images' numbers")
            draws["mirrored"] = (_coin(indices, seed) + epoch) % 2 == 1
        if self.policy != "none":
            draws["operation"], draws["argument"] = self._draw_policy(count, image_size, generator)
        if self.jitter:
            order = torch.rand(count, 3, generator=generator).argsort(dim=1)
            share = 2 * torch.rand(count, 3, dtype=torch.float64, generator=generator) - 1
            draws["jitter_operation"] = _JITTERED[order]
            draws["jitter_factor"] = 1 + self.jitter * share
        if self.erase:
            smaller = (image_size[0] - 1, image_size[1] - 1)
            boxes = _draw_rectangles(
                count, image_size, smaller, (0.02, 0.33), (0.3, 3.3), generator
            )
            erased = torch.rand(count, 1, generator=generator) < self.erase
            draws["erase"] = boxes * erased
        if self.erase_fill == "noise":
            draws["noise_seed"] = torch.randint(2**62, (count,), generator=generator)
        if self.mixup or self.cutmix:
            draws["mix_weight"], draws["mix_box"] = self._draw_mix(count, image_size, generator)
        return draws

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        draws: dict[str, Tensor],
        normalise: Callable[[Tensor], Tensor],
        num_classes: int,
    ) -> tuple[Tensor, Tensor]:
        """Augmented images, normalised, and their targets, on the images' device.

        Images are uint8 (B, C, H, W), labels int64 (B,). `normalise` makes floats of uint8 images.
        Targets are the labels; with MixUp or CutMix, they are float (B, num_classes), the share of
        each class. Smoothing may follow, as `F.cross_entropy(…, label_smoothing=…)`: it is linear,
        so mixing smoothed targets and smoothing mixed ones is the same.

        Grey images stay grey: what changes colour leaves them as they are, as in torchvision.
        Nothing here waits for the device. Raises `ValueError` for images that are not uint8, for
        a policy or jitter on other than 1 or 3 channels, and for draws of another number of images.
        """
        self._check_input(images, draws)
        if "shift" in draws:
            images = _shift(images, draws["shift"] - self.crop_padding)
        if "crop" in draws:
            images = _crop_and_resize(images, draws["crop"])
        if "mirrored" in draws:
            both = torch.cat([images, images.flip(3)])
            chosen = torch.arange(len(images)) + len(images) * draws["mirrored"]
            images = both.index_select(0, chosen.to(images.device, non_blocking=True))
        if "operation" in draws:
            smooth = self.policy == "timm_randaugment"
            images = apply_operations(images, draws["operation"], draws["argument"], smooth)
        if "jitter_operation" in draws:
            images = apply_operations(images, draws["jitter_operation"], draws["jitter_factor"])
        images = normalise(images)
        if "erase" in draws:
            images = _erase(images, draws["erase"], draws.get("noise_seed"))
        if "mix_box" in draws:
            return _mix(images, labels, draws["mix_weight"], draws["mix_box"], num_classes)
        return images, labels

    def _check_input(self, images: Tensor, draws: dict[str, Tensor]) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(
                f"`images` must be uint8 (B, C, H, W), not {images.dtype} {tuple(images.shape)}"
            )
        if (self.policy != "none" or self.jitter) and images.shape[1] not in (1, 3):
            raise ValueError(
                f"`images` with {images.shape[1]} channels: a policy or jitter needs 1 or 3"
            )
        for name, drawn in draws.items():
            if len(drawn) != len(images):
                raise ValueError(
                    f"`draws` are for {len(drawn)} images ({name}), but there are {len(images)}"
                )

    def _draw_crop(
        self, count: int, image_size: tuple[int, int], generator: torch.Generator
    ) -> Tensor:
        """Rectangles; where none fits, the largest of a right aspect, from the centre."""
        height, width = image_size
        boxes = _draw_rectangles(
            count, image_size, image_size, (self.crop_area or 1, 1), (3 / 4, 4 / 3), generator
        )
        tall, wide = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
        central = torch.tensor([(height - tall) // 2, (width - wide) // 2, tall, wide])
        return boxes.where(boxes[:, 2:3] > 0, central)

    def _draw_policy(
        self, count: int, image_size: tuple[int, int], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Numbers of operations, int64 (count, n), and their arguments, float64 (count, n)."""
        shape = (count, self.policy_operations or 1)
        negative = torch.rand(shape, generator=generator) < 0.5
        if self.policy == "timm_randaugment":
            operation = _TIMM[torch.randint(len(_TIMM), shape, generator=generator)]
            noise = torch.randn(shape, dtype=torch.float64, generator=generator)
            magnitude = (self.policy_magnitude + self.policy_magnitude_std * noise).clamp(0, 10)
            argument = timm_arguments(operation, magnitude, negative, image_size)
            left_out = torch.rand(shape, generator=generator) < 0.5
            return operation.masked_fill(left_out, OPERATIONS.index("Identity")), argument
        operation = torch.randint(14, shape, generator=generator)
        magnitude = torch.randint(MAGNITUDES, shape, generator=generator)
        if self.policy_magnitude is not None:  # in RandAugment
            magnitude.fill_(int(self.policy_magnitude))
        arguments = torchvision_arguments(self.policy, operation, magnitude, negative, image_size)
        return operation, arguments

    def _draw_mix(
        self, count: int, image_size: tuple[int, int], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The batch's weight, repeated (count,), and its pasted rectangle; a flat one for MixUp."""
        height, width = image_size
        # torch draws from Beta with its global generator only
        numbers = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        cut = self.cutmix > 0 and (self.mixup == 0 or numbers.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
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


def _check(augmentation: Any, name: str, kept: bool, rule: str) -> None:
    if not kept:
        raise ValueError(f"`{name}`={getattr(augmentation, name)!r} must be {rule}")


def _check_use(augmentation: Any, name: str, used: bool, master: str) -> None:
    """Raise `ValueError` for a setting that another one switches off, or asks for."""
    value, ruler = getattr(augmentation, name), getattr(augmentation, master)
    if used and value is None:
        raise ValueError(f"`{master}`={ruler!r} needs `{name}`, which is None")
    if not used and value is not None:
        raise ValueError(f"`{name}`={value!r} has no effect with `{master}`={ruler!r}")


# Drawing


def _coin(indices: Tensor, seed: int) -> Tensor:
    """0 or 1 for each image's number, by a hash of it and the seed: the mixing of SplitMix64."""
    step = 0x9E3779B97F4A7C15
    mixed = indices.numpy().astype(np.uint64) + np.uint64(seed * step % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return torch.from_numpy((mixed >> np.uint64(63)).astype(np.int64))


def _draw_rectangles(
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


# Applying: uint8 images before they are normalised, floats after


def _shift(images: Tensor, shift: Tensor) -> Tensor:
    """Every image moved up and left by its shift (B, 2) in pixels, reflected at its borders."""
    height, width = images.shape[2:]
    down, right = shift.to(images.device, non_blocking=True).split(1, dim=1)
    y = torch.arange(height, device=images.device) + down  # (B, H)
    x = torch.arange(width, device=images.device) + right
    y = height - 1 - (height - 1 - y.abs()).abs()
    x = width - 1 - (width - 1 - x.abs()).abs()
    source = (y.unsqueeze(2) * width + x.unsqueeze(1)).flatten(1)
    return take_pixels(images.flatten(2), source).view_as(images)


def _crop_and_resize(images: Tensor, crops: Tensor) -> Tensor:
    """Each image's rectangle (B, 4) brought back to the image's size, bilinear.

    A rectangle is never larger than the image, so nothing is ever made smaller, and no smoothing
    against aliasing is called for. Within one grey level of torchvision's `resized_crop`.
    """
    height, width = images.shape[2:]
    top, left, tall, wide = crops.float().to(images.device, non_blocking=True).T.unsqueeze(2)
    y = (torch.arange(height, device=images.device) + 0.5) * (tall / height) - 0.5
    x = (torch.arange(width, device=images.device) + 0.5) * (wide / width) - 0.5
    y = y.minimum(tall - 1).clamp_(min=0) + top + 0.5  # (B, H), never beyond the rectangle
    x = x.minimum(wide - 1).clamp_(min=0) + left + 0.5
    y, x = torch.broadcast_tensors(y.unsqueeze(2), x.unsqueeze(1))
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1)
    resized = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return resized.round_().to(torch.uint8)


def _inside(boxes: Tensor, images: Tensor) -> Tensor:
    """Which pixels lie in the image's rectangle: (B, 4) → booleans (B, 1, H, W)."""
    top, left, tall, wide = boxes.to(images.device, non_blocking=True).T.unsqueeze(2)
    y = torch.arange(images.shape[2], device=images.device)
    x = torch.arange(images.shape[3], device=images.device)
    rows, columns = (y >= top) & (y < top + tall), (x >= left) & (x < left + wide)
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def _erase(images: Tensor, boxes: Tensor, noise_seed: Tensor | None) -> Tensor:
    """Float images with their rectangles at 0, or full of noise.

    The noise is drawn on the images' device, from the first image's seed.
    """
    erased = (boxes[:, 2] * boxes[:, 3]).nonzero().squeeze(1)
    chosen = erased.to(images.device, non_blocking=True)
    part = images.index_select(0, chosen)
    fill = torch.zeros_like(part)
    if noise_seed is not None and len(erased):
        fill.normal_(generator=torch.Generator(images.device).manual_seed(int(noise_seed[0])))
    return images.index_copy(0, chosen, fill.where(_inside(boxes[erased], part), part))


def _mix(
    images: Tensor, labels: Tensor, weight: Tensor, box: Tensor, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Each image with its partner, image b with image B − 1 − b: blended, or pasted into the box.

    A batch has one weight and one box (timm's "batch" mode), so they are read from its first image.
    """
    share = weight[0].item()
    top, left, tall, wide = box[0].tolist()
    partners = images.flip(0)
    if tall and wide:
        rows, columns = slice(top, top + tall), slice(left, left + wide)
        images = images.clone()
        images[..., rows, columns] = partners[..., rows, columns]
    else:
        images = images.mul(share).add_(partners.mul_(1 - share))
    targets = F.one_hot(labels, num_classes).to(images.dtype)
    return images, targets.mul(share) + targets.flip(0).mul(1 - share)
