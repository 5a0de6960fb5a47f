"""Image data sets as uint8 tensors that live on the device: the digits, Fashion-MNIST and CIFAR.

A batch is cut from the tensors without a worker process.
"""

import gzip
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from mixerlib import checks
from mixerlib._torchvision import import_torchvision
from mixerlib.data.download import MB, Download, Published, obtain
from mixerlib.data.source import Batches, ImageSource, part_of, resizing, steps_on

_CIFAR_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}  # torchvision's names
MEMORY_DATASETS = ("digits", "fashion_mnist", *_CIFAR_CLASSES)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(ImageSource):
    """Images and labels of a training and a test set, all on one device.

    Args:
        name: as `load_dataset` knows it.
        classes: their names.
        train_images: uint8 (N, C, H, W) in 0..255.
        train_labels: int64 (N,), places in `classes`.
        test_images: as the training images.
        test_labels: as the training labels.
        mean: float32 (C,), for pixels in 0..1: each channel's mean over the training images, or
            0.5.
        std: each channel's (population) standard deviation, or 0.5.
        resized_to: pixels a side that every batch is brought to as it is cut; None: as it is.
        interpolation: of that resizing, "bilinear" or "bicubic".
        held_out: training images that stand in the test images' place, from `hold_out`.
    """

    name: str
    classes: tuple[str, ...]
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    resized_to: int | None = None
    interpolation: str = "bilinear"
    held_out: int = 0

    crops_itself: ClassVar[bool] = False  # `ImageFiles` does: there a crop is part of reading

    @property
    def in_channels(self) -> int:
        """Channels C of an image."""
        return self.train_images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:  # type: ignore[override]  # computed, not set
        """Height and width in pixels of the images in batches."""
        if self.resized_to is not None:
            return self.resized_to, self.resized_to
        return self.train_images.shape[2], self.train_images.shape[3]

    def training_batches(self, chosen: Iterable[torch.Tensor], *, seed: int, epoch: int) -> Batches:
        """For each step's image numbers (int64 (B,), on the CPU) their images and labels.

        Images are uint8 (B, C, H, W), labels int64 (B,), both on the device, in the order chosen.
        `seed` and `epoch` decide the crops of `ImageFiles`, and nothing here.
        """
        for images, labels in _cut(self.train_images, self.train_labels, list(chosen)):
            yield self._resized(images), labels

    def test_batches(self, batch_size: int = 500, part: tuple[int, int] = (0, 1)) -> Batches:
        """The test images and their labels in order; of n nearly equal parts the i-th, from 0.

        Raises `ValueError` for a `batch_size` below 1, or a `part` (i, n) without 0 ≤ i < n.
        """
        mine = part_of(len(self.test_labels), part)
        step = checks.positive_int("batch_size", batch_size)
        for start in range(mine.start, mine.stop, step):
            batch = slice(start, min(start + step, mine.stop))
            yield self._resized(self.test_images[batch]), self.test_labels[batch]

    def test_images_at(self, chosen: Iterable[torch.Tensor]) -> Batches:
        """For each step's numbers of test images (int64 (B,), on the CPU) images and labels."""
        for images, labels in _cut(self.test_images, self.test_labels, list(chosen)):
            yield self._resized(images), labels

    def _resized(self, images: torch.Tensor) -> torch.Tensor:
        """The batch in `image_size`, antialiased and rounded to uint8 as torchvision does it."""
        if self.resized_to is None:
            return images
        functional, mode = resizing(self.interpolation)
        return functional.resize(images, list(self.image_size), mode, antialias=True)


def batches(
    images: torch.Tensor,
    labels: torch.Tensor,
    batch_size: int,
    *,
    generator: torch.Generator | None = None,
) -> Batches:
    """One epoch: every image once, in random order, as images (B, C, H, W) and labels (B,).

    The last batch is smaller when `batch_size` does not divide the number of images. `generator` is
    a CPU generator, so a seed means the same order on every device; without one the global
    generator of torch is drawn from.
    """
    order = torch.randperm(len(labels), generator=generator, device="cpu")
    return _cut(images, labels, list(order.split(checks.positive_int("batch_size", batch_size))))


