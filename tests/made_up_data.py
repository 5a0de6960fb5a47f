"""Every image data set of the book, made up: a few images, laid out as the real ones are.

with pytest.MonkeyPatch.context() as patch:
    made_up_data.write_all(folder, patch)

The photographs are those of `made_up_imagenet`: many sizes, some of them grey, turned by their EXIF
or in CMYK. What is published with checksums has those of the small files meanwhile: that is all
that is patched.
"""

import json
import pickle
import tarfile
from pathlib import Path

import made_up_imagenet
import numpy as np
import pytest
import scipy

from mixerlib._torchvision import import_torchvision

CLASSES = 6  # of the made-up ImageNet
FLOWERS = {"trnid": range(1, 11), "valid": range(11, 13), "tstid": range(13, 19)}
FOODS = ("apple_pie", "baklava", "sushi", "waffles")


def write_all(root: Path, patch: pytest.MonkeyPatch) -> None:
    """ImageNet, Flowers102, Food101, CIFAR-10 and CIFAR-100 in one folder."""
    write_imagenet(root)
    write_flowers102(root, patch)
    write_food101(root, patch)
    write_cifar(root, "CIFAR10", patch)
    write_cifar(root, "CIFAR100", patch)


def photograph(file: Path, number: int) -> None:
    """A file of a size and a kind that follow from its number."""
    made_up_imagenet.save(made_up_imagenet.photograph(number), number, file)


def write_imagenet(root: Path) -> None:
    """Folders of classes, as ImageNet's training images come: four and two images of each."""
    for label in range(CLASSES):
        folder = f"n{label:08}"
        for i in range(4):
            photograph(root / "imagenet/train" / folder / f"{folder}_{i}.JPEG", 10 * label + i)
        for i in range(2):
            number = 1 + label + CLASSES * i
            name = f"ILSVRC2012_val_{number:08}.JPEG"
            photograph(root / "imagenet/val" / folder / name, 100 + number)


def _md5(file: Path) -> str:
    return import_torchvision().datasets.utils.calculate_md5(file)


def _pack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)


def write_flowers102(root: Path, patch: pytest.MonkeyPatch) -> None:
    """jpg/image_NNNNN.jpg, labels and parts in MATLAB's files, and the archive."""
    flowers = import_torchvision().datasets.Flowers102
    folder = root / "flowers-102"
    last = max(FLOWERS["tstid"])
    for number in range(1, last + 1):
        photograph(folder / f"jpg/image_{number:05}.jpg", number)
    labels = np.arange(last) % 102 + 1
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": labels[None]})
    parts = {name: np.array([list(numbers)]) for name, numbers in FLOWERS.items()}
    scipy.io.savemat(folder / "setid.mat", parts)
    _pack(folder / "102flowers.tgz", folder / "jpg")
    files = {what: (file, _md5(folder / file)) for what, (file, _) in flowers._file_dict.items()}
    patch.setattr(flowers, "_file_dict", files)


def write_food101(root: Path, patch: pytest.MonkeyPatch) -> None:
    """images/FOOD/NUMBER.jpg, lists of both parts as JSON, and the archive."""
    folder = root / "food-101"
    parts = {"train": range(3), "test": range(3, 5)}
    for i, food in enumerate(FOODS):
        for number in range(5):
            photograph(folder / f"images/{food}/{number}.jpg", 10 * i + number)
    (folder / "meta").mkdir()
    for part, numbers in parts.items():
        content = {food: [f"{food}/{number}" for number in numbers] for food in FOODS}
        (folder / f"meta/{part}.json").write_text(json.dumps(content))
    _pack(root / "food-101.tar.gz", folder)
    patch.setattr(import_torchvision().datasets.Food101, "_MD5", _md5(root / "food-101.tar.gz"))


def write_cifar(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    """CIFAR10's or CIFAR100's pickles of Python 2's time, 4 images in each."""
    cifar = getattr(import_torchvision().datasets, name)
    folder = root / cifar.base_folder
    folder.mkdir(parents=True)
    count, key = (10, "labels") if name == "CIFAR10" else (100, "fine_labels")
    random = np.random.default_rng(count)
    for file, _ in (*cifar.train_list, *cifar.test_list):
        data = random.integers(0, 256, (4, 3072), dtype=np.uint8)
        batch = {"data": data, key: random.integers(0, count, 4).tolist()}
        (folder / file).write_bytes(pickle.dumps(batch, protocol=2))
    names = {cifar.meta["key"]: [f"class {i}" for i in range(count)]}
    (folder / cifar.meta["filename"]).write_bytes(pickle.dumps(names, protocol=2))
    for part in ("train_list", "test_list"):
        files = [[file, _md5(folder / file)] for file, _ in getattr(cifar, part)]
        patch.setattr(cifar, part, files)
    meta = cifar.meta | {"md5": _md5(folder / cifar.meta["filename"])}
    patch.setattr(cifar, "meta", meta)
