"""Data sets in memory: what is in them, how they are found and checked, and batches cut from them.

Those on the disk have tests of their own: test_photographs.py and test_image_files.py.
"""

import gzip
import os
import pickle
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import few_digits
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mixerlib._torchvision import import_torchvision
from mixerlib.data import (
    DATASETS,
    DataDamaged,
    DataNotFound,
    Dataset,
    batches,
    load_dataset,
)

CIFAR_ROOT = Path(os.environ.get("MIXERLIB_DATA") or "data")
FOLDERS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "fashion_mnist": "FashionMNIST/raw",
}
FASHION_FILES = [
    f"{part}-{what}-ubyte.gz"
    for part in ("train", "t10k")
    for what in ("images-idx3", "labels-idx1")
]


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


@pytest.fixture
def fashion_in_small(tmp_path, monkeypatch):
    """A folder in Fashion-MNIST's layout with 30 + 10 random images, and torchvision told of it."""
    datasets = import_torchvision().datasets
    folder = tmp_path / FOLDERS["fashion_mnist"]
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    resources = []
    for file in FASHION_FILES:
        count = 30 if file.startswith("train") else 10
        shape = (count, 28, 28) if "images" in file else (count,)
        header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
        values = random.integers(256 if "images" in file else 10, size=shape, dtype=np.uint8)
        (folder / file).write_bytes(gzip.compress(header + values.tobytes()))
        resources.append((file, datasets.utils.calculate_md5(folder / file)))
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
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


def test_statistics_are_those_of_the_training_images(digits, cifar_in_small, fashion_in_small):
    cifar = load_dataset("cifar10", cifar_in_small)
    for dataset in (digits, cifar, load_dataset("fashion_mnist", fashion_in_small)):
        pixels = dataset.train_images.double() / 255
        torch.testing.assert_close(dataset.mean.double(), pixels.mean((0, 2, 3)))
        torch.testing.assert_close(dataset.std.double(), pixels.std((0, 2, 3), correction=0))
        normal = dataset.normalize(dataset.train_images)
        assert normal.dtype == torch.float32
        assert normal.mean((0, 2, 3)).abs().max() < 1e-5
        assert (normal.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_to_moves_every_tensor(digits):
    moved = digits.to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 6 and all(tensor.device.type == "meta" for tensor in tensors)
    assert moved.classes == digits.classes and digits.mean.device.type == "cpu"
    assert (moved.device.type, digits.device.type) == ("meta", "cpu")


def test_half_is_what_published_weights_expect(cifar_in_small):
    dataset = load_dataset("cifar10", cifar_in_small, normalization="half")
    assert dataset.mean.tolist() == dataset.std.tolist() == [0.5] * 3
    extremes = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert dataset.normalize(extremes).flatten(1).tolist() == [[-1] * 3, [1] * 3]


def test_cifar_layout_is_read(cifar_in_small):
    dataset = load_dataset("cifar10", cifar_in_small)
    assert dataset.train_images.shape == (24, 3, 32, 32) and dataset.test_labels.shape == (4,)
    assert dataset.classes == tuple("abcdefghij")
    assert dataset.train_labels.tolist() == [i % 10 for i in range(12)] * 2
    file = cifar_in_small / FOLDERS["cifar10"] / "data_batch_2"
    red_green_blue = torch.from_numpy(pickle.loads(file.read_bytes())["data"]).view(12, 3, 32, 32)
    assert torch.equal(dataset.train_images[12:], red_green_blue)


def test_fashion_mnist_is_read_as_torchvision_reads_it(fashion_in_small):
    ours = load_dataset("fashion_mnist", fashion_in_small)
    assert ours.train_images.shape == (30, 1, 28, 28) and ours.test_images.shape == (10, 1, 28, 28)
    utils = import_torchvision().datasets.utils
    for file in FASHION_FILES:
        utils.extract_archive(str(fashion_in_small / FOLDERS["fashion_mnist"] / file))
    fashion = import_torchvision().datasets.FashionMNIST
    assert ours.classes == tuple(fashion.classes)
    train, test = fashion(fashion_in_small, train=True), fashion(fashion_in_small, train=False)
    assert torch.equal(ours.train_images[:, 0], train.data)
    assert torch.equal(ours.train_labels, train.targets)
    assert torch.equal(ours.test_images[:, 0], test.data)
    assert torch.equal(ours.test_labels, test.targets)


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "link to nothing"])
def test_what_is_no_file_is_named_and_not_waited_for(cifar_in_small, kind):
    file = cifar_in_small / FOLDERS["cifar10"] / "test_batch"
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero" if kind == "device" else "gone")
    with pytest.raises(DataNotFound, match=r"incomplete: .*test_batch is (no file|missing); fetch"):
        load_dataset("cifar10", cifar_in_small)


