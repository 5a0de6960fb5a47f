"""MindSpore's `.ckpt`, read and written without MindSpore: it is data in protobuf's wire format.

A file is a sequence of values, each a name and a tensor: its sides, the name of its type, and its
numbers. Tensors of more than half a gigabyte come in pieces under one name.
"""

from collections.abc import Iterator, Mapping

import torch

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5  # protobuf's wire types
VALUE, TAG, TENSOR = 1, 1, 2  # a file's field, and a value's
DIMS, TYPE, CONTENT = 1, 2, 3  # a tensor's
DTYPES = {
    "Float64": torch.float64,
    "Float32": torch.float32,
    "Float16": torch.float16,
    "BFloat16": torch.bfloat16,
    "Int64": torch.int64,
    "Int32": torch.int32,
    "Int16": torch.int16,
    "Int8": torch.int8,
    "UInt8": torch.uint8,
    "Bool": torch.bool,
}
TYPES = {dtype: name for name, dtype in DTYPES.items()}
FIRST_BYTE = VALUE << 3 | BYTES  # no zip and no pickle begins with it


def read_mindspore(content: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a file by their names. `ValueError` where it is damaged, or encrypted.

    >>> import torch
    >>> from mixerlib.weights.mindspore import read_mindspore, write_mindspore
    >>> read_mindspore(write_mindspore({"head.bias": torch.tensor([1.0, 2.0])}))
    {'head.bias': tensor([1., 2.])}
    """
    pieces: dict[str, tuple[list[int], str, list[bytes]]] = {}
    for field, value in _fields(content):
        if field != VALUE:
            raise ValueError(f"a field of number {field} where a value is due")
        tag, dims, kind, numbers = _value(_bytes(value))
        known = pieces.setdefault(tag, (dims, kind, []))
        if known[:2] != (dims, kind):
            raise ValueError(f"two tensors of different sizes under the name {tag!r}")
        known[2].append(numbers)
    return {tag: _tensor(*piece) for tag, piece in pieces.items()}


def of_the_model(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a training's file without its optimizer's and its counters.

    MindSpore's `ModelCheckpoint` saves both with the network: `moment1.` and more before the name
    of a tensor, and scalars whose names have no dot, such as `global_step`.
    """
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name.partition(".")[2] not in (tensors.keys() | {""})
    }


def write_mindspore(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The file that MindSpore's `load_checkpoint` reads. `ValueError` for another dtype."""
    content = b""
    for name, tensor in tensors.items():
        if tensor.dtype not in TYPES:
            raise ValueError(f"`tensors`: `{name}` is {tensor.dtype}, which MindSpore has not")
        flat = tensor.detach().cpu().contiguous().flatten()
        body = b"".join(_varint(DIMS << 3 | VARINT) + _varint(n) for n in tensor.shape or (0,))
        body += _text(TYPE, TYPES[tensor.dtype].encode())
        body += _text(CONTENT, flat.view(torch.uint8).numpy().tobytes())
        content += _text(VALUE, _text(TAG, name.encode()) + _text(TENSOR, body))
    return content


def _value(value: memoryview) -> tuple[str, list[int], str, bytes]:
    """A value's name, and its tensor's sides, type and bytes."""
    fields = dict(_fields(value))
    dims: list[int] = []
    kind, numbers = "", b""
    for field, part in _fields(_bytes(fields[TENSOR])):
        if field == DIMS:  # one by one, or several in a row
            dims += [part] if isinstance(part, int) else list(_varints(part))
        elif field == TYPE:
            kind = bytes(_bytes(part)).decode()
        elif field == CONTENT:
            numbers = bytes(_bytes(part))
    return bytes(_bytes(fields[TAG])).decode(), dims, kind, numbers


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where bytes are due")
    return value


def _tensor(dims: list[int], kind: str, pieces: list[bytes]) -> torch.Tensor:
    numbers = bytearray(b"".join(pieces))
    if not numbers:
        raise ValueError("a tensor without numbers")
    return torch.frombuffer(numbers, dtype=DTYPES[kind]).reshape([] if dims == [0] else dims)


def _fields(content: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """A message's fields: number, and a whole number or bytes. `ValueError` for a cut one."""
    content, place = memoryview(content), 0
    while place < len(content):
        key, place = _number(content, place)
        if key & 7 == VARINT:
            number, place = _number(content, place)
            yield key >> 3, number
            continue
        size = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(key & 7)
        if size is None:
            if key & 7 != BYTES:
                raise ValueError(f"a field of wire type {key & 7}")
            size, place = _number(content, place)
        if place + size > len(content):
            raise ValueError("a field that is cut short")
        yield key >> 3, content[place : place + size]
        place += size


def _varints(content: memoryview) -> Iterator[int]:
    place = 0
    while place < len(content):
        number, place = _number(content, place)
        yield number


def _number(content: memoryview, place: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, lowest first, and the place behind it."""
    number = 0
    for i in range(10):
        byte = content[place + i]  # an `IndexError` at the end of a file that is cut short
        number |= (byte & 127) << 7 * i
        if byte < 128:
            return number, place + i + 1
    raise ValueError("a number that does not end")


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _text(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | BYTES) + _varint(len(content)) + content
