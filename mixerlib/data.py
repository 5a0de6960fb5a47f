"""Image data sets as uint8 tensors that live on the device, and batches cut from them without a
worker process.

dataset = load_dataset("digits").to("cpu")
for images, labels in batches(dataset.train_images, dataset.train_labels, batch_size=64):
    logits = model(dataset.normalise(images))
"""

import difflib
import http.client
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mixerlib.vision import import_torchvision

_CIFAR_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}  # torchvision's names
DATASETS = ("digits", *_CIFAR_CLASSES)


class DataNotFound(FileNotFoundError):
    """A data set is not where it was looked for; the message says where, and how to get it."""


class DataDamaged(OSError):
    """A file of a data set does not have the content that its publisher's checksum promises."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels of a training and a test set, all on one device.

    Images are uint8 (N, C, H, W) in 0..255, labels int64 (N,) and index `classes`. `mean` and `std`
    are float32 (C,): each channel's mean and (population) standard deviation over the training
    images, with pixels in 0..1.
    """

    name: str
    classes: tuple[str, ...]
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

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
        """Height and width in pixels."""
        return self.train_images.shape[2], self.train_images.shape[3]

    def to(self, device: torch.device | str) -> "Dataset":
        """The same data set with every tensor on `device`."""
        tensors = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, torch.Tensor)}
        return replace(self, **tensors)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (B, C, H, W) → float32 (B, C, H, W), each channel by its `mean` and `std`."""
        return (images / 255 - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)


def load_dataset(name: str, root: str | Path | None = None, download: bool = False) -> Dataset:
    """The data set `name`, on the CPU: "digits", "cifar10" or "cifar100".

    "digits" are the 1,797 handwritten digits of 8×8 pixels that come with scikit-learn. They have
    no official test set. Here the images are sorted by class, in their published order within it,
    and every fifth is a test image: 1,437 for training and 360 for the test, every class in the
    same proportion, the same on every machine. The 13 people who wrote them are thus likely to be
    in both parts; the accuracy does not speak of other hands.

    "cifar10" and "cifar100" are read from `root`, else from the folder that the environment
    variable MIXERLIB_DATA names, else from ./data, in the layout of torchvision, which checks
    every file against its official MD5. With `download` what is missing there is fetched first.

    Raises `ValueError` for an unknown name, `DataNotFound` when files are missing or cannot be
    fetched, and `DataDamaged` when a file is not what its checksum promises.
    """
    if name == "digits":
        return _load_digits()
    if name in _CIFAR_CLASSES:
        folder = Path(root or os.environ.get("MIXERLIB_DATA") or "data").expanduser()
        return _load_cifar(name, folder, download)
    near = difflib.get_close_matches(str(name).lower().replace("-", ""), DATASETS, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(DATASETS)}"
    raise ValueError(f"`dataset`={name!r} is no data set of mixerlib; {hint}")


def batches(
    images: torch.Tensor,
    labels: torch.Tensor,
    batch_size: int,
    *,
    generator: torch.Generator | None = None,
    flip: bool = False,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch: every image once, in random order, as images (B, C, H, W) and labels (B,).

    The last batch is smaller when `batch_size` does not divide the number of images. With `flip`
    each image is mirrored left to right with probability 1/2. `generator` is a CPU generator, so a
    seed means the same order on every device; without one the global generator of torch is drawn
    from.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size`={batch_size!r} must be a positive whole number")
    count = len(labels)
    order = torch.randperm(count, generator=generator).to(images.device)
    if flip:
        mirrored = (torch.rand(count, generator=generator) < 0.5).to(images.device)
    for start in range(0, count, batch_size):
        chosen = order[start : start + batch_size]
        batch = images[chosen]
        if flip:
            batch = torch.where(mirrored[chosen].view(-1, 1, 1, 1), batch.flip(-1), batch)
        yield batch, labels[chosen]


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
    try:
        with warnings.catch_warnings():  # numpy 2.4.0 to 2.4.4 has doubts about pickles this old
            warnings.filterwarnings("ignore", r"dtype\(\): align should be passed")
            train, test = cifar(root, train=True, download=download), cifar(root, train=False)
    except RuntimeError as error:  # how torchvision says that a file is missing or damaged
        raise (_what_is_wrong(name, cifar, root) or error) from None
    except (OSError, http.client.HTTPException) as error:
        if not download:
            raise
        raise DataNotFound(
            f"{name} could not be downloaded to {root.resolve()} from {cifar.url}: {error}. "
            f"Where it is on this machine already, set MIXERLIB_DATA to the folder that holds "
            f"{cifar.base_folder}"
        ) from None
    return _dataset(name, train.classes, _as_tensors(train), _as_tensors(test))


def _as_tensors(part: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """torchvision's images (N, H, W, C) and list of labels → tensors (N, C, H, W) and (N,)."""
    return torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets)


def _what_is_wrong(name: str, cifar: Any, root: Path) -> OSError | None:
    """The error for the first file of a CIFAR data set that is missing or damaged."""
    check_integrity = import_torchvision().datasets.utils.check_integrity
    archive, folder = root.resolve() / cifar.filename, root.resolve() / cifar.base_folder
    if archive.is_file() and not check_integrity(archive, cifar.tgz_md5):
        return DataDamaged(
            f"{name} is damaged: {archive} does not have the MD5 {cifar.tgz_md5}; fetch it again "
            f"with --download (download=True)"
        )
    if not folder.is_dir():
        return DataNotFound(
            f"{name} was not found: there is no {cifar.base_folder} in {folder.parent}. "
            f"Fetch it there with --download (download=True), or set MIXERLIB_DATA to the folder "
            f"that holds {cifar.base_folder}"
        )
    again = f"delete {folder} and fetch it again with --download (download=True)"
    files = [*cifar.train_list, *cifar.test_list, (cifar.meta["filename"], cifar.meta["md5"])]
    for filename, md5 in files:
        if not (folder / filename).is_file():
            return DataNotFound(f"{name} is incomplete: {folder / filename} is missing; {again}")
        if not check_integrity(folder / filename, md5):
            return DataDamaged(
                f"{name} is damaged: {folder / filename} does not have the MD5 {md5}; {again}"
            )
    return None


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