@pytest.mark.parametrize("filename", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_damaged_file_is_named(cifar_in_small, filename):
    file = cifar_in_small / FOLDERS["cifar10"] / filename
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DataDamaged, match=f"{filename} does not have the MD5"):
        load_dataset("cifar10", cifar_in_small)


@pytest.mark.parametrize("filename", FASHION_FILES)
def test_fashion_mnist_names_what_is_missing_or_damaged(fashion_in_small, filename):
    file = fashion_in_small / FOLDERS["fashion_mnist"] / filename
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataDamaged, match=f"{filename} does not have the MD5"):
        load_dataset("fashion_mnist", fashion_in_small)
    file.unlink()
    with pytest.raises(DataNotFound, match=f"incomplete: .*{filename} is missing"):
        load_dataset("fashion_mnist", fashion_in_small)


def serve(files: Path, monkeypatch) -> list[str]:
    """Let downloads come from a folder; the list of names that are asked for, as it grows."""
    urlopen, asked = urllib.request.urlopen, []

    def answer(request: urllib.request.Request, timeout: float):
        asked.append(Path(request.full_url).name)
        return urlopen((files / asked[-1]).as_uri(), timeout=timeout)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    return asked


def test_a_download_of_cifar_unpacks_and_repairs(cifar_in_small, monkeypatch):
    datasets = import_torchvision().datasets
    expected = load_dataset("cifar10", cifar_in_small).train_images
    folder, server = cifar_in_small / FOLDERS["cifar10"], cifar_in_small / "server"
    server.mkdir()
    archive = server / datasets.CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", datasets.utils.calculate_md5(archive))
    asked = serve(server, monkeypatch)

    def damage():
        (folder / "test_batch").write_bytes(b"x")

    for spoil in (lambda: shutil.rmtree(folder), damage):  # the second time the archive is there
        spoil()
        loaded = load_dataset("cifar10", cifar_in_small, download=True)
        assert torch.equal(loaded.train_images, expected)
    assert asked == [archive.name]
    damage()
    (cifar_in_small / archive.name).write_bytes(b"half")
    load_dataset("cifar10", cifar_in_small, download=True)
    assert asked == [archive.name] * 2


