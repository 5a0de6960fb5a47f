"""Image data sets on the device, and what is done to images before a model sees them. Chapter 12.

dataset = load_dataset("digits").to("cpu")
for images, labels in batches(dataset, 64): ...
"""

from mixerlib._torchvision import import_torchvision
from mixerlib.data.augment import Augmentation
from mixerlib.data.datasets import DATASETS, Dataset, batches, load_dataset
from mixerlib.data.download import DataDamaged, DataNotFound
from mixerlib.data.image_files import ImageFiles
from mixerlib.data.operations import (
    MAGNITUDES,
    OPERATIONS,
    TIMM_OPERATIONS,
    apply_operations,
    torchvision_arguments,
)
from mixerlib.data.photographs import FILE_DATASETS

__all__ = [
    "DATASETS",
    "FILE_DATASETS",
    "MAGNITUDES",
    "OPERATIONS",
    "TIMM_OPERATIONS",
    "Augmentation",
    "DataDamaged",
    "DataNotFound",
    "Dataset",
    "ImageFiles",
    "apply_operations",
    "batches",
    "import_torchvision",
    "load_dataset",
    "torchvision_arguments",
]
