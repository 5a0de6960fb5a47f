"""Flowers102, Food101 and ImageNet: how they are found, fetched and checked.

The folders are small ones in the real layout, read by torchvision's own classes; only the checksums
that torchvision knows are replaced by those of the small files.
"""

import json
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import scipy
import torch
from PIL import Image

from mixerlib._torchvision import import_torchvision
from mixerlib.data import DataDamaged, DataNotFound, ImageFiles, load_dataset
from mixerlib.data.photographs import FILE_DATASETS
from mixerlib.training import ALONE, Recipe, begin

FLOWERS = {"train": [3, 5], "val": [1], "test": [2, 4, 6]}  # numbers of images
FLOWER_LABELS = [7, 102, 1, 1, 7, 50]  # from 1
FOODS = ("apple_pie", "waffles")
LABEL_FILES = {
    "flowers102": ["flowers-102/imagelabels.mat", "flowers-102/setid.mat"],
    "food101": ["food-101/meta/train.json", "food-101/meta/test.json"],
}
ARCHIVES = {"flowers102": "flowers-102/102flowers.tgz", "food101": "food-101.tar.gz"}
AN_IMAGE = {
    "flowers102": "flowers-102/jpg/image_00004.jpg",
    "food101": "food-101/images/waffles/11.jpg",
}


def image_file(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20 + shade % 7, 24), (shade, shade, shade)).save(path, "JPEG")


def md5(file: Path) -> str:
    return import_torchvision().datasets.utils.calculate_md5(file)


def pack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)


def write_flowers(root: Path, monkeypatch) -> None:
    flowers = import_torchvision().datasets.Flowers102
    folder = root / "flowers-102"
    for i in range(1, 7):
        image_file(folder / f"jpg/image_{i:05}.jpg", 40 * i)
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": np.array([FLOWER_LABELS])})
    names = {"train": "trnid", "val": "valid", "test": "tstid"}
    scipy.io.savemat(
        folder / "setid.mat", {names[part]: np.array([ids]) for part, ids in FLOWERS.items()}
    )
    pack(folder / "102flowers.tgz", folder / "jpg")
    files = {what: (file, md5(folder / file)) for what, (file, _) in flowers._file_dict.items()}
    monkeypatch.setattr(flowers, "_file_dict", files)


def write_food(root: Path, monkeypatch) -> None:
    folder = root / "food-101"
    parts = {"train": [10, 12], "test": [11]}
    for i, food in enumerate(FOODS):
        for number in (10, 11, 12):
            image_file(folder / f"images/{food}/{number}.jpg", 100 * i + number)
    (folder / "meta").mkdir()
    for part, numbers in parts.items():
        content = {food: [f"{food}/{number}" for number in numbers] for food in FOODS}
        (folder / f"meta/{part}.json").write_text(json.dumps(content))
    pack(root / "food-101.tar.gz", folder)
    food = import_torchvision().datasets.Food101
    monkeypatch.setattr(food, "_MD5", md5(root / "food-101.tar.gz"))


@pytest.fixture(params=["flowers102", "food101"])
def published(request, tmp_path, monkeypatch) -> tuple[str, Path]:
    """The name of a data set that can be downloaded, and a folder that holds a small one."""
    write = {"flowers102": write_flowers, "food101": write_food}[request.param]
    write(tmp_path, monkeypatch)
    return request.param, tmp_path


@pytest.fixture
def imagenet(tmp_path) -> Path:
    """A folder with 3 training and 2 test images of two classes."""
    for i, file in enumerate(("n1/a.JPEG", "n1/b.JPEG", "n2/c.JPEG")):
        image_file(tmp_path / "imagenet/train" / file, 50 * i)
    for i, file in enumerate(("n1/val_2.JPEG", "n2/val_1.JPEG")):
        image_file(tmp_path / "imagenet/val" / file, 50 * i)
    return tmp_path


def open_it(name: str, root: Path, download: bool = False, **options) -> ImageFiles:
    return load_dataset(name, root, download, image_size=8, workers=0, **options)


def shades(dataset: ImageFiles) -> tuple[list[int], list[int]]:
    """The grey of each training and test image, to the nearest ten (JPEG is not exact)."""
    order = torch.arange(len(dataset.train_labels)).split(2)
    train = torch.cat([images for images, _ in dataset.training_batches(order, seed=0, epoch=1)])
    test = torch.cat([images for images, _ in dataset.test_batches()])
    return tuple(
        part.float().mean((1, 2, 3)).div(10).round().mul(10).int().tolist()
        for part in (train, test)
    )


