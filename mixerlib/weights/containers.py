"""What `torch.save` wrote: a zip, of which every part that is read has its checksum tested, or the
sequence of pickles and numbers that torch wrote before version 1.6.
"""

import io
import sys
import zipfile
from typing import Any, BinaryIO

import torch

from mixerlib.weights.pickled import STORAGES, Forbidden, Machine, Name, Storage

INFLATED = 8  # times the size of a zip: what its parts may come to. torch.save compresses nothing
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the older container


def read_pickled(file: BinaryIO) -> Any:
    """What `torch.save` wrote, its tensors as `StoredTensor`s that are read from the open file.

    Raises `Forbidden` for a file that would run code if unpickled, and of a damaged one nearly
    anything.
    """
    if zipfile.is_zipfile(file):
        return _zipped(zipfile.ZipFile(file))
    file.seek(0)
    return _in_sequence(io.BytesIO(file.read()))


def _zipped(archive: zipfile.ZipFile) -> Any:
    file = archive.fp
    assert file is not None
    size = file.seek(0, io.SEEK_END)
    if sum(part.file_size for part in archive.infolist()) > INFLATED * size:
        raise ValueError("a zip that inflates to many times its size")

    def part(name: str) -> bytes:
        info = archive.getinfo(name)
        with archive.open(info) as stream:  # which compares the checksum at the end
            content = stream.read(info.file_size)
            if len(content) != info.file_size or stream.read(1):
                raise ValueError("a part of a zip that is not as long as it says")
        return content

    names = archive.namelist()
    (index,) = (name for name in names if f"/{name}".endswith("/data.pkl"))
    root = index.removesuffix("data.pkl")
    if any(name.startswith(f"{root}code/") for name in names):
        raise Forbidden("a TorchScript program; save its state_dict() with torch.save")
    if f"{root}byteorder" in names and part(f"{root}byteorder") != sys.byteorder.encode():
        raise ValueError("numbers of the other byte order")
    storages: dict[str, Storage] = {}

    def storage(place: Any) -> Storage:
        found = _storage(place, storages)
        found.fetch = lambda: part(f"{root}data/{place[2]}")
        return found

    return Machine(storage).run(io.BytesIO(part(index)))


def _in_sequence(file: io.BytesIO) -> Any:
    """The older container: five pickles, then the storages one after the other. A file that does
    not begin as one is a single pickle.
    """
    storages: dict[str, Storage] = {}

    def pickle() -> Any:
        return Machine(lambda place: _storage(place, storages)).run(file)

    first = pickle()
    if type(first) is not int or first != MAGIC:
        return first
    protocol, system, content, keys = (pickle() for _ in range(4))
    if protocol != PROTOCOL or system.get("little_endian") is not (sys.byteorder == "little"):
        raise ValueError("a file of another protocol or byte order")
    whole = file.getbuffer()
    place = file.tell()
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(whole[place : place + 8], sys.byteorder)
        size = count * (storage.dtype or torch.uint8).itemsize
        place += 8
        if count != storage.count or place + size > len(whole):
            raise ValueError("a storage that is cut short")
        storage.fetch = lambda start=place, stop=place + size: whole[start:stop]
        place += size
    if any(storage.fetch is None for storage in storages.values()):
        raise ValueError("a storage that is missing")
    return content


def _kind_of_storage(name: object) -> tuple[bool, torch.dtype | None]:
    """Whether the storage is one of plain numbers, and of which dtype, from its class."""
    word = name.name.rpartition(".")[2] if isinstance(name, Name) else ""
    known = word in ("UntypedStorage", "TypedStorage") or word.removesuffix("Storage") in STORAGES
    return known, STORAGES.get(word.removesuffix("Storage"))


def _storage(place: Any, storages: dict[str, Storage]) -> Storage:
    """The storage that a pickle names by its place: ("storage", class, key, device, count)."""
    if not isinstance(place, tuple) or len(place) < 5 or place[0] != "storage":
        raise ValueError("a storage without a place")
    known, dtype = _kind_of_storage(place[1])
    key, count = place[2], place[4]
    if not known or not isinstance(key, str) or type(count) is not int or not 0 <= count < 2**63:
        raise ValueError("a storage of another kind")
    if len(place) > 5 and place[5] is not None:
        raise ValueError("a part of a storage, as only torch 0.1 wrote")
    return storages.setdefault(key, Storage(dtype, count))
