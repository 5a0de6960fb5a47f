"""Image data sets on the device, and what is done to images before a model sees them. Chapter 12.

>>> from mixerlib.data import batches, load_dataset
>>> dataset = load_dataset("digits").to("cpu")
>>> for images, labels in batches(dataset.test_images, dataset.test_labels, 120):
...     print(images.shape, labels.shape)
torch.Size([120, 1, 8, 8]) torch.Size([120])
torch.Size([120, 1, 8, 8]) torch.Size([120])
torch.Size([120, 1, 8, 8]) torch.Size([120])

- "digits" are the 1,797 handwritten digits of 8×8 pixels that come with scikit-learn. They have no
  official test set. Here the images are sorted by class, in their published order within it, and
  every fifth is a test image: 1,437 for training and 360 for the test, every class in the same
  proportion, the same on every machine. The 13 people who wrote them are thus likely to be in both
  parts; the accuracy says nothing about anyone else's handwriting.
- "fashion_mnist", "cifar10" and "cifar100" are read whole, as tensors.
- "flowers102" trains on the split "train", 1,020 images, and tests on "test", 6,149. The split
  "val", 1,020 more, is left alone. The SplitMixer paper does not say what it trained on.
- "food101" has 75,750 training and 25,250 test images. Its archive, 5 GB, is checked each time as
  long as it lies beside them, as the images have no checksums of their own.
- "imagenet" is the folder imagenet, with `train/CLASS/*.JPEG` and `val/CLASS/*.JPEG` in it. It
  cannot be downloaded here. Files with torchvision's other suffixes are taken too, of the folders
  in a class as well; hidden ones, and what systems leave behind, are not. The validation images
  may also lie in `val` as they come, `val/*.JPEG`, with the development kit beside them, Kaggle's
  LOC_val_solution.csv, a val.txt or a list of names of classes. A class index, such as
  imagenet_class_index.json or LOC_synset_mapping.txt, gives the classes their numbers; without it
  they are numbered as they sort.

Photographs are read as torchvision's `ImageFolder` reads them: of an animation the first image,
what a transparent pixel hides is shown, and nothing is turned by its EXIF orientation. 16-bit grey
keeps its shades. Signed and floating-point values are refused, and more than 89 million pixels.
"""

from mixerlib._torchvision import import_torchvision
from mixerlib.data.augment import Augmentation
from mixerlib.data.datasets import DATASETS, load_dataset
from mixerlib.data.download import DataDamaged, DataNotFound
from mixerlib.data.draws import Draws
from mixerlib.data.image_files import ImageFiles
from mixerlib.data.in_memory import Dataset, batches
from mixerlib.data.operations import (
    MAGNITUDES,
    OPERATIONS,
    TIMM_OPERATIONS,
    apply_operations,
    torchvision_arguments,
)
from mixerlib.data.photographs import FILE_DATASETS
from mixerlib.data.preprocessing import PREPROCESSINGS, Preprocessing, preprocessing_named
from mixerlib.data.source import INTERPOLATIONS, NORMALIZATIONS, ImageSource

__all__ = [
    "DATASETS",
    "FILE_DATASETS",
    "INTERPOLATIONS",
    "MAGNITUDES",
    "NORMALIZATIONS",
    "OPERATIONS",
    "PREPROCESSINGS",
    "TIMM_OPERATIONS",
    "Augmentation",
    "DataDamaged",
    "DataNotFound",
    "Dataset",
    "Draws",
    "ImageFiles",
    "ImageSource",
    "Preprocessing",
    "apply_operations",
    "batches",
    "import_torchvision",
    "load_dataset",
    "preprocessing_named",
    "torchvision_arguments",
]
