"""Images that are read from files: their pixels, their random parts, workers, and broken files."""

import io
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mixerlib._torchvision import import_torchvision
from mixerlib.data.download import DataDamaged, DataNotFound
from mixerlib.data.image_files import ImageFiles, part_of, random_part

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# Python 3.12 on warns that forking beside torch's threads may go wrong
may_fork = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Smooth random colours: few pixels, made large, so that JPEG keeps them."""
    small = np.random.default_rng(seed).integers(256, size=(5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> ImageFiles:
    """12 training and 7 test photographs of several sizes, read as 16×16 by this process."""
    folder = tmp_path_factory.mktemp("photographs")
    files = []
    for i in range(19):
        files.append(folder / f"{i:02}.jpg")
        photograph(40 + 3 * i, 60 - 2 * i, i).save(files[-1])
    encoded = np.array([os.fsencode(file) for file in files])
    return ImageFiles(
        name="photographs",
        classes=("a", "b", "c"),
        train_files=encoded[:12],
        test_files=encoded[12:],
        train_labels=torch.arange(12) % 3,
        test_labels=torch.arange(7) % 3,
        mean=torch.tensor([0.4, 0.5, 0.6]),
        std=torch.tensor([0.1, 0.2, 0.3]),
        image_size=(16, 16),
        interpolation="bilinear",
        crop_area=None,
        crop_pct=None,
        workers=0,
    )


def opened(file: bytes) -> Image.Image:
    with Image.open(os.fsdecode(file)) as image:
        return image.convert("RGB")


def training_images(dataset: ImageFiles, order: torch.Tensor, step: int, epoch=1, seed=0):
    """The images of a pass in that order, in one tensor."""
    batches = dataset.training_batches(order.split(step), seed=seed, epoch=epoch)
    return torch.cat([images for images, _ in batches])


def by_hand(dataset: ImageFiles, file: bytes, box: tuple[int, int, int, int] | None = None):
    """Pillow's resized image as a tensor (3, H, W)."""
    image = opened(file).crop(box).resize(dataset.image_size, PILLOW[dataset.interpolation])
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_what_it_says_of_itself(photographs):
    assert (photographs.in_channels, photographs.num_classes) == (3, 3)
    assert photographs.crops_itself and photographs.device == torch.device("cpu")
    assert repr(photographs) == (
        "ImageFiles('photographs': 12 training and 7 test images of 3×16×16, 3 classes)"
    )
    moved = photographs.to("meta")
    assert moved.device.type == "meta" == moved.train_labels.device.type
    assert moved.train_files is photographs.train_files
    pixels = torch.full((2, 3, 1, 1), 51, dtype=torch.uint8)
    assert torch.allclose(
        photographs.normalize(pixels)[1].flatten(), torch.tensor([-2, -1.5, -4 / 3])
    )


@pytest.mark.parametrize("interpolation", PILLOW)
def test_training_images_are_squashed_in_the_order_chosen(photographs, interpolation):
    dataset = replace(photographs, interpolation=interpolation)
    chosen = [torch.tensor([7, 0, 7]), torch.tensor([11])]
    cut = list(dataset.training_batches(iter(chosen), seed=0, epoch=1))
    assert [labels.tolist() for _, labels in cut] == [[1, 0, 1], [2]]
    for (images, _), step in zip(cut, chosen, strict=True):
        expected = [by_hand(dataset, dataset.train_files[i]) for i in step]
        assert images.dtype == torch.uint8 and images.is_contiguous()
        assert torch.equal(images, torch.stack(expected))


def test_no_step_no_batch(photographs):
    assert list(photographs.training_batches([], seed=0, epoch=1)) == []


def test_test_images_are_squashed_in_order(photographs):
    cut = list(photographs.test_batches(batch_size=3))
    assert [len(labels) for _, labels in cut] == [3, 3, 1]
    expected = torch.stack([by_hand(photographs, file) for file in photographs.test_files])
    assert torch.equal(torch.cat([images for images, _ in cut]), expected)
    assert torch.equal(torch.cat([labels for _, labels in cut]), photographs.test_labels)


