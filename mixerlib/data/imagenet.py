"""ImageNet as it lies on disks: folders of classes, or all validation images in one folder.

    imagenet/train/CLASS/*.JPEG     and imagenet/val/CLASS/*.JPEG
    imagenet/val/*.JPEG             with a file that tells their classes, see `validation_labels.py`

In both, `train` and `val` may lie in imagenet/ILSVRC/Data/CLS-LOC, as Kaggle packs them. A class's
number is its place among the sorted names of all classes, or where a class index lies in imagenet/
the number that this gives it; then folders of some of the classes are an ImageNet, too.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mixerlib.data.download import DataDamaged, DataNotFound
from mixerlib.data.validation_labels import class_index, labels_by_number, number_of

KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")
# Names in the folders of classes that are taken for images, which are torchvision's, and those that
# systems leave there
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
LEFT_BEHIND = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")


class Part(NamedTuple):
    """A training or test set: the classes' names, a path and a label for each image."""

    classes: list[str]
    files: list[str]
    labels: list[int]


def imagenet_parts(root: Path, test_only: bool) -> tuple[Part, Part]:
    """The training and the validation images of `root`/imagenet; with `test_only` the latter will
    do. Raises `DataNotFound` and `DataDamaged` with a message of one line.
    """
    base = root / "imagenet"
    index = class_index(base)
    train_folder, val_folder = (_place(base, part) for part in ("train", "val"))
    val = _validation(val_folder, base, index)
    if test_only and not train_folder.exists():
        return Part(val.classes, [], []), val
    train = _class_folders(train_folder, base, index)
    if odd := sorted(set(train.classes) ^ set(val.classes)):
        without = val_folder if odd[0] in train.classes else train_folder
        raise _not_imagenet(base, "is incomplete", f"there is no {odd[0]} in {without}")
    if index is not None:
        _every_class(train, train_folder, base)
    return train, val


def _place(base: Path, part: str) -> Path:
    """Where the training or validation images lie; where they are looked for, if nowhere."""
    packed = base / KAGGLE / part
    return packed if packed.is_dir() and not (base / part).exists() else base / part


def _validation(folder: Path, base: Path, index: list[str] | None) -> Part:
    """The validation images, in folders of classes or all in one."""
    if folder.is_dir() and not _classes_in(folder):
        images = sorted(_images_in(str(folder), ()))
        if images:
            return _flat(folder, [name for _, name in images], base, index)
    return _class_folders(folder, base, index)


def _flat(folder: Path, names: list[str], base: Path, index: list[str] | None) -> Part:
    """Validation images that lie in one folder, with the classes that a file beside it tells."""
    labels = labels_by_number(base, folder, index)
    if labels is None:
        what = f"no file in {base} tells the classes of the images, and there are no folders of "
        raise _not_imagenet(base, "is incomplete", f"{what}classes in {folder}")
    numbers = [number_of(name) for name in names]
    for name, number in zip(names, numbers, strict=True):
        if number not in labels.classes_of:
            raise DataDamaged(
                f"{folder / name} is not one of the {len(labels.classes_of):,} validation images "
                f"that {labels.file} names; remove it, or replace that file"
            )
    if missing := sorted(set(labels.classes_of) - {n for n in numbers if n is not None}):
        more = f", and of {len(missing) - 1:,} more" if missing[1:] else ""
        what = f"{labels.file} tells the class of image {missing[0]}{more}, not in {folder}"
        raise _not_imagenet(base, "is incomplete", what)
    if len(set(numbers)) < len(numbers):
        twice = next(n for n in numbers if numbers.count(n) > 1)
        raise DataDamaged(f"{folder} holds image {twice} twice; remove one of the two")
    classes = labels.classes
    place = {name: label for label, name in enumerate(classes)}
    found = [place[labels.classes_of[n]] for n in numbers if n is not None]
    return Part(classes, [os.path.join(folder, name) for name in names], found)  # noqa: PTH118


def _class_folders(folder: Path, base: Path, index: list[str] | None) -> Part:
    """The images of a folder that holds a folder of them for each class."""
    if not folder.is_dir():
        what = f"there is no imagenet/{folder.name} in {base.parent}"
        raise _not_imagenet(base, "was not found", what)
    folders = _classes_in(folder)
    if not folders:
        what = f"there are no folders of classes in {folder}"
        raise _not_imagenet(base, "is incomplete", what)
    classes = folders if index is None else index
    place = {name: label for label, name in enumerate(classes)}
    files, labels = [], []
    for name in folders:
        if name not in place:
            raise DataDamaged(f"{folder / name} is no class of the class index in {base}")
        images = sorted(_images_in(str(folder / name), ()))
        if not images:
            what = f"there is no image in {folder / name}"
            raise _not_imagenet(base, "is incomplete", what)
        files += [os.path.join(*image) for image in images]  # noqa: PTH118 (a million of them)
        labels += [place[name]] * len(images)
    return Part(classes, files, labels)


def _every_class(train: Part, folder: Path, base: Path) -> None:
    """Raises `DataNotFound` where a class has no training images."""
    if lacking := sorted(set(range(len(train.classes))) - set(train.labels)):
        what = f"there is no {train.classes[lacking[0]]} in {folder}"
        raise _not_imagenet(base, "is incomplete", what)


def _classes_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _is_class(entry))


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


def _not_imagenet(base: Path, problem: str, what: str) -> DataNotFound:
    return DataNotFound(
        f"imagenet {problem}: {what}. It cannot be downloaded without an account at image-net.org; "
        f"lay it out as imagenet/train/CLASS/*.JPEG and imagenet/val/CLASS/*.JPEG in "
        f"{base.parent}, or the latter as imagenet/val/*.JPEG with ILSVRC2012_devkit_t12, or set "
        f"MIXERLIB_DATA to the folder that holds imagenet"
    )
