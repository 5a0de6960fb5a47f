"""ImageNet in every form that it lies on disks in: labels of images, and what may be wrong."""

import json
import re
from pathlib import Path

import made_up_imagenet as made
import pytest

from mixerlib.data import DataDamaged, DataNotFound, ImageFiles, load_dataset


def opened(root: Path, test_only: bool = True) -> ImageFiles:
    return load_dataset("imagenet", root, image_size=16, workers=0, test_only=test_only)


def labels(dataset: ImageFiles) -> dict[str, int]:
    """The label of each validation image by its name."""
    names = [Path(file.decode()).name for file in dataset.test_files]
    return dict(zip(names, dataset.test_labels.tolist(), strict=True))


EXPECTED = {made.file_name(n): made.label_of(n) for n in range(1, made.IMAGES + 1)}


@pytest.fixture(scope="module")
def flat(tmp_path_factory) -> Path:
    """All validation images in one folder, and nothing that says of which classes they are."""
    return made.write_validation(tmp_path_factory.mktemp("flat"), in_classes=False)


@pytest.fixture
def imagenet(flat, tmp_path) -> Path:
    """Another imagenet/ with the same validation images, to put files beside."""
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "val").symlink_to(flat / "val")
    return tmp_path / "imagenet"


def kit(folder: Path) -> None:
    made.write_kit(folder / "ILSVRC2012_devkit_t12" / "data")


def kit_beside_the_images(folder: Path) -> None:
    made.write_kit(folder)


def later_kit(folder: Path) -> None:
    made.write_kit(folder / "devkit" / "data", matlab=False)


def kaggle(folder: Path) -> None:
    rows = [f"{Path(f).stem},{made.CLASSES[i]} 1 2 30 40 {made.CLASSES[i]} 5 6 7 8"
            for f, i in EXPECTED.items()]  # fmt: skip
    lines = ["ImageId,PredictionString", *reversed(rows)]  # its rows are in no order
    (folder / "LOC_val_solution.csv").write_text("\n".join(lines))


def names_by_line(folder: Path) -> None:
    lines = [made.CLASSES[label] for label in EXPECTED.values()]
    (folder / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(lines))


def pairs_of_names(folder: Path) -> None:
    lines = [f"val/{name} {made.CLASSES[label]}" for name, label in reversed(EXPECTED.items())]
    (folder / "val.txt").write_text("\n".join(lines))


def pairs_of_numbers(folder: Path) -> None:
    (folder / "val.txt").write_text("\n".join(f"{n} {label}" for n, label in EXPECTED.items()))
    (folder / "synset_words.txt").write_text("\n".join(f"{n} a thing" for n in made.CLASSES))


FORMS = (kit, kit_beside_the_images, later_kit, kaggle, names_by_line, pairs_of_names)


@pytest.mark.parametrize("form", [*FORMS, pairs_of_numbers])
def test_images_in_one_folder_have_the_labels_of_a_list(imagenet, form):
    form(imagenet)
    dataset = opened(imagenet.parent)
    assert dataset.classes == made.CLASSES and len(dataset.train_labels) == 0
    assert labels(dataset) == EXPECTED
    images, first = next(dataset.test_batches(3))
    assert images.shape == (3, 3, 16, 16) and first.tolist() == list(EXPECTED.values())[:3]


def test_the_same_images_in_folders_of_classes_have_the_same_labels(tmp_path):
    made.write_validation(tmp_path)
    dataset = opened(tmp_path)
    assert dataset.classes == made.CLASSES and labels(dataset) == EXPECTED


def test_training_folders_and_a_list_fit_together(imagenet):
    made.write_training(imagenet.parent, each=1)
    kit(imagenet)
    dataset = opened(imagenet.parent, test_only=False)
    assert dataset.classes == made.CLASSES and labels(dataset) == EXPECTED
    assert dataset.train_labels.tolist() == list(range(len(made.CLASSES)))
    (imagenet / "train" / made.CLASSES[3]).rename(imagenet / "train" / "n99999999")
    with pytest.raises(DataNotFound, match=f"there is no {made.CLASSES[3]} in {imagenet}/train"):
        opened(imagenet.parent, test_only=False)


def test_as_kaggle_packs_it(flat, tmp_path):
    base = tmp_path / "imagenet"
    (base / "ILSVRC/Data/CLS-LOC").mkdir(parents=True)
    (base / "ILSVRC/Data/CLS-LOC/val").symlink_to(flat / "val")
    kaggle(base)
    (base / "LOC_synset_mapping.txt").write_text("\n".join(f"{n} a b" for n in made.CLASSES))
    assert labels(opened(tmp_path)) == EXPECTED


INDICES = {
    "imagenet_class_index.json": lambda names: json.dumps(
        {str(i): [name, f"thing {i}"] for i, name in enumerate(names)}
    ),
    "class_to_idx.json": lambda names: json.dumps({name: i for i, name in enumerate(names)}),
    "synset_words.txt": lambda names: "\n".join(f"{name} a thing, or so" for name in names),
    "synsets.txt": "\n".join,
}