def test_test_images_cut_from_the_centre(photographs):
    dataset = replace(photographs, crop_pct=0.8, interpolation="bicubic")
    images = torch.cat([images for images, _ in dataset.test_batches()])
    for image, file in zip(images, dataset.test_files, strict=True):
        whole = opened(file)
        sides = [int(20 * side / min(whole.size)) for side in whole.size]  # 16 / 0.8 = 20
        left, top = (round((side - 16) / 2) for side in sides)
        whole = whole.resize(sides, Image.Resampling.BICUBIC)
        expected = np.array(whole.crop((left, top, left + 16, top + 16)))
        assert torch.equal(image, torch.from_numpy(expected).permute(2, 0, 1))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9])
def test_parts_of_the_test_set_make_it_up(photographs, count):
    parts = [list(photographs.test_batches(2, (i, count))) for i in range(count)]
    images = torch.cat([images for part in parts for images, _ in part])
    (whole, _), *_ = photographs.test_batches()
    assert torch.equal(images, whole)


@given(st.integers(0, 300), st.integers(1, 20))
def test_parts_are_nearly_equal(count, n):
    parts = [part_of(count, (i, n)) for i in range(n)]
    assert [number for part in parts for number in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("part", [(-1, 2), (2, 2), (0, 0)])
def test_no_such_part(photographs, part):
    with pytest.raises(ValueError, match=r"`part`=\(.*must be \(i, n\) with 0 ≤ i < n"):
        photographs.test_batches(part=part)
    with pytest.raises(ValueError, match="`batch_size`=0"):
        photographs.test_batches(0)


# Random parts


def test_a_random_part_depends_on_seed_epoch_and_number_alone(photographs):
    dataset = replace(photographs, crop_area=0.2)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    images = training_images(dataset, order, 4)
    assert torch.equal(training_images(dataset, order[5:], 7), images[5:])  # taken up in the middle
    assert torch.equal(training_images(dataset, order[::2], 3), images[::2])  # one of two processes
    for i, image in zip(order, images, strict=True):
        photo = opened(dataset.train_files[i])
        random = np.random.default_rng((0, 1, i.item()))
        top, left, height, width = random_part(photo.height, photo.width, 0.2, random)
        box = (left, top, left + width, top + height)
        assert torch.equal(image, by_hand(dataset, dataset.train_files[i], box))
    for epoch, seed in ((2, 0), (1, 1)):
        others = training_images(dataset, order, 4, epoch, seed)
        same = (others == images).flatten(1).all(1)
        assert same.sum() == 0


def test_the_test_set_is_never_cut_at_random(photographs):
    dataset = replace(photographs, crop_area=0.2)
    (cut, _), *_ = dataset.test_batches()
    (whole, _), *_ = photographs.test_batches()
    assert torch.equal(cut, whole)


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.05, 1), st.integers(0, 2**63))
def test_a_random_part_lies_within(height, width, smallest, seed):
    random = np.random.default_rng(seed)
    top, left, h, w = random_part(height, width, smallest, random)
    assert min(top, left) >= 0 < min(h, w)
    assert top + h <= height and left + w <= width


def test_random_parts_are_distributed_as_torchvisions():
    """Means and deviations of 4,000 draws each, to within five standard errors."""
    crop = import_torchvision().transforms.RandomResizedCrop
    image = torch.zeros(3, 375, 500)
    random = np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        limits = [0.25, 1.0], [3 / 4, 4 / 3]
        theirs = np.array([crop.get_params(image, *limits) for _ in range(4000)])
    ours = np.array([random_part(375, 500, 0.25, random) for _ in range(4000)])
    for a, b in ((ours, theirs), (np.log(ours + 1), np.log(theirs + 1))):
        error = np.sqrt((a.var(0) + b.var(0)) / 4000)
        assert (np.abs(a.mean(0) - b.mean(0)) < 5 * error).all()
        assert (np.abs(a.std(0) / b.std(0) - 1) < 0.1).all()


@pytest.mark.parametrize("size", [(10, 1000), (1000, 10), (300, 301)])
def test_where_no_draw_fits_it_is_the_middle_as_torchvisions(size):
    class Largest:
        def uniform(self, low: float, high: float) -> float:
            return high  # all of the area, in the widest aspect

    crop = import_torchvision().transforms.RandomResizedCrop
    # a range of scales that no image has room for, so that its draws all fail too
    expected = crop.get_params(torch.zeros(1, *size), [9.0, 9.0], [3 / 4, 4 / 3])
    ours = random_part(*size, 9.0, Largest())
    if math.prod(size) == 300 * 301:
        assert ours == expected == (0, 0, 300, 301)
    assert ours == expected


# Workers