def test_a_download_of_fashion_mnist_fetches_what_is_not_whole(fashion_in_small, monkeypatch):
    expected = load_dataset("fashion_mnist", fashion_in_small).train_images
    folder, server = fashion_in_small / FOLDERS["fashion_mnist"], fashion_in_small / "server"
    shutil.copytree(folder, server)
    asked = serve(server, monkeypatch)
    (folder / FASHION_FILES[1]).write_bytes(b"x")
    (folder / FASHION_FILES[2]).unlink()
    loaded = load_dataset("fashion_mnist", fashion_in_small, download=True)
    assert torch.equal(loaded.train_images, expected)
    assert asked == FASHION_FILES[1:3]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_download_without_a_network_says_so(tmp_path, monkeypatch, name):
    def no_network(*arguments, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    message = rf"{name} could not be downloaded to {tmp_path}.* from https?://.*not known"
    with pytest.raises(DataNotFound, match=message) as error:
        load_dataset(name, tmp_path, download=True)
    assert "\n" not in str(error.value)


def test_a_download_into_a_folder_that_cannot_be_says_so(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataNotFound, match=r"cifar10 could not be downloaded to .*file from"):
        load_dataset("cifar10", tmp_path / "file", download=True)


def test_a_download_that_arrives_damaged_says_so(cifar_in_small, monkeypatch):
    (cifar_in_small / FOLDERS["cifar10"] / "test_batch").unlink()
    server = cifar_in_small / "server"
    server.mkdir()
    (server / "cifar-10-python.tar.gz").write_text("half")
    serve(server, monkeypatch)
    with pytest.raises(DataDamaged, match=r"cifar-10-python.tar.gz does not have the MD5"):
        load_dataset("cifar10", cifar_in_small, download=True)
    assert not (cifar_in_small / "cifar-10-python.tar.gz").exists()


def test_unknown_data_set_suggests_near_names():
    for typed, name in (("cifar-10", "cifar10"), ("Fashion-MNIST", "fashion_mnist")):
        with pytest.raises(ValueError, match=rf"'{typed}' .*did you mean {name}"):
            load_dataset(typed)
    with pytest.raises(ValueError, match=", ".join(DATASETS)):
        load_dataset("svhn")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("food101", {}, r"`image_size`=None must be set for food101"),
        ("digits", {"crop_area": 0.5}, r"`crop_area`=0.5 is for images that are read from files"),
        ("cifar10", {"crop_pct": 0.9}, r"`crop_pct`=0.9 is for .* not for cifar10"),
        ("cifar10", {"interpolation": "bicubic"}, r"`interpolation`='bicubic' has no effect"),
        ("digits", {"image_size": 0}, r"`image_size`=0 must be a positive"),
        ("digits", {"image_size": 9, "interpolation": "cubic"}, r"`interpolation`='cubic' must be"),
        (
            "digits",
            {"normalization": "none"},
            r"`normalization`='none' must be one of 'dataset'",
        ),
        ("imagenet", {"image_size": 9, "crop_area": 0.0}, r"`crop_area`=0.0 must be above 0"),
        ("imagenet", {"image_size": 9, "crop_pct": 1.1}, r"`crop_pct`=1.1 must be above 0"),
        ("imagenet", {"image_size": 9, "workers": -1}, r"`workers`=-1 must be a whole number"),
    ],
)
def test_what_a_data_set_cannot_use_is_an_error(tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(name, tmp_path, **options)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
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


# Batches


def numbered(count: int, device: str = "cpu") -> Dataset:
    """A data set of `count` training and `count` test images that show their own numbers."""
    numbers = torch.arange(count)
    images = numbers.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 2, 3)
    parts = (images, numbers, images, numbers, torch.zeros(1), torch.ones(1))
    return Dataset("numbers", ("a",), *parts).to(device)


def test_training_batches_are_cut_as_chosen():
    dataset = numbered(10)
    chosen = [torch.tensor([3, 1, 3]), torch.tensor([9]), torch.tensor([0, 2])]
    cut = list(dataset.training_batches(iter(chosen), seed=0, epoch=1))
    assert [labels.tolist() for _, labels in cut] == [[3, 1, 3], [9], [0, 2]]
    for images, labels in cut:
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        assert (images == labels.view(-1, 1, 1, 1)).all() and images.shape[1:] == (1, 2, 3)
    assert list(dataset.training_batches([], seed=0, epoch=1)) == []
    assert not dataset.crops_itself


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 70))
def test_parts_of_the_test_set_make_it_up(count, parts, batch_size):
    dataset = numbered(count)
    sizes, seen = [], []
    for i in range(parts):
        cut = list(dataset.test_batches(batch_size, (i, parts)))
        sizes.append(sum(len(labels) for _, labels in cut))
        for images, labels in cut:
            assert 0 < len(labels) <= batch_size and images[:, 0, 0, 0].tolist() == labels.tolist()
            seen += labels.tolist()
    assert seen == list(range(count)) and max(sizes) - min(sizes) <= 1


