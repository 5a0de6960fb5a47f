"""The door to all data sets: `load_dataset` by their names.

`in_memory.py` cuts batches from tensors. `image_files.py` has those that are read from files:
`photographs.py` finds them, `pictures.py` opens one, `readers.py` are the processes that do it.
`download.py` checks what is there, and `fetching.py` fetches it.
"""

import os
from dataclasses import replace
from pathlib import Path

import torch

from mixerlib import checks
from mixerlib.checks import did_you_mean, shown
from mixerlib.data.image_files import ImageFiles
from mixerlib.data.in_memory import MEMORY_DATASETS, Dataset, load_in_memory
from mixerlib.data.photographs import FILE_DATASETS, load_image_files
from mixerlib.data.source import INTERPOLATIONS, NORMALIZATIONS, made_on_cpu

# What `load_dataset` knows, in memory and on the disk
DATASETS = (*MEMORY_DATASETS, *FILE_DATASETS)
CONSTANTS = {"half": (0.5, 0.5), "unit": (0.0, 1.0)}  # mean and deviation of every channel


@made_on_cpu()
def load_dataset(
    name: str,
    root: str | Path | None = None,
    download: bool = False,
    *,
    image_size: int | None = None,
    interpolation: str | None = None,
    crop_area: float | None = None,
    crop_pct: float | None = None,
    normalization: str = "dataset",
    workers: int | None = None,
    test_only: bool = False,
) -> Dataset | ImageFiles:
    """A data set by its name, on the CPU: a `Dataset` in memory, or `ImageFiles` on the disk.

    Args:
        name: in memory "digits", "fashion_mnist", "cifar10" or "cifar100"; on the disk
            "flowers102", "food101" or "imagenet".
        root: the folder that all but the digits are read from, in torchvision's layout. None: the
            one that the environment variable MIXERLIB_DATA names, else ./data.
        download: fetch first what is missing or damaged. Every file that has a published MD5 is
            checked by it in any case.
        image_size: side in pixels that images are resized to. In memory None leaves them as they
            are; on the disk it must be set.
        interpolation: of that resizing, "bilinear" (the default) or "bicubic".
        crop_area: on the disk, the smallest share of a training image's area that a random crop
            keeps: see `ImageFiles`.
        crop_pct: on the disk, the share of a resized test image's side that its centre crop keeps.
        normalization: "dataset" takes mean and deviation from the training images, for those on
            the disk ImageNet's constants; "half" takes 0.5, as MLP-Mixer's weights expect; "unit"
            takes none.
        workers: processes that read files, by default one a core; 0: none but this one.
        test_only: whether imagenet may lack its training images; then there are none.

    Raises `ValueError` for an unknown name and for an argument out of its range or without effect,
    `DataNotFound` when files are missing or cannot be fetched, and `DataDamaged` when a file is not
    what its checksum promises.

    >>> from mixerlib.data import load_dataset
    >>> dataset = load_dataset("digits")
    >>> images, labels = next(dataset.test_batches(64))
    >>> images.dtype, dataset.normalize(images).shape
    (torch.uint8, torch.Size([64, 1, 8, 8]))
    """
    _check_arguments(name, image_size, interpolation, normalization, workers)
    _check_shares(name, crop_area=crop_area, crop_pct=crop_pct)
    folder = Path(root or os.environ.get("MIXERLIB_DATA") or "data").expanduser().resolve()
    mode = interpolation or "bilinear"
    dataset: Dataset | ImageFiles
    if name in MEMORY_DATASETS:
        dataset = load_in_memory(name, folder, download)
        dataset = replace(dataset, resized_to=image_size, interpolation=mode)
    else:
        assert image_size is not None  # as the arguments have been checked
        reading = (image_size, mode, crop_area, crop_pct, workers, test_only)
        dataset = load_image_files(name, folder, download, *reading)
    if normalization not in CONSTANTS:
        return dataset
    mean, std = (torch.full((dataset.in_channels,), n) for n in CONSTANTS[normalization])
    return replace(dataset, mean=mean, std=std)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or name not in DATASETS:
        plain = name.lower().replace("-", "") if isinstance(name, str) else ""
        hint = did_you_mean(plain, DATASETS, f"there are {', '.join(DATASETS)}")
        raise ValueError(f"`dataset`={shown(name)} is no data set of mixerlib; {hint}")


def _check_arguments(
    name: str,
    image_size: int | None,
    interpolation: str | None,
    normalization: str,
    workers: int | None,
) -> None:
    _check_name(name)
    if image_size is None and name in FILE_DATASETS:
        raise ValueError(f"`image_size`=None must be set for {name}: its images have many sizes")
    if image_size is None and interpolation is not None:
        raise ValueError(
            f"`interpolation`={interpolation!r} has no effect without `image_size`: "
            f"no image of {name} is resized"
        )
    if image_size is not None:
        checks.positive_int("image_size", image_size)
    if interpolation is not None:
        checks.one_of("interpolation", interpolation, INTERPOLATIONS)
    checks.one_of("normalization", normalization, NORMALIZATIONS)
    if workers is not None:
        checks.count("workers", workers)


def _check_shares(name: str, **shares: float | None) -> None:
    for argument, share in shares.items():
        if share is not None and name not in FILE_DATASETS:
            raise ValueError(
                f"`{argument}`={share!r} is for images that are read from files "
                f"({', '.join(FILE_DATASETS)}), not for {name}"
            )
        if share is not None:
            checks.follows(argument, share, checks.POSITIVE_SHARE)
