"""The photograph sets Flowers102, Food101 and ImageNet: found on the disk and opened.

`mixerlib.data.datasets.load_dataset` is the door to what is here; `imagenet.py` knows how ImageNet
may lie.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixerlib._torchvision import import_torchvision
from mixerlib.data.download import MB, Download, Published, obtain
from mixerlib.data.image_files import ImageFiles
from mixerlib.data.imagenet import Part, imagenet_parts

# Those of `DATASETS` that are read from files
FILE_DATASETS = ("flowers102", "food101", "imagenet")

# Mean and standard deviation of red, green and blue over ImageNet's training images, the constants
# that its users share. The smaller photograph sets are normalised by them too, as is the custom.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load_image_files(
    name: str,
    root: Path,
    download: bool,
    image_size: int,
    interpolation: str,
    crop_area: float | None,
    crop_pct: float | None,
    workers: int | None,
    test_only: bool,
) -> ImageFiles:
    """What `load_dataset` returns for the names in `FILE_DATASETS`; it has checked the values."""
    if name == "imagenet":
        train, test = imagenet_parts(root, test_only)
    else:
        train, test = _from_publisher(name, root, download)
    return ImageFiles(
        name=name,
        classes=tuple(train.classes),
        train_files=np.array([os.fsencode(file) for file in train.files], dtype=np.bytes_),
        test_files=np.array([os.fsencode(file) for file in test.files], dtype=np.bytes_),
        train_labels=torch.tensor(train.labels, dtype=torch.int64),
        test_labels=torch.tensor(test.labels, dtype=torch.int64),
        mean=torch.tensor(IMAGENET_MEAN),
        std=torch.tensor(IMAGENET_STD),
        image_size=(image_size, image_size),
        interpolation=interpolation,
        crop_area=crop_area,
        crop_pct=crop_pct,
        workers=_default_workers() if workers is None else workers,
    )


def _default_workers() -> int:
    """One a core, shared among the processes of a run on many GPUs; 16 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    sharing = os.environ.get("LOCAL_WORLD_SIZE", "1")  # as torchrun sets it
    shared = int(sharing) if sharing.isdecimal() else 1
    return max(1, min(16, (cores or 1) // max(1, shared)))


def _from_publisher(name: str, root: Path, download: bool) -> tuple[Part, Part]:
    """Flowers102's or Food101's training and test set, whole."""
    datasets = import_torchvision().datasets
    kind = {"flowers102": datasets.Flowers102, "food101": datasets.Food101}[name]

    def parts() -> tuple[Part, Part]:
        train, test = (kind(root, part, loader=os.fspath) for part in ("train", "test"))
        return _listed(train), _listed(test)

    def image_files() -> list[str]:
        return [file for part in parts() for file in part.files]

    unpacked: tuple[str, ...]
    if name == "flowers102":
        folder, unpacked = "flowers-102", ("jpg",)
        downloads = tuple(
            Download(
                f"{kind._download_url_prefix}{file}", md5, root / folder, 400 * MB, what == "image"
            )
            for what, (file, md5) in kind._file_dict.items()
        )
    else:
        folder = "food-101"
        unpacked = ("images", "meta/train.json", "meta/test.json")
        downloads = (Download(kind._URL, kind._MD5, root, 5500 * MB, is_archive=True),)
    unchecked = tuple((path, None) for path in unpacked)
    obtain(Published(name, root, folder, downloads, unchecked, image_files), download)
    return parts()


def _listed(part: Any) -> Part:
    """What a torchvision data set lists that gives paths for images."""
    files, labels = zip(*(part[i] for i in range(len(part))), strict=True)
    return Part(part.classes, list(map(os.fspath, files)), list(labels))
