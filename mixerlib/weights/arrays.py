"""Weights in NumPy's `.npz`, as JAX programs leave them. Nothing in one is unpickled."""

import zipfile
from typing import BinaryIO

import numpy as np
import torch

INFLATED = 8  # times the size of the file: what its arrays may come to


def read_arrays(file: BinaryIO) -> dict[str, torch.Tensor]:
    """The arrays of numbers in a `.npz` by their names, with dots where JAX has slashes.

    Raises `ValueError`, or what a damaged file raises. bfloat16, which NumPy does not know and
    writes as pairs of bytes, is read as such.
    """
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        if sum(part.file_size for part in archive.infolist()) > INFLATED * size:
            raise ValueError("a zip that inflates to many times its size")
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return {name.replace("/", "."): _tensor(arrays[name]) for name in arrays.files}


def _tensor(array: np.ndarray) -> torch.Tensor:
    if array.dtype == np.dtype("V2"):
        return torch.from_numpy(np.ascontiguousarray(array).view(np.int16)).view(torch.bfloat16)
    native = array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(native).reshape(array.shape))
