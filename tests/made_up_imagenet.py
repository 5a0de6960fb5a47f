"""A made-up ImageNet of a few small photographs of every kind that the real one has.

Many sizes, grey, CMYK, turned by EXIF, a PNG that is called JPEG, and one smaller than the crop.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = tuple(f"n{1440764 + 13 * i:08}" for i in range(12))  # WordNet names, as they sort
IMAGES = 41  # of the validation, numbered from 1
ORIENTATION = 0x0112  # EXIF's tag
SIZES = ((60, 45), (33, 80), (130, 97), (48, 48), (20, 37), (90, 61))


def label_of(number: int) -> int:
    """The class of a validation image; every class has some, in no order."""
    return (7 * number + number // 12) % len(CLASSES)


def photograph(number: int) -> Image.Image:
    """Smooth random colours with an edge, in a size of its own."""
    random = np.random.default_rng(number)
    small = random.integers(256, size=(4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(SIZES[number % len(SIZES)], Image.Resampling.BICUBIC)
    image.paste(tuple(random.integers(256, size=3).tolist()), (3, 5, 17, 16))
    return image


def save(image: Image.Image, number: int, path: Path) -> None:
    """One of the kinds of files that are called JPEG in ImageNet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = number % 7
    if kind == 1:
        image.convert("L").save(path, "JPEG")
    elif kind == 2:
        image.convert("CMYK").save(path, "JPEG")
    elif kind == 3:
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        image.save(path, "JPEG", exif=exif)
    elif kind == 4:
        image.save(path, "PNG")
    else:
        image.save(path, "JPEG", quality=60 + number)


def file_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08}.JPEG"


def write_validation(root: Path, in_classes: bool = True) -> Path:
    """The validation images under `root`/imagenet, in folders of classes or all in one; returns
    `root`/imagenet.
    """
    val = root / "imagenet" / "val"
    for number in range(1, IMAGES + 1):
        folder = val / CLASSES[label_of(number)] if in_classes else val
        save(photograph(number), number, folder / file_name(number))
    return root / "imagenet"


def write_training(root: Path, each: int = 2) -> None:
    """So many training images of every class under `root`/imagenet."""
    for label, name in enumerate(CLASSES):
        for i in range(each):
            number = 1000 + each * label + i
            save(photograph(number), number, root / f"imagenet/train/{name}/{name}_{i}.JPEG")


# The development kit numbers the classes in an order of its own, from 1.
NUMBER_IN_KIT: Callable[[int], int] = lambda label: (5 * label + 3) % len(CLASSES) + 1  # noqa: E731


def write_kit(folder: Path, matlab: bool = True) -> None:
    """The development kit's two files in `folder`: the ground truth, and the classes' numbers."""
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    numbers = [NUMBER_IN_KIT(label_of(number)) for number in range(1, IMAGES + 1)]
    truth = "".join(f"{number}\n" for number in numbers)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    if not matlab:
        lines = [f"{name} {NUMBER_IN_KIT(i)} thing_{i}\n" for i, name in enumerate(CLASSES)]
        (folder / "map_clsloc.txt").write_text("".join(lines))
        return
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O")]
    kinds += [("num_children", "O"), ("children", "O")]
    rows = [(NUMBER_IN_KIT(i), name, "a thing", "", 0, 0) for i, name in enumerate(CLASSES)]
    rows.append((len(CLASSES) + 1, "n00001740", "what holds them all", "", len(CLASSES), 1))
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kinds).reshape(-1, 1)})


if __name__ == "__main__":  # python tests/made_up_imagenet.py FOLDER, for book.tools.timm_scripts
    write_training(Path(sys.argv[1]))
    write_validation(Path(sys.argv[1]))