def test_flowers_are_trained_on_train_and_tested_on_test(tmp_path, monkeypatch):
    write_flowers(tmp_path, monkeypatch)
    flowers = open_it("flowers102", tmp_path)
    assert flowers.num_classes == 102 and flowers.classes[0] == "pink primrose"
    assert flowers.train_labels.tolist() == [FLOWER_LABELS[i - 1] - 1 for i in FLOWERS["train"]]
    assert flowers.test_labels.tolist() == [FLOWER_LABELS[i - 1] - 1 for i in FLOWERS["test"]]
    assert flowers.train_labels.dtype == torch.int64
    assert shades(flowers) == ([120, 200], [80, 160, 240])


def test_food_is_read_by_its_lists(tmp_path, monkeypatch):
    write_food(tmp_path, monkeypatch)
    food = open_it("food101", tmp_path)
    assert food.classes == FOODS
    assert food.train_labels.tolist() == [0, 0, 1, 1] and food.test_labels.tolist() == [0, 1]
    assert [Path(os.fsdecode(file)).name for file in food.train_files] == ["10.jpg", "12.jpg"] * 2
    assert shades(food) == ([10, 10, 110, 110], [10, 110])


def test_imagenet_is_a_folder_of_classes(imagenet):
    dataset = open_it("imagenet", imagenet)
    assert dataset.classes == ("n1", "n2")
    assert dataset.train_labels.tolist() == [0, 0, 1] and dataset.test_labels.tolist() == [0, 1]
    assert shades(dataset) == ([0, 50, 100], [0, 50])


def test_for_an_evaluation_imagenet_may_lack_its_training_images(imagenet):
    whole = open_it("imagenet", imagenet, test_only=True)
    assert shades(whole) == ([0, 50, 100], [0, 50])  # what is there is read
    shutil.rmtree(imagenet / "imagenet/train")
    with pytest.raises(DataNotFound, match="there is no imagenet/train"):
        open_it("imagenet", imagenet)
    dataset = open_it("imagenet", imagenet, test_only=True)
    assert dataset.classes == ("n1", "n2") and len(dataset.train_labels) == 0
    images, labels = next(dataset.test_batches())
    assert labels.tolist() == [0, 1] and images.shape == (2, 3, 8, 8)
    recipe = Recipe("imagenet", "convmixer", image_size=8, interpolation="bilinear")
    with pytest.raises(ValueError, match="`dataset`='imagenet' has no training images"):
        begin(recipe, dataset, torch.device("cpu"), ALONE)


def test_hidden_folders_and_files_are_no_images(imagenet):
    """Jupyter's copies of what was looked at, and macOS's forks of files on foreign disks."""
    for part in ("train", "val"):
        folder = imagenet / "imagenet" / part
        (folder / ".ipynb_checkpoints").mkdir()
        image_file(folder / "n1/.ipynb_checkpoints/a-checkpoint.JPEG", 200)
        (folder / "n2/._c.JPEG").write_bytes(bytes.fromhex("00051607") + bytes(100))
        (folder / "n2/notes.txt").write_text("not an image")
    image_file(imagenet / "imagenet/train/.ipynb_checkpoints/a-checkpoint.JPEG", 200)
    dataset = open_it("imagenet", imagenet)
    assert dataset.classes == ("n1", "n2") and shades(dataset) == ([0, 50, 100], [0, 50])
    for name in ("n1", "n2"):
        shutil.rmtree(imagenet / "imagenet/val" / name)
    with pytest.raises(DataNotFound, match=r"there are no folders of classes in .*val"):
        open_it("imagenet", imagenet)


def test_images_are_listed_in_the_order_of_torchvision(imagenet):
    train = imagenet / "imagenet/train"
    for name in ("n1/z/a.png", "n1/z0.JPG", "n1/Z.webp", "n1/é.tif", "n1/z/b/c.bmp", "n2/x.txt"):
        image_file(train / name, 10)
    (train / "n2/again").symlink_to(train / "n1/z")  # into a folder beside it, as torchvision goes
    ours = open_it("imagenet", imagenet)
    theirs = import_torchvision().datasets.ImageFolder(train)
    assert [os.fsdecode(file) for file in ours.train_files] == [file for file, _ in theirs.samples]
    assert ours.train_labels.tolist() == theirs.targets
    assert len(ours.train_files) == 10 and list(ours.classes) == theirs.classes


def test_what_systems_leave_behind_is_no_class_and_no_image(imagenet):
    for part in ("train", "val"):
        for name in ("__MACOSX", "@eaDir"):
            image_file(imagenet / "imagenet" / part / name / "x.jpg", 200)
            image_file(imagenet / "imagenet" / part / "n1" / name / "x.jpg", 200)
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
            (imagenet / "imagenet" / part / "n1" / name).write_bytes(b"x")
    dataset = open_it("imagenet", imagenet)
    assert dataset.classes == ("n1", "n2") and shades(dataset) == ([0, 50, 100], [0, 50])