def _cut(images: torch.Tensor, labels: torch.Tensor, steps: list[torch.Tensor]) -> Batches:
    """The images and labels with each step's numbers."""
    for chosen in steps_on(images.device, steps):
        # images[chosen] is the same, and takes four times as long on a CPU
        yield images.index_select(0, chosen), labels.index_select(0, chosen)


def load_in_memory(name: str, folder: Path, download: bool) -> Dataset:
    """What `load_dataset` returns for the names in `MEMORY_DATASETS`, not resized."""
    if name == "digits":
        return _load_digits()
    if name == "fashion_mnist":
        return _load_fashion_mnist(folder, download)
    return _load_cifar(name, folder, download)


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits  # takes a second, and only this data set needs it

    digits = load_digits()
    labels = torch.from_numpy(digits.target).long()
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    is_test[labels.argsort(stable=True)[::5]] = True
    return _dataset(
        "digits",
        [str(digit) for digit in digits.target_names],
        (images[~is_test], labels[~is_test]),
        (images[is_test], labels[is_test]),
    )


def _load_cifar(name: str, root: Path, download: bool) -> Dataset:
    cifar = getattr(import_torchvision().datasets, _CIFAR_CLASSES[name])
    files = [*cifar.train_list, *cifar.test_list, (cifar.meta["filename"], cifar.meta["md5"])]
    archive = Download(cifar.url, cifar.tgz_md5, root, 180 * MB, is_archive=True)
    unpacked = tuple((file, md5) for file, md5 in files)
    obtain(Published(name, root, cifar.base_folder, (archive,), unpacked), download)
    with warnings.catch_warnings():  # numpy 2.4.0 to 2.4.4 has doubts about pickles this old
        warnings.filterwarnings("ignore", r"dtype\(\): align should be passed")
        train, test = cifar(root, train=True), cifar(root, train=False)
    return _dataset(name, train.classes, _as_tensors(train), _as_tensors(test))


def _as_tensors(part: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """torchvision's images (N, H, W, C) and list of labels → tensors (N, C, H, W) and (N,)."""
    return torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets)


def _load_fashion_mnist(root: Path, download: bool) -> Dataset:
    fashion = import_torchvision().datasets.FashionMNIST
    folder = Path("FashionMNIST", "raw")
    downloads = tuple(
        Download(fashion.mirrors[0] + file, md5, root / folder, 30 * MB)
        for file, md5 in fashion.resources
    )
    obtain(Published("fashion_mnist", root, str(folder), downloads), download)
    # torchvision reads copies that it has unpacked, whose checksums nobody published
    contents = [_read_idx(part.file) for part in downloads]
    train_images, train_labels, test_images, test_labels = contents
    return _dataset(
        "fashion_mnist",
        fashion.classes,
        (train_images.unsqueeze(1), train_labels.long()),
        (test_images.unsqueeze(1), test_labels.long()),
    )


def _read_idx(file: Path) -> torch.Tensor:
    """The uint8 tensor in a gzipped IDX file, the format of the MNIST family.

    Its fourth byte counts the dimensions, whose sizes follow, 32 bits each, the high byte first.
    """
    content = gzip.decompress(file.read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, offset=4).tolist()
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    return torch.from_numpy(values.reshape(shape).copy())


def _dataset(
    name: str,
    classes: list[str],
    train: tuple[torch.Tensor, torch.Tensor],
    test: tuple[torch.Tensor, torch.Tensor],
) -> Dataset:
    mean, std = _channel_statistics(train[0])
    return Dataset(name, tuple(classes), *train, *test, mean, std)


def _channel_statistics(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (C,) of uint8 images (N, C, H, W) with pixels in 0..1.

    From how often each of the 256 values occurs: exact, and without a float copy of the data set.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in images.unbind(dim=1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = (share * levels).sum()
        means.append(mean)
        deviations.append((share * (levels - mean) ** 2).sum().sqrt())
    return torch.stack(means).float(), torch.stack(deviations).float()
