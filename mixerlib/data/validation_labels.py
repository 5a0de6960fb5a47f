"""The classes of ImageNet's validation images, where these lie in one folder, and the class index.

Which class an image is of is told by one of these files, in imagenet/, beside the images or in a
development kit there. The image ILSVRC2012_val_00000007.JPEG has the number 7, and so has the
seventh line of a list.

    ILSVRC2012_validation_ground_truth.txt    a number for each image, which meta.mat of the same
                                              kit, or map_clsloc.txt of later ones, gives a name
    LOC_val_solution.csv                      Kaggle's: IMAGE,CLASS and boxes
    val.txt                                   IMAGE LABEL, from 0 by the class index, or IMAGE CLASS
    imagenet_2012_validation_synset_labels.txt    a name for each image

Names of classes are those of WordNet, such as n01440764. A class index gives each one the number
that a model's logits have; without it they are numbered as they sort, as everybody does.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mixerlib.data.download import DataDamaged
from mixerlib.files import read_json, read_text

MOST_BYTES = 2**25  # of a list; Kaggle's has 4 million
KITS = (".", "ILSVRC2012_devkit_t12/data", "devkit/data", "data")
_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
_NUMBER = re.compile(r"(\d+)\.\w+$")


class ValidationLabels(NamedTuple):
    """The class of each validation image by its number, from 1; and all classes in their order."""

    file: Path
    classes: list[str]
    classes_of: dict[int, str]


def number_of(name: str) -> int | None:
    """The number in a validation image's name, such as 7 of ILSVRC2012_val_00000007.JPEG."""
    digits = _NUMBER.search(name)
    return int(digits.group(1)) if digits else None


def class_index(base: Path) -> list[str] | None:
    """The names of all classes in the order of a model's logits, by the first class index that lies
    in `base`; None where there is none. Raises `DataDamaged` for a file that is none.
    """
    for name, read in _INDICES.items():
        if (file := base / name).is_file():
            return _read(file, read, [])
    return None


def labels_by_number(base: Path, folder: Path, index: list[str] | None) -> ValidationLabels | None:
    """What the first file of the module's list says that lies in `base`, in `folder`, or in a kit;
    None where there is none. Raises `DataDamaged` for one that cannot be read.
    """
    places = [*(base / kit for kit in KITS), folder, folder.parent]
    for name, read in _LISTS.items():
        for place in places:
            if (file := place / name).is_file():
                classes_of = _read(file, read, index or [])
                classes = index or sorted(set(classes_of.values()) | set(_kit_classes(file)))
                if unknown := sorted(set(classes_of.values()) - set(classes)):
                    raise DataDamaged(f"{file} names {unknown[0]}, no class of the class index")
                return ValidationLabels(file, classes, classes_of)
    return None


def _read(file: Path, read: Callable[[Path, list[str]], Any], index: list[str]) -> Any:
    try:
        return read(file, index)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        reason = str(error).replace(f"{file} ", "", 1)
        raise DataDamaged(f"{file} cannot be read ({reason}); replace it") from None


def _lines(file: Path) -> list[list[str]]:
    """The words of each line that has any."""
    lines = [line.split() for line in read_text(file, MOST_BYTES).splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    return lines


def _name(word: object) -> str:
    if not isinstance(word, str) or not _NAME.fullmatch(word):
        raise ValueError(f"{str(word)[:60]!r} is no name of a class")
    return word


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} is there twice")
    return names


# The class indices


def _index_of_lines(file: Path, index: list[str]) -> list[str]:
    """A class a line, its name first."""
    return _distinct([_name(words[0]) for words in _lines(file)])


def _index_of_json(file: Path, index: list[str]) -> list[str]:
    """{"0": ["n01440764", "tench"], …}, as Keras has it, or {"n01440764": 0, …}."""
    table = read_json(file)
    if not isinstance(table, dict) or not table:
        raise ValueError("it is no table")
    if all(type(number) is int for number in table.values()):
        names = {number: _name(name) for name, number in table.items()}
    else:
        names = {int(n): _name(v[0] if isinstance(v, list) else v) for n, v in table.items()}
    if sorted(names) != list(range(len(table))):
        raise ValueError(f"its numbers are not 0 to {len(table) - 1}")
    return _distinct([names[number] for number in range(len(table))])


