"""A pickle read as data: its opcodes are followed one by one, and nothing that it names is called.

Numbers, text, lists and tables come out as themselves. A tensor comes out as a `StoredTensor`, a
description of where its numbers lie; an object of a harmless class as an `Inert`, of which only the
name is kept. The first name of anything else ends the reading. So a file can neither run code nor
ask for more memory than its own size suggests.
"""

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

OPCODES = 4_000_000  # of a pickle: a hundred times as many as a checkpoint of a large model has
SCALARS = (str, int, float, bytes, type(None))  # what may be the key of a table

STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "QInt8": torch.qint8,
    "QUInt8": torch.quint8,
    "QInt32": torch.qint32,
}
# Classes that trainers leave beside the weights, and torch's own: names, none of which is called.
HARMLESS = re.compile(
    r"""
    (builtins|__builtin__)\.(object|bool|int|long|float|complex|str|unicode|bytes|bytearray
        |list|tuple|dict|set|frozenset|range|xrange|slice|Ellipsis|NotImplemented)
    |collections\.(OrderedDict|defaultdict|Counter|deque)
    |argparse\.Namespace|types\.SimpleNamespace|(copyreg|copy_reg)\._reconstructor
    |pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path
    |datetime\.(date|time|datetime|timedelta|timezone)|decimal\.Decimal|fractions\.Fraction
    |_codecs\.encode
    |numpy\.(dtype|ndarray|bool_?|u?int(8|16|32|64)|float(16|32|64)|str_|bytes_)
    |numpy\.dtypes\.\w+DType
    |numpy\.(_core|core)\.(multiarray\.(scalar|_reconstruct)|numeric\._frombuffer)
    |numpy\.ma(\.core)?\.(MaskedArray|MaskedConstant|_mareconstruct)
    |numpy\.random\._pickle\.__(generator|randomstate|bit_generator)_ctor
    |numpy\.random\._(mt19937\.MT19937|pcg64\.PCG64(DXSM)?|philox\.Philox|sfc64\.SFC64)
    |numpy\.random\.bit_generator\.(SeedSequence|__pyx_unpickle_SeedSequence)
    |torch\.(Size|device|Tensor|nn\.parameter\.(Parameter|Buffer)|torch_version\.TorchVersion)
    |torch\.(float|bfloat|complex|u?int|q?u?int|quint|float8_)\w*|torch\.(bool|half|double|long)
    |(torch\._utils\.)?torch\.(channels_last(_3d)?|contiguous_format|preserve_format)
    |torch\.(strided|per_\w+)
    |torch\.(cuda\.)?\w+(Storage|Tensor)|torch\.storage\.(Untyped|Typed)Storage
    |torch\.serialization\._get_layout
    |torch\._tensor\._rebuild_from_type_v2
    |torch\._utils\._rebuild_(parameter|parameter_with_state|qtensor|tensor|tensor_v2|tensor_v3
        |sparse_tensor|meta_tensor_no_storage|nested_tensor|wrapper_subclass
        |device_tensor_from_numpy|device_tensor_from_cpu_tensor)
    """,
    re.VERBOSE,
)

MODULE = re.compile(r"(torch\.nn\.modules|torchvision\.models|timm|mixerlib)\.")  # of networks


class Forbidden(ValueError):
    """A pickle names what is not among the harmless classes; the message begins with that."""


@dataclass(frozen=True, eq=False)
class Name:
    """A class or a function that a pickle names."""

    name: str


@dataclass(frozen=True, eq=False)
class Inert:
    """An object of which only the class is known."""

    name: str


@dataclass(eq=False)
class Storage:
    """Numbers in a row, as a file holds them for one tensor or several."""

    dtype: torch.dtype | None  # None: bytes, whose meaning each tensor says
    count: int
    fetch: Callable[[], bytes | memoryview] | None = None
    numbers: torch.Tensor | None = None  # its bytes, once they were read

    def read(self) -> torch.Tensor:
        """All of its bytes, as a tensor of uint8."""
        if self.numbers is None:
            assert self.fetch is not None  # or its container lacks it
            content = self.fetch()
            size = self.count * (self.dtype or torch.uint8).itemsize
            if len(content) < size:
                raise ValueError("a storage is shorter than its tensors")
            self.numbers = torch.empty(0, dtype=torch.uint8)
            if size:
                self.numbers = torch.frombuffer(bytearray(content[:size]), dtype=torch.uint8)
        return self.numbers


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor as a pickle describes it: a view of a storage, of which nothing was read yet."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    negated: bool = False  # as torch marks it, in place of writing the numbers anew

    def tensor(self) -> torch.Tensor:
        """The tensor itself, on the CPU. `ValueError` where it would reach beyond its storage."""
        numbers = self.storage.read().view(self.dtype)
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((size - 1) * step for size, step in steps)
        if math.prod(self.shape) >= 2**63 or (0 not in self.shape and last >= len(numbers)):
            raise ValueError("a tensor reaches beyond its storage")
        view = numbers.as_strided(self.shape, self.stride, self.offset)
        return torch._neg_view(view) if self.negated else view


def is_harmless(name: str) -> bool:
    """Whether this class or function may be named in a file."""
    return HARMLESS.fullmatch(name) is not None


CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": lambda: Inert("set"),
}
ARGUMENTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
GATHER: dict[str, Callable[[list[Any]], Any]] = {
    "TUPLE": tuple,
    "LIST": list,
    "DICT": lambda items: _filled({}, items),
    "FROZENSET": lambda items: Inert("frozenset"),
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _of_size(items: list[Any], size: int) -> tuple[Any, ...]:
    if len(items) != size:
        raise ValueError("a pickle's stack is empty")
    return tuple(items)


def _filled(table: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """The table with these keys and values, in turn. Another key than a number or text becomes an
    `Inert`: to hash a deep tuple can take for ever.
    """
    for key, value in zip(items[::2], items[1::2], strict=True):
        table[key if isinstance(key, SCALARS) else Inert(type(key).__name__)] = value
    return table


def _extend(target: Any, op: str, items: list[Any]) -> None:
    """Add items to a list, or keys and values to a table; to what is `Inert`, nothing."""
    if isinstance(target, list) and op.startswith("APPEND"):
        target.extend(items)
    elif isinstance(target, dict) and op.startswith("SETITEM"):
        _filled(target, items)
    elif not isinstance(target, Inert):
        raise ValueError(f"{op} of a pickle on a {type(target).__name__}")


def _named(module: Any, name: Any) -> Name:
    full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "?"
    if not is_harmless(full):
        whole = MODULE.match(full) is not None
        hint = ", so it holds a whole model; save its state_dict() with torch.save" if whole else ""
        raise Forbidden(full + hint)
    return Name(full)


def _made(maker: Any, given: Any) -> Any:
    """What a call would have made: a table, a tensor's description, or an `Inert`."""
    if not isinstance(maker, Name):
        raise ValueError("a pickle calls what is no name")
    name = maker.name
    given = given if isinstance(given, tuple) else ()
    if name in ("collections.OrderedDict", "collections.defaultdict", "collections.Counter"):
        table = given[-1] if given and isinstance(given[-1], dict) else {}
        if given and isinstance(given[0], list):  # of Python 2: a list of pairs
            return _filled(table, [item for pair in given[0] for item in pair])
        return table
    if name == "torch._tensor._rebuild_from_type_v2":  # a tensor with attributes, or of a subclass
        rebuild, kind, inner = given[:3]
        plain = isinstance(kind, Name) and kind.name.endswith((".Tensor", ".Parameter", ".Buffer"))
        return _made(rebuild, inner) if plain else Inert(getattr(kind, "name", "a subclass"))
    if name.startswith("torch._utils._rebuild_"):
        return _tensor(name.removeprefix("torch._utils._rebuild_"), given)
    return Inert(name)


def _tensor(kind: str, given: tuple) -> Any:
    """The description of a dense tensor, from the arguments of torch's rebuilding function."""
    if kind in ("parameter", "parameter_with_state", "device_tensor_from_cpu_tensor"):
        return given[0]
    if kind not in ("tensor", "tensor_v2", "tensor_v3"):
        return Inert(f"{kind.replace('_', ' ')} in torch")
    storage, offset, shape, stride = given[:4]
    numbers = [offset, *shape, *stride]
    if not isinstance(storage, Storage) or len(shape) != len(stride):
        raise ValueError("a tensor without a storage")
    if not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise ValueError("a tensor of impossible size")
    dtype = storage.dtype
    if dtype is None:
        name = given[6].name if kind == "tensor_v3" else "torch.uint8"
        dtype = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype) or str(dtype).startswith("torch.q"):
        return Inert("tensor of another kind of numbers")
    marks = {"tensor_v2": given[6:7], "tensor_v3": given[7:8]}.get(kind, ())
    marked = marks[0] if marks and isinstance(marks[0], dict) else {}
    if marked.keys() - {"neg"}:
        return Inert("tensor with marks of its own")
    negated = bool(marked.get("neg"))
    return StoredTensor(storage, dtype, offset, tuple(shape), tuple(stride), negated)


class Machine:
    """What a pickle's opcodes work on. `storage` is asked for the data of its tensors."""

    def __init__(self, storage: Callable[[Any], Storage]):
        self.storage = storage
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: BinaryIO) -> Any:
        """The object that the next pickle in a file describes."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count > OPCODES:
                raise ValueError("more opcodes than any checkpoint has")
            if opcode.name == "STOP":
                return self.stack.pop()
            self.follow(opcode.name, argument)
        raise ValueError("a pickle without an end")

    def above_mark(self) -> list[Any]:
        """Take what was put on the stack since the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def follow(self, op: str, argument: Any) -> None:
        """Do one opcode: those of plain values here, those of objects in `call`."""
        stack = self.stack
        if op in CONSTANTS:
            stack.append(CONSTANTS[op]())
        elif op in ARGUMENTS:
            stack.append(argument)
        elif op in ("BINGET", "GET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif op in ("BINPUT", "PUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif op == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif op == "MARK":
            self.marks.append(len(stack))
        elif op in GATHER:
            stack.append(GATHER[op](self.above_mark()))
        elif op in TUPLES:
            size = TUPLES[op]
            stack[-size:] = [_of_size(stack[-size:], size)]
        elif op in ("SETITEMS", "APPENDS", "ADDITEMS"):
            items = self.above_mark()
            _extend(stack[-1], op, items)
        elif op == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _extend(stack[-1], op, [key, value])
        elif op == "APPEND":
            value = stack.pop()
            _extend(stack[-1], op, [value])
        elif op not in ("PROTO", "FRAME"):
            self.call(op, argument)

    def call(self, op: str, argument: Any) -> None:
        """Do an opcode that names, makes or changes an object: nothing is called for it."""
        stack = self.stack
        if op == "GLOBAL":
            stack.append(_named(*argument.split(" ", 1)))
        elif op == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(_named(module, name))
        elif op in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            if op == "NEWOBJ_EX":
                stack.pop()  # arguments by keyword
            given = stack.pop()
            stack.append(_made(stack.pop(), given))
        elif op == "BINPERSID":
            stack.append(self.storage(stack.pop()))
        elif op in ("BUILD", "POP"):
            stack.pop()  # an object's attributes are left out
        elif op == "POP_MARK":
            self.above_mark()
        else:
            raise ValueError(f"opcode {op} is in none of torch's files")
