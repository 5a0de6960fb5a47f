"""The photograph sets Flowers102, Food101 and ImageNet: found on the disk and opened.

`mixerlib.data.datasets.load_dataset` is the door to what is here.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mixerlib._torchvision import import_torchvision
from mixerlib.data.download import MB, DataDamaged, DataNotFound, Download, Published, obtain
from mixerlib.data.image_files import ImageFiles

# Those of `DATASETS` that are read from files
FILE_DATASETS = ("flowers102", "food101", "imagenet")

# Mean and standard deviation of red, green and blue over ImageNet's training images, the constants
# that its users share. The smaller photograph sets are normalised by them too, as is the custom.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Names in the folders of classes that are taken for images, which are torchvision's, and those that
# systems leave there
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
LEFT_BEHIND = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")


class _Part(NamedTuple):
    """A training or test set: the classes' names, a path and a label for each image."""

    classes: list[str]
    files: list[str]
    labels: list[int]


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
        train, test = _imagenet(root, test_only)
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


def _from_publisher(name: str, root: Path, download: bool) -> tuple[_Part, _Part]:
    """Flowers102's or Food101's training and test set, whole."""
    datasets = import_torchvision().datasets
    kind = {"flowers102": datasets.Flowers102, "food101": datasets.Food101}[name]

    def parts() -> tuple[_Part, _Part]:
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


def _listed(part: Any) -> _Part:
    """What a torchvision data set lists that gives paths for images."""
    files, labels = zip(*(part[i] for i in range(len(part))), strict=True)
    return _Part(part.classes, list(map(os.fspath, files)), list(labels))


def _imagenet(root: Path, test_only: bool) -> tuple[_Part, _Part]:
    """The folders train and val of `root`/imagenet; with `test_only` val alone will do."""
    if test_only and not (root / "imagenet" / "train").exists():
        val = _class_folders(root / "imagenet" / "val")
        return _Part(val.classes, [], []), val
    train, val = (_class_folders(root / "imagenet" / part) for part in ("train", "val"))
    if odd := sorted(set(train.classes) ^ set(val.classes)):
        without = "val" if odd[0] in train.classes else "train"
        folder = root / "imagenet" / without
        raise _not_imagenet(root, "is incomplete", f"there is no {odd[0]} in {folder}")
    return train, val


def _class_folders(folder: Path) -> _Part:
    """The images of a folder that holds a folder of them for each class."""
    root = folder.parent.parent
    if not folder.is_dir():
        raise _not_imagenet(root, "was not found", f"there is no imagenet/{folder.name} in {root}")
    with os.scandir(folder) as entries:
        classes = sorted(entry.name for entry in entries if _is_class(entry))
    if not classes:
        raise _not_imagenet(root, "is incomplete", f"there are no folders of classes in {folder}")
    files, labels = [], []
    for label, name in enumerate(classes):
        images = sorted(_images_in(str(folder / name), ()))
        if not images:
            without = folder / name
            raise _not_imagenet(root, "is incomplete", f"there is no image in {without}")
        files += [os.path.join(*image) for image in images]  # noqa: PTH118 (a million of them)
        labels += [label] * len(images)
    return _Part(classes, files, labels)


def _is_class(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink() and not entry.is_dir() and not entry.is_file():
        raise DataDamaged(f"{entry.path} is a link that leads nowhere; remove it, or mend it")
    return _is_meant(entry) and entry.is_dir()


def _images_in(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str]]:
    """Folder and name of each image in a class's folder and the folders in that.

    Raises `DataDamaged` for a link that leads nowhere or back to a folder `above`, and for what
    has an image's name and is no file.
    """
    status = os.stat(folder)  # noqa: PTH116
    place = (status.st_dev, status.st_ino)
    if place in above:
        raise DataDamaged(f"{folder} is a link to a folder that it lies in; remove it")
    with os.scandir(folder) as entries:
        for entry in filter(_is_meant, entries):
            if entry.is_dir():
                yield from _images_in(entry.path, (*above, place))
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122
                if not entry.is_file():
                    what = "a link that leads nowhere" if entry.is_symlink() else "no file"
                    raise DataDamaged(f"{entry.path} is {what}; remove it, or put the image there")
                yield folder, entry.name


def _is_meant(entry: os.DirEntry[str]) -> bool:
    """Whether it is there on purpose. Jupyter leaves .ipynb_checkpoints where images are looked at,
    macOS a ._NAME beside each, and unpackers and servers folders of their own.
    """
    return entry.name[0] != "." and entry.name not in LEFT_BEHIND


def _not_imagenet(root: Path, problem: str, what: str) -> DataNotFound:
    return DataNotFound(
        f"imagenet {problem}: {what}. It cannot be downloaded without an account at image-net.org; "
        f"lay it out as imagenet/train/CLASS/*.JPEG and imagenet/val/CLASS/*.JPEG in {root}, or "
        f"set MIXERLIB_DATA to the folder that holds imagenet"
    )