@pytest.mark.parametrize(
    "place, message",
    [
        ("train/n1/x.JPEG", r"n1/x\.JPEG is a link that leads nowhere"),
        ("val/n3", r"val/n3 is a link that leads nowhere"),
    ],
)
def test_a_link_that_leads_nowhere_is_named_at_once(imagenet, place, message):
    (imagenet / "imagenet" / place).symlink_to("gone")
    with pytest.raises(DataDamaged, match=message):
        open_it("imagenet", imagenet)


@pytest.mark.parametrize("target", [".", "..", "../..", "../../n1/deeper", "../../n2/back"])
def test_a_link_in_a_circle_is_named(imagenet, target):
    deeper = imagenet / "imagenet/train/n1/deeper"
    deeper.mkdir()
    (imagenet / "imagenet/train/n2/back").symlink_to("../n1")
    (deeper / "round").symlink_to(target)
    with pytest.raises(DataDamaged, match=r"is a link to a folder that it lies in"):
        open_it("imagenet", imagenet)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_among_images_is_named_and_not_waited_for(imagenet, tmp_path, monkeypatch):
    fifo = imagenet / "imagenet/val/n1/x.JPEG"
    os.mkfifo(fifo)
    with pytest.raises(DataDamaged, match=rf"{fifo} is no file; remove it"):
        open_it("imagenet", imagenet)
    fifo.unlink()
    for name, write in (("food101", write_food), ("flowers102", write_flowers)):
        write(tmp_path, monkeypatch)
        for file in (AN_IMAGE[name], LABEL_FILES[name][0]):
            (tmp_path / file).unlink()
            os.mkfifo(tmp_path / file)
            with pytest.raises(
                OSError, match=rf"{Path(file).name} (is missing|does not have|is no)"
            ):
                open_it(name, tmp_path)


def test_how_images_are_read_is_passed_on(imagenet):
    dataset = load_dataset(
        "imagenet",
        imagenet,
        image_size=8,
        interpolation="bicubic",
        crop_area=0.25,
        crop_pct=0.96,
        workers=3,
    )
    assert (dataset.image_size, dataset.interpolation) == ((8, 8), "bicubic")
    assert (dataset.crop_area, dataset.crop_pct, dataset.workers) == (0.25, 0.96, 3)
    assert dataset.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert dataset.std.tolist() == pytest.approx([0.229, 0.224, 0.225])
    plain = open_it("imagenet", imagenet, normalization="half")
    assert (plain.interpolation, plain.crop_area, plain.crop_pct) == ("bilinear", None, None)
    assert plain.mean.tolist() == plain.std.tolist() == [0.5] * 3