def test_bad_test_batches():
    with pytest.raises(ValueError, match="`batch_size`=0"):
        next(numbered(1).test_batches(0))
    with pytest.raises(ValueError, match=r"`part`=\(2, 2\) must be"):
        next(numbered(1).test_batches(part=(2, 2)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [5, 20, 8])
def test_batches_are_resized_as_pillow_would(size, interpolation):
    """Up and down, antialiased: every pixel within one of 255 levels, and most the same."""
    digits = load_dataset("digits", image_size=size, interpolation=interpolation)
    assert digits.image_size == (size, size) and f"1×{size}×{size}" in repr(digits)
    assert digits.train_images.shape[2:] == (8, 8)
    chosen = torch.arange(40)
    [(images, _)] = digits.training_batches([chosen], seed=0, epoch=1)
    mode = Image.Resampling[interpolation.upper()]
    pillow = [
        np.array(Image.fromarray(image[0].numpy()).resize((size, size), mode))
        for image in digits.train_images[chosen]
    ]
    difference = (images[:, 0].int() - torch.from_numpy(np.stack(pillow)).int()).abs()
    assert (
        images.dtype == torch.uint8
        and difference.max() <= 1
        and (difference == 0).float().mean() > 0.9
    )
    (tests, _), *_ = digits.test_batches(7)
    assert tests.shape == (7, 1, size, size)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_waits_for_no_step():
    dataset = numbered(200, "cuda")
    chosen = list(torch.randperm(200).split(16))
    steps = dataset.training_batches(chosen, seed=0, epoch=1)
    seen = [next(steps)]  # the whole order is copied to the device before the first step
    torch.cuda.set_sync_debug_mode("error")
    try:
        seen += steps
        seen += dataset.test_batches(16)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    labels = torch.cat([labels for _, labels in seen])
    assert labels.tolist() == torch.cat(chosen).tolist() + list(range(200))
    assert all((images[:, 0, 0, 0] == labels).all() for images, labels in seen)


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


def test_bad_batch_size():
    with pytest.raises(ValueError, match="`batch_size`=0"):
        next(batches(torch.zeros(1, 1, 1, 1), torch.zeros(1), 0))


def test_the_default_device_is_not_the_data_set_s():
    """A notebook may begin with torch.set_default_device("cuda")."""
    torch.set_default_device("meta")
    try:
        digits = load_dataset("digits", normalization="half")
        images, labels = next(digits.test_batches(8))
    finally:
        torch.set_default_device(None)
    tensors = (digits.mean, digits.std, digits.train_images, images, labels)
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


# Images that are held out


@pytest.fixture
def few() -> Dataset:
    return few_digits()  # 70 to train on


def test_what_is_held_out_is_no_longer_trained_on_and_the_same_every_time(few):
    held = few.hold_out(20)
    assert (len(held.train_labels), len(held.test_labels), held.held_out) == (50, 20, 20)
    both = torch.cat([held.train_images, held.test_images])
    labels = torch.cat([held.train_labels, held.test_labels])
    rows = sorted(zip(both.flatten(1).tolist(), labels.tolist(), strict=True))
    whole = few.train_images.flatten(1).tolist()
    assert rows == sorted(zip(whole, few.train_labels.tolist(), strict=True))
    assert torch.equal(held.test_images, few.hold_out(20).test_images)
    assert (held.mean, held.std) == (few.mean, few.std)
    assert len(few.train_labels) == 70 and few.held_out == 0


@pytest.mark.parametrize("held_out", [0, 70, -1, 2.5, True])
def test_a_number_that_cannot_be_held_out(few, held_out):
    with pytest.raises(ValueError, match=f"`held_out`={held_out}"):
        few.hold_out(held_out)


def test_nothing_is_held_out_twice(few):
    with pytest.raises(ValueError, match="`held_out`=20 images are held out already"):
        few.hold_out(20).hold_out(5)
