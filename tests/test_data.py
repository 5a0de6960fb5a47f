"""Data sets, batches, and the import of torchvision."""

import os
import pickle
import urllib.error
from pathlib import Path

import pytest
import torch

from mixerlib.data import (
    DATASETS,
    DataDamaged,
    DataNotFound,
    batches,
    import_torchvision,
    load_dataset,
)

CIFAR_ROOT = Path(os.environ.get("MIXERLIB_DATA") or "data")
FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture
def cifar_in_small(tmp_path, monkeypatch):
    """A folder in CIFAR-10's layout with 24 + 4 random images, and torchvision told of its MD5s."""
    datasets = import_torchvision().datasets
    folder = tmp_path / FOLDERS["cifar10"]
    folder.mkdir()
    random = torch.Generator().manual_seed(0)

    def batch(count: int) -> dict:
        pixels = torch.randint(256, (count, 3072), generator=random, dtype=torch.uint8)
        return {"data": pixels.numpy(), "labels": [i % 10 for i in range(count)]}

    def write(filename: str, content: dict) -> tuple[str, str]:
        (folder / filename).write_bytes(pickle.dumps(content))
        return filename, datasets.utils.calculate_md5(folder / filename)

    train = [write(f"data_batch_{i}", batch(12)) for i in (1, 2)]
    test = [write("test_batch", batch(4))]
    meta, md5 = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", test)
    monkeypatch.setattr(
        datasets.CIFAR10, "meta", {"filename": meta, "key": "label_names", "md5": md5}
    )
    return tmp_path


def test_digits_are_the_documented_split(digits):
    assert digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_images.shape == (360, 1, 8, 8)
    assert digits.train_images.dtype == digits.test_images.dtype == torch.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == torch.int64
    assert (digits.in_channels, digits.image_size, digits.num_classes) == (1, (8, 8), 10)
    assert (
        repr(digits) == "Dataset('digits': 1,437 training and 360 test images of 1×8×8, 10 classes)"
    )
    assert digits.train_images.min() == 0 and digits.train_images.max() == 255
    train, test = digits.train_labels.bincount(), digits.test_labels.bincount()
    assert ((test / (train + test) - 0.2).abs() < 0.01).all()  # each class in the same proportion


def test_digits_are_scikit_learns_each_in_one_part(digits):
    from sklearn.datasets import load_digits

    def rows(images, labels):
        return [(*image, label) for image, label in zip(images, labels, strict=True)]

    published = load_digits()
    pixels = torch.cat((digits.train_images, digits.test_images)).flatten(1)
    labels = torch.cat((digits.train_labels, digits.test_labels))
    sixteenths = (pixels.double() * 16 / 255).round().long()  # 17 levels survive the 256
    assert sorted(rows(sixteenths.tolist(), labels.tolist())) == sorted(
        rows(published.data.astype(int).tolist(), published.target.tolist())
    )