# The lists of classes for the images


def _kit(file: Path, index: list[str]) -> dict[int, str]:
    names = _kit_names(file.parent)
    if names is None:
        raise ValueError(f"its numbers are explained by meta.mat, which is not in {file.parent}")
    numbers = [int(words[0]) for words in _lines(file)]
    for line, number in enumerate(numbers, 1):
        if number not in names:
            raise ValueError(f"line {line} has the number {number}, which is no class")
    return {line: names[number] for line, number in enumerate(numbers, 1)}


def _kit_names(folder: Path) -> dict[int, str] | None:
    """A development kit's numbers of the classes, from 1, and their names."""
    if (file := folder / "meta.mat").is_file():
        return _read(file, _names_of_matlab, [])
    if (file := folder / "map_clsloc.txt").is_file():
        return {int(words[1]): _name(words[0]) for words in _lines(file)}
    return None


def _names_of_matlab(file: Path, index: list[str]) -> dict[int, str]:
    from scipy.io import loadmat  # which takes a while to import

    try:
        synsets = loadmat(file, squeeze_me=True)["synsets"].reshape(-1)
        rows = zip(
            *(synsets[key] for key in ("ILSVRC2012_ID", "WNID", "num_children")), strict=True
        )
        return {int(n): _name(str(name)) for n, name, children in rows if int(children) == 0}
    except Exception as error:  # scipy has many kinds for broken files
        raise ValueError(str(error) or type(error).__name__) from None


def _kit_classes(file: Path) -> list[str]:
    """All classes of the kit that a list lies in, of which some may have no image."""
    names = _kit_names(file.parent) if file.name in _OF_KITS else None
    return list((names or {}).values())


def _kaggle(file: Path, index: list[str]) -> dict[int, str]:
    rows = [line.split(",") for line in read_text(file, MOST_BYTES).splitlines() if line.strip()]
    return _numbered((f"{row[0]}.JPEG", row[1].split()[0]) for row in rows[1:])


def _pairs(file: Path, index: list[str]) -> dict[int, str]:
    rows = [(words[0], words[1]) for words in _lines(file)]
    if all(label.isdecimal() for _, label in rows):
        if not index:
            raise ValueError("its labels are numbers, and no class index says of which classes")
        rows = [(name, index[int(label)]) for name, label in rows]
    return _numbered(rows)


def _numbered(rows: Any) -> dict[int, str]:
    classes_of: dict[int, str] = {}
    for image, name in rows:
        number = number_of(image)
        if number is None or number in classes_of:
            fault = "has no number" if number is None else "is there twice"
            raise ValueError(f"the image {image[:60]} {fault}")
        classes_of[number] = _name(name)
    if not classes_of:
        raise ValueError("it is empty")
    return classes_of


def _names_of_lines(file: Path, index: list[str]) -> dict[int, str]:
    return {line: _name(words[0]) for line, words in enumerate(_lines(file), 1)}


_OF_KITS = (
    "ILSVRC2012_validation_ground_truth.txt",
    "ILSVRC2015_clsloc_validation_ground_truth.txt",
)
_LISTS: dict[str, Callable[[Path, list[str]], dict[int, str]]] = {
    **dict.fromkeys(_OF_KITS, _kit),
    "LOC_val_solution.csv": _kaggle,
    "val.txt": _pairs,
    "imagenet_2012_validation_synset_labels.txt": _names_of_lines,
}
_INDICES: dict[str, Callable[[Path, list[str]], list[str]]] = {
    "imagenet_class_index.json": _index_of_json,
    "class_to_idx.json": _index_of_json,
    **dict.fromkeys(("LOC_synset_mapping.txt", "synset_words.txt", "synsets.txt"), _index_of_lines),
}