@pytest.mark.parametrize("file", INDICES)
def test_a_class_index_numbers_the_classes_of_some_folders(tmp_path, file):
    base = made.write_validation(tmp_path)
    for name in made.CLASSES[4:]:  # most classes are not here
        for image in (base / "val" / name).iterdir():
            image.unlink()
        (base / "val" / name).rmdir()
    order = made.CLASSES[::-1]
    (base / file).write_text(INDICES[file](order))
    dataset = opened(tmp_path)
    assert dataset.classes == order
    last = len(order) - 1
    assert labels(dataset) == {n: last - label for n, label in EXPECTED.items() if label < 4}
    made.write_training(tmp_path, each=1)
    opened(tmp_path, test_only=False)
    for image in (base / "train" / order[2]).iterdir():
        image.unlink()
    (base / "train" / order[2]).rmdir()
    with pytest.raises(DataNotFound, match=f"there is no {order[2]} in {base}/train"):
        opened(tmp_path, test_only=False)


def test_of_a_folder_without_a_list_it_is_said_what_lacks(imagenet):
    message = r"no file in .*imagenet tells the classes of the images, and there are no folders"
    with pytest.raises(DataNotFound, match=message) as error:
        opened(imagenet.parent)
    assert "ILSVRC2012_devkit_t12" in str(error.value) and "\n" not in str(error.value)


TRUTH = "ILSVRC2012_validation_ground_truth.txt"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({TRUTH: "1\n" * made.IMAGES}, "explained by meta.mat, which is not in .*imagenet"),
        ({TRUTH: "1\n", "meta.mat": "no matrix"}, r"meta.mat cannot be read \("),
        ({TRUTH: "1\n77\n", "map_clsloc.txt": "n1 1 a"}, "line 2 has the number 77, which is no"),
        ({TRUTH: "1\nx\n", "map_clsloc.txt": "n1 1 a"}, f"{TRUTH} cannot be read .*'x'"),
        ({TRUTH: "", "map_clsloc.txt": "n1 1 a"}, "it is empty"),
        ({TRUTH: "1\n" * 50, "map_clsloc.txt": "n1 1 a"}, "class of image 42, and of 8 more, not"),
        ({TRUTH: "1\n" * 9, "map_clsloc.txt": "n1 1 a"}, "00000010.JPEG is not one of the 9 valid"),
        ({"val.txt": "a.JPEG 0\n"}, "its labels are numbers, and no class index says of which"),
        ({"val.txt": "a.JPEG n1\n"}, "the image a.JPEG has no number"),
        ({"val.txt": "a_1.JPEG n1\nb_1.JPEG n1\n"}, "the image b_1.JPEG is there twice"),
        ({"val.txt": "a_1.JPEG\n"}, "val.txt cannot be read"),
        ({"val.txt": "a_1.JPEG 9\n", "synsets.txt": "n1\nn2"}, "val.txt cannot be read"),
        ({"val.txt": "a_1.JPEG n3\n", "synsets.txt": "n1\nn2"}, "names n3, no class of the class"),
        ({"val.txt": "a_1.JPEG n1\n", "synsets.txt": "n1\nn1"}, "n1 is there twice"),
        ({"val.txt": "a_1.JPEG n/1\n"}, "'n/1' is no name of a class"),
        ({"LOC_val_solution.csv": "ImageId,PredictionString\n"}, "it is empty"),
        ({"class_to_idx.json": "[]"}, "class_to_idx.json cannot be read .it is no table"),
        ({"class_to_idx.json": '{"n1": 0, "n2": 2}'}, "its numbers are not 0 to 1"),
        ({"imagenet_class_index.json": '{"0": ["n1"], "x": ["n2"]}'}, "class_index.json cannot b"),
        ({"imagenet_class_index.json": '{"0": [], "1": ["n2"]}'}, "index.json cannot be read"),
        ({"imagenet_class_index.json": "{"}, "class_index.json cannot be read .is not JSON"),
    ],
)  # fmt: skip
def test_a_list_that_is_wrong_is_named_in_one_line(imagenet, files, message):
    for name, content in files.items():
        (imagenet / name).write_text(content)
    with pytest.raises((DataDamaged, DataNotFound)) as error:
        opened(imagenet.parent)
    assert re.search(message, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_class_of_the_index_is_named(tmp_path):
    base = made.write_validation(tmp_path)
    (base / "synsets.txt").write_text("\n".join(made.CLASSES[:-1]))
    with pytest.raises(DataDamaged, match=f"val/{made.CLASSES[-1]} is no class of the class index"):
        opened(tmp_path)


def test_the_same_number_twice_is_refused(tmp_path):
    base = made.write_validation(tmp_path, in_classes=False)
    names_by_line(base)
    (base / "val" / "a_00000007.png").write_bytes((base / "val" / made.file_name(7)).read_bytes())
    with pytest.raises(DataDamaged, match="holds image 7 twice; remove one of the two"):
        opened(tmp_path)


def test_the_classes_of_a_kit_are_all_there_even_those_without_an_image(imagenet):
    kit(imagenet)
    folder = imagenet / "ILSVRC2012_devkit_t12" / "data"
    number = made.NUMBER_IN_KIT(5)
    (folder / TRUTH).write_text(f"{number}\n" * made.IMAGES)
    dataset = opened(imagenet.parent)
    assert dataset.classes == made.CLASSES and set(labels(dataset).values()) == {5}
