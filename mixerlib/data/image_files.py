"""Image data sets of photographs that stay on the disk: read, resized and cropped by workers.

`mixerlib.data.load_dataset("flowers102", image_size=224)` is the door to what is here.
"""

import io
import math
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from mixerlib import checks
from mixerlib.data.download import DataDamaged, DataNotFound
from mixerlib.data.source import Batches, ImageSource, part_of, resizing, steps_on


@dataclass(frozen=True, eq=False, repr=False)
class ImageFiles(ImageSource):
    """The files and labels of a training and a test set, read as they are needed.

    An image is read when its batch is due, in a worker process, as uint8 (3, H, W).

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
        crop_pct: a test image has its shorter side resized to side / `crop_pct`, and its centre is
            cut out. None: it is squashed as well.
        workers: processes that read images; 0: this one does.

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
        file that is no readable image, and `DataNotFound` for one that is gone.
        """
        reader = _Reader(
            self.train_files,
            self.image_size,
            self.interpolation,
            crop_area=self.crop_area,
            seed=seed,
            epoch=epoch,
        )
        return self._read(reader, self.train_labels, list(chosen))

    def test_batches(self, batch_size: int = 500, part: tuple[int, int] = (0, 1)) -> Batches:
        """The test images and their labels in order; of n nearly equal parts the i-th, from 0.

        Raises `ValueError` for a `batch_size` below 1 or a `part` (i, n) without 0 ≤ i < n, and
        what `training_batches` raises.
        """
        mine = part_of(len(self.test_labels), part)
        size = checks.positive_int("batch_size", batch_size)
        steps = torch.arange(mine.start, mine.stop).split(size)
        reader = _Reader(
            self.test_files, self.image_size, self.interpolation, crop_pct=self.crop_pct
        )
        return self._read(reader, self.test_labels, [step for step in steps if len(step)])

    def _read(self, reader: "_Reader", labels: torch.Tensor, steps: list[torch.Tensor]) -> Batches:
        # Workers start anew for each pass, which takes hundredths of a second: so a pass that is
        # cut short leaves nothing behind, and two passes may run side by side.
        loader = DataLoader(
            reader,
            batch_sampler=[step.tolist() for step in steps],
            num_workers=min(self.workers, len(steps)),
            collate_fn=_as_it_is,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_leave_the_process_group,
            generator=torch.Generator(),  # it draws seeds for workers: not from torch's global one
        )
        for images, chosen in zip(loader, steps_on(self.device, steps), strict=True):
            if isinstance(images, OSError):
                raise images
            yield images.to(self.device, non_blocking=True), labels.index_select(0, chosen)


@dataclass(frozen=True)
class _Reader:
    """What a worker does: file numbers in, images out."""

    files: np.ndarray
    image_size: tuple[int, int]
    interpolation: str
    crop_area: float | None = None
    crop_pct: float | None = None
    seed: int = 0
    epoch: int = 0

    def __getitems__(self, indices: list[int]) -> torch.Tensor | OSError:
        """Images uint8 (B, 3, H, W); or the error, which reads badly when a worker raises it."""
        try:
            images = [self._image(index) for index in indices]
        except OSError as error:
            return error
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    def _image(self, index: int) -> np.ndarray:
        functional, mode = resizing(self.interpolation)
        image = read_image(os.fsdecode(self.files[index]))
        size = list(self.image_size)
        if self.crop_area is not None:
            random = np.random.default_rng((self.seed, self.epoch, index))
            box = random_part(image.height, image.width, self.crop_area, random)
            image = functional.resized_crop(image, *box, size=size, interpolation=mode)
        elif self.crop_pct is not None:
            image = functional.resize(image, [round(min(size) / self.crop_pct)], mode)
            image = functional.center_crop(image, size)
        else:
            image = functional.resize(image, size, mode)
        return np.asarray(image)


def read_image(file: str) -> Image.Image:
    """The image in a file, in red, green and blue.

    Raises `DataDamaged` when it cannot be decoded, and `DataNotFound` when it is gone.
    """
    try:
        content = Path(file).read_bytes()
    except FileNotFoundError:
        raise DataNotFound(
            f"{file} is missing: it was there when the data set was opened"
        ) from None
    try:
        with warnings.catch_warnings():  # ImageNet has files with odd metadata and whole images
            warnings.simplefilter("ignore")
            return in_rgb(Image.open(io.BytesIO(content)))
    except Exception as error:  # Pillow has many kinds for broken files
        reason = "no image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise DataDamaged(
            f"{file} cannot be decoded ({reason}); replace it by a whole one"
        ) from None


def in_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode of Pillow in red, green and blue of 8 bits.

    Pillow cuts off what 8 bits do not hold, so that 16-bit grey would be white. It is divided by
    257 instead, which maps 0..65535 to 0..255. `ValueError` for floating-point and other values
    whose white nobody knows.
    """
    if not image.mode.startswith(("I", "F")):
        return image.convert("RGB")
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"its values of mode {image.mode} lie in {values.min():g} … {values.max():g}, "
            "and 8 or 16 bits of whole numbers are read"
        )
    return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")


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


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_the_process_group(worker: int) -> None:
    """Ctrl-C in a terminal, and what stops a job, signal the whole group: the training process,
    which saves its work first, and not its workers, without whom it could not end its step.
    """
    if hasattr(os, "setpgid"):  # not on Windows
        os.setpgid(0, 0)
