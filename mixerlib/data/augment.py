"""Augmentation of uint8 image batches: drawn for each image by itself, applied to all at once.

>>> import torch
>>> from mixerlib.data import Augmentation, load_dataset
>>> dataset = load_dataset("digits")
>>> images, labels = dataset.train_images[:8], dataset.train_labels[:8]
>>> augmentation = Augmentation(flip="random", crop="pad", crop_padding=1)
>>> drawn = augmentation.draw(8, dataset.image_size, torch.Generator().manual_seed(0))
>>> inputs, targets = augmentation(images, labels, drawn, dataset.normalize, dataset.num_classes)

Everything random is drawn on the CPU, so a seed means the same augmentation on every device.
Chapter 12 shows what each step does to real images, and what it costs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mixerlib import checks
from mixerlib.data import draws
from mixerlib.data.draws import Draws
from mixerlib.data.operations import MAGNITUDES, apply_operations, take_pixels
from mixerlib.data.source import made_on_cpu

CHOICES = {
    "flip": ("none", "random", "alternating"),
    "crop": ("none", "pad", "resized"),
    "policy": ("none", "randaugment", "trivialaugment", "timm_randaugment"),
    "erase_fill": ("mean", "noise"),
}
RULES = {
    "crop_padding": checks.COUNT,
    "crop_area": checks.POSITIVE_SHARE,
    "policy_operations": checks.COUNT,
    "policy_magnitude": checks.NOT_NEGATIVE,
    "policy_magnitude_std": checks.NOT_NEGATIVE,
    "jitter": checks.SHARE,
    "erase": checks.SHARE,
    "mixup": checks.NOT_NEGATIVE,
    "cutmix": checks.NOT_NEGATIVE,
}
USED_WITH: dict[str, tuple[str, tuple[Any, ...]]] = {
    "crop_padding": ("crop", ("pad",)),
    "crop_area": ("crop", ("resized",)),
    "policy_operations": ("policy", ("randaugment", "timm_randaugment")),
    "policy_magnitude": ("policy", ("randaugment", "timm_randaugment")),
    "policy_magnitude_std": ("policy", ("timm_randaugment",)),
    "erase_fill": ("erase", ()),
}
MAGNITUDE_OF = {  # the top of the magnitudes' scale is not everywhere the same
    "randaugment": checks.Rule(
        lambda value: value in range(MAGNITUDES), f"a whole number in 0 … {MAGNITUDES - 1}"
    ),
    "timm_randaugment": checks.Rule(lambda value: 0 <= value <= 10, "in 0 … 10"),
}


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images, in this order: crop, flip, policy, jitter, mix, erase.

    Args:
        flip: "random" mirrors an image left to right with probability 1/2. "alternating" mirrors it
            in every other epoch, half of the images in the first: so two epochs show all (airbench,
            Jordan 2024, arXiv 2404.00498).
        crop: "pad" shifts the image by some pixels each way; what comes in from outside is the
            image reflected, because a black border is a thing that no test image has. "resized"
            cuts out a rectangle of aspect 3/4 … 4/3, and brings it back to size, as torchvision's
            RandomResizedCrop.
        crop_padding: with "pad", the most pixels.
        crop_area: with "resized", the smallest share of the area.
        policy: "randaugment": n of torchvision's 14 operations, all at magnitude m.
            "trivialaugment": one of them at any magnitude, in torchvision's wide ranges.
            "timm_randaugment": timm's rand-m-n-mstd-inc1, n of 15 operations, each left out with
            probability 1/2, at a normal magnitude of mean m, cut to 0 … 10.
        policy_operations: n of the two randaugments.
        policy_magnitude: m, in 0 … 30 for "randaugment", in 0 … 10 for timm's.
        policy_magnitude_std: of "timm_randaugment", the magnitude's deviation.
        jitter: brightness, contrast and saturation change by factors in 1 ± this, in random order:
            ColorJitter.
        erase: probability that a rectangle of 2 … 33 % of the area, aspect 0.3 … 3.3, is erased,
            after normalisation.
        erase_fill: "mean", which is 0 then, or normal "noise" in every pixel.
        mixup: alpha of the Beta distribution that the weight of an image beside its partner is
            drawn from, to blend the two.
        cutmix: the same, to paste a rectangle. With both, a batch takes either.

    Raises `ValueError` naming the setting when a value is out of range, is missing, or would have
    no effect beside the others.
    """

    flip: str = "none"
    crop: str = "none"
    crop_padding: int | None = None
    crop_area: float | None = None
    policy: str = "none"
    policy_operations: int | None = None
    policy_magnitude: float | None = None
    policy_magnitude_std: float | None = None
    jitter: float = 0.0
    erase: float = 0.0
    erase_fill: str | None = None
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        checks.settings(self, CHOICES, RULES, USED_WITH)
        if self.policy in MAGNITUDE_OF:
            checks.follows("policy_magnitude", self.policy_magnitude, MAGNITUDE_OF[self.policy])

    @made_on_cpu()
    def draw(
        self,
        count: int,
        image_size: tuple[int, int],
        generator: torch.Generator,
        *,
        indices: Tensor | None = None,
        epoch: int = 1,
        seed: int = 0,
    ) -> Draws:
        """All that is random about a batch of images.

        Args:
            count: images in the batch.
            image_size: their height and width.
            generator: a CPU generator.
            indices: int64 (count,) on the CPU, the images' numbers in the data set, for
                flip="alternating".
            epoch: from 1, for flip="alternating".
            seed: of the coins of flip="alternating".
        """
        made: dict[str, Tensor] = {}
        if self.crop_padding is not None:
            if self.crop_padding >= min(image_size):
                raise ValueError(
                    f"`crop_padding`={self.crop_padding} must be below the image's side, "
                    f"{min(image_size)}: that is as far as it can be reflected"
                )
            made["shift"] = draws.draw_shift(count, self.crop_padding, generator)
        if self.crop_area is not None:
            made["crop"] = draws.draw_crop(count, image_size, self.crop_area, generator)
        if self.flip == "random":
            made["mirrored"] = torch.rand(count, generator=generator) < 0.5
        if self.flip == "alternating":
            if indices is None:
                raise ValueError("`indices`=None: `flip`='alternating' needs the images' numbers")
            made["mirrored"] = (draws.coin(indices, seed) + epoch) % 2 == 1
        if self.policy != "none":
            made["operation"], made["argument"] = draws.draw_policy(
                self.policy,
                (count, self.policy_operations or 1),
                (self.policy_magnitude, self.policy_magnitude_std),
                image_size,
                generator,
            )
        if self.jitter:
            made["jitter_operation"], made["jitter_factor"] = draws.draw_jitter(
                count, self.jitter, generator
            )
        if self.erase:
            made["erase"] = draws.draw_erased(count, image_size, self.erase, generator)
        if self.erase_fill == "noise":
            made["noise_seed"] = torch.randint(2**62, (count,), generator=generator)
        if self.mixup or self.cutmix:
            made["mix_weight"], made["mix_box"] = draws.draw_mix(
                count, image_size, self.mixup, self.cutmix, generator
            )
        return Draws(**made)

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        drawn: Draws,
        normalize: Callable[[Tensor], Tensor],
        num_classes: int,
    ) -> tuple[Tensor, Tensor]:
        """Augmented images, normalised, and their targets, on the images' device.

        Targets are the labels; with MixUp or CutMix, they are float (B, num_classes), the share of
        each class. Smoothing may follow, as `F.cross_entropy(…, label_smoothing=…)`: it is linear,
        so mixing smoothed targets and smoothing mixed ones is the same.

        Grey images stay grey: what changes colour leaves them as they are, as in torchvision.
        Nothing here waits for the device.

        Args:
            images: uint8 (B, C, H, W).
            labels: int64 (B,).
            drawn: what `draw` gave for these images.
            normalize: makes floats of uint8 images.
            num_classes: of the targets of MixUp and CutMix.

        Raises `ValueError` for images that are not uint8, for a policy or jitter on other than 1 or
        3 channels, and for draws of another number of images.
        """
        return self.batch(self.each(images, drawn, normalize), labels, drawn, num_classes)

    def each(self, images: Tensor, drawn: Draws, normalize: Callable[[Tensor], Tensor]) -> Tensor:
        """What is done to every image by itself: all but mixing and erasing, and normalisation.

        So images of several batches may go through it together, and become what they would have
        become batch by batch, to the last bit. Arguments and errors as above.
        """
        self._check_input(images, drawn)
        if drawn.shift is not None:
            images = _shift(images, drawn.shift - self.crop_padding)
        if drawn.crop is not None:
            images = _crop_and_resize(images, drawn.crop)
        if drawn.mirrored is not None:
            both = torch.cat([images, images.flip(3)])
            chosen = torch.arange(len(images)) + len(images) * drawn.mirrored
            images = both.index_select(0, chosen.to(images.device, non_blocking=True))
        if drawn.operation is not None and drawn.argument is not None:
            smooth = self.policy == "timm_randaugment"
            images = apply_operations(images, drawn.operation, drawn.argument, smooth)
        if drawn.jitter_operation is not None and drawn.jitter_factor is not None:
            images = apply_operations(images, drawn.jitter_operation, drawn.jitter_factor)
        return normalize(images)

    def batch(
        self, images: Tensor, labels: Tensor, drawn: Draws, num_classes: int
    ) -> tuple[Tensor, Tensor]:
        """What is done to the images of a batch together, after `each`: mixing, then erasing."""
        targets = labels
        if drawn.mix_weight is not None and drawn.mix_box is not None:
            images, targets = _mix(images, labels, drawn.mix_weight, drawn.mix_box, num_classes)
        if drawn.erase is not None:  # last, as in timm: an erased part stays empty
            images = _erase(images, drawn.erase, drawn.noise_seed)
        return images, targets

    def _check_input(self, images: Tensor, drawn: Draws) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(
                f"`images` must be uint8 (B, C, H, W), not {images.dtype} {tuple(images.shape)}"
            )
        if (self.policy != "none" or self.jitter) and images.shape[1] not in (1, 3):
            raise ValueError(
                f"`images` with {images.shape[1]} channels: a policy or jitter needs 1 or 3"
            )
        for name, tensor in drawn.tensors().items():
            if len(tensor) != len(images):
                raise ValueError(
                    f"`drawn` is for {len(tensor)} images ({name}), but there are {len(images)}"
                )


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
    targets = F.one_hot(labels, num_classes).to(images.dtype)
    if not len(images):
        return images, targets
    share = weight[0].item()
    top, left, tall, wide = box[0].tolist()
    partners = images.flip(0)
    if tall and wide:
        rows, columns = slice(top, top + tall), slice(left, left + wide)
        images = images.clone()
        images[..., rows, columns] = partners[..., rows, columns]
    else:
        images = images.mul(share).add_(partners.mul_(1 - share))
    return images, targets.mul(share) + targets.flip(0).mul(1 - share)
