"""The photograph sets Flowers102, Food101 and ImageNet: found on the disk and opened.

`mixerlib.data.datasets.load_dataset` is the door to what is here.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixerlib._torchvision import import_torchvision
from mixerlib.data.download import DataNotFound, Download, Published, obtain
from mixerlib.data.image_files import ImageFiles

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
) -> ImageFiles:
    """What `load_dataset` returns for the names in `FILE_DATASETS`; it has checked the values."""
    train, test = _imagenet(root) if name == "imagenet" else _from_publisher(name, root, download)
    (train_files, train_labels), (test_files, test_labels) = _listed(train), _listed(test)
    return ImageFiles(
        name=name,
        classes=tuple(train.classes),
        train_files=train_files,
        test_files=test_files,
        train_labels=train_labels,
        test_labels=test_labels,
        mean=torch.tensor(IMAGENET_MEAN),
        std=torch.tensor(IMAGENET_STD),
        image_size=(image_size, image_size),
        interpolation=interpolation,
        crop_area=crop_area,
        crop_pct=crop_pct,
        workers=_default_workers() if workers is None else workers,
    )


def _listed(part: Any) -> tuple[np.ndarray, torch.Tensor]:
    """The encoded paths and the labels of a torchvision data set that gives paths for images."""
    files, labels = zip(*(part[i] for i in range(len(part))), strict=True)
    return np.array([os.fsencode(file) for file in files]), torch.tensor(labels)


def _default_workers() -> int:
    """One a core, shared among the processes of a run on many GPUs; 16 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(16, (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _from_publisher(name: str, root: Path, download: bool) -> tuple[Any, Any]:
    """Flowers102's or Food101's training and test set, whole, with paths in place of images."""
    datasets = import_torchvision().datasets
    kind = {"flowers102": datasets.Flowers102, "food101": datasets.Food101}[name]

    def parts() -> tuple[Any, Any]:
        return kind(root, "train", loader=os.fspath), kind(root, "test", loader=os.fspath)

    def image_files() -> list[str]:
        return [part[i][0] for part in parts() for i in range(len(part))]

    unpacked: tuple[str, ...]
    if name == "flowers102":
        folder, unpacked = "flowers-102", ("jpg",)
        downloads = tuple(
            Download(f"{kind._download_url_prefix}{file}", md5, root / folder, what == "image")
            for what, (file, md5) in kind._file_dict.items()
        )
    else:
        folder = "food-101"
        unpacked = ("images", "meta/train.json", "meta/test.json")
        downloads = (Download(kind._URL, kind._MD5, root, is_archive=True),)
    unchecked = tuple((path, None) for path in unpacked)
    obtain(Published(name, root, folder, downloads, unchecked, image_files), download)
    return parts()


def _imagenet(root: Path) -> tuple[Any, Any]:
    """The folders train and val of `root`/imagenet, with paths in place of images."""
    train, val = (_class_folders(root / "imagenet" / part) for part in ("train", "val"))
    if odd := sorted(set(train.classes) ^ set(val.classes)):
        without = val if odd[0] in train.classes else train
        raise _not_imagenet(root, "is incomplete", f"there is no {odd[0]} in {without.root}")
    return train, val


def _class_folders(folder: Path) -> Any:
    """torchvision's view of a folder that holds a folder of images for each class."""
    root = folder.parent.parent
    if not folder.is_dir():
        raise _not_imagenet(root, "was not found", f"there is no imagenet/{folder.name} in {root}")
    if not any(entry.is_dir() and entry.name[0] != "." for entry in folder.iterdir()):
        raise _not_imagenet(root, "is incomplete", f"there are no folders of classes in {folder}")
    images = _visible(folder)
    if empty := sorted(set(range(len(images.classes))) - set(images.targets)):
        without = folder / images.classes[empty[0]]
        raise _not_imagenet(root, "is incomplete", f"there is no image in {without}")
    return images


def _visible(folder: Path) -> Any:
    """torchvision's view of the class folders, without hidden folders and files.

    Jupyter leaves .ipynb_checkpoints where images are looked at, and macOS a ._NAME beside each.
    """
    datasets = import_torchvision().datasets

    class Visible(datasets.ImageFolder):  # type: ignore[name-defined]
        def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
            classes = [name for name in super().find_classes(directory)[0] if name[0] != "."]
            return classes, {name: number for number, name in enumerate(classes)}

    def is_visible(path: str) -> bool:
        inside = Path(path).relative_to(folder)
        return not any(part.startswith(".") for part in inside.parts) and (
            inside.suffix.lower() in datasets.folder.IMG_EXTENSIONS
        )

    return Visible(folder, loader=os.fspath, is_valid_file=is_visible, allow_empty=True)


def _not_imagenet(root: Path, problem: str, what: str) -> DataNotFound:
    return DataNotFound(
        f"imagenet {problem}: {what}. It cannot be downloaded without an account at image-net.org; "
        f"lay it out as imagenet/train/CLASS/*.JPEG and imagenet/val/CLASS/*.JPEG in {root}, or "
        f"set MIXERLIB_DATA to the folder that holds imagenet"
    )
