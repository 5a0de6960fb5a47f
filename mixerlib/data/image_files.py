"""Image data sets of photographs that stay on the disk: read, resized and cropped by workers.

`mixerlib.data.load_dataset("flowers102", image_size=224)` is the door to what is here.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch

from mixerlib import checks
from mixerlib.data.pictures import read_image, refuse_narrow
from mixerlib.data.readers import Files, Readers
from mixerlib.data.source import Batches, ImageSource, part_of, resizing, steps_on


@dataclass(frozen=True, eq=False, repr=False)
class ImageFiles(ImageSource):
    """The files and labels of a training and a test set, read as they are needed.

    An image is read when its batch is due, in a worker process, as uint8 (3, H, W). Workers start
    with the first pass and live on until the data set is no longer used.

    Args:
        name: as `load_dataset` knows it.
        classes: their names.
        train_files: encoded paths (N,).
        test_files: the same of the test.
        train_labels: int64 (N,), places in `classes`.
        test_labels: the same of the test.
        mean: float32 (3,), for pixels in 0..1.
        std: the same, the standard deviation.
        image_size: height and width in pixels.
        interpolation: "bilinear" or "bicubic".
        crop_area: of a training image a random part is resized, of an area between this share and
            the whole and an aspect between 3/4 and 4/3 (ImageNet's usual crop). None: the whole
            photograph, squashed.
        crop_pct: a test image has its shorter side resized to side / `crop_pct`, rounded down,
            and its centre is cut out. None: it is squashed as well.
        workers: processes that read images; 0: this one does.
        held_out: training images that stand in the test images' place, from `hold_out`.

    Paths are encoded into arrays of bytes (N,): to read a string in a list changes the count of its
    references, and so copies the page of memory it is on into every worker.
    """

    name: str
    classes: tuple[str, ...]
    train_files: np.ndarray
    test_files: np.ndarray
    train_labels: torch.Tensor
    test_labels: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    image_size: tuple[int, int]
    interpolation: str
    crop_area: float | None
    crop_pct: float | None
    workers: int
    held_out: int = 0

    crops_itself: ClassVar[bool] = True  # a crop is taken from the full photograph, as it is read

    @property
    def in_channels(self) -> int:
        """The channels of an image, red, green and blue."""
        return 3

    def training_batches(self, chosen: Iterable[torch.Tensor], *, seed: int, epoch: int) -> Batches:
        """For each step's image numbers (int64 (B,), on the CPU) their images and labels.

        Images are uint8 (B, 3, H, W), labels int64 (B,), both on the device, in the order chosen.
        The random part that is cut from an image depends on `seed`, `epoch` and its number alone:
        not on the batch, the worker or the process that it is read in. Raises `DataDamaged` for a
        file that is no readable image, `DataNotFound` for one that is gone, and `ChildProcessError`
        where a worker was killed or cannot be started.
        """
        reading = _Reading(
            self.image_size,
            self.interpolation,
            crop_area=self.crop_area,
            seed=seed,
            epoch=epoch,
        )
        return self._read(reading, self.train_files, self.train_labels, list(chosen))

    def test_batches(self, batch_size: int = 500, part: tuple[int, int] = (0, 1)) -> Batches:
        """The test images and their labels in order; of n nearly equal parts the i-th, from 0.

        Raises `ValueError` for a `batch_size` below 1 or a `part` (i, n) without 0 ≤ i < n, and
        what `training_batches` raises.
        """
        mine = part_of(len(self.test_labels), part)
        size = checks.positive_int("batch_size", batch_size)
        numbers = torch.arange(mine.start, mine.stop, device="cpu")
        steps = [step for step in numbers.split(size) if len(step)]
        return self.test_images_at(steps)

    def test_images_at(self, chosen: Iterable[torch.Tensor]) -> Batches:
        """For each step's numbers of test images (int64 (B,), on the CPU) images and labels.

        Raises what `training_batches` raises.
        """
        reading = _Reading(self.image_size, self.interpolation, crop_pct=self.crop_pct)
        return self._read(reading, self.test_files, self.test_labels, list(chosen))

    @cached_property
    def _readers(self) -> Readers:
        return Readers(self.workers)

    def _read(
        self,
        reading: "_Reading",
        files: np.ndarray,
        labels: torch.Tensor,
        steps: list[torch.Tensor],
    ) -> Batches:
        numbers = [step.numpy() for step in steps]
        numbered = (list(zip(n.tolist(), files[n].tolist(), strict=True)) for n in numbers)
        batches: Iterator[torch.Tensor]
        batches = (torch.from_numpy(reading.images(step)) for step in numbered)
        if self.workers:
            resizing(self.interpolation)  # imported here, so not by each worker that is forked
            shape, pinned = (self.in_channels, *self.image_size), self.device.type == "cuda"
            batches = self._readers.batches(reading, numbered, shape, pinned)
        for images, chosen in zip(batches, steps_on(self.device, steps), strict=True):
            yield images.to(self.device, non_blocking=True), labels.index_select(0, chosen)


@dataclass(frozen=True)
class _Reading:
    """How a file becomes an image of the data set; it goes to the workers with each task."""

    image_size: tuple[int, int]
    interpolation: str
    crop_area: float | None = None
    crop_pct: float | None = None
    seed: int = 0
    epoch: int = 0

    def images(self, files: Files) -> np.ndarray:
        """The images, uint8 (B, 3, H, W)."""
        images = np.stack([self._image(index, os.fsdecode(file)) for index, file in files])
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def _image(self, index: int, file: str) -> np.ndarray:
        functional, mode = resizing(self.interpolation)
        image = read_image(file)
        size = list(self.image_size)
        if self.crop_area is not None:
            random = np.random.default_rng((self.seed, self.epoch, index))
            box = random_part(image.height, image.width, self.crop_area, random)
            image = functional.resized_crop(image, *box, size=size, interpolation=mode)
        elif self.crop_pct is not None:
            side = math.floor(min(size) / self.crop_pct)  # as timm and MindCV
            refuse_narrow(file, image, side)
            image = functional.resize(image, [side], mode)
            image = functional.center_crop(image, size)
        else:
            image = functional.resize(image, size, mode)
        return np.asarray(image)


def random_part(
    height: int, width: int, smallest: float, random: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part of an image, as torchvision draws them.

    The area is uniform between the share `smallest` and the whole, the logarithm of the aspect
    between those of 3/4 and 4/3. After ten draws that do not fit into the image it is the largest
    part in the middle with such an aspect.
    """
    for _ in range(10):
        area = height * width * random.uniform(smallest, 1)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            return int(random.integers(height - h + 1)), int(random.integers(width - w + 1)), h, w
    h, w = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w
