"""What every image data set is: names, labels, batches, and how its pixels are normalised.

`in_memory.py` has those whose images are tensors, `image_files.py` those that are read from files.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import ModuleType
from typing import Any, ClassVar, Self

import torch

from mixerlib import checks
from mixerlib._torchvision import import_torchvision

INTERPOLATIONS = ("bilinear", "bicubic")  # how images may be resized
# By which mean and deviation pixels may be normalised; "unit" is 0 and 1
NORMALIZATIONS = ("dataset", "half", "unit")
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


class ImageSource(ABC):
    """A training and a test set of images with labels, whose batches come on one device.

    Images in batches are uint8 (B, C, H, W) in 0..255, labels int64 (B,) and index `classes`. Both
    `Dataset`, in memory, and `ImageFiles`, on the disk, are one.
    """

    name: str
    classes: tuple[str, ...]
    train_labels: torch.Tensor
    test_labels: torch.Tensor
    mean: torch.Tensor  # float32 (C,), for pixels in 0..1
    std: torch.Tensor
    image_size: tuple[int, int]  # height and width in pixels of the images in batches

    crops_itself: ClassVar[bool]  # whether a random crop is part of reading an image
    held_out: int = 0  # training images that stand in the test images' place

    @property
    @abstractmethod
    def in_channels(self) -> int:
        """Channels C of an image."""

    @abstractmethod
    def training_batches(self, chosen: Iterable[torch.Tensor], *, seed: int, epoch: int) -> Batches:
        """For each step's image numbers (int64 (B,), on the CPU) their images and labels."""

    @abstractmethod
    def test_batches(self, batch_size: int = 500, part: tuple[int, int] = (0, 1)) -> Batches:
        """The test images and their labels in order; of n nearly equal parts the i-th, from 0."""

    @abstractmethod
    def test_images_at(self, chosen: Iterable[torch.Tensor]) -> Batches:
        """For each step's numbers of test images (int64 (B,), on the CPU) images and labels."""

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def device(self) -> torch.device:
        """Where the batches lie."""
        return self.mean.device

    def to(self, device: torch.device | str) -> Self:
        """The same data set with all its tensors, and so its batches, on `device`."""
        tensors = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, torch.Tensor)}
        return replace(self, **tensors)  # type: ignore[type-var]  # both kinds are dataclasses

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (B, C, H, W) → float32 (B, C, H, W), each channel by its `mean` and `std`."""
        return (images / 255 - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def hold_out(self, held_out: int) -> Self:
        """The same data set without its test images: in their place stand some of the training
        images, which are then no longer trained on.

        Whoever chooses between recipes by the test images has fitted the choice to them, and what
        is measured on them afterwards is too good. The same images are held out every time, as a
        shuffle says that depends on their number alone. Mean and deviation stay.

        Raises `ValueError` for a number below 1 or of all the images, and where it was done before.

        >>> from mixerlib.data import load_dataset
        >>> load_dataset("digits").hold_out(200)
        Dataset('digits': 1,237 training and 200 held-out images of 1×8×8, 10 classes)
        """
        images = len(self.train_labels)
        if self.held_out:
            raise ValueError(f"`held_out`={self.held_out} images are held out already")
        if not 0 < checks.count("held_out", held_out) < images:
            raise ValueError(f"`held_out`={held_out} must be above 0 and below all {images} images")
        with made_on_cpu():
            order = torch.randperm(images, generator=torch.Generator().manual_seed(images))
        parts = [part.sort().values for part in order.split([images - held_out, held_out])]
        changes: dict[str, Any] = {"held_out": held_out}
        for name, values in vars(self).items():
            if name.startswith("train_"):
                for start, part in zip(("train_", "test_"), parts, strict=True):
                    tensor = isinstance(values, torch.Tensor)
                    chosen = part.to(values.device) if tensor else part.numpy()
                    changes[name.replace("train_", start)] = values[chosen]
        return replace(self, **changes)  # type: ignore[type-var]  # both kinds are dataclasses

    def __repr__(self) -> str:
        judging = "held-out" if self.held_out else "test"
        shape = "×".join(str(side) for side in (self.in_channels, *self.image_size))
        return (
            f"{type(self).__name__}({self.name!r}: {len(self.train_labels):,} training and "
            f"{len(self.test_labels):,} {judging} images of {shape}, {self.num_classes} classes)"
        )


@contextmanager
def made_on_cpu() -> Iterator[None]:
    """Meanwhile tensors are made on the CPU and in float32, also after
    `torch.set_default_device("cuda")` or `torch.set_default_dtype(torch.float64)`.

    What is drawn for a run comes from the CPU's generators, whatever the device.
    """
    dtype, on_cpu = torch.get_default_dtype(), torch.get_default_device().type == "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        with nullcontext() if on_cpu else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


def resizing(interpolation: str) -> tuple[ModuleType, Any]:
    """torchvision's functions on images, and its name for "bilinear" or "bicubic"."""
    import_torchvision()  # first, as it may have to be helped
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    return functional, InterpolationMode(interpolation)


def steps_on(device: torch.device, steps: list[torch.Tensor]) -> Sequence[torch.Tensor]:
    """The steps' image numbers on the device: one copy for all, as each would make a GPU wait."""
    if not steps:
        return ()
    return torch.cat(steps).to(device).split([len(step) for step in steps])


def part_of(count: int, part: tuple[int, int]) -> range:
    """The i-th of n contiguous parts of 0..count, whose lengths differ by one at most."""
    i, n = part
    if not 0 <= i < n:
        raise ValueError(f"`part`={part!r} must be (i, n) with 0 ≤ i < n")
    return range(count * i // n, count * (i + 1) // n)