@may_fork
def test_workers_change_nothing_whatever_their_number(photographs):
    alone = replace(photographs, crop_area=0.2)
    order = torch.arange(12)
    before = torch.get_rng_state()
    for count in (1, 2, 5):
        dataset = replace(alone, workers=count)
        for epoch, step in ((1, 5), (2, 12), (3, 1)):  # the workers are the same
            images = training_images(dataset, order, step, epoch, seed=7)
            assert torch.equal(images, training_images(alone, order, step, epoch, seed=7))
    assert torch.equal(torch.get_rng_state(), before)  # of a run that is compared bit by bit


# Files of other kinds, and broken ones


def as_bytes(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def with_file(dataset: ImageFiles, file: Path, content: bytes) -> ImageFiles:
    """The data set with another file as its training image number 5."""
    file.write_bytes(content)
    files = list(dataset.train_files)
    files[5] = os.fsencode(file)
    return replace(dataset, train_files=np.array(files))


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG")]
)
def test_every_image_becomes_red_green_and_blue(photographs, tmp_path, mode, kind):
    """ImageNet has grey ones, one in CMYK, and a PNG that is called JPEG."""
    image = photograph(30, 20, 0).convert(mode)
    dataset = with_file(photographs, tmp_path / "odd.JPEG", as_bytes(image, kind))
    [(images, _)] = dataset.training_batches([torch.tensor([5])], seed=0, epoch=1)
    assert torch.equal(images[0], by_hand(dataset, dataset.train_files[5]))
    assert images.shape == (1, 3, 16, 16)


WHOLE = as_bytes(photograph(200, 200, 0), "JPEG")
BROKEN = {
    "cut": WHOLE[: len(WHOLE) // 2],
    "empty": b"",
    "text": b"<html>404</html>",
    "png": as_bytes(photograph(50, 50, 0), "PNG")[:-200],
}


@may_fork
@pytest.mark.parametrize(("kind", "workers"), [*((kind, 0) for kind in BROKEN), ("cut", 1)])
def test_a_broken_image_is_named(photographs, tmp_path, kind, workers):
    file = tmp_path / "broken.jpg"
    dataset = replace(with_file(photographs, file, BROKEN[kind]), workers=workers)
    seen = []
    with pytest.raises(DataDamaged) as error:
        for _, labels in dataset.training_batches(torch.arange(12).split(3), seed=0, epoch=1):
            seen += labels.tolist()
    assert str(error.value).startswith(f"{file} cannot be decoded (")
    assert "\n" not in str(error.value) and "0x" not in str(error.value)
    assert seen == [0, 1, 2]  # the batch before is still good


def test_a_file_that_is_gone_is_named(photographs, tmp_path):
    file = tmp_path / "gone.jpg"
    dataset = with_file(photographs, file, WHOLE)
    file.unlink()
    with pytest.raises(DataNotFound, match=r"gone\.jpg is missing"):
        next(dataset.training_batches([torch.tensor([5])], seed=0, epoch=1))


def test_odd_metadata_are_no_matter(photographs, tmp_path):
    """Pillow warns of EXIF data that is cut off, and in tests a warning is an error."""
    header = b"\xff\xe1" + (2 + 6 + 12).to_bytes(2, "big") + b"Exif\0\0MM\0*\0\0\0\x08\0\x09\0\0"
    dataset = with_file(photographs, tmp_path / "odd.jpg", WHOLE[:2] + header + WHOLE[2:])
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        opened(dataset.train_files[5])
    [(images, _)] = dataset.training_batches([torch.tensor([5])], seed=0, epoch=1)
    assert images.float().std() > 0


def test_held_out_photographs_are_read_like_those_of_a_test(photographs):
    held = photographs.hold_out(4)
    assert (len(held.train_files), len(held.test_files)) == (8, 4)
    assert sorted([*held.train_files, *held.test_files]) == sorted(photographs.train_files)
    labels = dict(zip(photographs.train_files, photographs.train_labels.tolist(), strict=True))
    assert [labels[file] for file in held.test_files] == held.test_labels.tolist()
    images = torch.cat([images for images, _ in held.test_batches()])
    place = [*photographs.train_files].index(held.test_files[0])
    as_test = replace(
        photographs, test_files=photographs.train_files, test_labels=photographs.train_labels
    )
    (right, _), *_ = as_test.test_images_at([torch.tensor([place])])
    assert torch.equal(images[:1], right)
