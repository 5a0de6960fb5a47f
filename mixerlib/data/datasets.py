"""Image data sets: small ones as uint8 tensors that live on the device, photographs as files.

dataset = load_dataset("digits").to("cpu")
order = torch.randperm(len(dataset.train_labels))
for images, labels in dataset.training_batches(order.split(64), seed=0, epoch=1):
    logits = model(dataset.normalise(images))

A batch is cut from tensors without a worker process; `image_files.py` reads files with them,
`photographs.py` finds them, and `fetch.py` checks and downloads.
"""

import gzip
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from mixerlib._torchvision import import_torchvision
from mixerlib.checks import did_you_mean
from mixerlib.data.download import DataDamaged, DataNotFound, Download, Published, obtain
from mixerlib.data.image_files import (
    ImageFiles,
    checked_batch_size,
    part_of,
    resizing,
    steps_on,
)
from mixerlib.data.photographs import FILE_DATASETS, load_image_files

__all__ = [
    "DATASETS",
    "FILE_DATASETS",
    "DataDamaged",
    "DataNotFound",
    "Dataset",
    "ImageFiles",
    "batches",
    "import_torchvision",
    "load_dataset",
]

_CIFAR_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}  # torchvision's names
DATASETS = ("digits", "fashion_mnist", *_CIFAR_CLASSES, *FILE_DATASETS)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels of a training and a test set, all on one device.

    Images are uint8 (N, C, H, W) in 0..255, labels int64 (N,) and index `classes`. `mean` and `std`
    are float32 (C,), for pixels in 0..1: each channel's mean and (population) standard deviation
    over the training images, or 0.5. With `resized_to` every batch is brought to that many pixels a
    side as it is cut.
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

    crops_itself: ClassVar[bool] = False  # `ImageFiles` does: there a crop is part of reading

    def __repr__(self) -> str:
        shape = "×".join(str(side) for side in (self.in_channels, *self.image_size))
        return (
            f"Dataset({self.name!r}: {len(self.train_labels):,} training and "
            f"{len(self.test_labels):,} test images of {shape}, {self.num_classes} classes)"
        )

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def in_channels(self) -> int:
        return self.train_images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images in batches."""
        if self.resized_to is not None:
            return self.resized_to, self.resized_to
        return self.train_images.shape[2], self.train_images.shape[3]

    @property
    def device(self) -> torch.device:
        return self.train_images.device

    def to(self, device: torch.device | str) -> "Dataset":
        """The same data set with every tensor on `device`."""
        tensors = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, torch.Tensor)}
        return replace(self, **tensors)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (B, C, H, W) → float32 (B, C, H, W), each channel by its `mean` and `std`."""
        return (images / 255 - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def training_batches(
        self, chosen: Iterable[torch.Tensor], *, seed: int, epoch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """For each step's image numbers (int64 (B,), on the CPU) their images and labels.

        Images are uint8 (B, C, H, W), labels int64 (B,), both on the device, in the order chosen.
        `seed` and `epoch` decide the crops of `ImageFiles`, and nothing here.
        """
        for images, labels in _cut(self.train_images, self.train_labels, list(chosen)):
            yield self._resized(images), labels

    def test_batches(
        self, batch_size: int = 500, part: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The test images and their labels in order; of n nearly equal parts the i-th, from 0.

        Raises `ValueError` for a `batch_size` below 1, or a `part` (i, n) without 0 ≤ i < n.
        """
        mine = part_of(len(self.test_labels), part)
        step = checked_batch_size(batch_size)
        for start in range(mine.start, mine.stop, step):
            batch = slice(start, min(start + step, mine.stop))
            yield self._resized(self.test_images[batch]), self.test_labels[batch]

    def _resized(self, images: torch.Tensor) -> torch.Tensor:
        """The batch in `image_size`, antialiased and rounded to uint8 as torchvision does it."""
        if self.resized_to is None:
            return images
        functional, mode = resizing(self.interpolation)
        return functional.resize(images, list(self.image_size), mode, antialias=True)


def load_dataset(
    name: str,
    root: str | Path | None = None,
    download: bool = False,
    *,
    image_size: int | None = None,
    interpolation: str | None = None,
    crop_area: float | None = None,
    eval_crop: float | None = None,
    normalisation: str = "dataset",
    workers: int | None = None,
) -> Dataset | ImageFiles:
    """A data set by its name, on the CPU: a `Dataset` in memory, or `ImageFiles` on the disk.

    In memory: "digits", "fashion_mnist", "cifar10" and "cifar100". On the disk: "flowers102",
    "food101" and "imagenet". All but the digits are read from `root`, else from the folder that the
    environment variable MIXERLIB_DATA names, else from ./data, in the layout of torchvision. Every
    file that has a published MD5 is checked by it. With `download` what is missing or damaged is
    fetched first.

    - "digits" are the 1,797 handwritten digits of 8×8 pixels that come with scikit-learn. They have
      no official test set. Here the images are sorted by class, in their published order within
      it, and every fifth is a test image: 1,437 for training and 360 for the test, every class in
      the same proportion, the same on every machine. The 13 people who wrote them are thus likely
      to be in both parts; the accuracy does not speak of other hands.
    - "flowers102" trains on the split "train", 1,020 images, and tests on "test", 6,149. The split
      "val", 1,020 more, is left alone. The SplitMixer paper does not say what it trained on.
    - "food101" has 75,750 training and 25,250 test images. Its archive, 5 GB, is checked each time
      as long as it lies beside them, as the images have no checksums of their own.
    - "imagenet" is the folder imagenet, with train/CLASS/*.JPEG and val/CLASS/*.JPEG in it. It
      cannot be downloaded here.

    `image_size` is the side in pixels that images are resized to, "bilinear" (the default) or
    "bicubic" by `interpolation`. In memory None leaves them as they are; on the disk it must be
    set, and `crop_area` and `eval_crop` say what is cut from a photograph: see `ImageFiles`.
    `normalisation` "dataset" takes mean and deviation from the training images, for those on the
    disk ImageNet's constants; "half" takes 0.5 for both, as MLP-Mixer's published weights expect.
    `workers` are the processes that read files, by default one a core; tensors need none.

    Raises `ValueError` for an unknown name and for an argument out of its range or without effect,
    `DataNotFound` when files are missing or cannot be fetched, and `DataDamaged` when a file is not
    what its checksum promises.
    """
    _check_arguments(name, image_size, interpolation, crop_area, eval_crop, normalisation, workers)
    folder = Path(root or os.environ.get("MIXERLIB_DATA") or "data").expanduser().resolve()
    dataset: Dataset | ImageFiles
    if name in FILE_DATASETS:
        assert image_size is not None  # as the arguments have been checked
        dataset = load_image_files(
            name,
            folder,
            download,
            image_size=image_size,
            interpolation=interpolation or "bilinear",
            crop_area=crop_area,
            eval_crop=eval_crop,
            workers=workers,
        )
    else:
        if name == "digits":
            whole = _load_digits()
        elif name == "fashion_mnist":
            whole = _load_fashion_mnist(folder, download)
        else:
            whole = _load_cifar(name, folder, download)
        dataset = replace(whole, resized_to=image_size, interpolation=interpolation or "bilinear")
    if normalisation == "half":
        half = torch.full((dataset.in_channels,), 0.5)
        dataset = replace(dataset, mean=half, std=half)
    return dataset


def _check_arguments(
    name: str,
    image_size: int | None,
    interpolation: str | None,
    crop_area: float | None,
    eval_crop: float | None,
    normalisation: str,
    workers: int | None,
) -> None:
    if name not in DATASETS:
        plain = str(name).lower().replace("-", "")
        hint = did_you_mean(plain, DATASETS, f"there are {', '.join(DATASETS)}")
        raise ValueError(f"`dataset`={name!r} is no data set of mixerlib; {hint}")
    if image_size is None and name in FILE_DATASETS:
        raise ValueError(f"`image_size`=None must be set for {name}: its images have many sizes")
    if image_size is None and interpolation is not None:
        raise ValueError(
            f"`interpolation`={interpolation!r} has no effect without `image_size`: "
            f"no image of {name} is resized"
        )
    shares = {"crop_area": crop_area, "eval_crop": eval_crop}
    for argument, share in shares.items():
        if share is not None and name not in FILE_DATASETS:
            raise ValueError(
                f"`{argument}`={share!r} is for images that are read from files "
                f"({', '.join(FILE_DATASETS)}), not for {name}"
            )
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"`{argument}`={share!r} must lie above 0 and be at most 1")
    if image_size is not None and image_size < 1:
        raise ValueError(f"`image_size`={image_size!r} must be a positive whole number")
    if interpolation not in (None, "bilinear", "bicubic"):
        raise ValueError(f"`interpolation`={interpolation!r} must be 'bilinear' or 'bicubic'")
    if normalisation not in ("dataset", "half"):
        raise ValueError(f"`normalisation`={normalisation!r} must be 'dataset' or 'half'")
    if workers is not None and workers < 0:
        raise ValueError(f"`workers`={workers!r} must be at least 0")


def batches(
    images: torch.Tensor,
    labels: torch.Tensor,
    batch_size: int,
    *,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch: every image once, in random order, as images (B, C, H, W) and labels (B,).

    The last batch is smaller when `batch_size` does not divide the number of images. `generator` is
    a CPU generator, so a seed means the same order on every device; without one the global
    generator of torch is drawn from.
    """
    order = torch.randperm(len(labels), generator=generator)
    return _cut(images, labels, list(order.split(checked_batch_size(batch_size))))


def _cut(
    images: torch.Tensor, labels: torch.Tensor, steps: list[torch.Tensor]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The images and labels with each step's numbers."""
    for chosen in steps_on(images.device, steps):
        # images[chosen] is the same, and takes four times as long on a CPU
        yield images.index_select(0, chosen), labels.index_select(0, chosen)


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
    archive = Download(cifar.url, cifar.tgz_md5, root, is_archive=True)
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
        Download(fashion.mirrors[0] + file, md5, root / folder) for file, md5 in fashion.resources
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