def test_workers_are_one_a_core_shared_among_processes(imagenet, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(12), raising=False)
    for processes, workers in ((1, 12), (4, 3), (20, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert load_dataset("imagenet", imagenet, image_size=8).workers == workers
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(128), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert load_dataset("imagenet", imagenet, image_size=8).workers == 16


# What is missing or damaged


@pytest.mark.parametrize("name", FILE_DATASETS)
def test_missing_data_say_where_and_how(tmp_path, name):
    with pytest.raises(DataNotFound) as error:
        open_it(name, tmp_path)
    message = str(error.value)
    assert "\n" not in message and message.startswith(f"{name} was not found")
    for part in (str(tmp_path), "MIXERLIB_DATA"):
        assert part in message
    how = "imagenet/train/CLASS/*.JPEG" if name == "imagenet" else "--download"
    assert how in message


def test_each_missing_file_is_named(published):
    name, root = published
    for file in (*LABEL_FILES[name], AN_IMAGE[name]):
        content = (root / file).read_bytes()
        (root / file).unlink()
        with pytest.raises(
            DataNotFound, match=rf"{name} is incomplete: .*{file} is missing; fetch"
        ):
            open_it(name, root)
        (root / file).write_bytes(content)
    images = (root / AN_IMAGE[name]).parent
    shutil.rmtree(images)
    with pytest.raises(DataNotFound, match=rf"{images}.* is missing"):
        open_it(name, root)


def test_missing_images_are_counted(published):
    name, root = published
    for file in sorted((root / AN_IMAGE[name]).parent.iterdir())[1:]:  # image 1 is in no list used
        file.unlink()
    more = {"flowers102": 4, "food101": 1}[name]
    with pytest.raises(DataNotFound, match=rf"\.jpg is missing, and {more} more; fetch it again"):
        open_it(name, root)


def test_damaged_label_files_are_named(published):
    name, root = published
    for file in LABEL_FILES[name]:
        content = (root / file).read_bytes()
        (root / file).write_bytes(content[:-1])
        message = {"flowers102": f"{file} does not have the MD5", "food101": "cannot be read"}[name]
        with pytest.raises(DataDamaged, match=message) as error:
            open_it(name, root)
        assert "\n" not in str(error.value)
        (root / file).write_bytes(content)
    open_it(name, root)


def test_a_damaged_archive_is_named_and_one_that_was_deleted_is_not_missed(published):
    name, root = published
    archive = root / ARCHIVES[name]
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(DataDamaged, match=rf"{archive.name} does not have the MD5"):
        open_it(name, root)
    archive.unlink()
    open_it(name, root)


def test_a_damaged_image_is_named(published):
    name, root = published
    file = root / AN_IMAGE[name]
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataDamaged, match=rf"{file} cannot be decoded"):
        shades(open_it(name, root))


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_folder_that_is_not_imagenet_says_what_is_wrong(imagenet, part):
    folder = imagenet / "imagenet" / part
    shutil.move(folder / "n2", imagenet / "away")
    with pytest.raises(DataNotFound, match=rf"there is no n2 in {folder}\. "):
        open_it("imagenet", imagenet)
    (folder / "n2").mkdir()
    with pytest.raises(DataNotFound, match=rf"there is no image in {folder}/n2\. "):
        open_it("imagenet", imagenet)
    for image in list(folder.glob("n1/*")):  # as the test images come, all in one folder
        image.rename(folder / image.name)
    for empty in ("n1", "n2"):
        (folder / empty).rmdir()
    with pytest.raises(DataNotFound, match=rf"no folders of classes in {folder}\. ") as error:
        open_it("imagenet", imagenet)
    assert "imagenet/val/CLASS/*.JPEG" in str(error.value) and "\n" not in str(error.value)


# Downloads, from a folder that stands for the publisher's server


@pytest.fixture
def server(published, monkeypatch) -> tuple[str, Path, list[str]]:
    """The published files out of reach but for a download; and the names that were asked for."""
    name, root = published
    urlopen, asked = urllib.request.urlopen, []
    files = root / "server"
    files.mkdir()
    shutil.move(root / ARCHIVES[name], files)
    if name == "flowers102":
        for file in LABEL_FILES[name]:
            shutil.move(root / file, files)
    shutil.rmtree(root / Path(LABEL_FILES[name][0]).parts[0])

    def answer(request: urllib.request.Request, timeout: float):
        asked.append(Path(request.full_url).name)
        return urlopen((files / asked[-1]).as_uri(), timeout=timeout)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    return name, root, asked


def test_a_download_fetches_unpacks_and_is_not_repeated(server):
    name, root, asked = server
    with pytest.raises(DataNotFound):
        open_it(name, root)
    first = shades(open_it(name, root, download=True))
    files = {"flowers102": ["102flowers.tgz", "imagelabels.mat", "setid.mat"]}
    assert asked == files.get(name, ["food-101.tar.gz"])
    assert shades(open_it(name, root, download=True)) == first == shades(open_it(name, root))
    assert len(asked) == len(files.get(name, [1]))


def test_a_download_repairs_what_is_missing_or_damaged(server):
    name, root, asked = server
    open_it(name, root, download=True)
    asked.clear()
    (root / AN_IMAGE[name]).unlink()  # as after unpacking that was killed
    open_it(name, root, download=True)
    assert asked == []  # the archive is still whole
    (root / ARCHIVES[name]).write_bytes(b"half")
    open_it(name, root, download=True)
    assert asked == [Path(ARCHIVES[name]).name]


def test_a_download_that_arrives_damaged_says_so(server):
    name, root, _ = server
    file = root / "server" / Path(ARCHIVES[name]).name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataDamaged, match=rf"{file.name} does not have the MD5"):
        open_it(name, root, download=True)


def test_a_download_without_a_network_says_so(published, monkeypatch):
    name, root = published
    shutil.rmtree(root / Path(LABEL_FILES[name][0]).parts[0])
    (root / "food-101.tar.gz").unlink(missing_ok=True)

    def no_network(*arguments, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    message = rf"{name} could not be downloaded to {root}.* from https?://.*not known"
    with pytest.raises(DataNotFound, match=message) as error:
        open_it(name, root, download=True)
    assert "\n" not in str(error.value) and "MIXERLIB_DATA" in str(error.value)


def test_imagenet_is_not_downloaded(tmp_path, imagenet):
    assert open_it("imagenet", imagenet, download=True).num_classes == 2
    with pytest.raises(DataNotFound, match=r"cannot be downloaded without an account"):
        open_it("imagenet", tmp_path / "empty", download=True)