def test_statistics_are_those_of_the_training_images(digits, cifar_in_small):
    for dataset in (digits, load_dataset("cifar10", cifar_in_small)):
        pixels = dataset.train_images.double() / 255
        torch.testing.assert_close(dataset.mean.double(), pixels.mean((0, 2, 3)))
        torch.testing.assert_close(dataset.std.double(), pixels.std((0, 2, 3), correction=0))
        normal = dataset.normalise(dataset.train_images)
        assert normal.dtype == torch.float32
        assert normal.mean((0, 2, 3)).abs().max() < 1e-5
        assert (normal.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_to_moves_every_tensor(digits):
    moved = digits.to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 6 and all(tensor.device.type == "meta" for tensor in tensors)
    assert moved.classes == digits.classes and digits.mean.device.type == "cpu"


def test_cifar_layout_is_read(cifar_in_small):
    dataset = load_dataset("cifar10", cifar_in_small)
    assert dataset.train_images.shape == (24, 3, 32, 32) and dataset.test_labels.shape == (4,)
    assert dataset.classes == tuple("abcdefghij")
    assert dataset.train_labels.tolist() == [i % 10 for i in range(12)] * 2
    file = cifar_in_small / FOLDERS["cifar10"] / "data_batch_2"
    red_green_blue = torch.from_numpy(pickle.loads(file.read_bytes())["data"]).view(12, 3, 32, 32)
    assert torch.equal(dataset.train_images[12:], red_green_blue)


def test_environment_names_the_folder(cifar_in_small, monkeypatch):
    monkeypatch.setenv("MIXERLIB_DATA", str(cifar_in_small))
    assert len(load_dataset("cifar10").train_labels) == 24
    with pytest.raises(DataNotFound):
        load_dataset("cifar10", root=cifar_in_small / "elsewhere")  # the argument goes first


def test_missing_data_say_where_and_how(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXERLIB_DATA", str(tmp_path))
    for name, folder in FOLDERS.items():
        with pytest.raises(DataNotFound) as error:
            load_dataset(name)
        message = str(error.value)
        assert "\n" not in message
        for part in (name, folder, str(tmp_path), "--download", "MIXERLIB_DATA"):
            assert part in message
    assert isinstance(error.value, FileNotFoundError)


def test_a_missing_file_is_named(cifar_in_small):
    file = cifar_in_small / FOLDERS["cifar10"] / "test_batch"
    file.unlink()
    with pytest.raises(DataNotFound, match="test_batch is missing"):
        load_dataset("cifar10", cifar_in_small)


@pytest.mark.parametrize("filename", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_damaged_file_is_named(cifar_in_small, filename):
    file = cifar_in_small / FOLDERS["cifar10"] / filename
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DataDamaged, match=f"{filename} does not have the MD5"):
        load_dataset("cifar10", cifar_in_small)


def test_a_download_without_a_network_says_so(tmp_path, monkeypatch):
    def no_network(*arguments, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(
        DataNotFound, match=r"could not be downloaded to .* from https?://.*not known"
    ):
        load_dataset("cifar10", tmp_path, download=True)


def test_a_download_that_arrives_damaged_says_so(cifar_in_small, monkeypatch):
    (cifar_in_small / FOLDERS["cifar10"] / "test_batch").unlink()
    utils = import_torchvision().datasets.utils
    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **options: url)
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, file: Path(file).write_text("half"))
    with pytest.raises(DataDamaged, match=r"cifar-10-python.tar.gz does not have the MD5"):
        load_dataset("cifar10", cifar_in_small, download=True)


def test_unknown_data_set_suggests_near_names():
    with pytest.raises(ValueError, match=r"'cifar-10' .*did you mean cifar10"):
        load_dataset("cifar-10")
    with pytest.raises(ValueError, match=", ".join(DATASETS)):
        load_dataset("imagenet")


@pytest.mark.parametrize("name", FOLDERS)
def test_the_real_cifar(name):
    if not (CIFAR_ROOT / FOLDERS[name]).is_dir():
        pytest.skip(f"no {FOLDERS[name]} in {CIFAR_ROOT.resolve()}; set MIXERLIB_DATA")
    dataset = load_dataset(name)
    classes = int(name.removeprefix("cifar"))
    assert dataset.train_images.shape == (50_000, 3, 32, 32)
    assert dataset.test_images.shape == (10_000, 3, 32, 32)
    assert dataset.train_labels.bincount().tolist() == [50_000 // classes] * classes
    assert len(set(dataset.classes)) == dataset.num_classes == classes
    assert dataset.train_images.is_contiguous()


def test_an_epoch_has_every_image_once():
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    cut = list(batches(images, torch.arange(10), 4, generator=torch.Generator().manual_seed(0)))
    assert [len(labels) for _, labels in cut] == [4, 4, 2]
    labels = torch.cat([labels for _, labels in cut])
    assert sorted(labels.tolist()) == list(range(10)) != labels.tolist()
    for batch, labels in cut:
        assert batch.dtype == torch.uint8 and batch.flatten().tolist() == labels.tolist()


def test_the_seed_decides_the_order():
    def order(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        cut = batches(torch.zeros(50, 1, 1, 1), torch.arange(50), 8, generator=generator)
        return torch.cat([labels for _, labels in cut]).tolist()

    assert order(0) == order(0) != order(1)


def test_flip_mirrors_half_of_the_images_left_to_right():
    image = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3)
    cut = batches(
        image.expand(2000, 1, 2, 3),
        torch.zeros(2000),
        500,
        generator=torch.Generator().manual_seed(0),
        flip=True,
    )
    seen = torch.cat([batch for batch, _ in cut])
    same = (seen == image).flatten(1).all(1)
    mirrored = (seen == image.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 900 < mirrored.sum() < 1100  # 4.5 standard deviations round 1000


def test_bad_batch_size():
    with pytest.raises(ValueError, match="`batch_size`=0"):
        next(batches(torch.zeros(1, 1, 1, 1), torch.zeros(1), 0))
